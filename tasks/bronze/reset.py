"""Emptying a table and setting its checkpoint back, so that the next run reads its source again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg import sql

from tasks import checkpoints, database
from tasks.bronze import ddl
from tasks.bronze.load import take_lock
from tasks.bronze.pending import pending
from tasks.bronze.registry import HISTORY, relations_of
from tasks.landing import Landing
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
    place = (ref.source_name, ref.table_name)
    url, landing = settings.database_url(), Landing.open(settings.landing_root())
    with database.connect(url, application="warehouse reset") as connection:
        database.ensure_ops(connection)
        connection.commit()
        with database.named_errors(ref.name), connection.transaction():
            cursor = connection.cursor()
            take_lock(cursor, *place)
            relations = {child: name for child, name in relations_of(cursor, *place).items() if child != HISTORY}
            live = 0
            if "" in relations:
                root = ddl.relation(relations[""])
                counted = sql.SQL("select count(*) from {} where _deleted_at is null").format(root)
                live = cursor.execute(counted).fetchall()[0][0]
            ddl.empty_relations(cursor, list(relations.values()))
            checkpoints.write(cursor, *place, mode=mode, state=state, batch_id=None, cause="reset")
            # Under the lock, as none of them is being loaded then; before the commit, as none can be from then on.
            for batch_id in pending(url, landing, ref):
                landing.delete(*place, batch_id)
    return live
