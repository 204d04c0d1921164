"""What the embedded Prefect server serves: Prefect's own application, imported faster, whose writers wait."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tasks.imports import uncollected

if TYPE_CHECKING:
    from fastapi import FastAPI

BUSY_MILLISECONDS = 20_000
"""How long a write of the server waits for another one: many times what one takes on a busy machine."""


def create_app() -> FastAPI:
    """Return the application for uvicorn; Prefect's settings are in the environment."""
    with uncollected():
        from prefect.server.api import server

        give_up_sooner()
        wait_before_reading()
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
