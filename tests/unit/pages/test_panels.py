"""Panels as files, and values as people read them."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from monitoring.pages import formats
from monitoring.pages.catalogue import PAGES, own_pages, report_pages
from monitoring.pages.panels import FOLDER, on_page, parse, read_folder
from tasks.dbt.project import SHIPPED
from tasks.errors import ConfigError

GOOD = "/*\ntitle: A\ncolumns: {n: money}\n*/\nselect %(since)s, %(region)s, '100 %%' as n\n"


def test_a_file_is_a_header_and_a_query() -> None:
    panel = parse(GOOD, "page", Path("folder/name.sql"))
    assert (panel.name, panel.header.title, panel.column("n").format) == ("name", "A", "money")
    assert panel.parameters == {"since", "region"}
    assert panel.sql.startswith("select") and panel.column("other_thing").title == "other thing"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("select 1", "no header"),
        ("/* title: [ */ select 1", "not YAML"),
        ("/*\ntitle: A\ncolour: red\n*/ select 1", "colour"),
        ("/*\ntitle: A\nkind: pie\n*/ select 1", "kind"),
        ("/*\ntitle: A\ncolumns: {n: euros}\n*/ select 1", "columns.n.format"),
        ("/* */ select 1", "title"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_with_its_place(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, "page", Path("folder/name.sql"))
    assert said in str(caught.value) and "folder/name.sql" in str(caught.value)


def test_a_file_is_a_page_and_a_folder_is_one_page(tmp_path: Path) -> None:
    (tmp_path / "our_returns.sql").write_text(GOOD)
    (tmp_path / "stores").mkdir()
    for name, order in (("b", 10), ("a", 20)):
        (tmp_path / "stores" / f"{name}.sql").write_text(GOOD.replace("title: A", f"title: A\norder: {order}"))
    panels = read_folder(tmp_path)
    assert [(panel.page, panel.name) for panel in panels] == [
        ("our_returns", "our_returns"),
        ("stores", "b"),
        ("stores", "a"),
    ]
    assert [page.title for page in own_pages(panels)] == ["Our returns", "Stores"]


def test_every_page_has_panels_and_every_panel_a_page() -> None:
    assert {panel.page for panel in read_folder(FOLDER)} == {page.name for page in PAGES}


def test_a_folder_that_is_missing_is_told() -> None:
    with pytest.raises(ConfigError, match="WAREHOUSE_PAGES"):
        read_folder(Path("/nowhere/at/all"))


@pytest.mark.parametrize(
    ("value", "form", "shown"),
    [
        (None, "money", "\N{EN DASH}"),
        (0, "money", "0.00"),
        (Decimal("1234567.891"), "money", "1,234,567.89"),
        (Decimal("0.1234"), "percent", "12.3 %"),
        (1_234_567, "count", "1,234,567"),
        (Decimal("3"), "count", "3"),
        (Decimal("3.5"), "count", "3.5"),
        (1536, "bytes", "1.5 KiB"),
        (2**50, "bytes", "1,024.0 TiB"),
        (59.94, "seconds", "59.9 s"),
        (3_725, "seconds", "1 h 2 min"),
        (timedelta(days=2, hours=3), "text", "2 d 3 h"),
        (timedelta(seconds=-5), "age", "-5 s"),
        (datetime(2026, 1, 2, 3, 4, tzinfo=UTC), "time", "2026-01-02 03:04 UTC"),
        (date(2026, 1, 2), "date", "2026-01-02"),
        (True, "text", "yes"),
        ([1, 2], "code", "1, 2"),
    ],
)
def test_values_as_people_read_them(value: Any, form: formats.Format, shown: str) -> None:
    assert formats.show(value, form) == shown


@given(st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-(10**15), max_value=10**15))
def test_money_is_shown_to_the_cent(value: Decimal) -> None:
    assert Decimal(formats.show(value, "money").replace(",", "")) == value


def test_each_page_over_gold_is_an_exposure_with_an_owner_that_names_its_marts() -> None:
    text = (SHIPPED / "packages/shop/models/gold/_exposures.yml").read_text()
    exposures = {one["name"]: one for one in YAML(typ="safe").load(text)["exposures"]}
    panels = read_folder(FOLDER)
    for page in (page for page in PAGES if page.group == "Sales and marketing"):
        files = [(FOLDER / page.name / f"{panel.name}.sql").read_text() for panel in panels if panel.page == page.name]
        marts = {name for file in files for name in re.findall(r"\bgold\.(\w+)", file)}
        exposure = exposures.pop(page.name)
        assert set(exposure["depends_on"]) == {f"ref('{mart}')" for mart in marts}, page.name
        assert (exposure["label"], exposure["description"]) == (page.title, page.question)
        assert exposure["owner"]["email"]
    assert exposures == {}


def test_no_two_panels_of_the_report_have_one_title() -> None:
    titles = [panel.header.title for page in report_pages() for panel in on_page(page.name)]
    assert sorted(set(titles)) == sorted(titles), "screen readers tell regions by their names"
