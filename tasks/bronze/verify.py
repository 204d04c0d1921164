"""Proof of completeness: the source's documents against bronze, by counts and checksums, down to what differs and why.

First the rows of both sides are counted and their document hashes summed by ranges of `_id`, which needs no order and
moves no documents out of Postgres. Ranges that differ are compared document by document. With `deep`, the values of
every document are compared with those in bronze as well: hashes tell that the right version was loaded, values that
nothing was lost or altered on the way into columns.
"""

from __future__ import annotations

import bisect
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import polars as pl
import psycopg
from psycopg import sql

from tasks import database
from tasks.bronze import canonical, ddl
from tasks.bronze.convert import keys_of
from tasks.bronze.stage import normal_keys
from tasks.errors import LoadError
from tasks.landing import Landing
from tasks.ops import TableKey, columns, migrations, rejects, relations
from tasks.ops.relations import ROOT

if TYPE_CHECKING:
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
    """One document that differs.

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
        ranges: Ranges compared.
        ranges_differing: `(from, to)` of those that differ; None is an open end.
        differing: Number of documents that differ.
        differences: The first of them, with the reason.
        deep: Whether values were compared, too.
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

    @property
    def equal(self) -> bool:
        """Whether bronze equals the source, but for documents there that cannot be decoded."""
        return not self.differing and not self.ranges_differing


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
        extract_table(ref, context)

        newest = _newest(landing, ref) if ref.connector.repeats_keys else None

        def frames(child: str = "") -> Iterator[pl.DataFrame]:
            for flush, frame in _flushes(landing, ref, child):
                yield frame if newest is None else _of_flush(frame, newest.filter(pl.col("flush") == flush))

        unreadable = [key for frame in _rejects(landing, ref) for key in _keys_or_none(frame["_id"])]
        children = {path: partial(frames, path) for path in ref.table.child_paths}
        connected = database.connect(settings.database_url(), application="warehouse verify")
        with connected as connection, database.named_errors(ref.name):
            return verify(connection, *ref.key, frames, children, unreadable=unreadable, deep=deep, most=most)


def _flushes(landing: Landing, ref: TableRef, child: str) -> Iterator[tuple[int, pl.DataFrame]]:
    """Yield the frames of one relation, each with the number of the frame of rows that it came with."""
    for batch_id in landing.batches(ref.source_name, ref.table_name)[:1]:
        manifest, flush = landing.manifest(ref.source_name, ref.table_name, batch_id), -1
        for part in manifest.parts:
            flush += part.kind == "rows"
            if (part.kind, part.child) == (("child", child) if child else ("rows", "")):
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
        with connection.transaction(), connection.cursor() as cursor:
            cursor.execute("set transaction isolation level repeatable read")
            name = _relation_of(cursor, ref.key)
            return _Comparison(cursor, ref.key, name, lambda: iter([sample.frame]), True, most).run_sample(sample)


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
) -> Verified:
    """Compare decoded source frames with bronze.

    Args:
        connection: Outside a transaction; one snapshot of bronze is used throughout.
        source: Source name.
        table_name: Table name.
        frames: Gives the frames of all source documents; called twice when something differs.
        children: The same by array, for arrays that are child tables; compared when the documents agree.
        unreadable: Keys of the source's documents that cannot be decoded; None where not even the key can.
        deep: Whether values are compared, too.
        most: Most differences listed.

    Raises:
        LoadError: The table was never loaded.
    """
    migrations.migrate(connection)
    connection.commit()
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute("set transaction isolation level repeatable read")
        key = TableKey(source, table_name)
        comparison = _Comparison(cursor, key, _relation_of(cursor, key), frames, deep, most, unreadable)
        result = comparison.run()
        if deep and result.equal:
            for path, found in (children or {}).items():
                comparison.compare_child(path, found)
        return result


def _relation_of(cursor: psycopg.Cursor[Any], key: TableKey) -> str:
    name = relations.of_table(cursor, key).get(ROOT)
    if name is None or not ddl.exists(cursor, name):
        raise LoadError("the table was never loaded", str(key), "run it first")
    return name


class _Comparison:
    def __init__(
        self,
        cursor: psycopg.Cursor[Any],
        key: TableKey,
        name: str,
        frames: Frames,
        deep: bool,
        most: int,
        unreadable: Sequence[str | None] = (),
    ) -> None:
        self._cursor = cursor
        self._key = key
        self._relation = ddl.relation(name)
        self._name = name
        self._frames = frames
        self._most = most
        self._columns = [column for column in columns.of_relation(cursor, key, ROOT) if column.stored]
        self._unreadable = set(unreadable)
        self._result = Verified(str(key), unreadable=len(unreadable), deep=deep)

    def run(self) -> Verified:
        bounds = self._bounds()
        ours = self._bronze_sums(bounds)
        theirs = self._source_sums(bounds)
        result = self._result
        result.ranges = len(bounds) + 1
        result.source_rows = sum(count for count, _, _ in theirs.values())
        result.bronze_rows = sum(count for count, _, _ in ours.values())
        wrong = [number for number in range(len(bounds) + 1) if ours.get(number, _NONE) != theirs.get(number, _NONE)]
        edges = [None, *bounds, None]
        result.ranges_differing = [(edges[number], edges[number + 1]) for number in wrong]
        for number in wrong:
            self._compare_range(number, bounds)
        result.differences.sort(key=lambda found: found.id)
        return result

    def run_sample(self, sample: Sample) -> Verified:
        """Compare these documents only; counts are told, and differ where the source went on since the last run."""
        result = self._result
        result.source_rows = sample.total
        counted = sql.SQL("select count(*) from {} where _deleted_at is null").format(self._relation)
        [[result.bronze_rows]] = self._cursor.execute(counted).fetchall()
        keys = keys_of(sample.frame.select("_id", "_hash"))
        rows = self._cursor.execute(
            sql.SQL(
                "select _id, _hash::text, _deleted_at is null, _extracted_at::text, _batch_id from {} "
                "where _id = any(%s)"
            ).format(self._relation),
            [keys["_id"].to_list()],
        ).fetchall()
        bronze = {row[0]: row[1:] for row in rows}
        for key, digest in keys.select("_id", pl.col("_hash").bin.encode("hex")).iter_rows():
            self._compare_document(key, digest, bronze.get(key))
        self._compare_values(sample.frame)
        return result

    # -- sums -------------------------------------------------------------------------------------------------

    def _bounds(self) -> list[str]:
        """Return the keys that split bronze into ranges of about the same size, by byte order."""
        [[count]] = self._cursor.execute(sql.SQL("select count(*) from {}").format(self._relation)).fetchall()
        ranges = min(_RANGES, count // _LEAST_ROWS_PER_RANGE)
        if ranges < 2:
            return []
        share = [number / ranges for number in range(1, ranges)]
        [[bounds]] = self._cursor.execute(
            sql.SQL(
                'select percentile_disc(%s::float8[]) within group (order by _id collate "C") from {} '
                "tablesample bernoulli (%s) repeatable (1)"
            ).format(self._relation),
            [share, min(100.0, 100.0 * 20_000 / count)],
        ).fetchall()
        return sorted(set(bounds or []) - {None})

    def _bronze_sums(self, bounds: Sequence[str]) -> dict[int, tuple[int, int, int]]:
        rows = self._cursor.execute(
            sql.SQL(
                """
                select width_bucket(_id collate "C", %s::text[] collate "C"), count(*),
                       sum(('x' || left(_hash::text, 8))::bit(32)::bigint),
                       sum(('x' || right(_hash::text, 8))::bit(32)::bigint)
                from {} where _deleted_at is null group by 1
                """
            ).format(self._relation),
            [list(bounds)],
        )
        return {number: (count, int(high or 0), int(low or 0)) for number, count, high, low in rows.fetchall()}

    def _source_sums(self, bounds: Sequence[str]) -> dict[int, tuple[int, int, int]]:
        sums: dict[int, tuple[int, int, int]] = {}
        for frame in self._frames():
            numbered = _numbered(frame, bounds)
            found = numbered.group_by("range").agg(
                pl.len(), _word(0).cast(pl.UInt64).sum().alias("high"), _word(12).cast(pl.UInt64).sum().alias("low")
            )
            for number, *more in found.iter_rows():
                before = sums.get(number, _NONE)
                sums[number] = (before[0] + more[0], before[1] + more[1], before[2] + more[2])
            if self._result.deep:
                self._compare_values(frame)
        return sums

    # -- arrays -----------------------------------------------------------------------------------------------

    def compare_child(self, path: str, frames: Frames) -> None:
        """Compare the rows of one array with its child table, values included, and count both."""
        name = relations.of_table(self._cursor, self._key).get(path, "")
        stored = [column for column in columns.of_relation(self._cursor, self._key, path) if column.stored]
        exists = bool(name) and ddl.exists(self._cursor, name)
        count = 0
        for frame in frames():
            count += frame.height
            for part in frame.iter_slices(_DEEP_ROWS):
                keys = keys_of(part.select("_id", "_root_id", "_parent_id", "_position"))
                ids = keys["_id"].to_list()
                held = canonical.fetch(self._cursor.connection, name, stored, ids, child=True) if exists else {}
                for (key, *place), wanted in zip(keys.rows(), canonical.of_landed(part), strict=True):
                    found = held.get(key)
                    if found is None or not found[1]:
                        self._differs(key, f"element of {path} not in bronze")
                    elif found[0] != place:
                        told = f"_root_id, _parent_id, _position: {place}, not {found[0]}"
                        self._differs(key, f"element of {path}: {told}")
                    elif (row := canonical.of_bronze(stored, found[2], found[3])) != wanted:
                        self._differs(key, f"element of {path}: {_why_values(wanted, row)}")
        statement = sql.SQL("select count(*) from {} where _deleted_at is null").format(ddl.relation(name))
        [[live]] = self._cursor.execute(statement).fetchall() if exists else [[0]]
        if live != count:
            self._differs(path, f"{count} elements at the source, {live} in bronze")

    # -- documents --------------------------------------------------------------------------------------------

    def _differs(self, key: str, why: str) -> None:
        self._result.differing += 1
        if len(self._result.differences) < self._most:
            self._result.differences.append(Difference(key, why))

    def _compare_values(self, frame: pl.DataFrame) -> None:
        """Compare the values of documents whose version is the one in bronze."""
        for part in frame.iter_slices(_DEEP_ROWS):
            ids = keys_of(part.select("_id"))["_id"].to_list()
            bronze = canonical.fetch(self._cursor.connection, self._name, self._columns, ids)
            hashes = part["_hash"].bin.encode("hex").to_list()
            for key, digest, wanted in zip(ids, hashes, canonical.of_landed(part), strict=True):
                found = bronze.get(key)
                if found is None or found[0] != digest or not found[1]:
                    continue
                held = canonical.of_bronze(self._columns, found[2], found[3])
                if held != wanted:
                    self._differs(key, _why_values(wanted, held))

    def _compare_range(self, number: int, bounds: Sequence[str]) -> None:
        """Compare one range document by document."""
        low = bounds[number - 1] if number else None
        high = bounds[number] if number < len(bounds) else None
        condition = sql.SQL(
            '(%(low)s::text is null or _id collate "C" >= %(low)s::text)'
            ' and (%(high)s::text is null or _id collate "C" < %(high)s::text)'
        )
        rows = self._cursor.execute(
            sql.SQL(
                "select _id, _hash::text, _deleted_at is null, _extracted_at::text, _batch_id from {} where {}"
            ).format(self._relation, condition),
            {"low": low, "high": high},
        ).fetchall()
        bronze = {row[0]: row[1:] for row in rows}
        seen: set[str] = set()
        for frame in self._frames():
            chosen = _numbered(frame, bounds).filter(pl.col("range") == number)
            for key, digest in chosen.select("_id", pl.col("_hash").bin.encode("hex")).iter_rows():
                seen.add(key)
                self._compare_document(key, digest, bronze.get(key))
        for key, (_, live, extracted, batch_id) in bronze.items():
            if live and key not in seen:
                why = "cannot be read at the source now" if key in self._unreadable else "not at the source (any more)"
                self._differs(key, f"{why}; loaded by batch {batch_id}, read at {extracted}")

    def _compare_document(self, key: str, digest: str, held: Sequence[Any] | None) -> None:
        if held is None:
            self._differs(key, f"not in bronze{self._rejected(key)}")
        elif not held[1]:
            self._differs(key, f"at the source, but marked deleted in bronze by batch {held[3]}")
        elif (held[0] or "").replace("-", "") != digest:
            self._differs(key, f"another version: bronze has the one read at {held[2]} by batch {held[3]}")

    def _rejected(self, key: str) -> str:
        reason = rejects.reason(self._cursor, self._key, key)
        return f": rejected, {reason}" if reason else ""


_NONE = (0, 0, 0)


def _numbered(frame: pl.DataFrame, bounds: Sequence[str]) -> pl.DataFrame:
    """Return `_id`, `_hash` and the number of the range that each row is in, as width_bucket counts."""
    keys = keys_of(frame.select("_id", "_hash"))
    if not bounds:
        return keys.with_columns(pl.lit(0).alias("range"))
    encoded = [bound.encode() for bound in bounds]
    numbers = [bisect.bisect_right(encoded, key.encode()) for key in keys["_id"].to_list()]
    return keys.with_columns(pl.Series("range", numbers))


def _word(offset: int) -> pl.Expr:
    return pl.col("_hash").bin.slice(offset, 4).bin.reinterpret(dtype=pl.UInt32, endianness="big")


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
