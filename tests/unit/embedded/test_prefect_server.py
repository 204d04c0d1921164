"""What the embedded Prefect server does otherwise than Prefect's own: how its transactions wait, and its services."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from docket import Docket
from prefect.server.api import background_workers
from prefect.server.database.configurations import AioSqliteConfiguration

from infra.embedded.prefect_server import (
    BUSY_MILLISECONDS,
    LOOKS_FOR_WORK,
    give_up_sooner,
    look_for_work_less_often,
    wait_before_reading,
)

WRITERS = 4


@pytest.fixture(autouse=True)
def prefects_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is put in the place of Prefect's own is set back afterwards."""
    for name in ("setup_sqlite", "begin_transaction"):
        monkeypatch.setattr(AioSqliteConfiguration, name, getattr(AioSqliteConfiguration, name))
    monkeypatch.setattr(background_workers, "Worker", background_workers.Worker)


def test_a_write_waits_for_another_one_as_long_as_it_is_told() -> None:
    give_up_sooner()
    with closing(sqlite3.connect(":memory:")) as connection:
        AioSqliteConfiguration("sqlite+aiosqlite:///:memory:").setup_sqlite(connection, None)  # type: ignore[arg-type]
        assert connection.execute("pragma busy_timeout").fetchone() == (BUSY_MILLISECONDS,)
        assert connection.execute("pragma foreign_keys").fetchone() == (1,)


def test_what_is_read_and_then_written_is_neither_refused_nor_lost(tmp_path: Path) -> None:
    wait_before_reading()
    file = tmp_path / "prefect.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(
            "pragma journal_mode = wal; create table block (n integer); insert into block select 0"
        )
    configuration = AioSqliteConfiguration(f"sqlite+aiosqlite:///{file}")

    async def change() -> None:
        engine = await configuration.engine()
        async with await configuration.session(engine) as session, configuration.begin_transaction(session):
            read = (await session.execute(sa.text("select n from block"))).scalar_one()
            # The others begin meanwhile, as requests do that come at the same time.
            await asyncio.sleep(0.05)
            await session.execute(sa.text("update block set n = :n"), {"n": read + 1})

    async def all_at_once() -> None:
        await asyncio.gather(*(change() for _ in range(WRITERS)))
        await (await configuration.engine()).dispose()

    asyncio.run(all_at_once())
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("select n from block").fetchone() == (WRITERS,)


def test_the_workers_of_its_services_look_for_work_once_a_second() -> None:
    look_for_work_less_often()
    worker = background_workers.Worker(Docket("services", "memory://"))
    assert (worker.minimum_check_interval, worker.scheduling_resolution) == (LOOKS_FOR_WORK, LOOKS_FOR_WORK)
