"""What is wrong now, as incidents: first seen, still there, well again; and which of it people have to be told."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from monitoring import freshness, lineage, queries
from monitoring.history import OPEN
from monitoring.masking import mask
from monitoring.pages.formats import age
from monitoring.taxonomy import CLASSES, action_of, first_line, what_and_action
from tasks.errors import WarehouseUnreachable

if TYPE_CHECKING:
    import psycopg

HEALING = ("network", "quota", "source", "evicted", "cancelled", "resource")
"""Classes that the next run heals as a rule: told only when it did not."""
# Characters of an error, which says at its end what is to be done.
_READ = 2_000
# States of runs that were ended from outside and have not said themselves what of.
_KILLED = ("Crashed", "Lost")
# The same again within a day is the same incident: people have been told of it.
_REOPENED_WITHIN = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong now.

    Attributes:
        kind: failure, configuration, freshness, anomaly or reconciliation.
        subject: What it is of: `extract shop.orders`, `gold.fct_order`.
        error_class: Key of its class.
        message: One sentence.
        owner: Who acts, where it is somebody else than the class says.
        first_step: What to do first, where it is something else than the class says.
        severity: `high` may disturb at night, `low` waits for the morning.
        times: How often in a row.
        killed: Whether the run was killed, was evicted or crashed, and does not go on.
    """

    kind: str
    subject: str
    error_class: str
    message: str
    owner: str = ""
    first_step: str = ""
    severity: str = "high"
    times: int = 1
    killed: bool = False

    @property
    def fingerprint(self) -> str:
        """The same for the same thing, whatever figures its message holds."""
        text = "\x1f".join((self.kind, self.subject, self.error_class))
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    @property
    def is_incident(self) -> bool:
        """Whether it stays open until it is well: not what the next run heals, unless it did not or may not come."""
        return self.killed or not self.is_healing

    @property
    def is_healing(self) -> bool:
        """Whether the next run heals it as a rule, and has not failed to: nobody is told of it yet."""
        return self.error_class in HEALING and self.times < 2


@dataclass(frozen=True, slots=True)
class Policy:
    """When people are told.

    Attributes:
        quiet_from: Start of the hours in which only high severity disturbs; None: there are none.
        quiet_until: Their end.
        zone: Time zone of both.
        escalate_after: A high incident that nobody has acknowledged by then goes to the escalation as well.
    """

    quiet_from: time | None = None
    quiet_until: time | None = None
    zone: str = "UTC"
    escalate_after: timedelta = timedelta(hours=2)

    def is_quiet(self, now: datetime) -> bool:
        """Return whether only high severity may disturb now."""
        if self.quiet_from is None or self.quiet_until is None:
            return False
        local = now.astimezone(ZoneInfo(self.zone)).time()
        if self.quiet_from <= self.quiet_until:
            return self.quiet_from <= local < self.quiet_until
        return local >= self.quiet_from or local < self.quiet_until


@dataclass(frozen=True)
class News:
    """What has to be told in one look."""

    new: list[queries.Incident] = field(default_factory=list)
    recovered: list[queries.Incident] = field(default_factory=list)
    escalated: list[queries.Incident] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.new or self.recovered or self.escalated)


# -- what is wrong ----------------------------------------------------------------------------------------------------


def problems(connection: psycopg.Connection[Any]) -> list[Problem]:
    """Return what is wrong now, as the tables of monitoring say."""
    return [
        *_failures(connection),
        *_misconfigured(connection),
        *_stale(connection),
        *_old_sources(connection),
        *_anomalies(connection),
        *_differences(connection),
    ]


