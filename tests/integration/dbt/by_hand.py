"""Bronze tables built by hand, in the shape that the loader gives them but by other means: dicts and plain inserts."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
from bson import Decimal128, ObjectId, json_util
from psycopg import sql

Row = dict[str, Any]

_TYPES: dict[type, str] = {
    bool: "boolean",
    int: "bigint",
    float: "double precision",
    str: "text",
    ObjectId: "text",
    Decimal128: "numeric",
    Decimal: "numeric",
    datetime: "timestamptz",
    date: "date",
    list: "jsonb",
}


def flatten(document: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield path and value of every leaf that is not null; arrays are leaves."""
    for key, value in document.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        elif value is not None:
            yield f"{prefix}{key}", value


def load_documents(
    connection: psycopg.Connection[Any],
    source: str,
    table: str,
    documents: Iterable[Mapping[str, Any]],
    children: Sequence[str] = (),
    rescue: Mapping[str, type] | None = None,
) -> None:
    """Create `bronze.<source>__<table>` and a table per child array from documents.

    Args:
        connection: Where to create.
        source: Source name.
        table: Table name.
        documents: The documents.
        children: Arrays that become tables.
        rescue: By path, the type that fits the column; values of others go to `_rescued`.
    """
    rows: list[Row] = []
    child_rows: dict[str, list[Row]] = {path: [] for path in children}
    for document in documents:
        root = str(document["_id"])
        for path in children:
            elements = document.get(path, [])
            child_rows[path] += [
                {
                    "_id": f"{root}:{n}",
                    "_root_id": root,
                    "_parent_id": root,
                    "_position": n,
                    **_columns(element, {}, ()),
                }
                for n, element in enumerate(elements)
            ]
        rows.append({"_id": root, **_columns(document, rescue or {}, ("_id", *children))})
    _create(connection, f"{source}__{table}", rows)
    for path, found in child_rows.items():
        _create(connection, f"{source}__{table}__{path}", found)


def _columns(document: Mapping[str, Any], rescue: Mapping[str, type], leave_out: Sequence[str]) -> Row:
    row: Row = {}
    rescued: Row = {}
    for path, value in flatten(document):
        if path in leave_out:
            continue
        if path in rescue and not isinstance(value, rescue[path]):
            rescued[path] = value
        else:
            row[path.replace(".", "__")] = value
    row["_rescued"] = rescued or None
    return row


def load_csv(
    connection: psycopg.Connection[Any], source: str, table: str, paths: Iterable[Path], key: Sequence[str]
) -> None:
    """Create `bronze.<source>__<table>` from CSV files with every column typed by its looks."""
    rows = []
    for path in paths:
        for record in csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))):
            row = {name: _by_looks(name, text) for name, text in record.items() if text != ""}
            rows.append({"_id": json.dumps([record[name] for name in key]), "_rescued": None, **row})
    _create(connection, f"{source}__{table}", rows)


def _by_looks(name: str, text: str) -> Any:
    if name in ("segments_date", "date_start", "stat_time_day", "date", "Date"):
        return date.fromisoformat(text)
    if name.endswith("_id") or not text.replace(".", "", 1).isdigit():
        return text
    return Decimal(text) if "." in text else int(text)


def _create(connection: psycopg.Connection[Any], name: str, rows: list[Row]) -> None:
    types: dict[str, str] = {"_id": "text"}
    for row in rows:
        for column, value in row.items():
            kind = "jsonb" if column == "_rescued" else _TYPES.get(type(value), "text")
            # A whole number in one document and a decimal in the next is one numeric column.
            types[column] = "numeric" if {types.get(column), kind} == {"numeric", "bigint"} else types.get(column, kind)
    if "_root_id" not in types:
        types |= {
            "_batch_id": "text",
            "_extracted_at": "timestamptz",
            "_loaded_at": "timestamptz",
            "_deleted_at": "timestamptz",
        }
    table = sql.Identifier("bronze", name)
    columns = sql.SQL(", ").join(sql.SQL("{} " + kind).format(sql.Identifier(column)) for column, kind in types.items())  # type: ignore[arg-type]
    connection.execute("create schema if not exists bronze")
    connection.execute(sql.SQL("drop table if exists {} cascade").format(table))
    connection.execute(sql.SQL("create table {} ({})").format(table, columns))
    now = datetime.now(UTC)
    stamps = {"_batch_id": "by-hand", "_extracted_at": now, "_loaded_at": now} if "_loaded_at" in types else {}
    with (
        connection.cursor() as cursor,
        cursor.copy(
            sql.SQL("copy {} ({}) from stdin").format(table, sql.SQL(", ").join(map(sql.Identifier, types)))
        ) as copy,
    ):
        for row in rows:
            full = row | stamps
            copy.write_row([_plain(full.get(column)) for column in types])


def _plain(value: Any) -> Any:
    if isinstance(value, list | dict):
        return json_util.dumps(value, json_options=json_util.RELAXED_JSON_OPTIONS)
    if isinstance(value, Decimal128):
        return value.to_decimal()
    return str(value) if isinstance(value, ObjectId) else value


def load_shop(connection: psycopg.Connection[Any], documents: Mapping[str, Iterable[Mapping[str, Any]]]) -> None:
    """Create the bronze tables of the sample shop."""
    rescue: dict[str, dict[str, type]] = {"orders": {"total": Decimal128}, "customers": {"address.zip": int}}
    children = {"orders": ("items", "payments")}
    for name, stream in documents.items():
        load_documents(connection, "shop", name, stream, children.get(name, ()), rescue.get(name))
    connection.commit()


ADS_KEYS = {
    "google_ads": ("segments_date", "ad_id"),
    "meta_ads": ("date_start", "ad_id", "publisher_platform"),
    "tiktok_ads": ("stat_time_day", "ad_id"),
    "linkedin_ads": ("date", "creative_id"),
}


def load_ads(connection: psycopg.Connection[Any], folder: Path) -> None:
    """Create the bronze tables of the ad spend files that `write_ad_spend` made."""
    for platform, key in ADS_KEYS.items():
        load_csv(connection, "ads", platform, sorted((folder / platform).glob("*.csv")), key)
    connection.commit()


def load_rates(connection: psycopg.Connection[Any], path: Path) -> None:
    """Create the bronze table of the exchange rates that `write_rates` made."""
    load_csv(connection, "rates", "ecb", [path], ("Date",))
    connection.commit()
