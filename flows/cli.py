"""The command `warehouse`: every import that costs time is made inside the command that needs it."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from flows import connector_commands, dbt_commands, drift_commands, monitoring_commands, reference, source_commands
from flows.commands import Commands, sources_of, tables_of
from tasks.errors import ConfigError, WarehouseError, redact

if TYPE_CHECKING:
    from tasks.settings import Settings
    from tasks.sources import Sources, TableRef

DONE, FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130

app = typer.Typer(
    name="warehouse",
    cls=Commands,
    help="Sales & Marketing warehouse: MongoDB and marketing channels into Postgres, exactly. TABLE is source.table.",
    epilog="Every command also takes --json (its tables as JSON on stdout), --quiet (no progress), --verbose "
    "(Prefect's log) and --debug (the traceback of an error). `warehouse COMMAND --help` shows examples.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
checkpoint_app = typer.Typer(help="Show and set where each table's next run starts.", no_args_is_help=True)
rejects_app = typer.Typer(help="Documents and rows that could not be loaded.", no_args_is_help=True)
app.add_typer(checkpoint_app, name="checkpoint")
app.add_typer(rejects_app, name="rejects")
monitoring_commands.register(app)
drift_commands.register(app)
connector_commands.register(app)

Table = Annotated[str, typer.Argument(metavar="TABLE", help="source.table", autocompletion=tables_of)]
Tables = Annotated[
    list[str] | None, typer.Argument(metavar="TABLE", help="source.table; none means all", autocompletion=tables_of)
]
_DAY = ["%Y-%m-%d"]
FROM = typer.Option("--from", formats=_DAY, metavar="DAY", help="First of the days to read again, with --to.")
TO = typer.Option("--to", formats=_DAY, metavar="DAY", help="Last of the days to read again.")
Keep = Annotated[bool, typer.Option("--keep", help="Leave the embedded Prefect server running.")]


def main() -> None:
    """Run the command and exit: 0 done, 1 the work failed, 2 wrong use."""
    from flows.console import options, take_options

    arguments = take_options(sys.argv[1:])
    sys.exit(invoke(arguments, options.debug))


def invoke(arguments: list[str], debug: bool = False) -> int:
    """Run the command in this process.

    Args:
        arguments: Its words, without those that every command takes (`console.take_options`).
        debug: Print the traceback of whatever fails, without secrets.

    Returns:
        The exit code; nothing is raised.
    """
    from flows.console import error_block, print_json

    try:
        try:
            app(arguments, prog_name="warehouse")
        finally:
            print_json()
        return DONE
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else DONE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Who read the results, such as `head`, has enough; the interpreter would complain of the pipe at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except WarehouseError as error:
        _show_traceback(debug)
        print(error_block(error), file=sys.stderr)
        return WRONG_USE if isinstance(error, ConfigError) else FAILED
    except Exception as error:  # the last line of defence: a person gets one block, not a traceback
        _show_traceback(debug)
        print(f"error: {type(error).__name__}: {redact(str(error))}", file=sys.stderr)
        if not debug:
            print("to do: run the same command with --debug for the traceback, and report it", file=sys.stderr)
        return FAILED


def _show_traceback(debug: bool) -> None:
    if debug:
        print(redact(traceback.format_exc()), file=sys.stderr)


def _settings() -> Settings:
    from tasks.settings import get_settings

    return get_settings()


def _serve(settings: Settings) -> None:
    """Have Postgres, and what else was started before, embedded and running unless configured elsewhere."""
    from flows.console import Steps
    from infra.embedded import services

    # Without an embedded MongoDB of earlier, a missing MONGODB_URI is the mistake, and is named as such.
    mongodb = {"mongodb"} if services.started_before(settings.home, "mongodb") else set()
    services.up(settings.home, Steps(), only=frozenset({"postgres", "channels"} | mongodb))


def _serve_prefect(settings: Settings) -> None:
    """Have the Prefect server embedded and running unless one is configured elsewhere."""
    from flows.console import Steps
    from infra.embedded import services

    services.up(settings.home, Steps(), only=frozenset({"prefect"}), worker=False)


@contextmanager
def _prefect_for_a_run(settings: Settings, keep: bool, go_on: str) -> Iterator[None]:
    """Have a Prefect server for the time of a run, which Ctrl-C ends within two seconds.

    Args:
        settings: Where the embedded server lives.
        keep: Leave a server that was started running.
        go_on: The command that goes on after an interruption.
    """
    from flows import interrupt
    from flows.console import Steps
    from infra.embedded import services

    said = f"what was loaded is kept\nto do: `{go_on}` goes on where it stopped"
    with (
        interrupt.guarded(said, lambda: services.abandon(settings.home)),
        services.prefect_for_a_run(settings.home, Steps(), keep=keep),
    ):
        yield


# -- the embedded servers -------------------------------------------------------------------------------------


@app.command()
def demo() -> None:
    """Run the whole job on sample data, with embedded servers."""
    from flows.demo import run_demo

    raise typer.Exit(run_demo(_settings()))


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="The company's folder; made where it is missing.")] = Path(),
    uri: Annotated[str | None, typer.Option(envvar="MONGODB_URI", help="MongoDB URI; asked for when missing.")] = None,
    database: Annotated[str | None, typer.Option(help="Needed where the URI names none.")] = None,
    name: Annotated[str | None, typer.Option(help="The source's name; default the database's.")] = None,
) -> None:
    """Look at a MongoDB database, read-only, and propose sources.yaml for it."""
    from flows.console import say
    from flows.init import init as write_folder

    if not uri and not sys.stdin.isatty():
        raise ConfigError("which MongoDB to look at is not said", "--uri", "set MONGODB_URI: nobody is at a terminal")
    secret = uri or typer.prompt("MongoDB URI", hide_input=True)
    for line in write_folder(folder, secret, database, name):
        say(line)
    say(f"written: {folder / 'sources.yaml'}, with the reason of every choice. Read it, then, in that folder:")
    say("  set -a; . ./.env; set +a")
    say("  warehouse check")
    say("  warehouse run")


@app.command()
def up() -> None:
    """Start the embedded servers that are not configured elsewhere."""
    from flows.console import Steps, say
    from infra.embedded import services

    settings = _settings()
    elsewhere = {name: origin for name in services.VARIABLES if (origin := services.configured(name, settings.home))}
    services.up(settings.home, Steps())
    for name, origin in elsewhere.items():
        say(f"{name}: configured by {origin}, not started")
    _print_servers(settings)
    embedded = [services.VARIABLES[name] for name in ("prefect", "mongodb") if name not in elsewhere]
    if services.started_before(settings.home, "channels") and "channels" not in elsewhere:
        embedded.append(services.VARIABLES["channels"])
    if embedded:
        say("For other programs of this shell (`warehouse` finds them by itself):")
    for variable in embedded:
        say(f"  export {variable}='{os.environ[variable]}'")


@app.command()
def down(
    wipe: Annotated[bool, typer.Option("--wipe", help="Also delete the embedded servers' data.")] = False,
) -> None:
    """Stop the embedded servers."""
    from flows.console import say
    from infra.embedded import services

    stopped = services.down(_settings().home, wipe=wipe)
    say(f"stopped: {', '.join(stopped)}" if stopped else "nothing was running")
    if wipe:
        say("the embedded servers' data is deleted")


@app.command()
def status() -> None:
    """Show servers, decoder, and each table's last load."""
    from flows.console import say
    from tasks.landing import decoder

    settings = _settings()
    _print_servers(settings)
    say(f"decoder: {'native' if decoder.native_available() else f'{decoder.SLOW}; {decoder.INSTALL}'}")
    _print_last_loads(settings)


