"""All landed kinds from text to Postgres: what is exactly of the kind is in its column, all else is rescued."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bson
import psycopg
import pytest
from psycopg import sql

from tasks.bronze.load import load_batch
from tasks.landing import Landing, new_batch_id
from tasks.landing.kinds import KINDS
from tasks.landing.lander import Lander
from tasks.mongodb.config import MongoTable

# By kind: texts with what Postgres writes for them, and texts that are none of the kind.
TEXTS: dict[str, tuple[dict[str, str], list[str]]] = {
    "int": ({"0": "0", "-9223372036854775808": "-9223372036854775808", "7": "7"}, ["0005", "+5"]),
    "double": ({"12.50": "12.5", "0.1": "0.1", "-0.0": "-0"}, ["1e400", "0.12345678901234567890"]),
    "decimal": (
        {"0.10": "0.10", "1e3": "1000", "123456789.123456789123456789": "123456789.123456789123456789"},
        ["\u0665", "+1"],
    ),
    "string": ({"": "", "0005": "0005", "é": "é"}, []),
    "bool": ({"true": "true", "false": "false"}, ["TRUE"]),
    "date": (
        {"2026-01-02T03:04:05.678Z": "2026-01-02 03:04:05.678+00", "0001-01-01T00:00": "0001-01-01 00:00:00+00"},
        ["soon"],
    ),
    "objectid": ({"0123456789abcdef01234567": "0123456789abcdef01234567", "f" * 24: "f" * 24}, ["F" * 24]),
    "uuid": (
        {f"01234567-89ab-cdef-0123-{n:012}": f"01234567-89ab-cdef-0123-{n:012}" for n in range(3)},
        ["no uuid", "F" * 32],
    ),
    "binary": ({"AAE=": "\\x0001", "": "\\x"}, ["?"]),
    "json": ({'{"b": 1.0, "a": [null]}': '{"a": [null], "b": 1.0}', "[ ]": "[]", "5": "5"}, ["{", "NaN"]),
    "day": ({"2026-02-28": "2026-02-28", "0001-01-01": "0001-01-01"}, ["2026-02-30"]),
    "micros": (
        {"2026-01-02T03:04:05.678901": "2026-01-02 03:04:05.678901+00", "1969-12-31 23:59Z": "1969-12-31 23:59:00+00"},
        ["-"],
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_text_becomes_a_column_of_the_kind_and_what_does_not_parse_is_rescued(
    kind: str, tmp_path: Path, postgres_url: str
) -> None:
    good, bad = TEXTS[kind]
    texts = [*good, *bad]
    table = MongoTable.model_validate({"transforms": [{"cast": {"x": kind}}]})
    landing, batch_id = Landing.open(str(tmp_path)), new_batch_id()
    with landing.writer("shop", "things", batch_id) as writer:
        lander = Lander(writer, table, 64 << 20)
        for number, text in enumerate(texts):
            lander.add(bson.encode({"_id": number, "x": text}))
        segment = lander.finish()
    manifest = landing.commit(
        "shop", "things", batch_id, [segment], mode="full", extracted_at=datetime(2026, 1, 1, tzinfo=UTC)
    )
    assert load_batch(postgres_url, landing, manifest, table).rejected == 0
    with psycopg.connect(postgres_url) as connection:
        connection.execute("set timezone = 'UTC'")
        query = sql.SQL("select x::text, _rescued ->> 'x' from bronze.shop__things order by _id::int")
        rows: list[tuple[Any, ...]] = connection.execute(query).fetchall()
        ((found,),) = connection.execute(
            "select data_type from information_schema.columns where table_name = 'shop__things' and column_name = 'x'"
        ).fetchall()
    assert found == KINDS[kind].columns["postgres"].name
    assert rows[: len(good)] == [(written, None) for written in good.values()]
    # An ObjectId's column is text, so it takes other texts as well; they are told apart by what is rescued.
    assert [rescued for _, rescued in rows[len(good) :]] == bad
    assert all(value is None for value, _ in rows[len(good) :]) or kind == "objectid"
