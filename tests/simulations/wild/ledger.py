"""What the ledger of schema changes must say: each change that there was, once, and nothing that there was not."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import psycopg

from tests.simulations.wild.application import Document, Release, look, paths_of
from tests.simulations.wild.claims import Claims


def fields_of(document: Document, arrays: tuple[str, ...]) -> set[str]:
    """Return the fields of a document as the ledger names them: documents by what they hold, elements with `[]`."""
    found = {
        ".".join(path)
        for path, _ in paths_of({key: value for key, value in document.items() if key != "_id" and key not in arrays})
    }
    for name in arrays:
        value = document.get(name)
        for element in value if isinstance(value, list) else [value]:
            inner = fields_of(element, ()) if isinstance(element, dict) and element else {"value"}
            found |= {f"{name}[].{one}" for one in inner if element is not None}
    return found


# Changes of so many documents at once are no matter of chance.
_SURELY = 20
_NUMBERS = ("bigint", "double precision", "numeric")
_TYPES = {"int": "bigint", "str": "text", "float": "double precision", "Decimal128": "numeric"}


class Ledger:
    """Reads the ledger day by day, and holds it against what the application did.

    Args:
        connection: Of the warehouse.
        arrays: Fields that have a child table.
    """

    def __init__(self, connection: psycopg.Connection[Any], arrays: tuple[str, ...]) -> None:
        self._connection, self._arrays = connection, arrays
        self._seen: dict[str, set[str]] = {}
        self._perhaps: dict[str, set[str]] = {}
        self._claims: dict[str, Claims] = {}

    def take_in(self, table: str, documents: Iterable[Document], surely: bool) -> None:
        """Note which fields documents of a table have that were loaded, or perhaps were."""
        found = set().union(*(fields_of(document, self._arrays) for document in documents))
        (self._seen if surely else self._perhaps).setdefault(table, set()).update(found)

    def entries(self, table: str) -> list[dict[str, Any]]:
        """Return all entries of a table, oldest first."""
        names = ("id", "field", "change", "old_type", "new_type", "batch_id", "action", "evidence")
        rows = self._connection.execute(
            f"select {', '.join(names)} from ops.schema_changes where table_name = %s order by id", [table]
        ).fetchall()
        return [dict(zip(names, row, strict=True)) for row in rows]

    def faults(
        self,
        table: str,
        releases: Sequence[Release],
        today: int,
        seen: Sequence[Mapping[Any, Document]],
        loaded: Iterable[Document],
    ) -> list[str]:
        """Return what is wrong in the ledger of a table.

        Args:
            table: Its name.
            releases: All that the application did to it.
            today: The day of the last run.
            seen: What the run of the day before read, and each one since.
            loaded: Documents that bronze has as they are.
        """
        entries = self.entries(table)
        found = []
        known = self._seen[table] | self._perhaps.get(table, set())
        # What a contract kept in `_rescued` at first gets its column by an entry of its own.
        news = [entry for entry in entries if "for rescued values" not in entry["action"]]
        appeared = Counter(entry["field"] for entry in news if entry["change"] == "appeared")
        found += [f"{name} appeared {count} times" for name, count in appeared.items() if count > 1]
        found += [f"{name} never appeared" for name in sorted(self._seen[table] - appeared.keys())]
        found += [f"{name} appeared and never was" for name in sorted(appeared.keys() - known)]
        what = ("field", "change", "old_type", "new_type", "batch_id", "action")
        twice = Counter(tuple(entry[name] for name in what) for entry in entries)
        found += [f"{entry} stands there {count} times" for entry, count in twice.items() if count > 1]
        columns = self._there(table)
        found += self._columns(columns, entries)
        found += self._vanished(entries)
        found += self._renamed(entries, releases)
        large = [one for one in releases if one.day == today and one.documents >= _SURELY]
        found += self._missed_vanished(entries, large, seen[-1])
        found += self._missed_renamed(entries, [one for one in large if _shows(one, seen)])
        claims = self._claims.setdefault(table, Claims(self._arrays))
        found += claims.faults(entries, releases, seen, loaded, columns)
        return [f"{table}: {one}" for one in found]

    def _columns(self, there: Mapping[str, list[str]], entries: list[dict[str, Any]]) -> list[str]:
        """Each field's entries lead from its first type to the types of the columns that it has."""
        made: dict[str, list[str]] = {}
        found = []
        for entry in entries:
            types = made.setdefault(entry["field"], [])
            if entry["action"].startswith("kept in _rescued"):
                continue
            if entry["change"] == "appeared" or (entry["change"] == "widened" and "beside" in entry["action"]):
                types.append(entry["new_type"])
            elif entry["change"] == "widened":
                if entry["old_type"] not in types:
                    found.append(f"{entry['field']} was widened from {entry['old_type']}, and was {types}")
                    continue
                types[types.index(entry["old_type"])] = entry["new_type"]
        for name in sorted({*made, *there}):
            if sorted(made.get(name, [])) != sorted(there.get(name, [])):
                found.append(f"{name} has columns of {there.get(name)}, by the ledger of {made.get(name)}")
        return found

    def _there(self, table: str) -> dict[str, list[str]]:
        """Return by field the types of the columns that it has."""
        there: dict[str, list[str]] = {}
        relations = {f"app__{table}": "", **{f"app__{table}__{name}": f"{name}[]." for name in self._arrays}}
        rows = self._connection.execute(
            "select c.relation, c.path, format_type(a.atttypid, a.atttypmod) from ops.bronze_columns c"
            " join pg_attribute a on a.attrelid = format('bronze.%%I', c.relation)::regclass"
            " and a.attname = c.column_name where c.relation = any(%s)", [list(relations)]
        ).fetchall()  # fmt: skip
        for relation, path, kind in rows:
            there.setdefault(relations[relation] + path.replace("\\.", "."), []).append(kind)
        return there

    def _vanished(self, entries: list[dict[str, Any]]) -> list[str]:
        """A field vanishes and comes back by turns; that it is always null is told by turns of its own."""
        found = []
        turns: dict[str, list[str]] = {}
        for entry in entries:
            if entry["change"] in ("vanished", "reappeared"):
                turns.setdefault(entry["field"], ["reappeared"]).append(entry["change"])
        for name, changes in turns.items():
            if any(before == after for before, after in itertools.pairwise(changes)):
                found.append(f"{name} does not vanish and come back by turns: {changes[1:]}")
        return found

    def _renamed(self, entries: list[dict[str, Any]], releases: Sequence[Release]) -> list[str]:
        """What is told as renamed was moved."""
        told = [
            (entry["evidence"]["renamed_from"], entry["field"]) for entry in entries if entry["change"] == "renamed"
        ]
        return [f"{old} was never renamed to {new}" for old, new in told if not led(releases, old, new)]

    def _missed_vanished(
        self, entries: list[dict[str, Any]], news: Sequence[Release], documents: Mapping[Any, Document]
    ) -> list[str]:
        """What was taken out of all documents, and was in most, must be told as gone."""
        found = []
        for one in news:
            path = tuple(one.path.split("."))
            if one.kind != "vanished" or one.path in self._arrays or one.documents < 0.6 * len(documents):
                continue
            if any(_has(document, path) for document in documents.values()):
                continue
            told = {entry["field"] for entry in entries if entry["change"] == "vanished"}
            if not any(name == one.path or name.startswith(f"{one.path}.") for name in told):
                found.append(f"{one.path} vanished from {one.documents} documents, untold")
        return found

    def _missed_renamed(self, entries: list[dict[str, Any]], news: Sequence[Release]) -> list[str]:
        """What was moved in all documents to a new name must be told, where its column holds its values."""
        types: dict[str, list[str]] = {}
        for entry in entries:
            if entry["new_type"] and entry["change"] in ("appeared", "widened"):
                types.setdefault(entry["field"], []).append(entry["new_type"])
        told = {
            (entry["evidence"]["renamed_from"], entry["field"]) for entry in entries if entry["change"] == "renamed"
        }
        fresh = {entry["field"]: entry["batch_id"] for entry in entries if entry["change"] == "appeared"}
        newest = max(fresh.values())
        return [
            f"{one.path} was renamed to {one.to} in {one.documents} documents, untold"
            for one in news
            if one.to
            and _alike(types.get(one.path), [_TYPES.get(one.said)], types.get(one.to))
            and fresh[one.to] == newest
            and (one.path, one.to) not in told
        ]


