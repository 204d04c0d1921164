"""What a pod may use and what it used: resource classes, and the figures of its own cgroup."""

from __future__ import annotations

import os
import re
import resource
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

_CGROUP = Path("/sys/fs/cgroup")
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}
_QUANTITY = re.compile(r"^(\d+(?:\.\d+)?)(m|k|M|G|Ki|Mi|Gi|)$")
# A class is called too small above, and too large below, these shares of its memory.
_TIGHT, _LOOSE = 0.85, 0.40


ClassOfTable = Literal["small", "medium", "large"]
"""The classes that a table may ask for; the others are for parents, and for stepping up."""


@dataclass(frozen=True)
class ResourceClass:
    """What one pod asks for; memory is both request and limit, so that no node promises it twice.

    Attributes:
        name: `tiny`, `small`, `medium`, `large` or `xlarge`.
        cpu_request: Kubernetes quantity that the scheduler reserves.
        cpu_limit: Kubernetes quantity above which the pod is slowed.
        memory: Kubernetes quantity above which the pod is killed.
        tables_at_once: Tables that a run works on side by side: small ones mostly wait for their servers, large ones
            fill the pod.
    """

    name: str
    cpu_request: str
    cpu_limit: str
    memory: str
    tables_at_once: int = 1

    def job_variables(self) -> dict[str, str]:
        """Return the job variables of the base job template for this class."""
        return {
            "cpu_request": self.cpu_request,
            "cpu_limit": self.cpu_limit,
            "memory_request": self.memory,
            "memory_limit": self.memory,
        }

    @property
    def memory_bytes(self) -> int:
        """Memory limit in bytes."""
        return round(quantity(self.memory))


# From small to large, the order of stepping up. `tiny` is for parents that only wait; `xlarge` is reached by stepping
# up alone: whoever needs it every day splits the table into _id ranges instead. prefect.yaml's anchors say the same
# sizes, which a test checks.
CLASSES = {
    item.name: item
    for item in (
        ResourceClass("tiny", "100m", "1", "512Mi"),
        ResourceClass("small", "250m", "1", "768Mi", 4),
        ResourceClass("medium", "500m", "2", "2Gi", 2),
        ResourceClass("large", "1", "4", "4Gi"),
        ResourceClass("xlarge", "2", "8", "8Gi"),
    )
}


TABLE_CLASSES: tuple[ClassOfTable, ...] = get_args(ClassOfTable)
"""The classes of tables, from small to large."""


def tables_at_once(name: str) -> int:
    """Return how many tables a run of a class works on side by side; 1 where the name is none."""
    return CLASSES[name].tables_at_once if name in CLASSES else 1


def step_up(name: str, cap: str = "xlarge") -> str:
    """Return the class above `name`, at most `cap`.

    Raises:
        KeyError: A name is no class.
    """
    order = list(CLASSES)
    return order[min(order.index(CLASSES[name].name) + 1, max(order.index(CLASSES[cap].name), order.index(name)))]


def quantity(text: str) -> float:
    """Return a Kubernetes quantity as a number: `250m` is 0.25, `2Gi` is 2147483648.

    Raises:
        ValueError: The text is no quantity.
    """
    match = _QUANTITY.match(text)
    if not match:
        raise ValueError(f"not a Kubernetes quantity: {text!r}")
    if match[2] == "m":
        return float(match[1]) / 1000
    return float(match[1]) * _UNITS[match[2]]


@dataclass(frozen=True)
class Usage:
    """What this container used so far.

    Attributes:
        peak_memory_bytes: Highest memory of the container (cgroup v2), else of this process alone.
        cpu_seconds: CPU time of the container, else of this process and its ended children.
        source: `cgroup` or `process`.
    """

    peak_memory_bytes: int
    cpu_seconds: float
    source: str