def _print_last_loads(settings: Settings) -> None:
    from flows import views
    from flows.console import say, table

    try:
        found = views.last_loads(settings.database_url())
    except WarehouseError as error:
        say(f"warehouse: {error.what}")
        return
    if found:
        headers = ("table", "last load", "landed", "inserted", "updated", "unchanged", "deleted", "rescued", "rejected")
        table((*headers, "seconds"), found)
    else:
        say("warehouse: reachable, nothing has been loaded yet")


def _print_left_running(settings: Settings) -> None:
    """Say which embedded servers go on running, as nobody expects that of a command that has ended."""
    from flows.console import note
    from infra.embedded import services

    running = [item.name for item in services.statuses(settings.home) if item.running]
    if running:
        note(f"still running: {', '.join(running)} (`warehouse down` stops, `warehouse status` shows them)")


def _print_servers(settings: Settings) -> None:
    from flows.console import table
    from infra.embedded import services

    rows = []
    for item in services.statuses(settings.home):
        origin = services.configured(item.name, settings.home) if item.name in services.VARIABLES else ""
        embedded = "running" if item.running else "stopped"
        rows.append((item.name, f"set by {origin}" if origin else embedded, item.url, item.log if item.running else ""))
    table(("server", "state", "address", "log"), rows)


# -- runs -----------------------------------------------------------------------------------------------------


