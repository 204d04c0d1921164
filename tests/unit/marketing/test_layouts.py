"""Files as ad platforms and accountants export them: preambles, totals, decimal commas, old encodings, Excel, zip."""

from __future__ import annotations

import io
import zipfile
from datetime import date, datetime
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from tasks.errors import ConfigError
from tasks.marketing.files.recount import recount
from tasks.sources import load_sources
from tasks.sources.spelling import Spelling
from tests.unit.marketing.test_files import Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def landed(place: Place, **table: Any) -> list[dict[str, Any]]:
    """Return what lands, without columns of ours and without nulls; nothing may be rejected."""
    result = place.extract(**table)
    assert result.metrics.rows_rejected == 0, place.rejects(result.manifest)
    ref = load_sources(place._sources).table("ads.spend")
    assert recount(ref) in (None, result.metrics.rows_read)
    return [
        {name: value for name, value in row.items() if "|" in name and value is not None}
        for row in place.rows(result.manifest).to_dicts()
    ]


def test_a_google_ads_export_with_preamble_totals_and_utf_16(place: Place) -> None:
    text = (
        "Campaign report\n1 January 2026 - 2 January 2026\n"
        "Day\tCampaign\tCost\tImpr.\n"
        '2026-01-01\tBrand\t"1,234.56"\t"12,000"\n2026-01-02\tTotal recall\t0.10\t7\n'
        'Total: Account\t --\t"1,234.66"\t"12,007"\nTotal: Campaigns\t --\t"1,234.66"\t"12,007"\n'
    )
    place.write("a.csv", text.encode("utf-16"))
    table = {
        "key": ["Day", "Campaign"],
        "skip_rows": 2,
        "totals": ["Total: .*"],
        "thousands": ",",
        "types": {"Day": "day", "Cost": "decimal", "Impr.": "int"},
    }
    assert landed(place, **table) == [
        {"Day|day": date(2026, 1, 1), "Campaign|string": "Brand", "Cost|decimal": "1234.56", "Impr\\.|int": 12000},
        {"Day|day": date(2026, 1, 2), "Campaign|string": "Total recall", "Cost|decimal": "0.10", "Impr\\.|int": 7},
    ]
    assert place.extract(**table).warnings == ("left out, as sources.yaml wants it: 2 row(s) of totals",)


def test_an_accountants_export_with_decimal_commas_german_days_and_an_old_encoding(place: Place) -> None:
    text = (
        "Buchungen;Kanzlei Müller\r\n"
        "Belegdatum;Konto;Betrag;Steuer;Kurs\r\n"
        "01.02.2026;4400;1.234.567,89;-0,5;1.0850\r\n"
        "31.12.2026;Büro;12;,05;1.1\r\n"
        "Summe;;1.234.579,89;;\r\n\r\n"
        "Erstellt am 3.1.2027;;;;\r\n"
    )
    place.write("a.csv", text.encode("cp1252"))
    table = {
        "key": ["Belegdatum", "Konto"],
        "partition": "Belegdatum",
        "encoding": "windows-1252",
        "delimiter": ";",
        "skip_rows": 1,
        "skip_footer": 1,
        "totals": "drop",
        "decimal": ",",
        "thousands": ".",
        "date_format": "%d.%m.%Y",
        "columns": {"Kurs": {"decimal": "."}},
        "types": {"Belegdatum": "day", "Betrag": "decimal", "Steuer": "decimal", "Kurs": "decimal"},
    }
    first, second = landed(place, **table)
    assert first == {
        "Belegdatum|day": date(2026, 2, 1),
        "Konto|string": "4400",
        "Betrag|decimal": "1234567.89",
        "Steuer|decimal": "-0.5",
        "Kurs|decimal": "1.0850",
    }
    assert (second["Konto|string"], second["Betrag|decimal"], second["Steuer|decimal"]) == ("Büro", "12", "0.05")
    result = place.extract(**table)
    assert result.manifest is not None
    assert (result.manifest.scope.type, result.manifest.scope.from_) == ("partition", "2026-02-01")  # type: ignore[union-attr]
    assert place.rows(result.manifest)["_id"].to_list() == ['["2026-02-01","4400"]', '["2026-12-31","Büro"]']
    assert "1 row(s) of totals, 1 row(s) of the footer" in result.warnings[-1]


