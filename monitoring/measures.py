"""The daily figures that the anomaly rules look at, and what the rules say of them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, LiteralString

from monitoring.anomalies import Finding, Limits, Series, look
from tasks.ops import batches, field_statistics

if TYPE_CHECKING:
    import psycopg

# The first time as much history as the rules use; then the days that may still change.
_FIRST_DAYS, _DAYS = 120, 3
# Channels restate spend and conversions for weeks.
_RESTATED_DAYS = 35
# The last complete days are tested again, in case a look was missed; the first time two weeks, so that there is news.
_TESTED, _FIRST_TESTED = 2, 14
KEEP_DAYS = 400
"""A year and a month, so that the same season of last year can be looked at."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One kind of daily figure.

    Attributes:
        name: Its name in monitoring.measures.
        query: Gives day, source, table_name, platform, account, field and value, for days from %(since)s on.
        limits: When a difference counts.
        needs: Columns without which it is left out, by relation.
        by_event: Days are those on which things happened, not those on which they were loaded.
    """

    name: str
    query: LiteralString
    limits: Limits
    needs: Mapping[str, Sequence[str]]
    by_event: bool = False


_LOG = {"monitoring.pipeline_log": ()}
_OF_LOG: LiteralString = (
    "select (started_at at time zone 'UTC')::date as day, source, table_name, '' as platform, '' as account, "
    "'' as field, {value} as value from monitoring.pipeline_log "
    "where table_name is not null and started_at >= %(since)s and {where} group by 1, 2, 3"
)


def _of_log(value: LiteralString, where: LiteralString) -> LiteralString:
    return _OF_LOG.replace("{value}", value).replace("{where}", where)


_EXTRACTED: LiteralString = "stage = 'extract' and state = 'Completed'"
_SPEND = ("spent_on", "platform", "account_id", "currency", "spend")
MEASURES = (
    Measure(
        "rows", _of_log("sum(rows_landed)", f"{_EXTRACTED} and rows_landed is not null"), Limits(absolute=20), _LOG
    ),
    Measure(
        "bytes",
        _of_log("sum(bytes_read)", f"{_EXTRACTED} and bytes_read is not null"),
        Limits(relative=0.5, absolute=100_000),
        _LOG,
    ),
    Measure(
        "seconds",
        _of_log("sum(seconds)", "stage in ('extract', 'load') and state = 'Completed' and seconds is not null"),
        Limits(relative=1.0, absolute=60, direction="up", never_zero=False),
        _LOG,
    ),
    Measure(
        "rejects",
        _of_log("sum(rows_rejected)", "stage = 'load' and rows_rejected is not null"),
        Limits(relative=1.0, absolute=10, direction="up", never_zero=False, grows_in_sales=False),
        _LOG,
    ),
    Measure(
        "delay",
        batches.DAILY_DELAY,
        Limits(relative=1.0, absolute=3600, direction="up", never_zero=False, grows_in_sales=False),
        {},
    ),
    Measure(
        "null rate",
        field_statistics.DAILY_NULL_RATE,
        Limits(relative=0.5, absolute=0.1, never_zero=False, grows_in_sales=False),
        {},
    ),
    Measure(
        "spend",
        "select spent_on as day, 'gold' as source, 'fct_ad_spend_daily' as table_name, platform::text, "
        "coalesce(account_id::text, '') as account, coalesce(currency::text, '') as field, "
        "sum(spend)::float8 as value from gold.fct_ad_spend_daily where spent_on >= %(since)s group by 1, 4, 5, 6 "
        # A currency without an exchange rate has no amount in that of the reports.
        "having sum(spend) is not null",
        Limits(absolute=10),
        {"gold.fct_ad_spend_daily": _SPEND},
        by_event=True,
    ),
    Measure(
        "orders",
        "select ordered_on as day, 'gold' as source, 'fct_order' as table_name, '' as platform, '' as account, "
        "'' as field, count(*)::float8 as value from gold.fct_order where ordered_on >= %(since)s group by 1",
        Limits(absolute=10),
        {"gold.fct_order": ("ordered_on",)},
        by_event=True,
    ),
    Measure(
        "orders without a visit",
        "select ordered_on as day, 'gold' as source, 'fct_order' as table_name, '' as platform, '' as account, "
        "'session_id' as field, case when count(*) >= 5 then avg((session_id is null)::int)::float8 else 0 end "
        "as value from gold.fct_order where ordered_on >= %(since)s group by 1",
        Limits(relative=0.5, absolute=0.3, never_zero=False, direction="up", grows_in_sales=False),
        {"gold.fct_order": ("ordered_on", "session_id")},
        by_event=True,
    ),
    Measure(
        "revenue",
        "select ordered_on as day, 'gold' as source, 'fct_order' as table_name, '' as platform, '' as account, "
        "coalesce(currency::text, '') as field, sum(total)::float8 as value from gold.fct_order "
        "where ordered_on >= %(since)s group by 1, 6 having sum(total) is not null",
        Limits(relative=0.4, absolute=100),
        {"gold.fct_order": ("ordered_on", "currency", "total")},
        by_event=True,
    ),
)


def check(connection: psycopg.Connection[Any], now: datetime) -> int:
    """Write the figures of the last days and what the rules say of them; return the number of findings."""
    with connection.transaction():
        first = connection.execute("select not exists (select from monitoring.measures)").fetchone() == (True,)
        for measure in MEASURES:
            if _has(connection, measure.needs):
                days = _FIRST_DAYS if first else _RESTATED_DAYS if measure.by_event else _DAYS
                _write(connection, measure, now.date() - timedelta(days=days))
        found = list(_test(connection, now.date(), _FIRST_TESTED if first else _TESTED))
        _save(connection, found, now)
    return len(found)


def _has(connection: psycopg.Connection[Any], needs: Mapping[str, Sequence[str]]) -> bool:
    """Return whether relations exist and have columns; a company's own models may have others of the same name."""
    for relation, columns in needs.items():
        schema, _, name = relation.partition(".")
        rows = connection.execute(
            "select column_name from information_schema.columns where (table_schema, table_name) = (%s, %s)",
            [schema, name],
        ).fetchall()
        if not rows or not set(columns) <= {row[0] for row in rows}:
            return False
    return True


