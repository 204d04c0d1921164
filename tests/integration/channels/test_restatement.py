"""Restating pulls into a real Postgres: whatever happens, each day is what its last complete pull said."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from infra.sample.channels.facts import AdAccount, AdDay, Facts
from infra.sample.channels.server import Answer
from infra.sample.channels.tiktok_ads import TiktokAdsFake
from tasks.bronze.load import load_batch
from tasks.bronze.pending import load_pending
from tasks.errors import SourceError
from tasks.settings import Settings
from tests.channels import NOW, Pulls, serving

_ACCOUNTS = ("7000000000000000001", "7000000000000000002")
_LOOKBACK = 3
# As often a request is sent until it fails for good.
_ATTEMPTS = 6


class Warehouse:
    """A fake of TikTok, a source that reads it two rows a page, and bronze."""

    def __init__(self, url: str, home: Path, address: str, fake: TiktokAdsFake, now: datetime = NOW) -> None:
        self.fake = fake
        source = {
            "kind": "tiktok_ads",
            "access_token": "tiktok-token",
            "advertisers": list(fake.facts.accounts),
            "base_url": f"{address}/tiktok",
            "rows": 2,
            "tables": {"campaigns": {"lookback": f"{_LOOKBACK}d", "current_day": True}, "campaign_list": {}},
        }
        self.pulls = Pulls(home, source, now)
        self.settings = Settings(url=SecretStr(url), home=home, landing=str(home / "landing"))
        # By account and day what the last complete pull that was loaded has said.
        self.expected: dict[tuple[str, date], dict[str, tuple[Any, ...]]] = {}
        self.served: set[tuple[Any, ...]] = set()

    def pull(self) -> None:
        """Pull once, and note what the pulls that were whole have said."""
        known = len(self.pulls.manifests("campaigns"))
        with suppress(SourceError, KeyboardInterrupt):
            self.pulls.pull("campaigns")
        for manifest in self.pulls.manifests("campaigns")[known:]:
            for part in manifest.scope.parts:  # type: ignore[union-attr]
                first, last = date.fromisoformat(part.from_), date.fromisoformat(part.to)
                for offset in range((last - first).days + 1):
                    day = first + timedelta(days=offset)
                    rows = {
                        row.campaign_id: values(row) for row in self.fake.facts.accounts[part.account].between(day, day)
                    }
                    self.expected[part.account, day] = rows
                    self.served |= {(part.account, day, name, *found) for name, found in rows.items()}

    def load(self) -> None:
        load_pending(self.pulls.ref("campaigns"), self.settings)

    def query(self, text: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.settings.database_url()) as connection:
            return connection.execute(text).fetchall()

    def exists(self, name: str = "shop__campaigns") -> bool:
        return bool(self.query(f"select to_regclass('bronze.{name}') is not null")[0][0])

    def current(self) -> set[tuple[Any, ...]]:
        if not self.exists() or not self.has_rows():
            return set()
        return set(
            self.query(
                "select account_id, stat_time_day, campaign_id, spend, clicks from bronze.shop__campaigns"
                " where _deleted_at is null"
            )
        )

    def has_rows(self) -> bool:
        return bool(self.query("select exists (select from ops.columns where column_name = 'spend')")[0][0])

    def check(self) -> None:
        expected = {(*key, name, *found) for key, rows in self.expected.items() for name, found in rows.items()}
        assert self.current() == expected
        if not self.exists("shop__campaigns__history") or not self.has_rows():
            assert not self.served
            return
        history = self.query(
            "select account_id, stat_time_day, campaign_id, spend, clicks from bronze.shop__campaigns__history"
        )
        assert set(history) == self.served
        days = self.query("select account, day, row_count from ops.account_days")
        assert {(account, day): count for account, day, count in days} == {
            key: len(rows) for key, rows in self.expected.items()
        }


def values(row: AdDay) -> tuple[Any, ...]:
    return (row.spend.quantize(Decimal("0.01")), row.clicks)


def row(day: date, campaign: str, cents: int) -> AdDay:
    return AdDay(day, campaign, f"c{campaign}", 10 * cents, cents, Decimal(cents) / 100)


def facts(today: date) -> Facts:
    accounts = [AdAccount(name, timezone="UTC") for name in _ACCOUNTS]
    for account in accounts:
        for offset in range(5):
            for campaign in ("1", "2"):
                account.put(row(today - timedelta(days=offset), campaign, 10 + offset))
    return Facts(*accounts)


_days, _account, _campaign = st.integers(0, 4), st.sampled_from(_ACCOUNTS), st.sampled_from(["1", "2", "3"])
_step = st.one_of(
    st.tuples(st.just("put"), _account, _days, _campaign, st.integers(1, 10_000)),
    st.tuples(st.just("drop"), _account, _days, _campaign),
    st.tuples(st.just("clear"), _account, _days),
    st.tuples(st.just("pull")),
    st.tuples(st.just("break off"), st.integers(1, 8), st.integers(1, 10), st.sampled_from([2, _ATTEMPTS])),
    st.tuples(st.just("kill")),
    st.tuples(st.just("forbid"), _account),
    st.tuples(st.just("allow")),
    st.tuples(st.just("load")),
    st.tuples(st.just("next day")),
)


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(_step, min_size=4, max_size=25))
# Days are final, and known to be empty, before the table has its first row.
@example(steps=[*[("next day",)] * 4, ("pull",), ("put", _ACCOUNTS[1], 2, "3", 2)])
def test_each_day_is_what_its_last_complete_pull_said(postgres_server: str, steps: list[tuple[Any, ...]]) -> None:
    from tests.conftest import _database

    urls = _database(postgres_server)
    fake = TiktokAdsFake(facts(NOW.date()))
    with serving(tiktok=fake) as address, tempfile.TemporaryDirectory() as home:
        warehouse = Warehouse(next(urls), Path(home), address, fake)
        for name, *given_ in [*steps, ("allow",), ("pull",), ("load",)]:
            apply(warehouse, name, given_)
        warehouse.check()
    next(urls, None)


def apply(warehouse: Warehouse, name: str, given_: list[Any]) -> None:
    fake, today = warehouse.fake, warehouse.pulls.clock.now().date()
    accounts = fake.facts.accounts
    if name == "put":
        account, offset, campaign, cents = given_
        accounts[account].put(row(today - timedelta(days=offset), campaign, cents))
    elif name == "drop":
        accounts[given_[0]].drop(today - timedelta(days=given_[1]), given_[2])
    elif name == "clear":
        accounts[given_[0]].drop(today - timedelta(days=given_[1]))
    elif name == "break off":
        # The n-th request of the next pull ends in the middle, and so do some of its retries, or all.
        after = len(fake.log) + given_[0]
        fake.fail(Answer({"code": 0, "data": {}}, cut=given_[1]), given_[2], lambda asked: len(fake.log) >= after)
        warehouse.pull()
        fake.faults.clear()
    elif name == "kill":
        with patch.object(warehouse.pulls.landing, "commit", side_effect=KeyboardInterrupt):
            warehouse.pull()
    elif name == "forbid":
        accounts[given_[0]].forbidden = True
    elif name == "allow":
        for account in accounts.values():
            account.forbidden = False
    elif name == "next day":
        warehouse.pulls.clock.sleep(86_400)
    elif name == "pull":
        warehouse.pull()
    else:
        warehouse.load()
        warehouse.check()


@pytest.fixture
def warehouse(postgres_url: str, tmp_path: Path) -> Any:
    fake = TiktokAdsFake(facts(NOW.date()))
    with serving(tiktok=fake) as address:
        yield Warehouse(postgres_url, tmp_path, address, fake)


def test_a_day_that_loses_all_its_rows_is_empty(warehouse: Warehouse) -> None:
    warehouse.pull()
    warehouse.load()
    day = NOW.date() - timedelta(days=1)
    warehouse.fake.facts.accounts[_ACCOUNTS[0]].drop(day)
    warehouse.pull()
    warehouse.load()
    warehouse.check()
    assert warehouse.query(
        f"select row_count, status from ops.account_days where day = '{day}' and account = '{_ACCOUNTS[0]}'"
    ) == [(0, "provisional")]
    changed = warehouse.query(
        "select day, row_count, rows_before, totals ->> 'spend', totals_before ->> 'spend' from ops.restatements"
    )
    assert changed == [(day, 0, 2, None, "0.22")]


def test_a_list_of_campaigns_keeps_what_they_were_called_before(warehouse: Warehouse) -> None:
    warehouse.pulls.pull("campaign_list")
    account = warehouse.fake.facts.accounts[_ACCOUNTS[0]]
    for one in account.rows.values():
        one.campaign_name = one.campaign_name.replace("c1", "renamed")
    account.drop(NOW.date(), "2")
    for offset in range(1, 5):
        account.drop(NOW.date() - timedelta(days=offset), "2")
    warehouse.pulls.pull("campaign_list")
    load_pending(warehouse.pulls.ref("campaign_list"), warehouse.settings)
    named = "select campaign_name from bronze.shop__campaign_list"
    of_first = f"account_id = '{_ACCOUNTS[0]}'"
    assert warehouse.query(f"{named} where {of_first} and _deleted_at is null") == [("renamed",)]
    history = warehouse.query(f"{named}__history where {of_first} order by 1")
    assert [name for (name,) in history] == ["c1", "c2", "renamed"]
    assert warehouse.query("select account, day, row_count from ops.account_days order by 1") == [
        (_ACCOUNTS[0], None, 1),
        (_ACCOUNTS[1], None, 2),
    ]


def test_a_day_is_final_once_it_was_read_after_the_lookback(warehouse: Warehouse) -> None:
    warehouse.pull()
    warehouse.pulls.clock.sleep(86_400)
    warehouse.pull()
    warehouse.load()
    found = warehouse.query("select distinct day, status, final_since is not null from ops.account_days order by day")
    first = NOW.date() - timedelta(days=_LOOKBACK)
    assert [(status, since) for _, status, since in found] == [("final", True)] * 2 + [("provisional", False)] * 3
    assert found[0][0] == first


def test_a_batch_that_is_found_late_takes_no_day_from_a_later_one(warehouse: Warehouse) -> None:
    warehouse.pull()
    (first,) = warehouse.pulls.manifests("campaigns")
    warehouse.fake.facts.accounts[_ACCOUNTS[0]].forbidden = True
    day = NOW.date() - timedelta(days=1)
    for account in warehouse.fake.facts.accounts.values():
        account.put(row(day, "1", 999))
    expected = dict(warehouse.expected)
    warehouse.pull()
    second = warehouse.pulls.manifests("campaigns")[-1]
    assert [part.account for part in second.scope.parts] == [_ACCOUNTS[1]]  # type: ignore[union-attr]
    url, table = warehouse.settings.database_url(), warehouse.pulls.ref("campaigns").table
    load_batch(url, warehouse.pulls.landing, second, table)
    load_batch(url, warehouse.pulls.landing, first, table)
    assert {key[0] for key in warehouse.expected} == set(_ACCOUNTS)
    wanted = {
        (*key, name, *found) for key, rows in (expected | warehouse.expected).items() for name, found in rows.items()
    }
    assert warehouse.current() == wanted


def test_an_account_that_suddenly_answers_nothing_keeps_its_rows(warehouse: Warehouse) -> None:
    warehouse.pull()
    warehouse.load()
    before = warehouse.current()
    account = warehouse.fake.facts.accounts[_ACCOUNTS[0]]
    account.rows.clear()
    with pytest.raises(SourceError, match=f"{_ACCOUNTS[0]}: 6 rows were there at the last read and none is there now"):
        warehouse.pulls.pull("campaigns")
    warehouse.load()
    assert warehouse.current() == before


def test_a_run_that_is_killed_before_its_end_replaces_nothing(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse.pull()
    warehouse.load()
    before = warehouse.current()
    warehouse.fake.facts.accounts[_ACCOUNTS[0]].put(row(NOW.date(), "1", 5_000))

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        # All parts are written by then; only the manifest is missing.
        patch.setattr(warehouse.pulls.landing, "commit", killed)
        with pytest.raises(KeyboardInterrupt):
            warehouse.pulls.pull("campaigns")
    warehouse.load()
    assert warehouse.current() == before
    warehouse.pull()
    warehouse.load()
    warehouse.check()


def test_what_differs_in_older_days_that_are_read_later_is_no_change(warehouse: Warehouse) -> None:
    told = "select distinct field from ops.schema_changes where change = 'constant_changed'"
    today, last_week = NOW.date(), NOW.date() - timedelta(days=7)
    account = warehouse.fake.facts.accounts[_ACCOUNTS[0]]
    for one in warehouse.fake.facts.accounts.values():
        one.rows.clear()
    for day, name in ((last_week, "winter"), (today, "spring")):
        for number in range(30):
            account.put(AdDay(day, f"{number}", name, 10, 1, Decimal("1.10")))
    warehouse.pull()
    warehouse.load()
    warehouse.pulls.pull("campaigns", (last_week, last_week))
    warehouse.load()
    assert warehouse.query(told) == []
    assert warehouse.query("select count(distinct campaign_name) from bronze.shop__campaigns") == [(2,)]
    for number in range(30):
        account.put(AdDay(today, f"{number}", "summer", 10, 1, Decimal("1.10")))
    warehouse.pull()
    warehouse.load()
    assert warehouse.query(told) == [("campaign_name",)]


def test_amounts_are_those_of_the_service_to_the_digit(warehouse: Warehouse) -> None:
    account = warehouse.fake.facts.accounts[_ACCOUNTS[0]]
    account.put(AdDay(NOW.date(), "9007199254740993", "big", 1, 1, Decimal("12345678901234567.89")))
    warehouse.pull()
    warehouse.load()
    found = warehouse.query(
        "select campaign_id, spend from bronze.shop__campaigns where campaign_name = 'big' and _deleted_at is null"
    )
    assert found == [("9007199254740993", Decimal("12345678901234567.89"))]