@pytest.mark.parametrize(
    "text", ["12.5", "1.23", "1.2345", "12.345.67", "1,2,3", "1.234,5 €", "(5,00)", "1e3", "", "abc"]
)
def test_what_is_spelt_in_another_way_is_never_read_as_a_number(text: str) -> None:
    assert Spelling(",", ".").plain(text, "decimal") is None


@pytest.mark.parametrize(
    ("spelling", "text", "number"),
    [
        (Spelling(",", "."), "1.234", "1234"),
        (Spelling(",", "."), "1234,5", "1234.5"),
        (Spelling(",", " "), "1\u202f234,50", "1234.50"),
        (Spelling(".", "'"), "-1\u2019234.50", "-1234.50"),
        (Spelling(",", None), "1,234", "1.234"),
    ],
)
def test_spellings_of_the_same_number(spelling: Spelling, text: str, number: str) -> None:
    assert spelling.plain(text, "decimal") == number


def test_a_number_that_is_spelt_otherwise_stays_text_for_people_to_see(place: Place) -> None:
    place.write("a.csv", "id;cost\n1;12.5\n2;12,5\n")
    assert landed(place, decimal=",", thousands=".", types={"cost": "decimal"}) == [
        {"id|string": "1", "cost|string": "12.5"},
        {"id|string": "2", "cost|decimal": "12.5"},
    ]


def test_columns_that_are_named_twice_or_not_at_all_are_numbered_where_it_is_wanted(place: Place) -> None:
    place.write("a.csv", "id,cost,cost,cost_2,\n1,a,b,c,d\n")
    refused = place.extract()
    assert "names a column twice: 'cost'" in place.rejects(refused.manifest)[0]["reason"]
    assert landed(place, duplicate_headers="number") == [
        {"id|string": "1", "cost|string": "a", "cost_3|string": "b", "cost_2|string": "c", "column_5|string": "d"}
    ]


def test_a_line_that_is_not_in_the_encoding_is_rejected_alone(place: Place) -> None:
    place.write("a.csv", b"id,v\n1,\xe4\n2,\x81\n")
    result = place.extract(encoding="cp1252")
    assert place.rows(result.manifest)["v|string"].to_list() == ["ä"]
    assert [row["reason"] for row in place.rejects(result.manifest)] == [
        "a.csv, line 3: not valid CP1252 at byte 3 of the line"
    ]


@pytest.mark.parametrize("encoding", ["utf-16-be", "shift_jis", "gb18030", "iso2022_jp", "utf-32", "cp500"])
def test_any_encoding_is_read(place: Place, encoding: str) -> None:
    text = "id,v\n1,x|y\n"
    place.write("a.csv", text.encode(encoding))
    assert landed(place, encoding=encoding) == [{"id|string": "1", "v|string": "x|y"}]


