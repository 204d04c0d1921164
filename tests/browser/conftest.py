"""A real Chromium, and axe for contrast and roles; both are skipped with a reason where they are not installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# Exact, so that a new rule of axe does not turn a build red by itself.
_AXE = "axe-core@4.10.3"
WIDTHS = (390, 768, 1300)
Scheme = Literal["light", "dark"]


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script of axe-core, from the npm registry."""
    if shutil.which("npm") is None:
        pytest.skip("no npm: axe-core cannot be installed")
    folder = tmp_path_factory.mktemp("axe")
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), _AXE]
    subprocess.run(command, check=True, timeout=120)
    return (folder / "node_modules/axe-core/axe.min.js").read_text()


# Closed after each file: while it is open this thread has an event loop, in which Prefect's calls are never awaited.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, or the one that CHROMIUM names."""
    from playwright.sync_api import sync_playwright

    binary = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if binary is None:
        pytest.skip("no chromium: apt-get install chromium, or set CHROMIUM to its path")
    with sync_playwright() as playwright:
        # Without a sandbox of its own, which containers do not allow; it opens nothing but our pages.
        browser = playwright.chromium.launch(executable_path=binary, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Seen:
    """An open page and what its console and network said."""

    page: Page
    errors: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def overflow(self) -> int:
        """Pixels by which the page is wider than the window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth"))

    def axe(self, script: str, but: str = "#nothing") -> list[str]:
        """Return what axe finds wrong outside of what a selector names, one line for each rule with its first place."""
        self.page.evaluate(script)
        found: dict[str, Any] = self.page.evaluate("but => axe.run({exclude: [[but]]})", but)
        return [f"{one['id']}: {one['help']}: {one['nodes'][0]['html'][:200]}" for one in found["violations"]]

    def shot(self, name: str, *, full: bool = True) -> None:
        """Keep a picture where WAREHOUSE_SHOTS names a folder."""
        folder = os.environ.get("WAREHOUSE_SHOTS")
        if folder:
            self.page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=full)


@pytest.fixture
def look(chromium: Browser) -> Iterator[Any]:
    """Return a function that opens an address at a width and colour scheme."""
    contexts = []

    def opened(address: str, width: int = 1300, scheme: Scheme = "light") -> Seen:
        # axe is put into the page by us, which the page's own policy forbids to everybody else.
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True)
        contexts.append(context)
        seen = Seen(context.new_page())
        seen.page.on("console", lambda said: seen.errors.append(said.text) if said.type == "error" else None)
        seen.page.on("pageerror", lambda error: seen.errors.append(str(error)))
        seen.page.on("request", lambda request: seen.hosts.add(request.url.split("/")[2]))
        seen.page.goto(address)
        return seen

    yield opened
    for context in contexts:
        context.close()
