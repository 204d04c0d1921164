"""sources.yaml of kind `mongodb`: a database and its collections."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

from pydantic import Field, PrivateAttr, SecretStr, field_validator, model_validator

from tasks.sources.config import Duration, Kind, Name, NamedPath, Source, Strict, Table, TableRef


class Fields(Strict):
    """Which fields of a document are read: all but `exclude`, or only `include`."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _one_way(self) -> Fields:
        if self.include and self.exclude:
            raise ValueError("give include or exclude, not both")
        if "_id" in self.exclude:
            raise ValueError("exclude: _id is the row's key and is always read")
        return self


class MongoTable(Table):
    """One MongoDB collection.

    Attributes:
        collection: Name in the database; unset means the table's own name.
        mode: `full` reads all each time, `incremental` what is new by `cursor`, `cdc` the change stream.
        cursor: Field that grows with every change, for `incremental`.
        lag: Incremental reads start this much before the last cursor value (dates only).
        missing_cursor: Documents whose cursor is missing or null: `error`, `include` each time, or `exclude`.
        deletes: `sweep` compares the `_id` sets to find deleted documents; cdc and full know them already.
        filter: A MongoDB query in extended JSON, sent to the server.
        document: Keep each document whole, as BSON, in the column `_document`.
        partitions: `_id` ranges that are read side by side, at least; 1 reads all as one range, in storage order, and
            does not ask for the size. By default the size decides, and ranges follow each other.
        hint: Name of an index the server must use for the cursor's window, or for the filter of mode full, which is
            then read as one range.
        on_lost_token: When the change stream cannot be resumed: `fail`, or read all again and find deletes.
        max_events: A cdc run ends after this many events; the next goes on.
        max_seconds: A cdc run ends after this time; the next goes on.
    """

    collection: str | None = None
    mode: Literal["full", "incremental", "cdc"] = "full"
    cursor: str | None = None
    lag: Duration = timedelta(0)
    missing_cursor: Literal["error", "include", "exclude"] = "error"
    deletes: Literal["none", "sweep"] = "none"
    filter: dict[str, Any] = Field(default_factory=dict)
    fields: Fields = Fields()
    document: bool = False
    partitions: int | None = Field(default=None, ge=1, le=256)
    hint: str | None = None
    on_lost_token: Literal["fail", "resnapshot"] = "fail"  # noqa: S105  a policy, no password
    max_events: int = Field(default=1_000_000, ge=1)
    max_seconds: int = Field(default=900, ge=1)

    _fingerprinted: tuple[str, ...] = PrivateAttr(default=("arrays", "transforms", "fields"))

    @field_validator("filter")
    @classmethod
    def _of_values(cls, query: dict[str, Any]) -> dict[str, Any]:
        # Imported where a table has a filter, as most commands read no document.
        from tasks.mongodb.values import as_query

        result = as_query(query)
        if not isinstance(result, dict):
            raise ValueError("must be a query, such as {channel: web}, not a value")
        return result

    @field_validator("types")
    @classmethod
    def _not_of_the_key(cls, types: dict[str, Kind]) -> dict[str, Kind]:
        if "_id" in types:
            raise ValueError("_id is the row's key and stays as it is")
        return types

    @model_validator(mode="after")
    def _mode_fits(self) -> MongoTable:
        if self.mode == "incremental" and not self.cursor:
            raise ValueError("mode incremental needs a cursor: the field that grows with every change")
        if self.mode != "incremental" and self.cursor:
            raise ValueError(f"cursor is for mode incremental, this table is {self.mode}")
        if self.mode != "incremental" and self.deletes == "sweep":
            raise ValueError(f"deletes: sweep is for mode incremental; {self.mode} knows deletes already")
        if self.hint and self.mode != "incremental" and not (self.mode == "full" and self.filter):
            raise ValueError("hint is for the cursor of mode incremental, or for the filter of mode full")
        if self.hint and self.mode == "full" and (self.partitions or 1) > 1:
            raise ValueError("partitions are read by the index of _id, so there can be no other hint")
        return self

    @property
    def named_paths(self) -> tuple[NamedPath, ...]:
        """See `Table`."""
        return (
            *(NamedPath("fields, include", path) for path in self.fields.include),
            *(NamedPath("fields, exclude", path, unread=True) for path in self.fields.exclude),
            *super().named_paths,
        )

    @model_validator(mode="after")
    def _keeps_what_it_may(self) -> MongoTable:
        hidden = [path for step in self.transforms if (path := step.drop or step.hash)]
        if self.document and hidden:
            raise ValueError(
                f"document: true would keep what transforms drop or hash ({', '.join(hidden)}): "
                "leave it at the server with fields: {exclude: [...]}, or do without document"
            )
        if self.document:
            # Not where it is false, as the hashes of all tables would be others.
            self._fingerprinted = (*self._fingerprinted, "document")
        return self

    @property
    def one_range(self) -> bool:
        """Whether a snapshot is one range whatever its size: asked for, or read by another index than that of _id."""
        return self.partitions == 1 or (self.mode == "full" and self.hint is not None)


class MongoSource(Source):
    """A MongoDB database and how gently it is read.

    Attributes:
        change_stream: Whether each cdc table has a change stream of its own, or those of one run share the database's.
    """

    kind: Literal["mongodb"]
    uri: SecretStr | None = None
    block: str | None = None
    database: str
    read_preference: Literal["primary", "primaryPreferred", "secondary", "secondaryPreferred", "nearest"] = "primary"
    read_concern: Literal["local", "majority"] = "majority"
    max_time_ms: int | None = Field(default=None, ge=1)
    documents_per_second: int | None = Field(default=None, ge=1)
    change_stream: Literal["collection", "database"] = "collection"
    tables: dict[Name, MongoTable] = Field(min_length=1)

    @property
    def secret_block(self) -> str | None:
        """See `Source`."""
        return self.block

    @model_validator(mode="after")
    def _one_address(self) -> MongoSource:
        if (self.uri is None) == (self.block is None):
            raise ValueError("give uri or block, one of them")
        return self

    @model_validator(mode="after")
    def _position_is_durable(self) -> MongoSource:
        moving = [name for name, table in self.tables.items() if table.mode != "full"]
        if self.read_concern == "local" and moving:
            raise ValueError(
                "read_concern: local may show what a failover takes back, so it is for mode full only; "
                f"{', '.join(moving)} would pass over what comes after"
            )
        return self


MongoRef = TableRef[MongoSource, MongoTable]
"""A collection with its source."""


def collection_name(ref: MongoRef) -> str:
    """Return the collection that a table reads."""
    return ref.table.collection or ref.table_name
