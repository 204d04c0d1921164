"""Prefect's history as rows of the logging table: what ran, how it ended, and what never started.

All of the logging table can be written again from here, as long as Prefect keeps its runs and artifacts.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from monitoring import log, taxonomy
from tasks.errors import redact
from tasks.imports import uncollected
from tasks.ops import identity
from tasks.paging import pages

if TYPE_CHECKING:
    import psycopg
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import Artifact, FlowRun

# Runs whose artifacts are asked for at once: their ids stand in the request.
_RUNS_AT_ONCE = 200
STAGES = {
    "pipeline": "pipeline",
    "extract": "extract",
    "load-bronze": "load",
    "dbt-transform": "dbt",
    "monitoring": "monitoring",
    "verify": "verify",
    "reset": "reset",
    "maintenance": "maintenance",
    "reaper": "reaper",
}
"""Stage in the logging table by flow name: every flow of the product."""
LOOK_BACK = timedelta(hours=26)
"""How far back a look goes: more than a day, so that none slips by."""
# A run that waits no longer than this for its start is no failure: workers ask every few seconds, pods take 25 s, an
# autoscaler brings a node within five minutes.
LATE_AFTER = timedelta(minutes=10)
OPEN = ("Running", "Pending", "Scheduled", "Late", "AwaitingRetry", "Retrying", "Cancelling", "Paused", "Suspended")
"""Names of states that are no end."""
# A run carries the id of its warehouse: a Prefect server may run the flows of several.
_WAREHOUSE_TAG = "warehouse:"


# -- looking ----------------------------------------------------------------------------------------------------------


def look(
    client: SyncPrefectClient,
    connection: psycopg.Connection[Any],
    since: timedelta = LOOK_BACK,
    but: str | None = None,
) -> int:
    """Write what the logging table does not know yet: runs that died, were evicted, never started, or ran alone.

    Args:
        client: A client of the Prefect API.
        connection: A connection to the warehouse.
        since: How far back; as far as Prefect keeps its history rebuilds the whole table.
        but: A run that was just written with its foreseen end.

    Returns:
        Number of rows written.
    """
    now = datetime.now(UTC)
    _end_dead_processes(client, connection)
    own = warehouse_tag(connection)
    recent = recent_runs(client, now - since)
    runs = [(run, name) for run, name in recent if str(run.id) != but and _may_be_of(own, run, now)]
    known = log.states(connection, [str(run.id) for run, _ in runs])
    changed = [(run, name) for run, name in runs if _differs(run_row(run, name, now), known.get(str(run.id)))]
    seen = {str(run.id) for run, _ in runs} | {str(but)}
    rows = rows_of(client, changed, now) + _lost_rows(client, connection, seen, own, now)
    return log.write(connection, rows)


def mark(client: SyncPrefectClient, connection: psycopg.Connection[Any], run: FlowRun) -> None:
    """Tag a run with the warehouse that it works on, so that no other takes it for one of its own."""
    tag = warehouse_tag(connection)
    if not warehouse_tags(run.tags):
        client.update_flow_run(run.id, tags=[*run.tags, tag])


def warehouse_tag(connection: psycopg.Connection[Any]) -> str:
    """Return the tag of this warehouse's runs."""
    return f"{_WAREHOUSE_TAG}{identity.read(connection)}"


def warehouse_tags(tags: Sequence[str]) -> list[str]:
    """Return the tag of the warehouse that a run works on, of all its tags; none before it has started."""
    return [tag for tag in tags if tag.startswith(_WAREHOUSE_TAG)]


def _may_be_of(own: str, run: FlowRun, now: datetime) -> bool:
    """Return whether a run is that of a warehouse; without a tag, whether it ended so or waits too long."""
    if tags := warehouse_tags(run.tags):
        return own in tags
    waiting = waits_since(run)
    return run.state is None or run.state.is_final() or (waiting is not None and now - waiting > LATE_AFTER)


def _differs(row: Mapping[str, Any], known: tuple[Any, ...] | None) -> bool:
    """Return whether a run's row says something else than the table; a start row has no end yet."""
    return known != (row["state"], row["attempt"], row.get("error_class") is not None)


