"""What runs asked for against what they used, and which resource class each table should have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tasks.resources import CLASSES, Recommendation, quantity, recommend

if TYPE_CHECKING:
    import psycopg

    from tasks.sources import Sources

# Long enough to hold a month's largest day for most, short enough to forget what a table once was.
WINDOW = timedelta(days=30)


def read(connection: psycopg.Connection[Any], window: timedelta = WINDOW) -> list[dict[str, Any]]:
    """Return the rows of table tasks in monitoring.pipeline_log that were measured lately."""
    from psycopg.rows import dict_row

    query = """
        select stage, source, table_name, seconds, peak_memory_bytes, cpu_seconds, error_class, pod, flow_run_id
        from monitoring.pipeline_log
        where stage in ('extract', 'load') and table_name is not null and peak_memory_bytes is not null
          and started_at > now() - %s
    """
    return connection.cursor(row_factory=dict_row).execute(query, [window]).fetchall()


def classes_of(sources: Sources) -> dict[str, str]:
    """Return the configured resource class of each `source.table`."""
    return {ref.name: ref.table.resources for ref in sources.refs()}


def lines(rows: Iterable[Mapping[str, Any]], classes: Mapping[str, str]) -> list[str]:
    """Return the report as lines of text: what to change first, then every table."""
    found = recommend(rows, classes)
    if not found:
        return ["no run was measured lately: figures come with runs on Kubernetes or in containers"]
    change = [item for item in found if item.current != item.suggested]
    head = f"{len(change)} of {len(found)} should change class" if change else "every table fits its class"
    return [head, *(_line(item) for item in found)]


def _line(item: Recommendation) -> str:
    now, wanted = CLASSES[item.current], CLASSES[item.suggested]
    arrow = item.current if now == wanted else f"{item.current} -> {item.suggested}"
    return (
        f"{item.stage:<8}{item.table:<32}{arrow:<18}"
        f"memory {item.peak_memory_bytes / 2**20:,.0f} of {now.memory_bytes / 2**20:,.0f} MiB, "
        f"CPU {item.cpu_cores:.2f} of {quantity(now.cpu_request):.2f} cores, {item.runs} run(s): {item.reason}"
    )
