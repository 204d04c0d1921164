"""A bounded, read-only look at a database: its collections, their indexes, and the shapes of a sample of documents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pymongo
from bson.codec_options import CodecOptions, DatetimeConversion
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import PyMongoError

from tasks.landing.decoder.bson_walk import escape_key

# Documents that are looked at in each collection, in halves from either end: shapes change with time.
SAMPLE = 200
# What one question may take on the server, and how many collections are asked: a survey must not be noticed.
_QUESTION_MS = 5_000
MOST_COLLECTIONS = 200
# Texts that are kept of a field, for telling e-mail addresses from words.
_TEXTS = 20
_OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(
    document_class=dict, tz_aware=True, datetime_conversion=DatetimeConversion.DATETIME_AUTO
)


@dataclass
class Field:
    """What a sample shows of one path.

    Attributes:
        present: Documents that have it, null or not.
        types: How many values are of each type, by Python's name.
        texts: Some of its texts, for patterns; never printed.
        elements: Of arrays, how many elements are of each type.
    """

    present: int = 0
    types: Counter[str] = field(default_factory=Counter)
    texts: list[str] = field(default_factory=list)
    elements: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Survey:
    """What is known of one collection.

    Attributes:
        kind: `collection`, `view` or `timeseries`.
        documents: By the server's own estimate; None where it does not know.
        sampled: Documents looked at.
        indexed: Fields that an index begins with.
        fields: By path.
        refused: Why it could not be read, in the server's words.
    """

    name: str
    kind: str = "collection"
    documents: int | None = None
    sampled: int = 0
    indexed: frozenset[str] = frozenset()
    fields: Mapping[str, Field] = field(default_factory=dict)
    refused: str | None = None


def databases(client: MongoClient[Any]) -> list[str]:
    """Return the databases that are not the server's own."""
    return [name for name in client.list_database_names() if name not in ("admin", "config", "local")]


def has_streams(client: MongoClient[Any]) -> bool:
    """Return whether the server has change streams: a replica set or a sharded cluster."""
    return "setName" in client.admin.command("hello") or client.is_mongos


def survey(database: Database[Any]) -> Iterator[Survey]:
    """Yield what is known of each collection, by name; the first `MOST_COLLECTIONS` of them.

    Raises:
        PyMongoError: The server cannot be reached, or does not list its collections.
    """
    listed = sorted(database.list_collections(), key=lambda item: str(item["name"]))
    own = [item for item in listed if not item["name"].startswith("system.")]
    for item in own[:MOST_COLLECTIONS]:
        collection = database.get_collection(item["name"], codec_options=_OPTIONS)
        try:
            with pymongo.timeout(4 * _QUESTION_MS / 1000):
                yield _look(collection, str(item["type"]))
        except PyMongoError as error:
            yield Survey(item["name"], str(item["type"]), refused=str(error).split(", full error:")[0][:200])


def _look(collection: Collection[dict[str, Any]], kind: str) -> Survey:
    documents = _sample(collection, kind)
    fields: dict[str, Field] = {}
    for document in documents:
        _see(document, "", fields)
    if kind != "collection":
        return Survey(collection.name, kind, None, len(documents), fields=fields)
    indexes = collection.index_information().values()
    return Survey(
        collection.name,
        kind,
        collection.estimated_document_count(maxTimeMS=_QUESTION_MS),
        len(documents),
        frozenset(str(index["key"][0][0]) for index in indexes),
        fields,
    )


def _sample(collection: Collection[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """Return documents from both ends of the index of `_id`; a view has none, so its beginning."""
    if kind != "collection":
        return list(collection.find({}, limit=SAMPLE, max_time_ms=_QUESTION_MS))
    half = SAMPLE // 2
    ends = [collection.find({}, sort=[("_id", way)], limit=half, max_time_ms=_QUESTION_MS) for way in (1, -1)]
    found = {repr(document["_id"]): document for end in ends for document in end}
    return list(found.values())


def _see(document: Mapping[str, Any], parent: str, fields: dict[str, Field]) -> None:
    for key, value in document.items():
        path = f"{parent}.{escape_key(key)}" if parent else escape_key(key)
        seen = fields.setdefault(path, Field())
        seen.present += 1
        seen.types[type(value).__name__] += 1
        if isinstance(value, dict):
            _see(value, path, fields)
        elif isinstance(value, list):
            seen.elements.update(type(element).__name__ for element in value)
            for element in value:
                if isinstance(element, dict):
                    _see(element, path, fields)
        elif isinstance(value, str) and len(seen.texts) < _TEXTS:
            seen.texts.append(value)
