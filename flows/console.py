"""What the command line prints: plain lines first, tables where they help, errors as one block."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from tasks.errors import ConfigError, WarehouseError

if TYPE_CHECKING:
    from rich.console import Console


@dataclass
class Options:
    """What every command takes.

    Attributes:
        json: Print tables as JSON, and nothing else.
        quiet: Print no progress.
        verbose: Print Prefect's log.
        debug: Print the traceback of an error.
    """

    json: bool = False
    quiet: bool = False
    verbose: bool = False
    debug: bool = False


options = Options()
_LEAST_LETTERS = 12
_tables: list[list[dict[str, object]]] = []


def take_options(arguments: Sequence[str]) -> list[str]:
    """Set the options that every command takes, and return the other arguments."""
    names = [f"--{field.name}" for field in fields(Options)]
    for name in names:
        setattr(options, name.removeprefix("--"), name in arguments)
    _tables.clear()
    return [argument for argument in arguments if argument not in names]


def print_json() -> None:
    """Print what was shown as one JSON value: a list of objects, or a list of such lists where tables were several."""
    if options.json:
        found: object = _tables[0] if len(_tables) == 1 else _tables
        print(json.dumps(found, ensure_ascii=False, default=str), flush=True)


def out() -> Console:
    """Return a console for results; without a terminal it is wide enough that no value is cut or folded."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 10_000)


def say(text: str = "") -> None:
    """Print one line of result; where results are JSON, it is beside them."""
    if options.json:
        note(text)
    else:
        print(text, flush=True)


def note(text: str) -> None:
    """Print one line beside the results, on stderr."""
    if not options.quiet:
        print(text, file=sys.stderr, flush=True)


class Steps:
    """Progress lines on stderr with the seconds since the start, so that a pipe of stdout holds results alone."""

    def __init__(self) -> None:
        self._begin = time.monotonic()

    def __call__(self, text: str) -> None:
        """Print one progress line."""
        note(f"[{time.monotonic() - self._begin:5.1f} s] {text}")


def table(
    headers: Sequence[str],
    rows: Iterable[Sequence[object]],
    title: str = "",
    *,
    numbers: Sequence[bool] | None = None,
) -> None:
    """Print a table; numbers are set to the right, nothing as an empty cell.

    Args:
        headers: Of the columns.
        rows: Cells for people; texts are shown to the letter, but on a terminal that is too narrow for them.
        title: Above the table.
        numbers: Which columns hold numbers, where cells that are texts do not tell.
    """
    kept = [list(row) for row in rows]
    if options.json:
        _tables.append([dict(zip((header.replace(" ", "_") for header in headers), row, strict=True)) for row in kept])
        return
    console = out()
    texts = [["" if cell is None else cell_text(cell) for cell in row] for row in kept]
    most = _most_letters([list(headers), *texts], console.width)
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False)
    for index, header in enumerate(headers):
        right = numbers[index] if numbers else any(type(row[index]) in (int, float) for row in kept)
        shown.add_column(header, justify="right" if right else "left", overflow="fold")
    for row in texts:
        shown.add_row(*(Text(_shortened(text, most)) for text in row))
    console.print(shown)


def _most_letters(rows: Sequence[Sequence[str]], width: int) -> int:
    """Return how long the texts of a table may be that is to fit a width; they are never cut below what can be read."""
    widest = [max(map(len, column)) for column in zip(*rows, strict=True)]
    # A blank on either side of a cell, and one between columns.
    room = width - 3 * len(widest)
    for most in range(max(widest, default=0), _LEAST_LETTERS, -1):
        if sum(min(one, most) for one in widest) <= room:
            return most
    return _LEAST_LETTERS


def _shortened(text: str, most: int) -> str:
    """Return a text with its middle left out where it is too long: names differ at their ends."""
    if len(text) <= most:
        return text
    ahead = (most - 1) // 2
    return f"{text[:ahead]}…{text[len(text) - (most - 1 - ahead) :]}"


def cell_text(value: object) -> str:
    """Return a cell as text: thousands separated, seconds with one decimal, jsonb as JSON."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.1f}"
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def raw_text(raw: bytes) -> str:
    """Return bytes as the text that they are where they are one that can be printed, else in hex."""
    text = raw.decode(errors="replace")
    return text if text.isprintable() and "\ufffd" not in text else raw.hex()


def error_block(error: WarehouseError) -> str:
    """Return the block that people see: what happened, where, every single mistake, and what to do."""
    lines = [f"error: {error.what}"]
    if error.where:
        lines.append(f"where: {error.where}")
    if isinstance(error, ConfigError):
        lines += [f"  - {problem}" for problem in error.problems]
    if error.action:
        lines.append(f"to do: {error.action}")
    return "\n".join(lines)
