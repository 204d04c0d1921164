"""`python -m tests.benchmarks`: every figure as a ratio to a limit that is measured in the same run."""

from __future__ import annotations

import argparse
import os
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tests.benchmarks import channels, commands, gold, pages, peers
from tests.benchmarks.compare import differences
from tests.benchmarks.inputs import fill
from tests.benchmarks.measure import Measure, compile_bytecode, machine, run_step, save

DATABASE = "bench"
_MEBIBYTE = 1 << 20


def main() -> None:
    """Run the parts that are asked for, print tables, save JSON."""
    parser = argparse.ArgumentParser(prog="make benchmark", description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000, help="uniform orders (other shapes: half of it)")
    parser.add_argument(
        "--parts", default="landing,bronze,sweep,channels,gold,peers,commands,pages", help="what to measure"
    )
    parser.add_argument(
        "--items", type=int, nargs="*", default=[100_000, 1_000_000], help="gold: order items (also 10000000)"
    )
    parser.add_argument(
        "--sizes", type=int, nargs="*", default=[2_000, 20_000, 200_000], help="commands: documents (also 2000000)"
    )
    parser.add_argument(
        "--pulled", type=int, nargs="*", default=[100_000, 1_000_000], help="channels: rows (also 10000000)"
    )
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--environments", type=Path, default=Path(".warehouse/benchmark"))
    arguments = parser.parse_args()
    parts = set(arguments.parts.split(","))
    results: dict[str, Any] = {"machine": machine(), "rows": arguments.rows}
    compile_bytecode(Path(sysconfig.get_path("purelib")), Path("tasks"), Path("tests/benchmarks"))
    with servers() as (uri, url), tempfile.TemporaryDirectory() as folder:
        print(f"machine: {results['machine']}\n")
        if "landing" in parts:
            results["landing"] = landing(uri, arguments.rows, Path(folder))
        if "bronze" in parts:
            results["bronze"] = bronze(uri, url, arguments.rows, Path(folder) / "bronze")
        if "sweep" in parts:
            results["sweep"] = sweep(url, 50 * arguments.rows, str(Path(folder) / "sweep"))
        if "channels" in parts:
            results["channels"] = channels.measure(arguments.pulled, Path(folder) / "channels")
        # Not among the parts by default: it installs 240 MB from PyPI.
        if "connector" in parts:
            results["connector"] = channels.measure_connector(
                arguments.pulled, Path(folder) / "connector", arguments.environments
            )
        if "gold" in parts:
            results["gold"] = [gold.measure(url, items) for items in arguments.items]
        if "peers" in parts:
            results["peers"] = compare_peers(uri, url, arguments.rows, Path(folder) / "ours", arguments.environments)
        if "commands" in parts:
            results["commands"] = commands.measure(uri, url, DATABASE, arguments.sizes, arguments.environments)
        # Last: a long log is no burden for the others.
        if "pages" in parts:
            results["pages"] = pages.measure(url)
    print(f"\nsaved: {save(results, arguments.results)}")


@contextmanager
def servers() -> Iterator[tuple[str, str]]:
    """Give MongoDB and Postgres: those of MONGODB_URI and WAREHOUSE_URL, else embedded ones of this run."""
    from infra.embedded import mongodb, postgres

    given_uri, given_url = os.environ.get("MONGODB_URI"), os.environ.get("WAREHOUSE_URL")
    home = Path(tempfile.mkdtemp(prefix="warehouse-benchmark-"))
    home.chmod(0o711)
    try:
        yield given_uri or mongodb.up(home), given_url or postgres.up(home)
    finally:
        for server in (mongodb, postgres):
            server.down(home, wipe=True)


