"""The command `warehouse source new`: a source proposed from a look at what it is to read, added to sources.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tasks.errors import ConfigError

source_app = typer.Typer(help="Write sources of sources.yaml from a look at what they read.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.add_typer(source_app, name="source")


@source_app.command("new")
def new(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="Kind of source, such as files.")],
    path: Annotated[str, typer.Argument(metavar="PATH", help="What is looked at: one file as it is exported.")],
    name: Annotated[str | None, typer.Option(help="Name of the source; default its folder's.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be written.")] = False,
) -> None:
    """Propose a source from a file, show its first rows as they would land, and add it to sources.yaml."""
    from flows.console import say
    from tasks.settings import get_settings
    from tasks.sources import registry

    try:
        proposal = registry.connector(kind).propose(path, None, name)
    except registry.UnknownKind as error:
        raise ConfigError(str(error), kind, "give one of these") from None
    for line in proposal.lines:
        say(line)
    say()
    say(proposal.yaml.rstrip())
    if not dry_run:
        target = get_settings().sources
        add(target, proposal.source, proposal.yaml)
        say()
        say(f"added to {target}; to do: look at the key and the types, then `warehouse check` and `warehouse run`")


def add(target: Path, name: str, text: str) -> None:
    """Add a source to sources.yaml, which is made where it is missing; what stands there stays to the letter.

    Args:
        target: The file.
        name: Name of the source.
        text: A whole sources.yaml with this one source.

    Raises:
        ConfigError: A source has this name already, or the file is not laid out so that one can be added at its end.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    before = target.read_text(encoding="utf-8") if target.exists() else ""
    by_hand = "add the lines above by hand"
    try:
        known = YAML(typ="safe").load(before) or {}
        if name in (known.get("sources") or {}):
            raise ConfigError(f"there is a source {name!r} already", str(target), "give another one with --name")
        block = text.partition("\n")[2]
        after = f"{before.rstrip()}\n{block}" if before.strip() else text
        wanted = {"sources": {**(known.get("sources") or {}), **YAML(typ="safe").load(text)["sources"]}}
        made = YAML(typ="safe").load(after)
    except (YAMLError, AttributeError) as error:
        raise ConfigError("the source cannot be added to this file", str(target), by_hand) from error
    if made != {**known, **wanted}:
        raise ConfigError("the source cannot be added at the end of this file", str(target), by_hand)
    target.write_text(after, encoding="utf-8")
