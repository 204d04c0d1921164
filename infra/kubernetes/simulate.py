"""A plan of a thousand tables, run by the real planner on simulated pods: what it takes, and what it costs.

    python -m infra.kubernetes.simulate

Extract and load pods start when their deployment's concurrency limit has room, take some time to start, then share the
source's and the warehouse's throughput. Rates and prices are the assumptions below; put in your own.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

from tasks.planning import TableLoad, Unit, parse_target, plan
from tasks.resources import CLASSES, quantity

DOCUMENT_BYTES = 436


@dataclass(frozen=True)
class Assumptions:
    """What the simulated world can do.

    Attributes:
        pod_start: Seconds from asking for a run to its first line of work: worker's poll, node, import.
        table_overhead: Seconds that each table costs whatever its size: task run, manifest, transaction, artifact.
        extract_rate: Source bytes a second of one extract pod.
        source_rate: Source bytes a second of all together: what the MongoDB servers may be asked for.
        load_rate: Source bytes a second of one load pod.
        warehouse_rate: Source bytes a second that Postgres takes from all together.
        cpu_hour: Price of a reserved core for an hour, in dollars.
        gib_hour: Price of a reserved GiB of memory for an hour, in dollars.
    """

    pod_start: float = 12.0
    table_overhead: float = 0.5
    extract_rate: float = 150_000 * DOCUMENT_BYTES
    source_rate: float = 1_500_000 * DOCUMENT_BYTES
    load_rate: float = 120_000 * DOCUMENT_BYTES
    warehouse_rate: float = 500_000 * DOCUMENT_BYTES
    cpu_hour: float = 0.04
    gib_hour: float = 0.005


@dataclass
class Outcome:
    """What a simulated run came to.

    Attributes:
        pods: Pods by `stage/class`.
        peak: Most pods at once.
        seconds: From the first pod asked for to the last one's end.
        cpu_hours: Reserved cores times hours.
        gib_hours: Reserved GiB times hours.
        dollars: Their price.
        longest: Units that ended last, the last one first.
    """

    pods: Counter[str] = field(default_factory=Counter)
    peak: int = 0
    seconds: float = 0.0
    cpu_hours: float = 0.0
    gib_hours: float = 0.0
    dollars: float = 0.0
    longest: list[str] = field(default_factory=list)


@dataclass
class _Pod:
    stage: str
    resources: str
    unit: int
    overhead: float
    work: float
    begun: float = 0.0


def simulate(units: Sequence[Unit], sizes: Mapping[str, int], limits: Mapping[str, int], world: Assumptions) -> Outcome:
    """Run a plan.

    Args:
        units: The planner's units.
        sizes: Source bytes of each table that are read this time.
        limits: Runs at once by `flow/class`, as prefect.yaml sets them.
        world: Rates and prices.
    """
    return _Simulation(units, sizes, limits, world).run()


class _Simulation:
    def __init__(
        self, units: Sequence[Unit], sizes: Mapping[str, int], limits: Mapping[str, int], world: Assumptions
    ) -> None:
        self.units, self.sizes, self.limits, self.world = units, sizes, limits, world
        self.waiting: dict[str, deque[_Pod]] = {}
        self.starting: list[tuple[float, int, _Pod]] = []
        self.working: list[_Pod] = []
        self.open = [len(unit.extracts) for unit in units]
        self.now, self.number, self.outcome = 0.0, count(), Outcome()

    def run(self) -> Outcome:
        for index, unit in enumerate(self.units):
            for group in unit.extracts:
                work = sum(self._share(target) for target in group.targets)
                self._ask(_Pod("extract", group.resources, index, self._overhead(len(group.targets)), work))
        self._admit()
        while self.starting or self.working:
            self._step()
        self.outcome.seconds = self.now
        self.outcome.dollars = (
            self.outcome.cpu_hours * self.world.cpu_hour + self.outcome.gib_hours * self.world.gib_hour
        )
        self.outcome.longest = self.outcome.longest[:-4:-1]
        return self.outcome

    def _overhead(self, tables: int) -> float:
        return self.world.pod_start + tables * self.world.table_overhead

    def _share(self, name: str) -> float:
        target = parse_target(name)
        return self.sizes[target.table] / max(target.count, 1)

    def _ask(self, pod: _Pod) -> None:
        self.waiting.setdefault(f"{pod.stage}/{pod.resources}", deque()).append(pod)

    def _admit(self) -> None:
        alive = Counter(f"{pod.stage}/{pod.resources}" for pod in self._alive())
        for deployment, queue in self.waiting.items():
            while queue and alive[deployment] < self.limits[deployment]:
                pod = queue.popleft()
                pod.begun = self.now
                heapq.heappush(self.starting, (self.now + pod.overhead, next(self.number), pod))
                alive[deployment] += 1
                self.outcome.pods[deployment] += 1
        self.outcome.peak = max(self.outcome.peak, len(self.starting) + len(self.working))

    def _alive(self) -> Iterable[_Pod]:
        yield from self.working
        for _, _, pod in self.starting:
            yield pod

    def _rate(self, stage: str) -> float:
        alone, together = (
            (self.world.extract_rate, self.world.source_rate)
            if stage == "extract"
            else (self.world.load_rate, self.world.warehouse_rate)
        )
        return min(alone, together / max(sum(pod.stage == stage for pod in self.working), 1))

    def _step(self) -> None:
        """Go on to the next moment at which a pod begins to work or ends."""
        rates = {stage: self._rate(stage) for stage in ("extract", "load-bronze")}
        ends = [self.now + pod.work / rates[pod.stage] for pod in self.working]
        moment = min([*ends, *(self.starting[0][:1] if self.starting else ())])
        for pod in self.working:
            pod.work -= (moment - self.now) * rates[pod.stage]
        self.now = moment
        while self.starting and self.starting[0][0] <= moment:
            self.working.append(heapq.heappop(self.starting)[2])
        # A byte is far below what a float of terabytes can tell apart.
        ended = [pod for pod in self.working if pod.work < 1]
        self.working = [pod for pod in self.working if pod.work >= 1]
        for pod in ended:
            self._end(pod)
        if ended:
            self._admit()

    def _end(self, pod: _Pod) -> None:
        hours = (self.now - pod.begun) / 3600
        item = CLASSES[pod.resources]
        self.outcome.cpu_hours += hours * quantity(item.cpu_request)
        self.outcome.gib_hours += hours * item.memory_bytes / (1 << 30)
        unit = self.units[pod.unit]
        if pod.stage == "load-bronze":
            self.outcome.longest.append(unit.name)
            return
        self.open[pod.unit] -= 1
        if not self.open[pod.unit]:
            work = float(sum(self.sizes[name] for name in unit.tables))
            self._ask(_Pod("load-bronze", unit.resources, pod.unit, self._overhead(len(unit.tables)), work))


def limits_of(prefect_yaml: Path) -> dict[str, int]:
    """Return the concurrency limits of the deployments of extract and load by `flow/class`."""
    from ruamel.yaml import YAML

    found: dict[str, int] = {}
    for deployment in YAML(typ="safe").load(prefect_yaml.read_text(encoding="utf-8"))["deployments"]:
        flow = deployment["entrypoint"].partition(":")[2].replace("_", "-")
        found[f"{flow}/{deployment['name']}"] = deployment["concurrency_limit"]["limit"]
    return {name: limit for name, limit in found.items() if name.startswith(("extract/", "load-bronze/"))}


def sample(tables: int = 1_000, huge_documents: int = 5_000_000_000, partitions: int = 64) -> list[TableLoad]:
    """Return a company's tables: most small, some large, one of billions of documents; the same each time."""
    chance = random.Random(6)  # noqa: S311 - figures, not secrets
    loads = []
    for number in range(tables - 1):
        # Nine in ten below 50 MB, a few of tens of gigabytes.
        size = round(min(chance.lognormvariate(15.5, 2.2), 60e9))
        seconds = 0.5 + size / (150_000 * DOCUMENT_BYTES)
        loads.append(TableLoad(f"shop.table_{number:04}", "small", 16, seconds, size))
    size = huge_documents * DOCUMENT_BYTES
    return [*loads, TableLoad("shop.events", "large", partitions, size / (150_000 * DOCUMENT_BYTES), size)]


