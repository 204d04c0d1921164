"""What the dashboard's pages take in a browser: from the navigation to the last change of what is drawn."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from monitoring.pages.catalogue import PAGES
from tests.served import dashboard

if TYPE_CHECKING:
    from playwright.sync_api import Page

_PATIENCE = 60.0
# Milliseconds without a change of the page after which nothing more is drawn.
_QUIET = 700
_WATCH = """
window.changed = 0;
new MutationObserver(() => { window.changed = performance.now(); })
    .observe(document, {childList: true, subtree: true, characterData: true});
"""
_DRAWN = f"""
() => document.querySelector('[data-test-script-state=notRunning]')
    && document.querySelector('[data-testid=stMain] h2')
    && !document.querySelector('[data-testid=stSkeleton]')
    && performance.now() - window.changed > {_QUIET} && window.changed
"""


def measure(url: str) -> dict[str, dict[str, float]]:
    """Open each page of operations; return its seconds in a new browser, and again from the menu of an open one.

    A new browser has nothing in its cache. Whether the server has cached the answers of the page is no matter of the
    browser: the first opening asks the warehouse, and the menu is used while the answers are kept.
    """
    from playwright.sync_api import sync_playwright

    binary = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if binary is None:
        print("pages in a browser: not measured, there is no chromium (apt-get install chromium)")
        return {}
    found: dict[str, dict[str, float]] = {"opened": {}, "by the menu": {}}
    with dashboard(url, "benchmark_reader") as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=binary, args=["--no-sandbox"])
        pages = [page for page in PAGES if page.group == PAGES[0].group]
        for page in pages:
            window = browser.new_context(viewport={"width": 1300, "height": 900}).new_page()
            window.add_init_script(_WATCH)
            window.goto(f"{address}/{'' if page is PAGES[0] else page.name}")
            found["opened"][page.name] = _drawn(window)
            other = pages[pages.index(page) - 1]
            if page is not PAGES[0]:
                window.get_by_role("link", name=other.title, exact=True).first.click()
                _drawn(window)
                begin = window.evaluate("performance.now()") / 1000
                window.get_by_role("link", name=page.title, exact=True).first.click()
                found["by the menu"][page.name] = _drawn(window, begin) - begin
            window.context.close()
        browser.close()
    for way, seconds in found.items():
        told = ", ".join(f"{name} {taken:.2f} s" for name, taken in sorted(seconds.items(), key=lambda one: -one[1]))
        print(f"pages in a browser, {way}: {told}", flush=True)
    return found


def _drawn(window: Page, after: float = 0.0) -> float:
    """Return the second, since the window was opened, in which the page changed last."""
    while True:
        handle = window.wait_for_function(_DRAWN, timeout=1000 * _PATIENCE, polling=50)
        seconds = float(handle.json_value()) / 1000
        if seconds > after:
            return seconds
