"""The landing on a real S3 store: from the source into bronze and back, and whoever is killed in between."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.bronze.maintenance import retain
from tasks.bronze.pending import load_pending
from tasks.bronze.rebuild import rebuild_table
from tasks.bronze.verify import verify_table
from tasks.errors import LandingError
from tasks.extract import ExtractContext, extract_table
from tasks.landing import Landing
from tasks.settings import Settings
from tests.fixtures.bronze import Warehouse
from tests.fixtures.mongodb import Shop
from tests.object_store import ObjectStore

# Small flushes: several parts of one batch.
_MEMORY = 4 << 20


@pytest.fixture
def shop(mongodb_uri: str, mongodb_database: str, object_root: str) -> Any:
    made = Shop(mongodb_uri, mongodb_database, object_root)
    made.database["orders"].insert_many(
        {"_id": n, "total": n * 1.5, "items": [{"sku": f"s{n}"}], "note": os.urandom(6_000).hex()} for n in range(1_000)
    )
    yield made
    made.client.close()


def test_a_table_goes_through_the_store_into_bronze_and_is_rebuilt_from_it(
    shop: Shop, object_root: str, postgres_url: str
) -> None:
    ref = shop.ref(arrays={"items": "table"})
    settings = Settings.model_validate({"url": postgres_url, "landing": object_root})
    first = shop.extract(ref, memory_bytes=_MEMORY).manifest
    assert first is not None and len(first.of_kind("rows")) > 1
    assert [result.status for result in load_pending(ref, settings)] == ["loaded"]
    shop.database["orders"].delete_many({"_id": {"$lt": 100}})
    shop.database["orders"].update_many({"_id": {"$lt": 200}}, {"$set": {"total": -1.0, "new": "field"}})
    shop.extract(ref, memory_bytes=_MEMORY)
    assert [(result.updated, result.deleted) for result in load_pending(ref, settings)] == [(100, 100)]
    assert verify_table(ref, settings).equal
    warehouse = Warehouse(postgres_url, shop.landing)
    query = "select _id, total, new, note, _deleted_at from bronze.shop__orders order by _id"
    items = "select _root_id, sku from bronze.shop__orders__items where _deleted_at is null order by 1"
    before = warehouse.rows(query), warehouse.rows(items)
    waiting = shop.extract(ref).manifest
    assert waiting is not None and retain(ref, settings, timedelta(0)).removed == [first.batch_id]
    assert len(rebuild_table(ref, settings)) == 1
    assert (warehouse.rows(query), warehouse.rows(items)) == before and list(map(len, before)) == [1_000, 900]
    assert [result.batch_id for result in load_pending(ref, settings)] == [waiting.batch_id]
    assert verify_table(ref, settings).equal


# Says before each object what it is about to write, and waits for a signal: to be killed there, or while it writes.
_EXTRACT = textwrap.dedent(
    """
    import signal, sys

    # Before any import: the threads that some start have to block the signal as well.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    from pydantic import SecretStr
    from tasks.extract import ExtractContext, extract_table
    from tasks.landing import Landing
    from tasks.mongodb.config import MongoSource, MongoTable
    from tasks.sources import TableRef

    uri, database, root, memory, stop = sys.argv[1:]
    real, count = Landing.put, 0

    def put(self, path, payload):
        global count
        count += 1
        if count == int(stop):
            print("writes", path.rsplit("/", 1)[1], flush=True)
            signal.sigwait([signal.SIGUSR1])
        real(self, path, payload)

    Landing.put = put
    table = MongoTable()
    source = MongoSource(kind="mongodb", uri=SecretStr(uri), database=database, tables={"orders": table})
    ref = TableRef("shop", "orders", source, table)
    extract_table(ref, ExtractContext(Landing.open(root), memory_bytes=int(memory)))
    print("done", count, flush=True)
    """
)


def start(shop: Shop, root: str, stop: int) -> tuple[subprocess.Popen[str], str, str]:
    """Start an extract that stops before its n-th object; return it, `writes` or `done`, and which."""
    arguments = [shop.uri, shop.name, root, str(_MEMORY), str(stop)]
    process = subprocess.Popen(
        [sys.executable, "-c", _EXTRACT, *arguments], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]
    )
    assert process.stdout is not None
    word, what = process.stdout.readline().split()
    return process, word, what


def test_an_extract_killed_while_it_writes_any_object_is_gone_on_with(
    shop: Shop, object_root: str, object_store: ObjectStore
) -> None:
    source = {str(one["_id"]): one["note"] for one in shop.database["orders"].find()}
    written: list[str] = []
    while True:
        root = f"{object_root}/{len(written)}"
        process, word, what = start(shop, root, len(written) + 1)
        if word == "done":
            break
        written.append(what)
        # The request is on its way when the writer dies: the store gets all of it or not, and answers nobody.
        object_store.pause()
        try:
            process.send_signal(signal.SIGUSR1)
            deadline = time.monotonic() + 60
            while not object_store.connected(process.pid):
                assert process.poll() is None and time.monotonic() < deadline, f"nothing is written: {what}"
                time.sleep(0.005)
            process.kill()
        finally:
            object_store.go_on()
        process.wait()
        landing = Landing.open(root)
        for batch_id in landing.batches("shop", "orders"):
            # The manifest came through whole, or it is not there.
            assert what == "manifest.json" and landing.manifest("shop", "orders", batch_id).rows == len(source)
        shop.landing = landing
        ref = shop.ref()
        manifest = extract_table(ref, ExtractContext(landing, memory_bytes=_MEMORY)).manifest
        assert manifest is not None and dict(shop.rows(manifest).select("_id", "note|string").iter_rows()) == source
    process.wait()
    assert [name.split("-")[0] for name in (written[0], written[1], written[-2], written[-1])] == [
        "plan.json",
        "part",
        "segment",
        "manifest.json",
    ]
    assert len([name for name in written if name.startswith("part")]) > 1


def test_a_store_that_goes_away_fails_the_extract_by_name_and_the_next_one_goes_on(
    shop: Shop, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A full table of one range would begin anew, as nothing tells it what changed since.
    ref = shop.ref(mode="incremental", cursor="total")
    real = Landing.put
    written: list[str] = []

    def put(self: Landing, path: str, payload: bytes) -> None:
        written.append(path)
        if len(written) == 3:
            object_store.kill()
        real(self, path, payload)

    monkeypatch.setattr(Landing, "put", put)
    try:
        with pytest.raises(LandingError, match="cannot write in the landing") as failed:
            shop.extract(ref, memory_bytes=_MEMORY)
    finally:
        object_store.start()
    assert failed.value.where == f"{shop.landing.root}/{written[2]}" and "\n" not in str(failed.value)
    assert shop.batches() == []
    manifest = shop.extract(ref, memory_bytes=_MEMORY).manifest
    assert [batch.batch_id for batch in shop.batches()] == [written[0].split("/")[2]]
    assert len(shop.rows(manifest)) == shop.rows(manifest)["_id"].n_unique() == 1_000


def test_a_store_that_refuses_the_credentials_or_has_no_such_bucket_is_a_named_error(
    object_root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(LandingError, match=r"(?s)cannot list in the landing.*s3://nowhere/.*WAREHOUSE_LANDING"):
        Landing.open("s3://nowhere").batches("shop", "orders")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", f"wrong-{uuid.uuid4().hex}")
    with pytest.raises(LandingError, match="(?s)cannot write in the landing.*WAREHOUSE_LANDING") as refused:
        Landing.open(object_root).put("shop/orders/x", b"x")
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in str(refused.value)
