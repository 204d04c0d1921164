"""Requests to the embedded Prefect server: changes wait for each other, readings wait for nobody."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from infra.embedded.prefect_server import BUSY_MILLISECONDS, give_up_sooner, one_by_one


class Application:
    """Keeps each request until all that can be there at once are there; notes how many were."""

    def __init__(self) -> None:
        self.inside = self.most = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        # Everything else that can run does, before the loop comes back.
        for _ in range(10):
            await asyncio.sleep(0)
        self.inside -= 1
        if scope["path"] == "/broken":
            raise ValueError("no answer")


def received(*messages: dict[str, Any]) -> Any:
    """What a client sends, after which it waits for the answer."""
    left = [*messages]

    async def receive() -> dict[str, Any]:
        return left.pop(0) if left else await asyncio.Event().wait()  # type: ignore[return-value]

    return receive


WHOLE = {"type": "http.request", "body": b"{}", "more_body": False}


@pytest.mark.parametrize(
    ("requests", "together"),
    [
        ([("POST", "/api/flow_runs/"), ("PATCH", "/api/flow_runs/1"), ("DELETE", "/api/flow_runs/2")], 1),
        ([("POST", "/api/flow_runs/"), ("GET", "/api/flow_runs/1"), ("POST", "/api/flow_runs/filter")], 3),
        ([("GET", "/api/health"), ("GET", "/api/health")], 2),
    ],
)
def test_changes_wait_for_each_other(requests: list[tuple[str, str]], together: int) -> None:
    application = Application()

    async def ask() -> None:
        served = one_by_one(application)
        scopes = [{"type": "http", "method": method, "path": path} for method, path in requests]
        await asyncio.gather(*(served(scope, received(WHOLE), None) for scope in scopes))  # type: ignore[arg-type]

    asyncio.run(ask())
    assert application.most == together


def test_a_change_that_fails_keeps_nobody_waiting() -> None:
    async def ask() -> None:
        served = one_by_one(Application())
        with pytest.raises(ValueError, match="no answer"):
            await served({"type": "http", "method": "POST", "path": "/broken"}, received(WHOLE), None)  # type: ignore[arg-type]
        await asyncio.wait_for(served({"type": "http", "method": "POST", "path": "/"}, received(WHOLE), None), 10)  # type: ignore[arg-type]

    asyncio.run(ask())


def test_a_request_reaches_the_application_as_it_was_sent() -> None:
    sent = [{"type": "http.request", "body": part, "more_body": part != b"c"} for part in (b"a", b"b", b"c")]
    seen: list[bytes] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        seen.extend([(await receive())["body"] for _ in sent])

    asyncio.run(one_by_one(application)({"type": "http", "method": "POST", "path": "/"}, received(*sent), None))  # type: ignore[arg-type]
    assert seen == [b"a", b"b", b"c"]


def test_a_client_that_stops_while_it_sends_keeps_nobody_waiting() -> None:
    async def ask() -> None:
        served = one_by_one(Application())
        scope = {"type": "http", "method": "POST", "path": "/"}
        half = asyncio.ensure_future(served(scope, received(WHOLE | {"more_body": True}), None))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        await asyncio.wait_for(served(scope, received(WHOLE), None), 10)  # type: ignore[arg-type]
        assert not half.done()
        half.cancel()

    asyncio.run(ask())


def test_a_write_waits_for_another_one_as_long_as_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.server.database.configurations import AioSqliteConfiguration

    # Set back afterwards.
    monkeypatch.setattr(AioSqliteConfiguration, "setup_sqlite", AioSqliteConfiguration.setup_sqlite)
    give_up_sooner()
    with closing(sqlite3.connect(":memory:")) as connection:
        AioSqliteConfiguration("sqlite+aiosqlite:///:memory:").setup_sqlite(connection, None)  # type: ignore[arg-type]
        assert connection.execute("pragma busy_timeout").fetchone() == (BUSY_MILLISECONDS,)
        assert connection.execute("pragma foreign_keys").fetchone() == (1,)
