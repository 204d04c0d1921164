"""The steps that are measured, each started in a process of its own by `measure.run_step`."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.benchmarks.inputs import documents, object_id


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


def drain(uri: str, database: str, collection: str, cursor: str = "RawBatches") -> dict[str, Any]:
    """Read all raw batches and throw them away, with our cursor or with the driver's: the limit of any reader."""
    from bson.raw_bson import RawBSONDocument
    from pymongo import MongoClient
    from pymongo.cursor import RawBatchCursor

    from tasks.mongodb.batches import RawBatches
    from tasks.mongodb.reading import BATCH_DOCUMENTS

    read = {kind.__name__: kind for kind in (RawBatches, RawBatchCursor)}[cursor]

    with MongoClient(uri, document_class=RawBSONDocument) as client:
        found = client[database][collection]
        size = 0
        with timed() as clock:
            for raw in read(found, {}, batch_size=BATCH_DOCUMENTS):
                size += len(raw)
        return {"rows": found.estimated_document_count(), "seconds": clock.seconds, "bytes": size}


def decode(shape: str, count: int) -> dict[str, Any]:
    """Decode documents that are in memory already."""
    from tasks.landing.decoder import make_decoder, native_available

    batches = _raw_batches(shape, count)
    decoder = make_decoder()
    with timed() as clock:
        for raw in batches:
            offset = 0
            while (offset := decoder.push(raw, offset)) < len(raw):
                decoder.flush()
        decoder.flush()
    return {"rows": count, "seconds": clock.seconds, "native": native_available(), "bytes": sum(map(len, batches))}


def channel(url: str, count: int, folder: str) -> dict[str, Any]:
    """Read one day of a channel with so many rows into the landing."""
    from datetime import date
    from pathlib import Path

    from tasks.extract import ExtractContext, extract_table
    from tasks.landing import Landing
    from tasks.sources import load_sources
    from tasks.sources.window import Window
    from tests.benchmarks.channels import DAY, source

    Path(folder).mkdir(parents=True)
    path = Path(folder) / "sources.yaml"
    path.write_text(json.dumps({"sources": {"bench": source(url, count)}}))
    ref, day = load_sources(path, {}).table("bench.ads"), date.fromisoformat(DAY)
    context = ExtractContext(Landing.open(folder), memory_bytes=256 << 20, window=Window(day, day))
    used = time.process_time()
    with timed() as clock:
        result = extract_table(ref, context)
    return {"rows": result.metrics.rows_landed, "seconds": clock.seconds, "cpu": time.process_time() - used}


def connector(count: int, folder: str) -> dict[str, Any]:
    """Read so many made-up rows by another one's connector into the landing; its own processor seconds stand apart."""
    import resource
    from pathlib import Path

    from tasks.extract import ExtractContext, extract_table
    from tasks.landing import Landing
    from tasks.sources import load_sources

    Path(folder).mkdir(parents=True)
    config = {"count": count, "seed": 1, "records_per_slice": 1_000, "always_updated": False, "parallelism": 1}
    source = {"kind": "airbyte", "connector": "faker", "config": config, "tables": {"users": {"mode": "full"}}}
    path = Path(folder) / "sources.yaml"
    path.write_text(json.dumps({"sources": {"bench": source}}))
    context = ExtractContext(Landing.open(folder), memory_bytes=256 << 20)
    used = time.process_time()
    with timed() as clock:
        result = extract_table(load_sources(path, {}).table("bench.users"), context)
    theirs = resource.getrusage(resource.RUSAGE_CHILDREN)
    # KiB on Linux, bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "rows": result.metrics.rows_landed,
        "seconds": clock.seconds,
        "cpu": time.process_time() - used,
        "connector_cpu": theirs.ru_utime + theirs.ru_stime,
        "connector_peak_bytes": theirs.ru_maxrss * unit,
        # What a parent is told of a process is the largest of it and its children.
        "own_peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
    }


def parquet(shape: str, count: int) -> dict[str, Any]:
    """Write decoded frames as the landing writes them."""
    from tasks.landing import Landing
    from tasks.landing.decoder import make_decoder

    frames = []
    decoder = make_decoder()
    for raw in _raw_batches(shape, count):
        offset = 0
        while (offset := decoder.push(raw, offset)) < len(raw):
            frames.append(decoder.flush().tables[""])
    frames.append(decoder.flush().tables[""])
    with (
        tempfile.TemporaryDirectory() as folder,
        timed() as clock,
        Landing.open(folder).writer("s", "t", "b") as writer,
    ):
        for frame in frames:
            writer.write(frame)
        writer.finish({"": {"rows": count, "fields": {}}}, 0, 0.0)
    return {"rows": count, "seconds": clock.seconds}


