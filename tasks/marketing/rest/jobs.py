"""Reports that a service makes in its own time: ordered, asked after, and ordered anew when they fail."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from tasks.errors import SourceError
from tasks.marketing.rest.client import Client
from tasks.marketing.rest.errors import JobFailed, ReducePage, SplitWindow

# Seconds before a report that failed is ordered again, each time as many more.
_BEFORE_ANOTHER_ORDER = 2.0

State = Literal["running", "done", "failed", "skipped"]


@dataclass(frozen=True)
class Look:
    """What a look at a job showed.

    Attributes:
        state: How it stands.
        percent: How far it is, where that is told.
        result: What the caller needs to fetch the report.
        said: The service's word for the state.
    """

    state: State
    percent: int | None = None
    result: Any = None
    said: str = ""


@dataclass(frozen=True)
class Patience:
    """How long a job is waited for.

    Attributes:
        first: Seconds before the first look; each further wait is half as long again, up to `most`.
        most: Longest wait between looks.
        limit: Seconds after which a job is given up.
        stuck: Seconds after which a job is given up that has not begun.
        orders: How often it is ordered at most.
    """

    first: float = 1.0
    most: float = 30.0
    limit: float = 3_600.0
    stuck: float = 300.0
    orders: int = 3


class Orders:
    """Jobs that were ordered before anybody waits for them, so that the service makes them side by side."""

    def __init__(self) -> None:
        self._jobs: dict[Hashable, str] = {}

    def ahead(self, wanted: Mapping[Hashable, Callable[[], str]]) -> None:
        """Order what is not ordered yet; a refusal is met again, and told, by whoever waits for that job."""
        for key, order in wanted.items():
            if key not in self._jobs:
                try:
                    self._jobs[key] = order()
                except (SourceError, ReducePage, SplitWindow):
                    return

    def take(self, key: Hashable) -> str | None:
        """Return a job that was ordered, once."""
        return self._jobs.pop(key, None)


def run_job(
    client: Client,
    order: Callable[[], str],
    look: Callable[[str], Look],
    patience: Patience,
    where: str,
    ordered: str | None = None,
) -> Any:
    """Order a job, wait for its end, and return what leads to its report.

    A job that failed, was skipped, is stuck or takes too long is ordered anew; `ordered` is one that was ordered ahead.

    Raises:
        JobFailed: It failed each time; fewer days at a time may help.
        SourceError: The service refused a request.
    """
    said = ""
    for number in range(1, patience.orders + 1):
        found = _wait(client, ordered or order(), look, patience)
        ordered = None
        if found.state == "done":
            return found.result
        said = found.said or found.state
        if number < patience.orders:
            client.clock.sleep(_BEFORE_ANOTHER_ORDER * number)
    raise JobFailed(f"the report failed {patience.orders} times: {said}", where, "run again later, or with fewer days")


def _wait(client: Client, job: str, look: Callable[[str], Look], patience: Patience) -> Look:
    started = client.clock.now()
    pause = patience.first
    while True:
        client.clock.sleep(pause)
        found = look(job)
        if found.state != "running":
            return found
        taken = client.clock.now() - started
        if found.percent == 0 and taken >= timedelta(seconds=patience.stuck):
            return Look("failed", said=f"stuck at 0 percent for {taken.seconds} seconds")
        if taken >= timedelta(seconds=patience.limit):
            return Look("failed", said=f"not done after {taken.seconds} seconds")
        pause = min(pause * 1.5, patience.most)
