"""Whole numbers that no double represents, against Python's own arithmetic."""

from __future__ import annotations

import polars as pl
from hypothesis import example, given
from hypothesis import strategies as st

from tasks.landing.numbers import beyond_double

_LONG = st.integers(-(2**63), 2**63 - 1)


@given(st.lists(st.none() | _LONG | _LONG.map(lambda n: n >> 9 << 9)))
@example([2**53, 2**53 + 1, -(2**53) - 1, -(2**53), None])
@example([2**62, -(2**62), 2**63 - 1, -(2**63)])
def test_those_are_counted_that_a_double_changes(values: list[int | None]) -> None:
    within = [value for value in values if value is not None and abs(value) <= 2**62]
    wrong = sum(int(float(value)) != value for value in within)
    # Above, no number is believed to be exact: a decimal holds it, too.
    wrong += sum(value is not None and abs(value) > 2**62 for value in values)
    frame = pl.DataFrame(
        {"n|int": values, "n|double": [0.5] * len(values)}, schema={"n|int": pl.Int64, "n|double": pl.Float64}
    )
    assert beyond_double(frame) == ({"n": wrong} if wrong else {})
