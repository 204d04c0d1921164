"""Checkpoints against blocks, people and batches that were read before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from tasks import checkpoints, database
from tasks.ops import migrations
from tests.fixtures.bronze import Warehouse


@dataclass
class Block:
    state: dict[str, Any]
    version: int
    rewind_to: dict[str, Any] | None = None


def test_row_and_block_are_reconciled_in_both_directions(warehouse: Warehouse) -> None:
    place = ("shop", "orders")
    with database.connect(warehouse.url, autocommit=True) as connection:
        migrations.migrate(connection)
        assert checkpoints.reconcile(connection, *place, None).checkpoint is None
        stale = checkpoints.reconcile(connection, *place, Block({"tick": 9}, 9))
        assert stale.checkpoint is None and stale.block_behind
        warehouse.load([{"_id": 1}])
        behind = checkpoints.reconcile(connection, *place, Block({}, 0))
        assert behind.block_behind and behind.checkpoint is not None and behind.checkpoint.state == {"tick": 1}
        ahead = checkpoints.reconcile(connection, *place, Block({"tick": 99}, 7))
        assert ahead.block_behind and ahead.checkpoint == behind.checkpoint
        assert not checkpoints.reconcile(connection, *place, Block({"tick": 1}, 1)).block_behind
        rewound = checkpoints.reconcile(connection, *place, Block({"tick": 1}, 1, {"tick": 0}))
        assert rewound.rewound and rewound.checkpoint is not None
        assert (rewound.checkpoint.state, rewound.checkpoint.version) == ({"tick": 0}, 2)
    assert warehouse.rows("select cause, state from ops.checkpoint_history order by id") == [
        ("load", {"tick": 1}),
        ("rewind", {"tick": 0}),
    ]


def test_a_wish_that_came_after_the_blocks_were_looked_up_is_carried_out_and_not_overwritten(
    warehouse: Warehouse, place: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.blocks import BlockState
    from flows.table_tasks import start_state
    from tasks import checkpoint_block

    ref, settings = place
    warehouse.load([{"_id": 1}])
    looked_up = BlockState({}, 0)
    monkeypatch.setattr(checkpoint_block, "load", lambda *_: Block({}, 0, {"tick": 0}))
    saved: list[Any] = []
    monkeypatch.setattr(checkpoint_block, "save", lambda _source, _table, checkpoint: saved.append(checkpoint))
    assert start_state(settings, ref, looked_up) == {"tick": 0}
    assert [(checkpoint.state, checkpoint.version) for checkpoint in saved] == [({"tick": 0}, 2)]
    assert warehouse.value("select state from ops.checkpoints") == {"tick": 0}


def test_a_batch_read_before_a_rewind_loads_but_does_not_undo_it(warehouse: Warehouse) -> None:
    warehouse.load([{"_id": 1}])
    warehouse.execute("update ops.checkpoints set rewound_at = '2027-01-01', state = '{\"tick\": 0}', version = 2")
    result = warehouse.load([{"_id": 2}])
    assert result.inserted == 1 and "set by hand" in result.warnings[0]
    assert warehouse.value("select state from ops.checkpoints") == {"tick": 0}
