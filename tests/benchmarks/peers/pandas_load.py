"""Load a collection with pandas `to_sql`; arguments: URI, database, collection, Postgres URL, schema.

`method="multi"` with chunks, as pandas' own documentation advises for Postgres; nested values as JSON text.
"""

from __future__ import annotations

import json
import sys
import time

import pandas as pd
from pymongo import MongoClient
from sqlalchemy import create_engine, text

uri, database, collection, url, schema = sys.argv[1:6]


def plain(value: object) -> object:
    """Return a value that the driver takes: nested ones as JSON, BSON ones as text."""
    if isinstance(value, list | dict):
        return json.dumps(value, default=str)
    return value if value is None or isinstance(value, str | int | float) else str(value)


if __name__ == "__main__":
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.execute(text(f'create schema if not exists "{schema}"'))
    started = time.perf_counter()
    with MongoClient(uri, tz_aware=True) as client:
        frame = pd.json_normalize(list(client[database][collection].find({}, batch_size=10_000)), sep="__")
    for column in frame.columns[[dtype.kind == "O" for dtype in frame.dtypes]]:
        frame[column] = frame[column].map(
            lambda value: (
                json.dumps(value, default=str)
                if isinstance(value, list | dict)
                else value
                if value is None or isinstance(value, str | int | float)
                else str(value)
            )
        )
    # 65,535 parameters is Postgres's limit for one statement.
    rows = 60_000 // max(len(frame.columns), 1)
    frame.to_sql(collection, engine, schema=schema, if_exists="replace", index=False, method="multi", chunksize=rows)
    print(json.dumps({"seconds": time.perf_counter() - started}))
