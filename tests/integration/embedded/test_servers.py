"""The embedded servers really start, survive being killed, and are stopped only when they are ours."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import psutil
import psycopg
import pytest
from pymongo import MongoClient, WriteConcern

from infra.embedded import channels, mongodb, postgres, process, services
from infra.embedded.process import EmbeddedError
from infra.sample import Size, ad_spend, write_spend
from tasks.errors import SourceUnreachable, WarehouseUnreachable


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="warehouse-home-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)
        channels.down(Path(folder), wipe=True)
        mongodb.down(Path(folder), wipe=True)
        postgres.down(Path(folder), wipe=True)


def count(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("select count(*) from kept").fetchone()
    assert row
    return int(row[0])


def fill(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("create table kept as select generate_series(1, 1000) as n")


def test_postgres_survives_kill_empty_pid_file_and_a_taken_port(home: Path) -> None:
    url = postgres.up(home)
    fill(url)
    os.kill(postgres.status(home).pid, signal.SIGKILL)

    assert count(postgres.up(home)) == 1000

    assert postgres.down(home)
    assert not postgres.status(home).running
    (home / "postgres" / "data" / "postmaster.pid").write_text("")
    port = process.read_record(home / "postgres").port
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind(("127.0.0.1", port))
        squatter.listen()
        lines: list[str] = []
        moved = postgres.up(home, lines.append)
        assert count(moved) == 1000
        assert f":{port}/" not in moved
        assert any(f"port {port} is taken" in line for line in lines)


def test_postgres_needs_its_password_and_keeps_it_private(home: Path) -> None:
    url = postgres.up(home)
    password = home / "postgres" / "password"
    assert password.stat().st_mode & 0o777 == 0o600
    assert password.read_text() in url
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(url.replace(password.read_text(), "wrong"))
    assert password.read_text() not in str(postgres.status(home))


def test_postgres_runs_in_a_home_that_only_its_owner_may_enter() -> None:
    with tempfile.TemporaryDirectory(prefix="warehouse-private-") as folder:
        home = Path(folder) / "home"
        assert Path(folder).stat().st_mode & 0o077 == 0
        try:
            fill(postgres.up(home))
            postgres.down(home)
            assert count(postgres.up(home)) == 1000
        finally:
            postgres.down(home, wipe=True)


def test_a_failed_start_shows_the_servers_own_words(home: Path) -> None:
    with pytest.raises(EmbeddedError, match="no_such_setting"):
        postgres.up(home, options={"no_such_setting": "1"})


def test_starting_twice_at_once_gives_one_server(home: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(postgres.up, [home, home])
    assert first == second
    assert count_servers(home) == 1


def count_servers(home: Path) -> int:
    return sum(
        1
        for found in psutil.process_iter(["cmdline"])
        if str(home / "postgres" / "data") in (found.info["cmdline"] or [])
    )


def test_a_process_that_only_has_the_same_pid_is_left_alone(home: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        folder = home / "mongodb"
        folder.mkdir(parents=True)
        process.write_record(folder, process.Record(port=1, pid=other.pid, started=1.0))
        assert not mongodb.status(home).running
        assert not mongodb.down(home)
        assert other.poll() is None
        other.communicate(b"\n", timeout=10)
        assert other.returncode == 0


def test_mongodb_keeps_acknowledged_documents_over_a_kill(home: Path) -> None:
    uri = mongodb.up(home)
    journaled = WriteConcern(w=1, j=True)
    with MongoClient(uri) as client:
        orders = client["shop"].get_collection("orders", write_concern=journaled)
        orders.insert_many([{"_id": number} for number in range(100)])
    os.kill(mongodb.status(home).pid, signal.SIGKILL)

    with MongoClient(mongodb.up(home)) as client:
        assert client["shop"]["orders"].count_documents({}) == 100
    assert mongodb.down(home)
    assert not mongodb.down(home)


def test_the_servers_outlive_the_command_that_started_them(home: Path) -> None:
    script = "import sys, pathlib; from infra.embedded import postgres; postgres.up(pathlib.Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", script, str(home)], check=True, timeout=60)
    assert postgres.status(home).running
    fill(postgres.url(home))


def test_urls_before_the_first_start_are_named_errors(home: Path) -> None:
    with pytest.raises(WarehouseUnreachable, match="WAREHOUSE_URL"):
        postgres.url(home)
    with pytest.raises(SourceUnreachable, match="MONGODB_URI"):
        mongodb.url(home)


def test_the_user_interface_of_prefect_asks_its_own_server(prefect_api_url: str) -> None:
    """Prefect's default is the usual port, where nothing or another server answers."""
    with urllib.request.urlopen(prefect_api_url.removesuffix("api") + "ui-settings", timeout=30) as response:
        asked = json.load(response)["api_url"]
    assert urllib.parse.urljoin(prefect_api_url, asked) == prefect_api_url


def test_the_fakes_of_channels_are_started_again_where_they_were_and_tell_the_same(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SAMPLE_CHANNELS_URL", raising=False)
    of_channels = frozenset({"channels"})
    # Nobody but the demo needs them: `warehouse up` starts none before it has.
    services.up(home, only=of_channels)
    assert "SAMPLE_CHANNELS_URL" not in os.environ
    assert "channels" not in {item.name for item in services.statuses(home)}

    address = channels.up(home)
    assert asked(address) == 503
    write_spend(channels.data(home), ad_spend(Size(customers=5, days=5, end_date=date(2026, 3, 14)).shop()))
    assert asked(address) == 200
    fake = psutil.Process(channels.status(home).pid)
    fake.kill()
    # Its threads hold the port a moment longer than the process lives.
    fake.wait(60)
    services.up(home, only=of_channels)
    assert os.environ["SAMPLE_CHANNELS_URL"] == address
    assert asked(address) == 200
    assert services.down(home) == ["channels"]
    assert not channels.status(home).running


def asked(address: str) -> int:
    request = urllib.request.Request(f"{address}/meta_ads/v26.0/me/adaccounts?access_token=meta-token")
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
