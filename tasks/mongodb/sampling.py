"""A few documents of a collection, taken at random by the server: enough to notice that a warehouse has drifted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pymongo
from pymongo.errors import PyMongoError

from tasks.errors import MissingCollection
from tasks.landing.transforms import Transforms
from tasks.landing.typed import TableTypes
from tasks.mongodb.client import connect, named_errors, open_collection, translate
from tasks.mongodb.config import MongoRef
from tasks.mongodb.extract import projection_of
from tasks.mongodb.reading import decoder_of
from tasks.sources.connector import Count, Sample


def sample_documents(ref: MongoRef, documents: int) -> Sample:
    """Return up to so many documents, as they would land, and the number of documents in the collection.

    Raises:
        SourceError: The collection could not be read.
    """
    pipeline: list[dict[str, Any]] = [{"$match": ref.table.filter}, {"$sample": {"size": documents}}]
    projection = projection_of(ref.table)
    if projection:
        pipeline.append({"$project": projection})
    decoder = decoder_of(ref.table, max_bytes=1 << 40)
    client = connect(ref.source)
    try:
        with named_errors(ref):
            collection, _ = open_collection(client, ref)
            raw: Any
            for raw in collection.aggregate_raw_batches(pipeline):
                decoder.push(raw)
            total = collection.count_documents(ref.table.filter)
    finally:
        client.close()
    typed = TableTypes(ref.table).apply_tables(decoder.flush().tables)
    tables = Transforms(ref.table.transforms, ref.table.child_paths).apply_tables(typed)
    elements = {path: [tables[path]] if path in tables else [] for path in ref.table.child_paths}
    return Sample(tables[""], total, elements)


def estimated_count(ref: MongoRef) -> int:
    """Return what the server knows of a collection's size without counting.

    Raises:
        SourceError: The server does not answer.
    """
    client = connect(ref.source)
    try:
        with named_errors(ref):
            collection, _ = open_collection(client, ref)
            return int(collection.estimated_document_count())
    finally:
        client.close()


def counts(refs: Sequence[MongoRef], seconds: float) -> dict[str, Count]:
    """Return how many documents the tables of one source have, for as many as this can be told in time.

    Raises:
        SourceError: The server does not answer, or refuses.
    """
    found: dict[str, Count] = {}
    with connect(refs[0].source) as client, pymongo.timeout(seconds):
        for ref in refs:
            try:
                collection, _ = open_collection(client, ref)
                wanted = ref.table.filter
                rows = collection.count_documents(wanted) if wanted else collection.estimated_document_count()
            except MissingCollection:
                continue
            except PyMongoError as error:
                if error.timeout and found:
                    break
                raise translate(error, ref.name) from error
            deletes = ref.table.mode != "incremental" or ref.table.deletes == "sweep"
            found[ref.name] = Count(int(rows), bool(wanted), deletes)
    return found
