"""What the embedded Prefect server serves: Prefect's own application, imported faster, one change after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from tasks.imports import uncollected

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_Application = Callable[[_Message, _Receive, _Send], Awaitable[None]]
BUSY_MILLISECONDS = 20_000
"""How long a write of the server waits for another one: many times what one takes on a busy machine."""
# What only reads, though it is asked by POST.
_READS = ("/filter", "/count", "/history", "/paginate", "/lateness")


def create_app() -> _Application:
    """Return the application for uvicorn; Prefect's settings are in the environment."""
    with uncollected():
        from prefect.server.api import server

        give_up_sooner()
        wait_before_reading()
        return one_by_one(server.create_app())


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

    AioSqliteConfiguration.begin_transaction = begin_transaction  # type: ignore[method-assign, assignment]


def one_by_one(app: _Application) -> _Application:
    """Let requests that change something wait for each other.

    SQLite has one writer. Prefect answers 503 where another one came between a request's read and its write, and its
    clients then wait two seconds before they try again, then four, and so on, and fail after a minute.
    """
    change = asyncio.Lock()

    async def answer(scope: _Message, receive: _Receive, send: _Send) -> None:
        if scope["type"] != "http" or scope["method"] == "GET" or scope["path"].endswith(_READS):
            await app(scope, receive, send)
            return
        # Whoever is slow to send a request, or was stopped in the midst of it, keeps nobody waiting.
        request = [await receive()]
        while request[-1].get("more_body"):
            request.append(await receive())

        async def received() -> _Message:
            return request.pop(0) if request else await receive()

        async with change:
            await app(scope, received, send)

    return answer
