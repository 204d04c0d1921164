"""`warehouse check`: everything that is wrong, at once, each finding with what to do about it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tasks.errors import ConfigError, WarehouseError, redact

if TYPE_CHECKING:
    from pymongo import MongoClient

    from tasks.settings import Settings
    from tasks.sources import FilesSource, MongoSource, Sources, TableRef

# A check is made by a person who waits: a server that does not answer this soon is reported, not waited for.
_CONNECT_SECONDS = 5
# Tried whole on 15 and 18; the embedded server is 18.
_LEAST_POSTGRES = 150000
_LEAST_MONGODB = (4, 4)
# Share of letters in common: one letter wrong, missing or too many in a name of four is found, IMAGE for HOME is not.
_NEARLY = 0.75


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        level: `ok`, `warning` (works, but somebody should know) or `wrong`.
        subject: What was looked at.
        message: What was found.
        action: What to do about it, empty when nothing is to be done.
    """

    level: Literal["ok", "warning", "wrong"]
    subject: str
    message: str
    action: str = ""


def run_checks(home: Path, progress: Callable[[str], None]) -> list[Finding]:
    """Look at settings, sources.yaml, connections, permissions and versions; nothing raises, all is found."""
    findings = list(_versions())
    settings = _settings(findings)
    sources = _sources(findings, settings)
    if settings is not None:
        for subject, look in (("warehouse", _warehouse), ("landing", _landing)):
            progress(f"checking the {subject}")
            findings += _guarded(subject, lambda look=look: look(settings))  # type: ignore[misc]
    progress("checking Prefect")
    findings += _guarded("prefect", lambda: _prefect(home))
    for name, source in sources.sources.items() if sources else ():
        progress(f"checking the source {name}")
        findings += _guarded(f"source {name}", partial(_source, home, name, source))
    return findings


