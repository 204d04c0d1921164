"""What a look of monitoring takes, part by part: who watches must not be dear."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a look.

    Attributes:
        name: What it did.
        seconds: Time that passed.
        cpu_seconds: Processor time of this process, all threads together; the servers it asked have their own.
    """

    name: str
    seconds: float
    cpu_seconds: float


@dataclass
class Clock:
    """Measures parts one after another."""

    parts: list[Part] = field(default_factory=list)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Measure what stands under it, whether it goes well or not."""
        began, used = time.monotonic(), time.process_time()
        try:
            yield
        finally:
            spent = time.monotonic() - began, time.process_time() - used
            self.parts.append(Part(name, *(round(one, 3) for one in spent)))
