"""What a person sees while a run goes on: its steps as they end, and what it does now, from Prefect's log records."""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from tasks.errors import WarehouseError, redact

if TYPE_CHECKING:
    from rich.status import Status

# Prefect 3.8's words for the end of a run; a record that reads otherwise is only not shown.
_ENDED = re.compile(r"Finished in state (?P<state>\w+)\((?:(?P<quote>['\"])(?P<message>.*)(?P=quote))?", re.DOTALL)
_BEGAN = "Beginning "
# A task's error as Prefect prints it: its first argument says what happened, the report says where.
_FAILED = re.compile(r"Task run failed with exception: \w+\((?P<quote>['\"])(?P<what>.*?)(?P=quote)[,)]", re.DOTALL)


def hide_log() -> None:
    """Keep Prefect's log off the terminal; to be called before Prefect is imported. Its server gets all of it."""
    os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"


@contextlib.contextmanager
def shown(say: Callable[[str], None], *, tracebacks: bool = False) -> Iterator[None]:
    """Turn what Prefect logs in this process into lines of progress, and a moving line where stderr is a terminal.

    Args:
        say: Told each line.
        tracebacks: Leave those of our own errors in Prefect's log on the terminal. Its server gets them always.
    """
    logger = logging.getLogger("prefect")
    with _moving_line() as line, contextlib.nullcontext() if tracebacks else _short_errors(logger):
        handler = _Lines(say, line)
        logger.addHandler(handler)
        try:
            yield
        finally:
            logger.removeHandler(handler)


@contextlib.contextmanager
def _short_errors(logger: logging.Logger) -> Iterator[None]:
    """Have a logger's terminal tell our own errors by what they say alone."""
    consoles = [handler for handler in logger.handlers if isinstance(handler, logging.StreamHandler)]
    for handler in consoles:
        handler.setFormatter(_ShortErrors(handler.formatter or logging.Formatter()))
    try:
        yield
    finally:
        for handler in consoles:
            if isinstance(handler.formatter, _ShortErrors):
                handler.setFormatter(handler.formatter.whole)


class _ShortErrors(logging.Formatter):
    """Formats a record as another formatter does, with one of our own errors in the place of its traceback."""

    def __init__(self, whole: logging.Formatter) -> None:
        super().__init__()
        self.whole = whole

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's text."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, WarehouseError):
            # A copy: the handlers of the same record that follow show it whole.
            record = copy.copy(record)
            record.msg, record.args = f"{type(error).__name__}: {error}", ()
            record.exc_info = record.exc_text = None
        return self.whole.format(record)


@contextlib.contextmanager
def _moving_line() -> Iterator[Status | None]:
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console

    with Console(stderr=True, highlight=False).status("starting") as line:
        yield line


class _Lines(logging.Handler):
    """Says how subflows end, and warnings by their first line; counts tables and models that are done in between."""

    def __init__(self, say: Callable[[str], None], line: Status | None) -> None:
        super().__init__(logging.INFO)
        self._say = say
        self._line = line
        self._done = 0
        self._noted: set[str] = set()
        self._began = time.monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        """Show one record."""
        text = redact(record.getMessage())
        run = str(getattr(record, "task_run_name", None) or getattr(record, "flow_run_name", ""))
        if record.levelno >= logging.WARNING and not _ENDED.match(text):
            self._note(text.strip() or record.levelname)
        elif ended := _ENDED.match(text):
            self._end(run, ended, hasattr(record, "task_run_name"))
        elif text.startswith(_BEGAN):
            self._done, self._began = 0, time.monotonic()
            self._show(run)
        elif text.startswith("model."):
            self._done += 1
            self._show(f"{run}: {text.removeprefix('model.').partition('.')[2]} ({self._done} done)")

    def _note(self, text: str) -> None:
        """Say what happened once, not for each table and attempt."""
        failed = _FAILED.match(text)
        said = (failed["what"] if failed else text).splitlines()[0]
        if said not in self._noted:
            self._noted.add(said)
            self._say(f"note: {said}")

    def _end(self, run: str, ended: re.Match[str], is_task: bool) -> None:
        if is_task:
            self._done += 1
            rate = self._done / max(time.monotonic() - self._began, 0.001)
            self._show(f"{self._done} table(s) done, {rate:,.1f}/s, the last: {run}")
        else:
            said = ended["state"].lower() if ended["state"] != "Completed" else "done"
            self._say(f"{run}: {said}" + (f", {ended['message'].splitlines()[0]}" if ended["message"] else ""))

    def _show(self, text: str) -> None:
        if self._line is not None:
            # rich reads square brackets as styles.
            self._line.update(text.replace("[", "\\["))
