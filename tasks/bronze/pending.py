"""Loading all that is landed and not yet in bronze, and the first batch of a table already while it is being landed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg

from tasks import database
from tasks.bronze.destination import Destination, LandedPart
from tasks.bronze.load import Loader, OpenDestination, holds_all, load_batch, stamp, take_lock
from tasks.bronze.outcome import LoadResult
from tasks.bronze.postgres.destination import Postgres
from tasks.bronze.seen_plans import SeenPlans
from tasks.errors import LandingError, LoadError
from tasks.landing import Landing, Manifest
from tasks.ops import TableKey, batches, columns, migrations
from tasks.ops import relations as named
from tasks.ops.relations import HISTORY, ROOT
from tasks.settings import Settings
from tasks.sources import TableRef

# Seconds between looks at a growing batch: soon after something came, less often the longer nothing does. A batch of
# a second or two is not overslept, and an object store is not listed all the time.
_LOOK_LEAST, _LOOK_MOST, _LOOK_GROWTH = 0.05, 2.0, 1.1


def load_pending(ref: TableRef, settings: Settings, open_destination: OpenDestination = Postgres) -> list[LoadResult]:
    """Load every landed batch of a table that is not in bronze, oldest first.

    A batch that cannot be loaded is passed over where one that waits after it holds all that it does: a mended source
    that was read as a whole again is not held up by what was landed before.

    Args:
        ref: The table.
        settings: Where warehouse and landing are.
        open_destination: Where the rows go.

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
            results.append(load_batch(url, landing, manifest, ref.table, open_destination))
        except (LandingError, LoadError):
            if not any(_holds(newer, manifest) for newer in waiting[number:]):
                raise
            passed.append(manifest)
            continue
        # Superseded now, and noted as such.
        noted = [older for older in passed if _holds(manifest, older)]
        results += [load_batch(url, landing, older, ref.table, open_destination) for older in noted]
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


@dataclass(frozen=True)
class Deferred:
    """A batch was not loaded while it was being landed: nothing was committed, and it has to be loaded as any other.

    Attributes:
        reason: Why.
    """

    reason: str


def load_ahead(ref: TableRef, settings: Settings, over: Callable[[], bool]) -> LoadResult | Deferred:
    """Load the first batch of a table while it is being landed: its last rows are all that is left when it is whole.

    Args:
        ref: A table that was never loaded and is being extracted.
        settings: Where warehouse and landing are.
        over: Whether to stop waiting for more, because extraction has ended.

    Raises:
        WarehouseError, psycopg.Error: Loading failed; nothing was committed.
    """
    landing = Landing.open(settings.landing_root())
    look = _Look(over)
    batch_id = _first_batch(landing, ref.key, look)
    if isinstance(batch_id, Deferred):
        return batch_id
    with database.connect(settings.database_url(), application="warehouse load") as connection:
        migrations.migrate(connection)
        connection.commit()
        relations = [ROOT, *getattr(ref.table, "child_paths", ())]
        if ref.table.history:
            relations.append(HISTORY)
        named.add(connection, ref.key, relations)
        connection.commit()
        cursor = connection.cursor()
        result = _load_growing(cursor, Postgres(cursor), landing, ref, batch_id, look)
        if isinstance(result, Deferred):
            connection.rollback()
        return result


def _load_growing(
    cursor: psycopg.Cursor[Any],
    destination: Destination,
    landing: Landing,
    ref: TableRef,
    batch_id: str,
    look: _Look,
) -> LoadResult | Deferred:
    """Load a batch as it grows within the caller's transaction, which must not be committed where it is deferred."""
    key = ref.key
    take_lock(cursor, *key)
    if batches.ids(cursor, key):
        return Deferred("the table has been loaded")
    names = named.of_table(cursor, key)
    known = {child: columns.of_relation(cursor, key, child, batch_id) for child in names}
    plans = SeenPlans(known, ref.table.declared_in, destination.capabilities)
    tables = destination.fill(names, stamp(cursor, batch_id, landing.plan(*key, batch_id).extracted_at), plans)
    if tables is None:
        return Deferred("the destination takes batches whole")
    parts = _Arriving(landing, key, batch_id, look)
    if (reason := tables.write(parts)) is not None:
        return Deferred(reason)
    if not parts.is_whole:
        return Deferred("extraction ended without a whole batch")
    loader = Loader(cursor, destination, landing, landing.manifest(*key, batch_id), ref.table, filled=tables)
    if not loader.prepare():
        return Deferred("relations have to be changed first")
    if (reason := loader.confirm()) is not None:
        return Deferred(reason)
    return loader.write()


class _Arriving:
    """A growing batch's parts as they come, until it is whole or extraction is over; None after each look in vain.

    Those of the kind of the last one come first, since each change of the relation ends a COPY.

    Attributes:
        is_whole: Whether the batch is; known once all parts were given.
    """

    def __init__(self, landing: Landing, key: TableKey, batch_id: str, look: _Look) -> None:
        self._landing = landing
        self._batch = (*key, batch_id)
        self._look = look
        self.is_whole = False

    def __iter__(self) -> Iterator[LandedPart | None]:
        """Yield the parts."""
        taken: set[str] = set()
        kind = ""
        while True:
            # Asked before the look, so that all that was landed until then is seen.
            over = self._look.is_over()
            found, whole = self._landing.growing(*self._batch)
            new = [file for file in found if file not in taken]
            if new:
                self._look.found()
                if not kind or not any(file.startswith(kind) for file in new):
                    kind = new[0].partition("-")[0]
                files = [file for file in new if file.startswith(kind)]
                taken.update(files)
                for file in files:
                    yield self._landing.read_growing(*self._batch, file)
                continue
            self.is_whole = whole
            if whole or over or self._landing.batches(*self._batch[:2]) not in ([], [self._batch[2]]):
                return
            self._look.wait()
            yield None


def _first_batch(landing: Landing, key: TableKey, look: _Look) -> str | Deferred:
    """Wait until a table's first batch has a part; return the newest that is not whole yet.

    Parts are cut by bytes: a batch that is whole by its first one is too small to gain from being loaded ahead.
    """
    while True:
        over = look.is_over()
        if landing.batches(*key):
            return Deferred("a batch is landed whole")
        growing = landing.unfinished(*key)
        if growing and landing.growing(*key, growing[-1])[0]:
            return growing[-1]
        if over:
            return Deferred("extraction ended without a whole batch")
        look.wait()


class _Look:
    """Waits between looks at the landing, until extraction is over."""

    def __init__(self, over: Callable[[], bool]) -> None:
        self._over = over
        self._seconds = _LOOK_LEAST

    def found(self) -> None:
        """Say that something was there."""
        self._seconds = _LOOK_LEAST

    def is_over(self) -> bool:
        """Return whether extraction is over."""
        return self._over()

    def wait(self) -> None:
        """Wait for the next look."""
        time.sleep(self._seconds)
        self._seconds = min(self._seconds * _LOOK_GROWTH, _LOOK_MOST)