def recent_runs(client: SyncPrefectClient, since: datetime) -> list[tuple[FlowRun, str]]:
    """Return the product's flow runs that were due since a time and before now, with the names of their flows."""
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter
    from prefect.client.schemas.sorting import FlowRunSort

    ours = FlowFilter(name=FlowFilterName(any_=list(STAGES)))
    due = FlowRunFilter.model_validate({"expected_start_time": {"after_": since, "before_": datetime.now(UTC)}})
    names = {flow.id: flow.name for flow in client.read_flows(flow_filter=ours, limit=_RUNS_AT_ONCE)}
    found = pages(
        lambda limit, offset: client.read_flow_runs(
            flow_filter=ours,
            flow_run_filter=due,
            sort=FlowRunSort.EXPECTED_START_TIME_ASC,
            limit=limit,
            offset=offset,
        )
    )
    return [(run, names[run.flow_id]) for run in found]


def last_pipeline(client: SyncPrefectClient) -> str | None:
    """Return the id of the pipeline run that was due last, None when Prefect knows none."""
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter
    from prefect.client.schemas.sorting import FlowRunSort

    found = client.read_flow_runs(
        flow_filter=FlowFilter(name=FlowFilterName(any_=["pipeline"])),
        flow_run_filter=FlowRunFilter.model_validate({"expected_start_time": {"before_": datetime.now(UTC)}}),
        sort=FlowRunSort.EXPECTED_START_TIME_DESC,
        limit=1,
    )
    return str(found[0].id) if found else None


def rows_of(client: SyncPrefectClient, runs: Sequence[tuple[FlowRun, str]], now: datetime) -> list[dict[str, Any]]:
    """Return the log rows of runs, each with the rows of its tables and nodes."""
    artifacts = _artifacts(client, [run.id for run, _ in runs])
    return [row for run, name in runs for row in _rows(client, run, name, artifacts, now)]


def _rows(
    client: SyncPrefectClient, run: FlowRun, name: str, artifacts: Mapping[Any, Sequence[Artifact]], now: datetime
) -> list[dict[str, Any]]:
    _explain(client, run)
    return child_rows(run, name, _parent_of(client, run, name), artifacts.get(run.id, []), now)


def _parent_of(client: SyncPrefectClient, run: FlowRun, flow_name: str) -> str | None:
    """Return the run that a run is a step of; a pipeline is never one, also not of a reset."""
    if flow_name == "pipeline":
        return None
    for tag in run.tags:
        if tag.startswith("parent:"):
            return tag.removeprefix("parent:")
    if run.parent_task_run_id is None:
        return None
    parent = client.read_task_run(run.parent_task_run_id).flow_run_id
    return str(parent) if parent else None


def _explain(client: SyncPrefectClient, run: FlowRun) -> None:
    """Put what the worker saw of a run's pod into the message of its state."""
    from monitoring.pods import reason_of

    if run.state is not None:
        run.state.message = reason_of(client, run)


def _end_dead_processes(client: SyncPrefectClient, connection: psycopg.Connection[Any]) -> None:
    """Tell Prefect of runs of this machine whose process is gone: nobody else will, when no worker watches them."""
    from prefect.exceptions import ObjectNotFound
    from prefect.states import Crashed

    for run_id, process in log.open_processes(connection, OPEN):
        host, _, number = process.rpartition(":")
        if host != socket.gethostname() or is_alive(int(number)):
            continue
        what = "its process is gone: it was killed, or the machine was restarted"
        action = (
            "run again, it goes on from its checkpoints; if often, look in the machine's log whether memory ran out"
        )
        said = f"{what} | host {host}, process {number} | {action}"
        try:
            run = client.read_flow_run(run_id)
        except ObjectNotFound:
            continue
        if run.state is not None and not run.state.is_final() and run.state.name == "Running":
            client.set_flow_run_state(run.id, Crashed(message=said), force=True)


def is_alive(process: int) -> bool:
    """Return whether a process of this machine exists."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def this_process() -> str:
    """Return host and process id, by which a look on this machine finds out that a run's process is gone."""
    return f"{socket.gethostname()}:{os.getpid()}"


def _lost_rows(
    client: SyncPrefectClient, connection: psycopg.Connection[Any], seen: set[str], own: str, now: datetime
) -> list[dict[str, Any]]:
    """Return the end of runs that the table holds open and that were not among the recent ones."""
    from prefect.exceptions import ObjectNotFound

    rows: list[dict[str, Any]] = []
    for row in log.open_runs(connection, OPEN):
        if str(row["flow_run_id"]) in seen:
            continue
        try:
            run = client.read_flow_run(row["flow_run_id"])
        except ObjectNotFound:
            said = f"Prefect no longer knows this run, which was {row['state']} when it was last seen"
            rows.append({**row, "state": "Lost", "error_class": "resource", "error_message": said})
            continue
        if warehouse_tags(run.tags) not in ([], [own]):
            # It waited too long, and then started at another warehouse.
            log.remove(connection, run.id)
        elif run.state is not None and run.state.name != row["state"]:
            rows += rows_of(client, [(run, str(row["flow_name"]))], now)
    return rows


