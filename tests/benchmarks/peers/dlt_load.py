"""Load a collection with dlt; arguments: URI, database, collection, Postgres URL, schema, format.

The resource reads as dlt's own MongoDB source does: batches of plain documents by `find`, BSON types turned into JSON
ones. Formats: `default` (dlt as it comes: `insert_values`, arrays as child tables), and with all that its documentation
gives for speed `insert_values`, `csv` (its COPY option) and `parquet` (its Arrow and ADBC option).
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time

import dlt
from bson.decimal128 import Decimal128
from bson.objectid import ObjectId
from pymongo import MongoClient

uri, database, collection, url, schema, file_format = sys.argv[1:7]
os.environ["DESTINATION__POSTGRES__CREDENTIALS"] = url
tuned = file_format != "default"
if tuned:
    # What https://dlthub.com/docs/reference/performance advises: larger buffers, and workers for each core.
    os.environ["DATA_WRITER__BUFFER_MAX_ITEMS"] = "10000"
    os.environ["NORMALIZE__WORKERS"] = "2"
    os.environ["LOAD__WORKERS"] = "4"
    os.environ["DATA_WRITER__FILE_MAX_ITEMS"] = "100000"


def plain(value: object) -> object:
    """Return a value that dlt takes, as its MongoDB source's helper does."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, Decimal128):
        return value.to_decimal()
    return str(value) if isinstance(value, ObjectId) else value


@dlt.resource(name=collection, write_disposition="replace", max_table_nesting=0 if tuned else None)
def documents():
    """Yield documents in batches."""
    with MongoClient(uri, tz_aware=True) as client:
        batch = []
        for document in client[database][collection].find({}, batch_size=10_000):
            batch.append(plain(document))
            if len(batch) == 10_000:
                yield batch
                batch = []
        yield batch


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        pipeline = dlt.pipeline("bench", destination="postgres", dataset_name=schema, pipelines_dir=folder)
        started = time.perf_counter()
        pipeline.run(documents(), loader_file_format=file_format if tuned else None)
        print(json.dumps({"seconds": time.perf_counter() - started}))
