"""Files through the landing into bronze on a real Postgres: restated days, typed values, rescues and rejects."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest
from pydantic import SecretStr

from infra.sample import Size, ad_spend, write_ad_spend
from tasks.bronze.pending import load_pending
from tasks.bronze.verify import verify_table
from tasks.extract import ExtractContext, extract_table
from tasks.landing import Landing
from tasks.marketing.files import parts
from tasks.marketing.files.records import csv_records
from tasks.settings import Settings
from tasks.sources import TableRef, load_sources


class Table:
    """One files table with its landing and warehouse, extracted and loaded step by step."""

    def __init__(self, url: str, home: Path, **table: Any) -> None:
        self.files = home / "files"
        self.files.mkdir()
        self.settings = Settings(url=SecretStr(url), home=home)
        source = {"kind": "files", "path": str(self.files), "tables": {"spend": {"format": "csv", **table}}}
        path = home / "sources.yaml"
        path.write_text(json.dumps({"sources": {"ads": source}}))
        self.ref: TableRef = load_sources(path).table("ads.spend")
        self.state: dict[str, Any] = {}

    def step(self) -> None:
        landing = Landing.open(self.settings.landing_root())
        result = extract_table(self.ref, ExtractContext(landing, state=self.state))
        load_pending(self.ref, self.settings)
        if result.manifest:
            self.state = result.manifest.checkpoint

    def rows(self, what: str, more: str = "") -> list[tuple[Any, ...]]:
        with psycopg.connect(self.settings.database_url()) as connection:
            query = f"select {what} from bronze.ads__spend where _deleted_at is null {more} order by 1"
            return connection.execute(query).fetchall()


SPEND: dict[str, Any] = {
    "pattern": "**/*.csv",
    "key": ["day", "campaign"],
    "partition": "day",
    "types": {"day": "day", "clicks": "int", "spend": "decimal"},
}


@pytest.fixture
def table(postgres_url: str, tmp_path: Path) -> Table:
    return Table(postgres_url, tmp_path, **SPEND)


def test_restated_days_replace_what_was_there(table: Table) -> None:
    (table.files / "1.csv").write_text("day,campaign,clicks,spend\n2026-01-01,a,1,1.10\n2026-01-01,b,2,2.20\n")
    (table.files / "2.csv").write_text("day,campaign,clicks,spend\n2026-01-02,a,3,3.30\n2026-01-02,b,4,4.40\n")
    table.step()
    assert table.rows("sum(spend), count(*)") == [(Decimal("11.00"), 4)]
    # The platform takes campaign b back and corrects a; the other day is not touched.
    (table.files / "2.csv").write_text("day,campaign,clicks,spend\n2026-01-02,a,3,3.35\n")
    table.step()
    assert table.rows("day, campaign, spend") == [
        (date(2026, 1, 1), "a", Decimal("1.10")),
        (date(2026, 1, 1), "b", Decimal("2.20")),
        (date(2026, 1, 2), "a", Decimal("3.35")),
    ]


def test_values_that_do_not_fit_are_rescued_and_bad_lines_kept(table: Table) -> None:
    (table.files / "1.csv").write_bytes(
        b"day,campaign,clicks,spend\n2026-01-01,a,1,1.10\n2026-01-01,b,n/a,12.3456789012345678901\n2026-01-01,c\n\xff,d,1,1\n"
    )
    table.step()
    assert table.rows("campaign, clicks, spend, _rescued") == [
        ("a", 1, Decimal("1.10"), None),
        ("b", None, Decimal("12.3456789012345678901"), {"clicks": "n/a"}),
    ]
    with psycopg.connect(table.settings.database_url()) as connection:
        rejects = connection.execute("select bytes, reason from ops.rejects order by id").fetchall()
    assert [bytes(raw) for raw, _ in rejects] == [b"2026-01-01,c", b"\xff,d,1,1"]
    assert "2 fields where the header has 4" in rejects[0][1]


def test_a_second_run_without_changes_loads_nothing(table: Table) -> None:
    (table.files / "1.csv").write_text("day,campaign,clicks,spend\n2026-01-01,a,1,1.10\n")
    table.step()
    before = table.rows("_loaded_at")
    table.step()
    assert table.rows("_loaded_at") == before


def test_of_a_key_in_several_files_of_one_batch_the_last_ones_elements_are_loaded(
    postgres_url: str, tmp_path: Path
) -> None:
    lines = {"format": "jsonl", "pattern": "*.jsonl", "key": ["k"], "arrays": {"items": "table"}}
    table = Table(postgres_url, tmp_path, **lines)
    (table.files / "1.jsonl").write_text('{"k": "a", "v": 1, "items": [{"n": 1}, {"n": 2}]}\n')
    (table.files / "2.jsonl").write_text('{"k": "a", "v": 2, "items": [{"n": 3}]}\n')
    table.step()
    with psycopg.connect(table.settings.database_url()) as connection:
        assert connection.execute("select n from bronze.ads__spend__items order by _id").fetchall() == [(3,)]


def test_verify_compares_the_last_row_of_a_key_that_is_in_several_files(postgres_url: str, tmp_path: Path) -> None:
    lines = {"format": "jsonl", "pattern": "*.jsonl", "key": ["k"], "arrays": {"items": "table"}}
    table = Table(postgres_url, tmp_path, **lines)
    (table.files / "1.jsonl").write_text('{"k": "a", "v": 1, "items": [{"n": 1}, {"n": 2}]}\n{"k": "b", "v": 1}\n')
    table.step()
    (table.files / "2.jsonl").write_text('{"k": "a", "v": 2, "items": [{"n": 3}]}\n{"k": "c", "v": 2}\n')
    table.step()
    found = verify_table(table.ref, table.settings)
    assert (found.differences, found.source_rows, found.bronze_rows) == ([], 3, 3)
    assert found.note.startswith("read by the readers of files, as loading reads")
    with psycopg.connect(table.settings.database_url()) as connection:
        connection.execute("update bronze.ads__spend set v = 7 where _id = 'a'")
    assert [one.id for one in verify_table(table.ref, table.settings).differences] == ["a"]


def test_verify_counts_rows_by_another_reader_and_tells_refused_files(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    (table.files / "1.csv").write_bytes(b"day,campaign,clicks,spend\r2026-01-01,a,1,1.10\r2026-01-01,b,1,1.10\r")
    table.step()
    found = verify_table(table.ref, table.settings)
    assert (found.equal, found.recounted, found.source_rows) == (True, True, 2)
    (table.files / "2.csv").write_text("day;campaign;clicks;spend of all\n")
    (table.files / "3.csv").write_text("no,key\n1,2\n")
    assert verify_table(table.ref, table.settings).missing == ["3.csv was refused"]
    (table.files / "3.csv").unlink()
    # A reader that loses rows, as one did that took a carriage return for text.
    monkeypatch.setattr(
        parts, "csv_records", lambda chunks, key, layout: itertools.islice(csv_records(chunks, key, layout), 1)
    )
    assert verify_table(table.ref, table.settings).missing == [
        "another reader counts 2 row(s) at the source, 1 were read"
    ]


def test_a_column_that_appears_later_is_added(table: Table) -> None:
    (table.files / "1.csv").write_text("day,campaign,clicks,spend\n2026-01-01,a,1,1.10\n")
    table.step()
    (table.files / "2.csv").write_text("day,campaign,clicks,spend,reach\n2026-01-02,a,1,1.10,77\n")
    table.step()
    assert table.rows("day, reach") == [(date(2026, 1, 1), None), (date(2026, 1, 2), "77")]


def test_days_are_replaced_in_the_column_of_times_too_that_stands_beside_theirs(
    postgres_url: str, tmp_path: Path
) -> None:
    table = Table(postgres_url, tmp_path, format="parquet", pattern="*.parquet", key=["campaign"], partition="on")

    def write(file: str, rows: dict[str, date]) -> None:
        pl.DataFrame({"campaign": list(rows), "on": list(rows.values())}).write_parquet(table.files / file)

    first, second, noon = date(2026, 1, 1), date(2026, 1, 2), datetime(2026, 1, 3, 12, tzinfo=UTC)
    write("1.parquet", {"a": first})
    write("2.parquet", {"b": second, "c": second})
    table.step()
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("create materialized view above as select * from bronze.ads__spend")
    write("3.parquet", {"d": noon, "e": noon})
    table.step()
    assert table.rows('campaign, "on", on__micros') == [
        ("a", first, None),
        ("b", second, None),
        ("c", second, None),
        ("d", None, noon),
        ("e", None, noon),
    ]
    write("2.parquet", {"c": second})
    write("3.parquet", {"e": noon})
    table.step()
    assert table.rows('campaign, "on", on__micros') == [("a", first, None), ("c", second, None), ("e", None, noon)]


def test_the_samples_spend_arrives_to_the_last_digit(postgres_url: str, tmp_path: Path) -> None:
    shop = Size(customers=300, days=60, end_date=datetime(2026, 3, 14, tzinfo=UTC)).shop()
    table = Table(
        postgres_url,
        tmp_path,
        pattern="linkedin_ads/*.csv",
        key=["date", "creative_id"],
        partition="date",
        types={"date": "day", "costInLocalCurrency": "decimal", "clicks": "int"},
    )
    write_ad_spend(table.files, ad_spend(shop))
    table.step()
    expected = [row for row in ad_spend(shop) if row.campaign.platform == "linkedin_ads"]
    found = table.rows('count(*), sum("costInLocalCurrency"), sum(clicks)')
    assert found == [(len(expected), sum(row.spend for row in expected), sum(row.clicks for row in expected))]
