"""What the configuration of every kind of source shares: names, durations, tables and what is done to their columns."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    PrivateAttr,
    StrictBool,
    StrictStr,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from typing_extensions import TypeVar

from tasks.ops import TableKey
from tasks.resources import ClassOfTable
from tasks.sources import registry

if TYPE_CHECKING:
    from tasks.sources.connector import Connector

_DURATION = re.compile(r"^(\d+)\s*(ms|s|m|h|d)$")
_UNITS = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
# Source and table names become Postgres names, Prefect block names and folders, so they stay plain.
NAME_PATTERN = "^[a-z][a-z0-9]*(_[a-z0-9]+)*$"
_NAME = re.compile(NAME_PATTERN)
_NAME_LENGTH = 40
# So many digits of a number are those of the double that YAML reads it as.
_EXACT_DIGITS = 15
KEY = "_id"
"""Names the key of a row where else a path stands."""
_CONDITIONS = ("required", "type", "range", "set", "regex", "reference")

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


Duration = Annotated[
    timedelta, BeforeValidator(_duration), WithJsonSchema({"type": "string", "pattern": _DURATION.pattern})
]
Name = Annotated[str, AfterValidator(_name), WithJsonSchema({"type": "string", "pattern": NAME_PATTERN})]


@dataclass(frozen=True)
class NamedPath:
    """A path of documents that sources.yaml names.

    Attributes:
        key: The key that names it, for people.
        path: As it is named, fields of a child table below the path of the array.
        unread: Whether documents are read without it, so that nothing ever shows that it was there.
        becomes: The path that takes its place in bronze, where it is renamed.
    """

    key: str
    path: str
    unread: bool = False
    becomes: str | None = None


class Strict(BaseModel):
    """A part of sources.yaml: an unknown key is a mistake, and nothing changes it afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True)


New = Literal["add", "rescue", "freeze", "fail"]
Misfit = Literal["rescue", "freeze", "fail"]
Missing = Literal["keep", "fail"]


class FieldDrift(Strict):
    """What happens when one field changes; what is not said is as for the table."""

    new: New | None = None
    type: Misfit | None = None
    missing: Missing | None = None


class OnDrift(Strict):
    """What happens when documents change shape.

    Attributes:
        new: A field never seen: `add` a column, `rescue` its values into `_rescued`, `freeze` the shape, so that a
            document with it is a reject, or `fail` the load. With all but `add` no column is added beside another
            either.
        type: A value that does not fit its column, nor the column once widened: `rescue` it into `_rescued`, `freeze`
            the kind, so that a document with a value of another is a reject, or `fail` the load. With `rescue`, wider
            numbers and times get a column beside one that cannot be widened.
        missing: A field that no document carries any more: `keep` the column, or `fail` the load.
        fields: By path what is otherwise for a field and all below it.
    """

    new: New = "add"
    type: Misfit = "rescue"
    missing: Missing = "keep"
    fields: dict[str, FieldDrift] = Field(default_factory=dict)

    def of(self, change: Literal["new", "type", "missing"], path: str) -> str:
        """Return what happens to a field, fields of a child table with its path before theirs: the nearest says."""
        keys = path.split(".")
        for depth in range(len(keys), 0, -1):
            field = self.fields.get(".".join(keys[:depth]))
            if field and (said := getattr(field, change)):
                return str(said)
        return str(getattr(self, change))

    def may(self, change: Literal["new", "type", "missing"], what: str) -> bool:
        """Return whether something happens to any field."""
        return what in (getattr(self, change), *(getattr(field, change) for field in self.fields.values()))


class Derive(Strict):
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

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths that the expression reads."""
        import polars as pl

        return tuple(pl.sql_expr(self.expression).meta.root_names())


class Transform(Strict):
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

    @property
    def named_paths(self) -> tuple[NamedPath, ...]:
        """The paths that the step names, of which documents should have each."""
        key = next(name for name, value in self if value is not None)
        paths = self.derive.paths if self.derive else self.paths
        return tuple(NamedPath(f"transforms, {key}", path, becomes=(self.rename or {}).get(path)) for path in paths)

    def within(self, child: str) -> Transform | None:
        """Return the step as it acts on the rows of a child table; None where it names nothing in it."""
        inner = {path: path.removeprefix(f"{child}.") for path in self.paths if path.startswith(f"{child}.")}
        if not inner:
            return None
        if self.cast is not None:
            return Transform(cast={inner[path]: kind for path, kind in self.cast.items() if path in inner})
        (path,) = inner.values()
        return Transform(drop=path) if self.drop else Transform(hash=path)


def _exactly(value: object) -> object:
    """Return a number of the file as it is written; a float of more digits than it tells is a mistake."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return Decimal(value)
    if isinstance(value, float):
        number = Decimal(repr(float(value)))
        if not number.is_finite() or len(number.as_tuple().digits) > _EXACT_DIGITS:
            raise ValueError(
                f"more than {_EXACT_DIGITS} digits have to be written as text, such as '0.12345678901234567'"
            )
        return number
    return value


