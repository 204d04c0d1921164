"""The report of a pipeline run, from rows of the logging table: as text or Markdown (as HTML: monitoring/pages)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from monitoring.freshness import FIRST_STEP, OWNER, Verdict
from monitoring.log import COUNTS
from monitoring.queries import Incident
from monitoring.taxonomy import CLASSES, action_of, ended, first_line, what_and_action

# More than this many rows of detail are looked up in the logging table, not read in a report.
_SLOWEST = 5
_FAILURES = 50
_CHANGES = 100
_BAD = ("Failed", "Crashed", "TimedOut", "Cancelled", "Cancelling", "Missing", "Lost")
# Characters of an error that the first line holds, and that are kept of it.
_SAID, _KEPT = 160, 2_000
# Kinds of incidents, causes before what follows from them.
_CAUSES = ("failure", "configuration", "freshness", "reconciliation", "anomaly")
# The first line names so many; the rest is in the report.
_NAMED = 3
IDS = 5
"""So many ids of rows are named."""
FIELDS = 3
"""So many fields with rescued values are named."""
FILES = 10_000
"""So many refused files are counted."""
# A change of a table's rows by more than this share against the run before is pointed out.
_NOTABLE = 0.5


@dataclass
class TableLine:
    """One table's figures over all stages of a run; None is unknown, not zero."""

    source: str
    table: str
    counts: dict[str, int | None] = field(default_factory=lambda: dict.fromkeys(COUNTS))
    seconds: float = 0.0
    rows_per_second: float | None = None
    before: int | None = None
    window_from: str | None = None
    window_to: str | None = None
    failed: bool = False

    @property
    def name(self) -> str:
        """`source.table`."""
        return f"{self.source}.{self.table}"


@dataclass(frozen=True)
class Failure:
    """One failure with who acts on it."""

    stage: str
    name: str
    error_class: str
    message: str
    owner: str = ""

    @property
    def who(self) -> str:
        """Who acts: the owner that a model names, else whom the class names."""
        return self.owner or CLASSES.get(self.error_class, CLASSES["code"]).who

    @property
    def action(self) -> str:
        """What to do first: what the error itself says before what its class does."""
        return action_of(self.error_class, self.message)

    @property
    def runbook(self) -> str:
        """Where the further steps are."""
        return CLASSES.get(self.error_class, CLASSES["code"]).runbook


def _urgency(one: Incident) -> tuple[bool, int, datetime]:
    """Sort what is severe first, causes before what follows from them, and the oldest of these."""
    return one.severity != "high", _CAUSES.index(one.kind), one.first_seen


@dataclass(frozen=True)
class Context:
    """What a report says of more than the run's own rows.

    Attributes:
        freshness: The verdict on each table and mart.
        rejected: Ids of the first rejected rows of the run, as `source.table: id`.
        rescued: The fields with the most values of the run that did not fit their column, and what these were.
        refused: Whole files that were refused, as `source.table: reason`.
        notes: What people should know of monitoring itself, such as that nobody is told of failures.
        incidents: What is wrong and not well again.
        owners: Who acts for a model, by its relation, where its project names somebody.
    """

    freshness: Sequence[Verdict] = ()
    rejected: Sequence[str] = ()
    rescued: Sequence[str] = ()
    refused: Sequence[str] = ()
    notes: Sequence[str] = ()
    incidents: Sequence[Incident] = ()
    owners: Mapping[str, str] = field(default_factory=dict)

    @property
    def late_marts(self) -> list[Verdict]:
        """The marts that are not as fresh as promised, or not as fresh as they would be without a failure."""
        order = ("never", "stale", "behind")
        late = [one for one in self.freshness if one.layer == "gold" and one.state in order]
        return sorted(late, key=lambda one: (order.index(one.state), one.relation))


