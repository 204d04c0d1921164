"""Runs of the command line: what Prefect is told to leave out."""

from __future__ import annotations

from pathlib import Path

import pytest
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY

from flows import runs


@pytest.mark.parametrize(("server", "beats"), [("", False), ("http://prefect.example.com/api", True)])
def test_a_run_tells_that_it_lives_where_others_look_for_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: str, beats: bool
) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "no-prefect"))
    monkeypatch.setenv("PREFECT_API_URL", server)
    assert PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value() is not None
    with runs.heartbeat(tmp_path):
        assert (PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value() is not None) is beats
