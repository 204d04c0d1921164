"""sources.yaml of kind `files`: a folder or an object store and the files of each table."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PrivateAttr, model_validator

from tasks.sources.config import Kind, Name, NamedPath, Source, Table, TableRef


class FilesTable(Table):
    """Files of one shape.

    Attributes:
        pattern: Glob below the source's path.
        key: Columns that identify a row.
        partition: Date column; a changed file replaces the days that it holds.
        types: Column types of a CSV file, where text is not wanted.
    """

    pattern: str
    format: Literal["csv", "parquet", "jsonl"]
    key: tuple[str, ...] = Field(min_length=1)
    partition: str | None = None
    types: dict[str, Kind] = Field(default_factory=dict)

    _fingerprinted: tuple[str, ...] = PrivateAttr(default=("arrays", "transforms", "types", "key"))

    @model_validator(mode="after")
    def _arrays_fit(self) -> FilesTable:
        if self.child_paths and self.format != "jsonl":
            raise ValueError(f"arrays as tables need format jsonl, this table is {self.format}: use `json` for them")
        return self

    @property
    def named_paths(self) -> tuple[NamedPath, ...]:
        """See `Table`."""
        return (*(NamedPath("types", path) for path in self.types), *super().named_paths)


class FilesSource(Source):
    """A folder or object store prefix of files."""

    kind: Literal["files"]
    path: str
    tables: dict[Name, FilesTable] = Field(min_length=1)


FilesRef = TableRef[FilesSource, FilesTable]
"""A table of files with its place."""
