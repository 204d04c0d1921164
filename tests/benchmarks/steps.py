"""The steps that are measured, each started in a process of its own by `measure.run_step`."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.benchmarks.inputs import documents


class Clock:
    """Seconds between `start` and `stop`."""

    seconds = 0.0


@contextmanager
def timed() -> Iterator[Clock]:
    """Time a block."""
    clock = Clock()
    started = time.perf_counter()
    yield clock
    clock.seconds = time.perf_counter() - started


def drain(uri: str, database: str, collection: str) -> dict[str, Any]:
    """Read all raw batches and throw them away: the limit of any reader of this server."""
    from bson.raw_bson import RawBSONDocument
    from pymongo import MongoClient

    from tasks.mongodb.reading import BATCH_DOCUMENTS

    with MongoClient(uri, document_class=RawBSONDocument) as client:
        found = client[database][collection]
        size = 0
        with timed() as clock:
            for raw in found.find_raw_batches({}, batch_size=BATCH_DOCUMENTS):
                size += len(raw)
        return {"rows": found.estimated_document_count(), "seconds": clock.seconds, "bytes": size}


def decode(shape: str, count: int) -> dict[str, Any]:
    """Decode documents that are in memory already."""
    from tasks.mongodb.decoder import make_decoder, native_available

    batches = _raw_batches(shape, count)
    decoder = make_decoder()
    with timed() as clock:
        for raw in batches:
            offset = 0
            while (offset := decoder.push(raw, offset)) < len(raw):
                decoder.flush()
        decoder.flush()
    return {"rows": count, "seconds": clock.seconds, "native": native_available(), "bytes": sum(map(len, batches))}


def parquet(shape: str, count: int) -> dict[str, Any]:
    """Write decoded frames as the landing writes them."""
    from tasks.landing import Landing
    from tasks.mongodb.decoder import make_decoder

    frames = []
    decoder = make_decoder()
    for raw in _raw_batches(shape, count):
        offset = 0
        while (offset := decoder.push(raw, offset)) < len(raw):
            frames.append(decoder.flush().tables[""])
    frames.append(decoder.flush().tables[""])
    with tempfile.TemporaryDirectory() as folder, timed() as clock:
        with Landing.open(folder).writer("s", "t", "b") as writer:
            for frame in frames:
                writer.write(frame)
            writer.finish({"": {"rows": count, "fields": {}}}, 0, 0.0)
    return {"rows": count, "seconds": clock.seconds}


def land(uri: str, database: str, collection: str, folder: str, memory_bytes: int = 512 << 20) -> dict[str, Any]:
    """Extract a collection whole, from MongoDB to a committed batch."""
    from tasks.extract import ExtractContext, extract_table
    from tasks.landing import Landing

    ref = table_ref(uri, database, collection)
    context = ExtractContext(Landing.open(folder), memory_bytes=memory_bytes)
    with timed() as clock:
        manifest = extract_table(ref, context).manifest
    assert manifest is not None
    return {"rows": manifest.rows, "seconds": clock.seconds, "bytes": manifest.bytes, "parts": len(manifest.parts)}


def table_ref(uri: str, database: str, collection: str, **table: Any) -> Any:
    """Return the table that a benchmark moves."""
    from pydantic import SecretStr

    from tasks.sources import MongoSource, MongoTable, TableRef

    mongo_table = MongoTable.model_validate({"collection": collection, **table})
    source = MongoSource(kind="mongodb", uri=SecretStr(uri), database=database, tables={collection: mongo_table})
    return TableRef("bench", collection, source, mongo_table)


def _raw_batches(shape: str, count: int) -> list[bytes]:
    batches: list[bytes] = []
    pending: list[bytes] = []
    for raw in documents(shape, count):
        pending.append(raw)
        if len(pending) == 10_000:
            batches.append(b"".join(pending))
            pending = []
    return [*batches, b"".join(pending)] if pending else batches


STEPS: dict[str, Callable[..., dict[str, Any]]] = {"drain": drain, "decode": decode, "parquet": parquet, "land": land}

if __name__ == "__main__":
    print(json.dumps(STEPS[sys.argv[1]](**json.loads(sys.argv[2]))))