def land(uri: str, database: str, collection: str, folder: str, memory_bytes: int = 512 << 20) -> dict[str, Any]:
    """Extract a collection whole, from MongoDB to a committed batch."""
    from tasks.extract import ExtractContext
    from tasks.landing import Landing
    from tasks.mongodb.extract import extract_table

    ref = table_ref(uri, database, collection)
    context = ExtractContext(Landing.open(folder), memory_bytes=memory_bytes)
    with timed() as clock:
        manifest = extract_table(ref, context).manifest
    assert manifest is not None
    return {
        "rows": manifest.rows,
        "seconds": clock.seconds,
        "bytes": manifest.bytes,
        "parts": len(manifest.parts),
    }


def through(
    url: str, landing: str, uri: str, database: str, collection: str, table: str, memory_bytes: int = 512 << 20
) -> dict[str, Any]:
    """Bring a collection from MongoDB to bronze for the first time: landed, and loaded while it is being landed."""
    import os
    from concurrent.futures import ThreadPoolExecutor

    os.environ["WAREHOUSE_URL"], os.environ["WAREHOUSE_LANDING"] = url, landing
    from tasks.bronze.outcome import LoadResult
    from tasks.bronze.pending import load_ahead
    from tasks.extract import ExtractContext
    from tasks.landing import Landing
    from tasks.mongodb.extract import extract_table
    from tasks.settings import Settings

    ref, settings = table_ref(uri, database, collection, name=table), Settings()
    context = ExtractContext(Landing.open(landing), memory_bytes=memory_bytes)
    with timed() as clock, ThreadPoolExecutor(max_workers=1) as pool:
        loading = pool.submit(load_ahead, ref, settings, lambda: False)
        manifest = extract_table(ref, context).manifest
        result = loading.result()
    assert manifest is not None and isinstance(result, LoadResult) and result.inserted == manifest.rows, result
    return {"rows": result.inserted, "seconds": clock.seconds, "plan": result.plan}


def copy(url: str, shape: str, count: int) -> dict[str, Any]:
    """COPY rows that are decoded already into a plain table without key: the limit of any loader of this server."""
    import psycopg
    from psycopg import sql

    from tasks.bronze.kinds import PG_TYPES
    from tasks.bronze.postgres.copying import copy_frames
    from tasks.landing.decoder import make_decoder

    decoder = make_decoder(max_bytes=1 << 40)
    for raw in _raw_batches(shape, count):
        decoder.push(raw)
    frame = decoder.flush().tables[""].drop("_hash", "_rescued")
    types = [(name, "text" if name == "_id" else PG_TYPES[name.rsplit("|", 1)[1]]) for name in frame.columns]
    columns = sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(pg_type))  # type: ignore[arg-type]
        for name, pg_type in types
    )
    table = sql.Identifier(f"copy_{shape}")
    with psycopg.connect(url) as connection:
        connection.execute(sql.SQL("drop table if exists {}").format(table))
        connection.execute(sql.SQL("create table {} ({})").format(table, columns))
        connection.commit()
        with timed() as clock:
            copy_frames(connection.cursor(), table, [frame], types)
            connection.commit()
    return {"rows": count, "seconds": clock.seconds}


def load(url: str, landing: str, uri: str, database: str, collection: str) -> dict[str, Any]:
    """Load what is landed of a collection into bronze."""
    import os

    os.environ["WAREHOUSE_URL"], os.environ["WAREHOUSE_LANDING"] = url, landing
    from tasks.bronze.pending import load_pending
    from tasks.settings import Settings

    settings = Settings()
    with timed() as clock:
        results = load_pending(table_ref(uri, database, collection), settings)
    return {
        "rows": sum(result.rows_landed for result in results),
        "seconds": clock.seconds,
        "plans": [result.plan for result in results],
    }


def change(uri: str, database: str, collection: str, landing: str, percent: int) -> dict[str, Any]:
    """Change a share of a collection's documents, and land the collection whole again."""
    from pymongo import MongoClient

    with MongoClient(uri) as client:
        found = client[database][collection]
        limit = found.estimated_document_count() * percent // 100
        found.update_many({"_id": {"$lt": object_id(limit)}}, {"$inc": {"discount": 1}})
    return land(uri, database, collection, landing)


