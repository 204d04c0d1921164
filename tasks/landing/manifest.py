"""What a batch says of itself: its parts, its statistics and the checkpoint it leads to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from tasks.landing.seen import is_many

_Key = TypeVar("_Key", int, str)


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class Part(_Model):
    """One Parquet file of a batch.

    Attributes:
        file: Name in the batch's folder.
        kind: `rows`, `child` rows, `rejects`, the complete list of source `ids`, or rows `held` back by a rule.
        child: Path of the child table, for kind `child`, and for `held` where it is not of the table itself.
        rows: Number of rows.
        bytes: Size of the file.
        sha256: Checksum of the file in hex.
        columns: Column names in order.
        beyond_double: By path how many whole numbers no double represents; None in batches of older releases.
    """

    file: str
    kind: Literal["rows", "child", "rejects", "ids", "held"] = "rows"
    child: str = ""
    rows: int
    bytes: int
    sha256: str
    columns: list[str]
    beyond_double: dict[str, int] | None = None


class FieldStatistics(_Model):
    """How often a path was present, as which BSON types, and how often empty.

    A missing field is `rows_read - present`; a null is counted under type `null`; an empty text, array or document
    under `empty`. The three are different facts. `converted` counts those that came as another type than the one that
    sources.yaml declares and tell the same value as that.

    Of a share of the rows as landed (see tasks.landing.seen): `values` has how often each was seen, as JSON, where they
    are few, and `many` says that they are not; `magnitudes` has by step of their logarithm how many numbers were seen.
    """

    present: int = 0
    types: dict[str, int] = Field(default_factory=dict)
    empty: int = 0
    converted: int = 0
    values: dict[str, int] = Field(default_factory=dict)
    many: bool = False
    magnitudes: dict[int, int] = Field(default_factory=dict)

    @property
    def is_mixed(self) -> bool:
        """Whether not all values came as texts that were read as a declared type."""
        return sum(self.types.values()) > self.converted + sum(self.types.get(name, 0) for name in ("null", "string"))

    def add(self, other: FieldStatistics) -> FieldStatistics:
        """Return the sum of both."""
        values = _sum(self.values, other.values)
        many = self.many or other.many or is_many(values)
        return FieldStatistics(
            present=self.present + other.present,
            types=_sum(self.types, other.types),
            empty=self.empty + other.empty,
            converted=self.converted + other.converted,
            values={} if many else values,
            many=many,
            magnitudes=_sum(self.magnitudes, other.magnitudes),
        )


def _sum(counts: Mapping[_Key, int], others: Mapping[_Key, int]) -> dict[_Key, int]:
    total = Counter(counts)
    total.update(others)
    return dict(sorted(total.items()))


class Child(_Model):
    """Statistics of a child table."""

    rows: int = 0
    columns: list[str] = Field(default_factory=list)
    fields: dict[str, FieldStatistics] = Field(default_factory=dict)


class UpsertScope(_Model):
    """Rows are merged by `_id`."""

    type: Literal["upsert"] = "upsert"


class SnapshotScope(_Model):
    """Rows are the whole table: bronze rows that are not among them are deleted."""

    type: Literal["snapshot"] = "snapshot"


class PartitionScope(_Model):
    """Rows replace those whose `field` lies within the days `from` to `to`, both included."""

    type: Literal["partition"] = "partition"
    field: str
    from_: str = Field(alias="from")
    to: str


class Replaced(_Model):
    """Days of one account that were read whole: all of their rows are in the batch, or there are none.

    Attributes:
        account: The account.
        from_: First day; None means all rows of the account, for tables without days.
        to: Last day.
        final_to: Last of these days that the source changes no more; None where all may still change.
    """

    account: str
    from_: str | None = Field(default=None, alias="from")
    to: str | None = None
    final_to: str | None = None


class AccountDaysScope(_Model):
    """Rows replace those of whole days of accounts.

    Attributes:
        account: Path of the account.
        day: Path of the day; None for tables without days.
        parts: What is replaced; rows of other accounts and days stay.
    """

    type: Literal["account_days"] = "account_days"
    account: str
    day: str | None = None
    parts: list[Replaced]


Scope = Annotated[UpsertScope | SnapshotScope | PartitionScope | AccountDaysScope, Field(discriminator="type")]


class Origin(_Model):
    """What a batch was read from, as far as its source tells.

    Attributes:
        identity: Tells it from another of the same name.
        cursor: Field by which it is read.
        cursor_indexed: Whether that has an index.
        indexes: Keys of all its indexes, sorted.
    """

    identity: str | None = None
    cursor: str | None = None
    cursor_indexed: bool | None = None
    indexes: tuple[str, ...] | None = None


class Segment(_Model):
    """What one reader wrote: a whole batch, or one `_id` range of it.

    Attributes:
        state: Its part of the checkpoint.
        warned_rows: Documents that were landed although they break a rule.
        warned: By rule how many documents break it and were landed.
    """

    index: int = 0
    parts: list[Part] = Field(default_factory=list)
    fields: dict[str, FieldStatistics] = Field(default_factory=dict)
    children: dict[str, Child] = Field(default_factory=dict)
    rows: int = 0
    rows_read: int = 0
    reject_rows: int = 0
    warned_rows: int = 0
    warned: dict[str, int] = Field(default_factory=dict)
    source_bytes: int = 0
    seconds: float = 0.0
    state: dict[str, Any] = Field(default_factory=dict)

    @property
    def held_rows(self) -> int:
        """Rows that a rule holds back; they are among the rejects and among the rows read."""
        return _held(self.parts)


def _held(parts: Iterable[Part]) -> int:
    return sum(part.rows for part in parts if part.kind == "held" and not part.child)


class Manifest(_Model):
    """A committed batch. A batch without a manifest does not exist.

    Attributes:
        mode: How the table is read, in its connector's word.
        checkpoint: State that the table's checkpoint takes when the batch is loaded.
        checkpoint_keys: Keys of that state which the batch sets, the others being another read's; None sets them all.
        previous_checkpoint: State that extract started from.
        window: What was read, as people would say it: `from` and `to`.
        extracted_at: When reading began, by this machine's clock, in UTC.
        source_time: The same moment by the source's clock, where it tells.
        rows: Rows landed.
        rows_read: Rows read and counted in `fields`; more than `rows` where some had landed before.
        warned_rows: Documents that were landed although they break a rule.
        warned: By rule how many documents break it and were landed.
        origin: What was read from; None where the source does not tell.
        fingerprint: Hex of the table configuration that shaped the rows.
        seconds: Time spent reading, summed over segments.
    """

    version: Literal[1] = 1
    source: str
    table: str
    batch_id: str
    mode: str
    scope: Scope = UpsertScope()
    parts: list[Part] = Field(default_factory=list)
    columns: list[str] = Field(default_factory=list)
    fields: dict[str, FieldStatistics] = Field(default_factory=dict)
    children: dict[str, Child] = Field(default_factory=dict)
    rows: int = 0
    rows_read: int = 0
    bytes: int = 0
    source_bytes: int = 0
    reject_rows: int = 0
    warned_rows: int = 0
    warned: dict[str, int] = Field(default_factory=dict)
    window: dict[str, Any] = Field(default_factory=dict)
    checkpoint: dict[str, Any] = Field(default_factory=dict)
    checkpoint_keys: list[str] | None = None
    previous_checkpoint: dict[str, Any] = Field(default_factory=dict)
    extracted_at: datetime
    source_time: datetime | None = None
    origin: Origin | None = None
    fingerprint: str = ""
    flow_run_id: str | None = None
    seconds: float = 0.0

    def moved(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Return the state of the table's checkpoint after the batch, from the one before it."""
        if self.checkpoint_keys is None:
            return self.checkpoint
        kept = {name: value for name, value in state.items() if name not in self.checkpoint_keys}
        return kept | {name: self.checkpoint[name] for name in self.checkpoint_keys if name in self.checkpoint}

    @property
    def held_rows(self) -> int:
        """See `Segment`."""
        return _held(self.parts)

    def of_kind(self, kind: str, child: str | None = None) -> list[Part]:
        """Return the parts of a kind (and of one child table), in writing order."""
        return [part for part in self.parts if part.kind == kind and child in (None, part.child)]

    def row_parts(self, child: str) -> list[tuple[int, Part]]:
        """Return the parts of rows, or of one child table's, each with the number of the flush that it came with."""
        found, flush = [], -1
        for part in self.parts:
            flush += part.kind == "rows"
            if (part.kind, part.child) == (("child", child) if child else ("rows", "")):
                found.append((max(flush, 0), part))
        return found


