"""Paths that sources.yaml names and no document was ever seen with: most often they are mistyped."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from tasks.ops import Executor, TableKey, columns, field_statistics
from tasks.sources.config import NamedPath

# Share of letters in common: one letter wrong, missing, too many or two swapped in a name of five is found.
_NEARLY = 0.75
_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True)
class Unseen:
    """A path that no document had.

    Attributes:
        named: Where it is named.
        meant: The nearest path that documents have; None where none is near.
        within: The field that it points into, which is kept as a whole, so that nothing in it can be seen.
    """

    named: NamedPath
    meant: str | None = None
    within: str | None = None


def seen(db: Executor, key: TableKey) -> set[str]:
    """Return every path that a table's documents were seen with, as sources.yaml names it."""
    found = columns.paths(db, key) | field_statistics.paths(db, key)
    return {f"{child}.{path}" if child else path for child, path in found}


def unseen(named: Sequence[NamedPath], known: Collection[str]) -> Iterator[Unseen]:
    """Yield the named paths that nothing known stands for; nothing where nothing is known.

    What documents are read without can never be seen: it is told only where a path is near that should be gone.

    Args:
        named: In the order in which what names them is done.
        known: Paths that documents were seen with, as they are in bronze.
    """
    paths = set(known)
    if not paths:
        return
    for one in reversed(named):
        if one.becomes is not None and _has(paths, one.becomes):
            paths.add(one.path)
    for one in named:
        if _has(paths, one.path):
            continue
        within = _whole_above(paths, one.path)
        meant = None if within else _nearest(one.path, paths)
        if not one.unread or (meant and not _differ_in_digits(one.path, meant)):
            yield Unseen(one, meant, within)


def _has(paths: Collection[str], path: str) -> bool:
    return path in paths or any(known.startswith(f"{path}.") for known in paths)


def _whole_above(paths: Collection[str], path: str) -> str | None:
    """Return the known path above a path under which none is known: an array, or a document kept as JSON."""
    keys = path.split(".")
    above = (".".join(keys[:depth]) for depth in range(1, len(keys)))
    return next((one for one in above if one in paths and not any(k.startswith(f"{one}.") for k in paths)), None)


def _nearest(path: str, paths: Collection[str]) -> str | None:
    """Return the known path that is written most alike, one that differs in capitals alone before all others."""
    folded = {known.lower(): known for known in sorted(_with_parents(paths))}
    found = get_close_matches(path.lower(), folded, n=1, cutoff=_NEARLY)
    return folded[found[0]] if found else None


def _with_parents(paths: Collection[str]) -> set[str]:
    return {".".join(keys[:depth]) for path in paths for keys in [path.split(".")] for depth in range(1, len(keys) + 1)}


def _differ_in_digits(path: str, other: str) -> bool:
    """Return whether two names differ in their numbers alone, as those of a series do."""
    return _DIGITS.sub("0", path) == _DIGITS.sub("0", other)