@dataclass
class RunReport:
    """Everything a report shows of one pipeline run."""

    run_id: str
    state: str
    started_at: datetime | None
    seconds: float
    tables: list[TableLine]
    failures: list[Failure]
    models: dict[str, int]
    slowest_models: list[tuple[str, float]]
    schema_changes: list[Mapping[str, Any]]
    previous_seconds: float | None = None
    context: Context = field(default_factory=Context)

    @property
    def headline(self) -> str:
        """What happened and what to do, in one line."""
        if self.is_open:
            began = f" since {self.started_at:%Y-%m-%d %H:%M} UTC" if self.started_at else ""
            return f"Not over: this run is {self.state.lower()}{began}. {self._waiting}".strip()
        changed = sum((line.counts["rows_loaded"] or 0) + (line.counts["rows_deleted"] or 0) for line in self.tables)
        done = [line for line in self.tables if not line.failed]
        happened = (
            f"{len(done)} of {len(self.tables)} table(s) loaded, {changed:,} rows changed in {self.seconds:.0f} s"
        )
        if self.is_well:
            return f"All well: {happened}. Nothing to do{self._look}."
        return " ".join(part for part in (self._what_failed(happened), self._late, self._skipped, self._first) if part)

    @property
    def is_well(self) -> bool:
        """Whether all is loaded, nothing was refused whole, gold is as fresh as promised, and no incident is open."""
        wrong = self.failures or self.context.late_marts or self.context.refused or self.context.incidents
        return not (self.is_open or wrong)

    @property
    def is_open(self) -> bool:
        """Whether the run has not ended."""
        return self.state in ("Running", "Pending", "Scheduled", "Late", "AwaitingRetry", "Retrying", "Paused")

    @property
    def _waiting(self) -> str:
        return f"{self.failures[0].message}. Who acts: {self.failures[0].who}." if self.failures else ""

    def _what_failed(self, happened: str) -> str:
        if self.failures:
            return f"{len(self.failures)} failure(s): {happened}."
        if self.context.refused:
            more = f", {self.context.refused[0]}"
            return f"{len(self.context.refused)} file(s) refused{more}: {happened}."
        if self.context.late_marts:
            return f"Not as fresh as promised: {happened}."
        return f"{len(self.context.incidents)} incident(s) open: {happened}."

    @property
    def _late(self) -> str:
        """Which marts are stale, since when and because of what."""
        late = self.context.late_marts
        if not late:
            return ""
        marts = sum(one.layer == "gold" for one in self.context.freshness)
        named = ", ".join(
            f"{one.relation.partition('.')[2]} "
            + (f"as of {one.as_of:%Y-%m-%d %H:%M}" if one.as_of else "never built")
            + (" (stale)" if one.state == "stale" else "")
            for one in late[:_NAMED]
        )
        more = f" and {len(late) - _NAMED} more" if len(late) > _NAMED else ""
        because = f" because of {first_line(late[0].because, 120)}" if late[0].because and not self.failures else ""
        return f"{len(late)} of {marts} mart(s) not up to date: {named}{more}{because}."

    @property
    def _skipped(self) -> str:
        skipped = self.models.get("Skipped", 0)
        return f"{skipped} node(s) skipped." if skipped else ""

    @property
    def _first(self) -> str:
        if not self.failures and self.context.refused:
            return "Mend the files, or their table in sources.yaml, and run again. See `warehouse rejects list`."
        if not self.failures:
            return self._first_incident
        first = self.failures[0]
        said = first_line(what_and_action(first.message)[0], _SAID)
        return (
            f"First: {first.name} ({first.stage}): {ended(said)} Who acts: {first.who}. "
            f"{first.action} Runbook: {first.runbook}.{self._rows}"
        )

    @property
    def _rows(self) -> str:
        """Which rows were rejected, beside what else is wrong."""
        count = self._rejected
        return f" {count:,} row(s) rejected (`warehouse rejects list`{self._ids})." if count else ""

    @property
    def _rejected(self) -> int:
        return sum(line.counts["rows_rejected"] or 0 for line in self.tables) or len(self.context.rejected)

    @property
    def _ids(self) -> str:
        return f": {', '.join(self.context.rejected[:IDS])}" if self.context.rejected else ""

    @property
    def _first_incident(self) -> str:
        if not self.context.incidents:
            who = next((one.owner for one in self.context.late_marts if one.owner), OWNER)
            return f"Who acts: {who}. {FIRST_STEP} Runbook: docs/runbooks/README.md.{self._rows}"
        first = min(self.context.incidents, key=_urgency)
        taken = f" Taken by {first.acknowledged_by}." if first.acknowledged_by else ""
        said = ended(first_line(what_and_action(first.message)[0], _SAID))
        return (
            f"First: {first.title}: {said} Who acts: {first.owner}.{taken} "
            f"{first.first_step} Runbook: {first.runbook}.{self._rows}"
        )

    @property
    def _look(self) -> str:
        warned = sum(line.counts["rows_warned"] or 0 for line in self.tables)
        rescued = sum(line.counts["rows_rescued"] or 0 for line in self.tables)
        most = f"; most: {self.context.rescued[0]}" if self.context.rescued else ""
        parts = [
            f"{count:,} {what}"
            for count, what in (
                (self._rejected, f"rejected (`warehouse rejects list`{self._ids})"),
                (warned, "loaded although they break a rule (`rules` in sources.yaml)"),
                (rescued, f"rescued (column `_rescued`{most})"),
                (len(self.schema_changes), "schema changes (`warehouse drift`)"),
            )
            if count
        ]
        return f", but look at {', '.join(parts)}" if parts else ""


