"""sources.yaml: what to ingest, validated strictly, every mistake named with its line."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError

from tasks.errors import ConfigError

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_DURATION = re.compile(r"^(\d+)\s*(ms|s|m|h|d)$")
_UNITS = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
# What pydantic says in words of Python.
_SAID = {
    "extra_forbidden": "unknown key",
    "tuple_type": "must be a list, such as [a, b]",
    "dict_type": "must be keys and values, such as {a: 1}",
    "model_type": "must be keys and values; {} where every key has its default",
}
# Source and table names become Postgres names, Prefect block names and folders, so they stay plain.
_NAME = re.compile(r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$")
_NAME_LENGTH = 40

Kind = Literal[
    "int", "double", "decimal", "string", "bool", "date", "day", "micros", "objectid", "uuid", "binary", "json"
]


def _duration(value: object) -> object:
    if isinstance(value, str) and (match := _DURATION.match(value)):
        return timedelta(**{_UNITS[match[2]]: int(match[1])})
    if isinstance(value, timedelta):
        return value
    raise ValueError("must be a number with a unit, such as 30s, 10m, 2h or 7d")


def _name(value: str) -> str:
    if not _NAME.match(value) or len(value) > _NAME_LENGTH:
        raise ValueError(
            f"not a usable name: small letters, digits and single underscores, starting with a letter, "
            f"at most {_NAME_LENGTH}"
        )
    return value


Duration = Annotated[timedelta, BeforeValidator(_duration)]
Name = Annotated[str, AfterValidator(_name)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Fields(_Strict):
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


class OnDrift(_Strict):
    """What happens when documents change shape.

    Attributes:
        new: A field never seen: `add` a column, `rescue` its values into `_rescued`, or `fail` the load. With the
            latter two no column is added beside another either.
        type: A value that does not fit its column, nor the column once widened: `rescue` it into `_rescued`, or `fail`
            the load. With `rescue`, wider numbers and times get a column beside one that cannot be widened.
        missing: A field that no document carries any more: `keep` the column, or `fail` the load.
    """

    new: Literal["add", "rescue", "fail"] = "add"
    type: Literal["rescue", "fail"] = "rescue"
    missing: Literal["keep", "fail"] = "keep"


class Derive(_Strict):
    """A new column from an expression in Polars SQL over landed paths."""

    name: str
    expression: str
    kind: Kind

    @field_validator("expression")
    @classmethod
    def _parses(cls, expression: str) -> str:
        # Imported where a table derives something: commands that read no data need not wait for it.
        import polars as pl

        try:
            pl.sql_expr(expression)
        except (pl.exceptions.PolarsError, TypeError) as error:
            raise ValueError(f"not valid Polars SQL: {error}") from error
        return expression


class Transform(_Strict):
    """One step on the landed columns; exactly one of the keys is given."""

    drop: str | None = None
    hash: str | None = None
    rename: dict[str, str] | None = None
    cast: dict[str, Kind] | None = None
    derive: Derive | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Transform:
        given = [name for name, value in self if value is not None]
        if len(given) != 1:
            raise ValueError("a transform has exactly one of drop, hash, rename, cast, derive")
        return self

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths that the step takes away or changes."""
        return tuple(filter(None, (self.drop, self.hash, *(self.rename or ()), *(self.cast or ()))))

    def within(self, child: str) -> Transform | None:
        """Return the step as it acts on the rows of a child table; None where it names nothing in it."""
        inner = {path: path.removeprefix(f"{child}.") for path in self.paths if path.startswith(f"{child}.")}
        if not inner:
            return None
        if self.cast is not None:
            return Transform(cast={inner[path]: kind for path, kind in self.cast.items() if path in inner})
        (path,) = inner.values()
        return Transform(drop=path) if self.drop else Transform(hash=path)


class Table(_Strict):
    """What every table has, whatever its source.

    Attributes:
        resources: Resource class of the runs that move this table.
        hard_deletes: Remove deleted rows instead of marking them in `_deleted_at`.
        history: Keep every version of each row in `<table>__history`.
        reject_limit: More rejected documents than this in one batch fail the run; unset means no limit.
        on_drift: What happens when documents change shape.
        arrays: By path, whether an array becomes a child `table` or stays `json`.
    """

    resources: Literal["small", "medium", "large"] = "small"
    hard_deletes: bool = False
    history: bool = False
    reject_limit: int | None = Field(default=None, ge=0)
    on_drift: OnDrift = OnDrift()
    arrays: dict[str, Literal["table", "json"]] = Field(default_factory=dict)
    transforms: tuple[Transform, ...] = ()

    _fingerprinted: tuple[str, ...] = PrivateAttr(default=("arrays", "transforms"))

    @model_validator(mode="after")
    def _steps_reach(self) -> Table:
        """Refuse steps that would change nothing where they point to: what they were to hide would stay."""
        for step in self.transforms:
            if "_id" in step.paths:
                raise ValueError("transforms: _id is the row's key and stays as it is")
            for child in self.child_paths:
                if step.rename and any(path.startswith(f"{child}.") for path in step.rename):
                    raise ValueError(f"transforms: rename is for the table's own columns, not for its child {child}")
                if any(f"{child}.".startswith(f"{path}.") for path in (step.drop, step.hash) if path):
                    raise ValueError(
                        f"transforms: {step.drop or step.hash} holds the child table {child}: "
                        f"take it out of arrays, or name fields of it, such as {child}.name"
                    )
        return self

    def fingerprint(self) -> int:
        """Return 64 bits that change when the same document would land in another shape."""
        shape = self.model_dump(mode="json", include=set(self._fingerprinted))
        digest = hashlib.blake2b(json.dumps(shape, sort_keys=True).encode(), digest_size=8)
        return int.from_bytes(digest.digest(), "big")

    @property
    def child_paths(self) -> tuple[str, ...]:
        """Paths of the arrays that become child tables, parents first."""
        return tuple(sorted(path for path, shape in self.arrays.items() if shape == "table"))


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
    def one_range(self) -> bool:
        """Whether a snapshot is one range whatever its size: asked for, or read by another index than that of _id."""
        return self.partitions == 1 or (self.mode == "full" and self.hint is not None)


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


