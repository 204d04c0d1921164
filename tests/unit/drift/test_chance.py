"""When absence, or presence, is evidence, without a server."""

from __future__ import annotations

import pytest

from tasks.drift.chance import is_gone, is_new


@pytest.mark.parametrize(("rate", "most"), [(1.0, 13), (0.7, 13), (0.5, 13), (0.1, 87), (0.01, 916)])
def test_a_field_is_gone_once_chance_would_hardly_leave_it_out_of_so_many_rows(rate: float, most: int) -> None:
    # 0.5^13 and 0.9^87 are above one in ten thousand, 0.5^14 and 0.9^88 below.
    assert not is_gone(rate, 1)
    assert not is_gone(rate, most)
    assert is_gone(rate, most + 1)
    assert is_gone(rate, 10**9)


def test_a_field_that_was_never_seen_is_never_gone() -> None:
    assert not is_gone(0.0, 10**9)


@pytest.mark.parametrize(("rows", "least"), [(10, 2), (100, 4), (1_000, 14)])
def test_so_many_rows_show_what_none_of_a_thousand_did(rows: int, least: int) -> None:
    assert not is_new(1_000, rows, least - 1)
    assert is_new(1_000, rows, least)
