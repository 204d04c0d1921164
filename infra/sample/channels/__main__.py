"""Serves the fakes of the sample's channels: `python -m infra.sample.channels FOLDER PORT`.

FOLDER holds what they tell (infra/sample/told.py); a file that is replaced counts from the next request on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from infra.sample import told
from infra.sample.channels.ga4 import Ga4Fake
from infra.sample.channels.google_ads import GoogleAdsFake
from infra.sample.channels.meta_ads import MetaAdsFake
from infra.sample.channels.server import Answer, Asked, Fake, Server

FAKES: dict[str, Callable[[Path], Fake]] = {
    "google_ads": lambda path: GoogleAdsFake(told.read_spend(path)),
    "meta_ads": lambda path: MetaAdsFake(told.read_spend(path)),
    "ga4": lambda path: Ga4Fake(*told.read_visits(path)),
}
"""By prefix, which is the kind of channel too: a fake that tells what a file holds."""


class Following(Fake):
    """A fake that tells what a file holds at the time.

    Args:
        path: The file.
        make: Makes a fake of it.
    """

    def __init__(self, path: Path, make: Callable[[Path], Fake]) -> None:
        super().__init__()
        self._path, self._make = path, make
        self._fake: Fake = self
        self._seen = 0

    def handle(self, asked: Asked) -> Answer:
        """See `Fake`; without a log, which nobody would read here."""
        with self.lock:
            return self.answer(asked)

    def answer(self, asked: Asked) -> Answer:
        """See `Fake`."""
        try:
            changed = self._path.stat().st_mtime_ns
        except FileNotFoundError:
            return Answer({"error": "there is no sample yet: run `warehouse demo`"}, 503)
        if changed != self._seen:
            self._fake, self._seen = self._make(self._path), changed
        return self._fake.answer(asked)


def serve(folder: Path, port: int = 0) -> Server:
    """Return the server of all fakes, each following its file in a folder."""
    return Server({kind: Following(folder / f"{kind}.json", make) for kind, make in FAKES.items()}, port)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2])).serve()
