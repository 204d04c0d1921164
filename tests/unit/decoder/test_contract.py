"""The contract's rules for paths, duplicates, child tables, deletes and arguments, by known answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from tasks.landing.decoder import MAX_PATH_BYTES, MAX_PATHS, Decoder, make_decoder, native_available
from tests.unit.decoder import bson_bytes as b
from tests.unit.decoder.agreement import drain
from tests.unit.decoder.conftest import NEEDS_NATIVE

Make = Callable[..., Decoder]
ONE = b.int32(1)


def _frame(decoder: Decoder, *documents: bytes) -> pl.DataFrame:
    (flush,), _ = drain(decoder, b"".join(documents))
    assert flush.rejects.height == 0
    return flush.tables[""]


def _row(decoder: Decoder, *pairs: tuple[str, b.Value]) -> dict[str, Any]:
    row = _frame(decoder, b.document(("_id", ONE), *pairs)).row(0, named=True)
    return {name: value for name, value in row.items() if name not in ("_id", "_hash") and value is not None}


def test_paths_of_odd_keys_stay_apart(make: Make) -> None:
    row = _row(
        make(),
        ("a", b.sub(("b", b.int32(1)), ("", b.int32(2)))),
        ("a.b", b.int32(3)),
        ("", b.int32(4)),
        ("a|int", b.int32(5)),
        ("a\\", b.sub((".b", b.int32(6)))),
        ("$set", b.int32(7)),
        ("__proto__", b.int32(8)),
        ("ünï €", b.int32(9)),
    )
    assert row == {
        "a.b|int": 1, "a.|int": 2, "a\\.b|int": 3, "|int": 4, "a\\|int|int": 5, "a\\\\.\\.b|int": 6, "$set|int": 7,
        "__proto__|int": 8, "ünï €|int": 9,
    }  # fmt: skip


def test_a_kept_document_is_no_field_and_deletes_have_none(make: Make) -> None:
    decoder = make(documents=True, with_op=True)
    document = b.document(("_id", ONE), ("", ONE), ("|document", b.binary(0, b"x")), ("document", ONE))
    decoder.push(document)
    decoder.push(b.document(("_id", b.int32(2)), ("more", ONE)), op="d")
    decoder.push_delete(b.document(("_id", b.int32(3))))
    frame = decoder.flush().tables[""]
    assert frame["|document|binary"].to_list() == [document, None, None]
    assert frame.row(0, named=True)["\\|document|binary"] == b"x" and "|int" in frame.columns
    assert decoder.stats()[""]["fields"]["|document"]["present"] == 1
    decoder.push_delete(b.document(("_id", b.int32(3))))
    assert "|document|binary" not in decoder.flush().tables[""].columns


def test_every_kind_of_a_path_has_its_column(make: Make) -> None:
    values = [b.int32(1), b.text("x"), b.int64(2), b.double(0.5), b.sub(("k", ONE)), b.array([ONE]), b.NULL]
    frame = _frame(make(), *(b.document(("_id", b.int32(i)), ("v", value)) for i, value in enumerate(values)))
    assert frame.columns[3:] == ["v|int", "v|double", "v|string", "v|json", "v.k|int"]
    assert frame["v|int"].to_list() == [1, None, 2, None, None, None, None]
    assert frame["v|string"].to_list() == [None, "x", None, None, None, None, None]
    assert frame["v|double"].to_list() == [None, None, None, 0.5, None, None, None]
    assert frame["v|json"].to_list() == [None, None, None, None, None, "[1]", None]
    assert frame["v.k|int"].to_list() == [None, None, None, None, 1, None, None]


def test_columns_stand_in_the_order_of_first_sight(make: Make) -> None:
    decoder = make()
    first = _frame(decoder, b.document(("_id", ONE), ("z", ONE), ("m", ONE)))
    second = _frame(decoder, b.document(("a", ONE), ("_id", ONE), ("m", ONE), ("z", b.text("x"))))
    assert first.columns == ["_id", "_hash", "_rescued", "z|int", "m|int"]
    assert second.columns == ["_id", "_hash", "_rescued", "z|string", "m|int", "a|int"]


@pytest.mark.parametrize(
    ("depth", "expected"),
    [
        (1, {"a|json": '{"b":{"c":{"d":1}}}'}),
        (2, {"a.b|json": '{"c":{"d":1}}'}),
        (3, {"a.b.c|json": '{"d":1}'}),
        (4, {"a.b.c.d|int": 1}),
        (64, {"a.b.c.d|int": 1}),
    ],
)
def test_flattening_ends_at_max_depth(make: Make, depth: int, expected: dict[str, Any]) -> None:
    assert _row(make(max_depth=depth), ("a", b.sub(("b", b.sub(("c", b.sub(("d", ONE)))))))) == expected


def test_the_first_of_duplicate_keys_wins_and_later_ones_are_kept(make: Make) -> None:
    decoder = make()
    row = _row(
        decoder,
        ("a", b.int32(1)),
        ("b", b.sub(("x", b.int32(1)), ("x", b.text("2")), ("x", b.NULL))),
        ("a", b.text("later")),
        ("b", b.sub(("y", b.double(2.0)))),
        ("_id", b.int32(9)),
        ('q"', ONE),
        ('q"', b.array([])),
    )
    assert row == {
        "a|int": 1,
        "b.x|int": 1,
        'q"|int': 1,
        "_rescued": '{"b.x|duplicates":["2",null],"a|duplicates":["later"],"b|duplicates":[{"y":2.0}],'
        '"_id|duplicates":[9],"q\\"|duplicates":[[]]}',
    }
    fields = decoder.stats()[""]["fields"]
    assert fields["a"] == {"present": 1, "types": {"int32": 1}, "empty": 0}
    assert "b.y" not in fields


def test_no_value_can_pass_for_the_later_values_of_a_repeated_key(make: Make) -> None:
    first = (b.NULL, b.sub(("y", ONE)), b.array([]), b.text("a"))
    for value in first:
        row = _row(make(), ("a", value), ("a", b.text("99.00")), ("a|duplicates", b.array([ONE])))
        assert row["_rescued"] == '{"a|duplicates":["99.00"]}'
        assert row["a\\|duplicates|json"] == "[1]"


def test_duplicate_keys_within_json_stay(make: Make) -> None:
    assert _row(make(), ("l", b.array([b.sub(("k", ONE), ("k", b.NULL))]))) == {"l|json": '[{"k":1,"k":null}]'}


ORDER = b.document(
    ("_id", b.text("o1")),
    (
        "items",
        b.array(
            [
                b.sub(("sku", b.text("a")), ("discounts", b.array([b.sub(("pct", ONE)), b.int32(7)]))),
                b.NULL,
                b.sub(),
                b.text("loose"),
                b.array([ONE]),
                b.sub(("sku", b.text("b")), ("sku", ONE), ("_id", b.objectid("0" * 24)), ("dim", b.sub(("w", ONE)))),
            ]
        ),
    ),
    ("tags", b.array([ONE])),
)


def test_child_tables(make: Make) -> None:
    decoder = make(children=["items", "items.discounts"])
    (flush,), _ = drain(decoder, ORDER + b.document(("_id", b.int32(2)), ("items", b.text("none"))))
    assert list(flush.tables) == ["", "items", "items.discounts"]
    assert flush.tables[""].columns == ["_id", "_hash", "_rescued", "tags|json"]
    items = flush.tables["items"].head(6)
    assert items["_id"].to_list() == [f"o1:{i}" for i in range(6)]
    assert items["_root_id"].to_list() == items["_parent_id"].to_list() == ["o1"] * 6
    assert items["_position"].to_list() == list(range(6))
    assert items["_rescued"].to_list() == [None] * 5 + ['{"sku|duplicates":[1]}']
    assert flush.tables["items"].row(6, named=True)["value|string"] == "none"
    assert items.select(pl.selectors.contains("|")).to_dict(as_series=False) == {
        "sku|string": ["a", None, None, None, None, "b"],
        "value|string": [None, None, None, "loose", None, None],
        "value|json": [None, None, "{}", None, "[1]", None],
        "_id|objectid": [None] * 5 + ["0" * 24],
        "dim.w|int": [None] * 5 + [1],
    }
    discounts = flush.tables["items.discounts"]
    assert discounts.drop("_rescued").rows() == [
        ("o1:0.0", "o1", "o1:0", 0, 1, None),
        ("o1:0.1", "o1", "o1:0", 1, None, 7),
    ]
    stats = decoder.stats()
    assert stats["items"]["rows"] == 7
    assert stats["items"]["fields"]["value"] == {
        "present": 5, "types": {"string": 2, "document": 1, "array": 1, "null": 1}, "empty": 1,
    }  # fmt: skip
    assert stats["items"]["fields"]["discounts"]["types"] == {"array": 1}
    assert stats[""]["fields"]["items"]["types"] == {"string": 1, "array": 1}


def test_child_tables_under_documents_and_to_any_depth(make: Make) -> None:
    leaf = b.array([ONE, b.int32(2)])
    for _ in range(4):
        leaf = b.array([b.sub(("k", leaf))])
    raw = b.document(("_id", ONE), ("a", b.sub(("k", leaf))))
    (flush,), _ = drain(make(children=["a.k", "a.k.k", "a.k.k.k", "a.k.k.k.k", "a.k.k.k.k.k"]), raw)
    assert [frame.height for frame in flush.tables.values()] == [1, 1, 1, 1, 1, 2]
    deepest = flush.tables["a.k.k.k.k.k"]
    assert deepest["_id"].to_list() == ["1:0.0.0.0.0", "1:0.0.0.0.1"]
    assert deepest["_parent_id"].to_list() == ["1:0.0.0.0"] * 2
    assert deepest["value|int"].to_list() == [1, 2]


def test_a_single_value_in_the_place_of_an_array_is_its_element(make: Make) -> None:
    line = b.sub(("q", b.int32(3)), ("notes", b.array([b.text("n")])))
    decoder = make(children=["refunds", "refunds.lines", "refunds.lines.notes"])
    documents = [
        b.document(("_id", b.int32(1)), ("refunds", b.array([b.sub(("x", ONE)), b.sub(("lines", line))]))),
        b.document(("_id", b.int32(2)), ("refunds", b.sub(("x", b.int32(2)), ("lines", b.array([line]))))),
        b.document(("_id", b.int32(3)), ("refunds", b.text("")), ("other", ONE)),
        b.document(("_id", b.int32(4)), ("refunds", b.sub(("value", b.int32(7)), ("", b.int32(8))))),
        b.document(("_id", b.int32(5)), ("refunds", b.sub())),
        b.document(("_id", b.int32(6)), ("refunds", (0x0A, b""))),
        b.document(("_id", b.int32(7)), ("refunds", b.int32(9))),
    ]
    (flush,), _ = drain(decoder, b"".join(documents))
    assert [name for name in flush.tables[""].columns if "|" in name] == ["other|int"]
    refunds = {row.pop("_id"): row for row in flush.tables["refunds"].drop("_rescued").to_dicts()}
    assert list(refunds) == ["1:0", "1:1", "2:-", "3:-", "4:-", "5:-", "7:-"]
    assert {(row["_root_id"], row["_parent_id"]) for row in refunds.values()} == {(n, n) for n in "123457"}
    assert [refunds[key]["value|int"] for key in ("4:-", "7:-")] == [7, 9] and refunds["4:-"]["|int"] == 8
    assert (refunds["2:-"]["x|int"], refunds["2:-"]["_position"]) == (2, 0)
    assert (refunds["3:-"]["value|string"], refunds["5:-"]["value|json"]) == ("", "{}")
    for child, expected in {
        "refunds.lines": [("1:1.-", "1", "1:1", 0), ("2:-.0", "2", "2:-", 0)],
        "refunds.lines.notes": [("1:1.-.0", "1", "1:1.-", 0), ("2:-.0.0", "2", "2:-.0", 0)],
    }.items():
        places = flush.tables[child].select("_id", "_root_id", "_parent_id", "_position").rows()
        assert sorted(places) == expected
    stats = decoder.stats()
    assert {child: found["rows"] for child, found in stats.items()} == {
        **{"": 7, "refunds": 7, "refunds.lines": 2, "refunds.lines.notes": 2}
    }
    assert set(stats[""]["fields"]) == {"_id", "refunds", "other"}
    assert stats[""]["fields"]["refunds"]["types"] == {"array": 1, "document": 3, "string": 1, "null": 1, "int32": 1}
    assert stats["refunds"]["fields"]["value"] == {
        **{"present": 4, "types": {"string": 1, "int32": 2, "document": 1}, "empty": 2}
    }
    assert stats["refunds"]["fields"]["x"] == {"present": 2, "types": {"int32": 2}, "empty": 0}


def test_children_have_rows_only_where_arrays_do(make: Make) -> None:
    (flush,), _ = drain(make(children=["items"]), b.document(("_id", ONE), ("items", b.array([]))))
    assert list(flush.tables) == [""]


def test_deletes(make: Make) -> None:
    decoder = make(with_op=True)
    decoder.push(b.document(("_id", b.int32(1)), ("a", ONE)))
    decoder.push_delete(b.document(("region", b.text("eu")), ("_id", b.int32(1))))
    decoder.push(b.document(("_id", b.int32(2))), 0, "d")
    decoder.push_delete(b.document(("region", ONE)))
    decoder.push_delete(b"\x05\0\0\0\0\0")
    assert decoder.pending_rows == 3
    flush = decoder.flush()
    frame = flush.tables[""]
    assert frame.columns == ["_id", "_hash", "_op", "_rescued", "a|int"]
    assert frame["_op"].to_list() == ["u", "d", "d"]
    assert frame["_id"].to_list() == ["1", "1", "2"]
    assert frame["_hash"].is_null().to_list() == [False, True, True]
    assert flush.rejects["reason"].to_list() == ["no _id", "length prefix is unusable"]
    stats = decoder.stats()[""]
    assert (stats["rows"], stats["deletes"]) == (1, 2)
    assert stats["fields"]["_id"]["present"] == 1


def test_flush_starts_anew_but_statistics_go_on(make: Make) -> None:
    decoder = make()
    raw = b.document(("_id", ONE), ("a", ONE))
    for expected in (1, 2):
        assert decoder.push(raw) == len(raw)
        assert decoder.pending_rows == 1
        assert decoder.flush().tables[""].height == 1
        assert (decoder.pending_rows, decoder.pending_bytes) == (0, 0)
        assert decoder.stats()[""]["fields"]["a"]["present"] == expected
    empty = decoder.flush()
    assert empty.tables[""].columns == ["_id", "_hash", "_rescued"]
    assert empty.tables[""].height == empty.rejects.height == 0


def test_push_takes_offsets_and_memoryviews(make: Make) -> None:
    one, two = (b.document(("_id", b.int32(number))) for number in (1, 2))
    decoder = make()
    assert decoder.push(one + two, len(one)) == len(one + two)
    assert decoder.push(memoryview(bytearray(two + one))[len(two) :]) == len(one)
    assert decoder.push(b"") == 0
    assert decoder.push(one, len(one)) == len(one)
    assert decoder.flush().tables[""]["_id"].to_list() == ["2", "1"]


def test_paths_past_the_limits_are_set_aside(make: Make) -> None:
    long = "k" * (MAX_PATH_BYTES + 1)
    keys = [f"f{index}" for index in range(MAX_PATHS + 1)]
    decoder = make()
    first = _frame(decoder, b.document(("_id", ONE), (long, b.text("kept")), *((key, b.NULL) for key in keys)))
    # `_id` is a path too.
    assert first["_rescued"].to_list() == [f'{{"{long}":"kept","f{MAX_PATHS - 1}":null,"f{MAX_PATHS}":null}}']
    late = [("late", b.sub(("x", ONE))), ("late", ONE), ("f1", ONE)]
    second = _frame(decoder, b.document(("_id", ONE), *late))
    assert second["_rescued"].to_list() == ['{"late":{"x":1},"late|duplicates":[1]}']
    assert second["f1|int"].to_list() == [1]
    stats = decoder.stats()[""]
    assert len(stats["fields"]) == MAX_PATHS
    assert stats["overflow"] == 5


def test_wrong_arguments(make: Make) -> None:
    for options in ({"max_depth": 0}, {"max_depth": 65}, {"max_bytes": 0}, {"children": [""]}):
        with pytest.raises(ValueError, match="must be|needs a path"):
            make(**options)
    with pytest.raises((ValueError, OverflowError)):
        make(seed=2**64)
    decoder = make()
    for start, op in ((1, "u"), (-1, "u"), (0, "d"), (0, "x")):
        with pytest.raises(ValueError, match="start lies|op must"):
            decoder.push(b"", start, op)
    with pytest.raises(ValueError, match="op must"):
        decoder.push_delete(b.document(("_id", ONE)))


def test_make_decoder_takes_the_native_one_where_it_is() -> None:
    expected = "NativeDecoder" if native_available() else "ReferenceDecoder"
    assert type(make_decoder()).__name__ == expected


@NEEDS_NATIVE
def test_native_lets_other_threads_run() -> None:
    """While one thread decodes, another one goes on: without the GIL released it would stand still."""
    raw = b"".join(b.document(("_id", b.int32(index)), ("t", b.text("x" * 50))) for index in range(20_000)) * 20
    decoder = make_decoder(implementation="native", max_bytes=1 << 40)
    worker = threading.Thread(target=decoder.push, args=(raw,))
    worker.start()
    started = last = time.monotonic()
    longest = 0.0
    while worker.is_alive():
        now = time.monotonic()
        longest, last = max(longest, now - last), now
    assert decoder.pending_rows == 400_000
    assert longest < (last - started) / 2


def test_make_decoder_falls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert type(make_decoder()).__name__ == "DriverDecoder"
