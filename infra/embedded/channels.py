"""The embedded channels: fakes of Google Ads, Meta Ads and Analytics, which tell what the demo wrote of its shop."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from pathlib import Path

from infra.embedded import process
from infra.embedded.process import Progress, Status, silent

_NAME = "the fakes of Google Ads, Meta Ads and Google Analytics"


def up(home: Path, progress: Progress = silent) -> str:
    """Start the server unless it runs, and return its address.

    Args:
        home: Folder of everything embedded.
        progress: Told each step.

    Raises:
        EmbeddedError: With the log's tail when the server does not come up.
    """
    # -P keeps the working directory off the module path, where a stray file could shadow a library.
    program = [sys.executable, "-P", "-m", "infra.sample.channels", str(data(home))]
    process.up(_folder(home), _NAME, lambda port: [*program, str(port)], lambda: _answers(url(home)), progress)
    return url(home)


def down(home: Path, wipe: bool = False) -> bool:
    """Stop the server if it is ours and runs; with `wipe` also remove what it tells. True when one was stopped."""
    return process.down(_folder(home), wipe=wipe)


def status(home: Path) -> Status:
    """Return the state of the server without starting it."""
    return process.status(_folder(home), "channels", "http://127.0.0.1:{port}")


def url(home: Path) -> str:
    """Return the address of the server; each fake answers below the name of its kind of source."""
    return f"http://127.0.0.1:{process.read_record(_folder(home)).port}"


def data(home: Path) -> Path:
    """Return the folder of the files that the fakes tell (infra/sample/told.py)."""
    return _folder(home) / "data"


def _folder(home: Path) -> Path:
    return home.resolve() / "channels"


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(address, timeout=1).close()  # noqa: S310 - http by construction
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True
