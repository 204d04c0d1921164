"""Connections to MongoDB, and its errors in our words."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient, read_preferences
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import (
    AutoReconnect,
    ConfigurationError,
    ConnectionFailure,
    CursorNotFound,
    ExecutionTimeout,
    InvalidURI,
    OperationFailure,
    PyMongoError,
)
from pymongo.read_concern import ReadConcern

from tasks.errors import (
    ESCAPE,
    ConfigError,
    MissingCollection,
    SourceAuthError,
    SourceError,
    SourceUnreachable,
    credentials_are_escaped,
    redact,
)
from tasks.mongodb.config import MongoRef, MongoSource, collection_name

# Long enough for a failover (10 to 12 s on a replica set), short enough for a person at a terminal.
SERVER_SELECTION_MS = 15_000
# A server that is silent for this long on an open socket is taken for dead; getMore on a cold disk can take a minute.
SOCKET_TIMEOUT_MS = 300_000
# Server error codes: https://github.com/mongodb/mongo/blob/master/src/mongo/base/error_codes.yml
_AUTH_CODES = {13, 18, 8000}
# CursorNotFound, QueryPlanKilled (dropped or renamed under the query), CursorKilled.
_ENDED_CODES = {43, 175, 237}
# What the driver says of its timeouts and of every server that it knows, behind the one phrase that people need.
_TOPOLOGY = re.compile(r"\s*\(configured timeouts: [^)]*\)|, Timeout: [\d.]+s, Topology Description: .*", re.DOTALL)
_TRANSIENT_CODES = {6, 7, 89, 91, 189, 262, 9001, 10107, 11600, 11602, 13388, 13435, 13436}


def connect(source: MongoSource) -> MongoClient[RawBSONDocument]:
    """Return a client; nothing is sent before the first command.

    Raises:
        ConfigError: The URI is malformed (its text is never repeated).
    """
    uri = uri_of(source)
    if not credentials_are_escaped(uri):
        raise ConfigError("the MongoDB URI is not valid", f"database {source.database}", ESCAPE)
    try:
        return MongoClient(
            uri,
            document_class=RawBSONDocument,
            serverSelectionTimeoutMS=SERVER_SELECTION_MS,
            socketTimeoutMS=SOCKET_TIMEOUT_MS,
            appname="warehouse",
        )
    except (InvalidURI, ConfigurationError, ValueError) as error:
        raise ConfigError(
            f"the MongoDB URI is not valid: {type(error).__name__}",
            f"database {source.database}",
            "it looks like mongodb://user:password@host:27017/?replicaSet=rs0, with special characters %-escaped",
        ) from None


def uri_of(source: MongoSource) -> str:
    """Return the secret URI, from sources.yaml or from a Prefect Secret block."""
    if source.uri is not None:
        return source.uri.get_secret_value()
    from prefect.blocks.system import Secret

    name = str(source.block).removeprefix("secret/")
    block: Any = Secret.load(name)
    return str(block.get())


def database_of(client: MongoClient[RawBSONDocument], source: MongoSource) -> Database[RawBSONDocument]:
    """Return the database with the source's read preference and read concern."""
    mode = source.read_preference[0].upper() + source.read_preference[1:]
    preference = getattr(read_preferences, mode)()
    return client.get_database(
        source.database, read_preference=preference, read_concern=ReadConcern(source.read_concern)
    )


def open_collection(client: MongoClient[RawBSONDocument], ref: MongoRef) -> tuple[Collection[RawBSONDocument], str]:
    """Return the table's collection and its type (`collection`, `view`, `timeseries`).

    Raises:
        MissingCollection: With the names that come close.
    """
    database = database_of(client, ref.source)
    name = collection_name(ref)
    listed = database.list_collections(authorizedCollections=True, nameOnly=True)
    found = {item["name"]: item["type"] for item in listed}
    if not found:
        _refuse_empty(client, ref)
    if name not in found:
        near = difflib.get_close_matches(name, found, n=3) or sorted(found)[:5]
        raise MissingCollection(
            f"the collection {name!r} does not exist",
            f"{ref.name}, database {ref.source.database}",
            f"set `collection:` in sources.yaml; there is: {', '.join(near) or 'nothing'}",
        )
    return database[name], found[name]


def _refuse_empty(client: MongoClient[RawBSONDocument], ref: MongoRef) -> None:
    """Say that a database without collections does not exist, as a mistyped name has none.

    Raises:
        MissingCollection: With the names that come close, where the user may list them.
    """
    try:
        names = client.list_database_names()
    except OperationFailure:
        names = []
    near = difflib.get_close_matches(ref.source.database, names, n=3) or sorted(names)[:5]
    raise MissingCollection(
        f"the database {ref.source.database!r} does not exist, or holds nothing that this user may read",
        ref.name,
        f"correct `database:` in sources.yaml, or grant read on it; there is: {', '.join(near) or 'nothing to see'}",
    )


def plain(collection: Collection[RawBSONDocument]) -> Collection[dict[str, Any]]:
    """Return the collection decoding to dicts, for small look-ups."""
    return collection.with_options(codec_options=CodecOptions(document_class=dict, tz_aware=True))


@contextmanager
def named_errors(ref: MongoRef) -> Iterator[None]:
    """Turn the driver's errors into ours, with place and remedy."""
    try:
        yield
    except PyMongoError as error:
        raise translate(error, ref.name) from error


def translate(error: PyMongoError, where: str) -> SourceError:
    """Return our error for one of the driver's."""
    text = _TOPOLOGY.sub("", redact(str(error)).split(", full error:")[0])[:500]
    code = error.code if isinstance(error, OperationFailure) else None
    if code in _AUTH_CODES:
        return SourceAuthError(
            f"MongoDB refused: {text}", where, "check user, password and authSource, and that the user may read it"
        )
    if isinstance(error, ExecutionTimeout):
        return SourceError(
            f"MongoDB stopped the query at its time limit: {text}", where, "raise max_time_ms, or index the cursor"
        )
    if isinstance(error, CursorNotFound) or code in _ENDED_CODES:
        return SourceUnreachable(
            f"MongoDB ended the query on the way: {text}",
            where,
            "run again; if it comes back, the collection is dropped or renamed while it is read, or queries are killed",
        )
    if isinstance(error, ConnectionFailure | AutoReconnect) or code in _TRANSIENT_CODES:
        return SourceUnreachable(f"MongoDB did not answer: {text}", where, "check that the server is up and reachable")
    return SourceError(f"MongoDB failed: {text}", where, "see the server's message")
