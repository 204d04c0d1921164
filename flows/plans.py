"""The plan of a pipeline run: made from names, sizes and checkpoints, kept for people and for a next attempt.

Nothing here imports Prefect at its top: the command line plans before it knows which Prefect server it uses.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tasks import planning
from tasks.errors import ConfigError
from tasks.planning import Group, TableLoad, Target, Unit, parse_target

if TYPE_CHECKING:
    from tasks.settings import Settings
    from tasks.sources import Sources


def expand(sources: Sources, names: Sequence[str] | None) -> list[str]:
    """Return targets: names of tables and ranges as they are, a source's name as its tables, nothing as every table.

    Raises:
        ConfigError: A name is no table and no source.
    """
    if not names:
        return [ref.name for ref in sources.refs()]
    found: dict[str, None] = {}
    for name in names:
        if name in sources.sources:
            found.update((ref.name, None) for ref in sources.refs() if ref.source_name == name)
        else:
            sources.table(_target(name).table)
            found[name] = None
    return list(found)


def _target(name: str) -> Target:
    try:
        return parse_target(name)
    except ValueError as error:
        raise ConfigError(str(error), "tables", "see `warehouse check` for the names of tables") from None


def make(settings: Settings, sources: Sources, names: Sequence[str], full: bool = False) -> list[Unit]:
    """Plan a run from configuration, sizes of recent runs and checkpoints; reads no source.

    Raises:
        WarehouseUnreachable: The warehouse, which knows sizes and checkpoints, did not answer.
    """
    from monitoring import log
    from tasks.database import connect
    from tasks.ops import checkpoints
    from tasks.ops.migrations import migrate

    with connect(settings.database_url(), autocommit=True) as connection:
        migrate(connection)
        history = log.table_history(connection, "extract")
        loaded = {f"{found.source}.{found.table_name}" for found in checkpoints.read_all(connection)}
    loads = []
    for ref in map(sources.table, names):
        recent = history.get(ref.name, {})
        loads.append(
            TableLoad(
                ref.name,
                ref.table.resources,
                ref.connector.most_ranges(ref, first=full or ref.name not in loaded),
                recent.get("seconds"),
                int(recent["bytes"]) if recent else None,
                ref.name not in loaded,
            )
        )
    return planning.plan(loads, spread=settings.execution == "deployments")


def publish(key: str, units: Sequence[Unit]) -> None:
    """Save the plan under the current flow run."""
    from prefect.artifacts import create_table_artifact

    create_table_artifact(table=rows(units), key=key, description="which tables share a run")


def read(key: str) -> list[Unit] | None:
    """Return the plan that the current flow run saved, or None when it has none yet."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import (
        ArtifactFilter,
        ArtifactFilterFlowRunId,
        ArtifactFilterKey,
    )
    from prefect.runtime import flow_run

    wanted = ArtifactFilter(key=ArtifactFilterKey(any_=[key]), flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run.id]))
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=wanted, limit=1)
    return parse(json.loads(found[0].data)) if found and isinstance(found[0].data, str) else None


def rows(units: Sequence[Unit]) -> list[dict[str, Any]]:
    """Return a plan as rows, one per extract run."""
    return [
        {
            "unit": unit.name,
            "class": unit.resources,
            "extract": group.name,
            "extract_class": group.resources,
            "tables": ", ".join(group.targets),
            "load": ", ".join(unit.tables),
            "batch_id": unit.batch_id or "",
            "ahead": "yes" if unit.ahead else "",
        }
        for unit in units
        for group in unit.extracts
    ]


def parse(table: Sequence[dict[str, Any]]) -> list[Unit]:
    """Return the plan that rows describe."""
    by_unit: dict[str, list[dict[str, Any]]] = {}
    for row in table:
        by_unit.setdefault(row["unit"], []).append(row)
    return [
        Unit(
            name,
            found[0]["class"],
            tuple(Group(row["extract"], row["extract_class"], tuple(row["tables"].split(", "))) for row in found),
            tuple(found[0]["load"].split(", ")),
            found[0]["batch_id"] or None,
            bool(found[0]["ahead"]),
        )
        for name, found in by_unit.items()
    ]
