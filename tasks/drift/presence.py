"""Fields that became optional or always null."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from tasks.drift.chance import is_gone, is_new

# So many rows in a row with a field that is sometimes missing make it one that all have.
_COMPLETE = 1_000


class Presence(BaseModel):
    """How a field was there.

    Attributes:
        complete: Rows up to here, all of which had it.
        rows: Rows since the first that had it not.
        missing: Those of them that had it not.
        without: Rows of the last batches, none of which had it.
        optional: Whether it is known to be missing at times.
    """

    complete: int = 0
    rows: int = 0
    missing: int = 0
    without: int = 0
    optional: bool = False


def became_optional(known: Presence, rows: int, present: int) -> dict[str, Any] | None:
    """Return evidence when a field that all rows had is missing in some; of one that none has, nothing.

    Args:
        known: Of the batches before; becomes what is known after this one.
        rows: Rows of the batch that could have it.
        present: Rows that have it, null or not.
    """
    if not present:
        known.without += rows
        return None
    missing = rows - present
    if not is_gone(1.0, known.without):
        rows, missing = rows + known.without, missing + known.without
    known.without = 0
    if known.optional:
        known.complete = 0 if missing else known.complete + rows
        known.optional = known.complete < _COMPLETE
        return None
    if not missing and not known.missing:
        known.complete += rows
        return None
    known.rows, known.missing = known.rows + rows, known.missing + missing
    found = is_new(known.complete, known.rows, known.missing)
    if not found and known.rows <= known.complete:
        return None
    evidence = {"rows_before": known.complete, "rows": known.rows, "missing": known.missing}
    known.complete = known.rows = known.missing = 0
    known.optional = True
    return evidence if found else None


class Nulls(BaseModel):
    """How often a field was null.

    Attributes:
        values: How often it had a value.
        nulls: How often it was null before the last value.
        since: How often it was null since.
        always: Whether it is known to be always null.
    """

    values: int = 0
    nulls: int = 0
    since: int = 0
    always: bool = False


def became_null(known: Nulls, present: int, nulls: int) -> dict[str, Any] | None:
    """Return evidence when a field that had values is always null.

    Args:
        known: Of the batches before; becomes what is known after this one.
        present: Rows of the batch that have it, null or not.
        nulls: Rows in which it is null.
    """
    if present > nulls:
        known.values, known.nulls, known.since = known.values + present - nulls, known.nulls + known.since + nulls, 0
        return None
    known.since += nulls
    rate = known.values / (known.values + known.nulls) if known.values else 0.0
    if known.always or not is_gone(rate, known.since):
        return None
    known.always = True
    return {"nulls": known.since, "values_before": round(rate, 6)}


def has_values(known: Nulls, present: int, nulls: int) -> dict[str, Any] | None:
    """Return evidence when a field that was always null has values again; to be asked before `became_null`."""
    if not known.always or present <= nulls:
        return None
    known.always = False
    return {"present": present, "values": present - nulls}
