"""The embedded Prefect server starts from a schema of our own, which is the one that Prefect migrates to."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from infra.embedded import prefect, prefect_schema

pytestmark = pytest.mark.slow


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    prefect.down(tmp_path, wipe=True)


def test_the_schema_is_the_one_that_the_installed_prefect_migrates_to(tmp_path: Path) -> None:
    made = tmp_path / "made.sql"
    subprocess.run([sys.executable, "-m", prefect_schema.__name__, str(made)], check=True, timeout=600)
    assert parts(made.read_text()) == parts(prefect_schema.FILE.read_text()), f"run python -m {prefect_schema.__name__}"


def test_a_server_starts_from_the_schema_with_prefects_own_block_types_and_again_without_looking(home: Path) -> None:
    url = prefect.up(home, worker=False)
    assert "secret" in block_types(url)
    with closing(sqlite3.connect(home / "prefect" / "prefect.db")) as connection:
        assert connection.execute("select version_num from alembic_version").fetchall() == [(revision(),)]
    assert prefect.down(home)
    assert "secret" in block_types(prefect.up(home, worker=False))
    # A database that somebody removed is looked at as a new one.
    assert prefect.down(home)
    for file in (home / "prefect").glob("prefect.db*"):
        file.unlink()
    assert "secret" in block_types(prefect.up(home, worker=False))


def test_a_server_started_for_runs_ends_with_the_last_of_them(home: Path) -> None:
    with prefect.lent(home):
        prefect.up(home, worker=False)
        with prefect.lent(home):
            pass
        # The first run still uses it, whichever ends first.
        assert prefect.answers(prefect.url(home))
    assert not prefect.status(home).running
    with prefect.lent(home, keep=True):
        prefect.up(home, worker=False)
    with prefect.lent(home):
        pass
    assert prefect.answers(prefect.url(home))


def test_a_run_that_ends_at_once_takes_its_server_along(home: Path) -> None:
    with prefect.lent(home):
        assert prefect.status(home).running
        assert prefect.abandon(home)
        assert not prefect.status(home).running


def test_a_server_that_somebody_wants_while_a_run_uses_it_stays(home: Path) -> None:
    with prefect.lent(home):
        prefect.up(home)
    assert prefect.answers(prefect.url(home))
    assert prefect.worker_status(home).running


def test_a_prefect_older_than_the_schema_migrates_from_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefect_schema, "version", lambda name: "3.8.7")
    assert not prefect_schema.create(tmp_path / "prefect.db")
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(prefect_schema, "version", lambda name: "3.10.0")
    assert prefect_schema.create(tmp_path / "prefect.db")


def test_a_schema_that_was_cut_off_is_made_anew(tmp_path: Path) -> None:
    database = tmp_path / "prefect.db"
    with closing(sqlite3.connect(database.with_suffix(".new"))) as connection:
        connection.execute("create table flow (half int)")
    assert prefect_schema.create(database)
    assert prefect_schema.dump(database) == prefect_schema.FILE.read_text()


def parts(script: str) -> list[list[str]]:
    """Return the words of each statement sorted: Prefect's migrations write a table's constraints in any order."""
    return [sorted(re.findall(r"\w+|[^\w\s,]", statement)) for statement in script.partition("\n")[2].split(";\n")]


def revision() -> str:
    return prefect_schema.FILE.read_text().rsplit("'", 2)[1]


def block_types(url: str) -> set[str]:
    body = json.dumps({"limit": 200}).encode()
    request = urllib.request.Request(f"{url}/block_types/filter", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return {found["slug"] for found in json.load(response)}
