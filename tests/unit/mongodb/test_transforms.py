"""Transforms act on landed columns of every kind of a path, exactly or not at all."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import polars as pl
import pytest

from tasks.errors import ConfigError
from tasks.landing.transforms import Transforms
from tasks.sources import Transform

FRAME = pl.DataFrame(
    {
        "_id": ["1", "2", "3"],
        "_rescued": [None, '{"email":"x"}', None],
        "email|string": ["a@x", None, None],
        "email|int": [None, 5, None],
        "email.verified|bool": [True, None, None],
        "total|string": ["12.50", "oops", None],
        "total|int": [None, None, 7],
        "discount|double": [0.5, 1.0, None],
    }
)


def apply(*steps: dict[str, Any]) -> pl.DataFrame:
    return Transforms([Transform.model_validate(step) for step in steps]).apply(FRAME)


def test_drop_takes_every_kind_and_all_below_it_and_what_was_set_aside() -> None:
    dropped = apply({"drop": "email"})
    assert not [name for name in dropped.columns if name.startswith("email")]
    assert dropped["_rescued"].null_count() == 3


def test_hash_is_a_keyed_digest_of_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAREHOUSE_HASH_KEY", "key")
    hashed = apply({"hash": "email"})
    expected = hmac.new(b"key", b"a@x", hashlib.sha256).hexdigest()
    five = hmac.new(b"key", b"5", hashlib.sha256).hexdigest()
    assert hashed["email|string"].to_list()[:2] == [expected, five]
    assert "email|int" not in hashed.columns


def test_steps_reach_into_child_tables_and_take_what_was_set_aside_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAREHOUSE_HASH_KEY", "key")
    steps = [{"drop": "items.email"}, {"hash": "items.codes.value"}, {"cast": {"items.price": "decimal"}}]
    transforms = Transforms([Transform.model_validate(step) for step in steps], ("items", "items.codes"))
    items = pl.DataFrame({"_id": ["1:0"], "email|string": ["a@x"], "price|int": [5], "_rescued": ['{"email":"a@x"}']})
    codes = pl.DataFrame({"_id": ["1:0.0"], "value|int": [7], "email|string": ["kept"], "_rescued": [None]})
    found = transforms.apply_tables({"": FRAME, "items": items, "items.codes": codes})
    assert found["items"].to_dicts() == [{"_id": "1:0", "price|int": None, "_rescued": None, "price|decimal": "5"}]
    seven = hmac.new(b"key", b"7", hashlib.sha256).hexdigest()
    assert found["items.codes"]["value|string"].to_list() == [seven]
    assert found["items.codes"]["email|string"].to_list() == ["kept"]
    assert found[""]["email|string"].to_list() == FRAME["email|string"].to_list()
    counted = {"email": {"present": 1, "types": {"string": 1}, "empty": 0}}
    statistics = transforms.apply_statistics({"": {"rows": 3, "fields": {}}, "items": {"rows": 1, "fields": counted}})
    assert statistics["items"]["fields"]["email"] == {"present": 0, "types": {"dropped": 1}, "empty": 0}


def test_the_hash_of_a_document_tells_all_its_fields_whatever_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAREHOUSE_HASH_KEY", "key")
    transforms = Transforms([Transform(hash="who")])
    frame = pl.DataFrame(
        {
            "_id": ["1", "2", "3", "4", "5"],
            "who.mail|string": ["a@x", "a@x", None, None, "a@x"],
            "who.age|int": [1, 2, None, None, 1],
            "who|string": [None, None, "a@x", None, None],
        }
    )
    hashed = transforms.apply(frame)["who|string"].to_list()
    assert len(set(hashed)) == 4 and hashed[0] == hashed[4] and hashed[3] is None
    assert hashed[2] == hmac.new(b"key", b"a@x", hashlib.sha256).hexdigest()
    assert transforms.apply(frame.select("_id", *reversed(frame.columns[1:])))["who|string"].to_list() == hashed
    assert transforms.apply(frame.clear()).height == 0


@pytest.mark.parametrize("step", ["drop", "hash"])
def test_what_lies_within_json_is_told_and_not_left_there(monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    monkeypatch.setenv("WAREHOUSE_HASH_KEY", "key")
    transforms = Transforms([Transform.model_validate({step: "items.email"})])
    texts = ['[{"sku":"s"}]', '[{"by":"email"}]', r'["\"email\":", ":"]']
    harmless = pl.DataFrame({"_id": ["1", "2", "3"], "items|json": texts})
    assert transforms.apply(harmless).equals(harmless)
    with pytest.raises(ConfigError, match=r"'items' is an array or JSON.*arrays: \{items: table\}"):
        transforms.apply(pl.DataFrame({"_id": ["1"], "items|json": ['[{"email":"a@x"}]']}))


def test_hash_without_a_key_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WAREHOUSE_HASH_KEY", raising=False)
    with pytest.raises(ConfigError, match="WAREHOUSE_HASH_KEY"):
        apply({"hash": "email"})


def test_rename_moves_every_kind_and_refuses_to_overwrite() -> None:
    renamed = apply({"rename": {"email": "mail"}})
    assert {"mail|string", "mail|int", "mail.verified|bool"} <= set(renamed.columns)
    with pytest.raises(ConfigError, match="overwrite"):
        apply({"rename": {"discount": "x"}}, {"rename": {"total": "email"}})


def test_cast_moves_what_is_exact_and_leaves_the_rest() -> None:
    cast = apply({"cast": {"total": "decimal"}})
    assert cast["total|decimal"].to_list() == ["12.50", None, "7"]
    assert cast["total|string"].to_list() == [None, "oops", None], "what does not fit stays, for the rescue"
    whole = apply({"cast": {"discount": "int"}})
    assert whole["discount|int"].to_list() == [None, 1, None]
    assert whole["discount|double"].to_list() == [0.5, None, None]


def test_derive_computes_from_paths_and_a_missing_one_is_null() -> None:
    derived = apply({"derive": {"name": "half", "expression": "discount / 2", "kind": "double"}})
    assert derived["half|double"].to_list() == [0.25, 0.5, None]
    absent = apply({"derive": {"name": "x", "expression": "coalesce(nowhere, 3)", "kind": "int"}})
    assert absent["x|int"].to_list() == [3, 3, 3]


def test_derive_takes_each_row_with_the_kinds_of_its_own_values() -> None:
    frame = pl.DataFrame(
        {
            "_id": list("123456"),
            "total|int": [10, None, None, None, None, 20],
            "total|double": [None, 10.5, None, None, None, None],
            "total|decimal": [None, None, "12.30", None, None, None],
            "total|string": [None, None, None, "n/a", None, None],
            "discount|int": [1, 1, None, 1, 1, None],
            "discount|double": [None, None, 1.5, None, None, 2.5],
        }
    )
    step = Transform.model_validate({"derive": {"name": "net", "expression": "total - discount", "kind": "double"}})
    expected = [9.0, 9.5, 10.8, None, None, 17.5]
    assert Transforms([step]).apply(frame)["net|double"].round(9).to_list() == expected
    backwards = frame.select("_id", *reversed(frame.columns[1:])).reverse()
    assert Transforms([step]).apply(backwards)["net|double"].round(9).to_list() == expected[::-1]
    assert Transforms([step]).apply(frame.clear())["net|double"].to_list() == []


def test_derive_from_what_no_row_can_give_is_refused() -> None:
    with pytest.raises(ConfigError, match="'x' cannot be computed.*arithmetic"):
        Transforms(
            [Transform.model_validate({"derive": {"name": "x", "expression": "a - 1", "kind": "double"}})]
        ).apply(pl.DataFrame({"_id": ["1"], "a|string": ["text"]}))


def test_statistics_follow_the_steps() -> None:
    transforms = Transforms([Transform.model_validate({"cast": {"total": "decimal"}}), Transform(drop="email")])
    transforms.apply(FRAME)
    fields = {
        "total": {"present": 3, "types": {"string": 2, "int32": 1}, "empty": 0},
        "email": {"present": 2, "types": {"string": 1, "int32": 1}, "empty": 0},
    }
    found = transforms.apply_statistics({"": {"rows": 3, "fields": fields}})[""]["fields"]
    assert found == {
        "total": {"present": 3, "types": {"decimal": 2, "string": 1}, "empty": 0},
        "email": {"present": 0, "types": {"dropped": 2}, "empty": 0},
    }


def test_rejects_keep_no_personal_data() -> None:
    rejects = pl.DataFrame({"_id": ["1"], "reason": ["bad"], "document": ["{}"], "bytes": [b"secret"]})
    kept = Transforms([Transform(drop="email")]).apply_rejects(rejects)
    assert kept["bytes"].to_list() == [None]
    assert Transforms([]).apply_rejects(rejects)["bytes"].to_list() == [b"secret"]
