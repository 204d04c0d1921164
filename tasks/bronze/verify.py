"""Proof of completeness: the source's documents against bronze, by counts and checksums, down to what differs and why.

First the rows of both sides are counted and a digest of each key with its document's hash is summed by ranges of `_id`,
which needs no order and moves no documents out of Postgres. Ranges that differ are compared document by document. With
`deep`, every document is compared with its row, values included, and every element of an array with its child row:
hashes tell that the right version was loaded, values that nothing was lost or altered on the way into columns.
"""

from __future__ import annotations

import bisect
import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import polars as pl
import psycopg

from tasks import database
from tasks.bronze import canonical
from tasks.bronze.convert import keys_of, normal_keys
from tasks.bronze.destination import Destination, StoredRow
from tasks.bronze.load import OpenDestination
from tasks.bronze.postgres.destination import Postgres
from tasks.errors import LoadError
from tasks.landing import Landing
from tasks.ops import TableKey, columns, migrations, rejects, relations
from tasks.ops.relations import ROOT

if TYPE_CHECKING:
    from tasks.bronze.plan import Column
    from tasks.extract import ExtractResult
    from tasks.settings import Settings
    from tasks.sources import TableRef
    from tasks.sources.connector import Sample

Frames = Callable[[], Iterator[pl.DataFrame]]
# Ranges that are small enough to be listed when they differ, few enough to be summed in one pass.
_RANGES = 256
_LEAST_ROWS_PER_RANGE = 200
_DEEP_ROWS = 2_000
_MOST_PATHS = 5


@dataclass(frozen=True)
class Difference:
    """One document, or element of one, that differs.

    Attributes:
        id: Key text.
        why: A sentence.
    """

    id: str
    why: str


@dataclass
class Verified:
    """What verifying one table found.

    Attributes:
        source_rows: Documents at the source.
        bronze_rows: Live rows in bronze.
        unreadable: Documents at the source that cannot be decoded, and so are compared with nothing.
        ranges: Ranges of rows compared.
        ranges_differing: `(from, to)` of those that differ, child tables' too; None is an open end.
        differing: Number of documents that differ, and of elements that do while their document agrees.
        differences: The first of them, with the reason.
        deep: Whether values were compared, too.
        shared: What the load and this comparison both read the source by: its mistakes are on both sides.
        missing: What is at the source and was not even read: refused files, rows that another reader counts.
        recounted: Whether another reader than that of loading has counted the source's rows.
    """

    table: str
    source_rows: int = 0
    bronze_rows: int = 0
    unreadable: int = 0
    ranges: int = 0
    ranges_differing: list[tuple[str | None, str | None]] = field(default_factory=list)
    differing: int = 0
    differences: list[Difference] = field(default_factory=list)
    deep: bool = False
    shared: str = ""
    missing: list[str] = field(default_factory=list)
    recounted: bool = False

    @property
    def equal(self) -> bool:
        """Whether bronze equals the source, but for documents there that cannot be decoded."""
        return not self.differing and not self.ranges_differing and not self.missing

    @property
    def note(self) -> str:
        """Return what this comparison cannot find, as a sentence."""
        counted = " but for the number of rows, which another reader counted, too" if self.recounted else ""
        return (
            f"read by {self.shared}, as loading reads: what that misreads is the same on both sides, and not "
            f"found{counted}"
        )


def verify_table(ref: TableRef, settings: Settings, *, deep: bool = True, most: int = 100) -> Verified:
    """Read a table's source as a whole and compare it with bronze.

    The documents are put aside in a temporary folder meanwhile, so that both passes see the same.

    Args:
        ref: The table.
        settings: Where the warehouse is.
        deep: Whether values are compared, too.
        most: Most differences listed.
    """
    from tasks.extract import ExtractContext, extract_table

    with tempfile.TemporaryDirectory(prefix="warehouse-verify-") as folder:
        landing = Landing.open(folder)
        context = ExtractContext(landing=landing, memory_bytes=settings.memory_budget())
        extracted = extract_table(ref, context)
        counted = ref.connector.recount(ref)

        newest = _newest(landing, ref) if ref.connector.repeats_keys else None

        def frames(child: str = "") -> Iterator[pl.DataFrame]:
            for flush, frame in _flushes(landing, ref, child):
                yield frame if newest is None else _of_flush(frame, newest.filter(pl.col("flush") == flush))

        unreadable = [key for frame in _rejects(landing, ref) for key in _keys_or_none(frame["_id"])]
        children = {path: partial(frames, path) for path in ref.table.child_paths}
        connected = database.connect(settings.database_url(), application="warehouse verify")
        with connected as connection, database.named_errors(ref.name):
            found = verify(connection, *ref.key, frames, children, unreadable=unreadable, deep=deep, most=most)
        missing = _missing(extracted, counted)
        return replace(found, shared=ref.connector.reader, recounted=counted is not None, missing=missing)


