"""Connections to the warehouse, and its errors in our words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg import errors

from tasks.errors import LoadError, WarehouseError, WarehouseUnreachable

_CONNECT_SECONDS = 10
# A peer that vanished without a word is noticed after about a minute, not after the kernel's two hours.
_KEEPALIVE: dict[str, Any] = {
    "keepalives": 1,
    "keepalives_idle": 20,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}


def address(url: str) -> str:
    """Return host, port and database of a URL: fit for messages, without credentials."""
    parts = urlsplit(url)
    return f"postgres {parts.hostname or 'socket'}:{parts.port or 5432}{parts.path}"


def connect(url: str, *, autocommit: bool = False, application: str = "warehouse") -> psycopg.Connection[Any]:
    """Open a connection with sane timeouts, in UTC.

    Args:
        url: Postgres URL.
        autocommit: Whether each statement is a transaction of its own.
        application: Name seen in pg_stat_activity.

    Raises:
        WarehouseUnreachable: No answer, wrong credentials, or no such database; says which and what to do.
    """
    try:
        connection = psycopg.connect(
            url,
            autocommit=True,
            connect_timeout=_CONNECT_SECONDS,
            application_name=application,
            client_encoding="utf8",
            **_KEEPALIVE,
        )
    except psycopg.OperationalError as error:
        raise _unreachable(str(error), url) from None
    # Statements instead of start-up options: connection poolers refuse unknown options.
    connection.execute("set timezone = 'UTC'")
    connection.execute("set datestyle = 'ISO, YMD'")
    connection.execute("set extra_float_digits = 1")
    connection.autocommit = autocommit
    return connection


def _unreachable(message: str, url: str) -> WarehouseUnreachable:
    text = " ".join(message.split())
    action = "check that Postgres runs and that WAREHOUSE_URL names its host and port"
    what = "Postgres does not answer"
    if "password authentication failed" in text or "no password supplied" in text or "pg_hba.conf" in text:
        what, action = "Postgres refused the credentials", "correct user and password in WAREHOUSE_URL"
    elif "database" in text and "does not exist" in text:
        what, action = "the database does not exist", "create it, or correct its name in WAREHOUSE_URL"
    elif "too many" in text or "remaining connection slots" in text:
        what, action = "Postgres has no free connection", "lower the concurrency or raise max_connections"
    return WarehouseUnreachable(f"{what}: {text}", address(url), action)


@contextmanager
def named_errors(where: str) -> Iterator[None]:
    """Turn psycopg's errors into ours, each with what to do."""
    try:
        yield
    except WarehouseError:
        raise
    except (errors.AdminShutdown, errors.CrashShutdown, errors.CannotConnectNow) as error:
        raise WarehouseUnreachable(
            f"Postgres ended the connection: {_first_line(error)}", where, "run again when it is back"
        ) from error
    except errors.DiskFull as error:
        raise LoadError(
            f"the disk of Postgres is full: {_first_line(error)}", where, "free space, run again"
        ) from error
    except errors.InsufficientPrivilege as error:
        action = "grant the user of WAREHOUSE_URL CREATE on the database and ownership of schemas ops and bronze"
        raise LoadError(f"Postgres refused: {_first_line(error)}", where, action) from error
    except errors.LockNotAvailable as error:
        action = "find who holds it in pg_locks (often a long query or an open session), then run again"
        raise LoadError(f"a lock was not free in time: {_first_line(error)}", where, action) from error
    except psycopg.OperationalError as error:
        if error.sqlstate is None or error.sqlstate.startswith("08"):
            raise WarehouseUnreachable(
                f"the connection to Postgres was lost: {_first_line(error)}", where, "run again; nothing was lost"
            ) from error
        raise LoadError(_first_line(error), where, "see the message of Postgres") from error
    except (errors.UndefinedColumn, errors.UndefinedTable) as error:
        action = "columns and tables of bronze must stay as loading made them: put it back, or `warehouse rebuild`"
        raise LoadError(_first_line(error), where, action) from error
    except psycopg.Error as error:
        raise LoadError(_first_line(error), where, "see the message of Postgres") from error


def _first_line(error: psycopg.Error) -> str:
    return str(error).strip().split("\n", 1)[0] or type(error).__name__
