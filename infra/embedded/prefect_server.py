"""What the embedded Prefect server serves: Prefect's own application, imported faster, whose writers wait."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from tasks.imports import uncollected

if TYPE_CHECKING:
    from fastapi import FastAPI

BUSY_MILLISECONDS = 20_000
"""How long a write of the server waits for another one: many times what one takes on a busy machine."""
LOOKS_FOR_WORK = timedelta(seconds=1)
"""How often the server looks into the queue of its own services, of which none is due oftener than every second."""


def create_app() -> FastAPI:
    """Return the application for uvicorn; Prefect's settings are in the environment."""
    with uncollected():
        from prefect.server.api import server

        give_up_sooner()
        wait_before_reading()
        look_for_work_less_often()
        return server.create_app()


def give_up_sooner() -> None:
    """Let a write wait for another one for seconds, where Prefect 3.8 lets it wait for a minute.

    With a worker and automations, its background services came to wait for each other now and then: until one gave up
    nothing was written, and no run started or ended. Who gives up tries again. Remove this when that minute can be set.
    """
    from prefect.server.database.configurations import AioSqliteConfiguration

    prefects_own = AioSqliteConfiguration.setup_sqlite

    def setup_sqlite(self: AioSqliteConfiguration, connection: Any, record: Any) -> None:
        prefects_own(self, connection, record)
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS};")
        cursor.close()

    AioSqliteConfiguration.setup_sqlite = setup_sqlite  # type: ignore[method-assign, assignment]


def wait_before_reading() -> None:
    """Let a transaction wait for another one as it begins, where Prefect 3.8 lets it wait only once it writes.

    What it has read by then may have been changed, and SQLite refuses such a write at once, whatever time it may wait:
    Prefect answers 503, and its clients wait two seconds before they try again, then four, and so on. A block of a
    checkpoint, which is read and then written, hardly got past the server's own writers while tasks ran. Remove this
    when Prefect's transactions on SQLite begin IMMEDIATE.
    """
    from prefect.server.database.configurations import AioSqliteConfiguration

    prefects_own = AioSqliteConfiguration.begin_transaction

    def begin_transaction(self: AioSqliteConfiguration, session: Any, with_for_update: bool = False) -> Any:
        return prefects_own(self, session, with_for_update=True)

    AioSqliteConfiguration.begin_transaction = begin_transaction  # type: ignore[method-assign]


def look_for_work_less_often() -> None:
    """Let the server look for work of its own services once a second, where Prefect 3.8 does four times.

    That was a seventh of what an idle server takes. Remove this when Prefect has a setting for it.
    """
    from docket import Worker
    from prefect.server.api import background_workers

    patient = partial(Worker, minimum_check_interval=LOOKS_FOR_WORK, scheduling_resolution=LOOKS_FOR_WORK)
    background_workers.Worker = patient  # type: ignore[attr-defined, assignment]