def daily(loads: Sequence[TableLoad]) -> list[TableLoad]:
    """Return the same tables when only 0.2 % of each are new: change streams, nothing to split."""
    return [
        replace(load, ranges=1, bytes=round((load.bytes or 0) * 0.002), seconds=(load.seconds or 0) * 0.002)
        for load in loads
    ]


def table(limits: Mapping[str, int], world: Assumptions | None = None) -> str:
    """Return the scenarios as a Markdown table."""
    world = world or Assumptions()
    wide = {**limits, "extract/large": 16}
    scenarios = [
        ("999 tables, first load", sample()[:-1], limits),
        ("and 5 billion documents in one run (`partitions: 1`)", sample(partitions=1), limits),
        ("`partitions: 16`", sample(partitions=16), limits),
        ("`partitions: 64`", sample(partitions=64), limits),
        ("`partitions: 64`, limit of extract/large 16", sample(partitions=64), wide),
        ("each day, 0.2 % new", daily(sample()), limits),
    ]
    rows = [
        "| Scenario | Extract pods | Load pods | Most at once | Time | Core hours | GiB hours | Cost |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, loads, allowed in scenarios:
        found = simulate(plan(loads, spread=True), {load.name: load.bytes or 0 for load in loads}, allowed, world)
        extracts = sum(number for key, number in found.pods.items() if key.startswith("extract/"))
        rows.append(
            f"| {name} | {extracts} | {found.pods.total() - extracts} | {found.peak} | {_time(found.seconds)} "
            f"| {found.cpu_hours:.1f} | {found.gib_hours:.1f} | ${found.dollars:.2f} |"
        )
    return "\n".join(rows)


def _time(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"


if __name__ == "__main__":
    print(table(limits_of(Path(__file__).parents[2] / "prefect.yaml")))
