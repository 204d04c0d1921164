"""The landing believes only what was committed whole."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from tasks.errors import LandingError
from tasks.landing import Landing, Manifest, new_batch_id

NOW = datetime(2026, 1, 2, tzinfo=UTC)
STATS = {
    "": {"rows": 2, "fields": {"a": {"present": 2, "types": {"int32": 1, "null": 1}, "empty": 0}}},
    "items": {"rows": 1, "fields": {}},
}


def write_batch(landing: Landing, batch_id: str, segments: int = 1) -> Manifest:
    done = []
    for index in range(segments):
        with landing.writer("shop", "orders", batch_id, index) as writer:
            writer.write(pl.DataFrame({"_id": ["x", "y"], "a|int": [1, None]}))
            writer.write(pl.DataFrame({"_id": ["x:0"], "_root_id": ["x"]}), kind="child", child="items")
            writer.write(pl.DataFrame({"_id": []}, schema={"_id": pl.String}), kind="rejects")
            done.append(writer.finish(STATS, source_bytes=100, seconds=1.5))
    return landing.commit("shop", "orders", batch_id, done, mode="full", scope={"type": "snapshot"}, extracted_at=NOW)


def test_a_batch_reads_back_as_written(tmp_path: Path) -> None:
    landing = Landing.open(str(tmp_path))
    written = write_batch(landing, "b1", segments=2)
    read = landing.manifest("shop", "orders", "b1")
    assert read == written
    assert (read.rows, read.source_bytes, read.children["items"].rows) == (4, 200, 2)
    assert read.fields["a"].types == {"int32": 2, "null": 2}
    assert read.columns == ["_id", "a|int"]
    frame = landing.read(read, read.of_kind("rows")[1])
    assert frame.to_dict(as_series=False) == {"_id": ["x", "y"], "a|int": [1, None]}


def test_a_batch_without_manifest_does_not_exist(tmp_path: Path) -> None:
    landing = Landing.open(str(tmp_path))
    with landing.writer("shop", "orders", "b1") as writer:
        writer.write(pl.DataFrame({"_id": ["x"]}))
        writer.finish(STATS, 1, 1.0)
    assert landing.batches("shop", "orders") == []
    assert landing.segments("shop", "orders", "b1")[0].rows_read == 2


def test_a_damaged_part_is_refused_by_name(tmp_path: Path) -> None:
    landing = Landing.open(str(tmp_path))
    manifest = write_batch(landing, "b1")
    part = manifest.of_kind("rows")[0]
    file = tmp_path / "shop" / "orders" / "b1" / part.file
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    file.write_bytes(bytes(damaged))
    with pytest.raises(LandingError, match="checksum differs") as caught:
        landing.read(manifest, part)
    assert part.file in str(caught.value)


def test_two_writers_of_one_segment_do_not_mix(tmp_path: Path) -> None:
    landing = Landing.open(str(tmp_path))
    with landing.writer("s", "t", "b") as first, landing.writer("s", "t", "b") as second:
        first.write(pl.DataFrame({"_id": ["first"]}))
        second.write(pl.DataFrame({"_id": ["second"]}))
        first.finish(STATS, 1, 1.0)
        last = second.finish(STATS, 1, 1.0)
    manifest = landing.commit("s", "t", "b", landing.segments("s", "t", "b").values(), mode="full", extracted_at=NOW)
    assert manifest.parts == last.parts
    assert landing.read(manifest, manifest.parts[0])["_id"].to_list() == ["second"]


def test_deleting_leaves_nothing(tmp_path: Path) -> None:
    landing = Landing.open(str(tmp_path))
    write_batch(landing, "b1")
    write_batch(landing, "b2")
    # What a writer that was killed in the middle of a part leaves behind; no listing shows it.
    (tmp_path / "shop" / "orders" / "b1" / "part-00000-00000-abcdef.parquet#1").write_bytes(b"half")
    landing.delete("shop", "orders", "b1")
    assert not (tmp_path / "shop" / "orders" / "b1").exists()
    assert landing.batches("shop", "orders") == ["b2"]


def test_an_unwritable_root_is_a_named_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LandingError, match="WAREHOUSE_LANDING"):
        Landing.open(str(tmp_path / "file" / "root"))


def test_batch_ids_sort_by_time() -> None:
    earlier = new_batch_id(datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC))
    later = new_batch_id(datetime(2026, 1, 2, 3, 4, 5, 7, tzinfo=UTC))
    assert earlier < later
    assert earlier.startswith("20260102T030405000006Z-")