def _write(connection: psycopg.Connection[Any], measure: Measure, since: date) -> None:
    insert: LiteralString = (
        "insert into monitoring.measures (day, measure, source, table_name, platform, account, field, value, final) "
        "select day, %(measure)s, source, table_name, platform, account, field, value, "
        "day < (now() at time zone 'UTC')::date from ("
    )
    conflict: LiteralString = (
        ") found on conflict (measure, source, table_name, platform, account, field, day) "
        "do update set value = excluded.value, final = excluded.final "
        "where (measures.value, measures.final) is distinct from (excluded.value, excluded.final)"
    )
    connection.execute(insert + measure.query + conflict, {"measure": measure.name, "since": since})


_Key = tuple[str, str, str, str, str, str]


def _test(connection: psycopg.Connection[Any], today: date, days: int) -> Iterator[tuple[_Key, date, Finding]]:
    """Yield what the rules find in the last complete days; the day that goes on can only hold too much."""
    confirmed: dict[_Key, set[date]] = {}
    for *key, day in connection.execute(
        "select measure, source, table_name, platform, account, field, day from monitoring.anomalies "
        "where status = 'confirmed'"
    ):
        confirmed.setdefault(_key(key), set()).add(day)
    kinds = {measure.name: measure for measure in MEASURES}
    # Series that ended long ago (a campaign's account, a table that is gone) are not missed every day.
    for *key, dates, values in connection.execute(
        "select measure, source, table_name, platform, account, field, array_agg(day order by day), "
        "array_agg(value order by day) from monitoring.measures where day > %s group by 1, 2, 3, 4, 5, 6 "
        "having max(day) > %s",
        [today - timedelta(days=_FIRST_DAYS), today - timedelta(days=14)],
    ):
        measure = kinds.get(key[0])
        if measure is None:
            continue
        known = dict(zip(dates, values, strict=True))
        usual = frozenset(confirmed.get(_key(key), ()))
        # What happened on a day is known when it was loaded: without today's load yesterday is not missing.
        last = max(known) if measure.by_event else today
        for back in range(days, -1, -1):
            day = last - timedelta(days=back)
            finding = _changed(known, day) and look(Series(known, day, usual), measure.limits)
            if finding and (day < today or (finding.score or 0) > 0):
                yield _key(key), day, finding


def _changed(known: Mapping[date, float], day: date) -> bool:
    """Return whether a day differs at all from the days around it; most null rates never do."""
    near = {known.get(day - timedelta(days=back)) for back in (0, 1, 2, 3, 7, 14)}
    return len(near) > 1


def _key(parts: Sequence[str]) -> _Key:
    measure, source, table, platform, account, field = parts
    return measure, source, table, platform, account, field


_NAMESPACE = uuid.UUID("0b0e2b0c-59f4-5f0e-8c0e-0d0e5c6d7a21")


def _save(connection: psycopg.Connection[Any], found: Sequence[tuple[_Key, date, Finding]], now: datetime) -> None:
    """Write findings; what a person said of one stays."""
    rows = [
        (
            uuid.uuid5(_NAMESPACE, "\x1f".join((*key, str(day)))),
            *(day, *key, finding.rule, finding.value),
            *((band.expected, band.low, band.high) if (band := finding.band) else (None, None, None)),
            *(finding.score, finding.message, now, now),
        )
        for key, day, finding in found
    ]
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into monitoring.anomalies (id, day, measure, source, table_name, platform, account, field, rule, "
            "value, expected, low, high, score, message, first_seen, last_seen) "
            "values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) "
            "on conflict (id) do update set rule = excluded.rule, value = excluded.value, "
            "expected = excluded.expected, low = excluded.low, high = excluded.high, score = excluded.score, "
            "message = excluded.message, last_seen = excluded.last_seen",
            rows,
        )
        # A later look found a recent day usual after all: rows that came late, a restatement.
        cursor.execute(
            "delete from monitoring.anomalies where status = 'open' and last_seen < %s and day >= %s::date - 1",
            [now, now],
        )
