"""Every kind of change that the ledger tells, with what it means and what to do about it."""

from __future__ import annotations

from typing import NamedTuple


class Kind(NamedTuple):
    """A kind of change.

    Attributes:
        meaning: What was seen.
        next_step: What a person does about it.
    """

    meaning: str
    next_step: str


_ASK = "ask the application's team whether it was meant"
_WRITE_DBT = "`warehouse drift write-dbt` the table's staging model, build it, close the entry"

KINDS: dict[str, Kind] = {
    "appeared": Kind("a field that no document had before", _WRITE_DBT),
    "vanished": Kind(
        "a field that documents had and no longer have", "ask the application's team whether it was meant"
    ),
    "reappeared": Kind("a field that had vanished is there again", "close the entries of both changes"),
    "widened": Kind("values of a wider type, for which the column was widened or got one beside it", _WRITE_DBT),
    "type_conflict": Kind(
        "values that do not fit their column and are in _rescued",
        "give the field a type in sources.yaml, or `warehouse rebuild` the table, then `warehouse rescue` it",
    ),
    "renamed": Kind(
        "a new field with the values that another one had in the same rows",
        "`warehouse drift write-dbt` reads both names as one; were they two fields, close the entry first",
    ),
    "became_flat": Kind(
        "a nested document is a plain value, or its fields stand beside it",
        "read the old columns below the field and the new one as one in the staging model",
    ),
    "became_nested": Kind(
        "a plain value is a nested document, or fields stand within one",
        "read the old column and the new ones below the field as one in the staging model",
    ),
    "became_array": Kind(
        "an array where a single value or document was",
        "set `arrays: {FIELD: table}` in sources.yaml if its elements are to be rows, then reset the table",
    ),
    "became_single": Kind(
        "a single value or document where an array was",
        "nothing where the array is a child table, whose element it is; else read both columns in the staging model",
    ),
    "became_optional": Kind(
        "a field that all documents had is missing in some",
        "look for models that expect it: tests of not_null, inner joins on it, `required` rules",
    ),
    "became_null": Kind("a field that had values is always null", _ASK),
    "no_longer_null": Kind("a field that was always null has values again", "close the entries of both changes"),
    "new_value": Kind(
        "one more value of a text field that had few",
        "add it where models or reports list the values: accepted_values, `case`, rules of `set`",
    ),
    "constant_changed": Kind(
        "another value of a field that always had the same", "look for models that take the old value for granted"
    ),
    "id_type_changed": Kind(
        "an id of another type than before",
        "check the joins on it: the same id as text and as ObjectId or number has two spellings",
    ),
    "dropped": Kind(
        "what the table is read from is gone",
        "correct `collection:` in sources.yaml if it was renamed; else leave the table out, its rows stay",
    ),
    "source_renamed": Kind(
        "what the table is read from is gone, and its ids are in a collection that no table reads",
        "set `collection:` of the table to that name in sources.yaml: rows and checkpoint stay, cdc is read anew once",
    ),
    "refilled": Kind(
        "another collection, or the like, has its name: dropped and filled again, or another one renamed to it",
        "ask the application's team; `warehouse verify` the table, and `warehouse reset` it if rows are missing",
    ),
    "index_lost": Kind("the cursor has no index any more", "have it created again: each run reads all of the source"),
    "unit_changed": Kind(
        "the median of a number moved by a factor, as when euros become cents",
        "ask the application's team from when on, and bring both to one unit in the staging model",
    ),
}
"""By name, as in `ops.schema_changes.change`."""
