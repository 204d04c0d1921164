"""The report in a real browser: every section at three widths, in light and dark, by eye of axe and by keyboard."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from monitoring import log, report
from monitoring.pages import html
from tests.browser.conftest import WIDTHS, Scheme
from tests.history import HOSTILE, fill


@pytest.fixture(scope="module")
def address(module_postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report of a month with failures, drift and rejects, as a file."""
    from tasks.database import connect

    with connect(module_postgres_url, autocommit=True) as connection:
        until = fill(connection, 30, datetime.now(UTC))
        run_id = log.latest_run(connection)
        assert run_id is not None
        found = report.build(log.read_run(connection, run_id))
        results = html.recent(connection, until)
    broken = {one.panel.name: one.problem for one in results if one.problem and "not exist" not in one.problem}
    assert broken == {}
    path = Path(tmp_path_factory.mktemp("report")) / "report.html"
    path.write_text(html.render(found, results))
    return path.as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wrong_at_any_width(address: str, look: Any, axe: str, width: int, scheme: Scheme) -> None:
    seen = look(address, width, scheme)
    seen.shot(f"report-{width}-{scheme}")
    assert seen.overflow() <= 0
    assert seen.axe(axe) == []
    assert seen.errors == []
    assert seen.hosts <= {""}, "a file has no host: it asked somebody"


def test_the_contrast_check_can_fail(address: str, look: Any, axe: str) -> None:
    seen = look(address)
    seen.page.add_style_tag(content=".question { color: #ddd !important }")
    assert [line for line in seen.axe(axe) if line.startswith("color-contrast")]


def test_what_a_source_said_is_text(address: str, look: Any) -> None:
    seen = look(address)
    assert seen.page.get_by_text("alert('x')").count() > 0 and "<script>" in HOSTILE
    assert seen.page.locator("script").count() == 0


def test_the_keyboard_reaches_the_content_and_each_wide_table(address: str, look: Any) -> None:
    seen = look(address)
    seen.page.keyboard.press("Tab")
    assert seen.page.evaluate("document.activeElement.className") == "skip"
    assert seen.page.locator(".scroll:not([tabindex])").count() == 0
    summary = seen.page.locator("summary").first
    summary.focus()
    seen.page.keyboard.press("Enter")
    assert seen.page.locator("details[open] table:visible").count() == 1


def test_a_phone_shows_cards_and_the_narrow_charts(address: str, look: Any) -> None:
    seen = look(address, 390)
    assert seen.page.locator("main svg:visible").count() == seen.page.locator(".narrow svg").count() > 0
    cell = seen.page.locator("td:visible").first
    assert cell.evaluate("cell => getComputedStyle(cell).display") == "flex"
    smallest = seen.page.evaluate(
        "Math.min(...[...document.querySelectorAll('.narrow svg text')].filter(t => t.textContent)"
        ".map(t => t.getBoundingClientRect().height).filter(h => h > 0))"
    )
    assert smallest >= 9, "labels that are scaled down cannot be read"
