"""Subflow monitoring: artifacts and run states of a pipeline run into the logging table, and the run's report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from monitoring import log, report, taxonomy
from monitoring.pods import reason_of
from tasks.errors import WarehouseUnreachable, redact
from tasks.paging import pages

if TYPE_CHECKING:
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
}
"""Stage in the logging table by flow name."""
# A scheduled monitoring run looks at pipelines that started within this time: more than a day, so that none slips by.
_LOOK_BACK = timedelta(hours=26)


@flow(name="monitoring", flow_run_name="monitoring")
def monitoring(run: str | None = None, problems: list[str] | None = None) -> State[Any]:
    """Log and report one pipeline run, or every recent one whose log is not complete.

    Args:
        run: Flow run id of the pipeline; none means all that started within the last day.
        problems: What the pipeline knows went wrong, when it is still running itself.
    """
    from tasks.database import connect
    from tasks.ops.migrations import migrate
    from tasks.settings import get_settings

    url = get_settings().database_url()
    if run is None:
        return _catch_up(url)
    with _client() as client:
        rows = collect(client, run, problems or [])
    try:
        connection = connect(url, autocommit=True)
    except WarehouseUnreachable as error:
        # The report is wanted most when the warehouse is gone; the log is written by the next scheduled run.
        _publish(report.build(rows))
        return Failed(message=f"WarehouseUnreachable: {redact(str(error))}")
    with connection:
        migrate(connection)
        log.write(connection, rows)
        _publish(build_report(connection, run))
    return Completed(message=f"{len(rows)} log row(s)")


def _catch_up(url: str) -> State[Any]:
    """Log what pipelines could not log themselves: those that died, and the end of the monitoring run of each."""
    from tasks.database import connect
    from tasks.ops.migrations import migrate

    written = []
    with _client() as client, connect(url, autocommit=True) as connection:
        migrate(connection)
        recent = recent_pipelines(client)
        complete = log.complete_runs(connection, recent)
        for run in recent:
            if run not in complete:
                log.write(connection, collect(client, run, None))
                written.append(run)
    return Completed(message=f"{len(written)} of {len(recent)} recent pipeline run(s) logged anew")


# -- reading Prefect ------------------------------------------------------------------------------------------------


def _client() -> SyncPrefectClient:
    from prefect.client.orchestration import get_client

    return get_client(sync_client=True)


def recent_pipelines(client: SyncPrefectClient) -> list[str]:
    """Return the ids of the pipeline runs that started within the last day, oldest first."""
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter, FlowRunFilterStartTime
    from prefect.client.schemas.sorting import FlowRunSort

    since = FlowRunFilter(start_time=FlowRunFilterStartTime.model_validate({"after_": datetime.now(UTC) - _LOOK_BACK}))
    found = pages(
        lambda limit, offset: client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=["pipeline"])),
            flow_run_filter=since,
            sort=FlowRunSort.START_TIME_ASC,
            limit=limit,
            offset=offset,
        )
    )
    return [str(run.id) for run in found]


def collect(client: SyncPrefectClient, run_id: str, problems: Sequence[str] | None) -> list[dict[str, Any]]:
    """Return the log rows of a pipeline run: one per flow run, and one per table or node of it.

    Args:
        client: A client of the Prefect API.
        run_id: The pipeline's flow run.
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
    names = _flow_names(client, [parent, *children.values()])
    artifacts = _artifacts(client, [parent.id, *children])
    rows = [parent_row(parent, names[parent.flow_id], problems)]
    for child in children.values():
        if child.state is not None:
            child.state.message = reason_of(client, child)
        rows += child_rows(child, names[child.flow_id], run_id, artifacts.get(child.id, []))
    return rows


def _flow_names(client: SyncPrefectClient, runs: Sequence[FlowRun]) -> dict[Any, str]:
    return {flow_id: client.read_flow(flow_id).name for flow_id in {run.flow_id for run in runs}}


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


def run_row(run: FlowRun, flow_name: str) -> dict[str, Any]:
    """Return a flow run's own row."""
    state = run.state
    name = (state.name or "Unknown") if state is not None else "Unknown"
    row: dict[str, Any] = {
        "flow_run_id": run.id,
        "flow_name": flow_name,
        "stage": STAGES.get(flow_name, flow_name),
        "state": name,
        "started_at": run.start_time,
        "ended_at": run.end_time,
        "seconds": run.total_run_time.total_seconds() if run.total_run_time else None,
        "attempt": run.run_count,
    }
    if state is not None and (state.is_failed() or state.is_crashed() or state.is_cancelled()):
        message = redact(state.message or name)
        row |= {"error_class": taxonomy.classify((), message, state.type.value.title()), "error_message": message}
    return row


def parent_row(run: FlowRun, flow_name: str, problems: Sequence[str] | None) -> dict[str, Any]:
    """Return the pipeline's row; when it waits for us as its last step, its end is foreseen."""
    row = run_row(run, flow_name)
    if row["state"] != "Running" or problems is None:
        return row
    now = datetime.now(UTC)
    row |= {"state": "Failed" if problems else "Completed", "ended_at": now}
    row["seconds"] = (now - run.start_time).total_seconds() if run.start_time else None
    if problems:
        message = redact("; ".join(problems))
        row |= {"error_class": taxonomy.classify((), message), "error_message": message}
    return row


def child_rows(run: FlowRun, flow_name: str, parent_id: str, artifacts: Sequence[Artifact]) -> list[dict[str, Any]]:
    """Return the rows of a subflow run: its own, one per artifact row, and one for each table that left no artifact."""
    common = {"flow_run_id": run.id, "parent_run_id": parent_id, "flow_name": flow_name}
    own = {**run_row(run, flow_name), "parent_run_id": parent_id}
    if own["stage"] == "monitoring" and own["state"] == "Running":
        # This run: how it ends is written by the next scheduled one.
        return []
    rows: dict[tuple[Any, Any], dict[str, Any]] = {}
    for artifact in artifacts:
        # The newest comes first; a table that was tried again has an older one too.
        for row in artifact_rows(artifact.data):
            rows.setdefault((row.get("source"), row.get("table_name")), {**row, **common})
    if own["stage"] in ("extract", "load") and own["state"] not in ("Running", "Completed"):
        for name in run.parameters.get("tables") or []:
            source, _, table = name.partition("#")[0].partition(".")
            if (source, table) not in rows:
                rows[source, table] = {**own, **common, "source": source, "table_name": table, "state": "Missing"}
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


# -- the report -----------------------------------------------------------------------------------------------------


def build_report(connection: Any, run_id: str) -> report.RunReport:
    """Return the report of a logged pipeline run, against the run before it."""
    rows = log.read_run(connection, run_id)
    before = log.latest_run(connection, before=run_id)
    previous = log.read_run(connection, before) if before else []
    return report.build(rows, previous, log.schema_changes(connection, [row["batch_id"] for row in rows]))


def _publish(run_report: report.RunReport) -> None:
    """Make the report's artifacts; the key `run-report` is always the newest run."""
    from prefect.artifacts import create_markdown_artifact, create_table_artifact

    get_run_logger().info(run_report.headline)
    create_markdown_artifact(
        report.render_markdown(run_report), key="run-report", description=run_report.headline[:200]
    )
    create_table_artifact(table=report.table_cells(run_report), key="run-tables", description="figures per table")