def build(
    rows: Sequence[Mapping[str, Any]],
    previous: Sequence[Mapping[str, Any]] = (),
    schema_changes: Sequence[Mapping[str, Any]] = (),
    context: Context | None = None,
) -> RunReport:
    """Return the report of the run whose log rows are given.

    Args:
        rows: Rows of monitoring.pipeline_log of one pipeline run.
        previous: Rows of the run before, for comparison.
        schema_changes: Rows of ops.schema_changes of this run that people should see.
        context: What is known beside the run's own rows.
    """
    parent = next((row for row in rows if row.get("stage") == "pipeline"), {})
    before = {line.name: line for line in _table_lines(previous)}
    lines = _table_lines(rows)
    for line in lines:
        earlier_line = before.get(line.name)
        if earlier_line and _is_alike(line, earlier_line):
            line.before = earlier_line.counts["rows_read"]
        line.counts["schema_changes"] = sum(
            (change["source"], change["table_name"]) == (line.source, line.table) for change in schema_changes
        )
    nodes = [row for row in rows if row.get("stage") == "dbt" and row.get("table_name")]
    models: dict[str, int] = {}
    for row in nodes:
        models[str(row["state"])] = models.get(str(row["state"]), 0) + 1
    slowest = sorted(((str(row["table_name"]), float(row.get("seconds") or 0)) for row in nodes), key=_second)
    earlier = next((row for row in previous if row.get("stage") == "pipeline"), {})
    return RunReport(
        run_id=str(parent.get("flow_run_id") or ""),
        state=str(parent.get("state") or "Unknown"),
        started_at=parent.get("started_at"),
        seconds=float(parent.get("seconds") or 0),
        tables=lines,
        failures=_failures(rows, context.owners if context else {}),
        models=models,
        slowest_models=slowest[:_SLOWEST],
        schema_changes=list(schema_changes),
        previous_seconds=float(earlier["seconds"]) if earlier.get("seconds") else None,
        context=context or Context(),
    )


def _is_alike(one: TableLine, other: TableLine) -> bool:
    """Return whether two reads can be compared: both of all, or of about as long a time."""
    if one.window_from is None or other.window_from is None:
        return one.window_from == other.window_from
    lengths = _length(one), _length(other)
    return 0 in lengths or max(lengths) <= 2 * min(lengths)


def _length(line: TableLine) -> float:
    """Return the seconds that a read covers, 0 where its window is none of times."""
    try:
        begin, end = (datetime.fromisoformat(str(text)) for text in (line.window_from, line.window_to))
        return (end - begin).total_seconds()
    except (ValueError, TypeError):
        return 0.0


def _second(pair: tuple[str, float]) -> float:
    return -pair[1]