# -- reading Prefect ------------------------------------------------------------------------------------------------


def prefect_client() -> SyncPrefectClient:
    """Return a client of the Prefect API, to be used as a context manager."""
    # More than a second of imports, which a report on demand waits for.
    with uncollected():
        from prefect.client.orchestration import get_client

    return get_client(sync_client=True)


def collect(client: SyncPrefectClient, run_id: str, problems: Sequence[str] | None) -> list[dict[str, Any]]:
    """Return the log rows of a run and its steps: one per flow run, and one per table or node of it.

    Args:
        client: A client of the Prefect API.
        run_id: The flow run: a pipeline, or any other that was started alone.
        problems: What the pipeline that is waiting for us knows went wrong; None when it is not.
    """
    from uuid import UUID

    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId, FlowRunFilterTags
    from prefect.client.schemas.sorting import FlowRunSort

    parent = client.read_flow_run(UUID(run_id))
    children: dict[Any, FlowRun] = {}
    # By tag for runs of deployments, by parent for function calls, whose tags a person's run may lack.
    for wanted in (
        FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[parent.id])),
        FlowRunFilter(tags=FlowRunFilterTags(all_=[f"parent:{run_id}"])),
    ):
        for child in pages(
            lambda limit, offset, wanted=wanted: client.read_flow_runs(  # type: ignore[misc]
                flow_run_filter=wanted, sort=FlowRunSort.START_TIME_ASC, limit=limit, offset=offset
            )
        ):
            children[child.id] = child
    now = datetime.now(UTC)
    names = _flow_names(client, [parent, *children.values()])
    _explain(client, parent)
    own = parent_row(parent, names[parent.flow_id], problems, now)
    artifacts = _artifacts(client, [parent.id, *children])
    rows = with_tables(own, parent, artifacts.get(parent.id, []))
    return rows + [
        row
        for child in children.values()
        for row in _rows(client, child, names[child.flow_id], artifacts, now)
        # Of this run's own monitoring the end is not known yet; it is written by its hook.
        if row["stage"] != "monitoring" or row["state"] != "Running"
    ]


def _flow_names(client: SyncPrefectClient, runs: Sequence[FlowRun]) -> dict[Any, str]:
    from prefect.client.schemas.filters import FlowFilter, FlowFilterId

    wanted = FlowFilter(id=FlowFilterId(any_=list({run.flow_id for run in runs})))
    return {flow.id: flow.name for flow in client.read_flows(flow_filter=wanted, limit=_RUNS_AT_ONCE)}


def _artifacts(client: SyncPrefectClient, run_ids: Sequence[Any]) -> dict[Any, list[Artifact]]:
    """Return the table artifacts by flow run."""
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterType
    from prefect.client.schemas.sorting import ArtifactSort

    found: dict[Any, list[Artifact]] = {}
    for start in range(0, len(run_ids), _RUNS_AT_ONCE):
        wanted = ArtifactFilter(
            flow_run_id=ArtifactFilterFlowRunId(any_=list(run_ids[start : start + _RUNS_AT_ONCE])),
            type=ArtifactFilterType(any_=["table"]),
        )
        for artifact in pages(
            lambda limit, offset, wanted=wanted: client.read_artifacts(  # type: ignore[misc]
                artifact_filter=wanted, sort=ArtifactSort.CREATED_DESC, limit=limit, offset=offset
            )
        ):
            found.setdefault(artifact.flow_run_id, []).append(artifact)
    return found


# -- rows -----------------------------------------------------------------------------------------------------------


