"""Emptying a table and setting its checkpoint back, so that the next run reads its source again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg import sql

from tasks import database
from tasks.bronze import ddl
from tasks.bronze.load import take_lock
from tasks.bronze.pending import pending
from tasks.landing import Landing
from tasks.ops import checkpoints, migrations
from tasks.ops import relations as named
from tasks.ops.relations import HISTORY, ROOT
from tasks.settings import Settings
from tasks.sources import TableRef


def reset_table(ref: TableRef, settings: Settings, state: Mapping[str, Any], mode: str) -> int:
    """Empty a bronze table with its child tables and set its checkpoint, in one transaction.

    The columns stay, so that the views above do. The history table, if there is one, keeps its versions. Batches that
    wait to be loaded are removed from the landing: the source is read again, and one of them may be what cannot load.

    Args:
        ref: The table.
        settings: Where warehouse and landing are.
        state: The checkpoint's new state; empty means from the beginning.
        mode: The table's mode.

    Returns:
        The number of rows that were live.
    """
    key = ref.key
    url, landing = settings.database_url(), Landing.open(settings.landing_root())
    with database.connect(url, application="warehouse reset") as connection:
        migrations.migrate(connection)
        connection.commit()
        with database.named_errors(ref.name), connection.transaction():
            cursor = connection.cursor()
            take_lock(cursor, *key)
            relations = ddl.existing(cursor, named.of_table(cursor, key))
            relations.pop(HISTORY, None)
            live = 0
            if ROOT in relations:
                root = ddl.relation(relations[ROOT])
                counted = sql.SQL("select count(*) from {} where _deleted_at is null").format(root)
                live = cursor.execute(counted).fetchall()[0][0]
            ddl.empty_relations(cursor, list(relations.values()))
            checkpoints.write(cursor, key, mode=mode, state=state, batch_id=None, cause="reset")
            # Under the lock, as none of them is being loaded then; before the commit, as none can be from then on.
            for batch_id in pending(url, landing, ref):
                landing.delete(*key, batch_id)
    return live
