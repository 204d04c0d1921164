"""The report of a run and of the last days as one HTML file: no network, light and dark, readable on a phone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from monitoring import report
from monitoring.pages import charts, formats
from monitoring.pages.catalogue import report_pages
from monitoring.pages.panels import Column, Result, on_page, run
from monitoring.taxonomy import CLASSES, what_and_action

if TYPE_CHECKING:
    import jinja2
    import psycopg

DAYS = 14
"""How far back the report looks."""
_TEMPLATES = Path(__file__).parent / "templates"
# An SVG that is scaled to a phone's width has labels that nobody can read, so each chart is drawn twice.
_WIDE, _NARROW = 860, 330
# The figures beside a chart, for those who cannot see it, and rows of a table: more is the dashboard's.
_ROWS = 50
# So many are read at a glance; the rest is there for those who open it.
_OPEN = 12
_GOOD = frozenset({"ok", "completed", "fresh", "pass", "equal", "about", "agrees"})
_NEUTRAL = frozenset({"unknown", "none", "learning"})
_BAD = frozenset({"failed", "crashed", "missing", "stale", "error", "runtime error", "different", "differs"})


@dataclass(frozen=True)
class Links:
    """Where the report points to; an empty one is left out.

    Attributes:
        run: The run at Prefect.
        models: The documentation of silver and gold.
        docs: The documentation: a folder of HTML pages (`make site`), or of the Markdown that they are made of.
        dashboard: The live dashboard.
    """

    run: str = ""
    models: str = ""
    docs: str = ""
    dashboard: str = ""

    def page(self, path: str) -> str:
        """Return the address of a page of the documentation by its path in the repository, empty without one."""
        if not self.docs:
            return ""
        # A checkout and a code host show the Markdown itself.
        written = "/blob/" in self.docs or (self.docs.startswith("file:") and not self.docs.endswith("/dist/site"))
        name = path if written else path.replace("README.md", "index.md").removesuffix(".md") + ".html"
        return f"{self.docs.rstrip('/')}/{name}"

    def named(self) -> list[tuple[str, str]]:
        """Return title and address of those that there are."""
        pairs = (
            ("Run at Prefect", self.run),
            ("Live dashboard", self.dashboard),
            ("Models and lineage", self.models),
            ("Runbooks", self.page("docs/runbooks/README.md")),
        )
        return [pair for pair in pairs if pair[1]]


@dataclass(frozen=True)
class Table:
    """Rows for people: titles, and cells with their format.

    Attributes:
        label: What the table holds, for screen readers.
        columns: How each column is shown, by the key in the rows.
        rows: The rows.
        more: Whether there are more rows than these.
    """

    label: str
    columns: Mapping[str, Column]
    rows: Sequence[Mapping[str, Any]]
    more: bool = False


def recent(connection: psycopg.Connection[Any], now: datetime | None = None) -> list[Result]:
    """Return the answers of every panel of the report, over the last days.

    Args:
        connection: A connection in autocommit.
        now: End of the period; default is the clock.
    """
    until = now or datetime.now(UTC)
    parameters = {"since": until - timedelta(days=DAYS), "until": until}
    return [run(connection, panel, parameters) for page in report_pages() for panel in on_page(page.name)]


def render(
    found: report.RunReport | None, results: Sequence[Result], links: Links = Links(), now: datetime | None = None
) -> str:
    """Return the page.

    Args:
        found: The report of one run; None when no run is known.
        results: Answers of the panels of the last days; none when the warehouse is not reachable.
        links: Where to read more.
        now: When the page is made; default is the clock.
    """
    pages = [(page, [result for result in results if result.panel.page == page.name]) for page in report_pages()]
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            found=found,
            run=_run_tables(found, links) if found else [],
            days=DAYS,
            pages=[pair for pair in pages if pair[1]],
            links=links,
            made=now or datetime.now(UTC),
            style=Markup((_TEMPLATES / "style.css").read_text(encoding="utf-8")),  # noqa: S704 - our own file
        )
    )


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    made.filters |= {"show": formats.show, "code": _code, "chart": _chart, "as_table": as_table, "cell": _cell}
    made.globals |= {"numeric": formats.NUMERIC, "open": _OPEN}
    return made


def _code(text: str) -> Markup:
    """Return text of messages with what stands in backquotes as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped just before


