"""The logging table: one row per flow run, source and table, written again and again with the same result."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, LiteralString

from monitoring.clock import Part
from monitoring.masking import mask

if TYPE_CHECKING:
    import psycopg

COLUMNS = (
    "id",
    "flow_run_id",
    "parent_run_id",
    "flow_name",
    "stage",
    "source",
    "table_name",
    "state",
    "started_at",
    "ended_at",
    "seconds",
    "rows_read",
    "bytes_read",
    "rows_landed",
    "rows_loaded",
    "rows_unchanged",
    "rows_rejected",
    "rows_warned",
    "rows_rescued",
    "rows_deleted",
    "rows_per_second",
    "window_from",
    "window_to",
    "batch_id",
    "schema_changes",
    "attempt",
    "pod",
    "peak_memory_bytes",
    "cpu_seconds",
    "error_class",
    "error_message",
    "artifact_key",
    "expected_at",
    "process",
    "tables",
    "models",
)
"""The columns that are written.

`process` is host and process id of a run that no worker watches over, `tables` what a run was asked for, null all,
`models` whether a pipeline was asked for models, too.
"""
COUNTS = (
    "rows_read",
    "bytes_read",
    "rows_landed",
    "rows_loaded",
    "rows_unchanged",
    "rows_rejected",
    "rows_warned",
    "rows_rescued",
    "rows_deleted",
    "schema_changes",
)
"""Columns that are summed over the rows of a table."""

# Any value serves, as long as it never changes: ids of rows are derived from it.
_NAMESPACE = uuid.UUID("6f1a0c4e-6a55-5b5e-9b51-2f3c6a3f0d11")


# A row that Prefect's history gives knows no process; the start row does.
_REPLACE: dict[str, LiteralString] = {"process": "{0} = coalesce(excluded.{0}, pipeline_log.{0})"}


def row_id(row: Mapping[str, Any]) -> uuid.UUID:
    """Return the id of a row: the same run, stage and table give the same id."""
    parts = (row.get(name) for name in ("flow_run_id", "stage", "source", "table_name"))
    return uuid.uuid5(_NAMESPACE, "\x1f".join("" if part is None else str(part) for part in parts))


def write(connection: psycopg.Connection[Any], rows: Iterable[Mapping[str, Any]]) -> int:
    """Write rows into monitoring.pipeline_log, replacing those with the same id.

    Args:
        connection: An open connection; the rows are committed.
        rows: Dicts with keys of `COLUMNS`; absent ones are null.

    Returns:
        Number of rows written.
    """
    from psycopg import sql

    names = COLUMNS
    statement = sql.SQL(
        "insert into monitoring.pipeline_log ({}) values ({}) on conflict (id) do update set {}, logged_at = now()"
    ).format(
        sql.SQL(", ").join(map(sql.Identifier, names)),
        sql.SQL(", ").join(sql.Placeholder() for _ in names),
        sql.SQL(", ").join(
            sql.SQL(_REPLACE.get(name, "{0} = excluded.{0}")).format(sql.Identifier(name)) for name in names[1:]
        ),
    )
    values = [_values({**row, "id": row_id(row)}, names) for row in rows]
    with connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(statement, values)
    return len(values)


def remove(connection: psycopg.Connection[Any], run_id: uuid.UUID) -> None:
    """Remove the rows of a run that is none of this warehouse."""
    connection.execute("delete from monitoring.pipeline_log where flow_run_id = %s", [run_id])


def read_run(connection: psycopg.Connection[Any], pipeline_run_id: str) -> list[dict[str, Any]]:
    """Return the log rows of a pipeline run and its children, in order of their start."""
    return _rows(
        connection,
        "select * from monitoring.pipeline_log where flow_run_id = %(run)s or parent_run_id = %(run)s "
        "order by started_at nulls last, stage, source, table_name",
        {"run": pipeline_run_id},
    )


def latest_run(connection: psycopg.Connection[Any], before: str | None = None) -> str | None:
    """Return the id of the newest pipeline run, or of the one before the run `before`; None when there is none."""
    row = connection.execute(
        "select flow_run_id from monitoring.pipeline_log where stage = 'pipeline' and flow_run_id is not null "
        "and (%(before)s::uuid is null or coalesce(started_at, expected_at) < "
        "(select min(coalesce(started_at, expected_at)) from monitoring.pipeline_log "
        "where flow_run_id = %(before)s::uuid)) order by coalesce(started_at, expected_at) desc limit 1",
        {"before": before},
    ).fetchone()
    return str(row[0]) if row else None


def states(connection: psycopg.Connection[Any], run_ids: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """Return state, attempt and whether a failure is told, of those runs that have a row of their own."""
    rows = connection.execute(
        "select flow_run_id::text, state, attempt, error_class is not null from monitoring.pipeline_log "
        "where table_name is null and flow_run_id = any(%s::uuid[])",
        (list(run_ids),),
    ).fetchall()
    return {row[0]: tuple(row[1:]) for row in rows}


def open_runs(connection: psycopg.Connection[Any], names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the own rows of runs whose state is one of the given names."""
    return _rows(
        connection,
        "select * from monitoring.pipeline_log where table_name is null and state = any(%(names)s) order by started_at",
        {"names": list(names)},
    )


