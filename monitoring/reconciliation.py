"""The same figure at the source, in bronze and in gold, line by line, once a day."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

    from tasks.sources import TableRef
    from tasks.sources.connector import Count

COUNT_SECONDS = 5.0
"""How long a source may take to say how many rows its tables have."""
_LIVE = "rows at the source now: "
# A source that was read longer ago has moved on.
_SOON = timedelta(hours=1)
# So many rows come or go while a small table is asked.
_FEW = Decimal(10)


@dataclass(frozen=True, slots=True)
class Line:
    """One comparison.

    Attributes:
        line: Its name, stable from day to day.
        source: Source of the table.
        table_name: The table.
        measure: What is counted or summed.
        source_value: As the source has it; None when that is not known here.
        bronze_value: As bronze has it.
        gold_value: As gold has it; None where gold has no such figure.
        note: What to know of the comparison.
        tolerance: A difference up to this is `about` equal: the source goes on while it is asked.
        bronze_may_have_more: Bronze keeps what the source has deleted, as nobody told it.
    """

    line: str
    source: str
    table_name: str
    measure: str
    source_value: Decimal | None
    bronze_value: Decimal | None
    gold_value: Decimal | None
    note: str | None = None
    tolerance: Decimal = Decimal(0)
    bronze_may_have_more: bool = False

    @property
    def difference(self) -> Decimal | None:
        """The largest difference between the known values; None with fewer than two."""
        known = [value for value in (self.source_value, self.bronze_value, self.gold_value) if value is not None]
        return max(known) - min(known) if len(known) > 1 else None

    @property
    def state(self) -> str:
        """`equal`, `about` (within the tolerance), `differs`, or `unknown` where there is nothing to compare with."""
        if self.difference is None:
            return "unknown"
        if not self.difference:
            return "equal"
        surplus = (self.bronze_value or 0) - (self.source_value or 0)
        more = self.bronze_may_have_more and surplus > 0
        return "about" if more or self.difference <= self.tolerance else "differs"


def check(connection: psycopg.Connection[Any], names: Sequence[str], now: datetime, every: bool = False) -> int:
    """Compare every line and write it, unless it was done today; return the number of lines that differ.

    Args:
        connection: A connection to the warehouse.
        names: The configured tables, `source.table`.
        now: The time.
        every: Compare again though it was done today.
    """
    if not every and _is_done(connection, now.date()):
        return 0
    lines = [*_rows(connection, names), *_gold(connection), *_spend(connection)]
    _write(connection, lines, now)
    return sum(one.state == "differs" for one in lines)


def check_sources(connection: psycopg.Connection[Any], refs: Sequence[TableRef], now: datetime) -> None:
    """Ask sources how many rows their tables have, once a day for each table, soon after it was read.

    Later the source has moved on, and would only differ by what the next run reads.

    Args:
        connection: A connection to the warehouse.
        refs: The configured tables.
        now: The time.
    """
    from tasks.errors import WarehouseError
    from tasks.ops import relations

    due = _due(connection, now)
    by_source: dict[str, list[TableRef]] = {}
    for ref in refs:
        if ref.name in due:
            by_source.setdefault(ref.source_name, []).append(ref)
    lines = []
    for tables in by_source.values():
        counts: Mapping[str, Count] = {}
        unasked = None
        try:
            counts = tables[0].connector.count(tables, COUNT_SECONDS)
        except WarehouseError as error:
            unasked = f"not asked: {error.what}"
        for ref in tables:
            if ref.name in counts or unasked:
                relation = relations.of_table(connection, ref.key).get(relations.ROOT)
                lines.append(_live(connection, ref, relation, counts.get(ref.name), unasked))
    _write(connection, lines, now)


def _due(connection: psycopg.Connection[Any], now: datetime) -> frozenset[str]:
    """Return the tables that were read within the last hour and whose source was not asked today."""
    rows = connection.execute(
        "select relation from monitoring.freshness f where layer = 'bronze' and as_of > %s and not exists "
        "(select from monitoring.reconciliation r where r.day = %s and r.line = %s || f.relation)",
        [now - _SOON, now.date(), _LIVE],
    ).fetchall()
    return frozenset(name for (name,) in rows)


def _live(
    connection: psycopg.Connection[Any], ref: TableRef, relation: str | None, count: Count | None, unasked: str | None
) -> Line:
    """Return the line of a table's rows at the source and in bronze; refused documents are at the source alone."""
    from tasks.ops import rejects

    held = _held(connection, relation) if relation else Decimal(0)
    subject = (f"{_LIVE}{ref.name}", ref.source_name, ref.table_name, "rows")
    if count is None:
        return Line(*subject, None, held, None, unasked)
    refused = rejects.count_documents(connection, ref.key)
    notes = [
        "counted" if count.counted else "as the source's own books say",
        f"{refused} refused, and not in bronze" if refused else "",
        "" if count.deletes else "deleted rows stay in bronze, as `deletes: sweep` is not set",
    ]
    share = Decimal(count.rows) / 100
    return Line(
        *(*subject, Decimal(count.rows), held, None, "; ".join(filter(None, notes))),
        tolerance=max(share.to_integral_value(), _FEW) + refused,
        bronze_may_have_more=not count.deletes,
    )


