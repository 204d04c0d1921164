"""The pipeline in one process: what succeeds is loaded, what fails is named, and the log tells both."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.sorting import ArtifactSort
from pymongo import MongoClient

from flows import checks

if TYPE_CHECKING:
    from conftest import Shop

Run = Callable[..., Any]

MOST_REQUESTS = 68
"""What a run of two new tables waits for: four flow runs and their tags, a block and two artifacts of each table."""


def requests(monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], list[str]]:
    """Return lists that get the paths of requests to Prefect: of those that a run waits for, and of others."""
    waited: list[str] = []
    others: list[str] = []
    send, send_beside = httpx.Client.send, httpx.AsyncClient.send

    def noted(client: httpx.Client, request: httpx.Request, **how: Any) -> httpx.Response:
        response = send(client, request, **how)
        # A writer of SQLite that meets another is refused, and asks again.
        if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            waited.append(request.url.path)
        return response

    async def noted_beside(client: httpx.AsyncClient, request: httpx.Request, **how: Any) -> httpx.Response:
        others.append(request.url.path)
        return await send_beside(client, request, **how)

    monkeypatch.setattr(httpx.Client, "send", noted)
    monkeypatch.setattr(httpx.AsyncClient, "send", noted_beside)
    return waited, others


def newest_artifact(key: str) -> Any:
    with get_client(sync_client=True) as client:
        wanted = ArtifactFilter(key=ArtifactFilterKey(any_=[key]))
        return client.read_artifacts(artifact_filter=wanted, sort=ArtifactSort.CREATED_DESC, limit=1)[0].data


def test_all_is_loaded_once_and_logged(shop: Shop, run_pipeline: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, others = requests(monkeypatch)
    state = run_pipeline()
    assert state.is_completed(), state.message
    assert len(asked) <= MOST_REQUESTS, "\n".join(asked)
    assert not [path for path in others if "limits" in path], "the tags of steps are no limits of tables"
    assert asked.count("/api/block_types/slug/table-checkpoint") <= 1, "the block's type is asked for once a process"
    assert (shop.count("shop__orders"), shop.count("shop__tags")) == (200, 7)
    logged = shop.query(
        "select stage, table_name, state, rows_read, rows_landed, rows_loaded from monitoring.pipeline_log "
        "where table_name is not null order by stage, table_name"
    )
    assert logged == [
        ("extract", "orders", "Completed", 200, 200, None),
        ("extract", "tags", "Completed", 7, 7, None),
        ("load", "orders", "Completed", None, 200, 200),
        ("load", "tags", "Completed", None, 7, 7),
    ]
    ((run_id, seconds),) = shop.query(
        "select flow_run_id, seconds from monitoring.pipeline_log where stage = 'pipeline'"
    )
    assert str(run_id) == str(state.state_details.flow_run_id) and seconds > 0
    assert newest_artifact("run-report").startswith("All well: 2 of 2 table(s) loaded, 207 rows changed")


def test_cdc_tables_of_a_database_share_a_stream_and_fail_alone(
    shop: Shop, run_pipeline: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.mongodb import changes

    followed: list[tuple[str, ...]] = []
    next_changes = changes.next_changes

    def note_followed(*arguments: Any) -> Any:
        followed.append(tuple(sorted(arguments[4])))
        return next_changes(*arguments)

    monkeypatch.setattr(changes, "next_changes", note_followed)
    shop.write_sources(orders="{mode: cdc}", tags="{mode: cdc}", ghosts="{mode: cdc}")
    text = shop.sources.read_text()
    shop.sources.write_text(text.replace("    tables:\n", "    change_stream: database\n    tables:\n"))
    with MongoClient(shop.uri) as client:
        database = client[shop.database]
        database["ghosts"].insert_one({"_id": 1})
        assert run_pipeline().is_completed()
        database["orders"].insert_one({"_id": 999, "total": 5})
        database["tags"].delete_one({"_id": "tag-3"})
        database["ghosts"].drop()
    followed.clear()
    state = run_pipeline()
    assert state.is_failed() and "shop.ghosts: MissingCollection" in state.message
    assert set(followed) == {("orders", "tags")}, "one stream for both tables that are there"
    assert (shop.count("shop__orders"), shop.count("shop__tags"), shop.count("shop__ghosts")) == (201, 6, 1)
    logged = shop.query(
        "select table_name, state from monitoring.pipeline_log where stage = 'extract' and table_name is not null "
        "and parent_run_id = %s order by 1",
        str(state.state_details.flow_run_id),
    )
    assert logged == [("ghosts", "Failed"), ("orders", "Completed"), ("tags", "Completed")]


def test_a_table_is_loaded_again_while_the_rest_of_its_group_is_extracted(
    shop: Shop, run_pipeline: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.bronze import pending
    from tasks.landing import Landing

    assert run_pipeline().is_completed()
    loaded, load_batch, commit = threading.Event(), pending.load_batch, Landing.commit

    def tell(url: str, landing: Any, manifest: Any, *more: Any) -> Any:
        result = load_batch(url, landing, manifest, *more)
        if manifest.table == "orders":
            loaded.set()
        return result

    def wait_and_commit(landing: Landing, source: str, table: str, *arguments: Any, **more: Any) -> Any:
        assert table != "tags" or loaded.wait(60), "orders waited for the extract of tags"
        return commit(landing, source, table, *arguments, **more)

    monkeypatch.setattr(pending, "load_batch", tell)
    monkeypatch.setattr(Landing, "commit", wait_and_commit)
    with MongoClient(shop.uri) as client:
        client[shop.database]["orders"].insert_one({"_id": 201, "total": 5, "updated_at": 201})
        client[shop.database]["tags"].delete_one({"_id": "tag-3"})
    state = run_pipeline()
    assert state.is_completed(), state.message
    assert (shop.count("shop__orders"), shop.count("shop__tags")) == (201, 6)
    steps = shop.query(
        "select flow_name from monitoring.pipeline_log where parent_run_id = %s and table_name is null "
        "and flow_name <> 'monitoring' order by 1",
        str(state.state_details.flow_run_id),
    )
    assert steps == [("extract",), ("load-bronze",)], "nothing is left for another load"


def test_a_load_in_a_process_of_its_own_waits_for_no_extract_that_it_cannot_see(
    shop: Shop, prefect_server: str
) -> None:
    from flows.extract import extract
    from flows.launch import extraction
    from flows.load_bronze import load_bronze

    # Landed by a run whose load failed; the next run extracts elsewhere, and loads ahead of it here.
    assert extract(tables=["shop.tags"], return_state=True).is_completed()
    # Forget what this process knows of that.
    with extraction.followed(lambda name: None):
        pass
    assert load_bronze(tables=["shop.tags"], group="large-shop-tags", ahead=True, return_state=True).is_completed()
    assert shop.count("shop__tags") == 7


@pytest.mark.parametrize("resources", ["large", "small"])
def test_a_table_is_loaded_the_first_time_while_it_is_extracted(
    resources: str, shop: Shop, run_pipeline: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.bronze.postgres import new_tables
    from tasks.landing import Landing

    copied, convert, commit = threading.Event(), new_tables.convert, Landing.commit

    def tell(*arguments: Any) -> Any:
        copied.set()
        return convert(*arguments)

    def wait_and_commit(*arguments: Any, **more: Any) -> Any:
        assert copied.wait(60), "nothing was copied before the batch was whole"
        return commit(*arguments, **more)

    monkeypatch.setattr(new_tables, "convert", tell)
    monkeypatch.setattr(Landing, "commit", wait_and_commit)
    shop.write_sources(orders=f"{{mode: incremental, cursor: updated_at, resources: {resources}}}")
    state = run_pipeline()
    assert state.is_completed(), state.message
    assert shop.count("shop__orders") == 200
    loads = shop.query(
        "select state, rows_loaded from monitoring.pipeline_log where stage = 'load' and table_name is not null"
    )
    assert loads == [("Completed", 200)], "one load, and it was the early one"
    monkeypatch.undo()


def test_a_large_table_that_cannot_be_extracted_keeps_nobody_waiting(shop: Shop, run_pipeline: Run) -> None:
    shop.write_sources(ghosts="{collection: nowhere, resources: large}", tags="{mode: full}")
    state = run_pipeline()
    assert state.is_failed() and "shop.ghosts: MissingCollection" in state.message
    assert "ahead" not in state.message
    assert shop.count("shop__tags") == 7


def test_tables_without_rows_keep_nobody_waiting(shop: Shop, run_pipeline: Run) -> None:
    with MongoClient(shop.uri) as client:
        for name in ("nothing", "none"):
            client[shop.database].create_collection(name)
    shop.write_sources(nothing="{mode: full}", none="{mode: incremental, cursor: at}", tags="{mode: full}")
    state = run_pipeline()
    assert state.is_completed(), state.message
    assert shop.count("shop__tags") == 7


def test_a_second_run_reads_only_what_is_new(shop: Shop, run_pipeline: Run) -> None:
    run_pipeline()
    with MongoClient(shop.uri) as client:
        client[shop.database]["orders"].insert_one({"_id": 999, "total": 5, "updated_at": 999})
    state = run_pipeline(tables=["shop.orders"])
    assert state.is_completed(), state.message
    assert shop.count("shop__orders") == 201
    ((read, loaded),) = shop.query(
        "select e.rows_read, l.rows_loaded from monitoring.pipeline_log e join monitoring.pipeline_log l "
        "on l.parent_run_id = e.parent_run_id and l.stage = 'load' and l.table_name = e.table_name "
        "where e.stage = 'extract' and e.parent_run_id = %s and e.table_name = 'orders'",
        str(state.state_details.flow_run_id),
    )
    # The boundary value is read again, for documents that came later with the same value.
    assert read <= 2 and loaded == 1


def test_one_failing_table_stops_no_other_and_the_next_run_heals(shop: Shop, run_pipeline: Run) -> None:
    shop.write_sources(
        orders="{mode: incremental, cursor: updated_at}", tags="{mode: full}", ghosts="{collection: nowhere}"
    )
    state = run_pipeline()
    assert state.is_failed()
    assert "shop.ghosts: MissingCollection" in state.message and "shop.orders" not in state.message
    assert (shop.count("shop__orders"), shop.count("shop__tags")) == (200, 7)
    failed = "select error_class, error_message from monitoring.pipeline_log where state = 'Failed'"
    ((error_class, message),) = shop.query(f"{failed} and table_name = 'ghosts'")
    assert error_class == "config" and "nowhere" in message
    report = newest_artifact("run-report")
    assert report.startswith("1 failure(s): 2 of 3 table(s) loaded") and "Who acts: data engineer" in report
    with MongoClient(shop.uri) as client:
        client[shop.database]["nowhere"].insert_one({"_id": 1})
    healed = run_pipeline()
    assert healed.is_completed(), healed.message
    assert shop.count("shop__ghosts") == 1


def test_a_batch_that_was_landed_but_not_loaded_is_loaded_by_the_next_run(shop: Shop, run_pipeline: Run) -> None:
    from flows.extract import extract

    assert extract(tables=["shop.tags"], return_state=True).is_completed()
    with MongoClient(shop.uri) as client:
        client[shop.database]["tags"].rename("labels")
    state = run_pipeline(tables=["shop.tags"])
    assert state.is_failed() and "MissingCollection" in state.message
    assert shop.count("shop__tags") == 7
    state = run_pipeline(tables=["shop.tags"])
    assert state.is_failed() and "probably renamed to 'labels': 7 of 7 ids of it are in bronze" in state.message
    said = "select field, change, evidence->>'said' from ops.schema_changes where change <> 'appeared'"
    assert shop.query(said) == [("(table)", "source_renamed", "the collection 'tags' does not exist")]
    found = checks.check_source(shop.sources.parent, lambda line: None, "shop")
    [told] = [one for one in found if "probably renamed" in one.message]
    assert told.subject == "shop.tags" and "set `collection: labels` of tags in sources.yaml" in told.action


def test_a_mistake_in_sources_fails_the_run_with_all_its_lines(shop: Shop, run_pipeline: Run) -> None:
    shop.write_sources(orders="{mode: sometimes, colour: red}")
    state = run_pipeline()
    assert state.is_failed()
    assert "line 7" in state.message and "colour: unknown key" in state.message


def test_an_unreachable_warehouse_fails_the_run_and_still_reports(
    shop: Shop, run_pipeline: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WAREHOUSE_URL", "postgresql://someone:secret-word@127.0.0.1:1/none")
    state = run_pipeline()
    assert state.is_failed() and "WarehouseUnreachable" in state.message
    assert "secret-word" not in state.message
    report = newest_artifact("run-report")
    assert "WarehouseUnreachable" in report.splitlines()[0] and "secret-word" not in report
    # It is told in one line; a traceback would say that the report itself is broken.
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []


def test_a_broken_reference_is_logged_and_reported(
    shop: Shop, run_pipeline: Run, caplog: pytest.LogCaptureFixture
) -> None:
    shop.write_sources(tags="{mode: full, rules: [{field: label, reference: shop.tags}]}")
    assert run_pipeline().is_completed()
    warning = "shop.tags: 7 document(s) break the rule 'label reference': no key of shop.tags is what they name: "
    assert f"{warning}tag-0, tag-1, tag-2, tag-3, tag-4, ..." in caplog.messages
    assert "7 loaded although they break a rule" in newest_artifact("run-report")


def test_a_rewind_wish_in_the_block_is_carried_out(shop: Shop, run_pipeline: Run) -> None:
    from tasks import checkpoint_block

    run_pipeline()
    block = checkpoint_block.load("shop", "orders")
    assert block is not None and block.version == 1 and block.state
    block.rewind_to = {}
    block.save(checkpoint_block.block_name("shop", "orders"), overwrite=True)
    with psycopg.connect(shop.warehouse) as connection:
        connection.execute("delete from bronze.shop__orders where _id = '17'")
    state = run_pipeline(tables=["shop.orders"])
    assert state.is_completed(), state.message
    assert shop.count("shop__orders") == 200
    again = checkpoint_block.load("shop", "orders")
    assert again is not None and again.rewind_to is None and again.version > 1


@pytest.mark.slow
def test_a_table_whose_mode_was_changed_is_read_from_the_beginning(shop: Shop, run_pipeline: Run) -> None:
    modes = ["{mode: incremental, cursor: updated_at}", "{mode: cdc}", "{mode: full}", "{mode: cdc}"]
    for mode in [*modes, modes[0]]:
        shop.write_sources(orders=mode)
        if mode != modes[0]:
            shop.query("delete from bronze.shop__orders returning 1")
        state = run_pipeline(tables=["shop.orders"])
        assert state.is_completed(), state.message
        assert shop.count("shop__orders") == 200
    shop.query("""update ops.checkpoints set state = '{"cursor": 5}' returning 1""")
    state = run_pipeline(tables=["shop.orders"])
    assert state.is_failed() and "warehouse checkpoint set shop.orders" in state.message


def test_a_table_whose_cursor_was_changed_is_read_from_the_beginning(shop: Shop, run_pipeline: Run) -> None:
    shop.write_sources(orders="{mode: incremental, cursor: updated_at}")
    run_pipeline(tables=["shop.orders"])
    with MongoClient(shop.uri) as client:
        client[shop.database]["orders"].update_many({}, {"$set": {"revision": 0, "note": "new"}})
    shop.write_sources(orders="{mode: incremental, cursor: revision}")
    state = run_pipeline(tables=["shop.orders"])
    assert state.is_completed(), state.message
    assert shop.query("select count(*) from bronze.shop__orders where note = 'new'") == [(200,)]
    assert shop.query("select state ->> 'field' from ops.checkpoints") == [("revision",)]


def test_the_log_is_written_again_with_the_same_result(shop: Shop, run_pipeline: Run) -> None:
    from monitoring.flow import monitoring

    state = run_pipeline()
    stable = "select id, stage, state, source, table_name, rows_loaded from monitoring.pipeline_log order by id"
    before = shop.query(stable)
    assert monitoring(run=str(state.state_details.flow_run_id), return_state=True).is_completed()
    # It adds itself alone.
    added = set(shop.query(stable)) - set(before)
    assert [(row[1], row[2]) for row in added] == [("monitoring", "Completed")]


def test_the_hourly_run_logs_what_is_missing_and_then_nothing_more(shop: Shop, run_pipeline: Run) -> None:
    from monitoring.flow import monitoring

    run_id = str(run_pipeline().state_details.flow_run_id)
    whole = (
        "select stage, table_name, state, rows_loaded from monitoring.pipeline_log "
        "where coalesce(parent_run_id, flow_run_id) = %s order by 1, 2 nulls first"
    )
    before = shop.query(whole, run_id)
    assert ("monitoring", None, "Completed", None) in before and ("pipeline", None, "Completed", None) in before
    shop.query("delete from monitoring.pipeline_log returning 1")
    assert monitoring(return_state=True).is_completed()
    assert shop.query(whole, run_id) == before
    newest = "select max(logged_at) from monitoring.pipeline_log where coalesce(parent_run_id, flow_run_id) = %s"
    logged = shop.query(newest, run_id)
    assert monitoring(return_state=True).is_completed()
    assert shop.query(newest, run_id) == logged


@pytest.mark.slow
def test_dbt_is_started_only_for_what_a_model_lacks(
    shop: Shop, run_pipeline: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks import dbt

    files = {
        "dbt_project.yml": "name: own\nversion: '1.0'\nconfig-version: 2\nprofile: warehouse\n"
        "flags: {send_anonymous_usage_stats: false}\n",
        "models/sources.yml": "sources: [{name: shop, schema: bronze, tables: [{name: tags, identifier: shop__tags}]}]",
        "models/labels.sql": "{{ config(materialized='table') }} "
        "select _id, label from {{ source('shop', 'tags') }} where _deleted_at is null",
    }
    for name, text in files.items():
        (tmp_path / "own" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "own" / name).write_text(text)
    monkeypatch.setenv("WAREHOUSE_DBT", str(tmp_path / "own"))
    started: list[object] = []
    start = dbt.start
    monkeypatch.setattr(dbt, "start", lambda *args, **more: (started.append(args), start(*args, **more))[1])

    def runs(**parameters: Any) -> tuple[int, int]:
        """Return how many dbt processes and how many runs of dbt-transform a pipeline run had."""
        started.clear()
        before = shop.query(transforms)[0][0] if logged() else 0
        assert run_pipeline(models=True, **parameters).is_completed()
        return len(started), shop.query(transforms)[0][0] - before

    def logged() -> bool:
        return bool(shop.query("select to_regclass('monitoring.pipeline_log') is not null")[0][0])

    transforms = "select count(*) from monitoring.pipeline_log where flow_name = 'dbt-transform' and table_name is null"
    # No model reads orders, and that is known without parsing the project.
    assert runs(tables=["shop.orders"]) == (0, 0)
    assert runs() == (1, 1)
    assert shop.query("select count(*) from gold.labels") == [(7,)]
    assert runs() == (0, 0)
    with MongoClient(shop.uri) as client:
        client[shop.database]["tags"].delete_one({"_id": "tag-3"})
    assert runs(tables=["shop.orders"]) == (0, 0)
    assert runs() == (1, 1)
    assert shop.query("select count(*) from gold.labels") == [(6,)]
    # A changed model is built though no table changed.
    (tmp_path / "own/models/labels.sql").write_text(files["models/labels.sql"] + " and _id <> 'tag-1'")
    assert runs() == (1, 1)
    assert shop.query("select count(*) from gold.labels") == [(5,)]


@pytest.mark.parametrize("mode", ["mode: full", "mode: incremental, cursor: updated_at"])
def test_ranges_of_a_large_table_are_read_apart_and_joined_into_one_batch(
    mode: str, shop: Shop, prefect_server: str
) -> None:
    from prefect import flow
    from prefect.runtime import flow_run

    from flows.launch import InProcess, quiet_heartbeat
    from flows.pipeline import Batches, Progress, move, plan_ranges
    from flows.plans import How
    from tasks.planning import TableLoad, Unit, parse_target, plan

    shop.write_sources(orders=f"{{{mode}, partitions: 4, resources: large}}")
    seen: list[Unit] = []

    @flow(name="spread")
    def spread() -> list[str]:
        (planned,) = plan([TableLoad("shop.orders", "large", 4)], spread=True)
        seen.append(plan_ranges(planned))
        progress = Progress()
        move(InProcess(str(flow_run.id)), seen, How(), progress, Batches())
        return progress.problems

    with quiet_heartbeat():
        assert spread() == []
    targets = [parse_target(group.targets[0]) for group in seen[0].extracts]
    assert len(targets) >= 2 and {target.batch_id for target in targets} == {seen[0].batch_id}
    assert shop.count("shop__orders") == 200
    assert shop.query("select batch_id, rows_landed from ops.batches") == [(seen[0].batch_id, 200)]
