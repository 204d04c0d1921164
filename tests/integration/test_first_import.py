"""No command imports Prefect before its server is known: Prefect would start a temporary one of its own, and use it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from flows import cli, demo
from tests.integration import first_import

pytestmark = pytest.mark.slow

CHECKOUT = Path(cli.__file__).parents[1]
# Arguments of the commands that do not do their work without any.
ARGUMENTS = {
    "checkpoint set": ["shop.orders", "--start"],
    "rejects show": ["1"],
    "rejects replay": ["shop.orders"],
    "sql": ["select 1"],
    "incidents acknowledge": ["1"],
    "anomalies judge": ["3f2a", "confirmed"],
    "drift resolve": ["1", "--why", "as intended"],
    "connectors install": ["nobody"],
    "connectors verify": ["nobody"],
    "connectors check": ["shop"],
    "connectors discover": ["shop"],
    "source new": ["files", str(CHECKOUT / "README.md"), "--dry-run"],
}
# Commands that have to come as far as Prefect, so that this test cannot pass by their failing earlier.
REACHING = {"run", "run shop.orders", "reset", "deploy", "demo"}
# What these need first is what the embedded servers' own tests have.
LEFT_OUT = {"up": "starts real servers", "down": "stops them"}


def commands(group: Any, *path: str) -> Iterator[tuple[str, Any]]:
    """Yield every command of the command line with its words."""
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        if hasattr(command, "commands"):
            yield from commands(command, *path, name)
        else:
            yield " ".join((*path, name)), command


def arguments_of(words: str, command: Any) -> list[str]:
    """Return arguments with which a command does its work; one that asks for a table gets one."""
    if words in ARGUMENTS:
        return ARGUMENTS[words]
    asked = [one for one in command.params if one.param_type_name == "argument" and one.required]
    assert all(one.metavar == "TABLE" for one in asked), f"give arguments for `warehouse {words}` in ARGUMENTS above"
    return ["shop.orders" for _ in asked]


CASES = {
    words: [*words.split(), *arguments_of(words, command)]
    for words, command in commands(typer.main.get_command(cli.app))
    if words not in LEFT_OUT
}
CASES["run shop.orders"] = ["run", "shop.orders", "--no-models"]
CASES["run --plan"] = ["run", "--plan"]


@pytest.fixture(scope="module")
def environment(
    tmp_path_factory: pytest.TempPathFactory, module_postgres_url: str, mongodb_uri: str
) -> Iterator[dict[str, str]]:
    """A warehouse with one loaded table, and a source whose address is in a block of Prefect."""
    from pymongo import MongoClient

    from infra.embedded import channels, mongodb, postgres
    from tasks.bronze.pending import load_pending
    from tasks.extract import ExtractContext, extract_table
    from tasks.landing import Landing
    from tasks.settings import Settings
    from tasks.sources import load_sources

    place = tmp_path_factory.mktemp("first-import")
    (place / "sources.yaml").write_text(
        f"sources:\n  shop:\n    kind: mongodb\n    uri: {mongodb_uri}\n    database: first_import\n"
        "    tables: {orders: {mode: full}}\n"
    )
    (place / "block.yaml").write_text(
        "sources:\n  shop:\n    kind: mongodb\n    block: secret/shop\n    database: first_import\n"
        "    tables: {orders: {mode: full}}\n"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "WAREHOUSE_"))}
    environment = {
        **{name: value for name, value in kept.items() if name not in demo._OTHER_SERVERS},
        "PYTHONPATH": str(CHECKOUT),
        "PREFECT_HOME": str(place / "prefect"),
        "WAREHOUSE_HOME": str(place / "home"),
        "WAREHOUSE_SOURCES": str(place / "sources.yaml"),
        "WAREHOUSE_URL": module_postgres_url,
    }
    with MongoClient(mongodb_uri) as client:
        client["first_import"]["orders"].insert_many([{"_id": number} for number in range(3)])
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            settings = Settings()
            ref = load_sources(settings.sources).table("shop.orders")
            extract_table(ref, ExtractContext(Landing.open(settings.landing_root())))
            assert load_pending(ref, settings)[0].inserted == 3
        yield environment
        client.drop_database("first_import")
    for server in (channels, mongodb, postgres):
        server.down(place / "home", wipe=True)


def run(environment: dict[str, str], *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", first_import.__name__, *arguments],
        cwd=Path(environment["WAREHOUSE_SOURCES"]).parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return {**json.loads(done.stdout.splitlines()[-1]), "said": done.stdout + done.stderr}


@pytest.mark.parametrize("words", CASES)
def test_prefect_is_imported_only_once_its_server_is_known(words: str, environment: dict[str, str]) -> None:
    if words == "demo":
        sample = Path(environment["WAREHOUSE_SOURCES"]).with_name("sample.yaml")
        text = (CHECKOUT / "sources.yaml").read_text()
        sample.write_text(text.replace(".warehouse/", f"{environment['WAREHOUSE_HOME']}/"))
        environment = {**environment, "WAREHOUSE_SOURCES": str(sample)}
    found = run(environment, *CASES[words])
    if found["imported"]:
        assert found["server"] == first_import.SERVER, f"{words} imports {found['imported']}: {found['said'][-3000:]}"
    assert bool(found["imported"]) == (words in REACHING), (words, found)


@pytest.mark.parametrize("words", ["verify", "reset", "check"])
def test_a_source_named_by_a_block_of_prefect_is_read_from_the_known_server(
    words: str, environment: dict[str, str]
) -> None:
    environment = {**environment, "WAREHOUSE_SOURCES": environment["WAREHOUSE_SOURCES"].replace("sources", "block")}
    found = run(environment, *CASES[words])
    if words == "check":
        assert not found["imported"]
        assert "the block secret/shop cannot be read, as no Prefect server runs" in found["said"]
    else:
        assert found["server"] == first_import.SERVER