def _failures(connection: psycopg.Connection[Any]) -> Iterable[Problem]:
    """Yield what failed and has not ended well since; a run whose tables tell the reason is not repeated.

    Tables and models are well by their next good end. A run is by that of its flow for all that it was asked for; the
    end of a whole pipeline counts for its steps and for all models: what failed was built again, or taken back.
    """
    rows = connection.execute(
        """
        with failing as (
            select distinct stage, source, coalesce(table_name, flow_name) as name
            from monitoring.pipeline_log
            where state <> 'Completed' and error_class is not null
                and coalesce(started_at, expected_at, logged_at) > now() - interval '14 days'
        ),
        -- All their rows: those of tables by the index of tables, those of flows by that of the time.
        attempts as (
            select l.*
            from failing f
            join monitoring.pipeline_log l on l.source = f.source and l.table_name = f.name and l.stage = f.stage
                and l.started_at > now() - interval '14 days'
            union all
            select l.*
            from failing f
            join monitoring.pipeline_log l on l.source = f.source and l.table_name = f.name and l.stage = f.stage
                and l.started_at is null
            union all
            select l.*
            from failing f
            join monitoring.pipeline_log l on l.source is null and f.source is null and l.stage = f.stage
                and coalesce(l.table_name, l.flow_name) = f.name
                and coalesce(l.started_at, l.expected_at, l.logged_at) > now() - interval '14 days'
        ),
        recent as (
            select *, coalesce(source, '') as whose, coalesce(table_name, flow_name) as name,
                coalesce(started_at, expected_at) as at, error_class is null and state not in
                    ('Running', 'Pending', 'Scheduled', 'AwaitingRetry', 'Retrying', 'Skipped') as good
            from attempts
            where coalesce(started_at, expected_at) > now() - interval '14 days'
        ),
        last as (
            select distinct on (stage, whose, name, tables) *,
                case when table_name is null then tables else array[source || '.' || table_name] end as asked
            from (
                select *, max(at) filter (where good and table_name is not null)
                    over (partition by stage, whose, name) as table_well_at
                from recent
            ) r
            where error_class is not null
            order by stage, whose, name, tables, at desc
        ),
        flows as materialized (
            select stage, name, tables, null::boolean as models, at from recent
            where good and table_name is null and stage <> 'pipeline'
            union all
            select stage, flow_name, tables, models, coalesce(started_at, expected_at) from monitoring.pipeline_log
            where stage = 'pipeline' and state = 'Completed'
                and coalesce(started_at, expected_at) > now() - interval '14 days'
        ),
        judged as materialized (
            select l.*, coalesce(greatest(l.table_well_at, (
                select max(f.at) from flows f
                where (f.stage = 'pipeline' and l.stage in ('extract', 'load')
                        or f.models and l.stage = 'dbt'
                        or l.table_name is null and f.stage = l.stage and f.name = l.name)
                    and (f.tables is null or l.asked is not null and not exists (
                        select from unnest(l.asked) as one
                        where one <> all (f.tables) and split_part(one, '.', 1) <> all (f.tables)))
            )), '-infinity') as well_at
            from last l
        )
        select j.stage, j.source, j.table_name, j.flow_name, j.error_class, j.error_message, j.state,
            coalesce((select o.state from monitoring.pipeline_log o
                where o.flow_run_id = j.flow_run_id and o.table_name is null limit 1), j.state), count(*)
        from judged j
        join recent f on f.stage = j.stage and f.whose = j.whose and f.name = j.name and f.error_class is not null
            and f.at > j.well_at
        where j.at > j.well_at and (j.table_name is not null or not exists (
            select from monitoring.pipeline_log t where t.error_class is not null and t.id <> j.id
            and (t.flow_run_id = j.flow_run_id or t.parent_run_id = j.flow_run_id)))
        group by j.stage, j.source, j.table_name, j.flow_name, j.error_class, j.error_message, j.state, j.flow_run_id,
            j.at
        order by j.at
        """
    ).fetchall()
    owners = lineage.owners(connection)
    for stage, source, table, flow, error_class, message, state, run_state, times in rows:
        name = f"{source}.{table}" if table else str(flow)
        key = error_class if error_class in CLASSES else "code"
        whole = first_line(message, _READ) or f"ended as {state}"
        said = first_line(what_and_action(whole)[0])
        if stage == "monitoring" and said.startswith(WarehouseUnreachable.__name__):
            # This look has reached it.
            continue
        severity = "low" if key in ("cancelled", "data_quality") else "high"
        killed = run_state in _KILLED or (key == "evicted" and run_state not in OPEN)
        owner = owners.get(name, "") if stage == "dbt" and key in ("model", "data_quality") else ""
        yield Problem(
            *("failure", f"{stage} {name}", key, said, owner, action_of(key, whole)),
            *(severity, times, killed),
        )


