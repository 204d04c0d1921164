"""The dashboard without a browser: every page on a filled and on an empty warehouse, filters, a company's own page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from monitoring.pages.catalogue import PAGES
from monitoring.pages.panels import FOLDER, read_folder, run
from tasks.database import connect
from tasks.settings import get_settings
from tests.history import fill

if TYPE_CHECKING:
    from streamlit.testing.v1 import AppTest

APP = Path(__file__).parents[3] / "monitoring/dashboard/app.py"
OWN = """/*
title: Rows by table
columns: {rows: count}
filters: {origin: select distinct source from monitoring.loads order by 1}
*/
select table_name, count(*) as rows from monitoring.loads
where loaded_at >= %(since)s and (%(origin)s::text is null or source = %(origin)s) group by 1 order by 1
"""


@pytest.fixture
def warehouse(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    import streamlit as st

    monkeypatch.setenv("WAREHOUSE_READER_URL", postgres_url)
    get_settings.cache_clear()
    st.cache_data.clear()
    yield postgres_url
    get_settings.cache_clear()


@pytest.fixture
def filled(warehouse: str) -> str:
    with connect(warehouse, autocommit=True) as connection:
        fill(connection, 30)
    return warehouse


def open_page(name: str = "", **query: str) -> AppTest:
    """Return the page after its first run, as a visitor of its address gets it."""
    from streamlit.testing.v1 import AppTest

    app = AppTest.from_string(f"""
import runpy
import streamlit as st
from monitoring.dashboard import show
real = st.navigation
def choose(groups):
    pages = [page for group in groups.values() for page in group]
    class Chosen:
        run = staticmethod(lambda: next(page for page in pages if page.url_path == {name!r} or not {name!r})._page())
    return Chosen()
st.navigation = choose
try:
    runpy.run_path({str(APP)!r})
finally:
    st.navigation = real
""", default_timeout=60)  # fmt: skip
    for key, value in query.items():
        app.query_params[key] = value
    return app.run()


@pytest.mark.parametrize("page", [page.name for page in PAGES if page.name != "today"])
def test_every_page_opens_on_a_warehouse_without_any_table(warehouse: str, page: str) -> None:
    app = open_page(page)
    assert not app.exception
    assert any("not exist" in item.value for item in app.info), "it says what is missing"


def test_today_tells_the_failed_source(filled: str) -> None:
    app = open_page()
    assert not app.exception
    assert app.title[0].value == "Today"
    said = " ".join(item.value for item in app.markdown)
    assert "**ads**" in said and "failed" in said


def test_a_filter_is_in_the_address_and_narrows_the_rows(filled: str) -> None:
    def tables(app: AppTest) -> int:
        return len(app.dataframe[-1].value)

    everything, one = open_page("throughput"), open_page("throughput", source="ads", days="30")
    assert (tables(everything), tables(one)) == (7, 3)
    assert [box.value for box in one.selectbox] == ["30", "ads", "all"]
    # The column shows what follows the last sign, and the address opens the table's page.
    assert "table?source=ads&table=meta_ads#ads.meta_ads" in list(one.dataframe[-1].value["table"])
    one.selectbox[1].set_value("shop").run()
    assert one.query_params["source"] == "shop" and tables(one) == 4


def test_an_address_cannot_carry_sql(filled: str) -> None:
    app = open_page("throughput", source="ads'; drop table monitoring.pipeline_log; --")
    assert not app.exception
    with connect(filled, autocommit=True) as connection:
        assert connection.execute("select count(*) > 0 from monitoring.pipeline_log").fetchone() == (True,)


def test_an_unreachable_warehouse_is_told(monkeypatch: pytest.MonkeyPatch, warehouse: str) -> None:
    monkeypatch.setenv("WAREHOUSE_READER_URL", "postgresql://nobody:secret@127.0.0.1:1/none")
    get_settings.cache_clear()
    app = open_page("throughput")
    assert not app.exception
    assert "cannot be reached" in app.info[0].value and "secret" not in app.info[0].value


def test_a_company_adds_a_page_by_one_file(filled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "our_rows.sql").write_text(OWN)
    monkeypatch.setenv("WAREHOUSE_PAGES", str(tmp_path))
    get_settings.cache_clear()
    app = open_page("our_rows", origin="ads")
    assert not app.exception
    assert app.title[0].value == "Our rows"
    assert list(app.dataframe[0].value["table_name"]) == ["google_ads", "meta_ads", "tiktok_ads"]


def test_a_wrong_page_of_a_company_is_told_with_its_place(
    filled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wrong.sql").write_text("/*\ntitle: X\ncolour: red\n*/ select 1")
    monkeypatch.setenv("WAREHOUSE_PAGES", str(tmp_path))
    get_settings.cache_clear()
    app = open_page()
    assert "wrong.sql" in app.error[0].value and "colour" in app.error[0].value


def test_every_panel_of_operations_is_sql_that_postgres_takes(filled: str) -> None:
    from datetime import UTC, datetime, timedelta

    now = datetime.now(UTC)
    asked = {"since": now - timedelta(days=14), "until": now, "source": "shop", "table": "orders"}
    with connect(filled, autocommit=True) as connection:
        results = [run(connection, panel, asked) for panel in read_folder(FOLDER)]
    problems = {f"{one.panel.page}/{one.panel.name}": one.problem for one in results if one.problem}
    assert {name: said for name, said in problems.items() if "not exist yet" not in said} == {}