def _missing(extracted: ExtractResult, counted: int | None) -> list[str]:
    """Return what the source holds and extraction did not read, in sentences."""
    found = [f"{name} was refused" for name in extracted.refused]
    metrics = extracted.metrics
    # Where lines are rejected, two readers may see different ones; these are told as rejects.
    if counted not in (None, metrics.rows_read) and not metrics.rows_rejected:
        found.append(f"another reader counts {counted:,} row(s) at the source, {metrics.rows_read:,} were read")
    return found


def _flushes(landing: Landing, ref: TableRef, child: str) -> Iterator[tuple[int, pl.DataFrame]]:
    """Yield the frames of one relation, each with the number of the frame of rows that it came with."""
    for batch_id in landing.batches(ref.source_name, ref.table_name)[:1]:
        manifest = landing.manifest(ref.source_name, ref.table_name, batch_id)
        for flush, part in manifest.row_parts(child):
            yield flush, landing.read(manifest, part)


def _newest(landing: Landing, ref: TableRef) -> pl.DataFrame:
    """Return each key with the number of the frame that has its last row: a later file replaces an earlier one's."""
    found = [frame.select("_id", pl.lit(flush).alias("flush")) for flush, frame in _flushes(landing, ref, "")]
    keys = pl.concat(found) if found else pl.DataFrame(schema={"_id": pl.String, "flush": pl.Int32})
    return keys.group_by("_id").agg(pl.col("flush").max())


def _of_flush(frame: pl.DataFrame, keys: pl.DataFrame) -> pl.DataFrame:
    """Return the last rows of documents whose newest version is in this frame."""
    key = "_root_id" if "_root_id" in frame.columns else "_id"
    kept = frame.join(keys, left_on=key, right_on="_id", how="semi", maintain_order="left")
    return kept.unique(subset="_id", keep="last", maintain_order=True)


def _keys_or_none(keys: pl.Series) -> list[str | None]:
    return [None] * keys.null_count() + normal_keys(keys.drop_nulls())


def _rejects(landing: Landing, ref: TableRef) -> Iterator[pl.DataFrame]:
    for batch_id in landing.batches(ref.source_name, ref.table_name)[:1]:
        manifest = landing.manifest(ref.source_name, ref.table_name, batch_id)
        for part in manifest.of_kind("rejects"):
            yield landing.read(manifest, part)


def verify_sample(ref: TableRef, settings: Settings, documents: int, *, most: int = 100) -> Verified:
    """Compare documents taken at random with bronze, values included, and count both sides.

    A source that takes no samples is compared as a whole.

    Args:
        ref: The table.
        settings: Where the warehouse is.
        documents: Most documents to compare.
        most: Most differences listed.
    """
    sample = ref.connector.sample(ref, documents)
    if sample is None:
        return verify_table(ref, settings, most=most)
    connected = database.connect(settings.database_url(), application="warehouse verify")
    with connected as connection, database.named_errors(ref.name):
        migrations.migrate(connection)
        connection.commit()
        bronze = _Bronze(cursor := connection.cursor(), Postgres(cursor), ref.key)
        with bronze.destination.snapshot():
            result = Verified(ref.name, deep=True, shared=ref.connector.reader)
            rows = _compared(bronze, lambda: iter([sample.frame]), result, most)
            rows.run_sample(sample)
            for path, found in sample.children.items():
                elements = _Comparison(bronze, path, partial(iter, found), result, most, stale=rows.stale)
                elements.run_elements(sample.frame)
            return result


def verify(
    connection: psycopg.Connection[Any],
    source: str,
    table_name: str,
    frames: Frames,
    children: Mapping[str, Frames] | None = None,
    *,
    unreadable: Sequence[str | None] = (),
    deep: bool = True,
    most: int = 100,
    open_destination: OpenDestination = Postgres,
) -> Verified:
    """Compare decoded source frames with bronze.

    Args:
        connection: Outside a transaction; one snapshot of bronze is used throughout.
        source: Source name.
        table_name: Table name.
        frames: Gives the frames of all source documents; called twice when something differs.
        children: The same by array, for arrays that are child tables; compared where `deep` is asked for.
        unreadable: Keys of the source's documents that cannot be decoded; None where not even the key can.
        deep: Whether values are compared, too.
        most: Most differences listed.
        open_destination: Where the rows are.

    Raises:
        LoadError: The table was never loaded.
    """
    migrations.migrate(connection)
    connection.commit()
    cursor = connection.cursor()
    bronze = _Bronze(cursor, open_destination(cursor), TableKey(source, table_name))
    with bronze.destination.snapshot():
        result = Verified(str(bronze.key), unreadable=len(unreadable), deep=deep)
        rows = _compared(bronze, frames, result, most, unreadable)
        rows.run()
        result.ranges, result.source_rows, result.bronze_rows = rows.ranges, rows.source_rows, rows.bronze_rows
        for path, found in (children or {}).items() if deep else ():
            _Comparison(bronze, path, found, result, most, stale=rows.stale).run()
        return result


