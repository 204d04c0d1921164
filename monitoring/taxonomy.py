"""What kind of failure an error is, and who acts on it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class FailureClass:
    """One kind of failure.

    Attributes:
        key: Value of pipeline_log.error_class, and the name of the runbook's page.
        title: Name in reports.
        who: Who acts.
        action: What to do first, in one sentence.
    """

    key: str
    title: str
    who: str
    action: str

    @property
    def runbook(self) -> str:
        """Path of the runbook's page in the repository."""
        return f"docs/runbooks/classes/{self.key}.md"


CLASSES = {
    item.key: item
    for item in (
        FailureClass(
            "config", "configuration", "data engineer", "Correct sources.yaml or the settings; see `warehouse check`."
        ),
        FailureClass(
            "auth",
            "credentials or rights",
            "owner of the credentials",
            "Renew the credentials or grant the right; see `warehouse check`.",
        ),
        FailureClass(
            "quota",
            "quota or rate limit",
            "owner of the source",
            "Wait until it renews; the next run goes on from its checkpoint. Daily: read less often, ask for more.",
        ),
        FailureClass(
            "network",
            "unreachable",
            "platform engineer",
            "Look whether the server is up and reachable; the next run goes on from the checkpoint.",
        ),
        FailureClass(
            "source",
            "fault of the source",
            "owner of the source",
            "Read the source's own message and its status page; the next run goes on from the checkpoint.",
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
            "Look at the rows: `warehouse rejects list` for refused ones; a failing test names its model.",
        ),
        FailureClass(
            "model",
            "model",
            "owner of the model",
            "Correct the SQL that the message names and run again; the model keeps its last good content.",
        ),
        FailureClass(
            "out_of_memory",
            "out of memory",
            "platform engineer",
            "Give the table a larger class (`resources:`) or more `partitions`; see `warehouse resources`.",
        ),
        FailureClass(
            "evicted",
            "evicted",
            "platform engineer",
            "Nothing when it was started again; if often, look at the node's pressure and its spot reclaims.",
        ),
        FailureClass(
            "resource",
            "disk, room or process",
            "platform engineer",
            "A full disk: free space. No room or no worker: `kubectl get pods`, and the worker's log.",
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
    "RejectLimitExceeded": "data_quality",
    "MemoryError": "out_of_memory",
    "DiskFull": "resource",
    "TerminationSignal": "evicted",
    "CancelledRun": "cancelled",
}
# Types that decide only when the message does not.
_BY_DEFAULT = {
    "WarehouseUnreachable": "network",
    "ConnectionError": "network",
    "TimeoutError": "network",
    "ConnectError": "network",
    "DbtError": "model",
    "LandingError": "network",
    "SourceError": "source",
}
# In order: the first that matches decides. Messages are those of Postgres, MongoDB, channels, Prefect and Kubernetes.
_BY_MESSAGE: tuple[tuple[str, str], ...] = (
    # Some channels answer an exhausted quota with 403, so quota comes before rights.
    (r"too many requests|\b429\b|rate.?limit|quota|resource_exhausted|throttl|request limit reached", "quota"),
    (r"refused the credentials|password authentication failed|authentication failed|not authorized", "auth"),
    (r"\b(401|403)\b|forbidden|unauthorized|invalid credentials|signaturedoesnotmatch", "auth"),
    (r"invalid_grant|oauthexception|(?:access|refresh) token .*(?:expired|invalid|revoked)", "auth"),
    (r"permission denied|access ?denied|read-only file system", "auth"),
    (r"no space left|disk full|disk of Postgres is full", "resource"),
    (r"OOMKilled|out of memory|cannot allocate memory|(?:code|status):? -?(?:9|137)\b", "out_of_memory"),
    (r"evicted|preempt|DisruptionTarget|node (?:was )?(?:lost|shut ?down)", "evicted"),
    (r"unschedulable|insufficient (?:cpu|memory)|no worker|its process is gone", "resource"),
    (r"no active or succeeded pods|job was deleted", "resource"),
    (r"ImagePull|ErrImage|Image pull failed|CreateContainerConfigError", "config"),
    (r"connection refused|could not connect|connection (?:reset|closed|failed)|timed? ?out", "network"),
    (r"name or service not known|temporary failure in name resolution|network is unreachable", "network"),
    (r"no servers? found|server closed the connection", "network"),
    (r"\b5\d\d (?:server error|internal|bad gateway|service unavailable|gateway)|service unavailable", "source"),
    (r"\bgot \d+ results?, configured to (?:fail|warn)", "data_quality"),
    (r"(?:database|compilation|parsing|runtime|contract) error in (?:model|snapshot|seed|test|sql|macro)", "model"),
    (r"enforced contract that failed|column .* does not exist", "model"),
    (r"on_drift|new field|type of field", "source_drift"),
    (r"reject|failing test|test failed", "data_quality"),
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


def what_and_action(message: str) -> tuple[str, str]:
    """Return what an error of ours says happened and where, and what is to be done; a foreign one says no more."""
    what, *others = message.split(" | ")
    return (f"{what} ({others[0]})", others[1]) if len(others) == 2 else (message, "")


def ended(text: str) -> str:
    """Return a text that ends as a sentence does."""
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."


def action_of(key: str, message: str) -> str:
    """Return what to do first: what the error itself says before what its class does."""
    own = what_and_action(message)[1]
    return ended(own[:1].upper() + own[1:]) if own else CLASSES.get(key, CLASSES["code"]).action


def first_line(text: str | None, length: int = 300) -> str:
    """Return the first line of an error that says something, cut to `length` characters."""
    for line in (text or "").splitlines():
        if line.strip():
            stripped = line.strip()
            return stripped if len(stripped) <= length else stripped[: length - 1] + "…"
    return ""
