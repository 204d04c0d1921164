"""Loading one landed batch into bronze: rows, schema changes, rejects and checkpoint in one transaction, or nothing.

What a batch means is decided here, and the control tables are told; relations and rows are the destination's. One that
does not share the transaction of the control tables is committed first, and they are told by the next load where this
one was killed in between.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import psycopg
from psycopg import errors, sql

from tasks import checkpoints, database
from tasks.bronze import kinds, outcome
from tasks.bronze.destination import (
    Batch,
    Counted,
    Day,
    Destination,
    Filling,
    Refused,
    Relation,
    ReplacedDays,
    Stamp,
    Written,
)
from tasks.bronze.outcome import LoadResult, Outcome, RelationOutcome
from tasks.bronze.plan import FieldChange, RelationPlan, changes_of, make_plan, widening
from tasks.bronze.postgres.destination import Postgres
from tasks.drift import evidence
from tasks.errors import LoadError, RejectLimitExceeded
from tasks.landing import AccountDaysScope, Landing, Manifest
from tasks.landing.decoder import DOCUMENT
from tasks.ops import TableKey, batches, columns, migrations, pulls, resets, schema_changes
from tasks.ops import relations as named
from tasks.ops.relations import HISTORY, ROOT

if TYPE_CHECKING:
    from tasks.sources import Table

# Replayed rejects form a batch named after theirs, and take their place in the order of batches.
REPLAY = re.compile(r"-r\d+$")
TABLE_LOCK_WAIT = "60s"
"""How long a load waits for another one of the same table."""
_ROW_LOCK_WAIT = "60s"
# A loader that was frozen (a paused pod) gives its lock back after this time.
_IDLE_LIMIT = "15min"
_ATTEMPTS = 4
RefusedWidenings: TypeAlias = dict[tuple[str, str], str]
"""By (child, path) why a column cannot be widened: its values go to a variant of it, or are rescued."""
OpenDestination: TypeAlias = "Callable[[psycopg.Cursor[Any]], Destination]"
"""Gives a destination to work with while the control tables are told by a cursor."""
_RETRIED = (errors.DeadlockDetected, errors.SerializationFailure)


def load_batch(
    connection_url: str,
    landing: Landing,
    manifest: Manifest,
    table: Table,
    open_destination: OpenDestination = Postgres,
) -> LoadResult:
    """Load one batch; loading it again is a no-op that says so.

    Deadlocks, serialization failures and lost connections are tried again with a new connection. When the connection
    is lost during the commit itself, the next attempt finds out in `ops.batches` whether it went through.

    Args:
        connection_url: Postgres URL.
        landing: Where the batch is.
        manifest: The batch.
        table: The table's configuration.
        open_destination: Where its rows go.

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
                return load_with(connection, landing, manifest, table, open_destination)
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


def load_with(
    connection: psycopg.Connection[Any],
    landing: Landing,
    manifest: Manifest,
    table: Table,
    open_destination: OpenDestination = Postgres,
) -> LoadResult:
    """Load one batch over an open connection, its rows in one transaction; see `load_batch` and `prepared`."""
    with prepared(connection, landing, manifest, table, open_destination) as loader:
        return loader.replace() if loader.replaces() else loader.write()


