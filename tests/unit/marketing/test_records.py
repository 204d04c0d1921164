"""CSV and JSON-lines records: exact, with every odd line accounted for."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
from decimal import Decimal
from typing import Any

import pytest
from bson import Decimal128
from hypothesis import given
from hypothesis import strategies as st

from tasks.marketing.files.records import FileProblem, Record, csv_records, exact_integer, exact_number, json_records


def read_csv(content: bytes, key: tuple[str, ...] = ("a",), chunk: int = 7) -> list[Record]:
    return list(csv_records((content[at : at + chunk] for at in range(0, len(content), chunk)), key))


def documents(content: bytes, **options: Any) -> list[dict[str, Any] | None]:
    return [record.document for record in read_csv(content, **options)]


@given(st.from_regex(r"-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,40})?", fullmatch=True))
def test_a_json_number_keeps_its_digits_whichever_way_it_is_read(text: str) -> None:
    found = exact_number(text)
    if isinstance(found, Decimal128):
        assert found.bid == Decimal128(Decimal(text)).bid
    else:
        assert str(found) == text
    if "." not in text:
        assert exact_integer(text) == found


def test_empty_cell_and_quoted_empty_cell_differ() -> None:
    assert documents(b'a,b,c\n1,,""\n') == [{"a": "1", "b": None, "c": ""}]


def test_quotes_delimiters_and_line_ends_inside_cells() -> None:
    content = b'a,b\r\n1,"x, ""y""\r\nz"\r\n2,5" pipe\r\n'
    assert documents(content) == [{"a": "1", "b": 'x, "y"\r\nz'}, {"a": "2", "b": '5" pipe'}]


@pytest.mark.parametrize("encode", [str.encode, lambda t: codecs.BOM_UTF8 + t.encode(), lambda t: t.encode("utf-16")])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_encodings_and_gzip(encode: Any, pack: Any) -> None:
    assert documents(pack(encode("a\tb\nÄ\t✓\n"))) == [{"a": "Ä", "b": "✓"}]


def test_bad_lines_are_rejected_alone_with_their_bytes() -> None:
    content = b'a,b\n1,2\n3\n4,5,6\n\xff,7\n"8"x,9\n10,11\n'
    records = read_csv(content)
    assert [r.document for r in records if r.document] == [{"a": "1", "b": "2"}, {"a": "10", "b": "11"}]
    refused = {record.line: (record.raw, record.reason) for record in records if record.document is None}
    assert refused == {
        3: (b"3", "1 fields where the header has 2"),
        4: (b"4,5,6", "3 fields where the header has 2"),
        5: (b"\xff,7", "not valid UTF-8 at byte 1 of the line"),
        6: (b'"8"x,9', "text follows a closing quote"),
    }


def test_a_quote_that_never_closes_costs_one_line_only() -> None:
    records = read_csv(b'a,b\n"1,2\n3,4\n5,6\n')
    assert [(r.line, r.document, r.reason) for r in records] == [
        (2, None, "a quote is opened and never closed"),
        (3, {"a": "3", "b": "4"}, ""),
        (4, {"a": "5", "b": "6"}, ""),
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"b,c\n1,2\n", "key column a"),
        (b"a,b,b\n", "twice: 'b'"),
        (b"a,,c\n", "without a usable name"),
        (b"a,_id\n", "called _id"),
        (b"\x1f\x8bbroken", "gzip"),
        (gzip.compress(b"a,b\n1,2\n", mtime=0)[:-9], "gzip"),
    ],
)
def test_files_that_cannot_be_read_say_why(content: bytes, said: str) -> None:
    with pytest.raises(FileProblem, match=said):
        read_csv(content)


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
def test_any_end_of_line_is_read_whatever_the_chunks(end: str, last: bool) -> None:
    content = f"a,b{end}1,x{end}{end}2,y{end if last else ''}".encode()
    for chunk in range(1, len(content) + 1):
        records = read_csv(content, chunk=chunk)
        assert [(r.line, r.document) for r in records] == [(2, {"a": "1", "b": "x"}), (4, {"a": "2", "b": "y"})]


@pytest.mark.parametrize(
    "content", [b"a,b\n1,x\r2,y\n3,z\n", b"a,b\r1,x\n2,y\r3,z\r", b'a,b\n1,"x"\n"1",x\r2,y\n3,z\n']
)
def test_lines_that_end_in_two_ways_are_refused_and_never_taken_for_one(content: bytes) -> None:
    records = read_csv(content)
    assert [r.document for r in records if r.document][-1] == {"a": "3", "b": "z"}
    assert [r.reason for r in records if r.document is None] == [
        "lines of this file end in two ways: save it with one of them"
    ]


_CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)


@given(
    st.lists(st.lists(_CELL, min_size=3, max_size=3), max_size=8),
    st.integers(1, 9),
    st.sampled_from(["\r", "\n", "\r\n"]),
)
def test_what_pythons_writer_wrote_is_read_back(rows: list[list[str]], chunk: int, end: str) -> None:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator=end)
    writer.writerow(["a", "b", "c"])
    writer.writerows(rows)
    assert documents(buffer.getvalue().encode(), chunk=chunk) == [dict(zip("abc", row, strict=True)) for row in rows]


def read_json(content: bytes) -> list[Record]:
    return list(json_records(iter([content]), ("a",)))


def test_json_numbers_stay_exact() -> None:
    line = (
        b'{"a": 9007199254740993, "b": 12.50, "c": -0, "d": 9223372036854775808, "e": 1e3, "f": -9223372036854775808}\n'
    )
    document = read_json(line)[0].document
    assert document is not None
    assert document["a"] == 9007199254740993
    assert document["f"] == -9223372036854775808
    texts = {name: str(document[name]) for name in "bcde"}
    assert texts == {"b": "12.50", "c": "-0", "d": "9223372036854775808", "e": "1E+3"}
    assert all(isinstance(document[name], Decimal128) for name in "bcde")


def test_a_json_number_beyond_every_type_stays_text() -> None:
    text = "1." + "3" * 40
    document = read_json(b'{"a": 1, "b": ' + text.encode() + b"}")[0].document
    assert document == {"a": 1, "b": text}


@given(st.decimals(allow_nan=False, allow_infinity=False, places=6).filter(lambda d: len(d.as_tuple().digits) < 30))
def test_any_json_decimal_keeps_its_value(number: Decimal) -> None:
    document = read_json(f'{{"a": {number:f}}}'.encode())[0].document
    assert document is not None
    value = document["a"]
    assert (value if isinstance(value, int) else value.to_decimal()) == number


def test_bad_json_lines_are_rejected_alone() -> None:
    content = b'\xef\xbb\xbf{"a": 1}\n\n{"a": 1, "a": 2}\n[1]\n{"a": \n{"a": "\xff"}\n{"_id": 1}\n{"a": 5}'
    records = read_json(content)
    assert [record.document for record in records] == [{"a": 1}, None, None, None, None, None, {"a": 5}]
    reasons = [record.reason for record in records if record.document is None]
    assert "'a' occurs twice" in reasons[0]
    assert reasons[1] == "not a JSON object"
    assert "not valid JSON" in reasons[2]
    assert "UTF-8" in reasons[3]
    assert "_id" in reasons[4]
    assert json.loads(records[-1].raw) == {"a": 5}