def open_processes(connection: psycopg.Connection[Any], names: Sequence[str]) -> list[tuple[uuid.UUID, str]]:
    """Return run and process of the runs that are open and said which process they are."""
    return [(row["flow_run_id"], row["process"]) for row in open_runs(connection, names) if row["process"]]


def schema_changes(connection: psycopg.Connection[Any], batch_ids: Iterable[str | None]) -> list[dict[str, Any]]:
    """Return what batches changed in the sources' schemas, as rows of `ops.schema_changes`."""
    from tasks.ops.schema_changes import of_batches

    found = of_batches(connection, [*filter(None, batch_ids)])
    return [{**one.key._asdict(), **vars(one)} for one in found]


def rescued(connection: psycopg.Connection[Any], batch_ids: Iterable[str | None], most: int) -> list[str]:
    """Return of which fields batches brought the most values that did not fit their column, and what these were."""
    from tasks.ops.schema_changes import conflicts

    found = conflicts(connection, [*filter(None, batch_ids)])[:most]
    return [f"{one.key}, {one.field}: {one.values:,} {one.kind} value(s) in a column of {one.pg_type}" for one in found]


def rejected(connection: psycopg.Connection[Any], batch_ids: Sequence[str | None], most: int) -> list[str]:
    """Return the ids of the first rejected rows of some batches, as `source.table: id`."""
    from tasks.ops.rejects import first_of

    return [mask(text) for text in first_of(connection, [*filter(None, batch_ids)], most)]


def refused_files(connection: psycopg.Connection[Any], batch_ids: Sequence[str | None], most: int) -> list[str]:
    """Return the whole files that were refused in some batches, as `source.table: reason`."""
    from tasks.ops import rejects

    return [mask(text) for text in rejects.refused_files(connection, [*filter(None, batch_ids)], most)]


# Runs by which the next one of a table is estimated.
_HISTORY_RUNS = 5


def table_history(connection: psycopg.Connection[Any], stage: str) -> dict[str, dict[str, float]]:
    """Return, per `source.table`, the largest seconds and bytes of its last completed runs in a stage."""
    rows = connection.execute(
        "select source || '.' || table_name, max(seconds), max(bytes_read) from ("
        "  select *, row_number() over (partition by source, table_name order by started_at desc) as nth"
        "  from monitoring.pipeline_log where stage = %s and state = 'Completed' and table_name is not null"
        ") as recent where nth <= %s group by 1",
        (stage, _HISTORY_RUNS),
    ).fetchall()
    return {name: {"seconds": float(seconds or 0), "bytes": float(size or 0)} for name, seconds, size in rows}


def note_look(connection: psycopg.Connection[Any], message: str, told: int, parts: Sequence[Part]) -> None:
    """Record that monitoring has looked at everything just now.

    Args:
        connection: An open connection.
        message: What came of it.
        told: How many channels tell people.
        parts: What it did so far, and how long each part took.
    """
    from psycopg.types.json import Jsonb

    connection.execute(
        "insert into monitoring.looks (looked_at, seconds, message, told, parts) values (now(), %s, %s, %s, %s) "
        "on conflict (id) do update set looked_at = excluded.looked_at, seconds = excluded.seconds, "
        "message = excluded.message, told = excluded.told, parts = excluded.parts",
        [sum(part.seconds for part in parts), mask(message), told, Jsonb([asdict(part) for part in parts])],
    )


def json_safe(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row for a table artifact: only keys of `COLUMNS`, only values that JSON has."""
    return {name: _plain(value) for name, value in row.items() if name in COLUMNS}


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value, default=str, ensure_ascii=False)
    return str(value)


def _values(row: Mapping[str, Any], names: Sequence[str]) -> list[Any]:
    if row.get("error_message"):
        row = {**row, "error_message": mask(str(row["error_message"]))}
    # Postgres text cannot hold NUL; an error message may quote one.
    return [value.replace("\x00", "\\0") if isinstance(value := row.get(name), str) else value for name in names]


def _rows(connection: psycopg.Connection[Any], query: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    from psycopg.rows import dict_row

    with connection.cursor(row_factory=dict_row) as cursor:
        return list(cursor.execute(query, parameters).fetchall())