def _stale(connection: psycopg.Connection[Any]) -> Iterable[Problem]:
    for row in queries.freshness(connection, "gold"):
        if row.state == "stale":
            since = f"{row.as_of:%Y-%m-%d %H:%M} UTC" if row.as_of else "never"
            said = f"as of {since}, promised within {age(row.sla_seconds)}, because of {row.because}"
            yield Problem(
                "freshness", row.relation, "data_quality", said, row.owner or freshness.OWNER, freshness.FIRST_STEP
            )


def _misconfigured(connection: psycopg.Connection[Any]) -> Iterable[Problem]:
    for relation, said in lineage.problems(connection):
        yield Problem("configuration", relation, "config", said, "owner of the model", severity="low")


def _old_sources(connection: psycopg.Connection[Any]) -> Iterable[Problem]:
    """Yield sources that somebody else loads: those of ours are judged by their reads, and may just not change."""
    from tasks.ops import relations

    ours = {f"bronze.{one.name}" for one in relations.every(connection)}
    for row in queries.source_freshness(connection):
        if row.status in ("error", "runtime error") and row.relation not in ours:
            said = row.message or (f"newest row {row.newest:%Y-%m-%d %H:%M} UTC" if row.newest else "no row")
            yield Problem("freshness", f"source {row.name}", "data_quality", said, "owner of the source")


def _anomalies(connection: psycopg.Connection[Any]) -> Iterable[Problem]:
    for row in queries.anomalies(connection, 3, "open"):
        parts = (row.measure, f"{row.source}.{row.table_name}", row.platform, row.account, row.field)
        subject = f"{' '.join(part for part in parts if part)} on {row.day}"
        severity = "high" if row.measure in ("spend", "orders", "revenue") else "low"
        yield Problem("anomaly", subject, "data_quality", f"{row.rule}: {row.message}", severity=severity)


def _differences(connection: psycopg.Connection[Any]) -> Iterable[Problem]:
    for row in queries.reconciliation(connection, 2):
        if row.state == "differs":
            values = (("source", row.source_value), ("bronze", row.bronze_value), ("gold", row.gold_value))
            said = ", ".join(f"{layer} {value:f}" for layer, value in values if value is not None)
            said += f"; {row.note}" if row.note else ""
            yield Problem("reconciliation", row.line, "data_quality", said)


# -- what becomes of it -----------------------------------------------------------------------------------------------


def record(connection: psycopg.Connection[Any], found: Sequence[Problem], now: datetime) -> None:
    """Open, go on with, and resolve incidents, so that the open ones are what is wrong now.

    One that the next run heals as a rule waits: people are told of it when another look finds it, too.
    """
    with connection.transaction():
        known: dict[str, int] = dict(
            connection.execute("select fingerprint, id from monitoring.incidents where resolved_at is null").fetchall()
        )
        current = {problem.fingerprint: problem for problem in found if problem.is_incident}
        for fingerprint, problem in current.items():
            if fingerprint not in known:
                _open(connection, problem, now)
        with connection.cursor() as cursor:
            # What it says may have changed: another reason, later figures.
            cursor.executemany(
                "update monitoring.incidents set last_seen = %s, seen = seen + 1, waits = false, message = %s, "
                "first_step = %s where id = %s",
                [
                    (now, mask(current[one].message), _first_step(current[one]), known[one])
                    for one in current.keys() & known.keys()
                ],
            )
        connection.execute(
            "update monitoring.incidents set resolved_at = %s where id = any(%s)",
            [now, [known[one] for one in known.keys() - current.keys()]],
        )


