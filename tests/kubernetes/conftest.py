"""A warehouse on the cluster of KUBECONFIG, in a namespace of its own that is deleted at the end.

`WAREHOUSE_TEST_IMAGE`, `WAREHOUSE_TEST_SERVICES_IMAGE` and `WAREHOUSE_TEST_DASHBOARD_IMAGE` name images that the
cluster has or can pull; `WAREHOUSE_TEST_KEEP` keeps the namespace for the next run.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.kubernetes.cluster import NAMESPACE, Cluster, kubectl, rendered

IMAGE = os.environ.get("WAREHOUSE_TEST_IMAGE", "localhost/warehouse:local")
SERVICES = os.environ.get("WAREHOUSE_TEST_SERVICES_IMAGE", "localhost/warehouse-services:local")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The whole of it, applied and ready."""
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("no cluster: set KUBECONFIG, WAREHOUSE_TEST_IMAGE and WAREHOUSE_TEST_SERVICES_IMAGE")
    kubectl("apply", "-f", "-", given=rendered(IMAGE, SERVICES))
    found = Cluster()
    try:
        found.roll_out("postgres", "mongodb", "objects", "prefect-server", "prefect-worker")
        yield found
    finally:
        found.close()
        if not os.environ.get("WAREHOUSE_TEST_KEEP"):
            kubectl("delete", "namespace", NAMESPACE, "--wait=false")


@pytest.fixture(autouse=True)
def _all_there(cluster: Cluster) -> Iterator[None]:
    """Each test starts with everything up and no run alive."""
    yield
    kubectl("uncordon", *kubectl("get", "nodes", "--output=name").split())
    for name in ("objects", "prefect-server", "prefect-worker"):
        kubectl("scale", f"deployment/{name}", "--replicas=1")
    cluster.roll_out("objects", "prefect-server", "prefect-worker")
    cluster.assert_nothing_runs()
