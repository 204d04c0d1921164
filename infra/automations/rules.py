"""The automations that `warehouse deploy` applies; each is found again by its name."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, TypeAlias
from uuid import UUID

if TYPE_CHECKING:
    from prefect.events.schemas.automations import AutomationCore

_Labels: TypeAlias = dict[str, str | list[str]]

PREFIX = "warehouse: "
"""Names of our automations start with this; others are left alone."""

# Three heartbeats of 180 s (Prefect's default): one or two may be lost on the way, three mean that nobody sends them.
ZOMBIE_AFTER = timedelta(seconds=540)
# The deadline of a flow pod in the base job template; a pipeline that takes longer does not end by itself.
TOO_LONG = timedelta(hours=6)
# Monitoring runs each hour; one run may be missed by a restart.
SILENT = timedelta(hours=3)
# Events after which no heartbeat is due: the run ended, or waits for its next start.
_SILENT = ("Completed", "Failed", "TimedOut", "Crashed", "Cancelled", "AwaitingRetry", "Paused", "Suspended")
_TAG: _Labels = {"prefect.resource.role": "tag", "prefect.resource.id": "prefect.tag.warehouse"}
_PIPELINE: _Labels = {"prefect.resource.role": "flow", "prefect.resource.name": "pipeline"}
_RUN: _Labels = {"prefect.resource.id": "prefect.flow-run.*"}


def automations(reaper: UUID | None, alert_block: UUID | None) -> list[AutomationCore]:
    """Return the automations that should exist.

    Args:
        reaper: Deployment that starts crashed pipelines again; None leaves that out.
        alert_block: Notification block that alerts go to; None leaves alerts out.
    """
    found = [_zombies()]
    if reaper is not None:
        found.append(_crashed_pipelines(reaper))
    if alert_block is not None:
        found += _alerts(alert_block)
    return found


def _zombies() -> AutomationCore:
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

    return AutomationCore(
        name=f"{PREFIX}zombies",
        description="A run whose heartbeat stopped without an end is marked crashed: what waits for it goes on.",
        trigger=EventTrigger(
            match=_RUN,
            match_related=_TAG,
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.heartbeat", *(f"prefect.flow-run.{name}" for name in _SILENT)},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=ZOMBIE_AFTER,
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED,
                name="Crashed",
                message=f"no heartbeat for {ZOMBIE_AFTER.seconds} s",
                force=False,
            )
        ],
    )


def _crashed_pipelines(reaper: UUID) -> AutomationCore:
    from prefect.events.actions import RunDeployment
    from prefect.events.schemas.automations import AutomationCore, EventTrigger

    return AutomationCore(
        name=f"{PREFIX}crashed pipelines",
        description="A crashed pipeline is started again, a few times; then the runs it left behind are ended.",
        trigger=EventTrigger(
            match=_RUN,
            match_related=_PIPELINE,
            expect={"prefect.flow-run.Crashed"},
            for_each={"prefect.resource.id"},
        ),
        actions=[
            RunDeployment(
                source="selected",
                deployment_id=reaper,
                # Written out, because Prefect renders a bare "{{ flow_run.id }}" as JSON, which a UUID is not.
                parameters={"run": {"__prefect_kind": "jinja", "template": "{{ flow_run.id }}"}},
                job_variables=None,
            )
        ],
    )


def _alerts(block: UUID) -> list[AutomationCore]:
    from prefect.events.schemas.automations import EventTrigger, Posture

    ends = {f"prefect.flow-run.{name}" for name in _SILENT}
    failed = EventTrigger(
        match=_RUN,
        match_related=_PIPELINE,
        expect={"prefect.flow-run.Failed", "prefect.flow-run.Crashed", "prefect.flow-run.TimedOut"},
        for_each={"prefect.resource.id"},
    )
    late = EventTrigger(
        match=_RUN, match_related=_PIPELINE, expect={"prefect.flow-run.Late"}, for_each={"prefect.resource.id"}
    )
    slow = EventTrigger(
        match=_RUN,
        match_related=_PIPELINE,
        after={"prefect.flow-run.Running"},
        expect=ends,
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        within=TOO_LONG,
    )
    # Monitoring that is dead cannot say so itself: its scheduled run is each hour.
    silent = EventTrigger(
        match=_RUN,
        match_related={"prefect.resource.role": "flow", "prefect.resource.name": "monitoring"},
        expect={"prefect.flow-run.Completed", "prefect.flow-run.Failed"},
        posture=Posture.Proactive,
        threshold=1,
        within=SILENT,
    )
    hours = int(TOO_LONG.total_seconds() // 3600)
    return [
        _alert(block, "alert on failure", failed, "ended as {{ flow_run.state.name }}: {{ flow_run.state.message }}"),
        _alert(block, "alert on lateness", late, "is late: is a worker running for its work pool?"),
        _alert(block, "alert on a long run", slow, f"has been running for {hours} hours"),
        _silence(block, silent),
    ]


def _silence(block: UUID, trigger: object) -> AutomationCore:
    """Return the automation that tells when monitoring does not; there is no run then that it could name."""
    from prefect.events.actions import SendNotification
    from prefect.events.schemas.automations import AutomationCore

    hours = int(SILENT.total_seconds() // 3600)
    return AutomationCore(
        name=f"{PREFIX}alert on silent monitoring",
        description="Tells the people behind the block `warehouse-alert` that nobody looks.",
        trigger=trigger,  # type: ignore[arg-type]
        actions=[
            SendNotification(
                block_document_id=block,
                subject="Warehouse: monitoring is silent",
                body=f"No monitoring run has ended for {hours} hours: is a worker running? "
                "Until it is, nobody is told of failures. Runbook: docs/runbooks/classes/resource.md",
            )
        ],
    )


def _alert(block: UUID, name: str, trigger: object, says: str) -> AutomationCore:
    from prefect.events.actions import SendNotification
    from prefect.events.schemas.automations import AutomationCore

    return AutomationCore(
        name=f"{PREFIX}{name}",
        description="Tells the people behind the block `warehouse-alert`.",
        trigger=trigger,  # type: ignore[arg-type]
        actions=[
            SendNotification(
                block_document_id=block,
                subject="Warehouse: {{ flow_run.name }}",
                body=f"{{{{ flow_run.name }}}} {says}\n{{{{ flow_run|ui_url }}}}",
            )
        ],
    )
