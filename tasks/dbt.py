"""Runs dbt in a process of its own and returns what happened to each node as typed rows.

dbt keeps global state and threads that outlive a timeout, so it gets one process per command, ended by SIGINT: dbt then
cancels its queries. With the runner `prefect` that process shows every node as a Prefect task run of the calling flow.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import IO, Any

from ruamel.yaml import YAML

from tasks import database
from tasks.errors import DbtError, WarehouseUnreachable, redact
from tasks.ops.migrations import migrate
from tasks.settings import Settings
from tasks.sources import TableRef

PROJECT = Path(__file__).resolve().parent.parent / "dbt"
FAILED = frozenset({"error", "fail", "runtime error", "partial success"})
CONTEXT_UNUSABLE = 3
"""Exit code of tasks.dbt_prefect when the flow run's context cannot be used in another process; dbt's own end at 2."""

_RUNS_KEPT = 5
_PARSED = "partial_parse.msgpack"
_SECONDS_TO_CANCEL = 30.0
_MESSAGES_KEPT = 40
_TOLD = 5
# "Database Error in model fct_order (models/gold/fct_order.sql)"
_HEADING = re.compile(r"\w+ Error in ")
# libpq reads these from the environment; dbt's profile has no place for them.
_LIBPQ_EXTRAS = ("sslrootcert", "sslcert", "sslkey", "sslcrl", "channel_binding", "target_session_attrs", "options")
_UNREACHABLE = ("connection refused", "could not connect", "connection to server", "could not translate host name")


@dataclass(frozen=True, slots=True)
class NodeResult:
    """What happened to one model, test or other node.

    Attributes:
        node: dbt's unique id.
        name: Short name.
        resource_type: model, test, snapshot, seed, unit_test.
        relation: Schema and name of what a model built, else "".
        status: dbt's word: success, pass, warn, error, fail, skipped.
        seconds: Execution time.
        rows_affected: Rows written, where the adapter tells.
        failures: Failing rows of a test.
        message: dbt's message, the reason first, without credentials.
        started_at: When execution began, None for skipped nodes.
    """

    node: str
    name: str
    resource_type: str
    relation: str
    status: str
    seconds: float
    rows_affected: int | None
    failures: int | None
    message: str
    started_at: datetime | None

    @property
    def failed(self) -> bool:
        """Whether the node ended in an error or a failing test."""
        return self.status in FAILED


@dataclass(frozen=True, slots=True)
class DbtResult:
    """What one dbt command did.

    Attributes:
        nodes: One per executed or skipped node, in the order they ended.
        seconds: Wall time of the whole process.
        exit_code: dbt's exit code: 0 all good, 1 a node failed.
        target: Folder with dbt's own artifacts of this run.
    """

    nodes: tuple[NodeResult, ...]
    seconds: float
    exit_code: int
    target: Path

    @property
    def failed(self) -> tuple[NodeResult, ...]:
        """The nodes that failed."""
        return tuple(node for node in self.nodes if node.failed)

    @property
    def success(self) -> bool:
        """Whether everything was built and every test passed (warnings are fine)."""
        return self.exit_code == 0

    def counts(self) -> dict[str, int]:
        """Return the number of nodes per status."""
        return {status: sum(node.status == status for node in self.nodes) for status in {n.status for n in self.nodes}}

    def failure(self) -> str:
        """Return which nodes failed and why."""
        told = [f"{node.name}: {(node.message or node.status).splitlines()[0]}" for node in self.failed[:_TOLD]]
        more = f" and {len(self.failed) - _TOLD} more" if len(self.failed) > _TOLD else ""
        return f"{len(self.failed)} dbt node(s) failed: {'; '.join(told)}{more}"

    def check(self) -> None:
        """Do nothing after a success.

        Raises:
            DbtError: Naming each failed node with its message.
        """
        if self.success:
            return
        raise DbtError(
            self.failure(),
            str(self.target / "run_results.json"),
            "correct the model or the data, then run again; tables that failed keep their last good content",
        )


@dataclass(frozen=True)
class DbtCommand:
    """One dbt command line; owns the argv and nothing else.

    Attributes:
        target: Folder for the artifacts of this run alone.
        verb: build, run, test, compile, parse, docs generate and so on.
        select: dbt selectors; empty means everything.
        exclude: dbt selectors to leave out.
        full_refresh: Rebuild incremental models from nothing.
        variables: dbt vars.
        whole_tests: Leave out tests that read a model which is neither selected nor above a selected one.
    """

    target: Path
    verb: str = "build"
    select: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    full_refresh: bool = False
    variables: Mapping[str, Any] = field(default_factory=dict)
    whole_tests: bool = False

    def arguments(self) -> list[str]:
        """Return the arguments of dbt, the verb first."""
        arguments = [
            *self.verb.split(),
            *("--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT)),
            *("--target-path", str(self.target), "--log-path", str(self.target / "logs")),
            # Its lines go into logs, which show the codes of colours as such.
            "--no-use-colors",
        ]
        for flag, selectors in (("--select", self.select), ("--exclude", self.exclude)):
            arguments += [flag, *selectors] if selectors else []
        arguments += ["--indirect-selection", "buildable"] if self.whole_tests else []
        arguments += ["--full-refresh"] if self.full_refresh else []
        arguments += ["--vars", json.dumps(dict(self.variables), sort_keys=True)] if self.variables else []
        return arguments


def environment(url: str, base: Mapping[str, str]) -> dict[str, str]:
    """Return the environment that dbt's profile reads, derived from a Postgres URL.

    Args:
        url: Any URL or conninfo that libpq accepts; a folder as host means a Unix socket.
        base: The environment to extend.
    """
    from psycopg.conninfo import conninfo_to_dict

    parts = {key: str(value) for key, value in conninfo_to_dict(url).items() if value is not None}
    user = parts.get("user") or base.get("PGUSER") or getpass.getuser()
    made = {
        "WAREHOUSE_DBT_HOST": parts.get("host") or base.get("PGHOST", ""),
        "WAREHOUSE_DBT_PORT": parts.get("port") or base.get("PGPORT", "5432"),
        "WAREHOUSE_DBT_USER": user,
        "WAREHOUSE_DBT_DBNAME": parts.get("dbname") or base.get("PGDATABASE") or user,
        "WAREHOUSE_DBT_SSLMODE": parts.get("sslmode") or base.get("PGSSLMODE", "prefer"),
        # dbt hides values of variables with this prefix in its own logs.
        "DBT_ENV_SECRET_WAREHOUSE_PASSWORD": parts.get("password") or base.get("PGPASSWORD", ""),
        **{f"PG{key.upper().replace('_', '')}": parts[key] for key in _LIBPQ_EXTRAS if key in parts},
    }
    return {**base, **made}


def selection(refs: Iterable[TableRef]) -> tuple[str, ...]:
    """Return the dbt selectors of everything that the given tables feed, their child tables included."""
    names = []
    for ref in refs:
        names.append(ref.name)
        names += [f"{ref.name}__{path.replace('.', '__')}" for path in ref.table.child_paths]
    return tuple(f"source:{name}+" for name in names)


def missing_models(url: str, project: Path = PROJECT) -> tuple[str, ...]:
    """Return the models and snapshots of silver and gold that the warehouse does not hold (yet, or any more).

    A table's first load selects models that also read other models; those may never have been built.
    """
    import psycopg

    models = {
        (layer, path.stem)
        for part in _parts(project)
        for layer in ("silver", "gold")
        for path in (part / "models" / layer).rglob("*.sql")
    } | {("silver", path.stem) for part in _parts(project) for path in (part / "snapshots").glob("*.sql")}
    query = "select schemaname, viewname from pg_views union all select schemaname, tablename from pg_tables"
    try:
        with psycopg.connect(url, connect_timeout=10) as connection:
            present = set(connection.execute(query).fetchall())
    except psycopg.OperationalError as error:
        raise WarehouseUnreachable(f"cannot connect: {error}", "WAREHOUSE_URL", "start or correct it") from None
    return tuple(sorted(name for layer, name in models if (layer, name) not in present))


def with_missing(select: tuple[str, ...], missing: Iterable[str], project: Path = PROJECT) -> tuple[str, ...]:
    """Return the selectors, and those missing models that something below a selector's `...+` also reads.

    dbt could find them (`model,@source:x` for each pair), but takes a second per dozen and warns of each that is not
    needed: every model of the sample in every run of somebody who has other sources.

    Args:
        select: dbt selectors, of which `source:NAME+` and `MODEL+` lead to other models.
        missing: Names of models that do not exist.
        project: Folder of the dbt project.
    """
    reads = lineage(project)
    below = {selector.removeprefix("source:")[:-1] for selector in select if selector.endswith("+")}
    while found := {model for model, names in reads.items() if names & below} - below:
        below |= found
    needed = set(below)
    while found := {name for model in needed for name in reads.get(model, ())} - needed:
        needed |= found
    return (*select, *(model for model in missing if model in needed))


_QUOTED = re.compile(r"""['"](\w+)['"](?:\s*,\s*['"](\w+)['"])?""")


def lineage(project: Path) -> dict[str, set[str]]:
    """Return what each model and its tests name in quotes: models by name, sources as `source.table`.

    That is more than they read (any quoted text counts, `'stg_ads__' ~ name` stands for every model that begins so),
    which here only builds a model too many. Tests count because one between two models needs both.
    """
    texts = {path.stem: path.read_text(encoding="utf-8") for path in _files(project, ".sql")}
    for path in _files(project, ".yml"):
        for model in (YAML(typ="safe").load(path) or {}).get("models", ()):
            texts[model["name"]] = f"{texts.get(model['name'], '')}\n{json.dumps(model, default=str)}"
    found = {}
    for name, text in texts.items():
        pairs = _QUOTED.findall(text)
        words = {word for pair in pairs for word in pair if word}
        begun = {other for other in texts for word in words if word.endswith("_") and other.startswith(word)}
        found[name] = (words | begun | {".".join(pair) for pair in pairs if pair[1]}) - {name}
    return found


def _parts(project: Path) -> list[Path]:
    """Return the folders of a project and of the packages in it."""
    return [project, *sorted((project / "packages").glob("*"))]


def _files(project: Path, suffix: str) -> list[Path]:
    folders = [part / name for part in _parts(project) for name in ("models", "snapshots", "tests")]
    return [path for folder in folders for path in sorted(folder.rglob(f"*{suffix}"))]


def run(
    settings: Settings,
    select: Sequence[str] | None = None,
    *,
    verb: str = "build",
    exclude: Sequence[str] = (),
    full_refresh: bool = False,
    variables: Mapping[str, Any] | None = None,
    progress: Callable[[str], None] = lambda line: None,
    deadline_seconds: float = 7_200,
) -> DbtResult:
    """Run dbt and wait for it.

    Args:
        settings: Says where the warehouse is and which runner shows the nodes.
        select: dbt selectors, as `selection` makes them; models that do not exist yet are added. None means all.
        verb: The dbt command.
        exclude: dbt selectors to leave out.
        full_refresh: Rebuild incremental models from nothing.
        variables: dbt vars.
        progress: Called with each line that dbt logs for people.
        deadline_seconds: After this time dbt is interrupted.

    Returns:
        The nodes, failed ones included; `DbtResult.check` raises for them.

    Raises:
        WarehouseUnreachable: Postgres did not answer dbt.
        DbtError: dbt itself failed (a model that does not parse, a wrong selector) or ran into the deadline.
    """
    url = settings.database_url()
    # Done in any case: a server that is not there is found out before dbt takes its time to start.
    with database.connect(url, autocommit=True) as connection:
        migrate(connection)
    missing = missing_models(url)
    selected = with_missing(tuple(select), missing) if select else ()
    target = _fresh_target(settings.home / "dbt")
    # A test between a model of the selection and one that has never been built would fail for that alone.
    whole_tests = bool(selected and missing)
    command = DbtCommand(target, verb, selected, tuple(exclude), full_refresh, variables or {}, whole_tests)
    started = time.monotonic()
    exit_code, messages = _execute(settings, command, environment(url, os.environ), progress, deadline_seconds)
    seconds = round(time.monotonic() - started, 3)
    if exit_code not in (0, 1):
        raise _crash(exit_code, messages, target)
    nodes = read_nodes(target)
    if exit_code == 1 and not any(node.failed for node in nodes):
        raise _crash(exit_code, messages, target)
    return DbtResult(nodes, seconds, exit_code, target)


def read_nodes(target: Path) -> tuple[NodeResult, ...]:
    """Return the nodes of the run whose artifacts are in a folder; none when it ended before the first."""
    try:
        results = json.loads((target / "run_results.json").read_bytes())["results"]
        manifest = json.loads((target / "manifest.json").read_bytes())
    except FileNotFoundError:
        return ()
    known = {**manifest["nodes"], **manifest["sources"], **manifest.get("unit_tests", {})}
    return tuple(_node(result, known.get(result["unique_id"], {})) for result in results)


def _node(result: Mapping[str, Any], node: Mapping[str, Any]) -> NodeResult:
    unique_id = result["unique_id"]
    began = [timing["started_at"] for timing in result["timing"] if timing["name"] == "execute"]
    builds = node.get("resource_type") in ("model", "snapshot", "seed")
    rows = result["adapter_response"].get("rows_affected")
    return NodeResult(
        node=unique_id,
        name=node.get("name", unique_id.split(".")[2] if unique_id.count(".") > 1 else unique_id),
        resource_type=unique_id.split(".")[0],
        relation=f"{node['schema']}.{node['alias']}" if builds else "",
        status=str(result["status"]),
        seconds=round(result["execution_time"], 3),
        # Postgres answers -1 for statements that touch no rows, such as creating a view.
        rows_affected=rows if builds and rows is not None and rows >= 0 else None,
        failures=result["failures"],
        message=_reason_first(redact(result["message"] or "")),
        started_at=datetime.fromisoformat(began[0]) if began and began[0] else None,
    )


def _reason_first(message: str) -> str:
    """Return dbt's message with its heading, which only repeats the file's name, as the last line: reports show one."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    if len(lines) > 1 and _HEADING.match(lines[0]):
        lines = [*lines[1:], lines[0]]
    return "\n".join(lines)


def _fresh_target(folder: Path) -> Path:
    """Make the folder of this run's artifacts and forget all but the newest few of earlier runs."""
    folder.mkdir(parents=True, exist_ok=True)
    earlier = sorted(folder.glob("run-*"), key=lambda path: path.stat().st_mtime)
    target = Path(tempfile.mkdtemp(prefix="run-", dir=folder.resolve()))
    for old in reversed(earlier):
        if (old / _PARSED).exists():
            # Spares parsing what has not changed, 2 of the 12 CPU seconds of a build; dbt checks that it still fits.
            shutil.copyfile(old / _PARSED, target / _PARSED)
            break
    for old in earlier[: -_RUNS_KEPT + 1]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def _execute(
    settings: Settings,
    command: DbtCommand,
    env: dict[str, str],
    progress: Callable[[str], None],
    deadline_seconds: float,
) -> tuple[int, list[str]]:
    context = _prefect_context() if settings.dbt_runner == "prefect" else None
    if context is not None:
        exit_code, messages = _process("tasks.dbt_prefect", command, env, context, progress, deadline_seconds)
        if exit_code != CONTEXT_UNUSABLE:
            return exit_code, messages
        # Models that are not shown are better than models that are not built.
        progress(f"Prefect cannot show the models of this run: {messages[-1] if messages else 'no reason given'}")
    return _process("dbt.cli.main", command, env, b"", progress, deadline_seconds)


def _process(
    module: str,
    command: DbtCommand,
    env: dict[str, str],
    given: bytes,
    progress: Callable[[str], None],
    deadline_seconds: float,
) -> tuple[int, list[str]]:
    """Run a module with dbt's arguments; return its exit code and its last lines."""
    # "-P" keeps the working directory off the import path: a folder called dbt there must not hide the package.
    program = [sys.executable, "-P", "-m", module, *command.arguments()]
    env = {**env, "PYTHONPATH": os.pathsep.join(filter(None, (str(PROJECT.parent), env.get("PYTHONPATH"))))}
    with _terminable(), tempfile.TemporaryFile() as stdin:
        stdin.write(given)
        stdin.seek(0)
        process = subprocess.Popen(  # noqa: S603 - our own interpreter, no shell
            program,
            env=env,
            cwd=PROJECT,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # A session of its own: a Ctrl-C of the terminal reaches dbt once, through us.
            start_new_session=True,
        )
        messages: list[str] = []
        reader = threading.Thread(target=_follow, args=(process.stdout, messages, progress), daemon=True)
        reader.start()
        try:
            exit_code = process.wait(timeout=deadline_seconds)
        except BaseException as error:
            _interrupt(process)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            raise DbtError(
                f"dbt was interrupted after {deadline_seconds:.0f} s", str(command.target), "look for the slow model"
            ) from None
        reader.join(timeout=10)
    return exit_code, messages


def _prefect_context() -> bytes | None:
    """Return the calling flow run for the process that runs dbt, None outside of a flow."""
    if "prefect" not in sys.modules:
        return None
    import cloudpickle  # type: ignore[import-untyped]
    from prefect.context import FlowRunContext, serialize_context

    return cloudpickle.dumps(serialize_context()) if FlowRunContext.get() else None


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Turn SIGTERM into an exception while dbt runs, so that it is interrupted and not orphaned."""
    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL

    def stop(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    if ours:
        signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _interrupt(process: subprocess.Popen[bytes]) -> None:
    """End dbt the way in which it cancels its queries; by force when it does not."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(timeout=_SECONDS_TO_CANCEL)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _follow(stream: IO[bytes], messages: list[str], progress: Callable[[str], None]) -> None:
    for raw in stream:
        line = redact(raw.decode(errors="replace").rstrip())
        if line:
            messages.append(line)
            del messages[:-_MESSAGES_KEPT]
            progress(line)


def _crash(exit_code: int, messages: Sequence[str], target: Path) -> DbtError | WarehouseUnreachable:
    text = "\n".join(messages)
    if any(sign in text.lower() for sign in _UNREACHABLE):
        said = next(line for line in messages if any(sign in line.lower() for sign in _UNREACHABLE))
        return WarehouseUnreachable(f"dbt cannot connect: {said.strip()}", "WAREHOUSE_URL", "start or correct it")
    log = str(target / "logs" / "dbt.log")
    return DbtError(f"dbt ended with code {exit_code}:\n{text}", log, "see the message above")
