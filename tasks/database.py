"""Connections to the warehouse, and the control tables (schema `ops`) that every stage relies on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg import errors, sql

from tasks.errors import LoadError, WarehouseError, WarehouseUnreachable

# Any number, the same in every process: only one of them upgrades the control tables at a time.
_OPS_LOCK = 5_064_201_101
_CONNECT_SECONDS = 10
# A peer that vanished without a word is noticed after about a minute, not after the kernel's two hours.
_KEEPALIVE: dict[str, Any] = {
    "keepalives": 1,
    "keepalives_idle": 20,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}


def place(url: str) -> str:
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
    return WarehouseUnreachable(f"{what}: {text}", place(url), action)


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


# The models try casts with this function: Postgres has one of its own since 16, which is then used without any cost.
INPUT_IS_VALID = """
    create function ops.input_is_valid(value text, type_name text) returns boolean language sql stable
        as 'select pg_input_is_valid($1, $2)'
"""
INPUT_IS_VALID_BEFORE_16 = """
    create function ops.input_is_valid(value text, type_name text) returns boolean language plpgsql stable strict
    as $body$ begin
        execute format('select %L::%s', value, type_name);
        return true;
    exception when data_exception then
        return false;
    end $body$
"""
_VERSIONS: tuple[str, ...] = (
    """
    create table ops.checkpoints (
        source text not null,
        table_name text not null,
        mode text not null,
        state jsonb not null,
        batch_id text,
        version bigint not null,
        updated_at timestamptz not null default now(),
        flow_run_id text,
        rewound_at timestamptz,
        primary key (source, table_name)
    );
    comment on table ops.checkpoints is
        'One row per table: how far it is loaded. Committed together with the rows it stands for.';
    create table ops.checkpoint_history (
        id bigint generated always as identity primary key,
        source text not null,
        table_name text not null,
        version bigint not null,
        state jsonb not null,
        batch_id text,
        cause text not null,
        updated_at timestamptz not null default now(),
        flow_run_id text
    );
    create index on ops.checkpoint_history (source, table_name, version);
    comment on table ops.checkpoint_history is 'Every value a checkpoint has had, and who set it.';
    create table ops.tables (
        source text not null,
        table_name text not null,
        child text not null default '',
        relation text not null unique,
        created_at timestamptz not null default now(),
        primary key (source, table_name, child)
    );
    comment on table ops.tables is 'Which bronze relation holds which table, array (child) or history.';
    create table ops.columns (
        source text not null,
        table_name text not null,
        child text not null default '',
        path text not null,
        column_name text not null,
        kind text not null,
        pg_type text not null,
        stored boolean not null,
        first_batch text not null,
        position integer not null,
        vanished_batch text,
        created_at timestamptz not null default now(),
        primary key (source, table_name, child, path),
        unique (source, table_name, child, column_name)
    );
    comment on table ops.columns is
        'The name map: the column of each document path, stable for ever. Not stored: its values live in _rescued.';
    create table ops.batches (
        source text not null,
        table_name text not null,
        batch_id text not null,
        status text not null,
        mode text not null,
        scope jsonb not null,
        rows_landed bigint not null,
        rows_inserted bigint not null default 0,
        rows_updated bigint not null default 0,
        rows_unchanged bigint not null default 0,
        rows_deleted bigint not null default 0,
        rows_rejected bigint not null default 0,
        rows_rescued bigint not null default 0,
        child_rows bigint not null default 0,
        schema_changes integer not null default 0,
        bytes bigint not null,
        window_read jsonb,
        previous_checkpoint jsonb,
        fingerprint text,
        plan text,
        extracted_at timestamptz not null,
        loaded_at timestamptz not null,
        seconds double precision not null,
        flow_run_id text,
        primary key (source, table_name, batch_id)
    );
    comment on table ops.batches is 'Every batch that was loaded; a batch in here is never loaded again.';
    create table ops.schema_changes (
        id bigint generated always as identity primary key,
        source text not null,
        table_name text not null,
        field text not null,
        change text not null,
        old_type text,
        new_type text,
        batch_id text not null,
        seen_at timestamptz not null default now(),
        action text not null,
        evidence jsonb not null default '{}'
    );
    create index on ops.schema_changes (source, table_name, field);
    comment on table ops.schema_changes is
        'The ledger of drift: fields that appeared, widened, changed type, vanished or were probably renamed.';
    create table ops.rejects (
        id bigint generated always as identity primary key,
        source text not null,
        table_name text not null,
        batch_id text not null,
        stage text not null,
        document_id text,
        path text,
        reason text not null,
        document text,
        bytes bytea,
        seen_at timestamptz not null default now(),
        replayed_at timestamptz,
        outcome text
    );
    create index on ops.rejects (source, table_name, batch_id);
    comment on table ops.rejects is
        'Documents and rows that could not be loaded, whole: extended JSON in document, the original in bytes.';
    create table ops.field_statistics (
        source text not null,
        table_name text not null,
        child text not null default '',
        path text not null,
        batch_id text not null,
        row_count bigint not null,
        present bigint not null,
        null_count bigint not null,
        empty_count bigint not null,
        types jsonb not null,
        extracted_at timestamptz not null,
        primary key (source, table_name, batch_id, child, path)
    );
    comment on table ops.field_statistics is
        'How often each field was present, null and empty in each batch, and as which BSON types.';
    """,
    """
    alter table ops.field_statistics
        add column rescued bigint not null default 0,
        add column sanitised bigint not null default 0;
    comment on column ops.field_statistics.rescued is
        'Values that did not fit their column and are in _rescued alone, of the rows that were loaded.';
    comment on column ops.field_statistics.sanitised is
        'Values that Postgres holds in another form only (a NUL, an exponent); the original is in _rescued.';
    """,
    f"""
    do $choose$ begin
        if current_setting('server_version_num')::integer >= 160000 then {INPUT_IS_VALID};
        else {INPUT_IS_VALID_BEFORE_16};
        end if;
        comment on function ops.input_is_valid is
            'Whether a text can be read as a type; on a server older than 16 by trying, which is slower.';
    end $choose$;
    """,
    """
    alter table ops.columns drop constraint columns_pkey;
    alter table ops.columns add primary key (source, table_name, child, path, column_name);
    comment on table ops.columns is
        'The name map: the column of each document path, stable for ever. Not stored: its values live in _rescued. '
        'Where a path has several, the first by position is its own, the others take what those before them cannot.';
    """,
)


def ensure_ops(connection: psycopg.Connection[Any]) -> None:
    """Create or upgrade the schemas `bronze` and `ops`; costs one query when all is there.

    Args:
        connection: Outside a transaction, or inside one that may create schemas.
    """
    if _version(connection) == len(_VERSIONS):
        return
    with connection.transaction():
        connection.execute("select pg_advisory_xact_lock(%s)", [_OPS_LOCK])
        connection.execute("create schema if not exists ops")
        connection.execute("create schema if not exists bronze")
        connection.execute(
            "create table if not exists ops.schema_version "
            "(version integer primary key, applied_at timestamptz not null default now())"
        )
        for version in range(_version(connection) + 1, len(_VERSIONS) + 1):
            connection.execute(sql.SQL(_VERSIONS[version - 1]))
            connection.execute("insert into ops.schema_version (version) values (%s)", [version])


def _version(connection: psycopg.Connection[Any]) -> int:
    found = connection.execute("select to_regclass('ops.schema_version')").fetchone()
    if found is None or found[0] is None:
        return 0
    row = connection.execute("select coalesce(max(version), 0) from ops.schema_version").fetchone()
    return int(row[0]) if row else 0
