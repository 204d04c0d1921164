"""`warehouse check` of a MongoDB source: server, rights, and what its tables need."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pymongo
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from tasks.errors import WarehouseError, first_line
from tasks.mongodb.client import connect, database_of, open_collection, translate
from tasks.mongodb.config import MongoRef, MongoSource
from tasks.mongodb.origin import is_indexed
from tasks.sources import TableRef
from tasks.sources.connector import CHECK_SECONDS, Finding

_LEAST_VERSION = (4, 4)


def check(name: str, source: MongoSource) -> Iterator[Finding]:
    """Look at a source; see `tasks.sources.connector.Connector.check`."""
    with connect(source) as client:
        try:
            with pymongo.timeout(CHECK_SECONDS):
                yield from _server(name, client)
                hello = client.admin.command("hello")
                if "logicalSessionTimeoutMinutes" not in hello:
                    yield Finding(
                        "wrong",
                        f"source {name}",
                        "the server has no sessions, which every read needs",
                        "use MongoDB itself: what only speaks its protocol may lack them",
                    )
                # Without a replica set there are no change streams.
                streams = "setName" in hello or client.is_mongos
                for table_name, table in source.tables.items():
                    yield from _table(TableRef(name, table_name, source, table), client, streams)
        except PyMongoError as error:
            ours = translate(error, f"source {name}")
            yield Finding("wrong", f"source {name}", ours.what, ours.action)


def _server(name: str, client: MongoClient[RawBSONDocument]) -> Iterator[Finding]:
    version = client.server_info()["version"]
    yield Finding("ok", f"source {name}", f"MongoDB {version}")
    if tuple(int(part) for part in version.split(".")[:2]) < _LEAST_VERSION:
        yield Finding("wrong", f"source {name}", f"MongoDB {version} is too old", "use 4.4 or later")


def _table(ref: MongoRef, client: MongoClient[RawBSONDocument], streams: bool) -> Iterator[Finding]:
    try:
        collection, kind = open_collection(client, ref)
        collection.find_one({}, {"_id": 1})
    except WarehouseError as error:
        yield Finding("wrong", ref.name, error.what, error.action)
        return
    except OperationFailure as error:
        yield Finding("wrong", ref.name, f"may not be read: {first_line(error)}", "grant the user read on the database")
        return
    if ref.table.mode == "cdc" and not streams:
        yield Finding("wrong", ref.name, "mode cdc needs a replica set", "use mode incremental, or start a replica set")
    if ref.table.mode == "cdc" and kind != "collection":
        yield Finding("wrong", ref.name, f"mode cdc cannot follow a {kind}", "use mode full or incremental")
    if kind == "collection" and (ref.table.cursor or ref.table.hint):
        yield from _indexes(ref, database_of(client, ref.source)[collection.name].index_information())


def _indexes(ref: MongoRef, indexes: Mapping[str, Any]) -> Iterator[Finding]:
    table = ref.table
    if table.hint and table.hint not in indexes:
        yield Finding(
            "wrong",
            ref.name,
            f"hint: there is no index {table.hint!r}",
            f"create it, or correct `hint`; there is: {', '.join(sorted(indexes))}",
        )
    if table.cursor and not is_indexed(indexes, table.cursor):
        yield Finding(
            "warning",
            ref.name,
            f"the cursor {table.cursor} has no index: each run reads the whole collection",
            f"create an index on {table.cursor}",
        )
