"""What people are told of changes: no personal data, and Markdown that shows names and values to the letter."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from monitoring.drift import Privacy, Timeline, Told, printable
from monitoring.drift_message import code, message
from monitoring.reader import PERSONAL
from tasks.drift.samples import Location
from tasks.mongodb.config import MongoTable
from tasks.ops import TableKey
from tasks.ops.field_statistics import Seen
from tasks.ops.schema_changes import SchemaChange

AT = datetime(2026, 1, 3, 10, 0, tzinfo=UTC)


def privacy(*renamed: tuple[str, str], **table: Any) -> Privacy:
    return Privacy(MongoTable.model_validate(table), PERSONAL, renamed)


def rendered(text: str) -> list[str]:
    """Return the pieces of code in a text of one paragraph, which must hold nothing else but `a` and `b` around."""
    _, inline, _ = MarkdownIt().parse(f"a {text} b")
    kinds = [child.type for child in inline.children or ()]
    assert kinds == ["text", "code_inline", "text"], inline
    return [child.content for child in inline.children or () if child.type == "code_inline"]


@pytest.mark.parametrize(
    "path", ["secret", "secret.deep", "other", "was.secret", "digest", "left_out", "later", "items.key"]
)
def test_what_sources_yaml_hides_is_hidden_under_each_of_its_names(path: str) -> None:
    steps = [
        {"derive": {"name": "digest", "expression": "secret", "kind": "string"}},
        {"hash": "secret"},
        {"rename": {"secret": "other"}},
        {"drop": "was.secret"},
        {"drop": "items.key"},
    ]
    found = privacy(("other", "later"), transforms=steps, fields={"exclude": ["left_out"]}, arrays={"items": "table"})
    assert "sources.yaml" in found.why_hidden(path)
    assert not found.why_hidden("total") and not found.why_hidden("secretary") and not found.why_hidden("items.sku")


@pytest.mark.parametrize(
    "path", ["email", "customer.firstName", "customer.name", "addresses.city", "shipping-address", "Phone", "mail"]
)
def test_fields_named_like_personal_data_are_hidden_whatever_their_spelling(path: str) -> None:
    assert "personal" in privacy().why_hidden(path) or "leaves it out" in privacy(("email", "mail")).why_hidden(path)
    assert not privacy().why_hidden("zipped") and not privacy().why_hidden("name")


def test_hidden_keys_within_documents_are_hidden_and_all_else_is_to_the_letter() -> None:
    found = privacy(transforms=[{"drop": "items.pin"}])
    value = '[{"pin": 1234, "sku": "é", "buyer": {"email": "me"}}]'
    assert found.shown("items", value) == '[{"pin": "***", "sku": "é", "buyer": {"email": "***"}}]'
    assert found.shown("items", '[{"n": 1.10}]') == '[{"n": 1.10}]'
    assert found.shown("note", "{no JSON}") == "{no JSON}"


def test_values_are_masked_before_they_are_cut_and_lose_nothing_that_is_seen() -> None:
    assert privacy().shown("note", "x" * 50 + " jane.doe@example.com") == "x" * 50 + " <e-mail>"
    assert privacy().shown("note", "a\x1b[31m\nb\u202ec") == "a\\x1b[31m\\nb\\u202ec"
    assert privacy().shown("note", None) == "(more than 1,000 characters)"
    assert privacy().shown("note", "[" * 900) in ("[" * 60 + "...", "(nested too deeply)")


@pytest.mark.parametrize("text", ["a`b", "``", "`", " x ", "_id_", "**x**", "<b>", "a|b", "\\`", "[a](b)", "x\ny", "é"])
def test_markdown_shows_a_text_to_the_letter(text: str) -> None:
    assert rendered(code(text)) == [printable(text)]


@given(st.text(min_size=1))
def test_markdown_shows_any_text_to_the_letter(text: str) -> None:
    shown = printable(text)
    assert rendered(code(text)) == [shown if shown.strip() else f'"{shown}"']


def told(field: str, change: str, was: str | None, becomes: str | None, **more: Any) -> Told:
    evidence = {"renamed_from": "state"} if change == "renamed" else {}
    entry = SchemaChange(
        1, TableKey("shop", "orders"), field, change, was, becomes, "b", AT, "", evidence, None, None, None
    )
    location = more.pop("location", Location("", field, "shop__orders", (field,)))
    return Told(entry, AT, location, **more)


def test_the_message_tells_what_changed_since_when_how_much_and_what_is_asked() -> None:
    changes = [
        told("total", "type_conflict", "numeric", "string", seen=Seen(12, 12, 3), old=("1.50",), new=("n/a", "?")),
        told(
            "items[].qty",
            "widened",
            "bigint",
            "numeric",
            seen=Seen(4, 2, 0),
            location=Location("items", "qty", "r", ()),
        ),
        told("email", "appeared", None, "text", hidden="it is named like personal data"),
        told("status", "appeared", None, "text"),
        told("status", "renamed", "text", "text"),
        told("by.jane\\.doe@example\\.com", "became_null", None, None),
    ]
    said = message(Timeline("shop.orders", [changes], []))
    assert said.splitlines()[0] == "# Documents of `shop.orders` have changed" and "Since 2026-01-03 its" in said
    assert [line for line in said.splitlines() if line.startswith(("- ", "## "))] == [
        "## Seen on 2026-01-03 at 10:00 UTC",
        "- `total` has values of another type: `string`, where it was `numeric`. 3 of the 12 documents read since then"
        " have such a value. Before: `1.50`. Since then: `n/a`, `?`.",
        "- `items[].qty` has values of a wider type: `numeric`, where it was `bigint`. 2 of the 4 elements of `items`"
        " read since then have it.",
        "- `email` is new, of type `text`. No examples are shown, as it may hold personal data.",
        "- `status` probably is the new name of `state`.",
        "- `<e-mail>`: a field that had values is always null.",
        "## What we ask",
    ]
    assert "Was each of these changes intended?" in said and "already be migrated" in said
