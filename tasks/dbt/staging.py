"""The column block of a staging model: what bronze has of a table, each field once, under every name that it had.

The block is kept; all around it is a person's. In it, too, a line that this module would not have written stays as it
is, and none is ever taken out.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from types import MappingProxyType

from tasks.bronze import kinds, names
from tasks.landing.decoder import DOCUMENT
from tasks.ops import Executor, columns, relations, schema_changes

BEGIN = "    -- warehouse: columns of {name}, kept by `warehouse drift write-dbt {name}`"
END = "    -- warehouse: end"

_BLOCK = re.compile(
    r"^[ \t]*-- warehouse: columns of [^\n]*\n(.*?)^[ \t]*-- warehouse: end[ \t]*$", re.DOTALL | re.MULTILINE
)
_MARKER = re.compile(r"^[ \t]*-- warehouse: (?:columns of|end\b)", re.MULTILINE)
_TEXT = r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
_PATHS = rf"(?:{_TEXT}|\[(?:[^\]'\"]|{_TEXT})*\])"
# Comments may stand above a line.
_LINE = re.compile(
    rf"((?:\s*--[^\n]*\n)*\s*){{{{ warehouse\.bronze_value\(bronze, ({_PATHS}), ('[^']+')\) }}}} as (\w+)\s*"
)
_KEY = re.compile(r"\s*bronze_rows\._id as \w+\s*")
_READ = re.compile(rf"bronze_(?:value|array)\(\s*\w+\s*,\s*({_PATHS})|-- left out: *({_TEXT}(?:, *{_TEXT})*)")
_NAME = re.compile(r'(?:\bas\s+|bronze_rows\.)"?(\w+)', re.IGNORECASE)
# What bronze adds to a table's own columns; `_id` is the key, the others are told by macros.
_OURS = re.compile(r"_(batch_id|extracted_at|loaded_at|deleted_at|rescued|hash|op|parent_id|position|root_id|id)")
_PLAIN = str.maketrans("{}", "()")
# Types that are written as people write them.
_TYPES = {"timestamp with time zone": "timestamptz"}
_WIDER = {
    (kinds.PG_TYPES[narrow], kinds.PG_TYPES[other]): kinds.PG_TYPES[both]
    for narrow in kinds.PG_TYPES
    for other in kinds.PG_TYPES
    if (both := kinds.wider(narrow, other))
}


@dataclass(frozen=True)
class BronzeColumn:
    """A field of bronze that a staging model can read.

    Attributes:
        path: Path of the field in the source, `address.zip`.
        type: The Postgres type that holds the values of all of its columns.
    """

    path: str
    type: str


@dataclass(frozen=True)
class Bronze:
    """What bronze has of one relation.

    Attributes:
        relation: Its relation in bronze.
        columns: Its fields, in the order in which they came, without those that loading adds.
        renamed: By path the one that it was probably renamed from, by the open entries of the ledger.
        appeared: By path the day on which it was first seen, by the same.
    """

    relation: str
    columns: Sequence[BronzeColumn]
    renamed: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    appeared: Mapping[str, date] = field(default_factory=lambda: MappingProxyType({}))

    def one_field(self, path: str) -> list[str]:
        """Return the paths that one field had, newest first; of two successors of a field each counts by itself."""
        known = {column.path for column in self.columns}
        before = {new: old for new, old in self.renamed.items() if {new, old} <= known}
        after = {old: new for new, old in before.items() if list(before.values()).count(old) == 1}
        newest = _chain(path, after)[-1]
        return _chain(newest, before)

    def description(self, path: str) -> str:
        """Return what the ledger tells of a field, for people."""
        older = [one for one in self.one_field(path) if one != path]
        before = f", {' and '.join(older)} before" if older else ""
        since = f", first seen on {self.appeared[path]}" if path in self.appeared else ""
        return description(f"Field {path} of the source{before}{since}.")


def _chain(path: str, steps: Mapping[str, str]) -> list[str]:
    """Return a path and where its steps lead, each once."""
    found = [path]
    while (following := steps.get(found[-1])) and following not in found:
        found.append(following)
    return found


def read(db: Executor, source: str, table: str) -> Bronze | None:
    """Return what bronze has of a table, or of a child table (`orders__items`); None where it is not there."""
    named = relations.named(db, source, table)
    if named is None:
        return None
    key, child, relation = named
    # Of several columns of one path the last one's type holds what all of them do.
    known = columns.of_relation(db, key, child)
    types = {
        names.stored(column.path): column.pg_type
        for column in known
        if column.stored and column.path != DOCUMENT and not _OURS.fullmatch(column.path)
    }
    renamed: dict[str, str] = {}
    appeared: dict[str, date] = {}
    is_child = child not in (relations.ROOT, relations.HISTORY)
    for change in schema_changes.find(db, [key]):
        if change.change == "renamed" and not is_child:
            renamed.setdefault(change.field, change.evidence["renamed_from"])
        if change.change == "appeared":
            appeared[change.field.removeprefix(f"{child}[].") if is_child else change.field] = change.seen_at.date()
    return Bronze(relation, [BronzeColumn(*one) for one in types.items()], renamed, appeared) if known else None


@dataclass(frozen=True)
class _Line:
    """One line of the block: a field, read by its paths as a type, under a name."""

    indent: str
    paths: tuple[str, ...]
    type: str
    name: str

    @classmethod
    def of(cls, text: str) -> _Line | None:
        """Return what a line says; None where it is not one that this module writes."""
        found = _LINE.fullmatch(text)
        return found and cls(found[1], _paths(found[2]), ast.literal_eval(found[3]), found[4])

    def __str__(self) -> str:
        paths = repr(self.paths[0]) if len(self.paths) == 1 else repr(list(self.paths))
        return f"{self.indent}{{{{ warehouse.bronze_value(bronze, {paths}, '{self.type}') }}}} as {self.name}"

    def brought_up(self, bronze: Bronze) -> _Line:
        """Return the line as it reads all names of its field, each with all its values."""
        one = bronze.one_field(self.paths[0])
        paths = self.paths if {*one} <= {*self.paths} else (*one, *(path for path in self.paths if path not in one))
        wanted = self.type
        for column in bronze.columns:
            if column.path in paths:
                wanted = _wider(wanted, column.type)
        return replace(self, paths=paths, type=wanted)


def _paths(text: str) -> tuple[str, ...]:
    """Return the paths of a text or list as Jinja writes it; none where it is an expression."""
    return tuple(ast.literal_eval(one) for one in re.findall(_TEXT, text))


def _wider(type_: str, other: str) -> str:
    full = {short: long for long, short in _TYPES.items()}
    wider = _WIDER.get((full.get(type_, type_), full.get(other, other)))
    return _TYPES.get(wider, wider) if wider and wider != full.get(type_, type_) else type_


def new_block(source: str, table: str, bronze: Bronze) -> str:
    """Return the block of a model that has none: the key, and all fields."""
    name = f"{source}.{table}"
    empty = f"{BEGIN.format(name=name)}\n    bronze_rows._id as {key_name(table)}\n{END}"
    return updated(empty, bronze) or empty


def updated(text: str, bronze: Bronze) -> str | None:
    """Return a model with its block as bronze has the table; the same text where nothing is to do.

    Args:
        text: The model.
        bronze: What bronze has of its table.

    Returns:
        None where the model has no block, or more than one.
    """
    # The ends of lines stay as the file has them.
    plain = text.replace("\r\n", "\n")
    block = _BLOCK.search(plain)
    if block is None or len(_MARKER.findall(plain)) != 2:
        return None
    body = block[1].removesuffix("\n")
    # A person's own columns may follow the block.
    comma = "," if body.endswith(",") else ""
    pieces = body.removesuffix(",").split(",\n") if body.strip() else []
    ours = [number for number, piece in enumerate(pieces) if _Line.of(piece) or _KEY.fullmatch(piece)]
    start = ours[-1] + 1 if ours else 0
    added = [
        str(_Line("    ", (path,), _TYPES.get(type_, type_), name)) for path, type_, name in _unread(plain, bronze)
    ]
    pieces[start:start] = added
    brought = [str(line.brought_up(bronze)) if (line := _Line.of(piece)) else piece for piece in pieces]
    made = plain[: block.start(1)] + ",\n".join(brought) + f"{comma}\n" + plain[block.end(1) :]
    return made.replace("\n", "\r\n") if "\r\n" in text else made


def _unread(text: str, bronze: Bronze) -> list[tuple[str, str, str]]:
    """Return path, type and name of each field that a model does not read yet."""
    read_already = {path for found in _READ.finditer(text) for path in _paths(found[1] or found[2])}
    missing = [column for column in bronze.columns if column.path not in read_already]
    given = column_names([column.path for column in missing], _NAME.findall(text))
    return [(column.path, column.type, given[column.path]) for column in missing]


def described(text: str) -> dict[str, str]:
    """Return by name the path of each field that a block reads."""
    block = _BLOCK.search(text.replace("\r\n", "\n"))
    lines = [_Line.of(piece) for piece in block[1].split(",\n")] if block else []
    return {line.name: line.paths[0] for line in lines if line}


def new_descriptions(before: str, after: str, bronze: Bronze) -> dict[str, str]:
    """Return by name the description of each column that a model's block has now and had not before."""
    known = described(before)
    return {name: bronze.description(path) for name, path in described(after).items() if name not in known}


def description(text: str) -> str:
    """Return a text as a description may hold it: dbt takes braces in it for Jinja."""
    return text.translate(_PLAIN)


def key_name(table: str) -> str:
    """Return the name of a table's key: that of one row."""
    last = table.rsplit("__", 1)[-1]
    one = re.sub(r"ies$", "y", last) if last.endswith("ies") else last.removesuffix("s")
    return f"{one}_id"


def column_names(paths: Sequence[str], taken: Iterable[str]) -> dict[str, str]:
    """Return a column name for each path: small letters, words joined by underscores, none twice or taken."""
    found: dict[str, str] = {}
    used = {name.lower() for name in taken}
    for path in paths:
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", path)
        name = re.sub(r"\W+", "_", words).strip("_").lower() or "value"
        name = f"_{name}" if name[0].isdigit() else name
        unique, number = name, 2
        while unique in used:
            unique, number = f"{name}_{number}", number + 1
        used.add(unique)
        found[path] = unique
    return found
