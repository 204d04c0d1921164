"""Which tables may be asked for certain days, said before anything is started."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest

from flows.plans import How, window
from tasks.errors import ConfigError
from tasks.sources import Sources, load_sources

SOURCES = """\
sources:
  shop: {kind: mongodb, uri: "mongodb://127.0.0.1:1", database: shop, tables: {orders: {}}}
  ads:
    kind: meta_ads
    access_token: token
    tables: {campaigns: {}, ads: {}, campaign_list: {}}
"""
FIRST, LAST = date(2026, 1, 1), date(2026, 3, 31)


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    path = tmp_path / "sources.yaml"
    path.write_text(SOURCES)
    return load_sources(path, {})


def test_days_are_given_to_tables_that_have_days(sources: Sources) -> None:
    found = window(sources, ["ads.campaigns", "ads.ads"], How(False, FIRST, LAST))
    assert found is not None and (found.first, found.last) == (FIRST, LAST)
    assert window(sources, ["shop.orders"], How()) is None


def test_every_table_without_days_is_named(sources: Sources) -> None:
    with pytest.raises(ConfigError) as caught:
        window(sources, ["shop.orders", "ads.campaigns", "ads.campaign_list"], How(False, FIRST, LAST))
    assert [problem.split(" | ")[1] for problem in caught.value.problems] == ["shop.orders", "ads.campaign_list"]
    assert "warehouse reset" in caught.value.problems[0]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (How(False, FIRST), "give both"),
        (How(True, FIRST, LAST), "everything cannot be read at once"),
        (How(False, LAST, FIRST), "before they begin"),
        (How(False, date(2001, 1, 1), date(2001, 1, 2)), "the service keeps 1126 days, 2001-01-02 is older"),
        (How(False, date.today() + timedelta(days=9), date.today() + timedelta(days=9)), "has not begun"),
    ],
)
def test_days_that_cannot_be_meant_are_refused(sources: Sources, how: How, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        window(sources, ["ads.campaigns"], how)
    assert said in str(caught.value)


def test_the_flows_are_given_what_the_command_line_says() -> None:
    how = How(False, FIRST, LAST)
    assert how.parameters() == {"full": False, "from_day": "2026-01-01", "to_day": "2026-03-31"}
    assert how.options() == ["--from", "2026-01-01", "--to", "2026-03-31"]
    assert How(full=True).options() == ["--full"]
