"""The changes of one table by the application's likely releases: what came together was most likely meant together."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from tasks.ops.schema_changes import Dated

TOGETHER = timedelta(minutes=30)
"""Batches read within this time of each other show one release: while it rolls out, old and new versions write."""


def releases(changes: Iterable[Dated]) -> list[list[Dated]]:
    """Return the changes in groups, in their order: those of one batch, and of batches read shortly after each other.

    Args:
        changes: Of one table, by batch, oldest first.
    """
    groups: list[list[Dated]] = []
    for one in changes:
        last = groups[-1][-1] if groups else None
        if last and (one.change.batch_id == last.change.batch_id or one.at - last.at <= TOGETHER):
            groups[-1].append(one)
        else:
            groups.append([one])
    return groups
