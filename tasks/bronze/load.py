"""Loading one landed batch into bronze: rows, schema changes, rejects and checkpoint in one transaction, or nothing."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import polars as pl
import psycopg
from psycopg import errors, sql

from tasks import checkpoints, database
from tasks.bronze import ddl, delta, kinds, merge, references, stage
from tasks.bronze.account_days import AccountDays
from tasks.bronze.convert import Converted, convert
from tasks.bronze.new_tables import NewTables
from tasks.bronze.plan import FieldChange, RelationPlan, changes_of, make_plan
from tasks.drift import evidence, origin
from tasks.errors import LoadError, RejectLimitExceeded
from tasks.landing import AccountDaysScope, Landing, Manifest, PartitionScope
from tasks.landing.decoder import DOCUMENT
from tasks.landing.manifest import Part
from tasks.ops import TableKey, batches, columns, field_statistics, migrations, rejects, resets, schema_changes
from tasks.ops import checkpoints as stored
from tasks.ops import relations as named
from tasks.ops.batches import Batch, Counts
from tasks.ops.relations import HISTORY, ROOT
from tasks.overlap import read_ahead

if TYPE_CHECKING:
    from tasks.sources import Table

# Replayed rejects form a batch named after theirs, and take their place in the order of batches.
REPLAY = re.compile(r"-r\d+$")
_TABLE_LOCK_WAIT = "60s"
_ROW_LOCK_WAIT = "60s"
# A loader that was frozen (a paused pod) gives its lock back after this time.
_IDLE_LIMIT = "15min"
_ATTEMPTS = 4
_NOT_HELD = sql.SQL("t._id <> all(%(held)s::text[])")
RefusedWidenings: TypeAlias = dict[tuple[str, str], str]
"""By (child, path) why a column cannot be widened: its values go to a variant of it, or are rescued."""
LoadWith: TypeAlias = "Callable[[psycopg.Connection[Any], Landing, Manifest, Table], LoadResult]"
"""Loads one batch over an open connection; see `load_with`."""
REFUSED = (errors.UniqueViolation, psycopg.DataError, errors.ProgramLimitExceeded)
"""What Postgres says of rows that cannot be copied straight into a new relation."""
_RETRIED = (errors.DeadlockDetected, errors.SerializationFailure)


@dataclass
class LoadResult:
    """What loading one batch did.

    Attributes:
        status: `loaded`; `already_loaded`, a no-op; or `superseded`, when a newer batch from the same checkpoint
            is in bronze and holds all of this one.
        warnings: Sentences for the run report.
        plan: `first` (direct COPY into a new table), `staged` (staging and merge), or `none`.
        metrics: Columns of monitoring.pipeline_log that loading knows.
    """

    source: str
    table_name: str
    batch_id: str
    status: str = "loaded"
    plan: str = "none"
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    rejected: int = 0
    rescued: int = 0
    child_rows: int = 0
    schema_changes: int = 0
    warned: int = 0
    rows_landed: int = 0
    seconds: float = 0.0
    window: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def counts(self) -> Counts:
        """What `ops.batches` keeps."""
        return Counts(
            rows_inserted=self.inserted,
            rows_updated=self.updated,
            rows_unchanged=self.unchanged,
            rows_deleted=self.deleted,
            rows_rejected=self.rejected,
            rows_rescued=self.rescued,
            child_rows=self.child_rows,
            schema_changes=self.schema_changes,
        )

    @property
    def metrics(self) -> dict[str, Any]:
        """Return what the table artifact shows; JSON-safe."""
        return {
            "source": self.source,
            "table_name": self.table_name,
            "batch_id": self.batch_id,
            "state": self.status,
            "seconds": round(self.seconds, 3),
            "rows_landed": self.rows_landed,
            "rows_loaded": self.inserted + self.updated,
            "rows_unchanged": self.unchanged,
            "rows_rejected": self.rejected,
            "rows_warned": self.warned,
            "rows_rescued": self.rescued,
            "rows_deleted": self.deleted,
            "rows_per_second": round(self.rows_landed / self.seconds, 1) if self.seconds > 0 else 0.0,
            "window_from": _text_or_none(self.window.get("from")),
            "window_to": _text_or_none(self.window.get("to")),
            "schema_changes": self.schema_changes,
        }


def _text_or_none(value: object) -> str | None:
    return None if value is None else str(value)


def load_batch(
    connection_url: str, landing: Landing, manifest: Manifest, table: Table, load: LoadWith | None = None
) -> LoadResult:
    """Load one batch; loading it again is a no-op that says so.

    Deadlocks, serialization failures and lost connections are tried again with a new connection. When the connection
    is lost during the commit itself, the next attempt finds out in `ops.batches` whether it went through.

    Args:
        connection_url: Postgres URL.
        landing: Where the batch is.
        manifest: The batch.
        table: The table's configuration.
        load: Does it over an open connection; None means `load_with`.

    Raises:
        WarehouseUnreachable: Postgres cannot be reached.
        LandingError: A part is missing or damaged.
        RejectLimitExceeded: More rejects than the table allows; they are in `ops.rejects`, nothing else is loaded.
        LoadError: Anything else; nothing was committed.
    """
    where = f"{manifest.source}.{manifest.table} batch {manifest.batch_id}"
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with database.connect(connection_url, application="warehouse load") as connection:
                return (load or load_with)(connection, landing, manifest, table)
        except psycopg.Error as error:
            if attempt == _ATTEMPTS or not _worth_retrying(error):
                with database.named_errors(where):
                    raise
            time.sleep(0.2 * 4**attempt)
    raise AssertionError("the last attempt returns or raises")


def _worth_retrying(error: psycopg.Error) -> bool:
    if isinstance(error, _RETRIED):
        return True
    return isinstance(error, psycopg.OperationalError) and (
        error.sqlstate is None or error.sqlstate[:2] in ("08", "57")
    )


def load_with(connection: psycopg.Connection[Any], landing: Landing, manifest: Manifest, table: Table) -> LoadResult:
    """Load one batch over an open connection, its rows in one transaction; see `load_batch` and `prepared`."""
    with prepared(connection, landing, manifest, table) as loader:
        return loader.write()


@contextmanager
def prepared(
    connection: psycopg.Connection[Any], landing: Landing, manifest: Manifest, table: Table
) -> Iterator[Loader]:
    """Make names and columns final for a batch, and give the loader that writes it in the transaction that follows.

    Names of new relations, and new or wider columns of those that exist, are committed in short transactions of their
    own until none is missing: whoever reads the relation, or loads another new table, waits for those alone and never
    for the rows.

    Raises:
        RejectLimitExceeded: Here or in the block; the rejects are kept, and nothing else of the batch.
    """
    migrations.migrate(connection)
    connection.commit()
    refused: RefusedWidenings = {}
    try:
        while True:
            with connection.transaction():
                loader = Loader(connection.cursor(), landing, manifest, table, refused=refused)
                if loader.prepare():
                    yield loader
                    return
    except RejectLimitExceeded:
        keep_rejects(connection, landing, manifest)
        raise


def load_within(
    cursor: psycopg.Cursor[Any],
    landing: Landing,
    manifest: Manifest,
    table: Table,
    targets: Mapping[str, str],
    *,
    rebuild: bool = False,
) -> LoadResult:
    """Load one batch into given relations within the caller's transaction, its names and columns included.

    Args:
        cursor: In a transaction.
        landing: Where the batch is.
        manifest: The batch.
        table: The table's configuration.
        targets: By child the relations to write.
        rebuild: See `Loader`.
    """
    refused: RefusedWidenings = {}
    while True:
        loader = Loader(cursor, landing, manifest, table, rebuild=rebuild, refused=refused, targets=targets)
        is_ready = loader.prepare()
        if is_ready:
            result = loader.write()
        # Staging would live until the transaction ends, which may be many batches away.
        merge.drop_stages(cursor)
        if is_ready:
            return result


def holds_all(older: Manifest, previous_checkpoint: Mapping[str, Any] | None, mode: str) -> bool:
    """Return whether a newer batch, told by where its read began and how it read, makes an older one needless.

    Both were read from the same position, so the newer read holds what the older did, and later values.
    """
    if isinstance(older.scope, AccountDaysScope):
        # The newer one may have read other accounts, as some could not be read.
        return False
    return previous_checkpoint == older.previous_checkpoint or mode == "full"


def take_lock(cursor: psycopg.Cursor[Any], source: str, table_name: str) -> None:
    """Take the table's advisory lock for this transaction, whatever the orchestrator thinks of who runs.

    Raises:
        LoadError: Another load of the table did not end in time.
    """
    cursor.execute(sql.SQL("set local lock_timeout = {}").format(sql.Literal(_TABLE_LOCK_WAIT)))
    try:
        key = checkpoints.lock_key(source, table_name)
        cursor.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", [key])
    except errors.LockNotAvailable:
        raise LoadError(
            "another load of this table is running",
            f"{source}.{table_name}",
            "nothing: the next run goes on from there",
        ) from None
    cursor.execute(sql.SQL("set local lock_timeout = {}").format(sql.Literal(_ROW_LOCK_WAIT)))
    # `analyze` of a sample of 3,000 rows instead of 30,000: enough to choose a join, and a tenth of the time.
    cursor.execute("set local default_statistics_target = 10")
    # Staging in memory, and its join with bronze in one pass: a third less time where every row changed.
    cursor.execute("set temp_buffers = '64MB'")
    cursor.execute("set local work_mem = '64MB'")
    # A limit that the server sets for people's queries would break off a large merge again and again.
    cursor.execute("set local statement_timeout = 0")
    cursor.execute(sql.SQL("set local idle_in_transaction_session_timeout = {}").format(sql.Literal(_IDLE_LIMIT)))


@dataclass
class _Relation:
    """One relation of the batch: the table itself or the rows of one array."""

    plan: RelationPlan
    name: str
    exists: bool
    parts: list[tuple[int, Part]]
    stage: str
    statistics: dict[str, Any]
    rows_read: int
    presence: dict[str, FieldChange]


class Loader:
    """The load of one batch, in two phases: `prepare` makes names and columns final, `write` writes by that plan.

    Names, and columns of relations that exist, are committed apart from the rows: so `prepare` does one step at a time
    and says whether there was none left to do. If there was, the caller commits, and begins anew with another loader,
    whoever came between; if not, it calls `write` in the same transaction.

    Args:
        cursor: In a transaction.
        landing: Where the batch is.
        manifest: The batch.
        table: The table's configuration.
        rebuild: Whether the batch was loaded before: checkpoint, ledger and what extract rejected stay as they are.
        refused: Widenings that Postgres refused; it grows.
        written: New relations that were filled from the batch while it grew, in the same transaction.
        targets: By child the relations to write, where they are not those that readers see.
    """

    def __init__(
        self,
        cursor: psycopg.Cursor[Any],
        landing: Landing,
        manifest: Manifest,
        table: Table,
        *,
        rebuild: bool = False,
        refused: RefusedWidenings | None = None,
        written: NewTables | None = None,
        targets: Mapping[str, str] | None = None,
    ) -> None:
        self._cursor = cursor
        self._landing = landing
        self._manifest = manifest
        self._table = table
        self._rebuild = rebuild
        # Older than what may be in bronze: a replay always, another batch when it was landed or found late.
        self._late = self._replay = REPLAY.search(manifest.batch_id) is not None
        self._refused: RefusedWidenings = {} if refused is None else refused
        # Of this attempt: beside those that Postgres refused, those that are known to be impossible.
        self._narrow = dict(self._refused)
        self._relations: list[_Relation] = []
        self._new_tables = written
        self._targets = targets
        self._key = TableKey(manifest.source, manifest.table)
        self._result = LoadResult(
            manifest.source, manifest.table, manifest.batch_id, rows_landed=manifest.rows, window=dict(manifest.window)
        )
        self._changes: list[FieldChange] = []
        # By child the landed columns that `on_drift` wants none of, and by document that has one the reason.
        self._frozen: dict[str, list[str]] = {}
        self._held: dict[str, str] = {}
        self._delta: delta.Delta | None = None
        self._days: AccountDays | None = None
        self._misfits: dict[str, Counter[tuple[str, str]]] = {}
        self._sanitised: dict[str, Counter[tuple[str, str]]] = {}
        self._started = time.monotonic()
        self._stamp = merge.Stamp(manifest.batch_id, manifest.extracted_at, datetime.now(UTC))

    # -- the whole --------------------------------------------------------------------------------------------

    def prepare(self) -> bool:
        """Bring names and columns one step nearer to what the batch needs; return whether they were there already.

        Raises:
            LoadError: The batch changes the schema in a way that the table's configuration does not allow.
            RejectLimitExceeded: Extract rejected more documents than are allowed.
        """
        take_lock(self._cursor, *self._key)
        known = batches.find(self._cursor, self._key, self._manifest.batch_id)
        if known is not None:
            self._already_loaded(known)
            return True
        if not self._replay and self._superseded():
            return True
        wanted = [ROOT, *self._manifest.children]
        if self._table.history:
            wanted.append(HISTORY)
        if named.add(self._cursor, self._key, wanted):
            return False
        if self._new_tables is not None:
            self._stamp = self._new_tables.stamp
        else:
            self._stamp = merge.stamp(self._cursor, self._manifest.batch_id, self._manifest.extracted_at)
        self._relations = self._plan_relations()
        self._result.rejected = sum(part.rows for part in self._manifest.of_kind("rejects"))
        self._enforce_limit()
        if any(relation.exists and relation.plan.changes_relation for relation in self._relations):
            self._change_columns(self._relations)
            return False
        return True

    def write(self) -> LoadResult:
        """Write the rows and all that is recorded of them, by the plan that `prepare` found to be in force.

        Raises:
            LoadError: A value does not fit and the table's configuration does not allow that.
            RejectLimitExceeded: More documents were rejected than are allowed.
        """
        if self._result.status == "already_loaded":
            return self._result
        if self._result.status == "superseded":
            self._write_batch()
            return self._result
        if not self._rebuild:
            self._write_rejects()
        self._hold_frozen()
        self._load(self._relations)
        if not self._rebuild:
            self._try_references(self._relations)
        self._write_ops(self._relations)
        return self._result

    def confirm(self) -> str | None:
        """Return why what was written while the batch grew is not what the whole batch asks for; None when it is.

        Between `prepare` and `write`, and for such a load alone.

        Raises:
            psycopg.errors.UniqueViolation: An `_id` is there twice.
        """
        assert self._new_tables is not None  # noqa: S101  narrows the type
        if any(self._frozen.values()):
            return "documents have to be held back"
        if "_op" in self._manifest.columns:
            return "it may delete rows"
        return self._new_tables.confirm(self._plans(), self._row_parts())

    def _already_loaded(self, known: batches.Loaded) -> None:
        result, counts = self._result, known.counts
        result.status, result.plan, result.seconds = "already_loaded", known.plan or "none", known.seconds
        result.inserted, result.updated, result.unchanged = (
            counts.rows_inserted,
            counts.rows_updated,
            counts.rows_unchanged,
        )
        result.deleted, result.rejected, result.rescued = counts.rows_deleted, counts.rows_rejected, counts.rows_rescued
        result.child_rows, result.schema_changes = counts.child_rows, counts.schema_changes

    def _superseded(self) -> bool:
        """Return whether a newer batch is loaded that holds all of this one.

        Where a newer one is loaded that does not, this one is `late`: it brings what is missing, and never overwrites
        or deletes what was read after it.
        """
        newer = batches.newest_after(self._cursor, self._key, self._manifest.batch_id)
        if newer is None:
            return False
        if holds_all(self._manifest, newer.previous_checkpoint, newer.mode):
            self._result.status = "superseded"
            return True
        self._late = True
        self._result.warnings.append(
            f"batch {newer.batch_id} is newer and was loaded before: what it holds stays as it is"
        )
        return False

    # -- planning ---------------------------------------------------------------------------------------------

    def _plan_relations(self) -> list[_Relation]:
        manifest = self._manifest
        fields = {path: statistics.model_dump() for path, statistics in manifest.fields.items()}
        found = [self._relation("", manifest.columns, fields, manifest.rows_read or manifest.rows, 0)]
        for number, (path, child) in enumerate(sorted(manifest.children.items()), 1):
            statistics = {name: field.model_dump() for name, field in child.fields.items()}
            found.append(self._relation(path, child.columns, statistics, child.rows, number))
        return found

    def _relation(
        self, child: str, landed: list[str], fields: dict[str, Any], rows_read: int, number: int
    ) -> _Relation:
        name = self._names()[child]
        written = self._new_tables is not None and child in self._new_tables
        exists = not written and ddl.exists(self._cursor, name)
        known = columns.of_relation(self._cursor, self._key, child, self._manifest.batch_id)
        types = {path: statistics["types"] for path, statistics in fields.items()}
        beyond = self._beyond_double(child, landed)
        declared = self._table.declared_in(child)
        found = kinds.landed_kinds(landed)
        new = {path: self._policy("new", child, path) for path in found} if exists else {}
        for column in known:
            new.pop(column.path, None)
        frozen = [f"{path}|{kind}" for path, said in new.items() if said == "freeze" for kind in found[path]]
        landed = [column for column in landed if column not in frozen]
        not_stored = {path for path, said in new.items() if said != "add"}
        plan = make_plan(child, known, landed, types, declared=declared, beyond_double=beyond, not_stored=not_stored)
        if exists and plan.widened:
            self._check_widening(self._alike(child, name), plan)
        appeared = [plan.field_name(path) for path in plan.added if new.get(path) == "fail"]
        if appeared:
            self._drift_fails("fields appeared", appeared, "on_drift.new")
        self._frozen[child] = frozen + [
            f"{path}|{kind}"
            for path, column in plan.columns.items()
            if column.stored and self._policy("type", child, path) == "freeze"
            for kind in found.get(path, ())
            if not plan.taking(path, kind)
        ]
        presence = evidence.vanished_and_back(self._cursor, self._manifest, plan, fields, rows_read)
        gone = [
            change.field
            for path, change in presence.items()
            if change.change == "vanished" and self._policy("missing", child, path) == "fail"
        ]
        if gone:
            self._drift_fails("fields vanished", gone, "on_drift.missing")
        parts, stage_name = self._parts(child), merge.stage_name(child, number)
        return _Relation(plan, name, exists, parts, stage_name, fields, rows_read, presence)

    def _names(self) -> Mapping[str, str]:
        return named.of_table(self._cursor, self._key) if self._targets is None else self._targets

    def _policy(self, change: Literal["new", "type", "missing"], child: str, path: str) -> str:
        """Return what `on_drift` says of a field; the document itself, kept whole, is no field that could drift."""
        if path == DOCUMENT:
            return "keep" if change == "missing" else "add" if change == "new" else "rescue"
        return self._table.on_drift.of(change, f"{child}.{path}" if child else path)

    def _beyond_double(self, child: str, landed: list[str]) -> set[str]:
        """Return the paths with whole numbers that no double represents; `on_drift.type: fail` is to fail on them."""
        paths = [
            path
            for path, found in kinds.landed_kinds(landed).items()
            if "int" in found and self._policy("type", child, path) != "fail"
        ]
        if not paths:
            return set()
        return self._landing.beyond_double(self._manifest, child, paths)

    def _alike(self, child: str, name: str) -> list[str]:
        """Return the relations that have the columns of a relation, in the order in which they are locked.

        The history is one even while none is written: it may be again.
        """
        history = None if child else self._names().get(HISTORY)
        return [name, history] if history and ddl.exists(self._cursor, history) else [name]

    def _check_widening(self, names: list[str], plan: RelationPlan) -> None:
        """Take back the widenings that are known not to be possible, before anything is staged under the new type."""
        for path, old in list(plan.widened.items()):
            new = plan.columns[path]
            reason = self._narrow.get((plan.child, path)) or ddl.why_not_rewrite(self._cursor, names)
            if reason is None and ddl.inexact(self._cursor, names, old, new):
                reason = "it holds values that the wider type cannot tell exactly"
                if (old.kind, new.kind) == ("int", "double"):
                    # Whole numbers above 2^53 are there: a numeric tells both exactly.
                    plan.columns[path], reason = replace(new, kind="decimal"), None
            if reason is None:
                continue
            self._narrow[plan.child, path] = reason
            if self._may_add(plan, path):
                plan.add_variant(path, reason)
            else:
                plan.keep_narrow(path)

    def _may_add(self, plan: RelationPlan, path: str) -> bool:
        """Return whether a column may be added for values that the one of their field cannot hold.

        Any `on_drift.type` but `rescue` is against them, and any `new` but `add` allows no further column.
        """
        said = (self._policy("new", plan.child, path), self._policy("type", plan.child, path))
        return said == ("add", "rescue") and not plan.is_full

    def _parts(self, child: str) -> list[tuple[int, Part]]:
        """Return the parts of one relation, each with the number of its decoder flush."""
        found, flush = [], -1
        for part in self._manifest.parts:
            flush += part.kind == "rows"
            wanted = (part.kind, part.child) == (("child", child) if child else ("rows", ""))
            if wanted:
                found.append((max(flush, 0), part))
        return found

    def _plans(self) -> list[RelationPlan]:
        return [relation.plan for relation in self._relations]

    def _row_parts(self) -> list[Part]:
        return [part for relation in self._relations for _, part in relation.parts]

    def _drift_fails(self, what: str, fields: Sequence[str], key: str) -> None:
        raise LoadError(
            f"{what}: {', '.join(fields[:20])}",
            f"{self._result.source}.{self._result.table_name} batch {self._manifest.batch_id}",
            f"the table's {key} is `fail`: allow the change in sources.yaml and run again; or mend the source, then "
            + self._after_mending(),
        )

    # -- columns ----------------------------------------------------------------------------------------------

    def _change_columns(self, relations: list[_Relation]) -> None:
        """Widen a column of a relation that exists and add its new ones, with their rows in name map and ledger.

        One relation and one widening at a time, as the next loader does the rest: each widening rewrites the relation,
        and who reads two relations would wait for one of them with a lock on the other.

        Raises:
            LoadError: The relation stayed locked by others, or `on_drift.type` is `fail` and values do not fit.
        """
        if self._table.on_drift.may("type", "fail"):
            self._try_to_convert(relations)
        relation = next(relation for relation in relations if relation.exists and relation.plan.changes_relation)
        for path in list(relation.plan.widened)[1:]:
            relation.plan.keep_narrow(path)
        if not self._apply_ddl(relation):
            return
        self._write_columns(relation.plan)
        self._changes += changes_of(relation.plan, self._why_not_stored())
        # News even in a rebuild, whose batches the name map knows but for what could not be done when they were loaded.
        schema_changes.write(self._cursor, self._key, self._manifest.batch_id, self._changes)

    def _write_columns(self, plan: RelationPlan) -> None:
        """Write new and widened columns into the name map."""
        columns.add(self._cursor, self._key, plan.child, plan.new, self._manifest.batch_id)
        columns.retype(self._cursor, self._key, plan.child, [plan.columns[path] for path in plan.retyped])

    def _try_to_convert(self, relations: list[_Relation]) -> None:
        """Convert all rows for nothing but what does not fit, which must fail before any column is changed."""
        self._find_delta(relations[0])
        for relation in relations:
            for _ in self._converted(relation):
                pass
            self._conflicts(relation)

    def _apply_ddl(self, relation: _Relation) -> bool:
        """Change a relation's columns; return False where Postgres refused, which the next attempt plans with."""
        plan, names = relation.plan, self._alike(relation.plan.child, relation.name)
        widened = next(((old, plan.columns[path]) for path, old in plan.widened.items()), None)
        reason = ddl.change_columns(self._cursor, names, [column for column in plan.new if column.stored], widened)
        if widened and reason:
            self._refused[plan.child, widened[0].path] = reason
            return False
        return True

    # -- rows -------------------------------------------------------------------------------------------------

    def _load(self, relations: list[_Relation]) -> None:
        scope = self._manifest.scope
        if isinstance(scope, AccountDaysScope):
            late = self._late and not self._rebuild
            self._days = AccountDays(self._cursor, self._key, scope, self._stamp, late=late)
        if self._new_tables is None and self._may_be_copied(relations):
            self._new_tables = self._copied(relations)
        if self._new_tables is not None:
            self._count_first(self._new_tables)
            self._result.plan = "first"
        else:
            self._load_staged(relations)
            self._result.plan = "staged" if relations[0].parts else "none"

    def _may_be_copied(self, relations: list[_Relation]) -> bool:
        """Return whether there are rows, and all may go straight into relations that are new or empty."""
        if not self._row_parts() or self._held or "_op" in self._manifest.columns:
            return False
        if self._days is not None and self._days.left_out:
            return False
        return all(
            not relation.exists or (not self._table.history and ddl.empty(self._cursor, relation.name))
            for relation in relations
        )

    def _copied(self, relations: list[_Relation]) -> NewTables | None:
        """Copy straight into new relations, keys afterwards; None when a value or key needs the careful way."""
        by_child = {relation.plan.child: relation for relation in relations}
        tables = NewTables(
            self._cursor,
            {child: relation.name for child, relation in by_child.items()},
            self._stamp,
            lambda part, _: by_child[part.child].plan,
            existing={child for child, relation in by_child.items() if relation.exists},
        )
        parts = ((part, self._read(relation, flush, part)) for relation in relations for flush, part in relation.parts)
        try:
            with self._cursor.connection.transaction():
                tables.write(parts)
                tables.confirm(self._plans(), self._row_parts())
        except REFUSED:
            for relation in relations:
                relation.plan.refused.clear()
            return None
        return tables

    def _count_first(self, tables: NewTables) -> None:
        """Note what was written into new relations, and begin their history."""
        self._misfits, self._sanitised = tables.misfits, tables.sanitised
        self._result.rescued += tables.rescued
        self._result.inserted = self._manifest.rows
        self._result.child_rows += sum(part.rows for part in self._manifest.of_kind("child"))
        if self._table.history:
            self._history(self._relations[0].plan, self._relations[0].name)

    def _load_staged(self, relations: list[_Relation]) -> None:
        root, children = relations[0], relations[1:]
        self._find_delta(root)
        for relation in relations:
            self._stage(relation)
        may_repeat = self._delta is None or self._delta.repeated
        if may_repeat and (merge.keep_last(self._cursor, root.stage) or self._delta is not None):
            for child in children:
                merge.keep_last_children(self._cursor, child.stage)
        if self._days is not None:
            self._days.trim_stage(root.plan)
        if self._late and root.exists:
            merge.drop_older(self._cursor, root.name, self._stamp)
        if root.exists and not self._rebuild:
            self._changes += evidence.renames(self._cursor, root.name, root.plan, root.stage)
        for relation in relations:
            if not relation.exists:
                ddl.create_relation(self._cursor, relation.name, relation.plan)
                ddl.add_keys(self._cursor, relation.name, relation.plan.child)
        self._merge(root, children)

    def _find_delta(self, root: _Relation) -> None:
        if root.exists and self._manifest.scope.type == "snapshot" and root.parts:
            landed = ((flush, self._landing.read(self._manifest, part, delta.COLUMNS)) for flush, part in root.parts)
            self._delta = delta.find(self._cursor, root.name, landed)

    def _stage(self, relation: _Relation) -> None:
        types = merge.stage_types(relation.plan)
        merge.create_stage(self._cursor, relation.stage, types)
        target = sql.Identifier(relation.stage)
        for flush, part, converted in self._converted(relation):
            frame = stage.with_sequence(converted.frame, flush << merge.SEQUENCE_BITS, "_op" in dict(types))
            refused = stage.copy_careful(self._cursor, target, frame, types, relation.plan)
            if refused:
                self._reject_rows(relation, flush, part, refused)
        self._cursor.execute(sql.SQL("analyze {}").format(target))

    def _converted(self, relation: _Relation) -> Generator[tuple[int, Part, Converted]]:
        """Yield converted parts; the next one is read while the present one is copied."""

        def prepare(item: tuple[int, Part]) -> tuple[int, Part, Converted]:
            return item[0], item[1], convert(self._read(relation, *item), relation.plan)

        parts = [item for item in relation.parts if self._delta is None or not self._delta.skips(item[0])]
        for flush, part, converted in read_ahead(map(prepare, parts)):
            self._result.rescued += 0 if relation.plan.child else converted.rescued
            self._misfits.setdefault(relation.plan.child, Counter()).update(converted.misfits)
            self._sanitised.setdefault(relation.plan.child, Counter()).update(converted.sanitised)
            yield flush, part, converted

    def _read(self, relation: _Relation, flush: int, part: Part) -> pl.DataFrame:
        """Return the rows of a part that have to be loaded."""
        landed = self._landing.read(self._manifest, part)
        child = relation.plan.child
        if self._delta is not None:
            landed = self._delta.pick(flush, landed, child)
        if not self._held and not self._frozen[child]:
            return landed
        key = "_root_id" if child else "_id"
        return landed.filter(~landed[key].is_in([*self._held])).drop(self._frozen[child], strict=False)

    def _merge(self, root: _Relation, children: list[_Relation]) -> None:
        cursor, result, stamp = self._cursor, self._result, self._stamp
        track = bool(children) or self._table.history
        merge.create_key_table(cursor, merge.TOUCHED)
        merge.create_key_table(cursor, merge.GONE)
        hard = self._table.hard_deletes
        result.deleted += self._delete_by_op(root, track)
        result.updated = merge.update_rows(cursor, root.name, root.plan, stamp, track)
        if self._delta is None or self._delta.new:
            result.inserted = merge.insert_rows(cursor, root.name, root.plan, stamp, track)
        result.deleted += self._delete_missing(root, track)
        for child in children:
            result.child_rows += merge.replace_children(cursor, child.name, child.stage, child.plan, stamp, hard=hard)
        result.unchanged = self._rows_staged(root) - result.updated - result.inserted
        if self._delta is not None:
            result.unchanged -= len(self._held)
        if self._table.history:
            self._history(root.plan, root.name)

    def _rows_staged(self, root: _Relation) -> int:
        if self._delta is not None:
            return self._delta.keys
        staged = self._cursor.execute(
            sql.SQL("select count(*) from {} where _op is distinct from 'd'").format(sql.Identifier(root.stage))
        ).fetchone()
        return int(staged[0]) if staged else 0

    def _delete_by_op(self, root: _Relation, track: bool) -> int:
        if "_op" not in self._manifest.columns:
            return 0
        condition = sql.SQL("exists (select from {} s where s._id = t._id and s._op = 'd')").format(
            sql.Identifier(root.stage)
        )
        return self._delete(root, condition, track)

    def _delete_missing(self, root: _Relation, track: bool) -> int:
        """Delete what the batch's scope, or its list of ids, says is no longer at the source."""
        deleted = 0
        scope = self._manifest.scope
        if self._days is not None:
            gone = self._days.gone(root.plan)
            if gone is None:
                return 0
            condition = sql.SQL("{} and {}").format(gone, _NOT_HELD)
            return self._delete(root, condition, track, held=self._known_rejected())
        if self._late:
            return 0
        if scope.type == "snapshot":
            held = self._rejected_ids()
            if held is None:
                self._result.warnings.append("a rejected document has no readable _id: no rows were deleted this time")
            else:
                condition = sql.SQL("{} and {}").format(
                    merge.not_in(delta.KEYS if self._delta else root.stage), _NOT_HELD
                )
                deleted += self._delete(root, condition, track, held=held)
        elif isinstance(scope, PartitionScope):
            deleted += self._delete_partition(root, scope, track)
        parts = self._manifest.of_kind("ids")
        if parts:
            merge.create_key_table(self._cursor, merge.IDS)
            for part in parts:
                stage.copy_keys(self._cursor, sql.Identifier(merge.IDS), self._landing.read(self._manifest, part))
            self._cursor.execute(sql.SQL("analyze {}").format(sql.Identifier(merge.IDS)))
            # Rows read at or after the sweep began may be younger than the list.
            condition = sql.SQL("{} and t._extracted_at < %(extracted)s").format(merge.not_in(merge.IDS))
            deleted += self._delete(root, condition, track)
        return deleted

    def _delete_partition(self, root: _Relation, scope: PartitionScope, track: bool) -> int:
        column = root.plan.columns.get(scope.field)
        if column is None or not column.stored:
            self._result.warnings.append(f"partition field {scope.field} has no column: no rows were deleted")
            return 0
        if column.pg_type == "text":
            within = sql.SQL("left({0}, 10) between %(first)s and %(last)s")
            first, last = scope.from_, scope.to
        else:
            within = sql.SQL("{0} >= %(first)s::date and {0} < %(last)s::date")
            first = scope.from_
            last = (datetime.fromisoformat(scope.to) + timedelta(days=1)).date().isoformat()
        fields = [sql.SQL("t.{}").format(sql.Identifier(found.name)) for found in root.plan.of(scope.field)]
        days = sql.SQL(" or ").join(within.format(field) for field in fields)
        condition = sql.SQL("({}) and {} and {}").format(days, merge.not_in(root.stage), _NOT_HELD)
        return self._delete(root, condition, track, first=first, last=last, held=self._known_rejected())

    def _delete(self, root: _Relation, condition: sql.Composable, track: bool, **parameters: Any) -> int:
        return merge.delete_rows(
            self._cursor,
            root.name,
            self._stamp,
            condition,
            hard=self._table.hard_deletes,
            track=track,
            **parameters,
        )

    def _history(self, plan: RelationPlan, name: str) -> None:
        history = self._names()[HISTORY]
        if ddl.exists(self._cursor, history):
            merge.write_history(self._cursor, name, history, plan, self._stamp)
            return
        ddl.create_history(self._cursor, history, plan)
        merge.open_versions(self._cursor, name, history, plan, sql.SQL("t._deleted_at is null"))

    # -- rejects ----------------------------------------------------------------------------------------------

    def _hold_frozen(self) -> None:
        """Make rejects of the documents that `on_drift` wants none of, with what is otherwise in them."""
        for relation in self._relations:
            child = relation.plan.child
            for _, part in relation.parts:
                columns_of = [name for name in self._frozen[child] if name in part.columns]
                if not columns_of:
                    continue
                key = "_root_id" if child else "_id"
                frame = self._landing.read(self._manifest, part, [key, *columns_of])
                for name in columns_of:
                    path, _, kind = name.rpartition("|")
                    reason = f"on_drift is freeze: {relation.plan.field_name(path)} is {kind}"
                    for document in frame.filter(frame[name].is_not_null())[key].unique():
                        self._held.setdefault(document, reason)
        if not self._held:
            return
        for flush, part in self._relations[0].parts:
            landed = self._landing.read(self._manifest, part)
            rows = landed["_id"].is_in([*self._held]).arg_true().to_list()
            refused = [(row, self._held[landed["_id"][row]]) for row in rows]
            children = self._held_children(flush) if refused else {}
            stage.write_refused(self._cursor, self._manifest, ROOT, landed, refused, children)
            self._result.rejected += len(refused)
        self._enforce_limit()

    def _held_children(self, flush: int) -> dict[str, dict[tuple[Any, ...], pl.DataFrame]]:
        """Return the child rows of held documents that were landed with them: nothing else but the landing has them."""
        found = {}
        for relation in self._relations[1:]:
            parts = [self._landing.read(self._manifest, part) for number, part in relation.parts if number == flush]
            held = [frame.filter(pl.col("_root_id").is_in([*self._held])) for frame in parts]
            if held:
                rows = pl.concat(held, how="diagonal")
                found[relation.plan.child] = rows.partition_by("_root_id", as_dict=True)
        return found

    def _rejected_ids(self) -> list[str] | None:
        """Return the ids of rejected documents, which are at the source; None when one is not known."""
        parts = self._manifest.of_kind("rejects")
        keys = [self._landing.read(self._manifest, part)["_id"] for part in parts]
        return None if any(found.null_count() for found in keys) else self._known_rejected()

    def _known_rejected(self) -> list[str]:
        """Return the ids of rejected documents, as far as they are known: a row that was there before stays."""
        parts = self._manifest.of_kind("rejects")
        keys = [self._landing.read(self._manifest, part)["_id"].drop_nulls() for part in parts]
        ids = [key for found in keys for key in stage.normal_keys(found)]
        return ids + rejects.refused_ids(self._cursor, self._key, self._manifest.batch_id)

    def _write_rejects(self) -> None:
        rejects.forget(self._cursor, self._key, [self._manifest.batch_id])
        write_landed_rejects(self._cursor, self._landing, self._manifest)

    def _reject_rows(self, relation: _Relation, flush: int, part: Part, refused: list[tuple[int, str]]) -> None:
        """Keep the rows that Postgres itself refused, as landed."""
        landed = self._read(relation, flush, part)
        stage.write_refused(self._cursor, self._manifest, relation.plan.child, landed, refused)
        self._result.rejected += len(refused)
        self._enforce_limit()

    def _enforce_limit(self) -> None:
        limit = self._table.reject_limit
        if limit is not None and self._result.rejected > limit:
            raise RejectLimitExceeded(
                f"{self._result.rejected} documents were rejected, {limit} are allowed",
                f"{self._result.source}.{self._result.table_name} batch {self._manifest.batch_id}",
                "see `warehouse rejects list`; raise the table's reject_limit and run again; or mend the source, then "
                + self._after_mending(),
            )

    def _after_mending(self) -> str:
        """Return what brings a mended source in: what was landed before stays as it was read, and waits."""
        if self._manifest.mode == "full":
            return "run again"
        return f"`warehouse reset {self._result.source}.{self._result.table_name}`, which drops what was landed"

    # -- rules ------------------------------------------------------------------------------------------------

    def _try_references(self, relations: list[_Relation]) -> None:
        written = references.Written(
            self._key,
            self._manifest.batch_id,
            {relation.plan.child: (relation.name, relation.plan) for relation in relations},
            staged=self._new_tables is None,
        )
        found = references.broken_by(self._cursor, self._table.rules, written)
        self._result.warned = found.documents
        self._result.warnings += found.warnings

    # -- control tables ---------------------------------------------------------------------------------------

    def _write_ops(self, relations: list[_Relation]) -> None:
        # A batch whose row in ops.batches was taken out by hand is loaded once more.
        field_statistics.forget(self._cursor, self._key, [self._manifest.batch_id])
        for relation in relations:
            self._changes += changes_of(relation.plan, self._why_not_stored())
            # As long as the entry is open, what comes again is nothing new.
            self._changes += schema_changes.news(self._cursor, self._key, self._conflicts(relation))
            self._changes += relation.presence.values()
            self._write_columns(relation.plan)
            child = relation.plan.child
            evidence.mark(self._cursor, self._manifest, child, relation.presence)
            rescued = _by_path(self._misfits.get(child)) + relation.plan.refused
            sanitised = _by_path(self._sanitised.get(child))
            evidence.write_statistics(
                self._cursor, self._manifest, child, relation.statistics, relation.rows_read, rescued, sanitised
            )
            if not self._rebuild and not self._late:
                self._changes += evidence.unusual(
                    self._cursor, self._manifest, relation.plan, relation.statistics, relation.rows_read
                )
        if self._days is not None and not self._rebuild:
            self._days.record(relations[0].name, relations[0].plan)
        if not self._rebuild and not self._late:
            self._changes += origin.changes(self._cursor, self._key, self._manifest.origin)
        if not self._rebuild:
            schema_changes.write(self._cursor, self._key, self._manifest.batch_id, self._changes)
        self._result.schema_changes = schema_changes.count(self._cursor, self._key, self._manifest.batch_id)
        self._result.seconds = time.monotonic() - self._started
        self._write_batch()
        self._write_checkpoint()

    def _why_not_stored(self) -> str:
        rescues = self._table.on_drift.may("new", "rescue")
        return "on_drift.new is rescue" if rescues else "the relation has its most columns"

    def _conflicts(self, relation: _Relation) -> list[FieldChange]:
        found = []
        plan = relation.plan
        refused = Counter({(path, plan.columns[path].kind): count for path, count in plan.refused.items()})
        for (path, kind), count in sorted((self._misfits.get(plan.child, Counter()) + refused).items()):
            column = plan.columns[path]
            if not column.stored:
                continue
            name = plan.field_name(path)
            if self._policy("type", plan.child, path) == "fail":
                self._drift_fails(f"{count} values of kind {kind} do not fit {column.pg_type}", [name], "on_drift.type")
            could_widen = kinds.wider(column.kind, kind) or (column.kind, kind) == ("double", "int")
            why = self._narrow.get((plan.child, path)) if could_widen else None
            action = f"{count} values kept in _rescued" + (f": {why}" if why else "")
            found.append(FieldChange(name, "type_conflict", action, column.pg_type, kind, {"values": count}))
        return found

    def _write_batch(self) -> None:
        manifest, result = self._manifest, self._result
        batch = Batch(
            batch_id=manifest.batch_id,
            status=result.status,
            mode=manifest.mode,
            scope=manifest.scope.model_dump(by_alias=True),
            rows_landed=manifest.rows,
            bytes=manifest.bytes,
            window_read=manifest.window,
            previous_checkpoint=manifest.previous_checkpoint,
            fingerprint=manifest.fingerprint,
            plan=result.plan,
            extracted_at=manifest.extracted_at,
            loaded_at=self._stamp.loaded_at,
            seconds=result.seconds,
            flow_run_id=manifest.flow_run_id,
            origin=manifest.origin.model_dump() if manifest.origin else None,
            counts=result.counts,
        )
        batches.write(self._cursor, self._key, batch)

    def _write_checkpoint(self) -> None:
        manifest = self._manifest
        current = stored.read(self._cursor, self._key)
        rewound = current.rewound_at if current else None
        if self._rebuild or self._late:
            return
        reset = resets.find(self._cursor, self._key)
        answers = reset is not None and reset.is_answered_by(manifest.batch_id, manifest.previous_checkpoint)
        replaces = reset is not None and reset.replaces
        if (replaces and not answers) or (not replaces and rewound is not None and manifest.extracted_at < rewound):
            self._result.warnings.append("the checkpoint was set by hand after this batch was read: it stays")
            return
        if answers:
            resets.end(self._cursor, self._key, manifest.batch_id)
        stored.write(
            self._cursor,
            self._key,
            mode=manifest.mode,
            state=manifest.moved(current.state if current else {}),
            batch_id=manifest.batch_id,
            flow_run_id=manifest.flow_run_id,
        )


def _by_path(counted: Counter[tuple[str, str]] | None) -> Counter[str]:
    total: Counter[str] = Counter()
    for (path, _), count in (counted or {}).items():
        total[path] += count
    return total


def write_landed_rejects(cursor: psycopg.Cursor[Any], landing: Landing, manifest: Manifest) -> None:
    """Write the rejects that extract landed."""
    for part in manifest.of_kind("rejects"):
        stage.write_rejects(cursor, manifest, landing.read(manifest, part))


def keep_rejects(connection: psycopg.Connection[Any], landing: Landing, manifest: Manifest) -> None:
    """Write a refused batch's rejects in a transaction of their own: they are what people need to see."""
    with connection.transaction():
        cursor = connection.cursor()
        rejects.forget(cursor, TableKey(manifest.source, manifest.table), [manifest.batch_id])
        write_landed_rejects(cursor, landing, manifest)
