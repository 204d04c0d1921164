"""A warehouse with the tables of monitoring and of the loads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tasks.database import connect
from tasks.ops.migrations import migrate


@pytest.fixture
def connection(postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    with connect(postgres_url, autocommit=True) as opened:
        migrate(opened)
        yield opened