@app.command()
def check(
    source: Annotated[
        str | None, typer.Argument(metavar="SOURCE", help="This source alone.", autocompletion=sources_of)
    ] = None,
) -> None:
    """List everything that is wrong, at once.

    Settings, sources.yaml with line numbers, connections, permissions, versions. Of a channel: the accounts that its
    credentials reach, what they lack, when its version ends, and the first rows of each table.
    """
    from dataclasses import astuple

    from flows.checks import check_source, run_checks
    from flows.console import Steps, options, say, table
    from infra.embedded import services

    home = Path(os.environ.get("WAREHOUSE_HOME", ".warehouse"))
    services.use(home)
    findings = run_checks(home, Steps()) if source is None else check_source(home, Steps(), source)
    if options.json:
        table(("level", "subject", "message", "action"), map(astuple, findings))
    for finding in findings:
        say(f"{finding.level:8}{finding.subject}: {finding.message}")
        if finding.action:
            say(f"{'':8}to do: {finding.action}")
    wrong = sum(finding.level == "wrong" for finding in findings)
    say(f"{wrong} thing(s) to mend" if wrong else "nothing is wrong")
    raise typer.Exit(FAILED if wrong else DONE)


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help="One SELECT; the session is read only.")],
    limit: Annotated[int, typer.Option(min=1, help="Rows to print at most.")] = 50,
) -> None:
    """Run one SELECT on the warehouse; no client is needed."""
    import psycopg

    from flows.console import say, table
    from flows.views import NUMBERS, texts
    from tasks.errors import WarehouseUnreachable

    settings = _settings()
    try:
        with psycopg.connect(settings.database_url(), connect_timeout=10, client_encoding="utf8") as connection:
            # Also for what a query that ends its own transaction goes on with.
            connection.execute("set default_transaction_read_only = on")
            connection.commit()
            cursor = connection.execute(query.encode())
            rows = texts(cursor.pgresult, limit) if cursor.pgresult else []
            names = [column.name for column in cursor.description or ()]
            numbers = [column.type_code in NUMBERS for column in cursor.description or ()]
    except psycopg.OperationalError as error:
        raise WarehouseUnreachable(f"cannot query: {error}", "WAREHOUSE_URL", "see `warehouse check`") from None
    except psycopg.Error as error:
        raise WarehouseError(f"the query failed: {error}", "", "correct the SQL") from None
    table(names, rows, numbers=numbers)
    more = cursor.rowcount - len(rows)
    if more > 0:
        say(f"... and {more:,} more row(s); --limit shows more")


@app.command()
def run(
    tables: Tables = None,
    source: Annotated[list[str] | None, typer.Option(help="Every table of this source; may be repeated.")] = None,
    plan: Annotated[bool, typer.Option("--plan", "--dry-run", help="Print what would be read, and stop.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Read everything again, whatever the checkpoints say.")] = False,
    first: Annotated[datetime | None, FROM] = None,
    last: Annotated[datetime | None, TO] = None,
    models: Annotated[bool, typer.Option(help="Build the dbt models of what was loaded.")] = True,
    keep: Keep = False,
) -> None:
    """Run the pipeline once: source to gold, with a report.

    With --from and --to only these days are read again, the newest first; the same command goes on after an
    interruption, and the daily run is not disturbed.
    """
    from flows import plans, runs
    from flows.console import Steps

    settings = _settings()
    names = [*(tables or []), *(source or [])]
    how = plans.How(full, first.date() if first else None, last.date() if last else None)
    runs.check_configuration(settings, names, how, models=models and not plan)
    if plan:
        _serve(settings)
        runs.print_plan(settings, names, how)
        return
    with _prefect_for_a_run(settings, keep, " ".join(["warehouse run", *names, *how.options()])):
        _serve(settings)
        outcome = runs.run_pipeline(names, how, models=models, progress=Steps(), ready=lambda: _serve_prefect(settings))
        whole = runs.print_outcome(settings, outcome, models=models)
    _print_left_running(settings)
    raise typer.Exit(DONE if whole else FAILED)


@app.command()
def report(
    to: Annotated[Path, typer.Option(help="The file to write.")] = Path("run-report.html"),
    flow_run: Annotated[UUID | None, typer.Option("--run", help="A pipeline's flow run id; default the last.")] = None,
) -> None:
    """Write the report of a run as one HTML file."""
    from flows import runs
    from flows.console import say

    say(f"written: {runs.write_report(_settings(), str(flow_run or ''), to)}")