def _write(connection: psycopg.Connection[Any], lines: Sequence[Line], now: datetime) -> None:
    with connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(
            "insert into monitoring.reconciliation (day, line, source, table_name, measure, source_value, "
            "bronze_value, gold_value, difference, state, note, checked_at) "
            "values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) on conflict (day, line) do update set "
            "source_value = excluded.source_value, bronze_value = excluded.bronze_value, "
            "gold_value = excluded.gold_value, difference = excluded.difference, state = excluded.state, "
            "note = excluded.note, checked_at = excluded.checked_at",
            [
                (
                    *(now.date(), one.line, one.source, one.table_name, one.measure, one.source_value),
                    *(one.bronze_value, one.gold_value, one.difference, one.state, one.note, now),
                )
                for one in lines
            ],
        )


def _is_done(connection: psycopg.Connection[Any], day: date) -> bool:
    """Return whether a day was compared after the last load of it: a load may make right what differed, or wrong."""
    from tasks.ops import batches

    [[checked_at]] = connection.execute(
        "select min(checked_at) from monitoring.reconciliation where day = %s and not starts_with(line, %s)",
        [day, _LIVE],
    ).fetchall()
    loaded_at = batches.last_loaded_at(connection)
    return checked_at is not None and (loaded_at is None or checked_at > loaded_at)


def _rows(connection: psycopg.Connection[Any], names: Sequence[str]) -> Iterator[Line]:
    """Yield the rows of each table: what its last whole read found, and what bronze holds.

    What is known here is what was read of the source: only a read of the whole table says how many rows it has.
    """
    from tasks.ops import relations

    landed = _whole_reads(connection)
    roots = {str(one.key): one.name for one in relations.every(connection) if one.child == relations.ROOT}
    for name in names:
        relation = roots.get(name)
        if relation is None or not _exists(connection, "bronze", relation):
            continue
        held = _held(connection, relation)
        source, _, table = name.partition(".")
        subject = (f"rows of {name}", source, table, "rows")
        if name not in landed:
            changes = "the last read was of changes alone; `warehouse verify` compares row by row"
            yield Line(*subject, None, held, None, changes)
            continue
        kept = _kept(connection, source, table, relation)
        note = f"{kept} of them were refused: bronze keeps their earlier versions" if kept else None
        yield Line(*subject, landed[name] + kept, held, None, note)


def _held(connection: psycopg.Connection[Any], relation: str) -> Decimal:
    """Return how many rows of a bronze table the source still has, as far as bronze knows."""
    from psycopg import sql

    query = sql.SQL("select count(*) from bronze.{} where _deleted_at is null").format(sql.Identifier(relation))
    return _one(connection, query)


def _kept(connection: psycopg.Connection[Any], source: str, table: str, relation: str) -> Decimal:
    """Return of how many documents that the last read refused bronze holds an earlier version."""
    from psycopg import sql

    from tasks.ops import TableKey, rejects

    refused = rejects.held_back(connection, TableKey(source, table))
    query = sql.SQL("select count(*) from bronze.{} where _deleted_at is null and _id = any(%s)")
    return _one(connection, query.format(sql.Identifier(relation)), [refused]) if refused else Decimal(0)


