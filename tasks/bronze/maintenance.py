"""Retention of the landing and of statistics: never what is not loaded, never what a rebuild needs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tasks import database
from tasks.bronze.rebuild import base_of
from tasks.landing import Landing, Manifest
from tasks.ops import batches, field_statistics, migrations
from tasks.settings import Settings
from tasks.sources import TableRef

# Presence rates are taken from the last 20 batches; more are kept for people.
_STATISTICS_BATCHES = 200


@dataclass(frozen=True)
class Retained:
    """What maintenance did for one table.

    Attributes:
        removed: Ids of batches removed from the landing.
        abandoned: Ids of batches that were planned, never finished, and removed.
        kept: Number of batches left.
        bytes: Bytes of landed parts removed.
    """

    removed: list[str]
    abandoned: list[str]
    kept: int
    bytes: int


def retain(ref: TableRef, settings: Settings, keep: timedelta = timedelta(days=30)) -> Retained:
    """Remove old batches of a table from the landing.

    A batch goes only when it is older than `keep`, is in bronze, and a later complete read is in bronze as well, so
    that `rebuild` works at any time.

    Args:
        ref: The table.
        settings: Where warehouse and landing are.
        keep: Age below which nothing is removed.
    """
    key = ref.key
    landing = Landing.open(settings.landing_root())
    with database.connect(settings.database_url(), autocommit=True) as connection:
        migrations.migrate(connection)
        loaded = set(batches.ids(connection, key))
        field_statistics.keep_newest(connection, key, _STATISTICS_BATCHES)
    landed = landing.batches(*key)
    manifests = [landing.manifest(*key, batch_id) for batch_id in landed]
    oldest = datetime.now(UTC) - keep
    removable = _removable(manifests, loaded, oldest)
    for manifest in removable:
        landing.delete(*key, manifest.batch_id)
    # An unfinished batch is gone on with by the next run; one that is older than a loaded batch never will be.
    newest = max(loaded, default="")
    abandoned = [
        batch_id
        for batch_id in landing.unfinished(*key)
        if batch_id < newest and landing.plan(*key, batch_id).extracted_at < oldest
    ]
    for batch_id in abandoned:
        landing.delete(*key, batch_id)
    return Retained(
        [manifest.batch_id for manifest in removable],
        abandoned,
        len(landed) - len(removable),
        sum(manifest.bytes for manifest in removable),
    )


def _removable(manifests: list[Manifest], loaded: set[str], oldest: datetime) -> list[Manifest]:
    base = base_of([manifest for manifest in manifests if manifest.batch_id in loaded])
    if base is None:
        return []
    first_needed = [manifest for manifest in manifests if manifest.batch_id in loaded][base].batch_id
    return [
        manifest
        for manifest in manifests
        if manifest.batch_id in loaded and manifest.batch_id < first_needed and manifest.extracted_at < oldest
    ]
