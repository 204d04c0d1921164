"""Where a collection went that is not there any more: another one of its database that has its documents."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pymongo
from bson.raw_bson import RawBSONDocument
from pymongo.database import Database
from pymongo.errors import PyMongoError

from tasks.landing.keys import key_texts
from tasks.landing.manifest import Origin
from tasks.mongodb.client import connect, database_of
from tasks.mongodb.config import MongoRef, collection_name
from tasks.mongodb.origin import origin_of
from tasks.sources import TableRef
from tasks.sources.connector import CHECK_SECONDS, Successor

# The look is bounded: by names, by ids of each, and by time.
_MOST_CANDIDATES = 20
_SAMPLED_IDS = 100
_LEAST_IDS = 3
# Documents written since the last run are not known.
_KNOWN_SHARE = 0.9


def successor(ref: MongoRef, before: Origin, known: Callable[[Sequence[str]], int]) -> Successor | None:
    """Return what a table's collection was probably renamed to; see `tasks.sources.connector.Connector.successor`."""
    try:
        with connect(ref.source) as client, pymongo.timeout(CHECK_SECONDS):
            database = database_of(client, ref.source)
            found = [one for name in _candidates(ref, database) if (one := _look(ref, database, name, before, known))]
    except PyMongoError:
        return None
    # Sorting keeps the order of what is alike: names that come closer are first.
    found.sort(key=lambda one: (one.evidence["same_identity"], one.evidence["same_indexes"]), reverse=True)
    return found[0] if found else None


def _candidates(ref: MongoRef, database: Database[RawBSONDocument]) -> Iterator[str]:
    """Yield the collections that no table reads, names that come close first; none where the table's own is there."""
    name, listed = collection_name(ref), database.list_collections(authorizedCollections=True, nameOnly=True)
    there = {item["name"]: item["type"] for item in listed}
    if name in there:
        return
    tables = ref.source.tables.items()
    read = {collection_name(TableRef(ref.source_name, table, ref.source, config)) for table, config in tables}
    free = [other for other, kind in there.items() if kind == "collection" and other not in read]
    free.sort(key=lambda other: (-difflib.SequenceMatcher(None, name, other).ratio(), other))
    yield from [other for other in free if not other.startswith("system.")][:_MOST_CANDIDATES]


def _look(
    ref: MongoRef, database: Database[RawBSONDocument], name: str, before: Origin, known: Callable[[Sequence[str]], int]
) -> Successor | None:
    """Return a collection with what speaks for it, or None where that is too little."""
    ids = list(key_texts(b"".join(_raw_ids(ref, database, name))))
    count, now = known(ids), origin_of(database[name], None)
    same_identity = now.identity is not None and now.identity == before.identity
    same_indexes = now.indexes is not None and now.indexes == before.indexes
    enough = len(ids) >= _LEAST_IDS and count >= _KNOWN_SHARE * len(ids)
    # Every collection that numbers its documents has the same ids: their indexes must speak for it, too.
    if all(text.lstrip("-").isdigit() for text in ids):
        enough = enough and same_indexes and bool(now.indexes)
    if not (enough or same_identity):
        return None
    evidence: dict[str, Any] = {
        "renamed_to": name,
        "same_identity": same_identity,
        "ids_sampled": len(ids),
        "ids_known": count,
        "same_indexes": same_indexes,
        "indexes": list(now.indexes or ()),
    }
    why = [f"{count} of {len(ids)} ids of it are in bronze"]
    if same_indexes:
        why.append("its indexes are the same")
    if same_identity:
        why.append("the server knows it as the same collection")
    return Successor(name, ", ".join(why), evidence)


def _raw_ids(ref: MongoRef, database: Database[RawBSONDocument], name: str) -> Iterator[bytes]:
    """Yield the first ids of a collection that the table's filter leaves, as BSON."""
    for document in database[name].find(ref.table.filter or {}, {"_id": 1}, limit=_SAMPLED_IDS):
        yield bytes(document.raw)
