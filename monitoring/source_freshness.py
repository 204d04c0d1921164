"""dbt's source freshness, asked in every look: what `dbt source freshness` would find, without starting dbt.

The rules are the project's own (`freshness`, `loaded_at_field`, `loaded_at_query`). Tables that the product loads are
judged by their reads besides (monitoring/freshness.py): one that does not change is old by dbt's rule, and not late.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

_SECONDS = {"minute": 60, "hour": 3_600, "day": 86_400}
# A table without an index on the column is read whole; a look must not wait for it for ever.
_PATIENCE = "10s"
# All of dbt's templates that such a query needs.
_THIS = re.compile(r"\{\{\s*this\s*\}\}")


@dataclass(frozen=True, slots=True)
class Rule:
    """What a project says of one source table.

    Attributes:
        name: `source.table`, as dbt names it.
        relation: `schema.identifier` in the warehouse.
        query: Asks when the newest row was loaded.
        warn_seconds: Older than this is a warning; None: never.
        error_seconds: Older than this is an error; None: never.
    """

    name: str
    relation: str
    query: str
    warn_seconds: int | None
    error_seconds: int | None

    def status(self, newest: datetime | None, now: datetime) -> str:
        """Return dbt's word: pass, warn or error; a table without rows is older than any limit."""
        age = (now - newest).total_seconds() if newest else float("inf")
        for word, limit in (("error", self.error_seconds), ("warn", self.warn_seconds)):
            if limit is not None and age > limit:
                return word
        return "pass"


def rule_of(source: Mapping[str, Any]) -> Rule | None:
    """Return the rule of a source of dbt's manifest; None where it has none."""
    told = source.get("freshness") or {}
    warn, error = (_seconds(told.get(name)) for name in ("warn_after", "error_after"))
    relation = f"{source['schema']}.{source['identifier']}"
    quoted = ".".join('"' + part.replace('"', '""') + '"' for part in (source["schema"], source["identifier"]))
    query = _THIS.sub(lambda _: quoted, source.get("loaded_at_query") or "")
    if not query and (column := source.get("loaded_at_field")):
        query = f"select max({column}) from {quoted}"  # noqa: S608 - the project's own SQL, like its models
        query += f" where {told['filter']}" if told.get("filter") else ""
    if not query or (warn is None and error is None):
        return None
    return Rule(f"{source['source_name']}.{source['name']}", relation, query, warn, error)


def _seconds(limit: Mapping[str, Any] | None) -> int | None:
    if not limit or limit.get("count") is None or limit.get("period") not in _SECONDS:
        return None
    return int(limit["count"]) * _SECONDS[limit["period"]]


def save(cursor: psycopg.Cursor[Any], rules: Iterable[Rule]) -> None:
    """Replace the rules in the warehouse, in the caller's transaction; what was found of those that stay is kept."""
    found = list(rules)
    cursor.execute("delete from monitoring.source_freshness where name <> all(%s)", [[rule.name for rule in found]])
    cursor.executemany(
        "insert into monitoring.source_freshness (name, relation, query, warn_seconds, error_seconds) "
        "values (%s, %s, %s, %s, %s) on conflict (name) do update set relation = excluded.relation, "
        "query = excluded.query, warn_seconds = excluded.warn_seconds, error_seconds = excluded.error_seconds",
        [(rule.name, rule.relation, rule.query, rule.warn_seconds, rule.error_seconds) for rule in found],
    )


def check(connection: psycopg.Connection[Any], now: datetime) -> None:
    """Ask every rule and write what was found; a source that is not in this warehouse has no status.

    Args:
        connection: A connection in autocommit.
        now: The time.
    """
    rules = connection.execute(
        "select name, relation, query, warn_seconds, error_seconds from monitoring.source_freshness order by name"
    ).fetchall()
    found = []
    for rule in (Rule(*row) for row in rules):
        newest, status, message = _ask(connection, rule, now)
        found.append((status, newest, message, now, rule.name))
    with connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(
            "update monitoring.source_freshness set status = %s, newest = %s, message = %s, checked_at = %s "
            "where name = %s",
            found,
        )


def _ask(
    connection: psycopg.Connection[Any], rule: Rule, now: datetime
) -> tuple[datetime | None, str | None, str | None]:
    """Return when the newest row was loaded, dbt's word for that, and why it is not known."""
    import psycopg

    schema, _, name = rule.relation.partition(".")
    present = connection.execute("select to_regclass(format('%%I.%%I', %s::text, %s::text))", [schema, name]).fetchone()
    if present == (None,):
        return None, None, None
    try:
        with connection.transaction():
            connection.execute("set transaction read only")
            connection.execute("select set_config('statement_timeout', %s, true)", [_PATIENCE])
            row: Sequence[Any] | None = connection.execute(rule.query.encode()).fetchone()
    except psycopg.Error as error:
        return None, "runtime error", str(error).partition("\n")[0]
    newest = _moment(row[0] if row else None)
    return newest, rule.status(newest, now), None


def _moment(value: date | datetime | None) -> datetime | None:
    """Return a moment as dbt takes it: without a zone it is UTC."""
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    return datetime.combine(value, time(), UTC) if value else None
