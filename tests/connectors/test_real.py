"""The connectors of the catalogue themselves, unmodified: each reads the fake of its service through to bronze.

They are installed by `make test-connectors`; one that is not installed is skipped, and said.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from infra.sample.channels.server import Answer
from infra.sample.connectors.services import SERVICES
from infra.sample.connectors.verify import SOURCE, NotVerified, Trial, verify
from tasks.bronze.pending import load_pending
from tasks.connectors import catalogue, environments
from tasks.extract import ExtractContext, extract_table
from tasks.landing import Landing
from tasks.settings import Settings, get_settings
from tasks.sources import load_sources

INSTALLED = Path(__file__).parents[2] / "dist" / "connectors"


@pytest.fixture(autouse=True)
def _folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("WAREHOUSE_CONNECTORS", str(INSTALLED))
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def needed(name: str) -> None:
    if environments.installed(name) is None:
        pytest.skip(f"{name} is not installed: `make test-connectors` installs all")


def test_what_is_called_verified_is_tried_here() -> None:
    verified = {name for name, entry in catalogue.entries().items() if entry.grade == "verified"}
    assert verified <= {*SERVICES, "faker"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_connector_reads_its_service_through_to_bronze(name: str, tmp_path: Path, postgres_url: str) -> None:
    needed(name)
    folder = tmp_path / "verify"
    folder.mkdir()
    assert list(verify(name, folder))[-1] == "no other host was asked"
    trial = Trial(name, tmp_path)
    table = list(trial.service.tables)[-1]
    with trial.open():
        rows = trial.compare(table)
    settings = Settings(url=SecretStr(postgres_url), home=tmp_path, landing=str(tmp_path / "landing"))
    load_pending(trial.sources.table(f"{SOURCE}.{table}"), settings)
    with psycopg.connect(postgres_url) as connection:
        found = connection.execute(f"select count(*) from bronze.{SOURCE}__{table}".encode()).fetchone()
    assert found == (rows,)


def test_a_connector_that_reads_otherwise_is_not_verified(tmp_path: Path) -> None:
    needed("sendgrid")
    trial = Trial("sendgrid", tmp_path)
    with trial.open():
        first, *_ = trial.service.records["bounces"]
        trial.service.fail(Answer([first]), where=lambda asked: asked.path.endswith("bounces"))
        with pytest.raises(NotVerified, match="3 rows were served and 1 landed: lacks"):
            trial.compare("bounces")


def test_many_made_up_rows_come_whole(tmp_path: Path, postgres_url: str) -> None:
    needed("faker")
    count = 5_000
    source = {
        "kind": "airbyte",
        "connector": "faker",
        "config": {"count": count, "seed": 1, "records_per_slice": 1_000, "always_updated": False, "parallelism": 1},
        "tables": {"users": {"mode": "incremental"}},
    }
    (tmp_path / "sources.yaml").write_text(json.dumps({"sources": {"made_up": source}}))
    ref = load_sources(tmp_path / "sources.yaml", {}).table("made_up.users")
    extract_table(ref, ExtractContext(Landing.open(str(tmp_path / "landing"))))
    load_pending(ref, Settings(url=SecretStr(postgres_url), home=tmp_path, landing=str(tmp_path / "landing")))
    with psycopg.connect(postgres_url) as connection:
        found = connection.execute("select count(*), count(distinct id), max(id) from bronze.made_up__users").fetchone()
    assert found == (count, count, count)