class MongoSource(_Strict):
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


class FilesSource(_Strict):
    """A folder or object store prefix of files."""

    kind: Literal["files"]
    path: str
    tables: dict[Name, FilesTable] = Field(min_length=1)


Source = Annotated[MongoSource | FilesSource, Field(discriminator="kind")]


@dataclass(frozen=True)
class TableRef:
    """A table with its place: what every stage is given."""

    source_name: str
    table_name: str
    source: MongoSource | FilesSource
    table: MongoTable | FilesTable

    @property
    def name(self) -> str:
        """`source.table`, as people write it."""
        return f"{self.source_name}.{self.table_name}"


class Sources(_Strict):
    """The whole of sources.yaml."""

    sources: dict[Name, Source] = Field(min_length=1)

    def refs(self) -> list[TableRef]:
        """Return every table, in the order of the file."""
        return [
            TableRef(source_name, table_name, source, table)
            for source_name, source in self.sources.items()
            for table_name, table in source.tables.items()
        ]

    def table(self, name: str) -> TableRef:
        """Return the table called `source.table`.

        Raises:
            ConfigError: No table has this name; the message lists those that exist.
        """
        for ref in self.refs():
            if ref.name == name:
                return ref
        known = ", ".join(ref.name for ref in self.refs())
        raise ConfigError(f"no table is called {name!r}", "sources.yaml", f"use one of: {known}")


def load_sources(path: Path, environment: Mapping[str, str] | None = None) -> Sources:
    """Read and validate sources.yaml.

    Args:
        path: The file.
        environment: Variables for `${NAME}`; default the process's environment.

    Raises:
        ConfigError: With every mistake and its line number.
    """
    try:
        document = YAML(typ="rt").load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read sources: {error.strerror}", str(path), "set WAREHOUSE_SOURCES") from None
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(
            "not valid YAML", str(path), "correct the line", (f"line {line}: {error.problem or error.context}",)
        ) from None
    if not isinstance(document, Mapping):
        raise ConfigError("sources.yaml is empty", str(path), "it starts with `sources:`")
    problems: list[str] = []
    expanded = _expand(document, os.environ if environment is None else environment, problems, document, ())
    try:
        sources = Sources.model_validate(expanded)
    except ValidationError as error:
        problems += [f"line {_line(document, _place(item))}: {_say(item)}" for item in error.errors()]
    if problems:
        problems.sort(key=lambda problem: int(problem.split(":")[0].removeprefix("line ")))
        raise ConfigError(f"{len(problems)} mistake(s)", str(path), "correct the lines below", tuple(problems))
    return sources


def _expand(
    node: object, environment: Mapping[str, str], problems: list[str], root: object, loc: tuple[str | int, ...]
) -> object:
    """Return plain data with `${NAME}` replaced; an unset variable is a problem, never an empty text."""
    if isinstance(node, Mapping):
        return {str(key): _expand(value, environment, problems, root, (*loc, key)) for key, value in node.items()}
    if isinstance(node, list):
        return [_expand(value, environment, problems, root, (*loc, index)) for index, value in enumerate(node)]
    if not isinstance(node, str):
        return node

    def replace(match: re.Match[str]) -> str:
        if match[1] not in environment:
            place = ".".join(str(part) for part in loc)
            problems.append(f"line {_line(root, loc)}: {place}: the environment variable {match[1]} is not set")
        return environment.get(match[1], f"unset:{match[1]}")

    return _VARIABLE.sub(replace, str(node))


def _line(root: object, loc: Sequence[str | int]) -> int:
    """Return the 1-based line of the deepest part of `loc` that the file holds."""
    node, line = root, getattr(getattr(root, "lc", None), "line", 0)
    for part in loc:
        try:
            line = (node.lc.item(part) if isinstance(part, int) else node.lc.key(part))[0]  # type: ignore[attr-defined]
            node = node[part]  # type: ignore[index]
        except (KeyError, AttributeError, TypeError, IndexError):
            # Not in the file: a discriminator's tag, or a key that YAML merged in; go on from the parent.
            continue
    return int(line) + 1


def _place(item: Any) -> tuple[str | int, ...]:
    """Return where a validation error points to; an unknown kind of source is on its own line."""
    loc: tuple[str | int, ...] = item["loc"]
    return (*loc, "kind") if item["type"] == "union_tag_invalid" else loc


def _say(item: Any) -> str:
    """Return one validation error in a person's words; the input is left out, it may be a secret."""
    place = ".".join(str(part) for part in item["loc"] if part not in ("mongodb", "files", "[key]"))
    if item["type"] in _SAID:
        return f"{place}: {_SAID[item['type']]}"
    return f"{place}: {item['msg'].removeprefix('Value error, ')}"


def iter_secrets(sources: Sources) -> Iterator[str]:
    """Yield every secret value of the configuration, for tests that look for leaks."""
    for source in sources.sources.values():
        if isinstance(source, MongoSource) and source.uri is not None:
            yield source.uri.get_secret_value()
