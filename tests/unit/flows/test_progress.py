"""Prefect's log records as lines of progress: how steps end, warnings by their first line, secrets hidden."""

from __future__ import annotations

import io
import logging

import pytest

from flows.progress import shown
from tasks.errors import SourceUnreachable


def log(level: int, text: str, **names: str) -> None:
    logging.getLogger("prefect.flow_runs").log(level, text, extra=names)


def test_steps_and_warnings_are_lines_and_tables_are_not() -> None:
    lines: list[str] = []
    logging.getLogger("prefect").setLevel(logging.INFO)
    with shown(lines.append):
        log(logging.INFO, "Beginning subflow run 'extract small-1'", flow_run_name="extract small-1")
        log(logging.INFO, "Finished in state Completed()", task_run_name="shop.orders")
        log(logging.WARNING, "Task run failed with X('mongodb://me:hunter2@db')\nTraceback", task_run_name="a")
        log(logging.INFO, "Finished in state Completed('1 table(s) done')", flow_run_name="extract small-1")
        log(logging.ERROR, 'Finished in state Failed("it\'s 2 of 2")', flow_run_name="load-bronze small-1")
        log(logging.INFO, "Ended in words that nobody knows", flow_run_name="extract small-1")
    log(logging.WARNING, "after the run")
    assert lines == [
        "note: Task run failed with X('mongodb://***@db')",
        "extract small-1: done, 1 table(s) done",
        "load-bronze small-1: failed, it's 2 of 2",
    ]


def test_an_error_is_told_once_for_all_tables_and_attempts_and_without_a_traceback() -> None:
    lines: list[str] = []
    logging.getLogger("prefect").setLevel(logging.INFO)
    with shown(lines.append):
        for table in ("shop.a", "shop.b"):
            for end in ("Retry 1/2 will start 2 second(s) from now", "Retries are exhausted"):
                error = f"SourceUnreachable('MongoDB did not answer: refused', '{table}', 'check it')"
                text = f"Task run failed with exception: {error} - {end}\nTraceback (most recent call last):"
                log(logging.ERROR, text, task_run_name=table)
        log(logging.ERROR, 'Task run failed with exception: LoadError("it\'s full", "x") - no', task_run_name="c")
    assert lines == ["note: MongoDB did not answer: refused", "note: it's full"]


@pytest.mark.parametrize("tracebacks", [False, True])
def test_prefects_log_on_the_terminal_tells_our_own_errors_without_a_traceback_and_its_server_all(
    tracebacks: bool,
) -> None:
    terminal, server = io.StringIO(), io.StringIO()
    prefect = logging.getLogger("prefect")
    runs = logging.getLogger("prefect.task_runs")
    handlers = [(prefect, logging.StreamHandler(terminal)), (runs, logging.StreamHandler(server))]
    for logger, handler in handlers:
        logger.addHandler(handler)
    try:
        with shown(lambda line: None, tracebacks=tracebacks):
            for error in (SourceUnreachable("no answer", "shop.orders", "look"), ZeroDivisionError("ours")):
                try:
                    raise error
                except Exception:
                    runs.exception("Task run failed with exception: %r", error)
        runs.error("afterwards")
    finally:
        for logger, handler in handlers:
            logger.removeHandler(handler)
    assert terminal.getvalue().count("Traceback") == (2 if tracebacks else 1)
    assert server.getvalue().count("Traceback") == 2
    assert "SourceUnreachable: no answer | shop.orders | look\n" in terminal.getvalue()
    assert "ZeroDivisionError: ours\n" in terminal.getvalue()
    assert terminal.getvalue().endswith("afterwards\n")
