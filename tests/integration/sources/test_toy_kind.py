"""A kind of source from another package goes through all of the product, which is not touched for it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tasks.settings import get_settings
from tasks.sources import load_sources, registry
from tests.command import rows, run

KIND = Path(__file__).parents[2] / "toy_kind"


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres_url: str, prefect_server: str) -> Iterator[Path]:
    """A folder with a toy source of two tables, one of them with a broken line, and the toy's package installed."""
    monkeypatch.syspath_prepend(KIND)
    monkeypatch.chdir(tmp_path)
    for name, value in {"URL": postgres_url, "HOME": "home", "SOURCES": "sources.yaml"}.items():
        monkeypatch.setenv(f"WAREHOUSE_{name}", value)
    write(tmp_path / "cars", *({"_id": number, "price": number * 1.5} for number in range(100)))
    write(tmp_path / "dolls", {"_id": "a", "name": "Anna"}, '!{"_id": "b", "name": "Berta"}')
    configure(tmp_path)
    registry.connector.cache_clear()
    get_settings.cache_clear()
    yield tmp_path
    registry.connector.cache_clear()
    get_settings.cache_clear()


def write(file: Path, *lines: dict[str, Any] | str) -> None:
    with file.open("a") as growing:
        growing.writelines(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines)


def configure(folder: Path, more: str = "") -> None:
    Path("sources.yaml").write_text(
        f"sources:\n  box:\n    kind: toy\n    folder: {folder}\n{more}    tables:\n"
        "      cars: {file: cars, ranges: 3, resources: large}\n      dolls: {file: dolls}\n"
    )


def test_a_foreign_kind_is_checked_planned_run_verified_replayed_and_reported(
    toys: Path, postgres_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def said() -> str:
        return capsys.readouterr().out

    run("check")
    assert "ok      box.cars: a toy" in said()
    assert run("run", "--plan") == 0
    planned = said()
    assert re.search(r"box\.dolls\W+growing\W+small-1\W+small\W+from the beginning", planned), planned
    assert run("run", "--no-models") == 0
    assert rows(postgres_url, "select count(*), sum(price) from bronze.box__cars") == [(100, 7425.0)]
    write(toys / "cars", {"_id": 100, "price": 1.0})
    said()
    assert run("run", "--no-models") == 0
    logged = (
        "select rows_read, rows_landed from monitoring.pipeline_log where table_name = 'cars' and stage = 'extract'"
    )
    assert rows(postgres_url, f"{logged} order by started_at") == [(100, 100), (1, 1)]
    said()
    assert run("checkpoint", "show", "box.cars") == 0
    assert "line 102" in said()
    assert run("verify", "box.cars") == 0
    assert run("rejects", "list") == 0
    assert "broken" in said()
    assert run("rejects", "replay", "box.dolls") == 1
    configure(toys, "    mended: true\n")
    assert run("rejects", "replay", "box.dolls") == 0
    assert rows(postgres_url, "select _id, name from bronze.box__dolls order by 1") == [("a", "Anna"), ("b", "Berta")]
    assert run("report", "--to", "report.html") == 0
    assert "box.cars" in Path("report.html").read_text()


def test_a_foreign_kind_gives_samples_and_shares_its_state_in_a_run(toys: Path, postgres_url: str) -> None:
    from flows.extract import extract
    from flows.verify import verify

    (kind,) = {type(registry.connector("toy"))}
    assert run("run", "--no-models") == 0
    assert verify(["box.cars"], 10, return_state=True).is_completed()
    with psycopg.connect(postgres_url) as connection:
        connection.execute("update bronze.box__cars set price = 0 where _id = '3'")
    assert verify(["box.cars"], 10, return_state=True).is_failed()
    kind.shared.clear()
    assert extract(["box"], return_state=True).is_completed()
    (once,) = kind.shared
    assert once.states == {"box.cars": {"lines": 100}, "box.dolls": {"lines": 2}}


def test_ranges_of_a_foreign_kind_are_read_by_runs_of_their_own(toys: Path, postgres_url: str) -> None:
    from prefect import flow
    from prefect.runtime import flow_run

    from flows.launch import InProcess, quiet_heartbeat
    from flows.pipeline import Batches, Progress, move, plan_ranges
    from flows.plans import How
    from tasks.planning import TableLoad, plan

    ref = load_sources(Path("sources.yaml")).table("box.cars")
    ranges = ref.connector.most_ranges(ref, first=True)

    @flow(name="spread")
    def spread() -> list[str]:
        (planned,) = plan([TableLoad("box.cars", "large", ranges)], spread=True)
        progress = Progress()
        move(InProcess(str(flow_run.id)), [plan_ranges(planned)], How(), progress, Batches())
        return progress.problems

    with quiet_heartbeat():
        assert spread() == []
    assert rows(postgres_url, "select count(*), count(distinct _batch_id) from bronze.box__cars") == [(100, 1)]
