"""Servers for the tests: each started once a session in a folder of its own, then shared by fresh databases."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

from tests.object_store import BUCKET, ObjectStore

# A busy machine is no fault of the code: no example fails for the time that it takes.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# Prefect would start a server of its own where a test names none, over the history of whoever runs the tests, and it
# would be left behind where a process of the tests is killed.
os.environ["PREFECT_SERVER_ALLOW_EPHEMERAL_MODE"] = "false"
# Who is told to end, such as by a time limit, stops the servers of its tests as after Ctrl-C.
signal.signal(signal.SIGTERM, signal.default_int_handler)

# Fixtures that several folders of tests share.
pytest_plugins = ["tests.fixtures.bronze", "tests.fixtures.mongodb"]

_SLOWEST_FILES = 25
# Several processes begin with these, as "where the time goes" tells, so that none is left with a long one at the end.
_FIRST = (
    "kubernetes/",
    "integration/flows/test_deployments.py",
    "integration/dbt/test_blue_green.py",
    "readme/test_blocks.py",
    "integration/dbt/test_channels.py",
    "integration/dbt/test_star.py",
    "faults/bronze/test_crashes.py",
    "browser/test_dashboard.py",
    "integration/dbt/test_increments.py",
    "browser/test_report.py",
    "integration/flows/test_in_process.py",
    "integration/dbt/test_by_key.py",
    "integration/test_first_import.py",
    "integration/mongodb/test_shared_stream.py",
    "integration/test_wheel.py",
    "integration/test_demo.py",
    "integration/embedded/",
    "integration/dbt/",
    "integration/simulation/",
    "connectors/",
)
_TIERS = ("integration", "faults", "kubernetes", "browser", "readme", "superset", "connectors")


class _ByFile(LoadFileScheduling):
    """A file stays with one of several processes, and so do all tests of the cluster: they break it for each other."""

    def _split_scope(self, nodeid: str) -> str:
        return "kubernetes" if nodeid.startswith("tests/kubernetes/") else super()._split_scope(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling:
    """Share the tests between processes (`-n 2`) by the rule above, in the order in which they were collected."""
    config.option.loadscopereorder = False
    return _ByFile(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark tests with the tier of their folder, so that none runs as a unit by oversight; put long ones first."""
    tests = Path(__file__).parent
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: _turn(item.nodeid.removeprefix("tests/")))
    for item in items:
        tier = item.path.relative_to(tests).parts[0]
        if tier in _TIERS:
            item.add_marker(tier)


def _turn(name: str) -> int:
    return next((turn for turn, first in enumerate(_FIRST) if name.startswith(first)), len(_FIRST))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what each tier ran and how long it took, so that a tier that did not run is not taken for one that passed."""
    outcomes: dict[str, Counter[str]] = {tier: Counter() for tier in ("unit", *_TIERS)}
    seconds: Counter[str] = Counter()
    files: Counter[str] = Counter()
    for outcome in ("passed", "failed", "error", "skipped", "deselected"):
        for report in terminalreporter.getreports(outcome):
            tier = report.nodeid.split("/")[1] if report.nodeid.count("/") > 1 else "unit"
            outcomes.setdefault(tier, Counter())[outcome] += 1
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                seconds[report.nodeid.split("/")[1]] += int(1000 * report.duration)
                files[report.nodeid.partition("::")[0]] += int(1000 * report.duration)
    terminalreporter.section("tiers")
    for tier, counts in outcomes.items():
        told = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
        terminalreporter.line(f"{tier:12}{told or 'nothing ran'}{f' in {seconds[tier] / 1000:.0f} s' if told else ''}")
    terminalreporter.section("where the time goes")
    for file, taken in files.most_common(_SLOWEST_FILES):
        terminalreporter.line(f"{taken / 1000:6.0f} s  {file}")


@pytest.fixture(autouse=True)
def same_environment() -> Iterator[None]:
    """Set the environment back after each test: commands that run in this process point it at their servers."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(scope="session")
def servers_home() -> Iterator[Path]:
    """A folder for the embedded servers, which a server of another user can enter; everything is stopped at the end."""
    from infra.embedded import channels, mongodb, postgres, prefect

    home = Path(tempfile.mkdtemp(prefix="warehouse-tests-"))
    home.chmod(0o711)
    yield home
    for server in (prefect, channels, mongodb, postgres):
        server.down(home, wipe=True)
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server(servers_home: Path) -> str:
    """URL of a real embedded Postgres 18 (with password), without fsync: no test pulls the plug of the machine."""
    from infra.embedded import postgres

    return postgres.up(servers_home, options={"fsync": "off", "max_connections": "200"})


def _database(server: str) -> Iterator[str]:
    import psycopg
    from psycopg import sql

    base = server.rsplit("/", 1)[0]
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(f"{base}/postgres", autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    yield f"{base}/{name}"
    with psycopg.connect(f"{base}/postgres", autocommit=True) as connection:
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """URL of an empty database for one test."""
    yield from _database(postgres_server)


@pytest.fixture(scope="module")
def module_postgres_url(postgres_server: str) -> Iterator[str]:
    """URL of a database shared by the tests of one module."""
    yield from _database(postgres_server)


@pytest.fixture(scope="session")
def object_store(servers_home: Path) -> Iterator[ObjectStore]:
    """A real S3 store (versitygw) over a folder."""
    binary = ObjectStore.binary()
    if binary is None:
        pytest.skip(
            "no versitygw in dist/ or on the PATH: "
            'GOBIN="$PWD/dist" go install github.com/versity/versitygw/cmd/versitygw@v1.8.0'
        )
    store = ObjectStore(binary, servers_home / "objects")
    yield store
    store.kill()


@pytest.fixture
def object_root(object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> str:
    """A landing root on the S3 store, empty, with what reaches it in the environment."""
    for name, value in object_store.environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{uuid.uuid4().hex}"


@pytest.fixture(scope="session")
def mongodb_uri(servers_home: Path) -> str:
    """URI of a MongoDB: `MONGODB_URI` where it is set, else a SecantusDB process."""
    given = os.environ.get("MONGODB_URI")
    if given:
        return given
    from infra.embedded import mongodb

    # A change stream that begins at a time is looked for in all of the log of operations, which all tests fill.
    return mongodb.up(servers_home, options=["--oplog-max-entries", "10000"])


@pytest.fixture
def mongodb_database(mongodb_uri: str) -> Iterator[str]:
    """Name of a MongoDB database for one test, dropped at its end."""
    from pymongo import MongoClient

    name = f"test_{uuid.uuid4().hex[:12]}"
    yield name
    with MongoClient(mongodb_uri) as client:
        client.drop_database(name)


@pytest.fixture(scope="session")
def prefect_api_url(servers_home: Path) -> str:
    """API URL of a real Prefect server on SQLite, without a worker."""
    from infra.embedded import prefect

    return prefect.up(servers_home, worker=False)


@pytest.fixture
def prefect_server(prefect_api_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The Prefect server, in force for this test: in this process's settings and in the environment of its children."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    monkeypatch.setenv("PREFECT_API_URL", prefect_api_url)
    with temporary_settings({PREFECT_API_URL: prefect_api_url}):
        yield prefect_api_url
