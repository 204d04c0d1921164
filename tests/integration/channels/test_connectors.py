"""A connector of somebody else through all of the product: run, failure, verify and report."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tasks.settings import get_settings
from tests.command import rows, run

pytestmark = pytest.mark.slow

TOY = Path(__file__).parents[2] / "toy_connector" / "toy.py"
TOKEN = "token-of-the-toy"


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres_url: str, prefect_server: str) -> Iterator[Path]:
    """A folder with a source that the toy connector reads; what it serves stands in the file that is given."""
    monkeypatch.chdir(tmp_path)
    for name, value in {"URL": postgres_url, "HOME": "home", "SOURCES": "sources.yaml"}.items():
        monkeypatch.setenv(f"WAREHOUSE_{name}", value)
    monkeypatch.setenv("TOY_TOKEN", TOKEN)
    file = tmp_path / "script.json"
    source = {
        "kind": "airbyte",
        "program": [sys.executable, str(TOY)],
        "account": "accounts",
        "config": {"script": str(file), "token": "${TOY_TOKEN}", "accounts": ["one", "two"]},
        "tables": {"spend": {"mode": "full"}, "news": {"mode": "incremental", "stream": "spend"}},
    }
    Path("sources.yaml").write_text(json.dumps({"sources": {"ads": source}}))
    get_settings.cache_clear()
    yield file
    get_settings.cache_clear()


def serve(file: Path, rows: dict[str, list[str]], **faults: Any) -> None:
    made = {
        name: [{"id": number, "day": "2026-11-23", "cost": cost} for number, cost in enumerate(costs)]
        for name, costs in rows.items()
    }
    file.write_text(json.dumps({"rows": made, "faults": faults}))


def test_a_connector_is_run_replaced_only_when_whole_verified_and_reported(
    script: Path, postgres_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    costs = "select account_id, id, cost from bronze.ads__{} where _deleted_at is null order by 1, 2"
    serve(script, {"one": ["0.10", "19.990"], "two": ["9007199254740993"]})
    assert run("run", "--no-models") == 0
    first = [("one", 0, Decimal("0.10")), ("one", 1, Decimal("19.990")), ("two", 0, Decimal("9007199254740993"))]
    assert rows(postgres_url, costs.format("spend")) == rows(postgres_url, costs.format("news")) == first

    serve(script, {"one": ["0.20"], "two": ["5", "6"]}, two={"how": "exit", "after": 1})
    assert run("run", "ads.spend", "--no-models") == 1
    said = capsys.readouterr()
    assert "two: the connector ended with 3" in said.out + said.err
    assert TOKEN not in said.out + said.err
    assert rows(postgres_url, costs.format("spend")) == [("one", 0, Decimal("0.20")), first[2]]
    held = "select string_agg(to_jsonb(l)::text, '') from monitoring.pipeline_log l"
    assert TOKEN not in rows(postgres_url, held)[0][0]

    serve(script, {"one": ["0.20", "1", "2.5"], "two": ["5", "6"]})
    assert run("run", "--no-models") == 0
    assert len(rows(postgres_url, costs.format("spend"))) == 5
    # New are the third row of one and the second of two; what the state has passed is not asked for again.
    assert rows(postgres_url, costs.format("news"))[0] == first[0]
    assert len(rows(postgres_url, costs.format("news"))) == 5
    assert run("verify", "ads.spend") == 0
    assert run("report", "--to", "report.html") == 0
    assert "ads.spend" in Path("report.html").read_text()
    assert run("check", "ads") == 0
    assert "account one: the connector can read it" in capsys.readouterr().out
    assert run("connectors", "discover", "ads") == 0
    assert "id, day, cost" in capsys.readouterr().out