def _guarded(subject: str, look: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """Run one look; an error of ours is a finding, and so is one that nobody foresaw."""
    found: list[Finding] = []
    try:
        found.extend(look())
    except WarehouseError as error:
        found.append(
            Finding("wrong", subject, f"{error.what} ({error.where})" if error.where else error.what, error.action)
        )
    except Exception as error:  # one broken look must not hide what the others find
        found.append(Finding("wrong", subject, f"{type(error).__name__}: {redact(str(error))}", "see the message"))
    return found


def _versions() -> Iterator[Finding]:
    from importlib.metadata import version

    from tasks.mongodb.decoder import native_available

    yield Finding(
        "ok", "versions", f"Python {sys.version.split()[0]}, Prefect {version('prefect')}, dbt {version('dbt-core')}"
    )
    if native_available():
        yield Finding("ok", "decoder", "native")
    else:
        yield Finding(
            "warning",
            "decoder",
            "the slow one in Python",
            "install a Rust toolchain and run `make native`: 10 to 20 times as fast",
        )


def _settings(findings: list[Finding]) -> Settings | None:
    from tasks.settings import get_settings

    findings += _mistyped()
    try:
        settings = get_settings()
    except ConfigError as error:
        findings += [Finding("wrong", "settings", problem, error.action) for problem in error.problems]
        return None
    findings.append(Finding("ok", "settings", f"home {settings.home}, execution {settings.execution}"))
    return settings


def _mistyped() -> Iterator[Finding]:
    """Find variables that are nearly a setting: nobody reads them. Others may be the company's own."""
    from difflib import get_close_matches

    from tasks.mongodb.transforms import HASH_KEY_VARIABLE
    from tasks.settings import PREFIX, Settings

    known = [name.upper() for name in Settings.model_fields] + [HASH_KEY_VARIABLE.removeprefix(PREFIX)]
    for variable in sorted(os.environ):
        name = variable.removeprefix(PREFIX)
        if name == variable or name in known:
            continue
        for meant in get_close_matches(name, known, n=1, cutoff=_NEARLY):
            yield Finding(
                "warning", "settings", f"{variable} is no setting", f"if {PREFIX}{meant} was meant, rename it"
            )


def _sources(findings: list[Finding], settings: Settings | None) -> Sources | None:
    from tasks.sources import load_sources

    path = settings.sources if settings else Path(os.environ.get("WAREHOUSE_SOURCES", "sources.yaml"))
    try:
        sources = load_sources(path)
    except ConfigError as error:
        problems = error.problems or (error.what,)
        findings += [Finding("wrong", str(path), problem, error.action) for problem in problems]
        return None
    findings.append(Finding("ok", str(path), f"{len(sources.sources)} source(s), {len(sources.refs())} table(s)"))
    for ref in sources.refs():
        if ref.table.transforms:
            findings += _guarded(ref.name, partial(_transforms, ref))
    return sources


def _transforms(ref: TableRef) -> Iterator[Finding]:
    from tasks.mongodb.transforms import Transforms

    Transforms(ref.table.transforms)
    yield Finding("ok", ref.name, f"{len(ref.table.transforms)} transform(s) can be carried out")


def _warehouse(settings: Settings) -> Iterator[Finding]:
    import psycopg

    from tasks import database

    url = settings.database_url()
    try:
        connection = psycopg.connect(url, connect_timeout=_CONNECT_SECONDS)
    except psycopg.OperationalError as error:
        place = database.place(url)
        yield Finding(
            "wrong",
            "warehouse",
            f"cannot connect to {place}: {_first_line(error)}",
            "check WAREHOUSE_URL (host, port, user, password, database), or run `warehouse up` for the embedded one",
        )
        return
    with connection:
        info = connection.info
        yield Finding(
            "ok",
            "warehouse",
            f"Postgres {info.parameter_status('server_version')} at {info.host}:{info.port}/{info.dbname}",
        )
        if info.server_version < _LEAST_POSTGRES:
            yield Finding(
                "wrong", "warehouse", f"Postgres {info.server_version // 10000} is too old", "use 15 or later"
            )
        if info.parameter_status("server_encoding") != "UTF8":
            yield Finding("wrong", "warehouse", "the database is not encoded in UTF8", "create it with encoding UTF8")
        row = connection.execute("select has_database_privilege(current_database(), 'create')").fetchone()
        if not row or not row[0]:
            yield Finding(
                "wrong",
                "warehouse",
                f"the user {info.user} may not create schemas",
                f'as an administrator: grant create on database "{info.dbname}" to "{info.user}"',
            )


def _landing(settings: Settings) -> Iterator[Finding]:
    from tasks.landing import Landing

    landing = Landing.open(settings.landing_root())
    probe, written = ("_check", "probe", str(os.getpid())), b"written by warehouse check"
    path = f"{'/'.join(probe)}/object"
    landing.put(path, written)
    same = landing.get(path) == written
    landing.delete(*probe)
    if not same:
        yield Finding("wrong", "landing", f"{landing.root} gives back other bytes than were written", "check the store")
    yield Finding("ok", "landing", f"{landing.root} can be written, read and cleaned")


def _prefect(home: Path) -> Iterator[Finding]:
    from infra.embedded import prefect, services

    url = os.environ.get("PREFECT_API_URL", "")
    profile = services.configured("prefect", home)
    if not url and profile:
        yield Finding("ok", "prefect", f"the server of the profile in {profile}; not contacted")
    elif not url:
        yield Finding(
            "warning",
            "prefect",
            "no server is configured; `warehouse run` starts the embedded one",
            "or set PREFECT_API_URL",
        )
    elif prefect.answers(url, _CONNECT_SECONDS):
        yield Finding("ok", "prefect", redact(url))
    else:
        yield Finding(
            "wrong", "prefect", f"no Prefect server answers at {redact(url)}", "check PREFECT_API_URL and the server"
        )


def _source(home: Path, name: str, source: MongoSource | FilesSource) -> Iterator[Finding]:
    from infra.embedded import services
    from tasks.sources import MongoSource

    if isinstance(source, MongoSource) and source.block and not services.prefect_is_known(home):
        yield Finding(
            "wrong",
            f"source {name}",
            f"the block {source.block} cannot be read, as no Prefect server runs",
            "run `warehouse up`, or set PREFECT_API_URL to your server",
        )
    elif isinstance(source, MongoSource):
        yield from _mongodb(name, source)
    else:
        yield from _files(name, source)


def _mongodb(name: str, source: MongoSource) -> Iterator[Finding]:
    import pymongo
    from pymongo.errors import PyMongoError

    from tasks.mongodb.client import connect, translate

    with connect(source) as client:
        try:
            with pymongo.timeout(_CONNECT_SECONDS):
                yield from _mongodb_server(name, client)
                yield from _mongodb_tables(name, source, client)
        except PyMongoError as error:
            ours = translate(error, f"source {name}")
            yield Finding("wrong", f"source {name}", ours.what, ours.action)


def _mongodb_server(name: str, client: MongoClient[Any]) -> Iterator[Finding]:
    version = client.server_info()["version"]
    yield Finding("ok", f"source {name}", f"MongoDB {version}")
    if tuple(int(part) for part in version.split(".")[:2]) < _LEAST_MONGODB:
        yield Finding("wrong", f"source {name}", f"MongoDB {version} is too old", "use 4.4 or later")


def _mongodb_tables(name: str, source: MongoSource, client: MongoClient[Any]) -> Iterator[Finding]:
    from pymongo.errors import OperationFailure

    from tasks.mongodb.client import database_of, open_collection
    from tasks.sources import TableRef

    streams = "setName" in client.admin.command("hello") or client.is_mongos
    for table_name, table in source.tables.items():
        ref = TableRef(name, table_name, source, table)
        try:
            collection, kind = open_collection(client, ref)
            collection.find_one({}, {"_id": 1})
        except WarehouseError as error:
            yield Finding("wrong", ref.name, error.what, error.action)
            continue
        except OperationFailure as error:
            yield Finding(
                "wrong", ref.name, f"may not be read: {_first_line(error)}", "grant the user read on the database"
            )
            continue
        if table.mode == "cdc" and not streams:
            yield Finding(
                "wrong", ref.name, "mode cdc needs a replica set", "use mode incremental, or start a replica set"
            )
        if table.mode == "cdc" and kind != "collection":
            yield Finding("wrong", ref.name, f"mode cdc cannot follow a {kind}", "use mode full or incremental")
        if kind != "collection" or not (table.cursor or table.hint):
            continue
        indexes = database_of(client, source)[collection.name].index_information()
        if table.hint and table.hint not in indexes:
            yield Finding(
                "wrong",
                ref.name,
                f"hint: there is no index {table.hint!r}",
                f"create it, or correct `hint`; there is: {', '.join(sorted(indexes))}",
            )
        if table.cursor and not _indexed(indexes, table.cursor):
            yield Finding(
                "warning",
                ref.name,
                f"the cursor {table.cursor} has no index: each run reads the whole collection",
                f"create an index on {table.cursor}",
            )


def _indexed(indexes: Any, field: str) -> bool:
    return any(next(iter(dict(index["key"])), None) == field for index in indexes.values())


def _files(name: str, source: FilesSource) -> Iterator[Finding]:
    if "://" in source.path:
        yield Finding("ok", f"source {name}", f"{redact(source.path)}; listed when it is read")
        return
    folder = Path(source.path)
    if not folder.is_dir():
        yield Finding(
            "wrong", f"source {name}", f"the folder {folder} does not exist", "correct `path` in sources.yaml"
        )
        return
    for table_name, table in source.tables.items():
        count = sum(1 for _ in folder.glob(table.pattern))
        if count:
            yield Finding("ok", f"{name}.{table_name}", f"{count} file(s)")
        else:
            yield Finding(
                "warning", f"{name}.{table_name}", f"no file matches {table.pattern} in {folder}", "check the pattern"
            )


def _first_line(error: BaseException) -> str:
    return redact(str(error)).strip().splitlines()[0] if str(error).strip() else type(error).__name__