def _whole_reads(connection: psycopg.Connection[Any]) -> Mapping[str, Decimal]:
    """Return the rows of tables whose last batch was a whole read of every row, without those it rejected."""
    from tasks.ops import batches

    return {str(one.key): Decimal(one.rows_landed) for one in batches.last_loads(connection) if one.mode == "full"}


# Bronze against gold: what a model passes through must arrive whole. Each needs its relations, and is left out else.
_GOLD: tuple[tuple[str, str, str, str, tuple[str, str], str, str], ...] = (
    (
        "orders in gold",
        "shop",
        "orders",
        "rows",
        ("shop__orders", "fct_order"),
        "select count(*) from bronze.shop__orders where _deleted_at is null",
        "select count(*) from gold.fct_order",
    ),
    (
        "sum of orders' totals",
        "shop",
        "orders",
        "total",
        ("shop__orders", "fct_order"),
        # A total that came as text and did not fit its column is in _rescued, and gold reads it from there.
        "select sum(coalesce(to_jsonb(o) ->> 'total', o._rescued ->> 'total')::numeric) "
        "from bronze.shop__orders o where o._deleted_at is null",
        "select sum(total) from gold.fct_order",
    ),
    (
        "customers in gold",
        "shop",
        "customers",
        "rows",
        ("shop__customers", "dim_customer"),
        "select count(*) from bronze.shop__customers where _deleted_at is null",
        "select count(*) from gold.dim_customer where is_current and kind = 'registered'",
    ),
)


def _gold(connection: psycopg.Connection[Any]) -> Iterator[Line]:
    """Yield lines between bronze and gold; one that cannot be computed says why."""
    import psycopg
    from psycopg import sql

    for line, source, table, measure, (bronze, gold), below, above in _GOLD:
        if not (_exists(connection, "bronze", bronze) and _exists(connection, "gold", gold)):
            continue
        try:
            with connection.transaction():
                held, shown = (_one(connection, sql.SQL(query)) for query in (below, above))
                note = _set_aside(connection, table)
        except psycopg.Error as error:
            yield Line(line, source, table, measure, None, None, None, f"not computed: {str(error).splitlines()[0]}")
        else:
            yield Line(line, source, table, measure, None, held, shown, note)


def _set_aside(connection: psycopg.Connection[Any], entity: str) -> str | None:
    """Return how many rows of an entity gold leaves out because they break a rule; None where there are none."""
    if not _exists(connection, "gold", "rpt_quarantine"):
        return None
    count = _one(connection, "select count(*) from gold.rpt_quarantine where entity = %s", [entity])
    return f"{count} set aside, each with its reason in gold.rpt_quarantine" if count else None


def _spend(connection: psycopg.Connection[Any]) -> Iterator[Line]:
    """Yield the spend of each advertising platform, in the accounts' own currencies.

    What bronze has is read through silver, which knows table, column and unit. What the channel said is the sum of the
    last pull of each day, where days are pulled by account.
    """
    if not (_exists(connection, "silver", "int_ads__spend") and _exists(connection, "gold", "fct_ad_spend_daily")):
        return
    from tasks.ops import TableKey, pulls, relations

    tables = {one.name: one.key for one in relations.every(connection)}
    platforms = connection.execute(
        "with held as (select platform, max(read_from) as relation, sum(spend) as spend "
        "from silver.int_ads__spend group by platform), "
        "shown as (select platform, sum(original_spend) as spend from gold.fct_ad_spend_daily group by platform) "
        "select platform, relation, held.spend, shown.spend from held full join shown using (platform) "
        "order by platform"
    ).fetchall()
    for platform, relation, held, shown in platforms:
        key = tables.get(relation, TableKey("", ""))
        pulled = pulls.spend(connection, key)
        note = None if pulled is not None else "files and their days have no totals of their own"
        yield Line(f"spend of {platform}", *key, "spend", pulled, Decimal(held or 0), Decimal(shown or 0), note)


def _exists(connection: psycopg.Connection[Any], schema: str, name: str) -> bool:
    row = connection.execute(
        "select exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace "
        "where n.nspname = %s and c.relname = %s)",
        [schema, name],
    ).fetchone()
    return row == (True,)


def _one(connection: psycopg.Connection[Any], query: Any, parameters: Sequence[object] = ()) -> Decimal:
    row = connection.execute(query, parameters).fetchone()
    return Decimal(row[0] or 0) if row else Decimal(0)
