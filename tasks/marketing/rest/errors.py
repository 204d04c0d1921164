"""What an answer that is no success means, and what is done about it: a table of rules, the first that fits decides."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal

from tasks.errors import SourceError, SourceUnreachable

Action = Literal["ok", "retry", "wait", "refresh", "reduce_page", "split", "skip_account", "quota", "version", "fail"]

# Longer waits end the run with its progress kept: a pod that sleeps for an hour costs more than one that starts again.
MOST_WAIT_SECONDS = 300.0


class SkipAccount(SourceError):
    """One account cannot be read; the others go on."""


class VersionEnded(SourceError):
    """The service no longer knows the version of its API that was asked for."""


class JobFailed(SourceError):
    """An asynchronous report failed for good."""


class ReducePage(Exception):
    """The service asks for smaller pages."""


class SplitWindow(Exception):
    """The service asks for fewer days at a time."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True)
class Wait:
    """How long to wait: from a header, from the body, or a constant.

    Attributes:
        header: Name of a header with seconds, or with a date.
        body: Path in the body to a number.
        unit: Seconds that one of the header's or body's numbers stands for; `unix` where it is a moment.
        seconds: What is waited where nothing else tells.
    """

    header: str = ""
    body: str = ""
    unit: float | Literal["unix"] = 1.0
    seconds: float = 0.0

    def told(self, headers: Mapping[str, str], body: Any, now: datetime) -> float | None:
        """Return the seconds that the answer asks for, None where it does not say."""
        found = headers.get(self.header) if self.header else at(body, self.body) if self.body else None
        if found is None or found == "":
            return self.seconds or None
        try:
            number = float(str(found).strip().removesuffix("s"))
        except ValueError:
            return _until(str(found), now)
        return max(number - now.timestamp(), 0.0) if self.unit == "unix" else number * self.unit


def _until(text: str, now: datetime) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    return max((moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds(), 0.0)


@dataclass(frozen=True)
class Rule:
    """When an answer is meant, and what is done.

    Attributes:
        action: `ok` takes it as it is; `retry` asks again soon, `wait` when told; `refresh` renews the token first;
            `reduce_page` and `split` ask for less; `skip_account` leaves the account out; `quota` ends the run with
            its progress kept; `version` and `fail` need a person.
        status: HTTP statuses; none means any.
        body: By path in the body the values that are meant; texts and numbers are compared as texts.
        unless: By path in the body the values with which the rule does not fit: what a success says.
        contains: Text that the body holds, without regard to case.
        wait: For `wait`, `retry` and `quota`.
        say: What the error says.
        advice: What to do about it.
    """

    action: Action
    status: Sequence[int] = ()
    body: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    unless: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    contains: str = ""
    wait: Wait = Wait()
    say: str = ""
    advice: str = ""

    def fits(self, status: int, body: Any, text: str) -> bool:
        """Return whether an answer is meant."""
        if self.status and status not in self.status:
            return False
        if self.contains and self.contains.lower() not in text.lower():
            return False
        if any(_holds(body, path, values) for path, values in self.unless.items()):
            return False
        return all(_holds(body, path, values) for path, values in self.body.items())

    @property
    def looks_inside(self) -> bool:
        """Whether the body decides, so that even a success has to be looked at."""
        return bool(self.body or self.unless or self.contains) and (not self.status or 200 in self.status)


def _holds(body: Any, path: str, values: Sequence[Any]) -> bool:
    wanted = {str(value) for value in values}
    return any(str(found) in wanted for found in every(body, path))


RETRY_AFTER = Wait(header="retry-after")
# What HTTP itself says; a source's own rules come before.
DEFAULT_RULES = (
    Rule("refresh", status=(401,)),
    Rule("skip_account", status=(403,)),
    Rule("wait", status=(429,), wait=RETRY_AFTER),
    Rule("retry", status=(408, 425, 500, 502, 503, 504, 520, 522, 524, 529), wait=RETRY_AFTER),
    Rule("version", status=(410, 426), say="this version of the API has ended"),
    Rule("fail", status=tuple(range(300, 600))),
)


def decide(rules: Iterable[Rule], status: int, body: Any, text: str) -> Rule | None:
    """Return the first rule that fits; None where the answer is a plain success."""
    for rule in (*rules, *DEFAULT_RULES):
        if rule.fits(status, body, text):
            return None if rule.action == "ok" else rule
    return None


def at(body: Any, path: str) -> Any:
    """Return what stands at a path such as `error.code` or `errors.0.code`; None where nothing does."""
    return next(iter(every(body, path)), None)


def every(body: Any, path: str) -> list[Any]:
    """Return all that stands at a path; `*` means each element of a list or each value of a mapping."""
    found = [body]
    for part in filter(None, path.split(".")):
        step: list[Any] = []
        for value in found:
            if part == "*" and isinstance(value, list):
                step += value
            elif part == "*" and isinstance(value, dict):
                step += value.values()
            elif isinstance(value, dict) and part in value:
                step.append(value[part])
            elif isinstance(value, list) and re.fullmatch(r"-?\d+", part) and -len(value) <= int(part) < len(value):
                step.append(value[int(part)])
        found = step
    return found


def unreachable(what: str, where: str) -> SourceUnreachable:
    """Return the error of a service that did not answer."""
    return SourceUnreachable(
        what, where, "run again later; if it stays, check the network and the service's status page"
    )
