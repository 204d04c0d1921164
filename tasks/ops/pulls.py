"""`ops.pulls`: what each pull of a day of an account held, with the views `ops.account_days` and `ops.restatements`."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import psycopg
from psycopg import sql

from tasks.ops import Executor, TableKey


def leave_out_later(cursor: psycopg.Cursor[Any], key: TableKey, days: sql.Identifier, pulled_at: datetime) -> int:
    """Delete from a table of `account` and `day` those that a later pull holds; return how many."""
    cursor.execute(
        sql.SQL(
            "delete from {} s where exists (select from ops.pulls p"
            " where (p.source, p.table_name, p.account) = (%s, %s, s.account) and p.day is not distinct from s.day"
            " and p.pulled_at > %s)"
        ).format(days),
        [*key, pulled_at],
    )
    return cursor.rowcount


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


def write(cursor: psycopg.Cursor[Any], key: TableKey, batch_id: str, pulled_at: datetime, held: sql.Composed) -> None:
    """Note what a pull held.

    Args:
        cursor: In the batch's transaction.
        key: The table.
        batch_id: The batch.
        pulled_at: When it was read.
        held: A query for account, day, number of rows, whether the day is final, and sums as jsonb.
    """
    cursor.execute(
        sql.SQL(
            "insert into ops.pulls"
            " (source, table_name, batch_id, pulled_at, account, day, row_count, final, totals)"
            " select %s, %s, %s, %s, h.* from ({}) h on conflict do nothing"
        ).format(held),
        [*key, batch_id, pulled_at],
    )