@dataclass(frozen=True)
class _Bronze:
    """A table as it is in bronze: what the control tables say of it, and where its rows are."""

    cursor: psycopg.Cursor[Any]
    destination: Destination
    key: TableKey


def _compared(
    bronze: _Bronze,
    frames: Frames,
    result: Verified,
    most: int,
    unreadable: Sequence[str | None] = (),
) -> _Comparison:
    """Return the comparison of a table's rows.

    Raises:
        LoadError: The table was never loaded.
    """
    comparison = _Comparison(bronze, ROOT, frames, result, most, unreadable)
    if not comparison.exists:
        raise LoadError("the table was never loaded", str(bronze.key), "run it first")
    return comparison


class _Comparison:
    """One relation, rows or the child table of an array, against its frames; what differs goes to `result`.

    The version of a row is its document's hash; that of a child row is where it hangs.

    Attributes:
        stale: Keys of documents that bronze does not hold, or in another version: their elements are not named one by
            one.
    """

    def __init__(
        self,
        bronze: _Bronze,
        path: str,
        frames: Frames,
        result: Verified,
        most: int,
        unreadable: Sequence[str | None] = (),
        stale: Iterable[str] = (),
    ) -> None:
        self._bronze = bronze
        self._destination = bronze.destination
        self._path = path
        self._name = relations.of_table(bronze.cursor, bronze.key).get(path, "")
        self._frames = frames
        self._most = most
        self._columns = [column for column in columns.of_relation(bronze.cursor, bronze.key, path) if column.stored]
        self._unreadable = set(unreadable)
        self._result = result
        self.exists = bool(self._name) and self._destination.schema_of(self._name) is not None
        self.stale = set(stale)
        self.ranges = self.source_rows = self.bronze_rows = 0

    def run(self) -> None:
        bounds: list[str] = []
        ours: dict[int, tuple[int, int]] = {}
        if self.exists:
            bounds = self._destination.bounds(self._name, _LEAST_ROWS_PER_RANGE, _RANGES)
            ours = self._destination.sums(self._name, bounds, child=bool(self._path))
        theirs = self._source_sums(bounds)
        self.ranges = len(bounds) + 1
        self.source_rows = sum(count for count, _ in theirs.values())
        self.bronze_rows = sum(count for count, _ in ours.values())
        wrong = [number for number in range(len(bounds) + 1) if ours.get(number, _NONE) != theirs.get(number, _NONE)]
        edges = [None, *bounds, None]
        self._result.ranges_differing += [(edges[number], edges[number + 1]) for number in wrong]
        for number in wrong:
            self._compare_range(number, bounds)
        self._result.differences.sort(key=lambda found: found.id)

    def run_sample(self, sample: Sample) -> None:
        """Compare these documents only; counts are told, and differ where the source went on since the last run."""
        self._result.source_rows = sample.total
        self._result.bronze_rows = self._destination.count(self._name)
        self._compare_values(sample.frame)

    def run_elements(self, documents: pl.DataFrame) -> None:
        """Compare the elements of these documents only."""
        seen: set[str] = set()
        for frame in self._frames():
            self._compare_values(frame)
            seen.update(key for key, _ in _keys(frame))
        roots = keys_of(documents.select("_id"))["_id"].to_list()
        for key, held in self._held(roots=roots).items():
            if held.live and key not in seen:
                self._surplus(key, held)

    # -- sums -------------------------------------------------------------------------------------------------

    def _source_sums(self, bounds: Sequence[str]) -> dict[int, tuple[int, int]]:
        sums: dict[int, tuple[int, int]] = {}
        for frame in self._frames():
            for number, key, version in _numbered(frame, bounds):
                count, total = sums.get(number, _NONE)
                sums[number] = (count + 1, total + _digest(key if self._path else f"{key}{version}"))
            if self._result.deep:
                self._compare_values(frame)
        return sums

    # -- documents and elements -------------------------------------------------------------------------------

    def _compare_values(self, frame: pl.DataFrame) -> None:
        """Compare documents or elements with what bronze holds of them, values included."""
        for part in frame.iter_slices(_DEEP_ROWS):
            keys = _keys(part)
            bronze = self._held(self._columns, ids=[key for key, _ in keys])
            for (key, version), wanted in zip(keys, canonical.of_landed(part), strict=True):
                held = bronze.get(key)
                if self._path and version[0] in self.stale:
                    continue
                if held is None or not held.live or held.version != version:
                    self._other_version(key, version, held)
                elif (row := self._row(held)) != wanted:
                    self._differs(key, _why_values(wanted, row))

    def _row(self, held: StoredRow) -> canonical.Row:
        return canonical.of_bronze(self._columns, held.values, held.rescued, child=bool(self._path))

    def _compare_range(self, number: int, bounds: Sequence[str]) -> None:
        """Name what is in bronze only; and other versions, where they were not found together with values."""
        low = bounds[number - 1] if number else None
        high = bounds[number] if number < len(bounds) else None
        bronze = self._held(between=(low, high))
        seen: set[str] = set()
        for frame in self._frames():
            for range_number, key, version in _numbered(frame, bounds):
                if range_number != number:
                    continue
                seen.add(key)
                held = bronze.get(key)
                if not self._result.deep and (held is None or not held.live or held.version != version):
                    self._other_version(key, version, held)
        for key, held in bronze.items():
            if held.live and key not in seen:
                self._surplus(key, held)

    def _held(self, listed: Sequence[Column] = (), **chosen: Any) -> dict[str, StoredRow]:
        if not self.exists:
            return {}
        return self._destination.rows(self._name, listed, child=bool(self._path), **chosen)

    def _other_version(self, key: str, version: Any, held: StoredRow | None) -> None:
        """Name a document or element that bronze does not hold as the source does."""
        if self._path:
            where = held.version if held and held.live else None
            self._differs(key, f"{_POSITION}: {version}, not {where}" if where else "not in bronze")
            return
        self.stale.add(key)
        if held is None:
            self._differs(key, f"not in bronze{self._rejected(key)}")
        elif not held.live:
            self._differs(key, f"at the source, but marked deleted in bronze by batch {held.batch_id}")
        else:
            told = f"bronze has the one read at {held.extracted_at} by batch {held.batch_id}"
            self._differs(key, f"another version: {told}")

    def _surplus(self, key: str, held: StoredRow) -> None:
        """Name a live row of bronze that the source has not."""
        loaded = f"loaded by batch {held.batch_id}, read at {held.extracted_at}"
        if self._path:
            if held.version[0] not in self.stale:
                self._differs(key, f"not at the source; {loaded}")
            return
        self.stale.add(key)
        why = "cannot be read at the source now" if key in self._unreadable else "not at the source (any more)"
        self._differs(key, f"{why}; {loaded}")

    def _differs(self, key: str, why: str) -> None:
        why = f"element of {self._path}: {why}" if self._path else why
        self._result.differing += 1
        if len(self._result.differences) < self._most:
            self._result.differences.append(Difference(key, why))

    def _rejected(self, key: str) -> str:
        reason = rejects.reason(self._bronze.cursor, self._bronze.key, key)
        return f": rejected, {reason}" if reason else ""


