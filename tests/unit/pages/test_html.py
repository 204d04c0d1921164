"""The HTML report from rows alone: nothing hostile gets through, nothing calls out, every mark tells its values."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest

from monitoring import report
from monitoring.pages import charts, html
from monitoring.pages.catalogue import report_pages
from monitoring.pages.formats import NUMERIC
from monitoring.pages.panels import MOST_ROWS, Panel, Result, on_page
from tests.history import HOSTILE, log_rows

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Checker(HTMLParser):
    """Fails on a tag that is not closed; keeps tags, ids and text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"{tag} closes {self.open[-3:]}"
        self.open.pop()


def panel(page: str, name: str) -> Panel:
    return next(item for item in on_page(page) if item.name == name)


def rows_by_day(days: int = 14) -> list[dict[str, Any]]:
    return [
        {
            "day": date(2026, 11, 10) + timedelta(days=number),
            "source": source,
            "rows_loaded": 100 * number + 1,
            "bytes_read": 5,
        }
        for number in range(days)
        for source in ("shop", "ads & <more>")
    ]


def built() -> report.RunReport:
    rows = log_rows(10, NOW)
    last = [row["flow_run_id"] for row in rows if row["stage"] == "pipeline"][-1]
    own = [row for row in rows if last in (row.get("flow_run_id"), row.get("parent_run_id"))]
    change = {"source": "shop", "table_name": "orders", "field": HOSTILE, "change": "new", "action": "column added"}
    return report.build(own, [], [change])


def page(results: list[Result] | None = None, links: html.Links | None = None) -> str:
    if results is None:
        results = [
            Result(panel("throughput", "rows_by_day"), rows_by_day()),
            Result(panel("failures", "latest"), [{"what": "ads.meta_ads", "kind": "network", "error": HOSTILE}]),
            Result(panel("today", "sources"), [{"source": "shop", "state": "failed", "tables": 4}]),
        ]
    return html.render(built(), results, links or html.Links(), NOW)


def test_it_is_whole_html_with_unique_ids() -> None:
    checker = Checker()
    checker.feed(page())
    assert checker.open == []
    ids = [attributes["id"] for _, attributes in checker.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))
    targets = [(attributes.get("href") or "")[1:] for tag, attributes in checker.tags if tag == "a"]
    assert targets and set(targets) <= set(ids)


def test_hostile_text_stays_text() -> None:
    made = page()
    assert "alert(" in made, "the text itself is shown"
    assert "<script" not in made and "<more>" not in made
    checker = Checker()
    checker.feed(made)
    handlers = [name for _, attributes in checker.tags for name in attributes if name.startswith("on")]
    assert handlers == []


def test_it_calls_nobody() -> None:
    made = page()
    assert set(re.findall(r"https?://[^\"'<> ]+", made)) == {"http://www.w3.org/2000/svg"}
    assert "default-src 'none'" in made and "script-src" not in made


def test_links_are_there_where_they_are_known() -> None:
    made = page(links=html.Links(run="https://prefect.example.com/runs/1", models="models.html"))
    assert 'href="https://prefect.example.com/runs/1"' in made and 'href="models.html"' in made
    assert "<code>docs/runbooks/classes/network.md</code>" in made, "without a documentation its path is told"


@pytest.mark.parametrize(
    ("docs", "address"),
    [
        ("https://docs.example.com/", "https://docs.example.com/docs/runbooks/{}.html"),
        ("file:///srv/dist/site", "file:///srv/dist/site/docs/runbooks/{}.html"),
        ("file:///srv/warehouse", "file:///srv/warehouse/docs/runbooks/{}.md"),
        ("https://git.example.com/w/blob/main", "https://git.example.com/w/blob/main/docs/runbooks/{}.md"),
    ],
)
def test_each_failure_links_to_its_runbook(docs: str, address: str) -> None:
    made = page(links=html.Links(docs=docs, dashboard="https://warehouse.example.com"))
    assert f'<a href="{address.format("classes/network")}">runbook</a>' in made
    index = "README" if docs.endswith(("main", "warehouse")) else "index"
    assert f'<a href="{address.format(index)}">Runbooks</a>' in made
    assert '<a href="https://warehouse.example.com">Live dashboard</a>' in made