def _open(connection: psycopg.Connection[Any], problem: Problem, now: datetime) -> None:
    """Open an incident, or open again the one that was taken for well within the last day."""
    reopened = connection.execute(
        "update monitoring.incidents set resolved_at = null, recovery_told_at = null, last_seen = %(now)s, "
        "seen = seen + 1, waits = %(waits)s, message = %(message)s where id = (select id from monitoring.incidents "
        "where fingerprint = %(fingerprint)s and resolved_at > %(since)s order by id desc limit 1)",
        {
            "now": now,
            "waits": problem.is_healing,
            "message": mask(problem.message),
            "fingerprint": problem.fingerprint,
            "since": now - _REOPENED_WITHIN,
        },
    )
    if reopened.rowcount:
        return
    kind = CLASSES[problem.error_class]
    connection.execute(
        "insert into monitoring.incidents (fingerprint, kind, severity, error_class, subject, title, message, owner, "
        "first_step, runbook, first_seen, last_seen, waits) "
        "values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        [
            *(problem.fingerprint, problem.kind, problem.severity, problem.error_class, problem.subject),
            f"{problem.subject}: {kind.title if problem.kind == 'failure' else problem.kind}",
            *(mask(problem.message), problem.owner or kind.who, _first_step(problem), kind.runbook),
            *(now, now),
            problem.is_healing,
        ],
    )


def _first_step(problem: Problem) -> str:
    return mask(problem.first_step or CLASSES[problem.error_class].action)


def news(connection: psycopg.Connection[Any], policy: Policy, now: datetime) -> News:
    """Return what nobody has been told of yet; in quiet hours only what is severe."""
    quiet = policy.is_quiet(now)
    rows = queries.incidents(connection)
    told = {
        row[0]: row[1:]
        for row in connection.execute(
            "select id, told_at, escalated_at, recovery_told_at, waits from monitoring.incidents "
            "where resolved_at is null or recovery_told_at is null"
        )
    }
    made = News()
    for one in (row for row in rows if row.id in told):
        told_at, escalated_at, recovery_told_at, waits = told[one.id]
        if quiet and one.severity != "high":
            continue
        if one.resolved_at is not None:
            # Nobody has to hear that what they were not told of is well again.
            if told_at is not None and recovery_told_at is None and not quiet:
                made.recovered.append(one)
        elif told_at is None and one.acknowledged_at is None and not waits:
            made.new.append(one)
        elif _is_to_be_escalated(one, escalated_at, policy, now):
            made.escalated.append(one)
    return made


def _is_to_be_escalated(one: queries.Incident, escalated_at: datetime | None, policy: Policy, now: datetime) -> bool:
    if one.severity != "high" or one.acknowledged_at is not None or escalated_at is not None or one.told_at is None:
        return False
    return now - one.told_at > policy.escalate_after


def note_told(connection: psycopg.Connection[Any], column: str, ids: Sequence[int], now: datetime) -> None:
    """Record that people were told: `told_at`, `escalated_at` or `recovery_told_at`."""
    from psycopg import sql

    statement = sql.SQL("update monitoring.incidents set {} = %s where id = any(%s)").format(sql.Identifier(column))
    connection.execute(statement, [now, list(ids)])


def acknowledge(connection: psycopg.Connection[Any], number: int, who: str, now: datetime) -> bool:
    """Record that somebody takes care of an incident; return whether it was open."""
    done = connection.execute(
        "update monitoring.incidents set acknowledged_at = %s, acknowledged_by = %s "
        "where id = %s and resolved_at is null and acknowledged_at is null",
        [now, who, number],
    )
    return done.rowcount == 1
