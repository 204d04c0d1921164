"""Rules are tried on documents as they land: exactly, on every kind of a path, and on the fields of child tables."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from typing import Any

import bson
import polars as pl
import pytest
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from pydantic import ValidationError

from tasks.landing.decoder import make_decoder
from tasks.landing.rules import Rules, breaks
from tasks.sources import Rule, Table

CHILDREN = ("items", "items.parts")


def frames(documents: Sequence[dict[str, Any]], children: Sequence[str] = CHILDREN) -> dict[str, pl.DataFrame]:
    decoder = make_decoder(children=children, seed=1)
    raw = b"".join(bson.encode(document) for document in documents)
    assert decoder.push(raw) == len(raw)
    return dict(decoder.flush().tables)


def broken_by(rule: dict[str, Any], values: Sequence[Any], field: str = "v") -> list[Any]:
    """Return the values whose document breaks the rule; a value of `...` is a missing field."""
    documents = [{"_id": i} | ({} if value is ... else {"v": value}) for i, value in enumerate(values)]
    found = Rules([Rule.model_validate({"field": field, **rule})], CHILDREN).sort(frames(documents))
    return [values[int(number)] for number in found.rejects["_id"]] if found.held else []


def decimal(text: str) -> Decimal128:
    return Decimal128(text)


JUST_ABOVE, JUST_BELOW = decimal("0.30000000000000000001"), decimal("0.29999999999999999999")
DAY = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("rule", "keep", "broken"),
    [
        ({"required": True}, [0, "", False, {"a": 1}, {}, [], float("nan")], [None, ...]),
        ({"type": "int"}, [1, 2**60, None, ...], [1.0, "1", decimal("1"), True, {"a": 1}, [1]]),
        ({"type": "decimal"}, [1, 0.5, decimal("0.5")], ["0.5"]),
        ({"type": "double"}, [1, 0.5], [decimal("0.5")]),
        ({"type": ["string", "int"]}, [1, "1"], [1.5, {"a": 1}]),
        ({"type": "json"}, [[1], {"a": 1}, {}], ["x"]),
        (
            {"range": {"min": 0}},
            [0, 0.0, -0.0, 5, decimal("0E-10"), float("inf"), None, ...],
            [-1, -5e-324, decimal("-1E-6176")],
        ),
        ({"range": {"min": 0}}, [1], ["5", True, {"a": 1}, float("nan"), decimal("NaN"), float("-inf"), DAY]),
        ({"range": {"max": 0.3}}, [JUST_BELOW, decimal("0.3"), 0.3, 0], [JUST_ABOVE, 0.30000000000000004, 1]),
        ({"range": {"min": 0.3}}, [JUST_ABOVE, 0.30000000000000004], [JUST_BELOW, 0.3, 0.29999999999999993]),
        (
            {"range": {"max": "9007199254740993"}},
            [9007199254740993, 9007199254740992.0],
            [9007199254740994, 9007199254740994.0],
        ),
        ({"range": {"min": 0.5, "max": 1.5}}, [1], [0, 2]),
        ({"range": {"max": "1E400"}}, [1e308, 2**62, decimal("1E400")], [float("inf"), decimal("1.1E400")]),
        ({"range": {"min": "1E400"}}, [float("inf"), decimal("1E400")], [1e308, 2**62]),
        (
            {"range": {"min": "2026-03-01", "max": "2026-03-01"}},
            [DAY, DAY + timedelta(days=1, milliseconds=-1)],
            [DAY - timedelta(milliseconds=1), DAY + timedelta(days=1)],
        ),
        (
            {"range": {"min": "2026-03-01T00:00:00.0005"}},
            [DAY + timedelta(milliseconds=1)],
            [DAY, DatetimeMS(-(2**63))],
        ),
        (
            {"range": {"max": "2026-03-01T01:00:00+01:00"}},
            [DAY, DatetimeMS(-(2**63))],
            [DAY + timedelta(milliseconds=1), DatetimeMS(2**63 - 1), 5],
        ),
        ({"set": ["new", "paid"]}, ["new", None, ...], ["New", "", 1, {"a": 1}]),
        (
            {"set": [1, 2.5, True]},
            [1, 1.0, 2.5, decimal("2.50"), True],
            [2, 1.5, False, "1", decimal("NaN"), float("nan")],
        ),
        ({"set": [0.1]}, [decimal("0.1")], [0.1]),
        ({"set": ["new"]}, ["new"], [1.5, 1, decimal("1"), False]),
        ({"regex": "[a-z]+@x"}, ["a@x"], ["a@x\n", "1a@x", "a@xy", 5]),
        ({"regex": "a|b"}, ["a", "b"], ["ab", "ac"]),
    ],
)
def test_exactly_the_values_that_break_a_rule_are_held(
    rule: dict[str, Any], keep: list[Any], broken: list[Any]
) -> None:
    assert [repr(value) for value in broken_by(rule, [*keep, *broken])] == [repr(value) for value in broken]


ODD = ("NaN", "Infinity", "-Infinity", "-0", "0E-6176", "1E-6176", "-1E-6176", "9.999E+6144", "1.20E+3", "1200", "0.10")


def near(number: Decimal, chance: random.Random) -> Decimal:
    """Return a number whose double is that of another, or the one beside it: the middle between both, and around it."""
    double = float(number)
    other = math.nextafter(double, chance.choice([-math.inf, math.inf]))
    with localcontext(prec=60):
        middle = (Decimal(double) + Decimal(other)) / 2
        return chance.choice([Decimal(double), Decimal(other), middle, middle * (1 + chance.randrange(-1, 2) * STEP)])


STEP = Decimal("1E-33")


@pytest.mark.parametrize("seed", range(20))
def test_numbers_are_compared_as_python_compares_them(seed: int) -> None:
    chance = random.Random(seed)
    bounds = [Decimal(chance.choice(["0", "0.3", "-0.1", "1200", "1E+22", "9007199254740993", "1E-400", "1E+400"]))]
    bounds += [found for _ in range(5) if (found := near(chance.choice(bounds), chance)).is_finite()]
    texts = [*ODD, *(str(near(chance.choice(bounds), chance)) for _ in range(200)), *map(str, bounds)]
    doubles = [float(text) for text in texts]
    allowed = {chance.choice([*bounds, *filter(Decimal.is_finite, map(Decimal, texts))]) for _ in range(6)}
    bound = chance.choice(bounds)
    expected: dict[str, Callable[[Decimal], bool]] = {
        "min": lambda value: not value.is_nan() and value >= bound,
        "max": lambda value: not value.is_nan() and value <= bound,
        "set": lambda value: value.is_finite() and value in allowed,
    }
    for name, keeps in expected.items():
        condition = {"set": tuple(allowed)} if name == "set" else {"range": {name: str(bound)}}
        rule = Rule.model_validate({"field": "v", **condition})
        for kind, values in (("decimal", texts), ("double", doubles)):
            told = breaks(rule, "v", pl.DataFrame({f"v|{kind}": values})).to_list()
            assert told == [not keeps(Decimal(value)) for value in values], (rule, kind)


def test_a_field_of_a_nested_document_and_one_of_a_child_table_are_tried() -> None:
    documents = [
        {"_id": 1, "customer": {"country": "DE"}, "items": [{"qty": 1, "parts": [{"n": 1}]}, {"qty": 2}]},
        {"_id": 2, "customer": {"country": "XX"}, "items": [{"qty": 1}]},
        {"_id": 3, "customer": {"country": "DE"}, "items": [{"qty": 1}, {"qty": 0, "parts": [{"n": 5}]}]},
        {"_id": 4, "customer": {"country": "DE"}, "items": [{"qty": 1, "parts": [{"n": 7}]}]},
        {"_id": 5, "customer": {"country": "DE"}, "items": []},
    ]
    rules = [
        {"field": "customer.country", "set": ["DE"]},
        {"field": "items.qty", "range": {"min": 1}, "name": "something is bought"},
        {"field": "items.parts.n", "range": {"max": 6}},
        {"field": "items", "required": True},
    ]
    found = Rules([Rule.model_validate(rule) for rule in rules], CHILDREN).sort(frames(documents))
    assert found.kept[""]["_id"].to_list() == ["1"]
    assert found.kept["items"]["_root_id"].to_list() == ["1", "1"]
    assert found.kept["items.parts"]["_root_id"].to_list() == ["1"]
    assert found.held["items"]["_root_id"].to_list() == ["2", "3", "3", "4"]
    assert found.rejects.select("_id", "reason", "path").rows() == [
        ("2", "rule 'customer.country set' is broken", "customer.country"),
        ("3", "rule 'something is bought' is broken", "items.qty"),
        ("4", "rule 'items.parts.n range' is broken", "items.parts.n"),
        ("5", "rule 'items required' is broken", "items"),
    ]
    told = json.loads(found.rejects["document"][1])
    assert [item["qty"] for item in told["items"]] == [1, 0] and told["items.parts"][0]["n"] == 5


def test_a_rule_that_warns_lets_documents_through_and_counts_them_once() -> None:
    rules = [
        Rule.model_validate({"field": "v", "range": {"min": 0}, "on_fail": "warn"}),
        Rule.model_validate({"field": "v", "type": "int", "on_fail": "warn"}),
        Rule.model_validate({"field": "w", "required": True}),
    ]
    tried = Rules(rules)
    found = tried.sort(frames([{"_id": 1, "v": -1.5, "w": 1}, {"_id": 2, "v": -1, "w": 1}, {"_id": 3, "v": -1}], ()))
    assert found.kept[""]["_id"].to_list() == ["1", "2"]
    assert (tried.warned, tried.warned_rows) == ({"v range": 3, "v type": 1}, 2)


def test_deletes_and_earlier_versions_of_a_document_break_nothing() -> None:
    decoder = make_decoder(with_op=True)
    for version in ({"_id": 1}, {"_id": 1, "v": 1}, {"_id": 2, "v": 1}, {"_id": 2}):
        decoder.push(bson.encode(version))
    decoder.push_delete(bson.encode({"_id": 3}))
    found = Rules([Rule(field="v", required=True)]).sort(dict(decoder.flush().tables))
    assert found.kept[""]["_id"].to_list() == ["1", "1", "3"]
    assert found.held[""]["_id"].to_list() == ["2", "2"] and found.rejects["_id"].to_list() == ["2"]


def test_a_value_that_the_decoder_set_aside_is_there() -> None:
    frame = pl.DataFrame({"_id": ["1", "2", "3"], "_rescued": ['{"v":5}', '{"v":null}', None]})
    found = Rules([Rule(field="v", required=True)]).sort({"": frame})
    assert found.kept[""]["_id"].to_list() == ["1"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"rules": [{"field": "a"}]}, "exactly one of required, type, range, set, regex, reference"),
        ({"rules": [{"field": "a", "required": True, "type": "int"}]}, "exactly one"),
        ({"rules": [{"field": "a", "required": False}]}, "required"),
        ({"rules": [{"field": "a", "range": {}}]}, "min, max, or both"),
        ({"rules": [{"field": "a", "range": {"min": 1, "max": "2026-01-01"}}]}, "both numbers, or both times"),
        ({"rules": [{"field": "a", "range": {"min": 0.12345678901234567}}]}, "written as text"),
        ({"rules": [{"field": "a", "range": {"min": "low"}}]}, "range"),
        ({"rules": [{"field": "a", "range": {"max": "Infinity"}}]}, "must be a number"),
        ({"rules": [{"field": "a", "set": []}]}, "set"),
        ({"rules": [{"field": "a", "reference": "customers"}]}, "reference.table"),
        ({"rules": [{"field": "a", "reference": "shop.customers", "on_fail": "reject"}]}, "a reference only warns"),
        ({"arrays": {"a": "table"}, "rules": [{"field": "a", "reference": "shop.b"}]}, "a is a child table"),
        ({"rules": [{"field": "a", "regex": "(?=a)"}]}, "not a regular expression"),
        ({"rules": [{"field": "a", "type": "int"}, {"field": "a", "type": "int"}]}, "two are called 'a type'"),
        ({"arrays": {"a": "table"}, "rules": [{"field": "a", "type": "json"}]}, "a is a child table"),
        ({"transforms": [{"drop": "a"}], "rules": [{"field": "a.b", "type": "int"}]}, "a.b does not land"),
        ({"transforms": [{"rename": {"a": "b"}}], "rules": [{"field": "a", "type": "int"}]}, "a does not land"),
    ],
)
def test_a_rule_that_makes_no_sense_is_a_mistake(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Table.model_validate(table)


def test_a_reference_warns_and_is_left_to_the_warehouse() -> None:
    rule = Rule.model_validate({"field": "v", "reference": "shop.customers"})
    assert (
        rule.on_fail == "warn"
        and rule.reference
        and (rule.reference.key, rule.reference.field)
        == (
            ("shop", "customers"),
            "_id",
        )
    )
    tried = Rules([rule])
    assert tried.sort(frames([{"_id": 1, "v": 2}], ())).kept[""]["_id"].to_list() == ["1"] and not tried.warned


def test_bounds_are_read_as_written() -> None:
    rule = Rule.model_validate({"field": "a", "range": {"min": 0.1, "max": "0.30000000000000000001"}})
    assert rule.range and (rule.range.min, rule.range.max) == (Decimal("0.1"), Decimal("0.30000000000000000001"))
