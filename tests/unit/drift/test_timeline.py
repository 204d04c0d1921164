"""Which changes count as one release of the application."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.drift.timeline import TOGETHER, releases
from tasks.ops import TableKey
from tasks.ops.schema_changes import Dated, SchemaChange

START = datetime(2026, 1, 1, tzinfo=UTC)


def changes(*batches: tuple[float, int]) -> list[Dated]:
    """Return the changes of batches, each given as the minutes since the first and how many changes it brought."""
    found: list[Dated] = []
    for number, (minutes, count) in enumerate(batches):
        at = START + timedelta(minutes=minutes)
        for _ in range(count):
            values = (len(found), TableKey("shop", "orders"), "f", "appeared", None, "text", f"{number:04}")
            found.append(Dated(SchemaChange(*values, at, "", {}, None, None, None), at))
    return found


@pytest.mark.parametrize(
    ("batches", "expected"),
    [
        ([], []),
        ([(0, 3)], [3]),
        ([(0, 1), (30, 1)], [2]),
        ([(0, 1), (30.5, 1)], [1, 1]),
        # A release that rolls out slowly, and one on the next day.
        ([(0, 2), (20, 1), (40, 1), (1440, 2)], [4, 2]),
    ],
)
def test_changes_of_a_batch_and_of_batches_shortly_after_are_one_release(
    batches: list[tuple[float, int]], expected: list[int]
) -> None:
    assert [len(group) for group in releases(changes(*batches))] == expected


@given(st.lists(st.tuples(st.integers(0, 120), st.integers(1, 4)), max_size=12))
def test_every_change_is_in_one_release_in_its_order(steps: list[tuple[int, int]]) -> None:
    minutes = [sum(step for step, _ in steps[: number + 1]) for number in range(len(steps))]
    given_changes = changes(*((at, count) for at, (_, count) in zip(minutes, steps, strict=True)))
    found = releases(given_changes)
    assert [one for group in found for one in group] == given_changes
    assert all(later[0].at - earlier[-1].at > TOGETHER for earlier, later in pairwise(found))
    assert all(two.at - one.at <= TOGETHER for group in found for one, two in pairwise(group))
