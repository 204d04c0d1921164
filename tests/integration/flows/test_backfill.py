"""A backfill through the pipeline against a fake of GA4: killed in the middle it goes on, and nothing is twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from infra.sample.channels.ga4 import Ga4Fake, Property, refused
from infra.sample.channels.server import Asked
from tests.channels import serving

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from conftest import Shop

FIRST, LAST = date(2026, 1, 1), date(2026, 1, 12)
SCRIPT = """\
import datetime, sys
from flows.pipeline import pipeline
pipeline(tables=["web.sessions"], models=False, from_day=sys.argv[1], to_day=sys.argv[2])
"""


def row(day: date) -> dict[str, Any]:
    return {"sessionSource": "news", "sessionMedium": "mail", "sessions": day.day, "purchaseRevenue": f"{day.day}.10"}


class Web:
    """A property with rows on every day, and the days that it was asked for."""

    def __init__(self, address: str, fake: Ga4Fake, shop: Shop, folder: Path) -> None:
        from tests.unit.channels.test_channels import key_of_service_account

        self.fake, self.shop = fake, shop
        (folder / "key.json").write_text(key_of_service_account(f"{address}/ga4/token"))
        source = {
            "kind": "ga4",
            "base_url": f"{address}/ga4",
            "properties": ["1"],
            "credentials": {"key": (folder / "key.json").read_text()},
            "tables": {"sessions": {"lookback": "2d"}},
        }
        shop.sources.write_text(json.dumps({"sources": {"web": source}}))
        # Called in the middle of a request, before it is answered.
        self.before: Callable[[date], None] = lambda day: None

    def asked(self) -> Counter[date]:
        """Return how often each day was asked for; what only looks at the property is left out."""
        bodies = [asked.json for asked in self.fake.log if asked.path != "token"]
        days = [body["dateRanges"][0]["startDate"] for body in bodies if len(body["dimensions"]) > 1]
        return Counter(map(date.fromisoformat, days))

    def bronze(self) -> list[tuple[Any, ...]]:
        return self.shop.query(
            "select date, sessions from bronze.web__sessions where _deleted_at is null and date <= '2026-06-01' "
            "order by 1"
        )

    def daily_state(self) -> Any:
        return self.shop.query("select state - 'backfill' from ops.checkpoints")[0][0]


@pytest.fixture
def web(shop: Shop, tmp_path: Path) -> Iterator[Web]:
    property_ = Property("1", "UTC")
    today = datetime.now(UTC).date()
    for day in [FIRST + timedelta(days=n) for n in range(12)] + [today - timedelta(days=n) for n in range(4)]:
        property_.put(day, [row(day)])
    fake = Ga4Fake(property_)
    answer = fake.answer
    with serving(ga4=fake) as address:
        made = Web(address, fake, shop, tmp_path)

        def watched(asked: Asked) -> Any:
            if asked.path != "token" and len(asked.json["dimensions"]) > 1:
                made.before(date.fromisoformat(asked.json["dateRanges"][0]["startDate"]))
            return answer(asked)

        fake.answer = watched  # type: ignore[method-assign]
        yield made


def test_a_killed_backfill_goes_on_and_doubles_nothing(web: Web, run_pipeline: Callable[..., Any]) -> None:
    assert run_pipeline().is_completed()
    daily = web.daily_state()
    web.fake.log.clear()
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(FIRST), str(LAST)], env=os.environ)
    killed = date(2026, 1, 7)
    web.before = lambda day: os.kill(process.pid, signal.SIGKILL) if day == killed else None
    assert process.wait(120) == -signal.SIGKILL
    # The newest days had landed, none of them was loaded.
    assert sorted(web.asked()) == [date(2026, 1, n) for n in range(7, 13)]
    assert web.bronze() == []
    web.before = lambda day: None
    # The daily run comes in between; it loads what has landed, and its own days.
    assert run_pipeline().is_completed()
    web.fake.log.clear()
    state = run_pipeline(tables=["web.sessions"], from_day=FIRST, to_day=LAST)
    assert state.is_completed(), state.message
    assert web.asked() == Counter(date(2026, 1, n) for n in range(1, 8))
    assert web.bronze() == [(date(2026, 1, n), n) for n in range(1, 13)]
    assert web.daily_state() == daily
    assert web.shop.query("select count(*), count(distinct day) from ops.pulls where day <= '2026-06-01'") == [(12, 12)]


def test_a_used_up_quota_is_respected_by_later_runs(web: Web, run_pipeline: Callable[..., Any]) -> None:
    said = refused(429, "Exhausted property tokens for a project per hour.", "RESOURCE_EXHAUSTED")
    web.fake.fail(
        said, 9, lambda asked: asked.path != "token" and asked.json["dateRanges"][0]["startDate"] < "2026-01-09"
    )
    days = {"from_day": FIRST, "to_day": LAST}
    state = run_pipeline(tables=["web.sessions"], **days)
    assert state.is_failed() and "QuotaExhausted" in state.message
    assert [row[1] for row in web.bronze()] == [9, 10, 11, 12]
    extracts = web.shop.query(
        "select rows_landed, error_class from monitoring.pipeline_log "
        "where stage = 'extract' and table_name = 'sessions'"
    )
    assert extracts == [(4, "quota")]
    web.fake.log.clear()
    web.fake.faults.clear()
    state = run_pipeline()
    assert state.is_failed() and "nothing was asked" in state.message and web.fake.log == []
    web.shop.query("update ops.waits set until = now() returning 1")
    assert run_pipeline(tables=["web.sessions"], **days).is_completed()
    assert sorted(web.asked()) == [date(2026, 1, n) for n in range(1, 9)]


def test_a_plan_prints_the_requests_of_a_declared_api(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from flows.plans import How
    from flows.runs import print_plan
    from tasks.settings import get_settings

    monkeypatch.setenv("API_KEY", "very-secret")
    table = {"path": "t", "params": {"d": "{window.first}", "k": "${API_KEY}"}, "key": ["d"], "day": "d", "step": "1d"}
    source = {"kind": "rest", "base_url": "https://127.0.0.1:1", "tables": {"things": table}}
    shop.sources.write_text(json.dumps({"sources": {"api": source}}))
    print_plan(get_settings(), ["api.things"], How(False, FIRST, FIRST + timedelta(days=29)))
    shown = capsys.readouterr().out
    assert "2026-01-01 to 2026-01-30 again" in shown and "very-secret" not in shown
    lines = [line for line in shown.splitlines() if line.startswith("api.things: ")]
    assert lines[0] == "api.things: GET https://127.0.0.1:1/t?d=2026-01-30&k=${API_KEY} (2026-01-30 to 2026-01-30)"
    assert len(lines) == 21 and lines[-1] == "api.things: ... and 10 more"


def test_a_failed_backfill_keeps_what_it_read(web: Web, run_pipeline: Callable[..., Any]) -> None:
    def forbid(day: date) -> None:
        web.fake.properties["1"].forbidden = day <= date(2026, 1, 5)

    web.before = forbid
    state = run_pipeline(tables=["web.sessions"], from_day=FIRST, to_day=LAST)
    assert state.is_failed() and "1 of 1 accounts could not be read" in state.message
    assert web.bronze() == [(date(2026, 1, n), n) for n in range(6, 13)]
    assert web.shop.query("select state ? 'backfill', state ? 'accounts' from ops.checkpoints") == [(True, False)]
    web.before, web.fake.properties["1"].forbidden = lambda day: None, False
    web.fake.log.clear()
    assert run_pipeline(tables=["web.sessions"], from_day=FIRST, to_day=LAST).is_completed()
    assert sorted(web.asked()) == [date(2026, 1, n) for n in range(1, 6)]
    assert web.bronze() == [(date(2026, 1, n), n) for n in range(1, 13)]
