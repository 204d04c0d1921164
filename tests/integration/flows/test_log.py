"""The logging table is true at every end: killed, evicted, never started, alone, and without a warehouse."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from prefect.client.orchestration import get_client

from monitoring import history, incidents, log, read, unseen
from tasks.ops.migrations import migrate

if TYPE_CHECKING:
    from conftest import Shop

Run = Callable[..., Any]


def look(shop: Shop) -> int:
    with history.prefect_client() as client, psycopg.connect(shop.warehouse, autocommit=True) as connection:
        migrate(connection)
        return history.look(client, connection)


def has_unseen(shop: Shop) -> bool:
    with psycopg.connect(shop.warehouse, autocommit=True) as connection:
        migrate(connection)
        return unseen.any_runs(connection, os.environ["PREFECT_API_URL"])


def headline(shop: Shop, run_id: object = None) -> str:
    """Return the first line of the report of a run; of the last one where none is named."""
    with psycopg.connect(shop.warehouse, autocommit=True) as connection:
        found = read.build_report(connection, str(run_id or log.latest_run(connection)))
        assert found is not None
        return found.headline


def told(shop: Shop) -> list[tuple[Any, ...]]:
    return shop.query(
        "select flow_name, flow_run_id, table_name, state, attempt, error_class, error_message "
        "from monitoring.pipeline_log order by started_at, id"
    )


_KILLED = """
from flows import pipeline
from tasks.sources import load_sources
def hang(*arguments, **named):
    print("hanging", flush=True)
    import time
    time.sleep(600)
