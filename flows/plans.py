"""The plan of a pipeline run: made from names, sizes and checkpoints, kept for people and for a next attempt.

Nothing here imports Prefect at its top: the command line plans before it knows which Prefect server it uses.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from tasks import planning
from tasks.errors import ConfigError
from tasks.planning import Group, TableLoad, Target, Unit, parse_target

if TYPE_CHECKING:
    from tasks.settings import Settings
    from tasks.sources import Sources
    from tasks.sources.window import Window


@dataclass(frozen=True)
class How:
    """How tables are read, as the parameters of the flows say it.

    Attributes:
        full: Everything again, whatever the checkpoints say.
        from_day: Only the days from here to `to_day` again.
    """

    full: bool = False
    from_day: date | None = None
    to_day: date | None = None

    def parameters(self) -> dict[str, Any]:
        """Return what a flow is given; a deployment takes JSON only."""
        days = {"from_day": self.from_day, "to_day": self.to_day}
        return {"full": self.full, **{name: day.isoformat() for name, day in days.items() if day}}

    def options(self) -> list[str]:
        """Return the same as options of the command line."""
        days = (("--from", self.from_day), ("--to", self.to_day))
        return [*(["--full"] if self.full else []), *(text for name, day in days if day for text in (name, f"{day}"))]


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


def window(sources: Sources, names: Sequence[str], how: How) -> Window | None:
    """Return the days that a run is to read again, None where it is to read what is due.

    Raises:
        ConfigError: They are no days, or a table cannot be read for certain days alone.
    """
    from tasks.sources.window import Window

    first, last, where = how.from_day, how.to_day, "--from and --to"
    if first is None and last is None:
        return None
    if first is None or last is None:
        raise ConfigError("days have a beginning and an end", where, "give both")
    if how.full:
        raise ConfigError("days and everything cannot be read at once", where, "leave out one of them")
    if last < first:
        raise ConfigError(f"the days end ({last}) before they begin ({first})", where, "correct the days")
    wanted = Window(first, last)
    problems = []
    for name in names:
        ref = sources.table(_target(name).table)
        try:
            ref.connector.check_window(ref, wanted)
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError(
            f"{len(problems)} table(s) cannot be read for these days", where, "name the other tables", tuple(problems)
        )
    return wanted


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
            "ahead": ", ".join(unit.ahead),
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
            tuple(filter(None, found[0]["ahead"].split(", "))),
        )
        for name, found in by_unit.items()
    ]