def _table_lines(rows: Sequence[Mapping[str, Any]]) -> list[TableLine]:
    """Add up stages and ranges: a table's rows are read in one stage and loaded in the next."""
    lines: dict[tuple[str, str], TableLine] = {}
    loaded = {
        (str(row["source"]), str(row["table_name"]))
        for row in rows
        if row.get("stage") == "load" and row.get("table_name") and row.get("rows_rejected") is not None
    }
    for row in rows:
        if row.get("stage") not in ("extract", "load") or not row.get("table_name"):
            continue
        key = (str(row["source"]), str(row["table_name"]))
        line = lines.setdefault(key, TableLine(*key))
        for name in COUNTS:
            # Rows that load saw landed were counted by extract already.
            if row.get(name) is None or (row["stage"] == "load" and name in ("rows_read", "bytes_read", "rows_landed")):
                continue
            # What load says was rejected includes what was rejected on the way.
            if name == "rows_rejected" and row["stage"] == "extract" and key in loaded:
                continue
            line.counts[name] = (line.counts[name] or 0) + int(row[name])
        line.seconds += float(row.get("seconds") or 0)
        line.window_from = line.window_from or row.get("window_from")
        line.window_to = line.window_to or row.get("window_to")
        line.failed = line.failed or row.get("state") in _BAD
    for line in lines.values():
        read = line.counts["rows_read"]
        line.rows_per_second = read / line.seconds if read and line.seconds else None
    return [lines[key] for key in sorted(lines)]


def _failures(rows: Sequence[Mapping[str, Any]], owners: Mapping[str, str]) -> list[Failure]:
    """Return failures, those of tables and nodes first; a run whose tables tell the reason is not repeated."""
    bad = [row for row in rows if row.get("state") in _BAD and row.get("stage") != "pipeline"]
    detailed = [row for row in bad if row.get("table_name")]
    told = {row.get("flow_run_id") for row in detailed}
    whole = [row for row in bad if not row.get("table_name") and row.get("flow_run_id") not in told]
    silent = [row for row in detailed if row.get("state") == "Missing"]
    found = [*_missing(silent), *(_failure(row, owners) for row in (*detailed, *whole) if row not in silent)]
    if not found:
        # A pipeline that does not start has no state that is bad, but a reason.
        found = [
            _failure(row, owners)
            for row in rows
            if row.get("stage") == "pipeline" and (row.get("state") in _BAD or row.get("error_class"))
        ]
    order = list(CLASSES)
    # Causes before consequences: a source that cannot be reached explains more than a test that failed after it.
    stages = {"extract": 0, "load": 1, "dbt": 2}
    return sorted(found, key=lambda item: (stages.get(item.stage, 3), order.index(item.error_class), item.name))


def _missing(rows: Sequence[Mapping[str, Any]]) -> Iterator[Failure]:
    """Yield what kept tables from their end: a killed run is one failure of many tables."""
    groups: dict[Any, list[Failure]] = {}
    for row in rows:
        groups.setdefault(row.get("error_message"), []).append(_failure(row, {}))
    for (first, *_), names in ((group, {one.name for one in group}) for group in groups.values()):
        yield first if len(names) == 1 else replace(first, name=f"{len(names)} tables, such as {min(names)}")


def _failure(row: Mapping[str, Any], owners: Mapping[str, str]) -> Failure:
    name = (
        f"{row['source']}.{row['table_name']}" if row.get("table_name") else str(row.get("flow_name") or row["stage"])
    )
    key = str(row.get("error_class"))
    message = first_line(row.get("error_message"), _KEPT) or f"ended as {row.get('state')}"
    owner = owners.get(name, "") if row["stage"] == "dbt" and key in ("model", "data_quality") else ""
    return Failure(str(row["stage"]), name, key if key in CLASSES else "code", message, owner)


# -- rendering ------------------------------------------------------------------------------------------------------

_COLUMNS = (
    ("read", "rows_read"),
    ("landed", "rows_landed"),
    ("loaded", "rows_loaded"),
    ("unchanged", "rows_unchanged"),
    ("rejected", "rows_rejected"),
    ("warned", "rows_warned"),
    ("rescued", "rows_rescued"),
    ("deleted", "rows_deleted"),
    ("schema changes", "schema_changes"),
)


def table_cells(report: RunReport) -> list[dict[str, Any]]:
    """Return one dict per table, for a table artifact."""
    return [
        {
            "table": line.name,
            "state": "failed" if line.failed else "ok",
            **{title: line.counts[name] for title, name in _COLUMNS},
            "seconds": round(line.seconds, 2),
            "rows per second": round(line.rows_per_second) if line.rows_per_second else None,
            "read before": line.before,
            "change": note(line),
        }
        for line in report.tables
    ]


def note(line: TableLine) -> str:
    """Return what is remarkable about a table against the run before."""
    read = line.counts["rows_read"]
    if line.before is None or read is None:
        return "" if line.before is None else "not read this time"
    if line.before == 0:
        return ""
    change = (read - line.before) / line.before
    return f"{change:+.0%}" if abs(change) > _NOTABLE else ""