def _bound(value: object) -> Decimal | date:
    """Return a number or a time; a text is one of both."""
    found = _read_bound(value) if isinstance(value, str) else _exactly(value)
    if not isinstance(found, Decimal | date) or (isinstance(found, Decimal) and not found.is_finite()):
        raise ValueError("must be a number, or a time such as 2026-01-31 or 2026-01-31T12:00:00Z")
    return found


def _read_bound(text: str) -> Decimal | date | None:
    readers: tuple[Callable[[str], Decimal | date], ...] = (Decimal, date.fromisoformat, datetime.fromisoformat)
    for read in readers:
        with suppress(ValueError, ArithmeticError):
            return read(text)
    return None


def _one_or_more(value: object) -> object:
    return (value,) if isinstance(value, str) else value


# Plain, as pydantic would take a day for its midnight.
Bound = Annotated[
    Decimal | date, PlainValidator(_bound), WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string"}]})
]
Allowed = Annotated[
    StrictBool | StrictStr | Decimal,
    Field(union_mode="left_to_right"),
    BeforeValidator(_exactly, json_schema_input_type=bool | str | float),
]


class Range(Strict):
    """The least and the greatest value, both allowed; a day as the greatest stands for all of it."""

    min: Bound | None = None
    max: Bound | None = None

    @model_validator(mode="after")
    def _one_at_least(self) -> Range:
        if self.min is None and self.max is None:
            raise ValueError("give min, max, or both")
        if isinstance(self.min, Decimal) != isinstance(self.max, Decimal) and None not in (self.min, self.max):
            raise ValueError("min and max are both numbers, or both times")
        return self


class Reference(Strict):
    """Another table, or the same one, that has to hold a value.

    Attributes:
        table: As `source.table`.
        field: Path as bronze has it; below the path of a child table, one of its fields. By default the key.
    """

    table: str = Field(pattern=r"^[^.]+\.[^.]+$")
    field: str = KEY

    @property
    def key(self) -> TableKey:
        """What names the table in the control tables."""
        return TableKey(*self.table.split("."))


def _table_alone(value: object) -> object:
    return {"table": value} if isinstance(value, str) else value


