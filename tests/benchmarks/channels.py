"""Reading a channel: rows per processor second of the engine alone, and a peak of memory that does not grow.

The service is a process of its own, whose processor seconds are not counted.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from infra.sample.channels.server import Answer, Asked, Fake, Server
from tests.benchmarks.measure import Measure, run_step

DAY = "2026-11-23"
PAGE = 10_000
_MEBIBYTE = 1 << 20


class Pages(Fake):
    """So many rows of one day, each with a key of its own, in pages by offset."""

    def answer(self, asked: Asked) -> Answer:
        """Return a page."""
        rows, start, size = (int(asked.query[name]) for name in ("rows", "offset", "limit"))
        page = [row(number) for number in range(start, min(start + size, rows))]
        return Answer({"data": page, "total": rows})


def row(number: int) -> dict[str, Any]:
    """Return a row as an ad platform gives it, some 300 bytes of JSON."""
    return {
        "date": DAY,
        "ad_id": f"{23_850_000_000_000_000 + number}",
        "ad_name": f"Autumn sale, picture {number % 100}",
        "campaign_id": f"{number % 500}",
        "campaign_name": f"Autumn {number % 500}",
        "country": ("DE", "FR", "IT", "PL")[number % 4],
        "currency": "EUR",
        "impressions": number % 9_000,
        "clicks": number % 90,
        "spend": f"{number % 10_000}.{number % 100:02d}",
        "conversions": (number % 70) / 10,
        "conversion_value": f"{number % 900}.99",
    }


def source(url: str, rows: int) -> dict[str, Any]:
    """Return the service as sources.yaml describes it."""
    paging = {"type": "offset", "param": "offset", "size_param": "limit", "size": PAGE, "total": "total"}
    types = {"spend": "decimal", "conversion_value": "decimal"}
    table = {"path": "ads", "params": {"day": "{window.first}", "rows": rows}, "records": "data", "paging": paging}
    table |= {"key": ["date", "ad_id"], "day": "date", "step": "1d", "types": types}
    return {"kind": "rest", "base_url": f"{url}/ads", "tables": {"ads": table}}


def measure(rows: Sequence[int], folder: Path) -> list[Measure]:
    """Read so many rows, once for each number."""
    print(f"\n{'channel':12} {'rows':>11} {'rows/s':>9} {'per cpu s':>10} {'peak MiB':>8}")
    found = []
    with _serving() as url:
        for count in rows:
            measured = run_step("channel", url=url, count=count, folder=str(folder / str(count)))
            rate = count / measured.detail["cpu"]
            print(f"{'engine':12} {count:11,} {measured.rate:9,.0f} {rate:10,.0f} "
                  f"{measured.peak_bytes / _MEBIBYTE:8.0f}", flush=True)  # fmt: skip
            found.append(measured)
    return found


def measure_connector(rows: Sequence[int], folder: Path, environments: Path) -> list[Measure]:
    """Read so many made-up rows by another one's connector, once for each number: what it costs us, and itself."""
    from tasks.connectors.environments import install
    from tasks.settings import get_settings

    os.environ["WAREHOUSE_CONNECTORS"] = str((environments / "connectors").resolve())
    get_settings.cache_clear()
    install("faker")
    print(f"\n{'connector':12} {'rows':>11} {'rows/s':>9} {'per cpu s':>10} {'of ours':>9} {'peak MiB':>8} {'ours':>6}")
    found = []
    for count in rows:
        measured = run_step("connector", count=count, folder=str(folder / str(count)))
        told = measured.detail
        print(f"{'faker':12} {count:11,} {measured.rate:9,.0f} {count / told['connector_cpu']:10,.0f} "
              f"{count / told['cpu']:9,.0f} {told['connector_peak_bytes'] / _MEBIBYTE:8.0f} "
              f"{told['own_peak_bytes'] / _MEBIBYTE:6.0f}", flush=True)  # fmt: skip
        found.append(measured)
    return found


@contextmanager
def _serving() -> Iterator[str]:
    command = [sys.executable, "-m", "tests.benchmarks.channels"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.kill()


if __name__ == "__main__":
    server = Server({"ads": Pages()})
    print(json.dumps(server.url), flush=True)
    server.serve()