def no_change(url: str, landing: str, uri: str, database: str, tables: int) -> dict[str, Any]:
    """Extract and load so many small tables of which nothing changed since the first run."""
    import os

    from pymongo import MongoClient

    os.environ["WAREHOUSE_URL"], os.environ["WAREHOUSE_LANDING"] = url, landing
    from tasks.bronze.pending import load_pending
    from tasks.extract import ExtractContext, extract_table
    from tasks.landing import Landing
    from tasks.settings import Settings

    settings, store = Settings(), Landing.open(landing)
    refs = [
        table_ref(uri, database, f"small_{number}", mode="incremental", cursor="number") for number in range(tables)
    ]
    states: dict[str, dict[str, Any]] = {}
    with MongoClient(uri) as client:
        for number in range(tables):
            found = client[database][f"small_{number}"]
            found.drop()
            found.create_index("number")
            found.insert_many([{"number": row} for row in range(10)])
    for ref in refs:
        manifest = extract_table(ref, ExtractContext(store)).manifest
        assert manifest is not None
        states[ref.name] = manifest.checkpoint
        load_pending(ref, settings)
    with timed() as clock:
        for ref in refs:
            assert extract_table(ref, ExtractContext(store, states[ref.name])).manifest is None
            load_pending(ref, settings)
    return {"rows": tables, "seconds": clock.seconds}


def sweep_land(landing: str, count: int, memory_bytes: int = 512 << 20) -> dict[str, Any]:
    """Land so many documents that are an `_id` alone, then the list of ids of all but every hundredth."""
    from datetime import UTC, datetime

    from tasks.landing import Landing, new_batch_id
    from tasks.landing.lander import Lander

    ref, store = _sweep_ref(), Landing.open(landing)
    for kind in ("rows", "ids"):
        extracted_at = datetime.now(UTC)
        place = ("bench", "sweep", new_batch_id(extracted_at))
        with timed() as clock, store.writer(*place) as writer:
            lander = Lander(writer, ref.table, memory_bytes)
            if kind == "rows":
                for raw in _id_batches(count, keep=lambda number: True):
                    lander.push(raw)
            else:
                lander.write_ids(_id_batches(count, keep=lambda number: number % 100 != 0))
            segment = lander.finish()
        store.commit(*place, [segment], mode="incremental", extracted_at=extracted_at)
    return {"rows": count, "seconds": clock.seconds, "parts": len(segment.parts)}


def sweep_load(url: str, landing: str) -> dict[str, Any]:
    """Load the next landed batch of `sweep_land`: first the documents, then the list of ids."""
    from tasks.bronze.load import load_batch
    from tasks.bronze.pending import pending
    from tasks.landing import Landing

    ref, store = _sweep_ref(), Landing.open(landing)
    manifest = store.manifest("bench", "sweep", pending(url, store, ref)[0])
    with timed() as clock:
        result = load_batch(url, store, manifest, ref.table)
    return {"rows": sum(part.rows for part in manifest.parts), "seconds": clock.seconds, "deleted": result.deleted}


def _sweep_ref() -> Any:
    return table_ref("mongodb://not-used", "none", "sweep", mode="incremental", cursor="at", deletes="sweep")


def _id_batches(count: int, keep: Callable[[int], bool]) -> Iterator[bytes]:
    """Yield raw batches of `{_id: ObjectId}`."""
    for start in range(0, count, 10_000):
        numbers = range(start, min(start + 10_000, count))
        yield b"".join(
            b"\x16\0\0\0\x07_id\0" + number.to_bytes(12, "big") + b"\0" for number in numbers if keep(number)
        )


def table_ref(uri: str, database: str, collection: str, name: str | None = None, **table: Any) -> Any:
    """Return the table that a benchmark moves, by default named as its collection."""
    from pydantic import SecretStr

    from tasks.mongodb.config import MongoSource, MongoTable
    from tasks.sources import TableRef

    # One range: this server counts every document when it is asked for a collection's size; MongoDB knows it.
    mongo_table = MongoTable.model_validate({"collection": collection, "partitions": 1, **table})
    name = name or collection
    source = MongoSource(kind="mongodb", uri=SecretStr(uri), database=database, tables={name: mongo_table})
    return TableRef("bench", name, source, mongo_table)


def _raw_batches(shape: str, count: int) -> list[bytes]:
    batches: list[bytes] = []
    pending: list[bytes] = []
    for raw in documents(shape, count):
        pending.append(raw)
        if len(pending) == 10_000:
            batches.append(b"".join(pending))
            pending = []
    return [*batches, b"".join(pending)] if pending else batches


STEPS: dict[str, Callable[..., dict[str, Any]]] = {
    step.__name__: step
    for step in (
        channel,
        connector,
        drain,
        decode,
        parquet,
        land,
        through,
        copy,
        load,
        change,
        no_change,
        sweep_land,
        sweep_load,
    )
}

if __name__ == "__main__":
    print(json.dumps(STEPS[sys.argv[1]](**json.loads(sys.argv[2]))))