def usage(cgroup: Path = _CGROUP) -> Usage:
    """Read the figures of this container; cheap enough for every task.

    Args:
        cgroup: Where the container's own cgroup v2 files are.
    """
    peak, cpu = _number(cgroup / "memory.peak"), _pairs(cgroup / "cpu.stat")
    if peak is None or "usage_usec" not in cpu:
        return _process_usage()
    return Usage(
        peak_memory_bytes=peak,
        cpu_seconds=cpu["usage_usec"] / 1e6,
        source="cgroup",
    )


def _process_usage() -> Usage:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    # Linux counts ru_maxrss in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return Usage(
        peak_memory_bytes=max(own.ru_maxrss, children.ru_maxrss) * unit,
        cpu_seconds=own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime,
        source="process",
    )


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _read(path).strip()
    return int(text) if text.isdigit() else None


def _pairs(path: Path) -> dict[str, int]:
    rows = (line.split() for line in _read(path).splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}


def pod_name() -> str | None:
    """Return the pod's name inside Kubernetes, else None."""
    return os.environ.get("HOSTNAME") if "KUBERNETES_SERVICE_HOST" in os.environ else None


@dataclass(frozen=True)
class Recommendation:
    """What one table and stage should ask for, judged by its recent runs.

    Attributes:
        stage: `extract`, `load` or `dbt`.
        table: `source.table`.
        current: Class it runs in now.
        suggested: Class it should run in; the same when it fits.
        runs: Runs judged.
        peak_memory_bytes: Highest memory seen.
        cpu_cores: CPU used on average while running, in cores.
        reason: One sentence.
    """

    stage: str
    table: str
    current: str
    suggested: str
    runs: int
    peak_memory_bytes: int
    cpu_cores: float
    reason: str


def recommend(rows: Iterable[Mapping[str, object]], classes: Mapping[str, str]) -> list[Recommendation]:
    """Judge the classes of tables by rows of monitoring.pipeline_log.

    Peaks belong to pods: tables that shared one are each judged by the pod's peak, which is what a class must hold.

    Args:
        rows: Log rows with stage, source, table_name, seconds, peak_memory_bytes, cpu_seconds, error_class.
        classes: Class of each `source.table`; unnamed ones are `small`.

    Returns:
        One per stage and table, the largest saving or danger first.
    """
    found: dict[tuple[str, str], list[Mapping[str, object]]] = {}
    for row in rows:
        if row.get("source") and row.get("table_name") and row.get("peak_memory_bytes"):
            found.setdefault((str(row["stage"]), f"{row['source']}.{row['table_name']}"), []).append(row)
    judged = [_judge(stage, table, runs, classes.get(table, "small")) for (stage, table), runs in found.items()]
    return sorted(judged, key=lambda item: (item.current == item.suggested, -item.peak_memory_bytes, item.table))


def _judge(stage: str, table: str, runs: list[Mapping[str, object]], current: str) -> Recommendation:
    peak = max(_figure(row, "peak_memory_bytes") for row in runs)
    seconds = sum(_figure(row, "seconds") for row in runs)
    cores = sum(_figure(row, "cpu_seconds") for row in runs) / seconds if seconds else 0.0
    fitting = next(
        (item.name for item in CLASSES.values() if item.name != "tiny" and peak <= _TIGHT * item.memory_bytes), "xlarge"
    )
    share = peak / CLASSES[current].memory_bytes
    if share > _TIGHT:
        suggested, reason = fitting, f"its peak is {share:.0%} of the memory of {current}: one busy day from a kill"
        if suggested == current:
            reason += "; split it into _id ranges, there is no larger class"
    elif share < _LOOSE and fitting != current:
        suggested, reason = fitting, f"it uses {share:.0%} of the memory of {current}"
    else:
        suggested, reason = current, f"it uses {share:.0%} of the memory of {current}, which fits"
    return Recommendation(stage, table, current, suggested, len(runs), int(peak), round(cores, 3), reason)


def _figure(row: Mapping[str, object], name: str) -> float:
    value = row.get(name)
    return float(value) if isinstance(value, int | float) else 0.0