class Rule(Strict):
    """What the values of a field must be like; exactly one of the conditions is given.

    Attributes:
        field: Path as it lands, transforms included; below the path of a child table, one of its fields.
        required: The field is there and not null; of a child table, it has a row.
        type: Kinds that its values may have; a whole number is a double and a decimal, too.
        range: Numbers or times within bounds.
        set: All values that it may have.
        regex: What the whole text has to match, in the syntax of Rust's regex.
        reference: The table that has to hold it, by its key or by a field. It only warns, as no load waits for another.
        name: What rejects call the rule.
        on_fail: A document that breaks the rule is a `reject`, or lands and is counted (`warn`).
    """

    field: str
    required: Literal[True] | None = None
    type: (
        Annotated[
            tuple[Kind, ...],
            BeforeValidator(_one_or_more, json_schema_input_type=Kind | tuple[Kind, ...]),
            Field(min_length=1),
        ]
        | None
    ) = None
    range: Range | None = None
    set: Annotated[tuple[Allowed, ...], Field(min_length=1)] | None = None
    regex: str | None = None
    reference: Annotated[Reference, BeforeValidator(_table_alone, json_schema_input_type=str | Reference)] | None = None
    name: str | None = None
    on_fail: Literal["reject", "warn"] = "reject"

    @model_validator(mode="before")
    @classmethod
    def _reference_warns(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("reference") is not None:
            return {"on_fail": "warn"} | given
        return given

    @field_validator("regex")
    @classmethod
    def _compiles(cls, regex: str | None) -> str | None:
        # Imported where a table has such a rule: commands that read no data need not wait for it.
        import polars as pl

        try:
            pl.Series([""]).str.contains(regex or "")
        except pl.exceptions.PolarsError as error:
            raise ValueError(f"not a regular expression: {error}") from error
        return regex

    @model_validator(mode="after")
    def _exactly_one(self) -> Rule:
        if sum(getattr(self, name) is not None for name in _CONDITIONS) != 1:
            raise ValueError(f"a rule has exactly one of {', '.join(_CONDITIONS)}")
        if self.reference and self.on_fail == "reject":
            raise ValueError("on_fail: a reference only warns, as what it refers to may be loaded later")
        return self

    @property
    def title(self) -> str:
        """The rule's name; by default its field and its condition."""
        return self.name or f"{self.field} {next(name for name in _CONDITIONS if getattr(self, name) is not None)}"


class Table(Strict):
    """What every table has, whatever its source.

    Attributes:
        resources: Resource class of the runs that move this table.
        hard_deletes: Remove deleted rows instead of marking them in `_deleted_at`.
        history: Keep every version of each row in `<table>__history`.
        reject_limit: More rejected documents than this in one batch fail the run; unset means no limit.
        on_drift: What happens when documents change shape.
        arrays: By path, whether an array becomes a child `table` or stays `json`.
        types: By path, the type of a column, whatever values come: one that tells the same value as another kind is
            converted, every other is rescued.
        transforms: What is done to the columns as they land, in this order.
        rules: What the values must be like, after the transforms.
        freshness: How old the table's data may be at most, such as `90m`, `26h` or `2d`; unset means 26 hours.
    """

    resources: ClassOfTable = "small"
    hard_deletes: bool = False
    history: bool = False
    reject_limit: int | None = Field(default=None, ge=0)
    on_drift: OnDrift = OnDrift()
    arrays: dict[str, Literal["table", "json"]] = Field(default_factory=dict)
    types: dict[str, Kind] = Field(default_factory=dict)
    transforms: tuple[Transform, ...] = ()
    rules: tuple[Rule, ...] = ()
    freshness: str | None = Field(default=None, pattern=r"^[1-9]\d*[smhd]$")

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

    @model_validator(mode="after")
    def _rules_reach(self) -> Table:
        """Refuse rules that could never be kept, or never broken, because of what else is said of their field."""
        titles = [rule.title for rule in self.rules]
        if len({*titles}) < len(titles):
            raise ValueError(f"rules: two are called {next(t for t in titles if titles.count(t) > 1)!r}: give names")
        for rule in self.rules:
            if rule.field in self.child_paths and not rule.required:
                raise ValueError(
                    f"rules: {rule.field} is a child table: a rule is `required`, or for one of its fields"
                )
            if not self.lands(rule.field):
                raise ValueError(f"rules: {rule.field} does not land: a rule sees fields after the transforms")
        return self

    @model_validator(mode="after")
    def _types_shape(self) -> Table:
        if self.types:
            # Not where there are none, as the hashes of all tables would be others.
            self._fingerprinted = (*self._fingerprinted, "types")
        return self

    def lands(self, path: str) -> bool:
        """Return whether a path may land under this name: no transform takes it away."""
        away = [one for step in self.transforms for one in (step.drop, *(step.rename or ())) if one]
        return not any(f"{path}.".startswith(f"{one}.") for one in away)

    def fingerprint(self) -> int:
        """Return 64 bits that change when the same document would land in another shape."""
        shape = self.model_dump(mode="json", include=set(self._fingerprinted))
        digest = hashlib.blake2b(json.dumps(shape, sort_keys=True).encode(), digest_size=8)
        return int.from_bytes(digest.digest(), "big")

    @property
    def named_paths(self) -> tuple[NamedPath, ...]:
        """Every path of documents that sources.yaml names, in the order of use; a kind adds those of its own keys."""
        steps = (named for step in self.transforms for named in step.named_paths)
        types = (NamedPath("types", path) for path in self.typed_paths)
        rules = (NamedPath("rules", rule.field) for rule in self.rules)
        return (*(NamedPath("arrays", path) for path in self.arrays), *types, *steps, *rules)

    @property
    def typed_paths(self) -> dict[str, Kind]:
        """Types by path as landed."""
        return dict(self.types)

    def types_in(self, child: str) -> dict[str, Kind]:
        """Return the types of a child table's columns, `""` for the table's own, before any step of `transforms`."""
        found: dict[str, Kind] = {}
        for path, kind in self.typed_paths.items():
            above = [one for one in self.child_paths if path.startswith(f"{one}.")]
            if max(above, key=len, default="") == child:
                found[path.removeprefix(f"{child}.") if child else path] = kind
        return found

    def declared_in(self, child: str) -> dict[str, Kind]:
        """Return the types that columns have by declaration: those of `types`, as `transforms` leave them."""
        kinds = self.types_in(child)
        for step in self.transforms:
            inner = step.within(child) if child else step
            if inner is None:
                continue
            renamed = inner.rename or {}
            kinds = {
                renamed.get(path, path): kind
                for path, kind in kinds.items()
                if path in renamed or path not in inner.paths
            }
        return kinds

    @property
    def child_paths(self) -> tuple[str, ...]:
        """Paths of the arrays that become child tables, parents first."""
        return tuple(sorted(path for path, shape in self.arrays.items() if shape == "table"))


class Source(Strict):
    """A source with its tables; each kind has a model of its own, with keys of its own.

    Attributes:
        kind: Name under which the kind's connector is registered.
    """

    kind: str
    tables: Mapping[Name, Table]

    @property
    def secret_block(self) -> str | None:
        """Name of the Prefect block that holds its credentials; None where none does."""
        return None


AnySource = TypeVar("AnySource", bound=Source, default=Source, covariant=True)
AnyTable = TypeVar("AnyTable", bound=Table, default=Table, covariant=True)


@dataclass(frozen=True)
class TableRef(Generic[AnySource, AnyTable]):
    """A table, its source and their names: what every stage is given. Its connector knows the types of both."""

    source_name: str
    table_name: str
    source: AnySource
    table: AnyTable

    @property
    def key(self) -> TableKey:
        """What names the table in the control tables."""
        return TableKey(self.source_name, self.table_name)

    @property
    def name(self) -> str:
        """`source.table`, as people write it."""
        return str(self.key)

    @property
    def connector(self) -> Connector[Any, Any]:
        """What can be done with the table's kind of source."""
        return registry.connector(self.source.kind)