def zipped(**files: str | bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def test_members_of_a_zip_are_read_by_pattern(place: Place) -> None:
    content = {"deep/a.csv": "id,v\n1,a\n", "b.csv": "id,v\n2,b\n", "__MACOSX/b.csv": "no", "readme.txt": "no"}
    place.write("a.zip", zipped(**content))
    table = {"pattern": "*.zip", "members": "**/*.csv"}
    assert sorted(row["v|string"] for row in landed(place, **table)) == ["a", "b"]
    assert landed(place, pattern="*.zip", members="*.csv") == [{"id|string": "2", "v|string": "b"}]
    none = place.extract(pattern="*.zip", members="*.tsv")
    assert place.rejects(none.manifest)[0]["reason"] == "a.zip: no file in the zip matches *.tsv"


def test_a_damaged_zip_is_refused(place: Place) -> None:
    content = bytearray(zipped(**{"a.csv": "id,v\n1,a\n" * 50}))
    content[45] ^= 0xFF
    place.write("a.zip", bytes(content))
    assert place.extract(pattern="*.zip").refused == ("a.zip",)


EXCEL: dict[str, Any] = {"pattern": "*.xlsx", "format": "xlsx"}


def workbook(place: Place, *rows: list[Any], sheet: str = "Data", formats: dict[str, str] | None = None) -> None:
    book = openpyxl.Workbook()
    book.active.title = "Cover"
    target = book.create_sheet(sheet)
    for row in rows:
        target.append(row)
    for cell, shown in (formats or {}).items():
        target[cell].number_format = shown
    packed = io.BytesIO()
    book.save(packed)
    place.write("a.xlsx", packed.getvalue())


def test_an_excel_sheet_lands_with_its_own_types(place: Place) -> None:
    workbook(
        place,
        ["Report of January"],
        [],
        ["id", "day", "at", "cost", "tiny", "clicks", "zip", "on", None],
        ["a", date(2026, 1, 2), datetime(2026, 1, 2, 3, 4, 5), 0.1, 1.5e-10, 123456789012345, "01067", True],
        ["b", date(2026, 1, 3), datetime(2026, 1, 3), 12, None, 7, "10115", False],
        ["Gesamtsumme", None, None, 12.1],
    )
    table = {**EXCEL, "sheet": "Data", "skip_rows": 2, "totals": "drop", "partition": "day"}
    table["types"] = {"day": "day", "at": "micros", "cost": "decimal"}
    first, second = landed(place, **table)
    assert (first["day|day"], second["day|day"]) == (date(2026, 1, 2), date(2026, 1, 3))
    assert second["at|micros"].isoformat() == "2026-01-03T00:00:00+00:00"
    assert (first["cost|decimal"], second["cost|decimal"]) == ("0.1", "12")
    assert (first["tiny|decimal"], first["clicks|int"]) == ("1.5E-10", 123456789012345)
    assert (first["zip|string"], first["on|bool"], second["on|bool"]) == ("01067", True, False)
    assert _partition(place, table) == ("2026-01-02", "2026-01-03")


def _partition(place: Place, table: dict[str, Any]) -> tuple[str, str]:
    manifest = place.extract(**table).manifest
    assert manifest is not None
    return manifest.scope.from_, manifest.scope.to  # type: ignore[union-attr]


def test_a_formula_that_was_never_computed_is_rejected_and_not_taken_for_nothing(place: Place) -> None:
    workbook(place, ["id", "cost"], ["a", 1], ["b", "=1+1"])
    result = place.extract(**EXCEL, sheet="Data")
    assert place.rows(result.manifest)["_id"].to_list() == ["a"]
    assert "B3 is a formula without a value" in place.rejects(result.manifest)[0]["reason"]


def test_files_that_are_no_excel_and_sheets_that_are_not_there_say_so(place: Place) -> None:
    place.write("b.xlsx", "id,cost\n1,2\n")
    workbook(place, ["id"], ["a"])
    reasons = sorted(row["reason"] for row in place.rejects(place.extract(**EXCEL, sheet="Spend").manifest))
    assert reasons[0] == "a.xlsx: no sheet is called 'Spend'; there is: Cover, Data"
    assert reasons[1].startswith("b.xlsx: not a readable Excel file (.xlsx)")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"decimal": ",", "thousands": ","}, "decimal and thousands are both ','"),
        ({"encoding": "latin-99"}, "'latin-99' is no encoding of text"),
        ({"totals": ["("]}, "not a regular expression"),
        ({"date_format": "DD.MM.YYYY"}, "must say what stands where, such as %d.%m.%Y"),
        ({"columns": {"cost": {"decimal": ","}}}, "cost without a type"),
        ({"sheet": "A"}, "sheet is not for format csv"),
        ({"format": "jsonl", "skip_rows": 1}, "skip_rows is not for format jsonl"),
        ({"delimiter": ";;"}, "at most 1 character"),
    ],
)
def test_layouts_that_make_no_sense_are_mistakes(place: Place, table: dict[str, Any], said: str) -> None:
    place.write("a.csv", "id\n1\n")
    with pytest.raises(ConfigError, match=said):
        place.extract(**table)