def render_markdown(report: RunReport) -> str:
    """Return the report as Markdown; its first line says what happened and what to do."""
    parts = [report.headline, _facts(report), *report.context.notes, *_rescued(report)]
    if report.failures:
        rows = [
            (item.name, item.stage, CLASSES[item.error_class].title, item.who, f"`{_code(item.message)}`")
            for item in report.failures[:_FAILURES]
        ]
        parts += ["## Failures", _markdown_table(("what", "stage", "kind", "who acts", "first error line"), rows)]
    if report.tables:
        cells = table_cells(report)
        parts += ["## Tables", _markdown_table(tuple(cells[0]), [tuple(row.values()) for row in cells])]
    if report.schema_changes:
        parts += [
            "## Schema changes",
            _markdown_table(_CHANGE_TITLES, [_change(row) for row in report.schema_changes[:_CHANGES]]),
        ]
    if report.models:
        counted = ", ".join(f"{count} {state.lower()}" for state, count in sorted(report.models.items()))
        slow = [(name, f"{seconds:.1f}") for name, seconds in report.slowest_models]
        parts += ["## Models and tests", counted, _markdown_table(("slowest", "seconds"), slow)]
    slowest = sorted(report.tables, key=lambda line: -line.seconds)[:_SLOWEST]
    if slowest:
        parts += ["## Slowest tables", _markdown_table(("table", "seconds", "rows per second"), _slow_cells(slowest))]
    return "\n\n".join(parts) + "\n"


def render_text(report: RunReport) -> str:
    """Return the report for a terminal."""
    # Where nothing renders Markdown, backticks are only in the way.
    head = [report.headline, _facts(report), *report.context.notes, *_rescued(report)]
    out = [*(line.replace("`", "") for line in head), ""]
    titles = ("table", *(title for title, _ in _COLUMNS), "seconds", "rows/s")
    body = [
        (
            line.name + (" !" if line.failed else ""),
            *(_cell(line.counts[name]) for _, name in _COLUMNS),
            f"{line.seconds:.1f}",
            _cell(round(line.rows_per_second) if line.rows_per_second else None),
        )
        for line in report.tables
    ]
    widths = [max(len(str(row[index])) for row in (titles, *body)) for index in range(len(titles))]
    for row in (titles, *body) if body else ():
        out.append("  ".join([row[0].ljust(widths[0]), *(row[i].rjust(widths[i]) for i in range(1, len(row)))]))
    out += [f"{item.name} ({item.stage}, {item.error_class}): {item.message}" for item in report.failures[:_FAILURES]]
    return "\n".join(out) + "\n"


def _rescued(report: RunReport) -> list[str]:
    """Name the fields that were rescued most, and the remedy."""
    if not report.context.rescued:
        return []
    remedy = "Give such a field a type in sources.yaml (`types: {age: int}`): what tells the same value is converted."
    return [f"Most rescued: {'; '.join(report.context.rescued)}. {remedy}"]


_CHANGE_TITLES = ("table", "field", "change", "from", "to", "done about it")


def _change(row: Mapping[str, Any]) -> tuple[Any, ...]:
    table = f"{row.get('source')}.{row.get('table_name')}"
    return (table, row.get("field"), row.get("change"), row.get("old_type"), row.get("new_type"), row.get("action"))


def _facts(report: RunReport) -> str:
    started = f"{report.started_at:%Y-%m-%d %H:%M:%S} UTC" if report.started_at else "unknown time"
    against = ""
    if report.previous_seconds:
        against = f", the run before took {report.previous_seconds:.0f} s"
    return f"Run {report.run_id}, started {started}, {report.seconds:.0f} s{against}."


def _slow_cells(lines: Sequence[TableLine]) -> list[tuple[str, str, str]]:
    return [
        (line.name, f"{line.seconds:.1f}", _cell(line.rows_per_second and round(line.rows_per_second)))
        for line in lines
    ]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else str(value)


def _code(text: str) -> str:
    return text.replace("`", "'")


def _markdown_table(titles: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    def line(cells: Sequence[Any]) -> str:
        return "| " + " | ".join(_cell(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    return "\n".join([line(titles), "|" + " --- |" * len(titles), *(line(row) for row in rows)])
