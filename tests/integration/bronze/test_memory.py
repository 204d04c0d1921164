"""Memory of a load is bounded by bytes, whatever the documents are."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.fixtures.bronze import Warehouse

pytestmark = pytest.mark.slow

_MOST_MIB = 512
_LOAD = textwrap.dedent(
    """
    import json, re, sys
    from pathlib import Path
    from tasks.bronze.load import load_batch
    from tasks.landing import Landing
    from tasks.mongodb.config import MongoTable

    url, root, batch = sys.argv[1:]
    landing = Landing.open(root)
    result = load_batch(url, landing, landing.manifest("shop", "orders", batch), MongoTable())
    # Not getrusage: its peak is that of the parent process at the fork, where that was higher.
    peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024
    print(json.dumps([result.inserted, result.updated, peak]))
    """
)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak from /proc")
@pytest.mark.parametrize(("count", "size"), [(12, 10_000_000), (24_000, 5_000)])
def test_loads_stay_within_the_small_pod(warehouse: Warehouse, count: int, size: int) -> None:
    for seed in (1, 2):
        dice = random.Random(seed)
        documents = [{"_id": n, "text": dice.randbytes(size // 2).hex(), "list": ["x"] * 20} for n in range(count)]
        # Parts of about 30 MB, as an extract pod of 512 MiB cuts them.
        manifest = warehouse.land(
            documents, mode="full", scope={"type": "snapshot"}, part_rows=max(30_000_000 // size, 1)
        )
        del documents
        loaded = subprocess.run(
            [sys.executable, "-c", _LOAD, warehouse.url, warehouse.landing.root, manifest.batch_id],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parents[3],
        )
        inserted, updated, peak = json.loads(loaded.stdout)
        assert (inserted, updated) == ((count, 0) if seed == 1 else (0, count))
        assert peak < _MOST_MIB