@contextmanager
def prepared(
    connection: psycopg.Connection[Any],
    landing: Landing,
    manifest: Manifest,
    table: Table,
    open_destination: OpenDestination,
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
                cursor = connection.cursor()
                loader = Loader(cursor, open_destination(cursor), landing, manifest, table, refused=refused)
                if loader.prepare():
                    yield loader
                    return
    except RejectLimitExceeded:
        keep_rejects(connection, landing, manifest)
        raise


def load_within(
    cursor: psycopg.Cursor[Any],
    destination: Destination,
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
        destination: Where the relations are.
        landing: Where the batch is.
        manifest: The batch.
        table: The table's configuration.
        targets: By child the relations to write.
        rebuild: See `Loader`.
    """
    refused: RefusedWidenings = {}
    while True:
        loader = Loader(
            cursor, destination, landing, manifest, table, rebuild=rebuild, refused=refused, targets=targets
        )
        if loader.prepare():
            return loader.write()


def holds_all(older: Manifest, previous_checkpoint: Mapping[str, Any] | None, mode: str) -> bool:
    """Return whether a newer batch, told by where its read began and how it read, makes an older one needless.

    Both were read from the same position, so the newer read holds what the older did, and later values.
    """
    if isinstance(older.scope, AccountDaysScope):
        # The newer one may have read other accounts, as some could not be read.
        return False
    return previous_checkpoint == older.previous_checkpoint or mode == "full"


def stamp(cursor: psycopg.Cursor[Any], batch_id: str, extracted_at: datetime) -> Stamp:
    """Return a batch's stamp; taken under the table's lock, by the clock of the control tables."""
    [[now]] = cursor.execute("select clock_timestamp()").fetchall()
    return Stamp(batch_id, extracted_at, now)


def reconcile(cursor: psycopg.Cursor[Any], destination: Destination, landing: Landing, key: TableKey) -> bool:
    """Tell the control tables of the batch that was committed last, if they were not; return whether that was so.

    Args:
        cursor: In a transaction that holds the table's lock.
        destination: Where the batch is.
        landing: Where it is landed still: nothing is removed before it is recorded.
        key: The table.
    """
    done = destination.committed_batch(key)
    if done is None or batches.find(cursor, key, done.result.batch_id) is not None:
        return False
    outcome.record(cursor, landing, landing.manifest(*key, done.result.batch_id), done)
    return True


def take_lock(cursor: psycopg.Cursor[Any], source: str, table_name: str) -> None:
    """Take the table's advisory lock for this transaction, whatever the orchestrator thinks of who runs.

    Raises:
        LoadError: Another load of the table did not end in time.
    """
    cursor.execute(sql.SQL("set local lock_timeout = {}").format(sql.Literal(TABLE_LOCK_WAIT)))
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
class _Relation(Relation):
    """One relation of the batch, with what extract counted of its fields and which of these vanished or came back."""

    statistics: dict[str, Any]
    rows_read: int
    presence: dict[str, FieldChange]


class Loader:
    """The load of one batch, in two phases: `prepare` makes names and columns final, `write` writes by that plan.

    Names, and columns of relations that exist, are committed apart from the rows: so `prepare` does one step at a time
    and says whether there was none left to do. If there was, the caller commits, and begins anew with another loader,
    whoever came between; if not, it calls `write` in the same transaction.

    Args:
        cursor: In a transaction, for the control tables.
        destination: Where rows go.
        landing: Where the batch is.
        manifest: The batch.
        table: The table's configuration.
        rebuild: Whether the batch was loaded before: checkpoint, ledger and what extract rejected stay as they are.
        refused: Widenings that the destination refused; it grows.
        filled: New relations that were filled from the batch while it grew, in the same transaction.
        targets: By child the relations to write, where they are not those that readers see.
    """

    def __init__(
        self,
        cursor: psycopg.Cursor[Any],
        destination: Destination,
        landing: Landing,
        manifest: Manifest,
        table: Table,
        *,
        rebuild: bool = False,
        refused: RefusedWidenings | None = None,
        filled: Filling | None = None,
        targets: Mapping[str, str] | None = None,
    ) -> None:
        self._cursor = cursor
        self._destination = destination
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
        self._filled = filled
        self._targets = targets
        self._key = TableKey(manifest.source, manifest.table)
        self._result = LoadResult(
            manifest.source, manifest.table, manifest.batch_id, rows_landed=manifest.rows, window=dict(manifest.window)
        )
        self._changes: list[FieldChange] = []
        # By child the landed columns that `on_drift` wants none of, and by document that has one the reason.
        self._frozen: dict[str, list[str]] = {}
        self._held: dict[str, str] = {}
        self._rows_refused: list[Refused] = []
        self._started = time.monotonic()
        self._stamp = Stamp(manifest.batch_id, manifest.extracted_at, datetime.now(UTC))

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
        if self._reconcile():
            return False
        if not self._replay and self._superseded():
            return True
        wanted = [ROOT, *self._manifest.children]
        if self._table.history:
            wanted.append(HISTORY)
        if named.add(self._cursor, self._key, wanted):
            return False
        if self._filled is not None:
            self._stamp = self._filled.stamp
        else:
            self._stamp = stamp(self._cursor, self._manifest.batch_id, self._manifest.extracted_at)
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
            outcome.record_batch(self._cursor, self._manifest, self._result, self._stamp.loaded_at)
            return self._result
        self._hold_frozen()
        batch = self._batch()
        done = self._outcome(batch, self._destination.write(batch))
        self._destination.commit(self._key, done)
        return outcome.record(self._cursor, self._landing, self._manifest, done)

    def replaces(self) -> bool:
        """Return whether a reset waits for the batch, to put it in the place of what is there."""
        # A replay holds rejects alone, and an older batch than one that is loaded is not the newest read.
        if self._result.status != "loaded" or self._late:
            return False
        reset = resets.find(self._cursor, self._key)
        if reset is None or not reset.replaces:
            return False
        answers = reset.is_answered_by(self._manifest.batch_id, self._manifest.previous_checkpoint)
        return answers and self._relations[0].exists

    def replace(self) -> LoadResult:
        """Write the rows in the place of all that are there."""

        def load(targets: Mapping[str, str]) -> LoadResult:
            return load_within(self._cursor, self._destination, self._landing, self._manifest, self._table, targets)

        return self._destination.replace(self._manifest, self._names(), self._table.history, load)

    def confirm(self) -> str | None:
        """Return why what was written while the batch grew is not what the whole batch asks for; None when it is.

        Between `prepare` and `write`, and for such a load alone.
        """
        assert self._filled is not None  # noqa: S101  narrows the type
        if any(self._frozen.values()):
            return "documents have to be held back"
        if "_op" in self._manifest.columns:
            return "it may delete rows"
        parts = [part for relation in self._relations for _, part in relation.parts]
        return self._filled.confirm([relation.plan for relation in self._relations], parts)

    def _reconcile(self) -> bool:
        """Tell the control tables what was committed and they were not told of; return whether there was any.

        A loader that was killed in between has left that: a batch, or a column that is wider than the name map says. (A
        column that the name map does not have was not written to: whoever needs it adds it again.)
        """
        if self._destination.capabilities.shares_ops_transaction:
            return False
        return reconcile(self._cursor, self._destination, self._landing, self._key) or self._reconcile_columns()

    def _reconcile_columns(self) -> bool:
        types = self._destination.capabilities.types
        changes: list[FieldChange] = []
        for child, name in named.of_table(self._cursor, self._key).items():
            there = self._destination.schema_of(name) or {}
            for column in columns.of_relation(self._cursor, self._key, child) if child != HISTORY else ():
                found = there.get(column.name, types[column.kind].name)
                wider = [kind for kind in kinds.wider_than(column.kind) if types[kind].name == found]
                if found != types[column.kind].name and wider:
                    new = replace(column, kind=wider[0])
                    columns.retype(self._cursor, self._key, child, [new])
                    changes.append(widening(RelationPlan(child, {}), column, new))
        schema_changes.write(self._cursor, self._key, self._manifest.batch_id, changes)
        return bool(changes)

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
        landed = {ROOT: self._manifest.columns}
        landed |= {path: child.columns for path, child in sorted(self._manifest.children.items())}
        return [self._relation(child, found) for child, found in landed.items()]

    def _relation(self, child: str, landed: list[str]) -> _Relation:
        fields, rows_read = evidence.counted(self._manifest, child)
        name = self._names()[child]
        written = self._filled is not None and child in self._filled
        exists = not written and self._destination.schema_of(name) is not None
        known = columns.of_relation(self._cursor, self._key, child, self._manifest.batch_id)
        found = kinds.landed_kinds(landed)
        new = {path: self._policy("new", child, path) for path in found} if exists else {}
        for column in known:
            new.pop(column.path, None)
        frozen = [f"{path}|{kind}" for path, said in new.items() if said == "freeze" for kind in found[path]]
        plan = make_plan(
            child,
            known,
            [column for column in landed if column not in frozen],
            {path: statistics["types"] for path, statistics in fields.items()},
            declared=self._table.declared_in(child),
            beyond_double=self._beyond_double(child, landed),
            not_stored={path for path, said in new.items() if said != "add"},
            capabilities=self._destination.capabilities,
        )
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
        return _Relation(plan, name, exists, self._manifest.row_parts(child), fields, rows_read, presence)

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
        return [name, history] if history and self._destination.schema_of(history) is not None else [name]

    def _check_widening(self, names: list[str], plan: RelationPlan) -> None:
        """Take back the widenings that are known not to be possible, before anything is staged under the new type."""
        for path, old in list(plan.widened.items()):
            new = plan.columns[path]
            reason = self._narrow.get((plan.child, path)) or self._destination.why_not_widen(names, old, new)
            if reason is None and self._destination.holds_inexact(names, old, new):
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
        outcome.record_columns(self._cursor, self._manifest, _columns_of(relation.plan))
        self._changes += changes_of(relation.plan, self._why_not_stored())
        # News even in a rebuild, whose batches the name map knows but for what could not be done when they were loaded.
        schema_changes.write(self._cursor, self._key, self._manifest.batch_id, self._changes)

    def _try_to_convert(self, relations: list[_Relation]) -> None:
        """Convert all rows for nothing but what does not fit, which must fail before any column is changed."""
        misfits = self._destination.misfits(self._batch())
        for relation in relations:
            self._conflicts(relation, misfits)

    def _apply_ddl(self, relation: _Relation) -> bool:
        """Change a relation's columns; return False where that was refused, which the next attempt plans with."""
        plan, names = relation.plan, self._alike(relation.plan.child, relation.name)
        widened = next(((old, plan.columns[path]) for path, old in plan.widened.items()), None)
        added = [column for column in plan.new if column.stored]
        reason = self._destination.change_columns(names, added, widened)
        if widened and reason:
            self._refused[plan.child, widened[0].path] = reason
            return False
        return True

    # -- rows -------------------------------------------------------------------------------------------------

    def _batch(self) -> Batch:
        return Batch(
            landing=self._landing,
            manifest=self._manifest,
            relations=self._relations,
            stamp=self._stamp,
            history=self._names()[HISTORY] if self._table.history else None,
            hard_deletes=self._table.hard_deletes,
            late=self._late,
            days=self._days(),
            rebuild=self._rebuild,
            rules=self._table.rules,
            pairs=evidence.rename_pairs(self._relations[0].plan),
            frozen=self._frozen,
            held=self._held,
            filled=self._filled,
            refuse=self._refuse,
            refused=self._rows_refused,
        )

    def _days(self) -> ReplacedDays | None:
        """Return the days that a batch of days replaces: what a later pull holds of them is left to that."""
        scope = self._manifest.scope
        if not isinstance(scope, AccountDaysScope):
            return None
        late = self._late and not self._rebuild
        later = pulls.after(self._cursor, self._key, self._manifest.extracted_at) if late else set()
        days = _days_of(scope)
        kept = [day for day in days if (day.account, day.day) not in later]
        return ReplacedDays(scope.account, scope.day, kept, len(days) - len(kept))

    def _refuse(self, rows: Sequence[Refused]) -> None:
        self._rows_refused += rows
        self._result.rejected += len(rows)
        self._enforce_limit()

    # -- rejects ----------------------------------------------------------------------------------------------

    def _hold_frozen(self) -> None:
        """Hold back the documents that `on_drift` wants none of, with what is otherwise in them."""
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
        for _, part in self._relations[0].parts:
            keys = self._landing.read(self._manifest, part, ["_id"])["_id"]
            self._result.rejected += int(keys.is_in([*self._held]).sum())
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

    # -- what was done ----------------------------------------------------------------------------------------

    def _outcome(self, batch: Batch, written: Written) -> Outcome:
        """Return what the control tables are to be told."""
        result = self._result
        result.plan = written.how
        result.inserted, result.updated, result.unchanged = written.inserted, written.updated, written.unchanged
        result.deleted, result.child_rows, result.rescued = written.deleted, written.child_rows, written.rescued
        result.warned = written.warned
        result.warnings += written.warnings + self._not_tried()
        root = self._relations[0]
        self._changes += evidence.renames(root.plan, batch.pairs, written.compared)
        found = [self._relation_outcome(relation, written) for relation in self._relations]
        result.seconds = time.monotonic() - self._started
        return Outcome(
            result,
            self._stamp.loaded_at,
            self._late,
            self._rebuild,
            found,
            self._changes,
            self._held,
            self._rows_refused,
            list(written.days),
        )

    def _not_tried(self) -> list[str]:
        titles = [repr(rule.title) for rule in self._table.rules if rule.reference]
        if not titles or self._destination.capabilities.tries_references:
            return []
        return [f"the destination compares no tables: not tried: {', '.join(titles)}"]

    def _relation_outcome(self, relation: _Relation, written: Written) -> RelationOutcome:
        plan = relation.plan
        self._changes += changes_of(plan, self._why_not_stored())
        # As long as the entry is open, what comes again is nothing new.
        conflicts = self._conflicts(relation, written.misfits)
        self._changes += schema_changes.news(self._cursor, self._key, conflicts)
        self._changes += relation.presence.values()
        return replace(
            _columns_of(plan),
            vanished={path: change.change == "vanished" for path, change in relation.presence.items()},
            rescued=outcome.by_path(written.misfits.get(plan.child)) + plan.refused,
            sanitised=outcome.by_path(written.sanitised.get(plan.child)),
        )

    def _why_not_stored(self) -> str:
        rescues = self._table.on_drift.may("new", "rescue")
        return "on_drift.new is rescue" if rescues else "the relation has its most columns"

    def _conflicts(self, relation: _Relation, misfits: Counted) -> list[FieldChange]:
        found = []
        plan = relation.plan
        refused = Counter({(path, plan.columns[path].kind): count for path, count in plan.refused.items()})
        for (path, kind), count in sorted((misfits.get(plan.child, Counter()) + refused).items()):
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


def _columns_of(plan: RelationPlan) -> RelationOutcome:
    """Return what a plan means for the name map."""
    return RelationOutcome(plan.child, plan.new, [plan.columns[path] for path in plan.retyped])


def _days_of(scope: AccountDaysScope) -> list[Day]:
    """Return all days of a scope; one without a day for an account whose rows are replaced whole."""
    found: list[Day] = []
    for part in scope.parts:
        if part.from_ is None or part.to is None:
            found.append(Day(part.account, None, final=False))
            continue
        first, last = date.fromisoformat(part.from_), date.fromisoformat(part.to)
        final_to = date.fromisoformat(part.final_to) if part.final_to else date.min
        days = (first + timedelta(days=number) for number in range((last - first).days + 1))
        found += [Day(part.account, day, final=day <= final_to) for day in days]
    return found


def keep_rejects(connection: psycopg.Connection[Any], landing: Landing, manifest: Manifest) -> None:
    """Write a refused batch's rejects in a transaction of their own: they are what people need to see."""
    with connection.transaction():
        outcome.record_landed_rejects(connection.cursor(), landing, manifest)
