"""The same figure at the source, in bronze and in gold, line by line, once a day."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg


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
    """

    line: str
    source: str
    table_name: str
    measure: str
    source_value: Decimal | None
    bronze_value: Decimal | None
    gold_value: Decimal | None
    note: str | None = None

    @property
    def difference(self) -> Decimal | None:
        """The largest difference between the known values; None with fewer than two."""
        known = [value for value in (self.source_value, self.bronze_value, self.gold_value) if value is not None]
        return max(known) - min(known) if len(known) > 1 else None

    @property
    def state(self) -> str:
        """`equal`, `differs`, or `unknown` where there is nothing to compare with."""
        if self.difference is None:
            return "unknown"
        return "differs" if self.difference else "equal"


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
    lines = [*_rows(connection, names), *_gold(connection)]
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
    return sum(one.state == "differs" for one in lines)


def _is_done(connection: psycopg.Connection[Any], day: date) -> bool:
    """Return whether a day was compared after the last load of it: a load may make right what differed, or wrong."""
    row = connection.execute(
        "select coalesce(min(checked_at) > (select coalesce(max(loaded_at), '-infinity') from ops.batches), false) "
        "from monitoring.reconciliation where day = %s",
        [day],
    ).fetchone()
    return bool(row and row[0])


def _rows(connection: psycopg.Connection[Any], names: Sequence[str]) -> Iterator[Line]:
    """Yield the rows of each table: what its last whole read found, and what bronze holds.

    The source itself is asked by `warehouse verify`; what is known here is what was read of it. Only a read of the
    whole table says how many rows it has.
    """
    from psycopg import sql

    landed = _whole_reads(connection)
    relations = {
        f"{source}.{table}": relation
        for source, table, relation in connection.execute(
            "select source, table_name, relation from ops.tables where child = ''"
        )
    }
    for name in names:
        relation = relations.get(name)
        if relation is None or not _exists(connection, "bronze", relation):
            continue
        query = sql.SQL("select count(*) from bronze.{} where _deleted_at is null").format(sql.Identifier(relation))
        held = _one(connection, query)
        source, _, table = name.partition(".")
        note = (
            None
            if name in landed
            else "the last read was of changes alone: `warehouse verify` compares with the source"
        )
        yield Line(f"rows of {name}", source, table, "rows", landed.get(name), held, None, note)


def _whole_reads(connection: psycopg.Connection[Any]) -> Mapping[str, Decimal]:
    """Return the rows of tables whose last batch was a whole read of every row, without those it rejected."""
    rows = connection.execute(
        "select distinct on (source, table_name) source || '.' || table_name, mode, rows_landed, rows_rejected "
        "from ops.batches order by source, table_name, batch_id desc"
    ).fetchall()
    return {name: Decimal(landed) for name, mode, landed, _ in rows if mode == "full"}


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
        "select count(*) from gold.dim_customer where customer_id <> 'unknown'",
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
        except psycopg.Error as error:
            yield Line(line, source, table, measure, None, None, None, f"not computed: {str(error).splitlines()[0]}")
        else:
            yield Line(line, source, table, measure, None, held, shown)


def _exists(connection: psycopg.Connection[Any], schema: str, name: str) -> bool:
    row = connection.execute(
        "select exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace "
        "where n.nspname = %s and c.relname = %s)",
        [schema, name],
    ).fetchone()
    return row == (True,)


def _one(connection: psycopg.Connection[Any], query: Any) -> Decimal:
    row = connection.execute(query).fetchone()
    return Decimal(row[0] or 0) if row else Decimal(0)