_NONE = (0, 0)
_POSITION = "_root_id, _parent_id, _position"


def _keys(frame: pl.DataFrame) -> list[tuple[str, Any]]:
    """Return the keys of a frame's rows, each with its version as the destination gives it."""
    if "_root_id" in frame.columns:
        rows = keys_of(frame.select("_id", "_root_id", "_parent_id", "_position"))
        return [(key, position) for key, *position in rows.iter_rows()]
    rows = keys_of(frame.select("_id", "_hash")).select("_id", pl.col("_hash").bin.encode("hex"))
    return [(key, version or "") for key, version in rows.iter_rows()]


def _numbered(frame: pl.DataFrame, bounds: Sequence[str]) -> Iterator[tuple[int, str, Any]]:
    """Yield the number of the range that each row is in, as width_bucket counts, its key and its version."""
    encoded = [bound.encode() for bound in bounds]
    for key, version in _keys(frame):
        yield bisect.bisect_right(encoded, key.encode()) if encoded else 0, key, version


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big", signed=True)


def _why_values(wanted: canonical.Row, held: canonical.Row) -> str:
    paths = sorted(path for path in wanted.keys() | held.keys() if wanted.get(path) != held.get(path))
    told = [
        f"{path}: source {_short(wanted.get(path))}, bronze {_short(held.get(path))}" for path in paths[:_MOST_PATHS]
    ]
    more = f" and {len(paths) - _MOST_PATHS} more" if len(paths) > _MOST_PATHS else ""
    return f"values differ: {'; '.join(told)}{more}"


def _short(text: str | None) -> str:
    if text is None:
        return "nothing"
    return text if len(text) <= 60 else f"{text[:60]}..."
