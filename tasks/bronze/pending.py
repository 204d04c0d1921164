"""Loading all that is landed and not yet in bronze, and the first batch of a table already while it is being landed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import psycopg

from tasks import database
from tasks.bronze import replace
from tasks.bronze.ahead import Ahead, Outgrown
from tasks.bronze.load import Loader, LoadResult, holds_all, load_batch, take_lock
from tasks.errors import LandingError, LoadError
from tasks.landing import Landing, Manifest
from tasks.ops import TableKey, batches, migrations
from tasks.ops import relations as named
from tasks.ops.relations import HISTORY, ROOT
from tasks.settings import Settings
from tasks.sources import TableRef

# Seconds between looks at a growing batch: soon after something came, less often the longer nothing does. A batch of
# a second or two is not overslept, and an object store is not listed all the time.
_LOOK_LEAST, _LOOK_MOST, _LOOK_GROWTH = 0.05, 2.0, 1.1


def load_pending(ref: TableRef, settings: Settings) -> list[LoadResult]:
    """Load every landed batch of a table that is not in bronze, oldest first.

    A batch that cannot be loaded is passed over where one that waits after it holds all that it does: a mended source
    that was read as a whole again is not held up by what was landed before.

    Args:
        ref: The table.
        settings: Where warehouse and landing are.

    Returns:
        One result per batch, in the order in which they were loaded; empty when nothing was waiting.

    Raises:
        WarehouseError: Of the first batch that failed and is needed; those before it are loaded.
    """
    url = settings.database_url()
    landing = Landing.open(settings.landing_root())
    waiting = [landing.manifest(ref.source_name, ref.table_name, batch_id) for batch_id in pending(url, landing, ref)]
    results: list[LoadResult] = []
    passed: list[Manifest] = []
    for number, manifest in enumerate(waiting, 1):
        try:
            results.append(load_batch(url, landing, manifest, ref.table, replace.load_with))
        except (LandingError, LoadError):
            if not any(_holds(newer, manifest) for newer in waiting[number:]):
                raise
            passed.append(manifest)
            continue
        # Superseded now, and noted as such.
        results += [load_batch(url, landing, older, ref.table) for older in passed if _holds(manifest, older)]
        passed = [older for older in passed if not _holds(manifest, older)]
    return results


def _holds(newer: Manifest, older: Manifest) -> bool:
    return holds_all(older, newer.previous_checkpoint, newer.mode)


def pending(url: str, landing: Landing, ref: TableRef) -> list[str]:
    """Return the ids of landed batches that are not in bronze, oldest first."""
    landed = landing.batches(ref.source_name, ref.table_name)
    if not landed:
        return []
    with database.connect(url) as connection:
        migrations.migrate(connection)
        loaded = set(batches.ids(connection, ref.key, landed))
    return [batch_id for batch_id in landed if batch_id not in loaded]


def load_ahead(ref: TableRef, settings: Settings, over: Callable[[], bool]) -> LoadResult:
    """Load the first batch of a table while it is being landed: its last rows are all that is left when it is whole.

    Args:
        ref: A table that was never loaded and is being extracted.
        settings: Where warehouse and landing are.
        over: Whether to stop waiting for more, because extraction has ended.

    Raises:
        Outgrown: Extraction ended without a batch, or the batch has to be loaded as any other; nothing was committed.
        WarehouseError, psycopg.Error: Loading failed; nothing was committed.
    """
    landing = Landing.open(settings.landing_root())
    key = ref.key
    look = _Look(over)
    with database.connect(settings.database_url(), application="warehouse load") as connection:
        migrations.migrate(connection)
        connection.commit()
        batch_id = _first_batch(landing, key, look)
        with connection.transaction():
            relations = [ROOT, *getattr(ref.table, "child_paths", ())]
            if ref.table.history:
                relations.append(HISTORY)
            named.add(connection, key, relations)
        with connection.transaction():
            return _load_growing(connection.cursor(), landing, ref, batch_id, look)


def _load_growing(
    cursor: psycopg.Cursor[tuple[object, ...]], landing: Landing, ref: TableRef, batch_id: str, look: _Look
) -> LoadResult:
    key = ref.key
    take_lock(cursor, *key)
    if batches.ids(cursor, key):
        raise Outgrown("the table has been loaded")
    ahead = Ahead(cursor, landing, ref, batch_id)
    ahead.copy(_arriving(landing, key, batch_id, look))
    manifest = landing.manifest(*key, batch_id)
    ahead.confirm(manifest)
    loader = Loader(cursor, landing, manifest, ref.table, ahead=ahead)
    if not loader.prepare():
        raise Outgrown("relations have to be changed first")
    return loader.write()


def _arriving(landing: Landing, key: TableKey, batch_id: str, look: _Look) -> Iterator[str | None]:
    """Yield a batch's files as they come, until it is whole; None after each look in vain.

    Files of the kind of the last one come first, since each change of the relation ends a COPY.
    """
    taken: set[str] = set()
    kind = ""
    while True:
        found, whole = landing.growing(*key, batch_id)
        new = [file for file in found if file not in taken]
        if new:
            look.found()
            if not kind or not any(file.startswith(kind) for file in new):
                kind = new[0].partition("-")[0]
            files = [file for file in new if file.startswith(kind)]
            taken.update(files)
            yield from files
        elif whole:
            return
        else:
            look.again()
            yield None


def _first_batch(landing: Landing, key: TableKey, look: _Look) -> str:
    """Wait until a table's first batch begins; return the newest that is not whole yet."""
    while not (growing := landing.unfinished(*key)):
        if landing.batches(*key):
            raise Outgrown("a batch is landed whole")
        look.again()
    return growing[-1]


class _Look:
    """Waits between looks at the landing, and ends the waiting when extraction is over."""

    def __init__(self, over: Callable[[], bool]) -> None:
        self._over = over
        self._seconds = _LOOK_LEAST

    def found(self) -> None:
        """Say that something was there."""
        self._seconds = _LOOK_LEAST

    def again(self) -> None:
        """Wait for the next look."""
        if self._over():
            raise Outgrown("extraction ended without a whole batch")
        time.sleep(self._seconds)
        self._seconds = min(self._seconds * _LOOK_GROWTH, _LOOK_MOST)
