"""Values as binary COPY writes them."""

from __future__ import annotations

from datetime import datetime

from hypothesis import given
from hypothesis import strategies as st

from tasks.bronze.postgres import copying


@given(st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)))
def test_far_dates_are_written_as_the_calendar_says(moment: datetime) -> None:
    since = moment - datetime(1970, 1, 1)
    microseconds = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    assert copying._time_text(microseconds) == f"{moment:%H:%M:%S.%f}+00".join(
        [f"{moment.year:04d}-{moment:%m-%d} ", ""]
    )


def test_dates_before_christ() -> None:
    assert copying._day_text(-719_163) == "0001-12-31 BC"
    assert copying._day_text(-2_440_588) == "4714-11-24 BC"
