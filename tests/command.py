"""The command line within the process of a test, and what it left in the warehouse."""

from __future__ import annotations

from typing import Any

import psycopg

from flows import cli
from tasks.settings import get_settings


def run(*arguments: str) -> int:
    """Run a command under the settings of this moment and return its exit code."""
    get_settings.cache_clear()
    return cli.invoke([*arguments])


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query on the warehouse."""
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()
