"""Why a run ended, as far as Prefect and the worker that watched its pod know."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, Log

# The last log lines of a crashed run hold the pod's diagnosis.
_LOG_LINES = 50
# The logger under which prefect-kubernetes writes what it saw of a run's pod.
_OBSERVER = "prefect.flow_runs.observer"


def reason_of(client: SyncPrefectClient, run: FlowRun) -> str:
    """Return why a run ended: its state's message and, if it crashed or never ran, what the worker saw of its pod."""
    message = (run.state.message or "") if run.state is not None else ""
    if run.state is None or not run.state.is_final() or (run.run_count and not run.state.is_crashed()):
        return message
    seen = diagnosis(client, run)
    return f"{message}: {seen}" if seen else message


def diagnosis(client: SyncPrefectClient, run: FlowRun) -> str:
    """Return what the worker last saw of a run's pod: an image that cannot be pulled, no node that fits, OOMKilled."""
    seen = [log.message for log in _last_logs(client, run) if log.name == _OBSERVER]
    # Without its general advice.
    return seen[0].partition(" Resolution:")[0] if seen else ""


def crash_texts(client: SyncPrefectClient, run: FlowRun) -> list[str]:
    """Return a crash's message and the last lines of its log, which hold the worker's diagnosis of the pod."""
    texts = [run.state.message or ""] if run.state is not None else []
    return texts + [log.message for log in _last_logs(client, run)]


def _last_logs(client: SyncPrefectClient, run: FlowRun) -> list[Log]:
    from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
    from prefect.client.schemas.sorting import LogSort

    wanted = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id]))
    return client.read_logs(wanted, limit=_LOG_LINES, sort=LogSort.TIMESTAMP_DESC)
