"""Flips of shape and ids of another type, from counts of types alone."""

from __future__ import annotations

import pytest

from tasks.drift.kinds import KINDS
from tasks.drift.shapes import Arrival, Classes, flip, id_type_changed, is_id


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ("document", "string", "became_flat"),
        ("int64", "document", "became_nested"),
        ("document", "array", "became_array"),
        ("string", "array", "became_array"),
        ("array", "document", "became_single"),
        ("array", "double", "became_single"),
    ],
)
def test_a_flip_is_told_by_its_first_document_and_its_way_back(old: str, new: str, kind: str) -> None:
    known: Classes = {}
    assert flip(known, {old: 100, "null": 3}) is None
    found = flip(known, {old: 99, new: 1})
    assert found is not None and found[0] == kind and kind in KINDS
    assert flip(known, {new: 50}) is None, "told once"
    back = flip(known, {old: 50})
    assert back is not None, "the old shape was gone for fifty values"
    assert flip(known, {old: 50, new: 1}) is not None, "and the new one for fifty"


def test_a_field_of_two_shapes_all_along_is_told_never() -> None:
    known: Classes = {}
    found = [flip(known, {"document": number % 3, "string": 2 - number % 3}) for number in range(1, 60)]
    assert found[0] is None
    assert sum(one is not None for one in found) == 0


def test_nulls_are_no_shape_and_what_has_none_changes_none() -> None:
    known: Classes = {}
    assert flip(known, {"null": 5}) is None
    assert flip(known, {"array": 5}) is None
    assert flip(known, {}) is None and flip(known, {"null": 500}) is None
    assert flip(known, {"array": 5}) is None


def test_an_id_of_another_type_is_told_though_both_are_text_in_bronze() -> None:
    known: Classes = {}
    assert id_type_changed(known, "customer.id", {"objectid": 20}) is None
    assert id_type_changed(known, "customer.id", {"objectid": 20, "null": 2}) is None
    assert id_type_changed(known, "customer.id", {"string": 1, "objectid": 19}) == Arrival("objectid", "string")


def test_numbers_of_any_width_are_one_type_of_ids() -> None:
    known: Classes = {}
    assert id_type_changed(known, "order_id", {"int32": 20}) is None
    assert id_type_changed(known, "order_id", {"int64": 20, "double": 1}) is None


@pytest.mark.parametrize("path", ["_id", "id", "user.id", "order_id", "orderId", "a-uuid", "customerUUID"])
def test_ids_are_known_by_their_names(path: str) -> None:
    assert is_id(path, ())


@pytest.mark.parametrize("path", ["paid", "valid", "grid", "video", "idle", "id.total"])
def test_words_that_end_alike_are_no_ids(path: str) -> None:
    assert not is_id(path, ("string",)) and is_id(path, ("objectid",))
