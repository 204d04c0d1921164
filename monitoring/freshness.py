"""As of when each bronze table and each mart is, against what was promised, and what holds it up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from monitoring.taxonomy import first_line, what_and_action

if TYPE_CHECKING:
    import psycopg

DEFAULT_SLA = timedelta(hours=26)
"""What is promised where nothing is configured: a run each day, and two hours for its end."""
# Older loads and failures say nothing of today.
_DAYS = 30


OWNER = "analytics engineer"
"""Who acts on a mart that is stale, where its model names nobody."""
FIRST_STEP = "Mend what it waits for, or start a run; the page Freshness tells what each mart is made of."
"""What to do first about a mart that is not as fresh as promised."""


@dataclass(frozen=True, slots=True)
class Table:
    """What is known of one bronze table.

    Attributes:
        name: `source.table`.
        sla: How old its data may be at most.
        read_at: When the last read began whose rows are all loaded.
        loads: When each load that changed rows was committed, and when what it loaded was read; oldest first.
        failure: First line of what its last run failed of; None when it succeeded.
    """

    name: str
    sla: timedelta
    read_at: datetime | None
    loads: tuple[tuple[datetime, datetime], ...] = ()
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class Mart:
    """What is known of one model of gold.

    Attributes:
        relation: `gold.name`.
        owner: Who acts.
        sla: How old its data may be at most.
        tables: Names of the bronze tables that it is made of.
        built_at: When its last successful build began.
        failure: Which node failed, in its last build, of itself and those above it; None when all were built.
    """

    relation: str
    owner: str | None
    sla: timedelta
    tables: tuple[str, ...]
    built_at: datetime | None
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether one table or mart is as fresh as promised.

    Attributes:
        layer: bronze or gold.
        relation: Its name.
        as_of: It holds everything that the source had then; None when it was never loaded.
        sla: What was promised.
        state: `fresh`; `behind` when something failed but the promise still holds; `stale`; `never`.
        since: When the promise was broken, or since when it is behind.
        because: What holds it up.
        owner: Who acts.
    """

    layer: str
    relation: str
    as_of: datetime | None
    sla: timedelta
    state: str
    since: datetime | None
    because: str | None
    owner: str | None = None


def judge(tables: Iterable[Table], marts: Iterable[Mart], now: datetime) -> list[Verdict]:
    """Return a verdict on each table, and on each mart that is made of one of them: others hold nothing that ages."""
    known = {table.name: table for table in tables}
    found = [_judge_table(table, now) for table in known.values()]
    verdicts = {verdict.relation: verdict for verdict in found}
    fed = [mart for mart in marts if not known.keys().isdisjoint(mart.tables)]
    return found + [_judge_mart(mart, known, verdicts, now) for mart in fed]


def _judge_table(table: Table, now: datetime) -> Verdict:
    state, since = _state(table.read_at, table.sla, table.failure is not None, now)
    because = table.failure or ("no run has read it" if state in ("stale", "never") else None)
    return Verdict("bronze", table.name, table.read_at, table.sla, state, since, because)


def _judge_mart(mart: Mart, tables: Mapping[str, Table], verdicts: Mapping[str, Verdict], now: datetime) -> Verdict:
    """A mart is as old as the oldest of its tables, and older when what was loaded is not built yet."""
    ages = {name: _as_of(tables[name], mart.built_at) for name in mart.tables if name in tables}
    held_up = [name for name in ages if verdicts[name].state != "fresh"]
    as_of = min((age for age in ages.values() if age is not None), default=mart.built_at)
    if mart.built_at is None or None in ages.values():
        as_of = None
    state, since = _state(as_of, mart.sla, bool(held_up or mart.failure), now)
    because = mart.failure
    if because is None and held_up:
        worst = min(held_up, key=lambda name: (tables[name].read_at is not None, tables[name].read_at, name))
        because = f"{worst}: {verdicts[worst].because}"
    if because is None and state in ("stale", "never"):
        because = "never built" if mart.built_at is None else "what was loaded since has not been built"
    return Verdict("gold", mart.relation, as_of, mart.sla, state, since, because, mart.owner)


def _as_of(table: Table, built_at: datetime | None) -> datetime | None:
    """Return as of when a mart that was built then holds a table."""
    if built_at is None or table.read_at is None:
        return None
    if not any(loaded > built_at for loaded, _ in table.loads):
        return table.read_at
    return max((read for loaded, read in table.loads if loaded <= built_at), default=None)


def _state(as_of: datetime | None, sla: timedelta, held_up: bool, now: datetime) -> tuple[str, datetime | None]:
    if as_of is None:
        return "never", None
    if now - as_of > sla:
        return "stale", as_of + sla
    return ("behind", as_of) if held_up else ("fresh", None)


# -- in the warehouse -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Promises:
    """How old data may be at most: by table (`source.table`), by source, and else."""

    tables: Mapping[str, timedelta] = field(default_factory=dict)
    default: timedelta = DEFAULT_SLA

    def of(self, name: str) -> timedelta:
        """Return what is promised for a table."""
        return self.tables.get(name, self.default)


