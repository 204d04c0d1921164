"""What the embedded Prefect server serves: Prefect's own application, imported faster, one change after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import nullcontext
from typing import Any

from tasks.imports import uncollected

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_Application = Callable[[_Message, _Receive, _Send], Awaitable[None]]
# What only reads, though it is asked by POST.
_READS = ("/filter", "/count", "/history", "/paginate", "/read")


def create_app() -> _Application:
    """Return the application for uvicorn; Prefect's settings are in the environment."""
    with uncollected():
        from prefect.server.api import server

        return one_by_one(server.create_app())


def one_by_one(app: _Application) -> _Application:
    """Let requests that change something wait for each other.

    SQLite has one writer. Prefect answers 503 where another one came between a request's read and its write, and its
    clients then wait two seconds before they try again, then four, and so on, and fail after a minute.
    """
    change = asyncio.Lock()

    async def answer(scope: _Message, receive: _Receive, send: _Send) -> None:
        changes = scope["type"] == "http" and scope["method"] != "GET" and not scope["path"].endswith(_READS)
        async with change if changes else nullcontext():
            await app(scope, receive, send)

    return answer
