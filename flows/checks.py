"""`warehouse check`: everything that is wrong, at once, each finding with what to do about it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.errors import ConfigError, WarehouseError, first_line, redact
from tasks.sources import registry
from tasks.sources.connector import CHECK_SECONDS, Finding

if TYPE_CHECKING:
    from tasks.drift.paths import Unseen
    from tasks.settings import Settings
    from tasks.sources import Source, Sources, TableRef

# Tried whole on 15 and 18; the embedded server is 18.
_LEAST_POSTGRES = 150000
# Share of letters in common: one letter wrong, missing or too many in a name of four is found, IMAGE for HOME is not.
_NEARLY = 0.75


def run_checks(home: Path, progress: Callable[[str], None]) -> list[Finding]:
    """Look at settings, sources.yaml, connections, permissions and versions; nothing raises, all is found."""
    findings = list(_versions())
    settings = _settings(findings)
    sources = _sources(findings, settings)
    if settings is not None:
        for subject, look in (("warehouse", _warehouse), ("landing", _landing)):
            progress(f"checking the {subject}")
            findings += _guarded(subject, lambda look=look: look(settings))  # type: ignore[misc]
    if settings is not None and sources is not None:
        findings += _paths(settings, sources)
    progress("checking Prefect")
    findings += _guarded("prefect", lambda: _prefect(home))
    if sources is not None:
        for name in sources.sources:
            findings += _look_at(home, progress, settings, sources, name)
    return findings


def check_source(home: Path, progress: Callable[[str], None], name: str) -> list[Finding]:
    """Look at one source, and at nothing else unless that is in its way.

    Raises:
        ConfigError: No source has this name.
    """
    findings: list[Finding] = []
    settings = _settings(findings)
    sources = _sources(findings, settings)
    findings = [found for found in findings if found.level == "wrong" or found.subject.startswith(f"{name}.")]
    if sources is None:
        return findings
    if name not in sources.sources:
        known = ", ".join(sources.sources)
        raise ConfigError(f"no source is called {name!r}", "sources.yaml", f"use one of: {known}")
    return findings + _look_at(home, progress, settings, sources, name)


def _look_at(
    home: Path, progress: Callable[[str], None], settings: Settings | None, sources: Sources, name: str
) -> list[Finding]:
    progress(f"checking the source {name}")
    found = _guarded(f"source {name}", partial(_source, home, name, sources.sources[name]))
    wrong = {one.subject for one in found if one.level == "wrong"}
    if settings is not None:
        found += _moved(settings, [ref for ref in sources.refs() if ref.source_name == name and ref.name in wrong])
    return found


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

    from tasks.landing import decoder

    yield Finding(
        "ok", "versions", f"Python {sys.version.split()[0]}, Prefect {version('prefect')}, dbt {version('dbt-core')}"
    )
    if decoder.native_available():
        yield Finding("ok", "decoder", "native")
    else:
        yield Finding("warning", "decoder", decoder.SLOW, decoder.INSTALL)


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

    from tasks.landing.transforms import HASH_KEY_VARIABLE
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
    findings += _references(sources)
    return sources


def _references(sources: Sources) -> Iterator[Finding]:
    """Find rules that refer to a table which sources.yaml does not have."""
    from difflib import get_close_matches

    known = [ref.name for ref in sources.refs()]
    for ref in sources.refs():
        for rule in ref.table.rules:
            if rule.reference is None or rule.reference.table in known:
                continue
            nearest = get_close_matches(rule.reference.table, known, n=1, cutoff=_NEARLY)
            meant = f"; did you mean {nearest[0]}?" if nearest else ""
            message = f"rules: {rule.title!r} refers to {rule.reference.table}, which is not in sources.yaml{meant}"
            yield Finding("warning", ref.name, message, "correct the name, or leave it if bronze has such a table")


def _transforms(ref: TableRef) -> Iterator[Finding]:
    from tasks.landing.transforms import Transforms

    Transforms(ref.table.transforms)
    yield Finding("ok", ref.name, f"{len(ref.table.transforms)} transform(s) can be carried out")


def _warehouse(settings: Settings) -> Iterator[Finding]:
    import psycopg

    from tasks import database

    url = settings.database_url()
    try:
        connection = psycopg.connect(url, connect_timeout=CHECK_SECONDS)
    except psycopg.OperationalError as error:
        address = database.address(url)
        yield Finding(
            "wrong",
            "warehouse",
            f"cannot connect to {address}: {first_line(error)}",
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


def _paths(settings: Settings, sources: Sources) -> Iterator[Finding]:
    """Find paths that no document was seen with; nothing where bronze cannot be asked, which others tell."""
    import psycopg

    from tasks.drift import paths
    from tasks.ops.migrations import migrated
    from tasks.sources.config import KEY, NamedPath

    try:
        with psycopg.connect(settings.database_url(), connect_timeout=CHECK_SECONDS) as connection:
            if not migrated(connection):
                return
            seen = {ref.name: paths.seen(connection, ref.key) for ref in sources.refs()}
            for ref in sources.refs():
                for found in paths.unseen(ref.table.named_paths, seen[ref.name]):
                    yield _unseen(ref.name, found)
                for reference in (rule.reference for rule in ref.table.rules if rule.reference):
                    named = NamedPath(f"rules of {ref.name}, reference", reference.field)
                    for found in paths.unseen([named], seen.get(reference.table, ()) if reference.field != KEY else ()):
                        yield _unseen(reference.table, found)
    except (psycopg.OperationalError, WarehouseError):
        return


def _moved(settings: Settings, refs: Sequence[TableRef]) -> Iterator[Finding]:
    """Find loaded tables that were renamed at their source; nothing where bronze cannot be asked, which others tell."""
    import psycopg

    from tasks.drift import origin
    from tasks.ops.migrations import migrated

    if not refs:
        return
    try:
        with psycopg.connect(settings.database_url(), connect_timeout=CHECK_SECONDS) as connection:
            for ref in refs if migrated(connection) else ():
                if moved := origin.successor(connection, ref):
                    message = f"probably renamed to {moved.name!r}: {moved.why}"
                    yield Finding("warning", ref.name, message, origin.remedy(ref, moved))
    except (psycopg.OperationalError, WarehouseError):
        return


def _unseen(name: str, found: Unseen) -> Finding:
    path = found.named.path
    if found.within:
        action = f"name {found.within}, or make it a table with arrays: {{{found.within}: table}} if it is an array"
        return Finding(
            "warning",
            name,
            f"{found.named.key}: nothing in {found.within} is a column, so {path} does nothing",
            action,
        )
    meant = f"; did you mean {found.meant}?" if found.meant else ""
    message = f"{found.named.key}: no document so far has {path}{meant}"
    return Finding("warning", name, message, "correct the path, or leave it if such documents are still to come")


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
    elif prefect.answers(url, CHECK_SECONDS):
        yield Finding("ok", "prefect", redact(url))
    else:
        yield Finding(
            "wrong", "prefect", f"no Prefect server answers at {redact(url)}", "check PREFECT_API_URL and the server"
        )


def _source(home: Path, name: str, source: Source) -> Iterator[Finding]:
    from infra.embedded import services

    if source.secret_block and not services.prefect_is_known(home):
        yield Finding(
            "wrong",
            f"source {name}",
            f"the block {source.secret_block} cannot be read, as no Prefect server runs",
            "run `warehouse up`, or set PREFECT_API_URL to your server",
        )
    else:
        yield from registry.connector(source.kind).check(name, source)
