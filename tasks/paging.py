"""Reading what Prefect's API gives in pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

# What Prefect's API gives at most at once.
_PAGE = 200

_Item = TypeVar("_Item")


def pages(read: Callable[[int, int], Sequence[_Item]]) -> Iterator[_Item]:
    """Yield all items of a paged endpoint; `read` takes limit and offset."""
    offset = 0
    while True:
        page = read(_PAGE, offset)
        yield from page
        if len(page) < _PAGE:
            return
        offset += _PAGE
