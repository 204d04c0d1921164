"""What people are told of a table's changes: likely releases, how much is affected, samples without personal data."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from monitoring import lineage, reader
from monitoring.masking import mask
from tasks.drift import samples
from tasks.drift.samples import Location
from tasks.drift.timeline import releases
from tasks.landing.decoder import DOCUMENT
from tasks.ops import field_statistics, schema_changes
from tasks.ops.field_statistics import Seen
from tasks.ops.schema_changes import Dated, SchemaChange

if TYPE_CHECKING:
    import psycopg

    from tasks.sources import TableRef
    from tasks.sources.config import Table

_MOST_LETTERS = 60
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NO_LETTER = re.compile(r"[\W_]+")
_HIDDEN = "***"


@dataclass(frozen=True, slots=True)
class Told:
    """One change, as people are told of it.

    Attributes:
        change: The entry of the ledger.
        at: When the batch that showed it was read.
        location: Where its values are; None where bronze has no such field any more.
        seen: How many of the rows read since have it; None where that is not known.
        old: Samples of what was before, masked.
        new: Samples of what is since, masked.
        hidden: Why no samples are shown; empty where they may be.
    """

    change: SchemaChange
    at: datetime
    location: Location | None = None
    seen: Seen | None = None
    old: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    hidden: str = ""


@dataclass(frozen=True, slots=True)
class Timeline:
    """A table's changes.

    Attributes:
        table: `source.table`.
        releases: Likely releases of the application, oldest first, each with its changes.
        models: Relations of the dbt models that are made of the table.
    """

    table: str
    releases: list[list[Told]]
    models: list[str]


class Privacy:
    """Which values of a table nobody may be shown.

    Args:
        table: Its configuration: what it hashes, drops, or has the source leave out is hidden.
        personal: Names of personal columns.
        renamed: Old and new path of fields that were probably renamed: what is hidden stays so under another name.
    """

    def __init__(self, table: Table, personal: Collection[str], renamed: Iterable[tuple[str, str]] = ()) -> None:
        self._personal = personal
        self._paths = {path for step in table.transforms for path in (step.drop, step.hash) if path}
        self._paths |= {named.path for named in table.named_paths if named.unread}
        links = list(renamed)
        for step in table.transforms:
            links += (step.rename or {}).items()
        links += [(new, old) for old, new in links]
        links += [(path, step.derive.name) for step in table.transforms if step.derive for path in step.derive.paths]
        while more := {end for start, end in links if end not in self._paths and self._is_hidden(start)}:
            self._paths |= more

    def why_hidden(self, path: str) -> str:
        """Return why the values of a path, as sources.yaml names it, are hidden; empty where they are not."""
        if path == DOCUMENT:
            return "whole documents are not shown"
        if any(_is_at(path, one) for one in self._paths):
            return "sources.yaml hashes it or leaves it out"
        return "it is named like personal data" if self._is_personal(path) else ""

    def shown(self, path: str, value: str | None) -> str:
        """Return a value as people may see it: short, printable, without personal data.

        Args:
            path: Of the field, as sources.yaml names it; it is not hidden itself.
            value: As text, documents and arrays as JSON; None stands for one that is too long.
        """
        if value is None:
            return f"(more than {samples.MOST_LETTERS:,} characters)"
        try:
            found = json.loads(value) if value[:1] in ("{", "[") else None
            if (walked := self._walked(path, found)) != found:
                value = json.dumps(walked, ensure_ascii=False)
        except ValueError:
            pass
        except RecursionError:
            return "(nested too deeply)"
        text = printable(mask(value))
        return text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS]}..."

    def _walked(self, path: str, value: Any) -> Any:
        if isinstance(value, list):
            return [self._walked(path, one) for one in value]
        if isinstance(value, dict):
            paths = {key: f"{path}.{_escaped(key)}" for key in value}
            return {
                key: _HIDDEN if self.why_hidden(paths[key]) else self._walked(paths[key], value[key]) for key in value
            }
        return value

    def _is_hidden(self, path: str) -> bool:
        return self._is_personal(path) or any(_is_at(path, one) or _is_at(one, path) for one in self._paths)

    def _is_personal(self, path: str) -> bool:
        words = "_" + _NO_LETTER.sub("_", _CAMEL.sub("_", path)).lower() + "_"
        return any(f"_{name}{end}_" in words for name in self._personal for end in ("", "s", "es"))


def _is_at(path: str, root: str) -> bool:
    return path == root or path.startswith(f"{root}.")


def _escaped(key: str) -> str:
    return key.replace("\\", "\\\\").replace(".", "\\.")


def printable(text: str) -> str:
    """Return a text on one line, with escapes for what moves the cursor, or is not seen."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def timeline(
    connection: psycopg.Connection[Any], ref: TableRef[Any, Any], since: datetime | None = None, *, resolved: bool
) -> Timeline:
    """Return a table's changes as likely releases.

    Args:
        connection: In autocommit, of a warehouse whose control tables exist.
        ref: The table.
        since: Only what was read from this time on.
        resolved: Closed changes, too.
    """
    found = schema_changes.history(connection, ref.key)
    wanted = [
        one for one in found if (resolved or one.change.resolved_at is None) and (since is None or one.at >= since)
    ]
    with connection.cursor() as cursor:
        locations = samples.locations(cursor, ref.key)
    privacy = Privacy(ref.table, reader.personal(connection), _renamed(found, locations))
    told = [[_told(connection, one, locations, privacy) for one in group] for group in releases(wanted)]
    return Timeline(ref.name, told, lineage.made_of(connection, ref.name))


def _renamed(changes: Iterable[Dated], locations: Mapping[str, Location]) -> list[tuple[str, str]]:
    pairs = [
        (locations.get(one.change.evidence.get("renamed_from", "")), locations.get(one.change.field)) for one in changes
    ]
    return [(old.full_path, new.full_path) for old, new in pairs if old and new]


def _told(
    connection: psycopg.Connection[Any], dated: Dated, locations: Mapping[str, Location], privacy: Privacy
) -> Told:
    change, at = dated
    location = locations.get(change.field)
    if location is None:
        return Told(change, at)
    seen = field_statistics.since(connection, change.key, location.child, location.path, change.batch_id)
    if hidden := privacy.why_hidden(location.full_path):
        return Told(change, at, location, seen, hidden=hidden)

    def read(where: Location | None, **which: bool) -> tuple[str, ...]:
        found = samples.values(connection, where, change.batch_id, **which) if where else []
        return tuple(privacy.shown(location.full_path, value) for value in found)

    before = locations.get(change.evidence.get("renamed_from", change.field))
    old = read(None if change.change == "appeared" else before, since=False)
    new = read(None if change.change == "vanished" else location, since=True, rescued=change.change == "type_conflict")
    return Told(change, at, location, seen, old, new)
