"""Paths in sources.yaml that no document was seen with are told, with the one that was meant; right ones are not."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.drift.paths import Unseen, unseen
from tasks.landing.transforms import Transforms
from tasks.mongodb.config import MongoTable
from tasks.sources.config import NamedPath

SEEN = {"_id", "email", "customer.city", "customer", "Total", "address1", "items", "items.sku", "refunds", "created_at"}


def of(**configured: Any) -> list[tuple[str, str, str | None]]:
    found = unseen(MongoTable.model_validate(configured).named_paths, SEEN)
    return [(one.named.key, one.named.path, one.meant) for one in found]


@pytest.mark.parametrize(
    ("configured", "expected"),
    [
        ({"transforms": [{"drop": "emial"}]}, ("transforms, drop", "emial", "email")),
        ({"transforms": [{"hash": "customer.citty"}]}, ("transforms, hash", "customer.citty", "customer.city")),
        ({"transforms": [{"cast": {"total": "decimal"}}]}, ("transforms, cast", "total", "Total")),
        ({"transforms": [{"drop": "custmer"}]}, ("transforms, drop", "custmer", "customer")),
        ({"transforms": [{"drop": "item.sku"}]}, ("transforms, drop", "item.sku", "items.sku")),
        ({"transforms": [{"rename": {"creatd_at": "made"}}]}, ("transforms, rename", "creatd_at", "created_at")),
        (
            {"transforms": [{"derive": {"name": "x", "expression": "Totl * 2", "kind": "int"}}]},
            ("transforms, derive", "Totl", "Total"),
        ),
        ({"transforms": [{"drop": "unlike_anything"}]}, ("transforms, drop", "unlike_anything", None)),
        ({"arrays": {"itmes": "table"}}, ("arrays", "itmes", "items")),
        ({"fields": {"exclude": ["emails"]}}, ("fields, exclude", "emails", "email")),
        ({"fields": {"include": ["nothing_like_it"]}}, ("fields, include", "nothing_like_it", None)),
    ],
)
def test_a_mistyped_path_of_each_key_is_told(configured: dict[str, Any], expected: tuple[str, str, str | None]) -> None:
    assert of(**configured) == [expected]


@pytest.mark.parametrize(
    "configured",
    [
        {"transforms": [{"drop": "customer"}, {"cast": {"items.sku": "string"}}], "arrays": {"items": "table"}},
        {"transforms": [{"rename": {"mail": "contact"}}, {"rename": {"contact": "email"}}]},
        {"fields": {"exclude": ["unlike_anything"]}},
        {"fields": {"exclude": ["address2"]}},
    ],
)
def test_what_is_right_or_cannot_be_known_is_not_told(configured: dict[str, Any]) -> None:
    assert of(**configured) == []


def test_a_path_into_what_is_kept_as_a_whole_names_that() -> None:
    named = NamedPath("transforms, hash", "refunds.amount")
    assert list(unseen([named], SEEN)) == [Unseen(named, within="refunds")]


def test_nothing_is_told_before_anything_was_read() -> None:
    assert list(unseen([NamedPath("arrays", "items")], ())) == []


def test_a_dropped_path_is_known_by_its_count_though_nothing_of_it_lands() -> None:
    table = MongoTable.model_validate({"transforms": [{"rename": {"mail": "email"}}, {"drop": "email"}]})
    fields = {
        "mail": {"present": 2, "types": {"document": 2}, "empty": 0},
        "mail.at": {"present": 1, "types": {"string": 1}, "empty": 0},
        "emails": {"present": 3, "types": {"string": 3}, "empty": 0},
    }
    counted = Transforms(table.transforms).apply_statistics({"": {"rows": 3, "fields": fields}})[""]["fields"]
    assert counted["email"] == {"present": 0, "types": {"dropped": 2}, "empty": 0}
    assert list(unseen(table.named_paths, counted)) == []
    del fields["mail"], fields["mail.at"]
    without = Transforms(table.transforms).apply_statistics({"": {"rows": 3, "fields": fields}})[""]["fields"]
    assert [(one.named.path, one.meant) for one in unseen(table.named_paths, without)] == [
        ("mail", "emails"),
        ("email", "emails"),
    ]
