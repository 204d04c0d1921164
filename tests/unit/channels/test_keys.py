"""Keys that come twice, and the benchmark of channels, whose rows have as many as there are rows."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.landing import Landing
from tasks.marketing.rest.keys import Keys
from tests.benchmarks import channels, steps
from tests.channels import serving


@given(frames=st.lists(st.lists(st.integers(0, 40), max_size=6), max_size=8), held=st.integers(1, 12))
def test_a_key_that_comes_twice_is_found_whenever_it_comes(frames: list[list[int]], held: int) -> None:
    with closing(Keys(held)) as keys:
        told = [keys.add(pl.Series("_id", [str(key) for key in frame], pl.String)) for frame in frames]
        late = keys.repeated()
    before: list[int] = []
    for frame, said in zip(frames, told, strict=True):
        if said is not None:
            assert (before + frame).count(int(said)) > 1
            return
        assert len(set(frame)) == len(frame)
        before += frame
    assert late == len(before) - len(set(before))


def test_recent_keys_are_told_by_name() -> None:
    with closing(Keys(3)) as keys:
        assert keys.add(pl.Series("_id", ["a", "b", "a"])) == "a"
        assert keys.add(pl.Series("_id", ["a", "b"])) is None
        assert keys.add(pl.Series("_id", ["c", "b"])) == "b"


def test_files_of_keys_are_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with closing(Keys(1)) as keys:
        keys.add(pl.Series("_id", ["a", "b"]))
        assert list(tmp_path.rglob("*.arrow"))
    assert not list(tmp_path.iterdir())


def test_the_benchmark_reads_each_row_as_it_was_served(tmp_path: Path) -> None:
    count = 2 * channels.PAGE + 500
    with serving(ads=channels.Pages()) as url:
        assert steps.channel(url, count, str(tmp_path / "landing"))["rows"] == count
    landing = Landing.open(str(tmp_path / "landing"))
    (batch,) = landing.batches("bench", "ads")
    manifest = landing.manifest("bench", "ads", batch)
    landed = pl.concat([landing.read(manifest, part) for part in manifest.of_kind("rows")])
    served = pl.DataFrame([channels.row(number) for number in range(count)])
    for name in served.columns:
        (column,) = (found for found in landed.columns if found.rpartition("|")[0] == name)
        assert landed[column].cast(pl.String).to_list() == served[name].cast(pl.String).to_list(), name
