"""The dashboard's Deployment as its component describes it: its limits, its Service, and the reading role alone."""

from __future__ import annotations

import os
import shutil
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from monitoring import incidents, reader
from tasks.ops.migrations import migrate
from tests.kubernetes.cluster import ROOT, Cluster, Forward, kubectl, until

IMAGE = os.environ.get("WAREHOUSE_TEST_DASHBOARD_IMAGE", "localhost/warehouse-dashboard:local")
_ROLE = "dashboard_reader"
# Tries, in the pod, what its image and its limits must not let it do, and prints what it knows of the warehouse.
_PROBE = """
import os
print(os.getuid(), *sorted(name for name in os.environ if name.startswith("WAREHOUSE_") and "URL" in name))
for path in ("/app/written", "/opt/warehouse/written"):
    try:
        open(path, "w")
    except OSError as error:
        print(error.strerror)
"""


@pytest.fixture
def address(cluster: Cluster) -> Iterator[str]:
    """A dashboard whose warehouse, a database of its own, has one open incident; as its Service is seen from here."""
    manifest = (ROOT / "infra/kubernetes/dashboard/dashboard.yaml").read_text()
    manifest = manifest.replace("image: warehouse-dashboard", f"image: {IMAGE}")
    with cluster.postgres() as connection:
        connection.autocommit = True
        connection.execute("create database dashboard")
    with cluster.postgres("dashboard") as connection:
        connection.autocommit = True
        migrate(connection)
        refused = incidents.Problem("failure", "extract shop.orders", "auth", "refused")
        incidents.record(connection, [refused], datetime.now(UTC))
        reader.apply(connection, _ROLE, "secret")
    url = f"postgresql://{_ROLE}:secret@postgres:5432/dashboard"
    kubectl("create", "secret", "generic", "warehouse-reader", f"--from-literal=url={url}")
    kubectl("apply", "-f", "-", given=manifest)
    forward = Forward("dashboard", 80)
    try:
        cluster.roll_out("dashboard")
        yield f"http://127.0.0.1:{forward.port}"
    finally:
        forward.close()
        kubectl("delete", "-f", "-", "--wait=false", given=manifest)
        kubectl("delete", "secret", "warehouse-reader")
        with cluster.postgres() as connection:
            connection.autocommit = True
            connection.execute("drop database dashboard with (force)")
            connection.execute(f"drop role {_ROLE}")


def test_it_is_served_without_rights_and_shows_what_the_reading_role_may_see(cluster: Cluster, address: str) -> None:
    from playwright.sync_api import sync_playwright

    told = kubectl("exec", "deployment/dashboard", "--", "python", "-c", _PROBE).splitlines()
    assert told == ["10001 WAREHOUSE_READER_URL", "Read-only file system", "Read-only file system"]

    binary = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if binary is None:
        pytest.skip("no chromium: apt-get install chromium, or set CHROMIUM to its path")
    until("an answer through the Service", lambda: _is_healthy(address), 30)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=binary, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(address)
        page.get_by_text("1 open, 1 not taken").wait_for(timeout=60_000)
        # The one thing that the role may change.
        page.goto(f"{address}/incidents")
        page.get_by_label("Who").fill("ana")
        page.get_by_role("button", name="Take it").click()
        with cluster.postgres("dashboard") as connection:
            query = "select acknowledged_by from monitoring.incidents where acknowledged_by is not null"
            assert until("the incident is taken", lambda: connection.execute(query).fetchone(), 30) == ("ana",)
        browser.close()


def _is_healthy(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/_stcore/health", timeout=5) as answer:
            return bool(answer.read() == b"ok")
    except OSError:
        return False