def landing(uri: str, rows: int, folder: Path) -> list[dict[str, Any]]:
    """MongoDB to landing, by shape, against draining the server and throwing away."""
    print(f"{'landing':12} {'rows':>9} {'driver/s':>9} {'drain/s':>9} {'decode/s':>9} {'parquet/s':>9} "
          f"{'land/s':>9} {'of driver':>9} {'of drain':>8} {'peak MiB':>8} {'cpu s':>6}")  # fmt: skip
    table = []
    for shape in ("uniform", "shuffled", "sparse", "drifting", "huge"):
        count = {"uniform": rows, "huge": 40}.get(shape, rows // 2)
        collection = fill(uri, DATABASE, shape, count)
        place = {"uri": uri, "database": DATABASE, "collection": collection}
        driver = run_step("drain", **place, cursor="RawBatchCursor")
        drained = run_step("drain", **place)
        landed = run_step("land", **place, folder=str(folder / shape))
        decoded = run_step("decode", shape=shape, count=min(count, 100_000))
        written = run_step("parquet", shape=shape, count=min(count, 100_000))
        print(f"{shape:12} {count:9,} {driver.rate:9,.0f} {drained.rate:9,.0f} {decoded.rate:9,.0f} "
              f"{written.rate:9,.0f} {landed.rate:9,.0f} "
              f"{landed.rate / driver.rate:9.2f} {landed.rate / drained.rate:8.2f} "
              f"{landed.peak_bytes / _MEBIBYTE:8.0f} {landed.cpu_seconds:6.1f}", flush=True)  # fmt: skip
        table.append(
            {"shape": shape, "driver": driver, "drain": drained, "land": landed, "decode": decoded, "parquet": written}
        )
    return table


def bronze(uri: str, url: str, rows: int, folder: Path) -> dict[str, Any]:
    """MongoDB to bronze, landing to bronze, merges, and a run without changes, against draining and COPY alone."""
    print(f"\n{'bronze':30} {'rows':>9} {'rows/s':>9} {'of COPY':>8} {'peak MiB':>8} {'cpu s':>6}")
    collection = fill(uri, DATABASE, "uniform", rows)
    place = {"uri": uri, "database": DATABASE, "collection": collection}
    copied = run_step("copy", url=url, shape="uniform", count=rows)
    found: dict[str, Any] = {"copy alone": copied}
    _print_bronze("COPY alone", copied, copied)
    # What everybody who reads with the driver has; our own cursor costs it a fifth.
    drained = found["drain"] = run_step("drain", **place, cursor="RawBatchCursor")
    whole = found["MongoDB to bronze"] = run_step("through", url=url, landing=str(folder), **place, table="whole")
    _print_bronze("MongoDB to bronze", whole, copied)
    print(f"{'':30} {whole.rate / min(drained.rate, copied.rate):.2f} of the slower of draining and COPY")
    run_step("land", **place, folder=str(folder))
    found["first load"] = run_step("load", url=url, landing=str(folder), **place)
    _print_bronze("first load of what is landed", found["first load"], copied)
    for percent in (0, 1, 10, 100):
        run_step("change", **place, landing=str(folder), percent=percent)
        name = f"merge, {percent} % changed"
        found[name] = run_step("load", url=url, landing=str(folder), **place)
        _print_bronze(name, found[name], copied)
    for shape, count in (("narrow", rows), ("sparse", rows // 2), ("huge", 40)):
        found[shape] = _bronze_of(shape, count, uri, url, folder)
    found["100 tables, no change"] = run_step(
        "no_change", url=url, landing=str(folder), uri=uri, database=DATABASE, tables=100
    )
    print(f"{'100 tables, no change':30} {found['100 tables, no change'].seconds:.1f} s")
    return found


def _bronze_of(shape: str, count: int, uri: str, url: str, folder: Path) -> dict[str, Measure]:
    """First load, and a merge with a tenth changed, of another shape, against COPY alone."""
    place = {"uri": uri, "database": DATABASE, "collection": fill(uri, DATABASE, shape, count)}
    copied = run_step("copy", url=url, shape=shape, count=count)
    run_step("land", **place, folder=str(folder))
    first = run_step("load", url=url, landing=str(folder), **place)
    run_step("change", **place, landing=str(folder), percent=10)
    merged = run_step("load", url=url, landing=str(folder), **place)
    for name, measured in (("COPY alone", copied), ("first load", first), ("merge, 10 % changed", merged)):
        _print_bronze(f"{shape}: {name}", measured, copied)
    return {"copy alone": copied, "first load": first, "merge, 10 % changed": merged}


def sweep(url: str, ids: int, folder: str) -> dict[str, Any]:
    """Deletes found by comparing so many ids, of which every hundredth is gone: time, and memory that does not grow."""
    print(f"\n{'sweep of ids':24} {'ids':>11} {'ids/s':>9} {'peak MiB':>8} {'cpu s':>6}")
    landed = run_step("sweep_land", landing=folder, count=ids)
    run_step("sweep_load", url=url, landing=folder)
    loaded = run_step("sweep_load", url=url, landing=folder)
    assert loaded.detail["deleted"] == -(-ids // 100), loaded
    for name, found in (("landing", landed), ("anti-join in Postgres", loaded)):
        print(f"{name:24} {found.rows:11,} {found.rate:9,.0f} {found.peak_bytes / _MEBIBYTE:8.0f} "
              f"{found.cpu_seconds:6.1f}", flush=True)  # fmt: skip
    return {"land": landed, "load": loaded}


def compare_peers(uri: str, url: str, rows: int, folder: Path, environments: Path) -> list[dict[str, Any]]:
    """The same documents from the same server into the same server, by others and by us."""
    # A collection of its own, which no step has changed.
    place = peers.Place(uri, DATABASE, fill(uri, DATABASE, "uniform", rows, prefix="peers_"), url)
    arguments = {"uri": uri, "database": DATABASE, "collection": place.collection}
    # Whoever reads first must not pay for what the server has yet to bring into memory.
    run_step("drain", **arguments)
    ours = run_step("through", url=url, landing=str(folder), **arguments, table=place.collection)
    print(f"\n{'MongoDB to Postgres':20} {'rows/s':>9} {'we are':>8} {'peak MiB':>8} {'cpu s':>6}  lost or altered")
    dlt, sling, pandas = (peers.environment(name, environments) for name in ("dlt", "sling", "pandas"))
    runs: list[tuple[Callable[[], Measure], str, str]] = [
        (lambda: ours, "bronze", f"bench__{place.collection}"),
        (lambda: peers.run_sling(sling, place, environments), "sling", place.collection),
        *(
            (partial(peers.run_dlt, dlt, place, name), f"dlt_{name}", place.collection)
            for name in ("default", "insert_values", "csv", "parquet")
        ),
        (lambda: peers.run_pandas(pandas, place), "pandas", place.collection),
    ]
    table = []
    for run, schema, name in runs:
        measured = run()
        data = differences(url, schema, name, "uniform")
        altered = "; ".join(f"{field}: {found['example']}" for field, found in data["fields"].items()) or "nothing"
        who = "warehouse" if measured is ours else measured.step
        print(f"{who:20} {measured.rate:9,.0f} {ours.rate / measured.rate:7.1f}x "
              f"{measured.peak_bytes / _MEBIBYTE:8.0f} {measured.cpu_seconds:6.1f}  {altered}", flush=True)  # fmt: skip
        table.append({"measure": measured, "data": data})
    return table


def _print_bronze(name: str, measured: Measure, copied: Measure) -> None:
    print(f"{name:30} {measured.rows:9,} {measured.rate:9,.0f} {measured.rate / copied.rate:8.2f} "
          f"{measured.peak_bytes / _MEBIBYTE:8.0f} {measured.cpu_seconds:6.1f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
