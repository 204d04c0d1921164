"""Whether counts differ by more than chance."""

from __future__ import annotations

SURELY = 1e-4
"""What chance does less often than this is taken for a change."""
# Documents of one batch are alike, so a field that all others have proves no more by its absence than a coin that is
# tossed: 14 documents, and not one, are needed even where every document so far had it.
_MOST_RATE = 0.5


def is_gone(rate: float, rows: int) -> bool:
    """Return whether a field that a share of rows carried would hardly be missing in so many by chance.

    Args:
        rate: Share of the rows up to the last batch that had the field, 0 to 1.
        rows: Rows since then, none of which has it.
    """
    return bool((1 - min(rate, _MOST_RATE)) ** rows < SURELY)


def is_new(before: int, rows: int, count: int, chance: float = SURELY) -> bool:
    """Return whether what no row had before and some have since would hardly be so by chance (Fisher's exact test).

    Args:
        before: Rows before, none of which had it.
        rows: Rows since.
        count: Those of them that have it.
        chance: How rarely chance alone may do so.
    """
    found = 1.0
    for number in range(count):
        found *= (rows - number) / (before + rows - number)
        if found < chance:
            return True
    return False
