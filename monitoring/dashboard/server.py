"""Starts Streamlit for `warehouse dashboard`, in place of this process, so that signals and exit code are its own."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import NoReturn

from monitoring import reader
from tasks.errors import ConfigError
from tasks.settings import PREFIX, Settings

_APP = Path(__file__).with_name("app.py")
# No statistics are sent from readers' browsers, nothing is asked at the first start, and no file is watched.
_OPTIONS = {
    "browser.gatherUsageStats": "false",
    "server.headless": "true",
    "server.fileWatcherType": "none",
    "server.enableStaticServing": "false",
    "client.toolbarMode": "minimal",
    "client.showErrorDetails": "none",
    # Second-level headings stand over each panel: of the usual size they would outshout the figures.
    "theme.light.headingFontSizes": '["2.5rem", "1.5rem"]',
    "theme.dark.headingFontSizes": '["2.5rem", "1.5rem"]',
}


def command(host: str, port: int) -> list[str]:
    """Return the command line of the server."""
    options = {**_OPTIONS, "server.address": host, "server.port": str(port)}
    flags = [f"--{name}={value}" for name, value in options.items()]
    return [sys.executable, "-m", "streamlit", "run", str(_APP), *flags]


def serve(settings: Settings, host: str, port: int) -> NoReturn:
    """Become the dashboard's server.

    Raises:
        ConfigError: Streamlit is not installed, or no read-only role is configured.
    """
    if importlib.util.find_spec("streamlit") is None:
        action = "`make dashboard` in a checkout; elsewhere install the package with its extra `dashboard`"
        raise ConfigError("the dashboard needs Streamlit, which is not installed", "", action)
    # The server knows the reader's URL and no other: what it does not have, no page can leak.
    environment = {name: value for name, value in os.environ.items() if name != f"{PREFIX}URL"}
    environment[f"{PREFIX}READER_URL"] = reader.url_for(settings)
    root = str(Path(__file__).parents[2])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (root, environment.get("PYTHONPATH", ""))))
    line = command(host, port)
    os.execve(line[0], line, environment)  # noqa: S606 - our own command line, no shell
