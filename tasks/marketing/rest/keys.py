"""Whether a key comes twice among any number of rows, in bounded memory."""

from __future__ import annotations

import tempfile
from pathlib import Path

import polars as pl

# Digests of so many keys are held, 16 bytes each; those before them are in files of so many.
_HELD = 500_000


class Keys:
    """Takes keys as they are landed; `close` deletes its files.

    Args:
        held: Keys of which the digests are held in memory; among those a repeated one is found at once.
    """

    def __init__(self, held: int = _HELD) -> None:
        self._most = held
        self._recent = _digests(pl.Series("_id", [], pl.String))
        self._files: list[Path] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def close(self) -> None:
        """Delete the files."""
        if self._folder is not None:
            self._folder.cleanup()

    def add(self, ids: pl.Series) -> str | None:
        """Take the keys of a frame, and return one that came before among the recent ones; None where none did."""
        found = _digests(ids)
        # Half of a digest is compared first, the few that are left whole: it takes a third of the time.
        before = self._recent.join(found, on="one", how="semi").rows()
        twice = found.is_duplicated()
        if before or twice.any():
            known = pl.Series([row in before for row in found.iter_rows()], dtype=pl.Boolean)
            if (repeated := ids.filter(twice | known)).len():
                return str(repeated[0])
        self._recent = pl.concat([self._recent, found], rechunk=False)
        if self._recent.height >= self._most:
            self._put_away()
        return None

    def repeated(self) -> int:
        """Return how many keys came twice that `add` could not tell."""
        if not self._files:
            return 0
        self._put_away()
        return sum(self._repeated_of(part) for part in range(len(self._files)))

    def _put_away(self) -> None:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="warehouse-keys-")
        file = Path(self._folder.name) / f"{len(self._files)}.arrow"
        self._recent.write_ipc(file)
        self._files.append(file)
        self._recent = self._recent.clear()

    def _repeated_of(self, part: int) -> int:
        """Return the repeated keys among a part of all, which is as large as one file."""
        mine = pl.col("one") % len(self._files) == part
        found = pl.concat([pl.read_ipc(file.read_bytes()).filter(mine) for file in self._files]).sort("one", "other")
        # Equal ones are neighbours; `unique` would need ten times the memory of the digests.
        same = found.select(pl.all() == pl.all().shift())
        return int(same.select(pl.all_horizontal(pl.all()).sum()).item())


def _digests(ids: pl.Series) -> pl.DataFrame:
    """Return 128 bits of each key: among ten million, two are the same by chance once in 10^24 times."""
    return pl.DataFrame({"one": ids.hash(0), "other": ids.hash(1)})
