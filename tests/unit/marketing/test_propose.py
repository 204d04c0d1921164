"""`warehouse source new files`: what is proposed from a file reads that file, and what stands is never overwritten."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openpyxl
import pytest

from flows import cli
from flows.source_commands import add
from tasks.errors import ConfigError
from tasks.marketing.files.propose import propose
from tasks.settings import get_settings
from tasks.sources import load_sources

GOOGLE = (
    "Campaign report\n1 January 2026 - 2 January 2026\n"
    "Day\tCampaign ID\tCampaign\tCost\tImpr.\n"
    '2026-01-01\t0012\tBrand\t"1,234.56"\t"12,000"\n2026-01-02\t0012\tBrand\t0.10\t7\n'
    'Total\t\t --\t"1,234.66"\t"12,007"\n'
).encode("utf-16")
BOOKINGS = (
    "Kanzlei Müller;2026\r\n\r\nBelegdatum;Beleg-Nr;Konto;Betrag\r\n"
    "01.02.2026;7;4400;1.234,56\r\n31.12.2026;8;4400;-0,50\r\nSumme;;;1.234,06\r\nErstellt am 3.1.2027\r\n"
).encode("cp1252")


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (
            GOOGLE,
            {
                "skip_rows": 2,
                "totals": "drop",
                "thousands": ",",
                "key": ("Day",),
                "partition": "Day",
                "types": {"Day": "day", "Cost": "decimal", "Impr.": "int"},
            },
        ),
        (
            BOOKINGS,
            {
                "encoding": "cp1252",
                "skip_rows": 2,
                "totals": "drop",
                "skip_footer": 1,
                "decimal": ",",
                "thousands": ".",
                "date_format": "%d.%m.%Y",
                "key": ("Beleg-Nr",),
                "types": {"Belegdatum": "day", "Beleg-Nr": "int", "Konto": "int", "Betrag": "decimal"},
            },
        ),
        (b"id,name\n1,a\n2,b\n", {"key": ("id",), "types": {"id": "int"}}),
        (b"shop,id,id\nx,1,2\ny,1,3\n", {"duplicate_headers": "number", "key": ("id_2",)}),
    ],
)
def test_an_export_is_read_as_proposed(tmp_path: Path, content: bytes, wanted: dict[str, Any]) -> None:
    file = tmp_path / "report-2026-01-31.csv"
    file.write_bytes(content)
    proposal = propose(str(file), "ads")
    path = tmp_path / "sources.yaml"
    path.write_text(proposal.yaml)
    table: Any = load_sources(path).table("ads.report").table
    assert table.pattern == "report-*.csv"
    for name, value in wanted.items():
        assert getattr(table, name) == value, name
    assert "2 row(s) would land, 0 would be rejected" in proposal.lines
    assert len([line for line in proposal.lines if line.startswith("  ")]) == 2


def test_an_excel_file_is_proposed_with_its_preamble(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for row in (["Spend"], [], ["Tag", "Kampagne", "Kosten"], ["2026-01-01", "a", 1.5], ["2026-01-02", "a", 2]):
        book.active.append(row)
    book.save(tmp_path / "spend.xlsx")
    proposal = propose(str(tmp_path / "spend.xlsx"), "ads")
    assert "skip_rows: 2" in proposal.yaml and 'key: ["Tag"]' in proposal.yaml
    assert "2 row(s) would land, 0 would be rejected" in proposal.lines


def test_what_is_no_table_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear all\nnothing here\n")
    with pytest.raises(ConfigError, match="nothing in this file looks like a table"):
        propose(str(tmp_path / "letter.txt"), None)
    with pytest.raises(ConfigError, match=r"give one that ends in \.csv"):
        propose(str(tmp_path / "letter.docx"), None)


def test_the_command_adds_a_source_once_and_keeps_what_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WAREHOUSE_SOURCES", raising=False)
    get_settings.cache_clear()
    (tmp_path / "spend.csv").write_text("id,cost\n1,2.50\n")
    old = "{kind: files, path: x, tables: {t: {pattern: x, format: csv, key: [id]}}}"
    existing = f"# ours\nsources:\n  old: {old}\n"
    (tmp_path / "sources.yaml").write_text(existing)
    command = ["source", "new", "files", "spend.csv", "--name", "ads"]
    assert cli.invoke([*command, "--dry-run"]) == cli.DONE
    assert "cost: 2.50 (decimal)" in capsys.readouterr().out
    assert (tmp_path / "sources.yaml").read_text() == existing
    assert cli.invoke(command) == cli.DONE
    text = (tmp_path / "sources.yaml").read_text()
    assert text.startswith(existing)
    assert [ref.name for ref in load_sources(tmp_path / "sources.yaml").refs()] == ["old.t", "ads.spend"]
    assert cli.invoke(command) == cli.WRONG_USE
    assert (tmp_path / "sources.yaml").read_text() == text
    assert "there is a source 'ads' already" in capsys.readouterr().err


def test_a_file_with_more_below_its_sources_is_left_to_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "sources.yaml"
    path.write_text("sources: {old: {kind: files}}\n")
    with pytest.raises(ConfigError, match="cannot be added"):
        add(path, "ads", "sources:\n  ads:\n    kind: files\n")
    assert path.read_text() == "sources: {old: {kind: files}}\n"
