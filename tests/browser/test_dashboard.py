"""The dashboard in a real browser, served by its own command: pages, widths, dark, and whom the browser asks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from monitoring.pages.catalogue import PAGES, Page
from tasks.database import connect
from tests.browser.conftest import WIDTHS, Scheme, Seen
from tests.history import fill
from tests.served import dashboard

# Milliseconds that a page may take on a machine that is busy with other tests; the first one loads all of its scripts.
_DRAWN_WITHIN = 120_000


@pytest.fixture(scope="module")
def address(module_postgres_url: str) -> Iterator[str]:
    """A dashboard that reads a filled warehouse as the read-only role."""
    with connect(module_postgres_url, autocommit=True) as connection:
        fill(connection, 30)
    with dashboard(module_postgres_url, "browser_reader") as served:
        yield served


def ready(seen: Seen, title: str) -> None:
    """Wait until the page and all of its panels are drawn."""
    seen.page.get_by_role("heading", name=title, exact=True).first.wait_for(timeout=_DRAWN_WITHIN)
    seen.page.wait_for_function("!document.querySelector('[data-testid=stStatusWidget]')", timeout=_DRAWN_WITHIN)
    seen.page.wait_for_load_state("networkidle")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_it_fits_and_asks_nobody_else(address: str, look: Any, width: int, scheme: Scheme) -> None:
    seen = look(address, width, scheme)
    ready(seen, "Today")
    seen.page.locator("[data-testid=stVegaLiteChart] :is(canvas, svg)").first.wait_for(timeout=_DRAWN_WITHIN)
    seen.shot(f"dashboard-{width}-{scheme}", full=False)
    background = seen.page.locator("[data-testid=stApp]").evaluate("one => getComputedStyle(one).backgroundColor")
    assert (int(background.split("(")[1].split(",")[0]) < 128) == (scheme == "dark"), background
    assert seen.overflow() <= 0
    assert seen.errors == []
    assert seen.hosts == {address.removeprefix("http://")}


def test_an_address_opens_its_page_with_its_filters(address: str, look: Any) -> None:
    seen = look(f"{address}/throughput?source=ads&days=30")
    ready(seen, "Throughput")
    boxes = seen.page.locator("[data-testid=stSelectbox] input")
    boxes.nth(2).wait_for(timeout=_DRAWN_WITHIN)
    chosen = boxes.evaluate_all("all => all.map(one => one.value)")
    assert chosen == ["30", "ads", "all"]
    seen.shot("dashboard-throughput", full=False)


def test_a_filter_goes_into_the_address(address: str, look: Any) -> None:
    seen = look(f"{address}/throughput")
    ready(seen, "Throughput")
    seen.page.locator("[data-testid=stSelectbox]").filter(has_text="Source").locator("input").click()
    seen.page.get_by_role("option", name="shop").click()
    seen.page.wait_for_url("**/throughput?source=shop", timeout=_DRAWN_WITHIN)


def test_a_page_whose_mart_is_missing_says_so(address: str, look: Any) -> None:
    seen = look(f"{address}/cohorts")
    ready(seen, "Cohorts and lifetime value")
    assert seen.page.get_by_text("gold.rpt_customer_cohort does not exist yet").count() == 1
    # Of an address below the root, Streamlit's own script first tries whether the server lies there.
    assert [said for said in seen.errors if "404" not in said] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("page", [page for page in PAGES if page.group == "Operations"], ids=lambda page: page.name)
def test_axe_finds_nothing_wrong(address: str, look: Any, axe: str, page: Page, scheme: Scheme) -> None:
    seen = look(f"{address}/{'' if page is PAGES[0] else page.name}", scheme=scheme)
    ready(seen, page.title)
    seen.shot(f"page-{page.name}-{scheme}")
    # Streamlit's own list of pages has its groups between list and items.
    assert seen.axe(axe, but="[data-testid=stSidebarNavItems]") == []