def _cell(value: Any, column: Column) -> Markup:
    """Return one cell; states carry a mark and a word, so that colour is never all there is."""
    if column.format == "state" and value is not None:
        return Markup('<span class="state {}">{}</span>').format(_tone(str(value)), value)
    if column.format == "owner":
        kind = CLASSES.get(str(value))
        return escape(f"{kind.title}: {kind.who}" if kind else formats.show(value))
    if column.format == "link" and value:
        return Markup('<a href="{}">{}</a>').format(value, column.title)
    shown = formats.show(value, column.format)
    return Markup("<code>{}</code>").format(shown) if column.format == "code" and value is not None else _code(shown)


def _tone(state: str) -> str:
    """Return the class of a state: its colour and mark."""
    low = state.lower()
    if low in _NEUTRAL:
        return "none"
    return "ok" if low in _GOOD else "failed" if low in _BAD else "late"


def as_table(result: Result) -> Table:
    """Return a panel's answer as a table."""
    rows = result.rows[:_ROWS]
    # Not the page's own title: regions of a page must have names of their own.
    label = f"{result.panel.header.title}, table"
    return Table(
        *(label, {name: result.panel.column(name) for name in _filled(rows)}, rows),
        result.more or len(rows) < len(result.rows),
    )


def _filled(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the columns in which any row says something."""
    return [name for name in (rows[0] if rows else ()) if any(row[name] not in (None, "") for row in rows)]


def _chart(result: Result) -> Markup:
    """Return a panel's chart, drawn for a wide page and for a phone; a style shows one of them."""
    drawn = [
        f'<div class="{name}">{charts.svg(result, width)}</div>'
        for name, width in (("wide", _WIDE), ("narrow", _NARROW))
    ]
    return Markup("".join(drawn))  # noqa: S704 - the renderer escapes what comes from rows


def _run_tables(found: report.RunReport, links: Links) -> list[tuple[str, Table]]:
    """Return the tables of one run, each with its title."""
    tables = [
        ("Failures", _failures(found, links)),
        ("Tables", _tables(found)),
        ("Schema changes", _schema_changes(found)),
        ("Slowest models and tests", _models(found)),
    ]
    return [(title, table) for title, table in tables if table.rows]


def _failures(found: report.RunReport, links: Links) -> Table:
    rows = [
        {
            "what": item.name,
            "stage": item.stage,
            "kind": CLASSES[item.error_class].title,
            "who": item.who,
            "first": item.action,
            "error": what_and_action(item.message)[0],
            "runbook": links.page(item.runbook) or item.runbook,
        }
        for item in found.failures[:_ROWS]
    ]
    titles = {"who": "who acts", "first": "what to do first", "error": "first error line"}
    columns = {name: Column(title=titles.get(name, name)) for name in ("what", "stage", "kind", "who", "first")}
    columns["error"] = Column(title=titles["error"], format="code")
    columns["runbook"] = Column(title="runbook", format="link" if links.docs else "code")
    return Table("Failures of the run", columns, rows, len(found.failures) > _ROWS)


def _tables(found: report.RunReport) -> Table:
    rows = report.table_cells(found)
    # What no table had takes the room of what some had.
    named = [name for name in _filled(rows) if name == "read" or any(row[name] for row in rows)]
    forms: dict[str, formats.Format] = {"table": "text", "state": "state", "seconds": "number", "change": "text"}
    return Table(
        "Tables of the run",
        {name: Column(title=name, format=forms.get(name, "count")) for name in named},
        rows[:_ROWS],
        len(rows) > _ROWS,
    )


def _schema_changes(found: report.RunReport) -> Table:
    titles = {
        "table": "table",
        "field": "field",
        "change": "change",
        "old_type": "from",
        "new_type": "to",
        "action": "done about it",
    }
    rows = [{**row, "table": f"{row.get('source')}.{row.get('table_name')}"} for row in found.schema_changes]
    shown = [{name: row.get(name) for name in titles} for row in rows[:_ROWS]]
    return Table(
        "Schema changes of the run",
        {name: Column(title=title) for name, title in titles.items()},
        shown,
        len(rows) > _ROWS,
    )


def _models(found: report.RunReport) -> Table:
    rows = [{"node": name, "seconds": seconds} for name, seconds in found.slowest_models]
    return Table(
        "Slowest nodes of the run",
        {"node": Column(title="node"), "seconds": Column(title="time", format="seconds")},
        rows,
    )
