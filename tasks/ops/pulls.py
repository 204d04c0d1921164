"""`ops.pulls`: what each pull of a day of an account held, with the views `ops.account_days` and `ops.restatements`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from psycopg.types.json import Jsonb

from tasks.ops import Executor, TableKey

if TYPE_CHECKING:
    import psycopg


@dataclass(frozen=True)
class DayHeld:
    """What bronze holds of a day of an account; no day where a table has none.

    Attributes:
        final: Whether the source changes it no more.
        rows: Live rows.
        totals: Sums of its numbers by column, as text.
    """

    account: str
    day: date | None
    final: bool
    rows: int
    totals: Mapping[str, str]


def after(db: Executor, key: TableKey, pulled_at: datetime) -> set[tuple[str, date | None]]:
    """Return the days (account and day) that a pull later than a moment holds."""
    return set(
        db.execute(
            "select distinct account, day from ops.pulls where (source, table_name) = (%s, %s) and pulled_at > %s",
            [*key, pulled_at],
        ).fetchall()
    )


def rows_held(db: Executor, key: TableKey, first: date, last: date) -> dict[str, dict[str, int]]:
    """Return by account and day (ISO) the rows that the last pull of each of these days held."""
    rows = db.execute(
        "select account, day, row_count from ops.account_days"
        " where (source, table_name) = (%s, %s) and day between %s and %s",
        [*key, first, last],
    ).fetchall()
    held: dict[str, dict[str, int]] = {}
    for account, day, count in rows:
        held.setdefault(account, {})[day.isoformat()] = count
    return held


def spend(db: Executor, key: TableKey) -> Decimal | None:
    """Return the spend that the last pull of each day held, as its channel calls it; None where no pull tells any."""
    [[amount]] = db.execute(
        "select sum(coalesce((totals ->> 'spend')::numeric, (totals ->> 'cost_micros')::numeric / 1000000, "
        "(totals ->> 'costInLocalCurrency')::numeric)) "
        "from ops.account_days where (source, table_name) = (%s, %s)",
        [*key],
    ).fetchall()
    return amount  # type: ignore[no-any-return]


def write(
    cursor: psycopg.Cursor[Any], key: TableKey, batch_id: str, pulled_at: datetime, held: Iterable[DayHeld]
) -> None:
    """Note what a pull held of each day."""
    cursor.executemany(
        "insert into ops.pulls (source, table_name, batch_id, pulled_at, account, day, row_count, final, totals)"
        " values (%s, %s, %s, %s, %s, %s, %s, %s, %s) on conflict do nothing",
        [(*key, batch_id, pulled_at, h.account, h.day, h.rows, h.final, Jsonb(dict(h.totals))) for h in held],
    )
