"""The order of steps: every extract, then its load, whatever failed; nothing is loaded too early."""

from __future__ import annotations

import threading

import pytest

from flows import pipeline, plans
from flows.launch import Outcome, Step
from flows.pipeline import Progress, move
from flows.plans import How
from tasks.planning import TableLoad, Unit, plan, with_batch


class Recorder:
    """A launcher that notes when steps start and end, and fails some."""

    parallel = 3

    def __init__(self, failing: set[str] | None = None, waiting: set[str] | None = None) -> None:
        self.failing = failing or set()
        self.waiting = {name: threading.Event() for name in waiting or set()}
        self.events: list[tuple[str, str]] = []
        self.lock = threading.Lock()

    def run(self, step: Step) -> Outcome:
        with self.lock:
            self.events.append(("start", step.name))
        if step.name in self.waiting:
            assert self.waiting[step.name].wait(30)
        state = "Failed" if step.name in self.failing else "Completed"
        with self.lock:
            self.events.append(("end", step.name))
        return Outcome(step, state, "because")

    def end(self, step: Step) -> None:
        with self.lock:
            self.events.append(("asked to end", step.name))
        self.waiting[step.name].set()

    def abandon(self, cancel: bool) -> None:
        raise AssertionError("nothing to abandon")


class Told:
    """What the test says of the batches, and which were joined."""

    def __init__(self, *, missing: bool = False, waiting: bool = False) -> None:
        self.missing, self.waiting = missing, waiting
        self.joined: list[str | None] = []

    def join(self, unit: Unit) -> str:
        self.joined.append(unit.batch_id)
        return ""

    def is_missing(self, unit: Unit) -> bool:
        return self.missing

    def is_waiting(self, unit: Unit) -> bool:
        return self.waiting


LOADS = [TableLoad("shop.orders", "large"), TableLoad("shop.tags"), TableLoad("ads.spend", "medium")]


def test_each_load_follows_its_own_extract() -> None:
    recorder, progress = Recorder(), Progress()
    move(recorder, plan(LOADS), How(), progress, Told())
    for name in ("large-shop-orders", "medium-1", "small-1"):
        assert recorder.events.index(("end", f"extract {name}")) < recorder.events.index(
            ("start", f"load-bronze {name}")
        )
    assert len(progress.outcomes) == 6 and not progress.problems


def test_a_failed_extract_stops_neither_its_load_nor_the_others() -> None:
    recorder, progress = Recorder({"extract medium-1"}), Progress()
    move(recorder, plan(LOADS), How(), progress, Told())
    assert ("end", "load-bronze medium-1") in recorder.events
    assert progress.problems == ["extract medium-1 Failed: because"]
    assert len(progress.outcomes) == 6


@pytest.mark.parametrize(("failing", "joined"), [(set(), 1), ({"extract large-shop-orders-2of3"}, 0)])
def test_ranges_are_joined_once_when_all_were_read(failing: set[str], joined: int) -> None:
    batches = Told()
    (unit,) = plan([TableLoad("shop.orders", "large", 3)], spread=True)
    recorder = Recorder(failing)
    move(recorder, [with_batch(unit, "batch", 3)], How(), Progress(), batches)
    assert batches.joined == ["batch"] * joined
    assert [name for kind, name in recorder.events if kind == "start"].count("load-bronze large-shop-orders") == 1
    assert recorder.events[-1] == ("end", "load-bronze large-shop-orders")


FIRST = [TableLoad("shop.orders", "large", first=True)]
AHEAD, LOAD = "load-bronze large-shop-orders ahead", "load-bronze large-shop-orders"


def test_a_large_table_is_loaded_the_first_time_while_it_is_extracted() -> None:
    batches = Told()
    recorder, progress = Recorder(), Progress()
    move(recorder, plan(FIRST), How(), progress, batches)
    assert {name for kind, name in recorder.events if kind == "start"} == {"extract large-shop-orders", AHEAD}
    assert [outcome.step.name for outcome in progress.outcomes if outcome.step.flow == "load-bronze"] == [AHEAD]
    assert not progress.problems


@pytest.mark.parametrize("failing", [set(), {AHEAD}])
def test_what_was_not_loaded_ahead_is_loaded_afterwards(failing: set[str]) -> None:
    batches = Told(waiting=True)
    recorder, progress = Recorder(failing), Progress()
    move(recorder, plan(FIRST), How(), progress, batches)
    assert recorder.events[-2:] == [("start", LOAD), ("end", LOAD)]
    assert not progress.problems


def test_tables_that_were_loaded_before_are_loaded_after_the_extract() -> None:
    batches = Told()
    unit = plan([TableLoad("shop.orders", first=True), TableLoad("shop.tags"), TableLoad("shop.large", "large")])[1]
    assert pipeline.ahead_step(unit).parameters["tables"] == ["shop.orders"]
    recorder = Recorder()
    move(recorder, [unit], How(), Progress(), batches)
    assert recorder.events[-2:] == [("start", "load-bronze small-1"), ("end", "load-bronze small-1")]


def test_who_waits_for_a_table_without_rows_is_told() -> None:
    batches = Told(missing=True)
    recorder, progress = Recorder(waiting={AHEAD}), Progress()
    move(recorder, plan(FIRST), How(), progress, batches)
    assert ("asked to end", AHEAD) in recorder.events
    assert recorder.events[-1] == ("end", AHEAD)
    assert not progress.problems


def test_who_loads_ahead_of_a_failed_extract_does_not_wait_for_ever() -> None:
    batches = Told(waiting=True)
    recorder, progress = Recorder({"extract large-shop-orders"}, waiting={AHEAD}), Progress()
    move(recorder, plan(FIRST), How(), progress, batches)
    assert ("asked to end", AHEAD) in recorder.events
    assert recorder.events[-1] == ("end", LOAD)
    assert progress.problems == ["extract large-shop-orders Failed: because"]


def test_no_unit_means_nothing_to_do() -> None:
    recorder = Recorder()
    move(recorder, [], How(), Progress(), Told())
    assert recorder.events == []


def test_steps_carry_names_only() -> None:
    for unit in plan(LOADS):
        for step in (*pipeline.extract_steps(unit, How(full=True)), pipeline.load_step(unit)):
            for value in step.parameters.values():
                assert isinstance(value, str | bool) or all(isinstance(item, str) for item in value)


def test_a_plan_survives_its_artifact() -> None:
    units = plan([*LOADS, TableLoad("shop.events", "large", 4, first=True)], spread=True)
    units = [
        with_batch(unit, "20260101T000000000000Z-0a1b2c3d", 4) if len(unit.extracts) > 1 else unit for unit in units
    ]
    assert plans.parse(plans.rows(units)) == units
