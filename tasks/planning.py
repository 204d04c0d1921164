"""Which tables share a run: pure functions from table sizes to groups, so that a plan can be read, tested and repeated.

A flow run is dear (a pod takes 15 to 25 seconds to start, a table task 12 milliseconds), so small tables share one, a
large table has its own, and a very large one is read as ranges by several. Names carry everything: a target is
`shop.orders`, or `shop.orders#2/4@<batch id>` for the second of four ranges of one batch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from tasks.resources import TABLE_CLASSES, ClassOfTable

# A group's work should outweigh its start (about 20 s) by far, yet leave groups to run side by side.
GROUP_SECONDS = 300.0
# A crashed group is run again as a whole, and its log is read by people: no more tables than this in one.
GROUP_TABLES = 50
# What a table is assumed to take that has never been read, in seconds.
UNKNOWN_SECONDS = 10.0
# Source bytes of the last run from which a table is handled as medium or large, whatever is configured.
MEDIUM_BYTES = 256 << 20
LARGE_BYTES = 2 << 30
# A range must be worth a pod: below this many source bytes a table is read in one piece.
RANGE_BYTES = 512 << 20

_TARGET = re.compile(r"^(?P<table>[^#@\s]+)(?:#(?P<index>\d+)/(?P<count>\d+)(?:@(?P<batch>[^#@\s]+))?)?$")


@dataclass(frozen=True)
class Target:
    """What one task works on: a table, or one range of a batch of it.

    Attributes:
        table: `source.table`.
        index: Number of the range, from 1; 0 means the whole table.
        count: How many ranges the batch has; 0 means the whole table.
        batch_id: The batch that the ranges belong to.
    """

    table: str
    index: int = 0
    count: int = 0
    batch_id: str | None = None

    @property
    def segment(self) -> tuple[int, int] | None:
        """Index (from 0) and count of the range, or None for a whole table."""
        return (self.index - 1, self.count) if self.count else None

    def __str__(self) -> str:
        if not self.count:
            return self.table
        batch = f"@{self.batch_id}" if self.batch_id else ""
        return f"{self.table}#{self.index}/{self.count}{batch}"


def parse_target(name: str) -> Target:
    """Return the target that a name stands for.

    Raises:
        ValueError: The name is none.
    """
    match = _TARGET.match(name)
    if match is None:
        raise ValueError(f"{name!r} is no table: use source.table or source.table#1/4")
    if match["index"] is None:
        return Target(match["table"])
    index, count = int(match["index"]), int(match["count"])
    if not 1 <= index <= count:
        raise ValueError(f"{name!r}: range {index} of {count} does not exist")
    return Target(match["table"], index, count, match["batch"])


@dataclass(frozen=True)
class TableLoad:
    """What planning knows of a table.

    Attributes:
        name: `source.table`.
        resources: Class set in sources.yaml.
        ranges: Into how many ranges its next read may be split; 1 means not at all.
        seconds: What its last runs took in one stage; None when never run.
        bytes: Source bytes of its last runs; None when never run.
        first: Whether it was never loaded.
    """

    name: str
    resources: ClassOfTable = "small"
    ranges: int = 1
    seconds: float | None = None
    bytes: int | None = None
    first: bool = False


@dataclass(frozen=True)
class Group:
    """What one extract run does, and its load.

    Attributes:
        name: Name within the plan: `small-1`, `large-shop-orders-2of4`.
        resources: Class of the run.
        targets: Names of tables or ranges.
    """

    name: str
    resources: ClassOfTable
    targets: tuple[str, ...]


@dataclass(frozen=True)
class Unit:
    """Extract runs that one load run follows.

    Attributes:
        name: Name within the plan.
        resources: Class of the load run.
        extracts: One group, or one per range.
        tables: Tables that are loaded when all extracts have ended.
        batch_id: The batch that the extracts share, when they read ranges.
        ahead: Those of the tables whose loading begins while the extracts still run.
    """

    name: str
    resources: ClassOfTable
    extracts: tuple[Group, ...]
    tables: tuple[str, ...]
    batch_id: str | None = None
    ahead: tuple[str, ...] = ()


def effective_class(load: TableLoad) -> ClassOfTable:
    """Return the class a table needs: the configured one, or a larger one that its size asks for."""
    by_size: ClassOfTable = "small"
    if load.bytes is not None and load.bytes >= LARGE_BYTES:
        by_size = "large"
    elif load.bytes is not None and load.bytes >= MEDIUM_BYTES:
        by_size = "medium"
    return max(load.resources, by_size, key=TABLE_CLASSES.index)


def range_count(load: TableLoad) -> int:
    """Return into how many ranges a table's read is split over runs; 1 means not at all."""
    if load.ranges < 2 or effective_class(load) != "large":
        return 1
    if load.bytes is None:
        return load.ranges
    return max(1, min(load.ranges, load.bytes // RANGE_BYTES))


def plan(loads: Iterable[TableLoad], spread: bool = False) -> list[Unit]:
    """Return the units of a run: every table in exactly one, the longest first.

    Loading a table for the first time begins while it is extracted, as soon as a part of it is landed. A run that has
    a pod of its own would hold it for that, so small tables do without it there. Where all happens in one process, a
    group that is alone loads each of its tables as soon as that is extracted.

    Args:
        loads: The tables, each once.
        spread: Whether each run has a process of its own: then ranges of a very large table go to runs of their own.

    Raises:
        ValueError: A table is named twice.
    """
    ordered = sorted(loads, key=lambda load: load.name)
    names = [load.name for load in ordered]
    if len(set(names)) != len(names):
        raise ValueError(f"named twice: {sorted({name for name in names if names.count(name) > 1})}")
    alone = [load for load in ordered if effective_class(load) == "large"]
    units = [_unit_alone(load, range_count(load) if spread else 1) for load in sorted(alone, key=_weight, reverse=True)]
    for resources in ("medium", "small"):
        shared = [load for load in ordered if effective_class(load) == resources]
        units += [_unit_shared(resources, number, pack) for number, pack in enumerate(_pack(shared), start=1)]
    early = {load.name for load in ordered if load.first and not (spread and effective_class(load) == "small")}
    if len(units) == 1 and not spread:
        # Nothing else would run beside its extract.
        early = set(names)
    return [replace(unit, ahead=tuple(name for name in unit.tables if name in early)) for unit in units]


def with_batch(unit: Unit, batch_id: str, count: int) -> Unit:
    """Return a unit whose ranges belong to a batch that was planned with `count` ranges."""
    table = unit.tables[0]
    return replace(unit, extracts=tuple(_range_groups(table, count, batch_id)), batch_id=batch_id)


def is_split(unit: Unit) -> bool:
    """Return whether a unit's extracts read ranges."""
    return parse_target(unit.extracts[0].targets[0]).count > 0


def _weight(load: TableLoad) -> float:
    return UNKNOWN_SECONDS if load.seconds is None else load.seconds


def _unit_alone(load: TableLoad, ranges: int) -> Unit:
    name = f"large-{_dashed(load.name)}"
    if ranges < 2:
        return Unit(name, "large", (Group(name, "large", (load.name,)),), (load.name,))
    return Unit(name, "large", tuple(_range_groups(load.name, ranges, None)), (load.name,))


def _range_groups(table: str, count: int, batch_id: str | None) -> list[Group]:
    return [
        Group(f"large-{_dashed(table)}-{index}of{count}", "large", (str(Target(table, index, count, batch_id)),))
        for index in range(1, count + 1)
    ]


def _unit_shared(resources: ClassOfTable, number: int, pack: Sequence[TableLoad]) -> Unit:
    names = tuple(load.name for load in pack)
    group = Group(f"{resources}-{number}", resources, names)
    return Unit(group.name, resources, (group,), names)


def _pack(loads: Sequence[TableLoad]) -> list[list[TableLoad]]:
    """Fill groups in the order given, so that the tables of one source stay together."""
    packs: list[list[TableLoad]] = []
    seconds = 0.0
    for load in loads:
        if not packs or len(packs[-1]) >= GROUP_TABLES or seconds + _weight(load) > GROUP_SECONDS:
            packs.append([])
            seconds = 0.0
        packs[-1].append(load)
        seconds += _weight(load)
    return packs


def _dashed(name: str) -> str:
    return name.replace(".", "-").replace("_", "-")
