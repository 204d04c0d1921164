"""What the pages of operations take with a million rows of log over 90 days: each panel's query, each page drawn."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from monitoring import retention
from monitoring.pages.panels import FOLDER, Panel, read_folder, run
from tasks.database import connect
from tasks.ops.migrations import migrate
from tests.benchmarks import browser

if TYPE_CHECKING:
    import psycopg

_SHOWN = 5
# A run each hour of 100 tables in two stages, 258 models and tests and five flows: 463 rows.
_FILL = """
insert into monitoring.pipeline_log (id, flow_run_id, parent_run_id, flow_name, stage, source, table_name, state,
    started_at, seconds, rows_read, bytes_read, rows_landed, rows_loaded, rows_unchanged, rows_rejected, attempt,
    peak_memory_bytes, cpu_seconds, error_class, error_message, logged_at)
select gen_random_uuid(), md5(r || stage)::uuid, case when stage <> 'pipeline' then md5(r || 'pipeline')::uuid end,
    stage, stage, source, name, case when failed then 'Failed' else 'Completed' end, at + interval '1 second' * n,
    1 + (n * 7 + r) %% 30, case when stage = 'extract' then 5000 + (r * n) %% 1000 end,
    case when stage = 'extract' then 2000000 end, case when stage = 'extract' then 5000 end,
    case when stage = 'load' then 2500 end, case when stage = 'load' then 2499 end,
    case when stage = 'load' then 1 end, 1, case when stage in ('extract', 'load') then 2e8::bigint end,
    case when stage in ('extract', 'load') then 0.4 end, case when failed then 'network' end,
    case when failed then 'SourceUnreachable: no answer' end, at + interval '6 minutes'
from generate_series(0, 90 * 24 - 1) as r
cross join lateral (select %(now)s::timestamptz - interval '1 hour' * r - interval '10 minutes' as at) as times
cross join (
    select unnest(array['pipeline', 'extract', 'load', 'dbt', 'monitoring']) as stage, null as source,
        null as name, 0 as n
    union all
    select stage, 'shop' || n %% 10, 'table_' || n, n
    from generate_series(1, 100) as n, unnest(array['extract', 'load']) as stage
    union all
    select 'dbt', case when n <= 60 then 'gold' else 'test' end, 'node_' || n, n from generate_series(1, 258) as n
) as kinds
cross join lateral (select r %% 20 = 0 and n %% 40 = 3 as failed) as states
"""


def measure(url: str) -> dict[str, dict[str, float]]:
    """Fill an empty warehouse's log, ask each panel over 14 and 90 days, open each page; return seconds of each."""
    now = datetime.now(UTC)
    with connect(url, autocommit=True) as connection:
        migrate(connection)
        connection.execute(_FILL, {"now": now})
        retention.apply(connection, now)
        connection.execute("vacuum analyze")
        asked = {f"{days} days": _panels(connection, now, days) for days in (14, 90)}
    return asked | browser.measure(url)


def _panels(connection: psycopg.Connection[Any], now: datetime, days: int) -> dict[str, float]:
    asked = {"since": now - timedelta(days=days), "until": now, "source": None, "table": None}
    table = asked | {"source": "shop3", "table": "table_3"}
    panels = [panel for panel in read_folder(FOLDER) if "gold." not in panel.sql]
    found = {
        f"{one.page}/{one.name}": _seconds(connection, one, table if one.page == "table" else asked) for one in panels
    }
    slowest = sorted(found, key=lambda name: -found[name])[:_SHOWN]
    print(f"pages, {days} days: " + ", ".join(f"{name} {found[name]:.2f} s" for name in slowest), flush=True)
    return found


def _seconds(connection: psycopg.Connection[Any], panel: Panel, asked: dict[str, Any]) -> float:
    """Return the seconds of the quickest of three answers: others share the machine."""
    result = min((run(connection, panel, asked) for _ in range(3)), key=lambda one: one.seconds)
    assert not result.problem, f"{panel.page}/{panel.name}: {result.problem}"
    return result.seconds
