"""Automations that the open-source server accepts, and when a crashed pipeline is started again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from prefect.server.events.schemas.automations import AutomationCreate
from prefect.states import Crashed

from flows import reaper
from flows.table_tasks import is_transient, retry_transient, summary
from infra.automations.rules import PREFIX, ZOMBIE_AFTER, automations
from monitoring.log import COLUMNS
from tasks import errors
from tasks.bronze.outcome import LoadMetrics, LoadResult
from tasks.extract import ExtractMetrics


def test_every_automation_passes_the_servers_own_model() -> None:
    found = automations(uuid4(), uuid4())
    for automation in found:
        AutomationCreate.model_validate(automation.model_dump(mode="json", exclude={"owner_resource"}))
    names = [automation.name for automation in found]
    assert len(set(names)) == len(names) == 6 and all(name.startswith(PREFIX) for name in names)


def test_without_a_block_there_are_no_alerts_and_without_a_reaper_no_restart() -> None:
    assert [automation.name for automation in automations(None, None)] == [f"{PREFIX}zombies"]


def test_a_run_is_no_zombie_before_three_heartbeats_are_missing() -> None:
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY

    frequency = PREFECT_FLOWS_HEARTBEAT_FREQUENCY.default() or 0
    assert ZOMBIE_AFTER.total_seconds() >= 3 * frequency > 0


def crashed(runs: int = 1, ago: timedelta = timedelta(minutes=1), deployment: bool = True) -> Any:
    state = Crashed(timestamp=datetime.now(UTC) - ago)
    return SimpleNamespace(deployment_id=uuid4() if deployment else None, run_count=runs, state=state)


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (crashed(), True),
        (crashed(runs=reaper.MOST_STARTS - 1), True),
        (crashed(runs=reaper.MOST_STARTS), False),
        (crashed(ago=timedelta(hours=3)), False),
        (crashed(deployment=False), False),
    ],
)
def test_when_a_crashed_pipeline_is_started_again(run: Any, expected: bool) -> None:
    assert reaper.should_restart(run, datetime.now(UTC)) is expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.SourceUnreachable("no answer"), True),
        (errors.WarehouseUnreachable("Postgres does not answer: connection refused"), True),
        (errors.WarehouseUnreachable("Postgres refused the credentials: password authentication failed"), False),
        (errors.ConfigError("unknown key"), False),
        (errors.MissingCollection("nowhere"), False),
        (errors.RejectLimitExceeded("too many"), False),
        (ValueError("defect"), False),
        (None, False),
    ],
)
def test_only_what_may_go_away_by_itself_is_tried_again(error: Exception | None, expected: bool) -> None:
    assert is_transient(error) is expected


def test_the_retry_condition_is_a_plain_function() -> None:
    import inspect

    # Prefect takes anything else for "never retry", in silence.
    assert inspect.isfunction(retry_transient)


def test_batches_of_a_table_add_up() -> None:
    first = LoadResult("a", "b", "1", inserted=5, seconds=2.0, rows_landed=5, window={"from": "a", "to": "b"})
    then = LoadResult("a", "b", "2", updated=7, deleted=1, seconds=1.0, rows_landed=8, window={"from": "b", "to": 3})
    row = LoadMetrics.of([first, then]).row()
    assert (row["rows_loaded"], row["rows_deleted"], row["rows_rejected"], row["rows_landed"]) == (12, 1, 0, 13)
    assert (row["window_from"], row["window_to"], row["batch_id"], row["rows_per_second"]) == ("a", "3", "2", 4)
    assert {*row, *ExtractMetrics().row()} <= {*COLUMNS}


def test_the_message_of_a_group_names_each_failed_table() -> None:
    from flows.table_tasks import TableFailure

    assert summary([], 3) == "3 table(s) done"
    said = summary([TableFailure("a.b", "boom"), TableFailure("c.d", "bang")], 3)
    assert said == "2 of 3 table(s) failed: a.b: boom; c.d: bang"
