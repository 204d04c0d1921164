"""Runs that a person starts from the command line: the pipeline with progress, its plan, its report."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.errors import ConfigError, WarehouseError, WarehouseUnreachable

if TYPE_CHECKING:
    from flows.plans import How
    from monitoring.pages.html import Links
    from monitoring.report import RunReport
    from tasks.settings import Settings
    from tasks.sources import Sources, TableRef


# What Prefect and the steps import when they first need it; it is there by then, as the server takes longer to start.
_USED = (
    *("prefect.flow_engine", "prefect.task_engine", "fastapi.encoders"),
    *("flows.pipeline", "tasks.bronze.pending", "tasks.checkpoint_block", "tasks.dbt", "tasks.extract"),
)
# Requests of a table that a plan prints; a year of days makes hundreds.
_SHOWN_REQUESTS = 20


@dataclass(frozen=True)
class RunOutcome:
    """How a pipeline run ended.

    Attributes:
        ok: Whether every table and model succeeded.
        message: What the final state says.
        flow_run_id: Prefect's id of the pipeline run; empty when it did not come to one.
    """

    ok: bool
    message: str
    flow_run_id: str


def check_configuration(settings: Settings, names: Sequence[str], how: How, *, models: bool) -> None:
    """Fail before any server is started when sources.yaml, a name, the days or the dbt project's folder is wrong.

    Args:
        settings: Where the configuration is.
        names: `source.table` or `source`; none means every table.
        how: What of them.
        models: Whether models are to be built.

    Raises:
        ConfigError: With every mistake.
    """
    from flows import plans
    from infra.embedded import services
    from tasks.sources import load_sources

    sources = load_sources(settings.sources, services.foreseen(settings.home))
    plans.window(sources, plans.expand(sources, list(names) or None), how)
    if models and settings.dbt:
        # Imported here: it is part of what is imported while the servers start.
        from tasks.dbt.project import Project

        Project.of(settings)


def run_pipeline(
    names: Sequence[str],
    how: How,
    *,
    models: bool,
    progress: Callable[[str], None],
    ready: Callable[[], None] = lambda: None,
) -> RunOutcome:
    """Run the pipeline in this process (its steps as the setting `execution` says).

    Args:
        names: `source.table` or `source`; none means every table.
        how: What of them.
        models: Build the dbt models of what was loaded.
        progress: Told when the run begins.
        ready: Waits until the Prefect server answers; called once Prefect is imported, which takes as long.
    """
    _load_prefect(progress)
    from flows.console import options
    from flows.pipeline import pipeline
    from flows.progress import shown
    from tasks.landing import decoder
    from tasks.settings import get_settings

    ready()
    if not decoder.native_available():
        progress(f"decoder: {decoder.SLOW}; {decoder.INSTALL}")
    progress(f"running the pipeline: {', '.join(names) or 'every table'}")
    with heartbeat(get_settings().home), shown(progress, tracebacks=options.debug):
        state: Any = pipeline(tables=list(names) or None, models=models, **how.parameters(), return_state=True)
    _send_the_rest()
    run_id = str(state.state_details.flow_run_id)
    return RunOutcome(state.is_completed(), state.message or state.name or "", run_id)


def heartbeat(home: Path) -> contextlib.AbstractContextManager[object]:
    """Return a context without a heartbeat where none is needed: at the embedded server.

    Prefect waits up to a second for its thread to end. All runs of the embedded server are processes of this machine,
    and whether these are alive each look of monitoring finds out by itself.

    Args:
        home: Where the embedded server lives.
    """
    from flows.launch import quiet_heartbeat
    from infra.embedded import services

    return contextlib.nullcontext() if services.configured("prefect", home) else quiet_heartbeat()


def _send_the_rest() -> None:
    """Send what Prefect still holds of logs and events: once its server is stopped it would try for a minute."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (APILogWorker, EventsWorker):
        worker.drain_all(timeout=5)


def _load_prefect(progress: Callable[[str], None]) -> None:
    """Import what a run needs, its steps included: they would be imported one by one while it runs."""
    from flows.console import options
    from flows.progress import hide_log

    progress("loading Prefect")
    if not options.verbose:
        hide_log()
    from flows.launch import FLOWS, load_flow
    from tasks.imports import uncollected

    with uncollected():
        for name in FLOWS:
            load_flow(name)
        for name in _USED:
            import_module(name)


