"""Files into the landing: what is read again, what is replaced, and that no value is bent on the way."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import obstore
import polars as pl
import pytest
from obstore.store import MemoryStore

from tasks.errors import ConfigError, MissingCollection
from tasks.extract import ExtractContext, ExtractResult, extract_table
from tasks.landing import Landing, Manifest
from tasks.marketing.files import extract as files
from tasks.marketing.files import folder
from tasks.sources import load_sources

Extract = Callable[..., ExtractResult]


class Place:
    """A folder of files, a landing, and the table over them."""

    def __init__(self, root: Path) -> None:
        self.files = root / "files"
        self.files.mkdir()
        self.landing = Landing.open(str(root / "landing"))
        self._sources = root / "sources.yaml"
        self._clock = 1_700_000_000

    def write(self, name: str, content: str | bytes) -> None:
        path = self.files / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        self._clock += 10
        os.utime(path, (self._clock, self._clock))

    def extract(self, state: dict[str, Any] | None = None, **table: Any) -> ExtractResult:
        settings = {"pattern": "*.csv", "format": "csv", "key": ["id"], **table}
        document = {"sources": {"ads": {"kind": "files", "path": str(self.files), "tables": {"spend": settings}}}}
        self._sources.write_text(json.dumps(document))
        ref = load_sources(self._sources).table("ads.spend")
        return extract_table(ref, ExtractContext(self.landing, state=state or {}))

    def rows(self, manifest: Manifest | None) -> pl.DataFrame:
        assert manifest is not None
        parts = [self.landing.read(manifest, part) for part in manifest.of_kind("rows")]
        return pl.concat(parts, how="diagonal") if parts else pl.DataFrame()

    def rejects(self, manifest: Manifest | None) -> list[dict[str, Any]]:
        assert manifest is not None
        return [row for part in manifest.of_kind("rejects") for row in self.landing.read(manifest, part).to_dicts()]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


TYPES = {"id": "int", "cost": "decimal", "clicks": "int", "day": "day", "at": "micros", "rate": "double", "on": "bool"}


def test_values_get_their_types_exactly_and_the_rest_stays_text(place: Place) -> None:
    place.write(
        "a.csv",
        "id,cost,clicks,day,at,rate,on,note\n"
        "1,12.50,007,2026-01-02,2026-01-02T03:04:05.123456+02:00,0.1,true,x\n"
        '2,"1,234.5",n/a,02.01.2026,2026-01-02 03:04:05.1234567,abc,perhaps,""\n'
        '3,0.1000000000000000000000000000000000001,9223372036854775808,20260103,,,,""\n'
        '4,+.5e2,"","",,,"",\n',
    )
    result = place.extract(types=TYPES)
    rows = {row["_id"]: row for row in place.rows(result.manifest).to_dicts()}
    assert rows["1"]["cost|decimal"] == "12.50"
    assert rows["1"]["clicks|int"] == 7
    assert rows["1"]["day|day"] == date(2026, 1, 2)
    assert rows["1"]["at|micros"] == datetime(2026, 1, 2, 1, 4, 5, 123456, tzinfo=UTC)
    assert (rows["1"]["rate|double"], rows["1"]["on|bool"], rows["1"]["note|string"]) == (0.1, True, "x")
    bad = {name: rows["2"][f"{name}|string"] for name in ("cost", "clicks", "day", "at", "rate", "on", "note")}
    assert bad == {
        "cost": "1,234.5",
        "clicks": "n/a",
        "day": "02.01.2026",
        "at": "2026-01-02 03:04:05.1234567",
        "rate": "abc",
        "on": "perhaps",
        "note": "",
    }
    assert rows["3"]["cost|decimal"] == "0.1000000000000000000000000000000000001"
    assert rows["3"]["clicks|string"] == "9223372036854775808"
    assert rows["3"]["day|day"] == date(2026, 1, 3)
    assert Decimal(rows["4"]["cost|decimal"]) == 50
    assert all(rows["4"][name] is None for name in ("clicks|int", "clicks|string", "day|day", "note|string"))


def test_statistics_tell_null_from_empty_from_typed(place: Place) -> None:
    place.write("a.csv", 'id,cost,note\n1,2.5,\n2,,""\n3,x,y\n4,"",z\n')
    manifest = place.extract(types={"cost": "decimal"}).manifest
    assert manifest is not None
    assert manifest.fields["cost"].types == {"decimal": 1, "null": 2, "string": 1}
    assert manifest.fields["cost"].empty == 0
    assert manifest.fields["note"].types == {"null": 1, "string": 3}
    assert (manifest.fields["note"].present, manifest.fields["note"].empty) == (4, 1)


def test_columns_keep_the_order_of_the_file(place: Place) -> None:
    place.write("a.csv", "day,id,cost\n2026-01-01,1,2\n")
    manifest = place.extract(types={"cost": "decimal", "day": "day"}).manifest
    assert [name for name in place.rows(manifest).columns if "|" in name] == ["day|day", "id|string", "cost|decimal"]


def test_keys_are_texts_that_cannot_be_confused(place: Place) -> None:
    place.write("a.csv", "id,day\n1,2026-01-01\nx,2026-01-01\n")
    assert place.rows(place.extract().manifest)["_id"].to_list() == ['"1"', "x"]
    both = place.extract(key=["day", "id"], types={"id": "int"}).manifest
    assert place.rows(both)["_id"].to_list() == ['["2026-01-01",1]', '["2026-01-01","x"]']


def test_rows_without_a_key_or_with_a_repeated_one_are_rejected(place: Place) -> None:
    place.write("a.csv", 'id,v\n1,a\n,b\n"",c\n1,d\n2,e\n3\n')
    manifest = place.extract().manifest
    assert place.rows(manifest)["v|string"].to_list() == ["a", "e"]
    assert [(row["bytes"], row["reason"]) for row in place.rejects(manifest)] == [
        (b",b", "a.csv, line 3: the key id is empty"),
        (b'"",c', "a.csv, line 4: the key id is empty"),
        (b"1,d", "a.csv, line 5: another row of this file has the same key"),
        (b"3", "a.csv, line 7: 1 fields where the header has 2"),
    ]


def test_a_file_is_read_again_only_when_it_changed(place: Place) -> None:
    place.write("a.csv", "id,v\n1,a\n")
    place.write("b.csv", "id,v\n2,b\n")
    first = place.extract()
    assert first.manifest is not None and first.manifest.rows == 2
    state = first.manifest.checkpoint
    assert place.extract(state).manifest is None
    place.write("b.csv", "id,v\n2,B\n")
    place.write("c.csv", "id,v\n3,c\n")
    second = place.extract(state)
    assert sorted(place.rows(second.manifest)["v|string"]) == ["B", "c"]
    assert second.manifest is not None and second.manifest.previous_checkpoint == state
    (place.files / "a.csv").unlink()
    assert place.extract(second.manifest.checkpoint).manifest is None


def test_a_changed_configuration_reads_everything_again(place: Place) -> None:
    place.write("a.csv", "id,v\n1,2\n")
    first = place.extract()
    assert first.manifest is not None
    again = place.extract(first.manifest.checkpoint, types={"v": "int"})
    assert place.rows(again.manifest)["v|int"].to_list() == [2]


def test_hashes_change_with_the_row_alone(place: Place) -> None:
    place.write("a.csv", "id,v\n1,a\n2,b\n")
    first = place.rows(place.extract().manifest)["_hash"].to_list()
    place.write("a.csv", "id,v\n1,a\n2,c\n")
    second = place.rows(place.extract().manifest)["_hash"].to_list()
    assert first[0] == second[0] and first[1] != second[1]


PARTITION = {"key": ["day", "id"], "partition": "day", "types": {"day": "day", "cost": "decimal"}}


def _span(manifest: Manifest | None) -> tuple[str, str] | str:
    assert manifest is not None
    scope = manifest.scope
    return (scope.from_, scope.to) if scope.type == "partition" else scope.type


def test_a_partitioned_table_replaces_the_days_that_its_files_hold(place: Place) -> None:
    place.write("2026-01.csv", "day,id,cost\n2026-01-05,1,1\n2026-01-31,1,2\n")
    place.write("2026-02.csv", "day,id,cost\n2026-02-01,1,3\n2026-02-20,1,4\n")
    first = place.extract(**PARTITION)
    assert _span(first.manifest) == ("2026-01-05", "2026-02-20")
    assert first.manifest is not None
    # The last file shrinks: the days it used to hold are replaced too.
    place.write("2026-02.csv", "day,id,cost\n2026-02-01,1,5\n")
    second = place.extract(first.manifest.checkpoint, **PARTITION)
    assert _span(second.manifest) == ("2026-02-01", "2026-02-20")
    assert place.rows(second.manifest)["cost|decimal"].to_list() == ["5"]


def test_files_that_share_days_are_read_together_and_the_younger_wins(place: Place) -> None:
    place.write("old.csv", "day,id,cost\n2026-01-01,1,1\n2026-01-02,1,2\n")
    place.write("far.csv", "day,id,cost\n2026-03-01,1,9\n")
    first = place.extract(**PARTITION)
    assert first.manifest is not None
    place.write("fix.csv", "day,id,cost\n2026-01-02,1,20\n2026-01-03,1,30\n")
    second = place.extract(first.manifest.checkpoint, **PARTITION)
    assert _span(second.manifest) == ("2026-01-01", "2026-01-03")
    assert place.rows(second.manifest)["cost|decimal"].to_list() == ["1", "2", "20", "30"]


def test_days_of_a_file_that_is_gone_are_not_deleted(place: Place) -> None:
    for day in (1, 2, 3):
        place.write(f"{day}.csv", f"day,id,cost\n2026-01-0{day},1,{day}\n")
    first = place.extract(**PARTITION)
    assert first.manifest is not None
    (place.files / "2.csv").unlink()
    place.write("1.csv", "day,id,cost\n2026-01-01,1,10\n")
    place.write("3.csv", "day,id,cost\n2026-01-03,1,30\n")
    second = place.extract(first.manifest.checkpoint, **PARTITION)
    assert _span(second.manifest) == "upsert"
    assert "no longer there" in second.warnings[0]


def test_rejected_rows_keep_their_day_from_being_deleted(place: Place) -> None:
    place.write("a.csv", "day,id,cost\n2026-01-01,1,1\n2026-01-01,2\n")
    result = place.extract(**PARTITION)
    assert _span(result.manifest) == "upsert"
    assert result.metrics.rows_rejected == 1


def test_one_broken_file_does_not_stop_the_others(place: Place) -> None:
    place.write("a.csv", "id,v\n1,a\n")
    place.write("b.csv", "key,v\n2,b\n")
    result = place.extract()
    assert place.rows(result.manifest)["v|string"].to_list() == ["a"]
    assert place.rejects(result.manifest)[0]["reason"] == "b.csv: the key column id is not in the file"
    assert "b.csv" in result.warnings[0]


def test_a_refused_file_is_tried_again_in_every_run_until_it_is_mended(place: Place) -> None:
    place.write("a.csv", "id,v\n1,a\n")
    place.write("b.csv", "key,v\n2,b\n")
    first = place.extract()
    assert first.refused == ("b.csv",)
    assert first.manifest is not None
    second = place.extract(first.manifest.checkpoint)
    assert (second.refused, second.metrics.rows_landed) == (("b.csv",), 0)
    place.write("b.csv", "id,v\n2,b\n")
    third = place.extract(first.manifest.checkpoint)
    assert (third.refused, place.rows(third.manifest)["v|string"].to_list()) == ((), ["b"])


def test_a_file_without_one_readable_row_is_refused_as_a_whole(place: Place) -> None:
    place.write("a.csv", "id,v\n1\n2\n")
    place.write("empty.csv", "id,v\n")
    result = place.extract()
    assert result.refused == ("a.csv",)
    assert [row["reason"] for row in place.rejects(result.manifest)] == [
        "a.csv, line 2: 1 fields where the header has 2",
        "a.csv, line 3: 1 fields where the header has 2",
        "a.csv: none of its 2 row(s) could be read",
    ]


def test_a_refused_file_keeps_only_days_that_it_held_from_being_replaced(place: Place) -> None:
    place.write("1.csv", "day,id,cost\n2026-01-01,1,1\n2026-01-02,1,2\n")
    place.write("2.csv", "day,id,cost\n2026-02-01,1,3\n")
    first = place.extract(**PARTITION)
    assert first.manifest is not None
    place.write("new.csv", "nothing of use\n1\n")
    place.write("1.csv", "day,id,cost\n2026-01-01,1,10\n")
    assert _span(place.extract(first.manifest.checkpoint, **PARTITION).manifest) == ("2026-01-01", "2026-01-02")
    place.write("2.csv", "nothing of use\n1\n")
    place.write("both.csv", "day,id,cost\n2026-01-31,1,3\n2026-02-02,1,3\n")
    result = place.extract(first.manifest.checkpoint, **PARTITION)
    assert _span(result.manifest) == "upsert"
    assert "was refused" in result.warnings[-1]


def test_patterns_do_not_cross_folders_unless_they_say_so(place: Place) -> None:
    place.write("a.csv", "id\n1\n")
    place.write("deep/b.csv", "id\n2\n")
    place.write("deep/er/c.csv", "id\n3\n")

    def found(pattern: str) -> list[str]:
        return sorted(place.rows(place.extract(pattern=pattern, types={"id": "int"}).manifest)["_id"])

    assert found("*.csv") == ["1"]
    assert found("deep/*.csv") == ["2"]
    assert found("**/*.csv") == ["1", "2", "3"]


def test_missing_files_and_folders_are_named(place: Place) -> None:
    with pytest.raises(MissingCollection, match=r"no file matches.*\*\.csv"):
        place.extract()
    place.files.rmdir()
    with pytest.raises(MissingCollection, match="folder does not exist"):
        place.extract()


JSONL = {"pattern": "*.jsonl", "format": "jsonl", "key": ["id"]}


def test_json_lines_land_nested_fields_arrays_and_children(place: Place) -> None:
    place.write(
        "a.jsonl",
        '{"id": 1, "geo": {"city": "Graz", "pop": 1.50}, "tags": ["x", 2.0], "ads": [{"n": 1}, {"n": 2}], '
        '"day": "2026-01-02"}\n'
        '{"id": 2, "geo": {}, "cost": 5}\n',
    )
    types = {"day": "day", "cost": "decimal"}
    manifest = place.extract(**JSONL, types=types, arrays={"ads": "table"}).manifest
    assert manifest is not None
    rows = {row["_id"]: row for row in place.rows(manifest).to_dicts()}
    assert rows["1"]["geo.city|string"] == "Graz"
    assert rows["1"]["geo.pop|decimal"] == "1.50"
    assert json.loads(rows["1"]["tags|json"]) == ["x", {"$numberDecimal": "2.0"}]
    assert rows["1"]["day|day"] == date(2026, 1, 2)
    assert rows["2"]["geo|json"] == "{}"
    assert rows["2"]["cost|decimal"] == "5"
    children = place.landing.read(manifest, manifest.of_kind("child", "ads")[0])
    assert children["_id"].to_list() == ["1:0", "1:1"]
    assert children["n|int"].to_list() == [1, 2]


def test_child_tables_need_a_format_that_has_arrays(place: Place) -> None:
    place.write("a.csv", "id\n1\n")
    with pytest.raises(ConfigError, match="jsonl"):
        place.extract(arrays={"items": "table"})


PARQUET = {"pattern": "*.parquet", "format": "parquet", "key": ["id"]}


def test_parquet_lands_by_its_own_types(place: Place) -> None:
    frame = pl.DataFrame(
        {
            "id": [1, 2, None, 2],
            "big": pl.Series([2**64 - 1, 1, 1, 1], dtype=pl.UInt64),
            "money": pl.Series([Decimal("12.50"), Decimal("0.10"), None, None], dtype=pl.Decimal(20, 2)),
            "day": [date(2026, 1, 2), date(2026, 1, 3), None, None],
            "at": pl.Series([datetime(2026, 1, 2, 3), None, None, None], dtype=pl.Datetime("ns")),
            "geo": [{"city": "Wien", "size": 1.5}, None, None, None],
            "list": [[1, 2], [], None, None],
            "nothing": [None, None, None, None],
        }
    )
    path = place.files / "a.parquet"
    frame.write_parquet(path)
    manifest = place.extract(**PARQUET, partition="day", types={}).manifest
    assert manifest is not None
    rows = {row["_id"]: row for row in place.rows(manifest).to_dicts()}
    assert set(rows) == {"1", "2"}
    assert rows["1"]["big|decimal"] == "18446744073709551615"
    assert (rows["1"]["money|decimal"], rows["2"]["money|decimal"]) == ("12.50", "0.10")
    assert rows["1"]["day|day"] == date(2026, 1, 2)
    assert rows["1"]["at|micros"] == datetime(2026, 1, 2, 3, tzinfo=UTC)
    assert (rows["1"]["geo.city|string"], rows["1"]["geo.size|double"]) == ("Wien", 1.5)
    assert (rows["1"]["list|json"], rows["2"]["list|json"]) == ("[1,2]", "[]")
    assert manifest.rows == 2 and manifest.reject_rows == 2
    assert manifest.fields["money"].types == {"decimal": 2}
    reasons = [row["reason"] for row in place.rejects(manifest)]
    assert reasons == [
        "a.parquet, row 3: the key is empty",
        "a.parquet, row 4: another row of this file has the same key",
    ]


@pytest.mark.parametrize("partition", [None, "day", "at"])
def test_times_that_python_cannot_tell_land_like_others(place: Place, partition: str | None) -> None:
    far = [0, 1 << 62, -(1 << 62)]
    frame = pl.DataFrame(
        {
            "id": [1, 2, 3],
            "key": pl.Series([1, 2, 2**64 - 1], dtype=pl.UInt64),
            "at": pl.Series(far).cast(pl.Datetime("us")),
            "coarse": pl.Series(far).cast(pl.Datetime("ms")),
            "day": pl.Series([0, 10_000_000, -10_000_000], dtype=pl.Int32).cast(pl.Date),
            "list": pl.Series([[number] for number in far]).cast(pl.List(pl.Datetime("us"))),
        }
    )
    frame.write_parquet(place.files / "a.parquet")
    manifest = place.extract(**PARQUET | {"key": ["id", "key"]}, partition=partition, types={}).manifest
    assert manifest is not None and (manifest.rows, manifest.reject_rows) == (3, 0)
    rows = place.rows(manifest)
    assert rows["at|micros"].cast(pl.Int64).to_list() == far
    assert rows["coarse|date"].cast(pl.Int64).to_list() == far
    assert rows["day|day"].cast(pl.Int32).to_list() == [0, 10_000_000, -10_000_000]
    assert rows["list|json"].to_list()[1] == f"[{1 << 62}]"
    assert rows["_hash"].n_unique() == 3
    if partition:
        assert (manifest.scope.from_, manifest.scope.to) == ("1970-01-01", "1970-01-01")  # type: ignore[union-attr]


def test_a_file_that_is_not_parquet_is_a_reject(place: Place) -> None:
    (place.files / "a.parquet").write_bytes(b"PAR1 it is not")
    manifest = place.extract(**PARQUET).manifest
    assert "not a readable Parquet file" in place.rejects(manifest)[0]["reason"]


def test_transforms_apply_after_the_types(place: Place) -> None:
    place.write("a.csv", "id,cost,mail\n1,2.50,a@x\n")
    transforms = [{"drop": "mail"}, {"rename": {"cost": "spend"}}]
    manifest = place.extract(types={"cost": "decimal"}, transforms=transforms).manifest
    assert manifest is not None
    assert place.rows(manifest)["spend|decimal"].to_list() == ["2.50"]
    assert manifest.fields["mail"].types == {"dropped": 1} and "spend" in manifest.fields


def test_objects_of_a_store_are_read_like_files(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    buffer = io.BytesIO()
    pl.DataFrame({"id": [7], "v": ["x"]}).write_parquet(buffer)
    obstore.put(store, "in/a.parquet", buffer.getvalue())
    obstore.put(store, "in/a.csv", b"id,v\n8,y\n")
    monkeypatch.setattr(folder, "open_store", lambda root: store)
    parquet = place.extract(**PARQUET | {"pattern": "in/*.parquet"}).manifest
    assert place.rows(parquet).select("_id", "v|string").rows() == [("7", "x")]
    first = place.extract(pattern="in/*.csv", types={"id": "int"}).manifest
    assert first is not None and place.rows(first).select("_id", "v|string").rows() == [("8", "y")]
    assert place.extract(first.checkpoint, pattern="in/*.csv", types={"id": "int"}).manifest is None


def test_the_search_for_repeated_keys_is_bounded_and_says_so(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST_KEYS", 2)
    place.write("a.csv", "id\n1\n1\n2\n3\n3\n")
    result = place.extract()
    assert result.metrics.rows_rejected == 1
    assert "first 2 rows only" in result.warnings[0]
