"""What is told when a batch was read from something else than the one before."""

from __future__ import annotations

from tasks.drift.origin import index_lost, refilled
from tasks.landing.manifest import Origin


def test_another_identity_under_the_same_name_is_told_and_one_that_is_not_known_is_not() -> None:
    told = refilled(Origin(identity="a"), Origin(identity="b"))
    assert told is not None and told.change == "refilled" and told.evidence == {"was": "a", "is": "b"}
    assert refilled(Origin(identity="a"), Origin(identity="a")) is None
    assert refilled(Origin(), Origin(identity="a")) is refilled(Origin(identity="a"), Origin()) is None


def test_an_index_is_lost_only_where_the_same_cursor_had_one() -> None:
    had, lost = Origin(cursor="at", cursor_indexed=True), Origin(cursor="at", cursor_indexed=False)
    told = index_lost(had, lost)
    assert told is not None and (told.field, told.change) == ("at", "index_lost")
    assert index_lost(lost, lost) is index_lost(lost, had) is index_lost(had, Origin(cursor="at")) is None
    assert index_lost(had, Origin(cursor="moved", cursor_indexed=False)) is None
