"""The plan of a pipeline run as an artifact: people read it, and an interrupted run goes on with it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tasks.planning import Group, Unit


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