@app.command()
def dashboard(
    host: Annotated[
        str, typer.Option(help="Address to listen on; anything but this machine needs a login before it.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8501,
) -> None:
    """Serve the live dashboard, read-only; see docs/dashboard.md."""
    from monitoring.dashboard.server import serve

    settings = _settings()
    if settings.reader_url is None:
        _serve(settings)
    serve(settings, host, port)


@app.command()
def reader(
    role: Annotated[str, typer.Option(help="Name of the role.")] = "warehouse_reader",
    hide: Annotated[list[str] | None, typer.Option(help="One more column of gold that is personal.")] = None,
) -> None:
    """Make the read-only role of dashboards and BI tools, or renew its rights; safe to repeat.

    Its password is taken from WAREHOUSE_READER_PASSWORD; without it, that of an existing role stays.
    """
    from flows.console import say
    from monitoring.reader import apply
    from tasks.database import connect

    settings = _settings()
    _serve(settings)
    password = os.environ.get("WAREHOUSE_READER_PASSWORD") or None
    with connect(settings.database_url(), autocommit=True) as connection:
        for line in apply(connection, role, password, hide or []):
            say(line)


@app.command()
def resources() -> None:
    """Memory and CPU that tables used against what they asked for, and the class each should have."""
    from flows.console import say
    from infra.embedded import services
    from monitoring import cost
    from tasks.database import connect
    from tasks.sources import load_sources

    settings = _settings()
    classes = cost.classes_of(load_sources(settings.sources, services.foreseen(settings.home)))
    _serve(settings)
    with connect(settings.database_url(), autocommit=True) as connection:
        for line in cost.lines(cost.read(connection), classes):
            say(line)


@app.command()
def deploy(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
) -> None:
    """Apply deployments, limits and automations; safe to repeat."""
    from flows.console import say

    _serve_prefect(_settings())
    from flows.deploy import deploy as apply

    apply(dry_run, say)


# -- checkpoints ----------------------------------------------------------------------------------------------


@checkpoint_app.command("show")
def checkpoint_show(tables: Tables = None) -> None:
    """Show where the next run of each table starts."""
    from flows import views
    from flows.console import say, table

    settings = _settings()
    found = views.checkpoints(settings.database_url(), tables or [], _sources_or_none(settings))
    if found:
        table(("table", "mode", "next run starts at", "version", "changed", "batch"), found)
    else:
        say("no checkpoint: each table's next run starts from the beginning")


@checkpoint_app.command("set")
def checkpoint_set(
    name: Table,
    since: Annotated[str | None, typer.Option(help="Read again from this time (ISO 8601; no zone means UTC).")] = None,
    state: Annotated[str | None, typer.Option(help="A whole state, as JSON.")] = None,
    start: Annotated[bool, typer.Option("--start", help="Read all again.")] = False,
) -> None:
    """Set where the next run of a table starts; one of --since, --state and --start."""
    from flows import views
    from flows.console import say
    from tasks import checkpoints

    if sum((since is not None, state is not None, start)) != 1:
        raise typer.BadParameter("give one of --since, --state and --start")
    settings, ref = _table(name)
    connector = ref.connector
    mode = connector.mode(ref)
    wanted = connector.state_since(ref, since) if since else _state(state)
    if wanted and connector.usable_state(ref, wanted) != wanted:
        raise ConfigError(
            f"that is no state of mode {mode} as sources.yaml has the table",
            ref.name,
            "see `warehouse checkpoint show`, or --start",
        )
    with views.opened(settings.database_url()) as connection:
        changed = checkpoints.rewind(connection, ref.source_name, ref.table_name, wanted, mode=mode)
    begins = views.position(changed.state, connector)
    say(f"{ref.name}: the next run starts at {begins} (checkpoint version {changed.version})")


def _sources_or_none(settings: Settings) -> Sources | None:
    """Return sources.yaml, None where it has mistakes: what is in the warehouse can be shown nevertheless."""
    from tasks.sources import load_sources

    try:
        return load_sources(settings.sources)
    except ConfigError:
        return None


def _state(text: str | None) -> dict[str, object]:
    import json

    try:
        state = json.loads(text or "{}")
    except ValueError as error:
        raise typer.BadParameter(f"--state is not JSON: {error}") from None
    if not isinstance(state, dict):
        raise typer.BadParameter("--state must be a JSON object")
    return state


@rejects_app.command("list")
def rejects_list(tables: Tables = None, limit: Annotated[int, typer.Option(min=1)] = 50) -> None:
    """List what could not be loaded, newest first."""
    from flows import views
    from flows.console import say, table

    found = views.rejects(_settings().database_url(), tables or [], limit)
    if found:
        table(("id", "table", "stage", "document", "path", "reason", "seen", "outcome"), found)
    else:
        say("nothing was rejected")


@rejects_app.command("show")
def rejects_show(number: Annotated[int, typer.Argument(metavar="ID", help="From `rejects list`.")]) -> None:
    """Show one reject whole: reason, document, original bytes (a line of text as such, else in hex)."""
    from flows import views
    from flows.console import raw_text, say

    for field, value in views.reject(_settings().database_url(), number).items():
        if value is not None:
            say(f"{field}: {raw_text(value) if isinstance(value, bytes) else value}")


@rejects_app.command("replay")
def rejects_replay(
    name: Table,
    ids: Annotated[list[int] | None, typer.Argument(metavar="ID", help="None means all that wait.")] = None,
) -> None:
    """Load a table's rejects again, after something was mended."""
    from flows.console import say
    from tasks.bronze.rejects import replay

    settings, ref = _table(name)
    done = replay(ref, settings, ids or [])
    say(f"{done.loaded} loaded, {done.outdated} outdated by a later read, {done.refused} still refused")
    raise typer.Exit(FAILED if done.refused else DONE)


# -- proof and repair -----------------------------------------------------------------------------------------


@app.command()
def verify(
    name: Table,
    values: Annotated[bool, typer.Option(help="Compare values too, not only presence and fingerprints.")] = True,
    most: Annotated[int, typer.Option(min=1, help="Differences to list at most.")] = 20,
) -> None:
    """Compare a table's source with bronze, document by document."""
    from flows.console import say, table
    from tasks.bronze.verify import verify_table

    settings, ref = _table(name)
    found = verify_table(ref, settings, deep=values, most=most)
    say(f"{ref.name}: {found.source_rows:,} at the source, {found.bronze_rows:,} in bronze, {found.ranges} range(s)")
    if found.differences:
        table(("_id", "why"), [(one.id, one.why) for one in found.differences])
    for one in found.missing:
        say(f"missing: {one}")
    say("bronze equals the source" if found.equal else f"{found.differing:,} document(s) differ")
    if found.unreadable:
        say(f"not compared: {found.unreadable:,} that cannot be read, see `warehouse rejects list {name}`")
    say(f"note: {found.note}")
    if not found.equal:
        say("to do: see docs/runbooks/verify.md")
    raise typer.Exit(DONE if found.equal else FAILED)


@app.command()
def rebuild(
    name: Table,
) -> None:
    """Load a table anew from the landing, without the source."""
    from flows.console import say
    from tasks.bronze.rebuild import rebuild_table

    settings, ref = _table(name)
    results = rebuild_table(ref, settings)
    rescued = sum(result.rescued for result in results)
    say(f"{ref.name}: {len(results)} batch(es) loaded again, {rescued:,} row(s) with rescued values")
    for warning in (warning for result in results for warning in result.warnings):
        say(f"note: {warning}")


@app.command()
def reset(
    name: Table,
    since: Annotated[
        str | None, typer.Option(help="Read from this time on (ISO 8601), and change only what is read.")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Print what it would do and read, and stop.")] = False,
    by: Annotated[str | None, typer.Option(help="Who asks for it; default your user of this machine.")] = None,
    why: Annotated[str, typer.Option(help="The reason, for the log.")] = "",
    keep: Keep = False,
) -> None:
    """Read a table again and rebuild the models above; its old rows stay readable until the new are loaded.

    Killed at any point, the same command goes on.
    """
    import getpass

    from flows import runs
    from flows.console import Steps

    settings, ref = _table(name)
    if since:
        ref.connector.state_since(ref, since)
    if plan:
        runs.print_reset_plan(settings, ref, since)
        return
    with _prefect_for_a_run(settings, keep, f"warehouse reset {ref.name}" + (f" --since {since}" if since else "")):
        outcome = runs.run_reset(
            settings,
            ref.name,
            since,
            by=by or getpass.getuser(),
            why=why,
            progress=Steps(),
            ready=lambda: _serve_prefect(settings),
        )
        runs.print_outcome(settings, outcome)
    _print_left_running(settings)
    raise typer.Exit(DONE if outcome.ok else FAILED)


def _table(name: str) -> tuple[Settings, TableRef]:
    """Return settings and the table called `source.table`, with the embedded servers that are configured running.

    Raises:
        ConfigError: sources.yaml or the name is wrong; told before anything is started.
    """
    from infra.embedded import services
    from tasks.sources import load_sources

    settings = _settings()
    load_sources(settings.sources, services.foreseen(settings.home)).table(name)
    _serve(settings)
    ref = load_sources(settings.sources).table(name)
    if getattr(ref.source, "block", None):
        # Reading a block imports Prefect, which must know its server by then.
        _serve_prefect(settings)
    return settings, ref


dbt_commands.register(app)
source_commands.register(app)
reference.register(app)

if __name__ == "__main__":
    main()
