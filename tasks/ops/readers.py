"""`ops.readers` and `ops.personal_columns`: who may read gold, and which of its columns they may not see."""

from __future__ import annotations

from collections.abc import Iterable

from tasks.ops import Executor


def add(db: Executor, role: str) -> None:
    """Note a role as a reader."""
    db.execute("insert into ops.readers values (%s) on conflict do nothing", [role])


def hide(db: Executor, columns: Iterable[str]) -> None:
    """Add names of columns that no reader may see; case does not matter."""
    db.execute(
        "insert into ops.personal_columns select distinct lower(name) from unnest(%s::text[]) name"
        " on conflict do nothing",
        [list(columns)],
    )


def hidden(db: Executor) -> set[str]:
    """Return the names of columns that no reader may see, in small letters."""
    return {name for (name,) in db.execute("select column_name from ops.personal_columns").fetchall()}
