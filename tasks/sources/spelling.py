"""How people and their programs spell numbers and days, read as the one spelling that types know."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

_NUMBERS = ("int", "double", "decimal")
_TIMES = ("day", "date", "micros")
# What looks the same on paper is one separator.
_ALIKE = {" ": " \u00a0\u202f", "'": "'\u2019"}


@dataclass(frozen=True)
class Spelling:
    """How a column spells its values.

    Attributes:
        decimal: What stands before the fraction: a point or a comma.
        thousands: What stands between groups of three digits; None means nothing.
        date_format: Days and times in the words of `strptime`, such as `%d.%m.%Y`; None means ISO 8601.
    """

    decimal: str = "."
    thousands: str | None = None
    date_format: str | None = None

    def plain(self, text: str, kind: str) -> str | None:
        """Return a text as a kind's own reader spells it; None where it is not spelt as this column spells."""
        if kind in _NUMBERS and (self.decimal, self.thousands) != (".", None):
            return self._number(text.strip())
        if kind in _TIMES and self.date_format:
            return self._time(text.strip(), kind)
        return text

    def _number(self, text: str) -> str | None:
        if not self._pattern.fullmatch(text):
            return None
        return self._separator.sub("", text).replace(self.decimal, ".")

    def _time(self, text: str, kind: str) -> str | None:
        try:
            moment = datetime.strptime(text, self.date_format or "")
        except ValueError:
            return None
        return moment.date().isoformat() if kind == "day" else moment.isoformat()

    @cached_property
    def _separator(self) -> re.Pattern[str]:
        # Without a separator nothing is taken away.
        return re.compile(f"[{re.escape(_ALIKE.get(self.thousands, self.thousands))}]" if self.thousands else "(?!)")

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        grouped = f"[0-9]{{1,3}}(?:{self._separator.pattern}[0-9]{{3}})+"
        mark = re.escape(self.decimal)
        return re.compile(f"[+-]?(?:(?:{grouped}|[0-9]+)(?:{mark}[0-9]*)?|{mark}[0-9]+)")


ISO = Spelling()
"""Numbers with a point, times in ISO 8601."""
