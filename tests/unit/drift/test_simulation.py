"""A bounded part of `make simulate-drift`: what is found, and what is told of fields that do not change."""

from __future__ import annotations

import pytest

from tests.simulations.drift import CHANGED, QUIET, Value, false_alarms, found, told

_CASES = [(kind, *case) for kind, cases in CHANGED.items() for case in cases]


@pytest.mark.parametrize(
    ("kind", "name", "before", "after"), _CASES, ids=[f"{kind}: {name}" for kind, name, *_ in _CASES]
)
def test_each_change_is_told_within_600_documents(kind: str, name: str, before: Value, after: Value) -> None:
    assert found(kind, before, after, 30, range(2)).share == 1.0


def test_fields_that_do_not_change_are_hardly_told() -> None:
    alarms = false_alarms(30, range(2))
    # Texts that count are constants until the first new one: that is told, and only that.
    assert set(alarms.pop("months")) <= {"constant_changed"}
    assert sum(sum(kinds.values()) for kinds in alarms.values()) / len(alarms) < 0.5


def test_batches_of_a_few_documents_tell_as_much() -> None:
    alarms = false_alarms(3, range(2))
    assert sum(sum(kinds.values()) for kinds in alarms.values()) / len(alarms) < 0.5
    _, since = told(QUIET["constant"], QUIET["four states"], 3, "seed")
    assert since[0][0] == "constant_changed" and since[0][1] <= 9
