"""The shell blocks of README and tutorial, literally and in order, from an empty folder, each in a process of its own.

What cannot stand literally is replaced, and only that: servers of example.com by real ones, the editor by a program
that writes the README's own YAML, the port that a server printed, and `make test`, of which this is a part.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pymongo import MongoClient

from infra.embedded import services

CHECKOUT = Path(__file__).parents[2]
README = (CHECKOUT / "README.md").read_text()
TUTORIAL = (CHECKOUT / "docs/tutorial.md").read_text()
STAMPS = (".stamp-venv", ".stamp-demo", ".stamp-dev", ".stamp-native")


def blocks(language: str, page: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


class Place:
    """A fresh copy of the checkout whose `.venv` is the installed one, and a person's environment without settings."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "warehouse"
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=True,
        )
        for name in filter(None, listed.stdout.split("\0")):
            if (CHECKOUT / name).is_file():
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(CHECKOUT / name, self.folder / name)
        venv = self.folder / ".venv"
        venv.mkdir()
        for part in ("bin", "lib", "pyvenv.cfg"):
            (venv / part).symlink_to((CHECKOUT / ".venv" / part).resolve())
        for stamp in STAMPS:
            (venv / stamp).touch()
        foreign = ("WAREHOUSE_", "PREFECT_", "MONGODB_URI", "PYTHONDONTWRITEBYTECODE")
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        # The installed command would run the code of the checkout, not of this copy.
        self.environment |= {"PYTHONPATH": str(self.folder), "HOME": str(folder)}

    def run(self, script: str) -> str:
        """Run a shell script to its end, which must be well, and return all that it said."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=1500,
        )
        assert done.returncode == 0, done.stdout[-6000:]
        return done.stdout


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    # Postgres of the embedded server runs as another user when this one is root.
    tmp_path.chmod(0o711)
    found = Place(tmp_path)
    yield found
    # Also those of a company's folder, and whatever a block that failed has left.
    for home in found.folder.rglob(".warehouse"):
        services.down(home, wipe=True)


def replaced(text: str, **by: str) -> str:
    """Return the text with each part replaced, which must be there."""
    for old, new in by.items():
        assert old in text, f"the page has changed: {old} is not in its block"
        text = text.replace(old, new)
    return text


def test_these_are_all_blocks() -> None:
    firsts = [block.split("#")[0].split("\n")[0].strip() for block in blocks("sh")]
    assert firsts == ["make demo", "make setup", ".venv/bin/warehouse up"]


@pytest.mark.timeout(1800)
def test_the_demo(place: Place) -> None:
    said = place.run(replaced(blocks("sh")[0], **{"make test": "make --dry-run test"}))
    assert "Where to look" in said
    assert "DIFFERENT" not in said


@pytest.mark.timeout(1800)
def test_the_first_real_source(place: Place, postgres_url: str, mongodb_uri: str) -> None:
    from infra.sample import Size, seed_mongodb

    counts = seed_mongodb(mongodb_uri, "shop", Size(customers=40))
    editor = place.folder / "editor"
    editor.write_text(f"#!/usr/bin/env bash\ncat > \"$1\" <<'YAML'\n{blocks('yaml')[0]}YAML\n")
    editor.chmod(0o755)
    place.environment["EDITOR"] = str(editor)
    script = replaced(
        blocks("sh")[1],
        **{
            "mongodb://reader:...@db.example.com/?replicaSet=rs0": mongodb_uri,
            "postgresql://loader:...@warehouse.example.com/warehouse": postgres_url,
        },
    )
    said = place.run(script)
    assert "nothing is wrong" in said
    assert "ephemeral" not in said
    assert "from the beginning" in said
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("select count(*) from bronze.shop__orders").fetchall() == [(counts["orders"],)]
        runs = connection.execute("select distinct parent_run_id from monitoring.pipeline_log where stage = 'load'")
        assert len(runs.fetchall()) == 1
    # The history of this very first run is in the server of this home, which ended with it.
    assert not json.loads((place.folder / ".warehouse/prefect/server.json").read_text())["pid"]
    # So is the second, with nothing to do. Without rates gold lacks some orders, which the first line says.
    again = place.run("\n".join(script.splitlines()[1:3]) + "\n.venv/bin/warehouse run")
    assert "1 of 1 table(s) loaded, 0 rows changed" in again
    with psycopg.connect(postgres_url) as connection:
        [(shown,)] = connection.execute("select count(*) from gold.fct_order").fetchall()
    left_out = f"bronze {counts['orders']}, gold {shown}; {counts['orders'] - shown} set aside"
    assert f"orders in gold: reconciliation: {left_out}" in again


@pytest.mark.timeout(1800)
def test_on_a_schedule(place: Place) -> None:
    (place.folder / "ads").mkdir()
    (place.folder / "ads" / "spend.csv").write_text("day,spend\n2026-01-01,1.50\n")
    (place.folder / "sources.yaml").write_text(
        "sources:\n  ads:\n    kind: files\n    path: ads\n    tables:\n"
        "      spend: {pattern: spend.csv, format: csv, key: [day], types: {spend: decimal}}\n"
    )
    said = place.run(with_address(blocks("sh")[2]) + "\necho api=$PREFECT_API_URL")
    api = said.split("api=")[1].strip()
    deadline = time.monotonic() + 600
    while (state := pipeline_run(api)["state"])["type"] not in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
        assert time.monotonic() < deadline, state
        time.sleep(1)
    assert state["type"] == "COMPLETED", state
    assert "1.5" in place.run('.venv/bin/warehouse sql "select spend from bronze.ads__spend"')


@pytest.mark.timeout(1800)
def test_the_first_week(place: Place, postgres_url: str, mongodb_uri: str, mongodb_database: str) -> None:
    from infra.sample import Size, seed_mongodb

    counts = seed_mongodb(mongodb_uri, mongodb_database, Size(customers=20))
    monday, shell, look, proof, rest, model, drift, schedule, report = blocks("sh", TUTORIAL)
    servers = {
        "mongodb://reader:...@db.example.com/?replicaSet=rs0": mongodb_uri,
        "postgresql://loader:...@warehouse.example.com/warehouse": postgres_url,
        "--database shop": f"--database {mongodb_database} --name shop",
    }
    place.run(replaced(monday, **servers))
    place.environment["PATH"] = f"{place.folder}/.venv/bin:{place.environment['PATH']}"
    said = place.run(shell + look + proof)
    assert "nothing is wrong" in said
    assert "All well: 2 of 2 table(s) loaded" in said
    assert "bronze equals the source" in said
    assert "All well: 4 of 4 table(s) loaded" in place.run(shell + rest)
    assert place.run(shell + model).split()[-2] == f"{counts['orders']:,}"
    with MongoClient[dict[str, Any]](mongodb_uri) as client:
        client[mongodb_database].orders.update_many({}, {"$set": {"gift_note": "with love"}})
    assert "gift_note" in place.run(shell + drift)
    assert "gift_note" in (place.folder / "company/dbt/models/silver/shop/stg_shop__orders.sql").read_text()
    said = place.run(shell + with_address(schedule) + report)
    assert "create    deployment pipeline/default" in said
    assert "scheduled" in said.lower()
    assert "shop.orders" in (place.folder / "company/week.html").read_text()
    place.run(shell + "warehouse down --wipe")


def with_address(block: str) -> str:
    """Return a block of commands with the address that `warehouse up` prints in the place of the page's."""
    printed = "$(sed -n \"s/.*export PREFECT_API_URL='\\(.*\\)'/\\1/p\" printed)"
    return replaced(block, **{"warehouse up ": "warehouse up | tee printed ", "http://127.0.0.1:.../api": printed})


def pipeline_run(api: str) -> dict[str, Any]:
    body = json.dumps({"flows": {"name": {"any_": ["pipeline"]}}}).encode()
    request = urllib.request.Request(f"{api}/flow_runs/filter", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        # Those that the schedule will start are listed as well.
        (found,) = [run for run in json.load(response) if not run["auto_scheduled"]]
    return dict(found)
