"""Names of columns and relations: unique, in 63 bytes, and back to the path."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.bronze import names
from tasks.bronze.plan import make_plan


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("total", "total"),
        ("a.b.c", "a__b__c"),
        ("a\\.b", "a.b"),
        ("a\\\\b\\|c", "a\\b|c"),
        ("", "_empty"),
        ("_hash", "_hash_"),
        ("XMIN", "XMIN_"),
    ],
)
def test_a_path_keeps_its_name(path: str, name: str) -> None:
    assert names.column_name(path, []) == name


@given(st.lists(st.text(max_size=90), unique=True, max_size=30))
def test_names_never_clash_and_always_fit(paths: list[str]) -> None:
    taken: list[str] = []
    for path in paths:
        taken.append(names.column_name(path, taken))
    assert len({name.lower() for name in taken}) == len(paths)
    assert all(0 < len(name.encode()) <= 63 for name in taken)
    assert not {name.lower() for name in taken} & {"_id", "_hash", "ctid", "_rescued", "_deleted_at"}


@given(
    st.lists(st.sampled_from(["\x00", "\\", "\\u0000", "u0000", ".", "a"]), max_size=6)
    .map("".join)
    .map(lambda key: key.replace("\\", "\\\\").replace(".", "\\."))
)
def test_a_path_is_stored_without_nul_and_comes_back(path: str) -> None:
    assert "\x00" not in names.stored(path) and names.landed(names.stored(path)) == path


def test_long_names_sharing_their_first_63_bytes_stay_apart() -> None:
    first = names.column_name("x" * 100, [])
    second = names.column_name("x" * 100 + "y", [first])
    assert first != second and len(first) == len(second) == 63
    assert names.column_name("x" * 100, []) == first


def test_tables_whose_names_join_alike_stay_apart() -> None:
    first = names.relation_name("a", "b__c", "", [])
    assert names.relation_name("a__b", "c", "", [first]) != first == "a__b__c"


def test_small_letters_keep_the_plain_name_whatever_comes_first() -> None:
    for order in (["Total|int", "total|int"], ["total|int", "Total|int"]):
        plan = make_plan("", [], order, {})
        assert plan.columns["total"].name == "total" and plan.columns["Total"].name.startswith("Total__")
