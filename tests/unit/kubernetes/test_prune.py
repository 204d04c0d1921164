"""What the image leaves out, and what it must not."""

from __future__ import annotations

import runpy
from pathlib import Path

PRUNE = runpy.run_path(str(Path(__file__).parents[3] / "infra/docker/prune.py"))["prune"]

GONE = ["numpy/tests/test_a.py", "pkg/mod.pyi", "pkg/mod.c", "babel/locale-data/de.dat", "prefect/server/ui/a.js.map"]
KEPT = [
    "dbt/include/global_project/tests/generic/builtin.sql",
    "pkg/testing.py",
    "pkg/mod.so",
    "babel/locale-data/en_GB.dat",
    "babel/locale-data/root.dat",
    "prefect/server/ui/a.js",
]


def test_only_what_no_pod_reads_is_removed(tmp_path: Path) -> None:
    for name in GONE + KEPT:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("12345")
    assert PRUNE(tmp_path) == 5 * len(GONE)
    left = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()}
    assert left == set(KEPT)