def _alike(*types: list[str | None] | None) -> bool:
    """Return whether all are one type, or numbers."""
    kinds = {tuple(one or ()) for one in types}
    return (len(kinds) == 1 and None not in next(iter(kinds))) or kinds <= {(name,) for name in _NUMBERS}


def _shows(one: Release, seen: Sequence[Mapping[Any, Document]]) -> bool:
    """Return whether the rows of each of today's runs show that a field was renamed: they have the old value anew."""
    old, new = tuple(one.path.split(".")), tuple(one.to.split("."))
    for documents in seen[1:]:
        pairs = [
            (look(before, old), look(documents[key], new))
            for key, before in seen[0].items()
            if key in documents and not _has(documents[key], old)
        ]
        moved = [(before, after) for before, after in pairs if before is not None and after is not None]
        same = sum(type(before) is type(after) and before == after for before, after in moved)
        if len(moved) < _SURELY or same < 0.95 * len(moved):
            return False
    return True


def _has(document: Any, path: tuple[str, ...]) -> bool:
    """Return whether a document has a field, be it null."""
    for key in path:
        if not isinstance(document, dict) or key not in document:
            return False
        document = document[key]
    return True


def led(releases: Iterable[Release], old: str, new: str) -> bool:
    """Return whether one or more renames lead from a name to another; what is below a moved path moves with it."""
    moved = {(one.path, one.to) for one in releases if one.to}
    reached, waiting = {old}, [old]
    while waiting:
        name = waiting.pop()
        for start, end in moved:
            if name == start or name.startswith(f"{start}."):
                to = end + name.removeprefix(start)
                if to not in reached:
                    reached.add(to)
                    waiting.append(to)
    return new in reached