pipeline._run = hang
pipeline.pipeline(models=False)
"""


def test_a_killed_run_is_told_as_killed_and_is_the_last(shop: Shop, run_pipeline: Run) -> None:
    assert run_pipeline().is_completed()
    assert not has_unseen(shop)
    process = subprocess.Popen(
        [sys.executable, "-c", _KILLED], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        assert any("hanging" in line for line in process.stdout), "it ended before it hung"
        assert headline(shop).startswith("Not over: this run is running since")
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    assert has_unseen(shop)
    look(shop)
    ((state, error_class, message),) = shop.query(
        "select state, error_class, error_message from monitoring.pipeline_log where stage = 'pipeline' "
        "order by started_at desc limit 1"
    )
    assert (state, error_class) == ("Crashed", "resource")
    assert f"process {process.pid}" in message and "it was killed" in message
    assert "it was killed" in headline(shop)
    with get_client(sync_client=True) as client:
        ((run_id,),) = shop.query(
            "select flow_run_id from monitoring.pipeline_log where stage = 'pipeline' order by started_at desc limit 1"
        )
        state = client.read_flow_run(run_id).state
        assert state is not None and state.is_crashed()
    before = told(shop)
    assert (look(shop), told(shop)) == (0, before), "a second look has nothing to add"
    assert not has_unseen(shop)
    with psycopg.connect(shop.warehouse, autocommit=True) as connection:
        assert [(one.subject, one.is_incident) for one in incidents.problems(connection)] == [
            ("pipeline pipeline", True)
        ]
        assert run_pipeline().is_completed()
        assert incidents.problems(connection) == []


def test_flows_that_run_alone_are_logged_with_their_tables(shop: Shop, prefect_server: str) -> None:
    from flows.extract import extract
    from flows.load_bronze import load_bronze

    extract(tables=["shop.tags"], return_state=True)
    load_bronze(tables=["shop.tags"], return_state=True)
    extract(tables=["shop.nothing"], return_state=True)
    rows = shop.query(
        "select stage, table_name, state, parent_run_id, rows_loaded, ended_at is not null, error_class "
        "from monitoring.pipeline_log order by started_at, table_name nulls first"
    )
    assert rows == [
        ("extract", None, "Completed", None, None, True, None),
        ("extract", "tags", "Completed", None, None, True, None),
        ("load", None, "Completed", None, None, True, None),
        ("load", "tags", "Completed", None, 7, True, None),
        ("extract", None, "Failed", None, None, True, "config"),
        ("extract", "nothing", "Missing", None, None, True, "config"),
    ]


def test_a_run_that_no_worker_takes_is_told_after_some_minutes(shop: Shop, prefect_server: str) -> None:
    from prefect.states import Scheduled

    from flows.pipeline import pipeline

    due = datetime.now(UTC) - timedelta(minutes=30)
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(pipeline, state=Scheduled(scheduled_time=due))
        assert has_unseen(shop)
        look(shop)
        one = (
            "select state, started_at, expected_at, error_class, error_message "
            "from monitoring.pipeline_log where flow_run_id = %s"
        )
        ((state, started, expected, error_class, message),) = shop.query(one, run.id)
        assert state in ("Scheduled", "Late") and started is None and expected == due
        assert error_class == "resource" and "30 min ago: no worker has taken it" in message
        # Of its own: a run of an earlier test that could not learn its warehouse may be told here too, and is later.
        assert "no worker has taken it" in headline(shop, run.id)
        client.delete_flow_run(run.id)
    look(shop)
    ((state, *_, message),) = shop.query(one, run.id)
    assert state == "Lost" and "Prefect no longer knows this run" in message


_REPORT = """
import sys
from pathlib import Path
from flows import runs
from tasks.settings import get_settings
runs.write_report(get_settings(), "", Path(sys.argv[1]))
print({"prefect", "polars"} & sys.modules.keys())
"""


def test_the_report_is_written_from_prefect_when_the_warehouse_is_gone(
    shop: Shop, run_pipeline: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from flows import runs
    from tasks.settings import get_settings

    state = run_pipeline()
    assert state.is_completed()
    # Of what the log knows it is written without the imports of Prefect's client and of polars, half of its time.
    said = subprocess.run([sys.executable, "-c", _REPORT, tmp_path / "a.html"], check=True, capture_output=True)
    assert said.stdout == b"set()\n" and str(state.state_details.flow_run_id) in (tmp_path / "a.html").read_text()
    monkeypatch.setenv("WAREHOUSE_URL", "postgresql://someone:secret-word@127.0.0.1:1/none")
    get_settings.cache_clear()
    page = runs.write_report(get_settings(), "", tmp_path / "report.html").read_text()
    assert "The warehouse is not reachable" in page and "shop.orders" in page and "secret-word" not in page
    assert str(state.state_details.flow_run_id) in page


def test_a_run_whose_warehouse_was_away_is_in_the_log_once_it_is_back(
    shop: Shop, run_pipeline: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows import runs
    from tasks.settings import get_settings

    assert run_pipeline().is_completed()
    with monkeypatch.context() as away:
        away.setenv("WAREHOUSE_URL", "postgresql://someone@127.0.0.1:1/none")
        failed = run_pipeline()
    get_settings.cache_clear()
    assert failed.is_failed()
    runs.refresh_log(get_settings())
    found = runs.read_report(get_settings())
    assert found is not None and found.run_id == str(failed.state_details.flow_run_id)
    assert "does not answer" in found.headline
    with get_client(sync_client=True) as client:
        # It could not learn which warehouse it was of, so each at this server would tell of it.
        client.delete_flow_run(failed.state_details.flow_run_id)


def test_runs_of_another_warehouse_at_the_same_server_are_its_own(
    shop: Shop, module_postgres_url: str, prefect_server: str
) -> None:
    from prefect.states import Running, Scheduled

    from flows.extract import extract

    def seen_from_another() -> list[tuple[Any, ...]]:
        with history.prefect_client() as client, psycopg.connect(module_postgres_url, autocommit=True) as connection:
            migrate(connection)
            history.look(client, connection)
            return connection.execute("select flow_run_id, state from monitoring.pipeline_log").fetchall()

    failed = extract(tables=["shop.nothing"], return_state=True).state_details.flow_run_id
    look(shop)
    assert {(run_id, state) for _, run_id, _, state, *_ in told(shop)} >= {(failed, "Failed")}
    assert failed not in dict(seen_from_another())
    with get_client(sync_client=True) as client, psycopg.connect(shop.warehouse, autocommit=True) as connection:
        due = datetime.now(UTC) - timedelta(minutes=30)
        run = client.create_flow_run(extract, state=Scheduled(scheduled_time=due))
        assert run.id in dict(seen_from_another()), "a run that no worker takes may be anybody's"
        history.mark(client, connection, run)
        client.set_flow_run_state(run.id, Running(), force=True)
        assert run.id not in dict(seen_from_another())
        look(shop)
        assert (run.id, "Running") in {(run_id, state) for _, run_id, _, state, *_ in told(shop)}
        client.delete_flow_run(run.id)


def test_the_process_of_this_test_is_alive_and_one_that_ended_is_not() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert history.is_alive(os.getpid()) and not history.is_alive(ended.pid)
