"""Two things at once: the next item is made while the present one is used."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

_Item = TypeVar("_Item")
# One item being made, one ready: more would only hold more memory.
_READY = 1


def read_ahead(items: Iterable[_Item]) -> Generator[_Item]:
    """Yield `items` while a thread makes the next one; closing the generator stops the thread at once.

    Raises:
        BaseException: Whatever making an item raised.
    """
    ready: queue.Queue[tuple[_Item] | BaseException | None] = queue.Queue(maxsize=_READY)
    stop = threading.Event()

    def put(item: tuple[_Item] | BaseException | None) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.5)
                return True
            except queue.Full:
                continue
        return False

    def make() -> None:
        try:
            for item in items:
                if not put((item,)):
                    return
            put(None)
        except BaseException as error:  # handed to the reader, which raises it
            put(error)

    thread = threading.Thread(target=make, name="read-ahead", daemon=True)
    thread.start()
    try:
        while (found := ready.get()) is not None:
            if isinstance(found, BaseException):
                raise found
            yield found[0]
            # Freed before the next one is waited for.
            del found
    finally:
        stop.set()
        thread.join()