def run_reset(
    settings: Settings,
    name: str,
    since: str | None,
    *,
    by: str,
    why: str,
    progress: Callable[[str], None],
    ready: Callable[[], None] = lambda: None,
) -> RunOutcome:
    """Reset one table in this process and run the pipeline for it.

    Args:
        settings: Where the warehouse is.
        name: `source.table`.
        since: Time to read from, ISO 8601; None reads everything.
        by: Who asks for it.
        why: Their reason.
        progress: Told when the run begins.
        ready: Waits until the Prefect server answers; called once Prefect is imported, which takes as long.
    """
    _load_prefect(progress)
    from flows.console import options
    from flows.progress import shown
    from flows.reset import reset

    ready()
    before = read_report(settings)
    progress(f"resetting {name}")
    with heartbeat(settings.home), shown(progress, tracebacks=options.debug):
        state: Any = reset(name, since, by=by, why=why, return_state=True)
    _send_the_rest()
    # The report is that of the pipeline, which the reset runs last, or not at all when it fails itself.
    after = read_report(settings)
    run_id = after.run_id if after and (before is None or after.run_id != before.run_id) else ""
    return RunOutcome(state.is_completed(), state.message or state.name or "", run_id)


def print_reset_plan(settings: Settings, ref: TableRef, since: str | None) -> None:
    """Print what a reset would do and how much it would read; nothing is changed."""
    from flows.console import say
    from tasks import dbt
    from tasks.bronze.reset import plan_reset

    plan = plan_reset(ref, settings, since)
    size = "an unknown number of rows" if plan.estimate is None else f"about {plan.estimate:,} rows at most"
    if plan.resumed:
        say(f"{ref.name}: this reset is under way, and goes on")
    say(f"reads {size}, from {since or 'the beginning'}")
    if plan.replaces:
        say(f"puts them in the place of the {plan.live:,} live rows at once, which are readable until then")
    else:
        say(f"merges them into the {plan.live:,} live rows; what is not read again stays")
    for batch_id in () if plan.resumed else plan.waiting:
        say(f"removes batch {batch_id}, which is landed and not loaded")
    above = dbt.models_above(settings, ref)
    told = "a number of models that is known once dbt has parsed the project" if above is None else ", ".join(above)
    say(f"rebuilds above it{', incremental ones from nothing' if plan.replaces else ''}: {told or 'no model'}")
    say("nothing was changed")


def print_plan(settings: Settings, names: Sequence[str], how: How) -> None:
    """Print what a run would read, in which groups, and from where; nothing is read."""
    from flows import plans, views
    from flows.console import say, table
    from tasks.sources import load_sources

    sources = load_sources(settings.sources)
    units = plans.make(settings, sources, plans.expand(sources, list(names) or None), how.full)
    known = {row[0]: row[2] for row in views.checkpoints(settings.database_url(), [], sources)}
    lines = []
    for unit in units:
        for group in unit.extracts:
            for target in group.targets:
                ref = sources.table(target.split("#")[0])
                begin = known.get(ref.name, "from the beginning")
                mode = ref.connector.mode(ref)
                start = "from the beginning" if how.full or mode == "full" else begin
                if how.from_day:
                    start = f"{how.from_day} to {how.to_day} again"
                lines.append((target, mode, group.name, group.resources, start))
    table(("table", "mode", "group", "class", "would be read from"), lines)
    _print_requests(settings, sources, [sources.table(target.split("#")[0]) for target, *_ in lines], how)
    say(f"{len(lines)} read(s) in {len(units)} group(s); nothing was read")


def _print_requests(settings: Settings, sources: Sources, refs: Sequence[TableRef], how: How) -> None:
    """Print the requests of tables whose kind can tell them before the first is sent."""
    from itertools import islice

    from flows import plans, views
    from flows.console import say
    from tasks.ops import checkpoints
    from tasks.sources.file import hide_variables

    for ref in refs:
        with views.opened(settings.database_url()) as connection:
            known = checkpoints.read(connection, ref.key)
        state = known.state if known and not how.full else {}
        requests = ref.connector.requests(ref, state, plans.window(sources, [ref.name], how))
        for line in islice(requests, _SHOWN_REQUESTS):
            say(f"{ref.name}: {hide_variables(line, settings.sources)}")
        more = sum(1 for _ in requests)
        if more:
            say(f"{ref.name}: ... and {more:,} more")


def print_outcome(settings: Settings, outcome: RunOutcome, *, models: bool = True) -> bool:
    """Print the run's report, and where to read more; return whether nothing is missing: no step, table or file.

    Args:
        settings: Where the warehouse is.
        outcome: How the run ended.
        models: Say which of the tables no model reads.
    """
    from flows.console import say
    from monitoring.report import render_text

    found = read_report(settings, outcome.flow_run_id) if outcome.flow_run_id else None
    say()
    if found:
        say(render_text(found).rstrip())
    if found and models and outcome.ok:
        _print_unread(settings, [line.name for line in found.tables if not line.failed])
    if not outcome.ok:
        say("the run failed" if found and found.failures else f"the run failed: {outcome.message}")
        say("to do: see `warehouse report` for all of it, and docs/runbooks/README.md")
    return outcome.ok and not (found and found.context.refused)


