"""The order in which the files of a growing batch are taken."""

from __future__ import annotations

from typing import Any

from tasks.bronze.pending import _Arriving, _Look
from tasks.ops import TableKey


class Growing:
    """A landing that holds more files at each look."""

    def __init__(self, *looks: str, landed: list[str]) -> None:
        self.looks = [look.split() for look in looks]
        self.landed = landed

    def growing(self, *place: str) -> tuple[list[str], bool]:
        """Return the files of the next look; the last look's batch is whole."""
        found = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        return sorted(found), len(self.looks) == 1

    def read_growing(self, *place: str) -> str:
        """Return a file by its name."""
        return place[-1]

    def batches(self, *place: str) -> list[str]:
        """Return the whole batches of the table."""
        return self.landed


def arriving(*looks: str, over: bool = False, landed: list[str] | None = None) -> _Arriving:
    """Return the parts of a batch that grows so."""
    landing: Any = Growing(*looks, landed=landed or [])
    return _Arriving(landing, TableKey("shop", "orders"), "batch", _Look(lambda: over))


def test_each_file_is_taken_once_and_a_look_in_vain_is_told() -> None:
    parts = arriving("", "part-0", "part-0", "part-0 part-1", "part-0 part-1")
    assert [*parts] == [None, "part-0", None, "part-1"]
    assert parts.is_whole


def test_files_of_the_kind_at_hand_come_first() -> None:
    first, second = "child-0 part-0", "child-0 child-1 part-0 part-1"
    assert [*arriving(first, second, second, second)] == ["child-0", "child-1", "part-0", "part-1"]


def test_waiting_ends_with_the_extraction() -> None:
    parts = arriving("part-0", "part-0", "part-0", "part-0", over=True)
    assert [*parts] == ["part-0"]
    assert not parts.is_whole


def test_waiting_ends_when_another_batch_is_whole() -> None:
    parts = arriving("part-0", "part-0", "part-0", "part-0", landed=["another"])
    assert [*parts] == ["part-0"]
    assert not parts.is_whole
