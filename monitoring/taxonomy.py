"""What kind of failure an error is, and who acts on it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class FailureClass:
    """One kind of failure.

    Attributes:
        key: Value of pipeline_log.error_class.
        title: Name in reports.
        who: Who acts.
        action: What to do first, in one sentence.
    """

    key: str
    title: str
    who: str
    action: str


CLASSES = {
    item.key: item
    for item in (
        FailureClass(
            "config", "configuration", "data engineer", "Correct sources.yaml or the settings; see `warehouse check`."
        ),
        FailureClass(
            "auth",
            "credentials or rights",
            "owner of the source",
            "Renew the credentials or grant the right; see `warehouse check`.",
        ),
        FailureClass(
            "network",
            "unreachable",
            "platform engineer",
            "Look whether the server is up and reachable; the next run goes on from the checkpoint.",
        ),
        FailureClass(
            "source_drift",
            "source schema drift",
            "data engineer with the source's owner",
            "Do what the error says; `warehouse drift` tells which fields changed.",
        ),
        FailureClass(
            "data_quality",
            "data quality",
            "analytics engineer",
            "See what failed: `warehouse rejects list` for rows; a dbt model or test says it in its message.",
        ),
        FailureClass(
            "resource",
            "memory, disk or eviction",
            "platform engineer",
            "A full disk: free space. Else give the table a larger class (`resources:`) or more partitions.",
        ),
        FailureClass(
            "cancelled",
            "cancelled",
            "whoever cancelled it",
            "Start it again when wanted; it goes on from the checkpoint.",
        ),
        FailureClass(
            "code", "defect", "maintainer", "Read the log of the run and report the defect with its first error line."
        ),
    )
}
"""Every class by key, in the order reports show them."""

# Types that say it all, whatever the message.
_BY_EXCEPTION = {
    "ConfigError": "config",
    "MissingCollection": "config",
    "ValidationError": "config",
    "MissingFlowError": "config",
    "ObjectNotFound": "config",
    "ResumeTokenLost": "source_drift",
    "SourceAuthError": "auth",
    "SourceUnreachable": "network",
    "CursorError": "source_drift",
    "DriftError": "source_drift",
    "RejectLimitExceeded": "data_quality",
    "MemoryError": "resource",
    "DiskFull": "resource",
    "TerminationSignal": "resource",
    "CancelledRun": "cancelled",
}
# Types that decide only when the message does not.
_BY_DEFAULT = {
    "WarehouseUnreachable": "network",
    "ConnectionError": "network",
    "TimeoutError": "network",
    "ConnectError": "network",
    "DbtError": "data_quality",
    "LandingError": "network",
}
# In order: the first that matches decides. Messages are those of Postgres, MongoDB, Prefect and Kubernetes.
_BY_MESSAGE: tuple[tuple[str, str], ...] = (
    (r"refused the credentials|password authentication failed|authentication failed|not authorized", "auth"),
    (r"\b(401|403)\b|forbidden|unauthorized|invalid credentials|signaturedoesnotmatch", "auth"),
    (r"permission denied|access ?denied|read-only file system", "auth"),
    (r"OOMKilled|out of memory|cannot allocate memory|(?:code|status):? -?(?:9|137)\b", "resource"),
    (r"no space left|disk full|disk of Postgres is full", "resource"),
    (r"evicted|preempt|unschedulable|insufficient (?:cpu|memory)", "resource"),
    (r"no active or succeeded pods|job was deleted", "resource"),
    (r"ImagePull|ErrImage|CreateContainerConfigError", "config"),
    (r"connection refused|could not connect|connection (?:reset|closed|failed)|timed? ?out", "network"),
    (r"name or service not known|temporary failure in name resolution|network is unreachable", "network"),
    (r"no servers? found|server closed the connection", "network"),
    (r"on_drift|new field|type of field|column .* does not exist", "source_drift"),
    (r"reject|failing test|test failed|\bgot \d+ results?, configured to fail", "data_quality"),
    (r"unknown key|not set|no table is called", "config"),
    (r"heartbeat|process exited|crash detected|infrastructure", "resource"),
)


def classify(exceptions: Sequence[str], message: str = "", state: str = "") -> str:
    """Return the key of the class of an error.

    Args:
        exceptions: Names of the error's type and of its base types, the most special first.
        message: What the error or the run's state says.
        state: Name of the run's state.
    """
    for name in exceptions:
        if name in _BY_EXCEPTION:
            return _BY_EXCEPTION[name]
    for pattern, key in _BY_MESSAGE:
        if re.search(pattern, message, re.IGNORECASE):
            return key
    for name in exceptions:
        if name in _BY_DEFAULT:
            return _BY_DEFAULT[name]
    if state in ("Cancelled", "Cancelling"):
        return "cancelled"
    return "resource" if state == "Crashed" else "code"


def classify_error(error: BaseException) -> str:
    """Return the key of the class of an exception, looking at its causes too."""
    names: list[str] = []
    current: BaseException | None = error
    while current is not None and len(names) < 50:
        names += [kind.__name__ for kind in type(current).__mro__]
        current = current.__cause__
    return classify(names, str(error))


def first_line(text: str | None, length: int = 300) -> str:
    """Return the first line of an error that says something, cut to `length` characters."""
    for line in (text or "").splitlines():
        if line.strip():
            stripped = line.strip()
            return stripped if len(stripped) <= length else stripped[: length - 1] + "…"
    return ""
