"""`ops.waits`: until when a source gives nothing, as its quota is used up; no run of any process asks it before."""

from __future__ import annotations

from datetime import datetime

from tasks.ops import Executor


def read(db: Executor) -> dict[str, datetime]:
    """Return by source until when it gives nothing; what is over is left out."""
    return dict(db.execute("select source, until from ops.waits where until > now()").fetchall())


def write(db: Executor, source: str, until: datetime, said: str) -> None:
    """Note until when a source gives nothing, and what it said."""
    db.execute(
        "insert into ops.waits (source, until, said) values (%s, %s, %s)"
        " on conflict (source) do update set until = excluded.until, said = excluded.said, noted_at = now()",
        [source, until, said],
    )