def test_every_bar_tells_its_values() -> None:
    rows = rows_by_day()
    (wide, narrow) = re.findall(r"<svg.*?</svg>", page([Result(panel("throughput", "rows_by_day"), rows)]), re.S)
    for drawn in (wide, narrow):
        tree = ElementTree.fromstring(drawn)
        titles = [item.text for item in tree.iter("{http://www.w3.org/2000/svg}title")]
        for row in rows:
            assert any(row["source"] in str(title) and f"{row['rows_loaded']:,}" in str(title) for title in titles), row
        assert tree.attrib["role"] == "img" and tree.attrib["aria-label"] == "Rows loaded by source"
        assert "width" not in tree.attrib and "viewBox" in tree.attrib


def value(form: str) -> Any:
    return {"time": NOW, "date": NOW.date(), "state": "failed", "owner": "network"}.get(form, HOSTILE)


def test_a_page_with_more_rows_than_it_shows_stays_below_one_mebibyte() -> None:
    results = [Result(panel("throughput", "rows_by_day"), rows_by_day())]
    for one in (one for item in report_pages() for one in on_page(item.name) if one.header.chart is None):
        columns = one.header.columns.items()
        row = {name: 1_234_567 if item.format in NUMERIC else value(item.format) for name, item in columns}
        results.append(Result(one, [row] * MOST_ROWS, more=True))
    made = page(results)
    assert len(made.encode()) < 1 << 20
    assert made.count("There are more rows") == len([one for one in results if one.panel.header.kind == "table"])


def test_what_is_not_there_is_said() -> None:
    one, other = panel("freshness", "marts"), panel("anomalies", "list")
    made = page(
        [Result(one, problem="monitoring.freshness does not exist yet. `warehouse run` builds it."), Result(other)]
    )
    assert "monitoring.freshness does not exist yet. <code>warehouse run</code> builds it." in made
    assert other.header.empty in made


def test_states_are_told_by_a_word_and_not_by_colour_alone() -> None:
    assert '<span class="state failed">failed</span>' in page()


def test_without_a_run_or_a_warehouse_it_still_renders() -> None:
    made = html.render(None, [], now=NOW)
    assert "No run is known yet." in made and "was not reachable" in made


def test_a_chart_gives_the_report_and_the_dashboard_the_same_spec() -> None:
    item = panel("today", "days")
    assert item.header.chart is not None
    rows = [{"day": date(2026, 1, 2), "source": "shop", "state": "ok", "runs": Decimal(3), "failures": 0}]
    result = Result(item, rows)
    spec = charts.spec_for(result, charts.COLOURS)
    assert spec["encoding"]["color"]["scale"]["range"][0] == charts.COLOURS["$ok"]
    assert spec["data"]["values"] == [
        {"day": "2026-01-02", "source": "shop", "state": "ok", "runs": 3.0, "failures": 0}
    ]
    assert "var(--ok)" in charts.svg(result, 500)


def test_days_on_which_nothing_happened_keep_their_place() -> None:
    item = panel("failures", "by_day")
    rows = [{"day": date(2026, 11, 20), "kind": "network", "failures": 2}]
    asked = {"since": NOW - timedelta(days=14), "until": NOW}
    spec = charts.spec_for(Result(item, rows, parameters=asked), charts.COLOURS)
    days = spec["encoding"]["x"]["scale"]["domain"]
    assert (days[0], days[-1], len(days)) == ("2026-11-11", "2026-11-24", 14)


@pytest.mark.parametrize(
    "one", [one for page in report_pages() for one in on_page(page.name)], ids=lambda p: f"{p.page}-{p.name}"
)
def test_every_panel_says_what_it_answers(one: Panel) -> None:
    header = one.header
    assert header.question.endswith("?") and header.definition and header.needs
    assert (header.kind == "chart") == (header.chart is not None)
    known = {"since", "until", "source", "table"}
    assert one.parameters <= known, "a section of the report has no further filter"


def test_columns_that_say_nothing_are_left_out_and_long_tables_open_on_demand() -> None:
    rows = [
        {"relation": f"gold.mart_{n}", "state": "fresh", "because": None, "owner": "shop" if n == 19 else None}
        for n in range(20)
    ]
    made = page([Result(panel("freshness", "marts"), rows)])
    assert "because</th>" not in made and "owner</th>" in made
    shown, _, more = made.partition("<summary>8 more rows</summary>")
    assert shown.count("gold.mart_") == 12 and more.count("gold.mart_") == 8


def test_what_cannot_be_compared_is_neither_well_nor_wrong() -> None:
    rows = [{"line": "rows", "state": "unknown", "difference": None, "bronze_value": Decimal("451242.970")}]
    made = page([Result(panel("reconciliation", "lines"), rows)])
    assert '<span class="state none">unknown</span>' in made and ">451,242.97<" in made
