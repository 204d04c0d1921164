"""A made-up history of monitoring and control tables: days of runs with a known failure, drift, rejects and growth."""

from __future__ import annotations

import random
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

TABLES = (
    *(("shop", name) for name in ("orders", "customers", "events", "products")),
    *(("ads", name) for name in ("google_ads", "meta_ads", "tiktok_ads")),
)
HOSTILE = "<script>alert('x')</script> \"quoted\" & 'so' `code`"
"""What a source may say in an error."""


def log_rows(days: int, until: datetime, runs_a_day: int = 1) -> list[dict[str, Any]]:
    """Return rows of monitoring.pipeline_log: every table every run; ads.meta_ads fails on each tenth day."""
    chance = random.Random(7)
    return [
        row
        for number in range(days * runs_a_day)
        for row in _run(chance, until - timedelta(hours=24 / runs_a_day * (days * runs_a_day - number) - 2), number)
    ]


def _run(chance: random.Random, at: datetime, number: int) -> list[dict[str, Any]]:
    run = uuid.UUID(int=chance.getrandbits(128))
    stages = {stage: uuid.UUID(int=chance.getrandbits(128)) for stage in ("extract", "load", "dbt")}
    bad = number % 10 == 9
    common = {"parent_run_id": run, "state": "Completed", "attempt": 1}

    def row(stage: str, after: float, seconds: float, **more: Any) -> dict[str, Any]:
        times = {"started_at": at + timedelta(seconds=after), "seconds": seconds}
        return {**common, "flow_run_id": stages[stage], "stage": stage, "flow_name": stage, **times, **more}

    rows = [
        {"flow_run_id": run, "stage": "pipeline", "flow_name": "pipeline", "started_at": at,
         "state": "Failed" if bad else "Completed", "seconds": 60 + chance.random() * 20},
        *(row(stage, 1, 8 + 4 * chance.random()) for stage in stages),
    ]  # fmt: skip
    for place, (source, table) in enumerate(TABLES):
        name = {"source": source, "table_name": table}
        read = round((2000 + 900 * place) * (1.3 if number % 7 > 4 else 1) * (0.9 + 0.2 * chance.random()))
        if bad and table == "meta_ads":
            error = {"error_class": "network", "error_message": f"SourceUnreachable: {HOSTILE}\nmore"}
            rows.append(row("extract", 2, 1.0, state="Failed", **name, **error))
            continue
        counts = {"rows_landed": read - 1, "rows_rejected": 1, "cpu_seconds": read / 4000}
        rows.append(row("extract", 2, 1 + read / 2000, rows_read=read, bytes_read=read * 420,
                        peak_memory_bytes=180 << 20, **name, **counts))  # fmt: skip
        rows.append(row("load", 9, 0.5 + read / 3000, rows_loaded=read // 2, rows_unchanged=read - 1 - read // 2,
                        rows_rescued=0, rows_deleted=2, peak_memory_bytes=210 << 20, **name, **counts))  # fmt: skip
    for node in ("gold.fct_order", "gold.dim_customer", "silver.stg_shop__orders", "test.not_null_fct_order"):
        layer, _, model = node.partition(".")
        rows.append(row("dbt", 20, 0.3 + chance.random(), source=layer, table_name=model))
    return rows


def fill(connection: psycopg.Connection[Any], days: int = 30, until: datetime | None = None) -> datetime:
    """Write the history into an empty database's `monitoring` and `ops`, and return its end."""
    from monitoring import log
    from tasks.ops.migrations import migrate

    until = until or datetime.now(UTC)
    migrate(connection)
    log.write(connection, log_rows(days, until))
    for number in range(days):
        at = until - timedelta(days=days - number, hours=-2)
        for source, table in TABLES:
            connection.execute(
                "insert into ops.batches (source, table_name, batch_id, status, mode, scope, rows_landed, "
                "rows_inserted, rows_updated, bytes, extracted_at, loaded_at, seconds) "
                "values (%s, %s, %s, 'loaded', 'full', '{}', 1000, 500, %s, 400000, %s, %s, 1.5)",
                [source, table, f"{at:%Y%m%d}T000000-{number:04}", 40 if source == "ads" else 0, at, at],
            )
    batch = f"{until - timedelta(days=3, hours=-2):%Y%m%d}T000000-{days - 3:04}"
    for field, change, old, new in (("zip", "type", "int", "string"), ("<b>vip</b>", "new", None, "bool")):
        connection.execute(
            "insert into ops.schema_changes (source, table_name, field, change, old_type, new_type, batch_id, seen_at, "
            "action) values ('shop', 'customers', %s, %s, %s, %s, %s, %s, 'column widened')",
            [field, change, old, new, batch, until - timedelta(days=3)],
        )
    connection.execute(
        "insert into ops.rejects (source, table_name, batch_id, stage, reason, seen_at) "
        "select 'shop', 'orders', %s, 'extract', %s, %s - n * interval '1 hour' from generate_series(1, 7) as n",
        [batch, f"total is no number: {HOSTILE}", until],
    )
    connection.execute(
        "insert into ops.models_built (source, table_name, built_at) "
        "select source, table_name, max(loaded_at) + interval '1 minute' from ops.batches group by 1, 2"
    )
    return until
