"""What all processes that read a source have in common: its replaced tokens, and how often it may be asked."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from tasks.marketing.rest.auth import TokenStore
from tasks.marketing.rest.budget import Budget, LocalTurns, Turns
from tasks.marketing.rest.clock import Clock

MakeTurns = Callable[[str, float, float, Clock], Turns]
"""Makes the turns of a source: its name, how many requests in how many seconds, the time it goes by."""


@dataclass(frozen=True)
class Common:
    """What a channel needs of its surroundings.

    Attributes:
        tokens: Keeps refresh tokens that were replaced.
        clock: The time it goes by.
        turns: Makes the turns of a source.
    """

    tokens: TokenStore
    clock: Clock
    turns: MakeTurns = LocalTurns

    def budget(self, name: str, requests: float, seconds: float, concurrent: int = 8) -> Budget:
        """Return the budget of a source, which all its tables in this process share.

        Args:
            name: The source's name.
            requests: How many requests.
            seconds: In how many seconds.
            concurrent: How many of this process may be on their way at once.
        """
        key = (name, requests, seconds, self.clock, self.turns)
        with _making:
            if key not in _budgets:
                limit = f"{requests:g} request(s) in {seconds:g} s"
                _budgets[key] = Budget(self.turns(name, requests, seconds, self.clock), self.clock, concurrent, limit)
            return _budgets[key]


_budgets: dict[tuple[str, float, float, Clock, MakeTurns], Budget] = {}
_making = threading.Lock()