def check(
    connection: psycopg.Connection[Any], names: Sequence[str], promises: Promises, now: datetime
) -> list[Verdict]:
    """Judge every configured table and every mart, write it into monitoring.freshness, and return it.

    Args:
        connection: A connection to the warehouse.
        names: The configured tables, `source.table`.
        promises: What is promised for tables.
        now: The time.
    """
    marts = _marts(connection, promises.default)
    # Which of the loads before it came last is all that any mart asks of them.
    first_built = min((mart.built_at for mart in marts if mart.built_at), default=now)
    verdicts = judge(_tables(connection, names, promises, first_built), marts, now)
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute("delete from monitoring.freshness")
        cursor.executemany(
            "insert into monitoring.freshness (layer, relation, as_of, sla_seconds, state, since, because, owner, "
            "checked_at) values (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [
                (
                    *(one.layer, one.relation, one.as_of, int(one.sla.total_seconds()), one.state, one.since),
                    *(one.because, one.owner, now),
                )
                for one in verdicts
            ],
        )
    return verdicts


def _tables(
    connection: psycopg.Connection[Any], names: Sequence[str], promises: Promises, first_built: datetime
) -> list[Table]:
    from tasks.ops import batches

    loads: dict[str, list[tuple[datetime, datetime]]] = {}
    read: dict[str, datetime] = {}
    for one in batches.loadings(connection, _DAYS, first_built):
        name = str(one.key)
        read[name] = max(one.extracted_at, read.get(name, one.extracted_at))
        if one.changed:
            loads.setdefault(name, []).append((one.loaded_at, one.extracted_at))
    failures: dict[str, str] = {}
    quiet: dict[str, datetime] = {}
    for name, began, state, landed, message in connection.execute(
        # The last attempt of each stage, from the end of the table's own rows; a read that found nothing needs no load.
        """
        select name, l.started_at, l.state, l.rows_landed, l.error_message
        from unnest(%s::text[]) as wanted (name)
        cross join (values ('extract'), ('load')) as stages (stage)
        cross join lateral (
            select * from monitoring.pipeline_log
            where source = split_part(name, '.', 1) and table_name = split_part(name, '.', 2)
                and stage = stages.stage and state <> 'Running' and started_at > now() - make_interval(days => %s)
            order by started_at desc limit 1
        ) l
        order by name, stages.stage
        """,
        [list(names), _DAYS],
    ):
        if state != "Completed":
            failures.setdefault(name, _said(message) or f"ended as {state}")
        elif not landed:
            quiet[name] = began
    # What an earlier run landed may still be waiting, where the load failed.
    for name in quiet.keys() - failures.keys():
        read[name] = max(quiet[name], read.get(name, quiet[name]))
    return [
        Table(name, promises.of(name), read.get(name), tuple(loads.get(name, ())), failures.get(name)) for name in names
    ]


def _marts(connection: psycopg.Connection[Any], default: timedelta) -> list[Mart]:
    nodes = connection.execute(
        # Of each node the last good build and the last attempt, from the end of its own rows.
        """
        select n.*, good.started_at, last.state, last.error_message
        from (
            select node, relation, layer, owner, sla_seconds, parents, sources, split_part(node, '.', 3) as name
            from monitoring.lineage
        ) n
        left join lateral (
            select started_at from monitoring.pipeline_log
            where source = n.layer and table_name = n.name and stage = 'dbt' and state in ('Completed', 'Warned')
                and started_at > now() - make_interval(days => %(days)s)
            order by started_at desc limit 1
        ) good on true
        left join lateral (
            select state, error_message from monitoring.pipeline_log
            where source = n.layer and table_name = n.name and stage = 'dbt'
                and started_at > now() - make_interval(days => %(days)s)
            order by started_at desc limit 1
        ) last on true
        """,
        {"days": _DAYS},
    ).fetchall()
    parents = {node: tuple(above) for node, _, _, _, _, above, *_ in nodes}
    broken = {
        node: f"{name} failed: {_said(message)}" for node, *_, name, _, state, message in nodes if state == "Failed"
    }
    return [
        Mart(
            relation,
            owner,
            timedelta(seconds=sla) if sla else default,
            tuple(sources),
            built_at,
            _first_broken(node, parents, broken),
        )
        for node, relation, layer, owner, sla, _, sources, _, built_at, *_ in nodes
        if layer == "gold"
    ]


def _first_broken(node: str, parents: Mapping[str, Sequence[str]], broken: Mapping[str, str]) -> str | None:
    """Return what failed of a node or of those above it, the nearest first."""
    seen: set[str] = set()
    level = [node]
    while level:
        for one in level:
            if one in broken:
                return broken[one]
        seen.update(level)
        level = [above for one in level for above in parents.get(one, ()) if above not in seen]
    return None


def _said(message: str | None) -> str:
    """Return what an error says happened, without what is to be done."""
    return first_line(what_and_action(message or "")[0], 160)