def run_row(run: FlowRun, flow_name: str, now: datetime) -> dict[str, Any]:
    """Return a flow run's own row, with the reason if it failed, ended otherwise, or has not started in time."""
    state = run.state
    name = (state.name or "Unknown") if state is not None else "Unknown"
    row: dict[str, Any] = {
        "flow_run_id": run.id,
        "flow_name": flow_name,
        "stage": STAGES.get(flow_name, flow_name),
        "state": name,
        "started_at": run.start_time,
        "ended_at": run.end_time,
        "expected_at": run.expected_start_time,
        "seconds": run.total_run_time.total_seconds() if run.total_run_time else None,
        "attempt": run.run_count,
        "tables": _asked(run),
        "models": bool(run.parameters.get("models", True)) if flow_name == "pipeline" else None,
    }
    if state is not None and (state.is_failed() or state.is_crashed() or state.is_cancelled()):
        message = redact(state.message or name)
        row |= {"error_class": taxonomy.classify((), message, state.type.value.title()), "error_message": message}
    elif (waiting := waits_since(run)) and now - waiting > LATE_AFTER:
        message = _why_waiting(run, waiting, now)
        row |= {"error_class": taxonomy.classify((), message, "Crashed"), "error_message": message}
    return row


def _asked(run: FlowRun) -> list[str] | None:
    """Return the tables that a run was asked for, None for all; ranges of a table are the table."""
    names = [*(run.parameters.get("tables") or ()), *filter(None, [run.parameters.get("table")])]
    return sorted({str(name).partition("#")[0] for name in names}) or None


def waits_since(run: FlowRun) -> datetime | None:
    """Return since when a run should have been running, None when it does or did."""
    if run.state is None or run.state.name not in ("Late", "Pending", "Scheduled"):
        return None
    return run.expected_start_time


def _why_waiting(run: FlowRun, since: datetime, now: datetime) -> str:
    minutes = round((now - since).total_seconds() / 60)
    seen = run.state.message if run.state is not None else ""
    if run.state is not None and run.state.name == "Pending":
        return f"has been starting for {minutes} min: {redact(seen or 'its worker says nothing of its pod')}"
    pool = f" of the work pool {run.work_pool_name}" if run.work_pool_name else ""
    return f"was due at {since:%Y-%m-%d %H:%M} UTC, {minutes} min ago: no worker{pool} has taken it"


def parent_row(run: FlowRun, flow_name: str, problems: Sequence[str] | None, now: datetime) -> dict[str, Any]:
    """Return the pipeline's row; when it waits for us as its last step, its end is foreseen."""
    row = run_row(run, flow_name, now)
    if row["state"] != "Running" or problems is None:
        return row
    row |= {"state": "Failed" if problems else "Completed", "ended_at": now}
    row["seconds"] = (now - run.start_time).total_seconds() if run.start_time else None
    if problems:
        message = redact("; ".join(problems))
        row |= {"error_class": taxonomy.classify((), message), "error_message": message}
    return row


def child_rows(
    run: FlowRun, flow_name: str, parent_id: str | None, artifacts: Sequence[Artifact], now: datetime
) -> list[dict[str, Any]]:
    """Return the rows of a flow run: its own, one per artifact row, and one for each table that left no artifact."""
    return with_tables({**run_row(run, flow_name, now), "parent_run_id": parent_id}, run, artifacts)


def with_tables(own: dict[str, Any], run: FlowRun, artifacts: Sequence[Artifact]) -> list[dict[str, Any]]:
    """Return a run's own row, and behind it those of its tables and nodes."""
    common = {name: own.get(name) for name in ("flow_run_id", "parent_run_id", "flow_name")}
    rows: dict[tuple[Any, Any], dict[str, Any]] = {}
    for artifact in artifacts:
        # The newest comes first; a table that was tried again has an older one too.
        for row in artifact_rows(artifact.data):
            rows.setdefault((row.get("source"), row.get("table_name")), {**row, **common})
    if own["stage"] in ("extract", "load") and own["state"] not in (*OPEN, "Completed"):
        missing = {**own, "state": "Missing", "tables": None}
        for name in run.parameters.get("tables") or []:
            source, _, table = name.partition("#")[0].partition(".")
            if (source, table) not in rows:
                rows[source, table] = {**missing, "source": source, "table_name": table}
    if any(row.get("state") == "Failed" for row in rows.values()):
        # The tables' own rows hold the reasons and their classes.
        own["error_class"] = next((row["error_class"] for row in rows.values() if row.get("error_class")), None)
    return [own, *rows.values()]


def artifact_rows(data: Any) -> list[dict[str, Any]]:
    """Return the rows of a table artifact that belong into the logging table; the API gives them as a JSON string."""
    try:
        table = json.loads(data) if isinstance(data, str) else data
    except json.JSONDecodeError:
        return []
    if not isinstance(table, list):
        return []
    known = [
        {name: value for name, value in row.items() if name in log.COLUMNS} for row in table if isinstance(row, dict)
    ]
    return [row for row in known if row.get("stage") and row.get("table_name")]