def merge_segments(segments: Iterable[Segment]) -> dict[str, Any]:
    """Return the manifest fields that are sums over segments."""
    ordered = sorted(segments, key=lambda segment: segment.index)
    parts = [part for segment in ordered for part in segment.parts]
    children = {path for segment in ordered for path in segment.children}
    return {
        "parts": parts,
        "columns": _columns(parts, "rows", ""),
        "fields": _sum_fields(segment.fields for segment in ordered),
        "children": {
            path: Child(
                rows=sum(segment.children[path].rows for segment in ordered if path in segment.children),
                columns=_columns(parts, "child", path),
                fields=_sum_fields(segment.children[path].fields for segment in ordered if path in segment.children),
            )
            for path in sorted(children)
        },
        "rows": sum(segment.rows for segment in ordered),
        "rows_read": sum(segment.rows_read for segment in ordered),
        "bytes": sum(part.bytes for part in parts),
        "source_bytes": sum(segment.source_bytes for segment in ordered),
        "reject_rows": sum(segment.reject_rows for segment in ordered),
        "warned_rows": sum(segment.warned_rows for segment in ordered),
        "warned": dict(sum((Counter(segment.warned) for segment in ordered), Counter())),
        "seconds": round(sum(segment.seconds for segment in ordered), 3),
    }


def _columns(parts: Iterable[Part], kind: str, child: str) -> list[str]:
    """Return the distinct columns of the parts of a kind, in the order first seen."""
    chosen = [part for part in parts if (part.kind, part.child) == (kind, child)]
    return list(dict.fromkeys(name for part in chosen for name in part.columns))


def _sum_fields(statistics: Iterable[dict[str, FieldStatistics]]) -> dict[str, FieldStatistics]:
    total: dict[str, FieldStatistics] = {}
    for fields in statistics:
        for path, field in fields.items():
            total[path] = total[path].add(field) if path in total else field
    return total
