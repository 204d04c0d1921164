"""A proposal for sources.yaml from a look at a database."""

from __future__ import annotations

from typing import Any

from pydantic import SecretStr
from pymongo import MongoClient
from pymongo.errors import ConfigurationError, PyMongoError

from tasks.errors import ConfigError
from tasks.mongodb.client import connect, translate
from tasks.mongodb.config import MongoSource, MongoTable
from tasks.mongodb.propose import propose, table_name, to_yaml
from tasks.mongodb.survey import databases, has_streams, survey
from tasks.sources.connector import Proposal

_WHERE = "warehouse init"


def propose_source(uri: str, database: str | None, name: str | None) -> Proposal:
    """Look at a database, read-only, and propose how to ingest it; see `Connector.propose`."""
    database, surveys, streams = _look(uri, database)
    proposals = propose(surveys, streams=streams)
    if not proposals:
        raise ConfigError(f"the database {database} has no collection that can be read", _WHERE, "give --database")
    refused = {survey.name: survey.refused for survey in surveys if survey.refused is not None}
    source = name or table_name(database)
    found = [f"{p.table}: {p.keys['mode']}, {p.reasons['mode']}" for p in proposals]
    hidden = [f"{p.table}.{path}: {step}, {reason}" for p in proposals for step, path, reason in p.steps]
    unread = [f"{name}: could not be read: {reason}" for name, reason in refused.items()]
    return Proposal(
        source,
        to_yaml(source, database, proposals, refused),
        any(step[0] == "hash" for p in proposals for step in p.steps),
        (*found, *hidden, *unread),
    )


def _look(uri: str, database: str | None) -> tuple[str, list[Any], bool]:
    """Return the database's name, what is known of its collections, and whether there are change streams."""
    source = MongoSource(
        kind="mongodb", uri=SecretStr(uri), database=database or "unknown", tables={"any": MongoTable()}
    )
    with connect(source) as client:
        try:
            if database is None:
                try:
                    database = client.get_default_database().name
                except ConfigurationError:
                    database = _only_database(client)
            return database, list(survey(client[database])), has_streams(client)
        except PyMongoError as error:
            raise translate(error, _WHERE) from error


def _only_database(client: MongoClient[Any]) -> str:
    found = databases(client)
    if len(found) != 1:
        raise ConfigError(
            "the URI names no database" if found else "the server has no database that this user may see",
            _WHERE,
            f"give --database, one of: {', '.join(found)}" if found else "check the user's rights",
        )
    return found[0]
