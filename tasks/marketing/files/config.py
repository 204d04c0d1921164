"""sources.yaml of kind `files`: a folder or an object store and the files of each table."""

from __future__ import annotations

import codecs
import re
from functools import cached_property
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PrivateAttr, model_validator

from tasks.sources.config import Kind, Name, Source, Strict, Table, TableRef
from tasks.sources.spelling import ISO, Spelling

_TOTALS = (
    "(grand |sub)?totals?",
    "(gesamt|end|zwischen)?summen?",
    "gesamt(ergebnis|betrag)?",
    "insgesamt",
    "sum",
    "sous-total",
    "somme",
    "totale",
    "suma",
)
"""What the first cell of a row of totals says, in the languages of the usual exports."""


def _encoding(value: str) -> str:
    try:
        return codecs.lookup(value).name if "".encode(value) is not None else value
    except LookupError:
        raise ValueError(f"{value!r} is no encoding of text; such as utf-8, cp1252, utf-16") from None


def _expression(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return value


def _date_format(value: str) -> str:
    if "%" not in value:
        raise ValueError("must say what stands where, such as %d.%m.%Y")
    return value


Encoding = Annotated[str, AfterValidator(_encoding)]
Expression = Annotated[str, AfterValidator(_expression)]
DateFormat = Annotated[str, AfterValidator(_date_format)]
Character = Annotated[str, Field(min_length=1, max_length=1, pattern=r'^[^"\r\n]$')]
Decimal = Literal[".", ","]
Thousands = Literal[".", ",", " ", "'"]


class ColumnSpelling(Strict):
    """How one column spells its values, where it does so in another way than the table."""

    decimal: Decimal | None = None
    thousands: Thousands | None = None
    date_format: DateFormat | None = None


class Layout(Strict):
    """How a file is laid out and spells its values; the defaults fit what programs write for programs.

    Attributes:
        encoding: Of a text file; unset means UTF-8, or UTF-16 with its mark.
        delimiter: Between cells of a CSV file; unset means the one of comma, semicolon, tab and bar that the header has
            most.
        skip_rows: Lines above the header.
        skip_footer: Rows at the end that are left out.
        totals: Rows of totals are left out: those whose first cell is `drop` for the usual words, or matches one of the
            expressions as a whole, whatever the case.
        duplicate_headers: `refuse` a file that names a column twice or not at all, or `number` such columns: `a`,
            `a_2`, and `column_3` for the third without a name.
        sheet: Of an Excel file; unset means the first.
        members: Glob of the files in a zip that are read; unset means all.
        decimal: What stands before the fraction of numbers.
        thousands: What stands between groups of three digits.
        date_format: Days and times in the words of `strptime`; unset means ISO 8601.
        columns: By column, what differs from the table's spelling.
    """

    encoding: Encoding | None = None
    delimiter: Character | None = None
    skip_rows: int = Field(default=0, ge=0)
    skip_footer: int = Field(default=0, ge=0)
    totals: Literal["drop"] | tuple[Expression, ...] | None = None
    duplicate_headers: Literal["refuse", "number"] = "refuse"
    sheet: str | None = None
    members: str | None = None
    decimal: Decimal = "."
    thousands: Thousands | None = None
    date_format: DateFormat | None = None
    columns: dict[str, ColumnSpelling] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _separators_differ(self) -> Layout:
        for name in ("", *self.columns):
            spelling = self.spelling(name)
            if spelling.decimal == spelling.thousands:
                where = f"columns.{name}: " if name else ""
                raise ValueError(f"{where}decimal and thousands are both {spelling.decimal!r}")
        return self

    def spelling(self, column: str) -> Spelling:
        """Return how a column spells its values."""
        return self._own.get(column, self._common)

    @cached_property
    def _common(self) -> Spelling:
        return Spelling(self.decimal, self.thousands, self.date_format)

    @cached_property
    def _own(self) -> dict[str, Spelling]:
        return {column: self._merged(own) for column, own in self.columns.items()}

    def _merged(self, own: ColumnSpelling) -> Spelling:
        # A column with a decimal of its own does not take over separators that go with another.
        thousands = own.thousands or (self.thousands if own.decimal in (None, self.decimal) else None)
        return Spelling(own.decimal or self.decimal, thousands, own.date_format or self.date_format)

    def is_total(self, first: object) -> bool:
        """Tell whether a row is one of totals, by its first cell."""
        return bool(self.totals) and isinstance(first, str) and bool(self._totals.fullmatch(first.strip().rstrip(":")))

    @cached_property
    def _totals(self) -> re.Pattern[str]:
        expressions = _TOTALS if self.totals == "drop" else self.totals or ()
        return re.compile("|".join(f"(?:{expression})" for expression in expressions), re.IGNORECASE)


PLAIN = Layout()
"""What programs write for programs."""
_OF_TEXT = ("encoding",)
_OF_CSV = ("delimiter",)
_OF_ROWS = ("skip_rows", "skip_footer", "totals", "duplicate_headers")
_KEYS_OF = {
    "csv": (*_OF_TEXT, *_OF_CSV, *_OF_ROWS, "members"),
    "jsonl": (*_OF_TEXT, "members"),
    "xlsx": (*_OF_ROWS, "sheet"),
    "parquet": (),
}
"""The keys of a layout that a format has, beside those of spelling."""


class FilesTable(Layout, Table):
    """Files of one shape.

    Attributes:
        pattern: Glob below the source's path.
        format: What the files are; CSV and JSON lines may be packed with gzip or zip.
        key: Columns that identify a row.
        partition: Date column; a changed file replaces the days that it holds.
    """

    pattern: str
    format: Literal["csv", "parquet", "jsonl", "xlsx"]
    key: tuple[str, ...] = Field(min_length=1)
    partition: str | None = None

    _fingerprinted: tuple[str, ...] = PrivateAttr(default=("arrays", "transforms", "key", *Layout.model_fields))

    @model_validator(mode="after")
    def _arrays_fit(self) -> FilesTable:
        if self.child_paths and self.format != "jsonl":
            raise ValueError(f"arrays as tables need format jsonl, this table is {self.format}: use `json` for them")
        return self

    @model_validator(mode="after")
    def _layout_fits(self) -> FilesTable:
        for name in sorted(self.model_fields_set & {*_OF_TEXT, *_OF_CSV, *_OF_ROWS, "sheet", "members"}):
            if name not in _KEYS_OF[self.format]:
                raise ValueError(f"{name} is not for format {self.format}")
        untyped = sorted(set(self.columns) - set(self.types))
        if untyped:
            raise ValueError(f"columns: {', '.join(untyped)} without a type: name it in types, too")
        return self

    @property
    def typed_paths(self) -> dict[str, Kind]:
        """See `Table`; in formats that cannot nest the name of a column is a path, dots and all."""
        from tasks.landing.decoder.bson_walk import escape_key

        flat = self.format in ("csv", "xlsx")
        return {escape_key(name) if flat else name: kind for name, kind in self.types.items()}

    @property
    def spellings(self) -> dict[str, Spelling]:
        """By path with a type, its spelling where that is not the one that types know."""
        found = dict(zip(self.typed_paths, map(self.spelling, self.types), strict=True))
        return {path: spelling for path, spelling in found.items() if spelling != ISO}


class FilesSource(Source):
    """A folder or object store prefix of files."""

    kind: Literal["files"]
    path: str
    tables: dict[Name, FilesTable] = Field(min_length=1)


FilesRef = TableRef[FilesSource, FilesTable]
"""A table of files with its source."""