def _print_unread(settings: Settings, loaded: Sequence[str]) -> None:
    """Say which tables no model reads, and how to write one: they end in bronze."""
    from flows.console import say
    from tasks import dbt
    from tasks.sources import load_sources

    refs = [ref for ref in load_sources(settings.sources).refs() if ref.name in loaded]
    read = dbt.feeding(settings, refs)
    unread = [ref.name for ref in refs if ref.name not in read]
    if unread:
        say(f"{len(unread)} of {len(refs)} table(s) are read by no model, such as {unread[0]}")
        say(f"to do: `warehouse model new {unread[0]}` writes one into your dbt project, see dbt/README.md")


def read_report(settings: Settings, flow_run_id: str = "") -> RunReport | None:
    """Return the report of a run, of the last one when the id is empty; None when the log table does not know it."""
    from monitoring import log, read
    from tasks.database import connect
    from tasks.ops.migrations import migrate

    with connect(settings.database_url(), autocommit=True) as connection:
        migrate(connection)
        run_id = flow_run_id or log.latest_run(connection)
        return read.build_report(connection, run_id) if run_id else None


def refresh_log(settings: Settings) -> None:
    """Write into the log what runs could not write themselves, so that the last run is the last; where Prefect answers.

    Raises:
        WarehouseUnreachable: The warehouse did not answer.
    """
    from monitoring import unseen
    from tasks.database import connect
    from tasks.ops.migrations import migrate

    with connect(settings.database_url(), autocommit=True) as connection:
        migrate(connection)
        if not _prefect_is_known(settings) or not unseen.any_runs(connection, os.environ.get("PREFECT_API_URL", "")):
            return
        import httpx

        from monitoring import history

        # Without Prefect the log tells what it knows.
        with contextlib.suppress(httpx.TransportError), history.prefect_client() as client:
            history.look(client, connection)


def _prefect_is_known(settings: Settings) -> bool:
    from infra.embedded import services

    services.use(settings.home)
    return services.prefect_is_known(settings.home)


def _from_prefect(settings: Settings, flow_run_id: str, unreachable: WarehouseError) -> RunReport:
    """Return the report of a run from Prefect's history, for when the warehouse is gone.

    Raises:
        WarehouseError: Neither the warehouse nor Prefect answers, or Prefect knows no run.
    """
    import httpx

    from monitoring import report

    if not _prefect_is_known(settings):
        raise unreachable
    from monitoring import history

    try:
        with history.prefect_client() as client:
            run_id = flow_run_id or history.last_pipeline(client)
            rows = history.collect(client, run_id, None) if run_id else []
    except httpx.TransportError:
        raise unreachable from None
    if not rows:
        raise unreachable
    said = f"The warehouse is not reachable, so this is what Prefect knows. {unreachable.what}"
    return report.build(rows, context=report.Context(notes=[said]))


MODEL_DOCS = "models.html"
"""Name of the file with the documentation of silver and gold."""


def write_report(settings: Settings, flow_run_id: str, path: Path) -> Path:
    """Write the report of a run, of the last one when the id is empty, and of the last days as one HTML file.

    Raises:
        ConfigError: No such run is logged.
    """
    from monitoring.pages import html
    from tasks.database import connect

    try:
        refresh_log(settings)
        found = read_report(settings, flow_run_id)
        if found is None:
            raise ConfigError(
                "no run is logged", "monitoring.pipeline_log", "run `warehouse run` first, or check the id"
            )
        with connect(settings.database_url(), autocommit=True) as connection:
            results = html.recent(connection)
    except WarehouseUnreachable as unreachable:
        found, results = _from_prefect(settings, flow_run_id, unreachable), []
    path.write_text(html.render(found, results, _links(settings, found, path)), encoding="utf-8")
    return path.resolve()


def _links(settings: Settings, found: RunReport, path: Path) -> Links:
    """Return what the report points to: the run at Prefect, dashboard, runbooks, and the models' documentation.

    The latter is where `make docs` writes it, or beside the report.
    """
    from monitoring.pages.html import Links

    prefect = os.environ.get("PREFECT_UI_URL") or os.environ.get("PREFECT_API_URL", "").removesuffix("/api")
    run = f"{prefect.rstrip('/')}/runs/flow-run/{found.run_id}" if prefect and found.run_id else ""
    made = next((folder for folder in (path.parent, settings.home) if (folder / MODEL_DOCS).exists()), None)
    models = "" if made is None else MODEL_DOCS if made == path.parent else (made / MODEL_DOCS).resolve().as_uri()
    return Links(run, models, settings.docs_url or _own_docs(), settings.dashboard_url or "")


def _own_docs() -> str:
    """Return the address of the documentation of this checkout; empty where the product is installed without it."""
    root = Path(__file__).resolve().parents[1]
    site = root / "dist" / "site"
    if (site / "index.html").exists():
        return site.as_uri()
    return root.as_uri() if (root / "docs").is_dir() else ""
