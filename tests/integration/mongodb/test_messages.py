"""What people are told when a MongoDB source cannot be read: the one thing that is wrong, and what to do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from tasks.errors import ConfigError, MissingCollection, SourceUnreachable
from tasks.mongodb.check import check
from tasks.mongodb.config import MongoSource, MongoTable
from tests.fixtures.mongodb import Shop
from tests.line import Line

SESSIONS = b"logicalSessionTimeoutMinutes"


def source(uri: str, database: str) -> MongoSource:
    return MongoSource(kind="mongodb", uri=SecretStr(uri), database=database, tables={"orders": MongoTable()})


def test_a_database_that_does_not_exist_is_not_taken_for_a_missing_collection(shop: Shop) -> None:
    shop.database.orders.insert_one({"_id": 1})
    ref = shop.ref()
    mistyped = replace(ref, source=source(shop.uri, shop.name[:-1]))
    with pytest.raises(MissingCollection, match="the database .* does not exist") as caught:
        shop.extract(mistyped)
    assert shop.name in caught.value.action
    with pytest.raises(MissingCollection, match="the collection 'odrers' does not exist.*there is: orders"):
        shop.extract(shop.ref("odrers"))


def test_of_an_unreachable_server_one_phrase_is_told(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.mongodb.client.SERVER_SELECTION_MS", 200)
    away = replace(shop.ref(), source=source("mongodb://127.0.0.1:1/?directConnection=true", "none"))
    with pytest.raises(SourceUnreachable) as caught:
        shop.extract(away)
    assert caught.value.what == "MongoDB did not answer: 127.0.0.1:1: [Errno 111] Connection refused"


def test_a_server_without_sessions_is_told_at_check(shop: Shop) -> None:
    line = Line(shop.uri, lambda message: message.replace(SESSIONS, SESSIONS[::-1]))
    try:
        found = {finding.message: finding.level for finding in check("shop", source(line.uri, shop.name))}
    finally:
        line.close()
    assert found["the server has no sessions, which every read needs"] == "wrong"
    assert not any("sessions" in finding.message for finding in check("shop", source(shop.uri, shop.name)))


@pytest.mark.parametrize("uri", ["mongodb://u:geh@im@127.0.0.1:1", "mongodb://u:geh/im@127.0.0.1:1/"])
def test_an_unescaped_password_in_a_uri_is_said_so(shop: Shop, uri: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="percent-encode user and password") as caught:
        shop.extract(replace(shop.ref(), source=source(uri, "none")))
    assert "geh" not in str(caught.value)
