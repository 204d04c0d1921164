"""Flow reaper: a crashed pipeline is started again; one that is over takes the runs along that it left behind."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.launch import cancel_children
from monitoring.hooks import RECORDED
from tasks.paging import pages

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

# A pipeline that crashed this often is not started again: what kills it is not chance.
MOST_STARTS = 3
# A crash is reported twice, by the runner and by the worker; the second report must not hit the run's next start.
RESTART_DELAY = timedelta(seconds=60)
# A crash is answered within minutes; a pipeline that crashed longer ago has had its successor.
RESTART_WITHIN = timedelta(hours=2)
# Parents older than this have no runs left: flow pods have a deadline of six hours.
_LOOK_BACK = timedelta(days=2)


@flow(name="reaper", flow_run_name="reaper", **RECORDED)
def reaper(run: str | None = None) -> State[None]:
    """Look at one pipeline run, or at all that ended lately.

    Args:
        run: Flow run id of a pipeline, as the automation for crashes gives it.
    """
    from prefect.client.orchestration import get_client

    said = []
    with get_client(sync_client=True) as client:
        for parent in _parents(client, run):
            said.append(look_after(client, parent))
            get_run_logger().info("%s: %s", parent.id, said[-1])
    return Completed(message="; ".join(said) or "nothing to do")


def look_after(client: SyncPrefectClient, parent: FlowRun) -> str:
    """Start a crashed pipeline again, or end the runs of one that is over; return what was done."""
    from prefect.states import Scheduled

    state = parent.state
    if state is None or not state.is_final():
        return "still running"
    if state.is_crashed() and should_restart(parent, datetime.now(UTC)):
        # The same run: it finds its children by their tags, and goes on with its plan.
        at = datetime.now(UTC) + RESTART_DELAY
        again: State[None] = Scheduled(scheduled_time=at, name="AwaitingRetry", message="started again after a crash")
        client.set_flow_run_state(parent.id, again)
        return f"started again, attempt {parent.run_count + 1}"
    ended = 0 if state.is_completed() else cancel_children(str(parent.id))
    return f"{ended} run(s) of it ended" if ended else "nothing was left behind"


def should_restart(parent: FlowRun, now: datetime) -> bool:
    """Return whether a crashed pipeline gets another start: only runs of deployments, a few times, soon after."""
    if parent.deployment_id is None or parent.run_count >= MOST_STARTS or parent.state is None:
        return False
    return now - parent.state.timestamp < RESTART_WITHIN


def _parents(client: SyncPrefectClient, run: str | None) -> list[FlowRun]:
    from uuid import UUID

    from prefect.client.schemas.filters import (
        FlowFilter,
        FlowFilterName,
        FlowRunFilter,
        FlowRunFilterStartTime,
        FlowRunFilterState,
        FlowRunFilterStateType,
    )
    from prefect.client.schemas.objects import StateType

    if run:
        return [client.read_flow_run(UUID(run))]
    ended = FlowRunFilterState(
        type=FlowRunFilterStateType(any_=[StateType.CRASHED, StateType.FAILED, StateType.CANCELLED])
    )
    since = FlowRunFilterStartTime.model_validate({"after_": datetime.now(UTC) - _LOOK_BACK})
    found = pages(
        lambda limit, offset: client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=["pipeline"])),
            flow_run_filter=FlowRunFilter(state=ended, start_time=since),
            limit=limit,
            offset=offset,
        )
    )
    return list(found)
