"""Commands of other people's connectors: `warehouse connectors list`, `install`, `check`, `discover`, `verify`."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.commands import sources_of
from tasks.errors import ConfigError

connectors_app = typer.Typer(help="Other people's connectors, for sources of kind airbyte.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(metavar="NAME", help="From `connectors list`.")]
Source = Annotated[str, typer.Argument(metavar="SOURCE", help="A source of sources.yaml.", autocompletion=sources_of)]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.add_typer(connectors_app, name="connectors")


@connectors_app.command("list")
def list_() -> None:
    """List the connectors of the catalogue, with how far each was seen to work."""
    from flows.console import table
    from tasks.connectors import catalogue, environments

    headers = ("connector", "version", "licence", "python", "API", "ends", "grade", "installed", "remark")
    rows = []
    for name, entry in sorted(catalogue.entries().items()):
        there = entry.grade != "refused" and environments.installed(name) is not None
        told = (entry.version, entry.licence, entry.python, entry.api, str(entry.ends or ""), entry.grade)
        rows.append((name, *told, "yes" if there else "", entry.reason))
    table(headers, rows)


@connectors_app.command("install")
def install(name: Name) -> None:
    """Install a connector from PyPI into an environment of its own, every package by the hash of its lock."""
    from flows.console import note, say
    from tasks.connectors import catalogue, environments

    note(f"installing {name}: some 100 packages, a minute or two")
    made = environments.install(name)
    entry = catalogue.entries()[name]
    say(f"{entry.package} {made.version} is installed in {environments.program(name).parents[1]}")
    if entry.licence == "ELv2":
        say(
            "Its licence is the Elastic License 2.0: you may use it for your own company, not offer it to others as a "
            "service, and no image that you publish may hold it."
        )
    if entry.grade != "verified":
        say(f"It is not verified ({entry.grade}): compare what it reads with the service. {entry.reason}".rstrip())


@connectors_app.command("check")
def check(source: Source) -> None:
    """Ask a source's connector whether it can read each account, and show the first rows; as `check SOURCE`."""
    from flows import cli

    cli.check(source)


@connectors_app.command("discover")
def discover(source: Source) -> None:
    """List the streams that a source's connector can read: what may stand under `tables`."""
    from flows.console import table
    from tasks.settings import get_settings
    from tasks.sources import load_sources, registry

    sources = load_sources(get_settings().sources).sources
    if source not in sources:
        raise ConfigError(f"no source is called {source!r}", "sources.yaml", f"use one of: {', '.join(sources)}")
    found = sources[source]
    rows = [
        (offer.name, ", ".join(offer.modes), ", ".join(offer.key), ", ".join(offer.fields))
        for offer in registry.connector(found.kind).offers(source, found)
    ]
    table(("stream", "modes", "key", "fields"), rows)


@connectors_app.command("verify")
def verify(name: Name) -> None:
    """Let an installed connector read a fake of its service, on this machine, and compare what has landed."""
    import tempfile
    from pathlib import Path

    from flows.console import say
    from infra.sample.connectors.verify import verify as tell

    with tempfile.TemporaryDirectory() as folder:
        for seen in tell(name, Path(folder)):
            say(seen)
    say(f"{name} reads truly")
