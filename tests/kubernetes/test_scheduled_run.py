"""From `kubectl apply` to a scheduled run whose rows are those of the source, by way of the object store."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from infra.sample.seed import Size, seed_mongodb
from tests.kubernetes.cluster import Cluster, kubectl, until


def scheduled(cluster: Cluster, tables: list[str]) -> Any:
    """Put the pipeline on a schedule of its own and return the run that the scheduler makes."""
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId
    from prefect.client.schemas.schedules import IntervalSchedule

    deployment = cluster.ask(lambda client: client.read_deployment_by_name("pipeline/default"))
    parameters = {"tables": tables, "models": True}

    def create(client: Any) -> Any:
        # The local overlay's scheduler looks every ten seconds.
        first = datetime.now(UTC) + timedelta(seconds=40)
        schedule = IntervalSchedule(interval=timedelta(hours=12), anchor_date=first)
        body = {"schedule": schedule.model_dump(mode="json"), "active": True, "parameters": parameters}
        answer = client.request("POST", "/deployments/{id}/schedules", path_params={"id": deployment.id}, json=[body])
        return answer.json()[0]["id"]

    schedule_id = cluster.ask(create)
    wanted = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[deployment.id]))

    def look() -> Any:
        runs = cluster.ask(lambda client: client.read_flow_runs(flow_run_filter=wanted, limit=200))
        return next((run for run in runs if run.parameters == run.parameters | parameters and run.start_time), None)

    try:
        return until("a run made by the schedule", look, 240, 3)
    finally:
        cluster.ask(lambda client: client.delete_deployment_schedule(deployment.id, schedule_id))


def test_a_scheduled_run_reaches_gold_by_the_object_store_though_its_dbt_pod_must_leave(cluster: Cluster) -> None:
    size = Size(customers=300, days=60)
    documents = seed_mongodb(cluster.mongodb_uri, size=size)
    run = scheduled(cluster, ["shop"])
    assert run.auto_scheduled
    dbt = cluster.child(run.id, "dbt-transform", seconds=300)
    cluster.evict(cluster.pod_of(dbt.id))
    cluster.assert_done(run.id)
    # The same run goes on; one that is told to go before it can answer crashes, and the parent starts another.
    runs = [child for child in cluster.children(run.id) if "step:dbt-transform" in " ".join(child.tags)]
    assert sum(child.run_count for child in runs) == 2

    with cluster.postgres() as connection:
        for table, count in documents.items():
            [(rows,)] = connection.execute(f"select count(*) from bronze.shop__{table} where _deleted_at is null")
            assert rows == count, table
        [(gold,)] = connection.execute("select count(*) from gold.fct_order")
        assert gold > 0
    landed = kubectl(
        "exec", "deployment/objects", "--", "find", "/data/objects/landing/warehouse/shop", "-name", "manifest.json"
    )
    assert len(landed.split()) == len(documents)

    log = cluster.log(run.id)
    loaded = {row["table_name"]: row for row in log if row["stage"] == "load" and row["table_name"]}
    assert {name: row["rows_loaded"] for name, row in loaded.items()} == documents
    for row in loaded.values():
        assert row["pod"].startswith("load-bronze-")
        assert 50 << 20 < row["peak_memory_bytes"] < 768 << 20
        assert row["cpu_seconds"] > 0


def test_each_step_had_a_pod_of_its_own_sized_for_it(cluster: Cluster) -> None:
    cluster.fill("numbers", 50, "number")
    cluster.fill("words", 20, "word")
    run_id = cluster.start(["quick"])
    cluster.assert_done(run_id)
    cluster.assert_equal("quick__numbers")
    cluster.assert_equal("quick__words")
    pods = json.loads(kubectl("get", "pods", "-l", "warehouse/role=flow-run", "-o", "json"))["items"]
    wanted = {str(child.id): child.name for child in cluster.children(run_id)} | {str(run_id): "pipeline"}
    memory = {
        wanted[pod["metadata"]["labels"]["prefect.io/flow-run-id"]].split()[0]:
            pod["spec"]["containers"][0]["resources"]["limits"]["memory"]
        for pod in pods
        if pod["metadata"]["labels"]["prefect.io/flow-run-id"] in wanted
    }  # fmt: skip
    assert memory == {"pipeline": "512Mi", "extract": "768Mi", "load-bronze": "768Mi", "monitoring": "768Mi"}


def test_deploying_again_changes_nothing(cluster: Cluster) -> None:
    pod = cluster.pods("app.kubernetes.io/name=prefect-worker")[0]["metadata"]["name"]
    kubectl("delete", "pod", pod)
    cluster.roll_out("prefect-worker")
    said = kubectl("logs", "deployment/prefect-worker", "--container", "deploy")
    assert "0 changed" in said
