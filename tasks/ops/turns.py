"""`ops.turns`: when the next request of a source may be sent, by whatever process reads it."""

from __future__ import annotations

from tasks.ops import Executor

# The generic cell rate algorithm: `due` is when the bucket of requests is full again. Each request moves it by the time
# that it is worth, and waits until it is no more than a whole bucket away. One statement, by the server's clock.
_TAKE = """
insert into ops.turns as known (source, due)
values (%(source)s, clock_timestamp() + %(each)s * interval '1 second')
on conflict (source) do update
    set due = greatest(known.due, clock_timestamp()) + %(each)s * interval '1 second'
returning greatest(
    extract(epoch from due - clock_timestamp()) - %(seconds)s,
    extract(epoch from not_before - clock_timestamp()),
    0
)::float8
"""


def take(db: Executor, source: str, requests: float, seconds: float) -> float:
    """Take a turn of a source; return the seconds to wait before the request may be sent.

    Args:
        db: In autocommit: others wait for the row until the transaction ends.
        source: Whose turn.
        requests: How many requests may be sent in `seconds`.
        seconds: See there.
    """
    found = db.execute(_TAKE, {"source": source, "each": seconds / requests, "seconds": seconds}).fetchone()
    assert found is not None  # noqa: S101 - an upsert returns its row
    return float(found[0])


def pause(db: Executor, source: str, seconds: float) -> None:
    """Let nobody have a turn of a source for so long; a longer pause stays."""
    db.execute(
        "insert into ops.turns as known (source, due, not_before)"
        " values (%(source)s, clock_timestamp(), clock_timestamp() + %(seconds)s * interval '1 second')"
        " on conflict (source) do update set not_before = greatest(known.not_before, excluded.not_before)",
        {"source": source, "seconds": seconds},
    )
