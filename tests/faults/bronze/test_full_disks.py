"""Disks that are really full, below Postgres and below the landing: a named error, nothing half done, then on."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tasks.bronze.postgres import merge
from tasks.errors import LandingError, LoadError
from tasks.landing import Landing
from tests.fixtures.bronze import Warehouse
from tests.fixtures.mongodb import Shop

_MIB = 1 << 20
_FILLER = "filler"


@contextmanager
def small_disk(folder: Path, mebibytes: int) -> Iterator[Path]:
    """A file system of its own at `folder`, that any user may write."""
    folder.mkdir()
    options = f"size={mebibytes}m,mode=0777"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no disk can be filled here, as none can be mounted: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def fill(disk: Path, room: int) -> None:
    """Fill a disk but for so many bytes."""
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    with (disk / _FILLER).open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free - room)


@pytest.fixture
def disk(servers_home: Path) -> Iterator[Path]:
    with small_disk(servers_home / f"disk-{uuid.uuid4().hex[:8]}", 64) as mounted:
        yield mounted


@pytest.fixture
def url_on_disk(postgres_server: str, disk: Path) -> Iterator[str]:
    """URL of a database whose tables, staging included, are on the small disk; the log of Postgres is not."""
    base, name = postgres_server.rsplit("/", 1)[0], f"test_{uuid.uuid4().hex[:12]}"
    tablespace = disk / "tablespace"
    tablespace.mkdir()
    with psycopg.connect(f"{base}/postgres", autocommit=True) as connection:
        owner = Path(connection.execute("show data_directory").fetchall()[0][0]).stat()
        os.chown(tablespace, owner.st_uid, owner.st_gid)
        tablespace.chmod(0o700)
        names = {"name": sql.Identifier(name), "place": sql.Literal(str(tablespace))}
        connection.execute(sql.SQL("create tablespace {name} location {place}").format(**names))
        connection.execute(sql.SQL("create database {name} tablespace {name}").format(**names))
        yield f"{base}/{name}"
        connection.execute(sql.SQL("drop database {name} with (force)").format(**names))
        connection.execute(sql.SQL("drop tablespace {name}").format(**names))


def documents(count: int, megabytes: int) -> list[dict[str, Any]]:
    """Documents that no compression makes smaller than half."""
    size = megabytes * _MIB // count
    return [{"_id": number, "text": os.urandom(size // 2).hex()} for number in range(count)]


@pytest.mark.parametrize(
    ("filled", "room", "reaches"),
    [(False, 4 * _MIB, None), (True, 4 * _MIB, None), (True, 18 * _MIB, "insert_rows")],
    ids=["copy into a new table", "staging", "merge"],
)
def test_a_full_disk_of_postgres_fails_the_load_by_name_and_the_next_one_goes_on(
    url_on_disk: str,
    disk: Path,
    landing: Landing,
    monkeypatch: pytest.MonkeyPatch,
    filled: bool,
    room: int,
    reaches: str | None,
) -> None:
    orders = Warehouse(url_on_disk, landing)
    other = Warehouse(url_on_disk, landing, "shop", "other")
    if filled:
        orders.load([{"_id": -1, "text": "old"}], mode="full", scope={"type": "snapshot"})
    tables = (
        "select c.relname, (select count(*) from bronze.shop__orders) from pg_class c where relname = 'shop__orders'"
    )
    state = "select state, version from ops.checkpoints where table_name = 'orders'"
    other.load([{"_id": 1}])
    before = orders.rows(tables) if filled else [], orders.rows(state)
    manifest = orders.land(documents(2_000, 12), mode="full", scope={"type": "snapshot"}, part_rows=500)
    reached: list[str] = []
    real: Callable[..., int] = merge.insert_rows
    monkeypatch.setattr(merge, "insert_rows", lambda *arguments: reached.append("insert_rows") or real(*arguments))
    fill(disk, room)
    with pytest.raises(LoadError, match="the disk of Postgres is full: could not extend file") as failed:
        orders.load_landed(manifest)
    assert failed.value.where == f"shop.orders batch {manifest.batch_id}" and "free space" in failed.value.action
    assert reached == ([reaches] if reaches else [])
    exists = orders.value("select to_regclass('bronze.shop__orders') is not null")
    assert (orders.rows(tables) if exists else [], orders.rows(state)) == before
    assert orders.value("select count(*) from ops.batches where table_name = 'orders'") == filled
    # What the failed load took is free again: tables that are small are loaded all the same.
    assert other.load([{"_id": 2}]).status == "loaded"
    (disk / _FILLER).unlink()
    assert orders.load_landed(manifest).status == "loaded"
    landed = {row["_id"]: row["text|string"] for part in manifest.parts for row in read(landing, manifest, part)}
    assert dict(orders.rows("select _id, text from bronze.shop__orders where _deleted_at is null")) == landed
    assert len(landed) == 2_000


def read(landing: Landing, manifest: Any, part: Any) -> list[dict[str, Any]]:
    return landing.read(manifest, part).to_dicts()


def test_a_full_disk_of_the_landing_fails_the_extract_by_name_and_the_next_one_goes_on(
    mongodb_uri: str, mongodb_database: str, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "landing", 2) as folder:
        shop = Shop(mongodb_uri, mongodb_database, folder)
        source = documents(1_000, 8)
        shop.database["orders"].insert_many(source)
        with pytest.raises(LandingError, match="cannot write in the landing.*No space left") as failed:
            shop.extract(shop.ref())
        assert str(folder / "shop" / "orders") in failed.value.where and "free space" in failed.value.action
        assert shop.batches() == [] and shop.state == {}
        # No part that was cut off is left behind: it would never be read nor removed.
        assert [path.name for path in folder.rglob("*") if "#" in path.name] == []
        subprocess.run(["mount", "-o", "remount,size=32m", folder], check=True)
        manifest = shop.extract(shop.ref()).manifest
        assert [batch.batch_id for batch in shop.batches()] == [manifest.batch_id] if manifest else False
        rows = shop.rows(manifest)
        assert dict(rows.select("_id", "text|string").iter_rows()) == {str(one["_id"]): one["text"] for one in source}
        shop.client.close()
