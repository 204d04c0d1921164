"""What the simulation compares documents by: all is different that the docs do not say is alike."""

from __future__ import annotations

import json
from typing import Any

import pytest
from bson.decimal128 import Decimal128

from tests.simulations.wild.reconstruction import differences, elements, expected, id_of, of_column, of_json, of_source

ALIKE: list[tuple[Any, Any]] = [
    ({"a": None}, {}),
    ({"a": {"b": None}}, {}),
    ({"a": 5}, {"a": 5.0}),
    ({"a": Decimal128("1E+3")}, {"a": 1000}),
    ({"items": []}, {"items": None}),
    ({"items": [5]}, {"items": [{"value": 5}]}),
]
DIFFERENT: list[tuple[Any, Any]] = [
    ({"a": {}}, {}),
    ({"a": "5"}, {"a": 5}),
    ({"a": 0.0}, {"a": -0.0}),
    ({"a": True}, {"a": 1}),
    ({"a": Decimal128("1.20")}, {"a": Decimal128("1.2")}),
    ({"a": 2**53 + 1}, {"a": float(2**53)}),
    ({"a": [None]}, {"a": []}),
    ({"a": "x\x00"}, {"a": "x"}),
    ({"items": [{"a": 1}, {"a": 2}]}, {"items": [{"a": 2}, {"a": 1}]}),
    ({"items": [{"a": 1}]}, {"items": [{"a": 1}, {"a": 1}]}),
]


def compared(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    forms = [expected({"_id": 1, "x": 1, **document}, ("items",))[1] for document in (one, other)]
    return list(differences(*forms))


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_what_columns_cannot_tell_is_alike(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert compared(one, other) == []


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_all_else_is_different(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert compared(one, other)


@pytest.mark.parametrize(
    ("kind", "value", "source"),
    [
        ("numeric", "1.20", Decimal128("1.20")),
        ("numeric", "5", 5.0),
        ("jsonb", '[{"$numberDouble": "-0.0"}, {"$date": "2026-01-02T03:04:05Z"}, 1.5]', [-0.0, None, 1.5]),
        ("jsonb", '{"$text": {"base64": "YQBi"}}', "a\x00b"),
    ],
)
def test_columns_have_the_form_of_what_they_were_made_of(kind: str, value: str, source: Any) -> None:
    form, found = of_source(source), of_column(kind, value)
    if isinstance(source, list):
        form[1] = ("date", 1_767_323_045_000)
    assert list(differences(form, found)) == []


def test_a_document_of_json_that_is_kept_apart_is_read_from_its_bytes() -> None:
    assert of_json(json.loads('{"$json": {"base64": "WyJhIl0="}}')) == [("text", "a")]
    assert elements(of_json("x")) == [{"value": ("text", "x")}]


@pytest.mark.parametrize(("text", "source"), [("7", 7), ('"7"', "7"), ("0007", "0007"), ('{"a": 1}', {"a": 1})])
def test_keys_are_read_as_bronze_writes_them(text: str, source: Any) -> None:
    assert repr(id_of(text)) == repr(of_source(source))
