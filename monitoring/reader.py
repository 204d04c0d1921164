"""The read-only role of dashboards and BI tools: what it may see, kept when dbt swaps tables."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit, urlunsplit

from psycopg import errors, sql

from tasks.errors import ConfigError

if TYPE_CHECKING:
    import psycopg

    from tasks.settings import Settings

ROLE = "warehouse_reader"
PERSONAL = (
    *("email", "email_address", "phone", "phone_number", "first_name", "last_name", "full_name", "customer_name"),
    *("birth_date", "birthday", "date_of_birth", "street", "address", "postal_code", "zip", "ip_address", "iban"),
)
"""Columns of gold that the role may not see, by name, until a company adds its own (`warehouse reader --hide`)."""


def apply(connection: psycopg.Connection[Any], role: str, password: str | None, hide: Sequence[str] = ()) -> list[str]:
    """Create the role where it is missing, and give it its rights; safe to repeat.

    Args:
        connection: A connection in autocommit as the owner of the schemas.
        role: Name of the role.
        password: Its password; None leaves that of an existing role alone.
        hide: Further columns of gold that it may not see.

    Returns:
        What was done, in words.

    Raises:
        ConfigError: The owner may not create roles, or a new role has no password.
    """
    from tasks.ops import readers
    from tasks.ops.migrations import migrate

    migrate(connection)
    with connection.transaction():
        said = [_create(connection, role, password)]
        readers.hide(connection, (*PERSONAL, *hide))
        readers.add(connection, role)
        _grant_monitoring(connection, role)
        said.append(f"gold: {_grant_gold(connection, role)} relation(s), without personal columns")
    return said


def personal(connection: psycopg.Connection[Any]) -> frozenset[str]:
    """Return the names of personal columns: the usual ones, and those that the company added."""
    from tasks.ops import readers

    return frozenset((*PERSONAL, *readers.hidden(connection)))


def _create(connection: psycopg.Connection[Any], role: str, password: str | None) -> str:
    name = sql.Identifier(role)
    exists = connection.execute("select from pg_roles where rolname = %s", [role]).fetchone() is not None
    if exists and password is None:
        return f"role {role}: there already, its password is left alone"
    if password is None:
        raise ConfigError(f"the role {role} needs a password", "", "set WAREHOUSE_READER_PASSWORD")
    try:
        verb = sql.SQL("alter" if exists else "create")
        connection.execute(sql.SQL("{} role {} login password {}").format(verb, name, sql.Literal(password)))
        # Habits, not walls: the wall is that nothing but reading is granted.
        connection.execute(sql.SQL("alter role {} set default_transaction_read_only = on").format(name))
        connection.execute(sql.SQL("alter role {} set statement_timeout = '30s'").format(name))
    except errors.InsufficientPrivilege:
        action = f"have an administrator run: create role {role} login password '...'; then repeat this command"
        raise ConfigError("the owner of the warehouse may not create roles", f"role {role}", action) from None
    return f"role {role}: {'password set' if exists else 'created'}"


def _grant_monitoring(connection: psycopg.Connection[Any], role: str) -> None:
    name = sql.Identifier(role)
    database = connection.info.dbname
    connection.execute(sql.SQL("grant connect on database {} to {}").format(sql.Identifier(database), name))
    connection.execute(sql.SQL("grant usage on schema monitoring to {}").format(name))
    connection.execute(sql.SQL("grant select on all tables in schema monitoring to {}").format(name))
    connection.execute(sql.SQL("grant execute on function monitoring.acknowledge(bigint, text) to {}").format(name))
    future = "alter default privileges in schema monitoring grant select on tables to {}"
    connection.execute(sql.SQL(future).format(name))


def _grant_gold(connection: psycopg.Connection[Any], role: str) -> int:
    """Grant what is there now; what dbt builds later, its hook grants."""
    connection.execute("create schema if not exists gold")
    connection.execute(sql.SQL("grant usage on schema gold to {}").format(sql.Identifier(role)))
    granted = connection.execute(
        "select count(ops.grant_reading(c.oid::regclass)::text) from pg_class c "
        "join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'gold' and c.relkind in ('r', 'v', 'm', 'p')"
    ).fetchone()
    return int(granted[0]) if granted else 0


def url_for(settings: Settings) -> str:
    """Return the URL as which dashboards read: the one that is configured, or that of the embedded server's own role.

    Raises:
        ConfigError: A warehouse of one's own is configured, but no reader.
    """
    if settings.reader_url is not None:
        return settings.reader_url.get_secret_value()
    if settings.url is not None:
        raise ConfigError(
            "no read-only role is configured for the dashboard",
            "WAREHOUSE_READER_URL",
            "run `warehouse reader` once as the warehouse's owner, then set the variable to that role's URL",
        )
    return _embedded(settings)


def _embedded(settings: Settings) -> str:
    """Have the role on the embedded server, with a password that is kept beside the server's own."""
    from tasks.database import connect

    path = settings.home / "reader-password"
    if not path.exists():
        kept = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        with os.fdopen(kept, "w") as file:
            file.write(secrets.token_urlsafe(24))
    password = path.read_text().strip()
    owner = settings.database_url()
    with connect(owner, autocommit=True) as connection:
        apply(connection, ROLE, password)
    return as_role(owner, ROLE, password)


def as_role(url: str, role: str, password: str) -> str:
    """Return a Postgres URL with another user and password."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    user = f"{quote(role, safe='')}:{quote(password, safe='')}"
    return urlunsplit(parts._replace(netloc=f"{user}@{host}"))
