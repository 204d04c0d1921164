"""Reading a table's source again: the checkpoint is set back, and old rows stay until what is read takes their place.

Beginning notes the reset and sets the checkpoint. Whichever run then loads a batch that was read from there completes
it with that load (`Loader.replace`): so a reset that was killed goes on with any run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg

from tasks import database
from tasks.bronze.destination import Destination
from tasks.bronze.load import OpenDestination, reconcile, take_lock
from tasks.bronze.pending import pending
from tasks.bronze.postgres.destination import Postgres
from tasks.landing import Landing
from tasks.ops import batches, checkpoints, migrations, resets
from tasks.ops import relations as named
from tasks.ops.relations import ROOT
from tasks.settings import Settings
from tasks.sources import TableRef


@dataclass(frozen=True)
class ResetPlan:
    """What a reset does, or would do.

    Attributes:
        live: Rows that are live now, and stay readable.
        replaces: Whether what is read takes the place of all of them; if not, it is merged.
        waiting: Batches that are landed and not loaded, which are removed.
        resumed: Whether the same reset is under way already.
        estimate: Rows at the source, about; None where it cannot tell.
    """

    live: int
    replaces: bool
    waiting: tuple[str, ...]
    resumed: bool
    estimate: int | None = None


def plan_reset(ref: TableRef, settings: Settings, since: str | None = None, *, estimate: bool = True) -> ResetPlan:
    """Return what a reset would do; nothing is changed.

    Args:
        ref: The table.
        settings: Where warehouse and landing are.
        since: Time from which it would be read again, ISO 8601; None means everything.
        estimate: Whether to ask the source how many rows it has.

    Raises:
        ConfigError: The table cannot be read since a time, or `since` is none.
        SourceError: The source does not answer.
    """
    if since:
        ref.connector.state_since(ref, since)
    with _opened(settings) as connection:
        waiting = resets.find(connection, ref.key)
        return ResetPlan(
            live=_live(cursor := connection.cursor(), Postgres(cursor), ref),
            replaces=since is None and ref.connector.reads_whole,
            waiting=tuple(pending(settings.database_url(), Landing.open(settings.landing_root()), ref)),
            resumed=waiting is not None and waiting.since == since,
            estimate=ref.connector.estimate(ref) if estimate else None,
        )


def begin_reset(
    ref: TableRef,
    settings: Settings,
    since: str | None = None,
    *,
    asked_by: str = "",
    why: str = "",
    open_destination: OpenDestination = Postgres,
) -> ResetPlan:
    """Note a reset and set the checkpoint back, in one transaction; one that is under way already is left as it is.

    Batches that wait to be loaded are removed from the landing: the source is read again, and one of them may be what
    cannot load.

    Args:
        ref: The table.
        settings: Where warehouse and landing are.
        since: Time to read from, ISO 8601; None reads everything.
        asked_by: Who asks for it.
        why: Their reason.
        open_destination: Where the rows are.

    Raises:
        ConfigError: The table cannot be read since a time, or `since` is none.
        LoadError: A load of the table did not end in time.
    """
    key, connector = ref.key, ref.connector
    state = connector.state_since(ref, since) if since else {}
    replaces = since is None and connector.reads_whole
    url, landing = settings.database_url(), Landing.open(settings.landing_root())
    with _opened(settings) as connection, database.named_errors(ref.name), connection.transaction():
        cursor = connection.cursor()
        take_lock(cursor, *key)
        bronze = open_destination(cursor)
        # Before its landed files are removed: they tell what was rejected.
        reconcile(cursor, bronze, landing, key)
        live = _live(cursor, bronze, ref)
        under_way = resets.find(cursor, key)
        if under_way is not None and under_way.since == since:
            return ResetPlan(live, under_way.replaces, (), resumed=True)
        known = [*batches.ids(cursor, key), *landing.batches(*key), *landing.unfinished(*key)]
        resets.begin(
            cursor,
            key,
            since=since,
            state=state,
            replaces=replaces,
            after_batch=max(known, default=""),
            asked_by=asked_by,
            why=why,
        )
        checkpoints.write(cursor, key, mode=connector.mode(ref), state=state, batch_id=None, cause="reset")
        # Under the lock, as none of them is being loaded then; before the commit, as none can be from then on.
        waiting = tuple(pending(url, landing, ref))
        for batch_id in waiting:
            landing.delete(*key, batch_id)
    return ResetPlan(live, replaces, waiting, resumed=False)


def is_complete(ref: TableRef, settings: Settings) -> bool:
    """Return whether the last reset is done, once a run of its table has gone well.

    One that merges is done with that: there may have been nothing to read since its time.
    """
    with _opened(settings) as connection:
        reset = resets.find(connection, ref.key)
        if reset is not None and not reset.replaces:
            resets.end(connection, ref.key, None)
            return True
        return resets.is_answered(connection, ref.key)


def _opened(settings: Settings) -> psycopg.Connection[Any]:
    connection = database.connect(settings.database_url(), application="warehouse reset")
    migrations.migrate(connection)
    connection.commit()
    return connection


def _live(cursor: psycopg.Cursor[Any], bronze: Destination, ref: TableRef) -> int:
    name = named.of_table(cursor, ref.key).get(ROOT)
    return 0 if name is None or bronze.schema_of(name) is None else bronze.count(name)
