"""Commands about the shape of documents: `warehouse drift` (show, close, repair), `contract`, `rescue`."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from flows import drift_timeline
from flows.commands import tables_of
from tasks.errors import ConfigError

if TYPE_CHECKING:
    from tasks.dbt.descriptions import Described


class _ShownByDefault(TyperGroup):
    """The group `drift`, of which `show` may be left out: `warehouse drift shop.orders`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `show` before arguments that begin with none of the commands."""
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = ["show", *args]
        return super().parse_args(ctx, args)


drift_app = typer.Typer(cls=_ShownByDefault, help="Changes of the documents' shape: what is open, closing it, repair.")


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    drift_timeline.register(drift_app)
    app.add_typer(drift_app, name="drift")
    app.command()(contract)
    app.command()(rescue)


@drift_app.command("show")
def show(
    tables: Annotated[
        list[str] | None, typer.Argument(metavar="TABLE", help="source.table; none means all", autocompletion=tables_of)
    ] = None,
    limit: Annotated[int, typer.Option(min=1)] = 50,
    everything: Annotated[
        bool, typer.Option("--all", help="Closed entries, too, with who closed them and why.")
    ] = False,
) -> None:
    """Show the open entries of the ledger of schema changes, newest first; `warehouse drift` alone does so, too."""
    from flows import views
    from flows.cli import _settings
    from flows.console import say, table

    found = views.schema_changes(_settings().database_url(), tables or [], everything=everything)
    if found:
        headers = (
            "id",
            "table",
            "field",
            "change",
            "was",
            "is",
            "action",
            "seen",
            *(("closed",) if everything else ()),
        )
        table(headers, found[:limit])
        if len(found) > limit:
            say(f"... and {len(found) - limit:,} earlier one(s); --limit shows more")
    else:
        say("no schema change has been seen" if everything else "no schema change is open; --all shows closed ones")


@drift_app.command("resolve")
def resolve(
    ids: Annotated[list[int], typer.Argument(metavar="ID", help="From `warehouse drift`.")],
    why: Annotated[str, typer.Option(help="What was done, or why nothing has to be.")],
    by: Annotated[str | None, typer.Option(help="Who closes them; default is the user.")] = None,
) -> None:
    """Close entries of the ledger, so that it and the reports show what is open only."""
    from flows import views
    from flows.cli import _settings
    from flows.console import say

    who = by or getpass.getuser()
    views.resolve_schema_changes(_settings().database_url(), ids, who, why)
    say(f"{len(set(ids))} closed by {who}: {why}")


@drift_app.command("write-dbt")
def write_dbt(
    name: Annotated[str, typer.Argument(metavar="TABLE", help="source.table, of child tables source.table__field")],
    yes: Annotated[bool, typer.Option("--yes", help="Write without asking.")] = False,
) -> None:
    """Bring the column block of your staging model up to what bronze has: new fields, renames, wider types.

    New columns are described in the model's .yml, where it describes columns. It shows the difference and asks; what
    stands outside the block stays as it is.
    """
    from flows.cli import _serve, _settings
    from flows.console import say
    from flows.views import opened
    from tasks import dbt
    from tasks.dbt import company, descriptions, staging

    settings = _settings()
    source, dot, table = name.partition(".")
    if not dot:
        raise ConfigError(f"{name!r} is no table", "", "write source.table, such as shop.orders")
    project = dbt.Project.of(settings)
    model = company.find_model(project, source, table)
    _serve(settings)
    with opened(settings.database_url()) as connection:
        bronze = staging.read(connection, source, table)
    if bronze is None:
        raise ConfigError(f"{name} is not in bronze", name, "load it first: `warehouse run` names its tables")
    before = company.read_text(model)
    after = staging.updated(before, bronze)
    if after is None:
        say(staging.new_block(source, table, bronze))
        say()
        say(f"nothing was written: {model} has no column block")
        say("to do: put these lines in the place of those that read bronze; from then on this command keeps them")
    elif after == before:
        say(f"no change: {model} reads all that bronze has of {name}")
    else:
        files = [path for path in project.files() if path.is_relative_to(project.folder)]
        told = descriptions.with_columns(files, model.stem, staging.new_descriptions(before, after, bronze))
        _offer(model, before, after, told, yes)


def _offer(model: Path, before: str, after: str, told: Described | None, yes: bool) -> None:
    """Show what would change in a model and in what describes it, and write both where a person wants it."""
    from difflib import unified_diff

    from flows.console import say
    from tasks.dbt import company

    # The model last: until it is written, all of this is found to be done.
    edits = [(told.path, told.before, told.after)] if told and told.after else []
    edits.append((model, before, after))
    for path, old, new in edits:
        for line in unified_diff(old.splitlines(), new.splitlines(), "as it is", str(path), lineterm=""):
            say(line)
    if told and not told.after:
        say(f"to do: add to the model's columns in {told.path}:")
        for line in told.lines:
            say(line)
    if not _confirmed(yes, str(model)):
        say("nothing was written")
        return
    for path, old, new in edits:
        company.replace_text(path, old, new)
        say(f"written: {path}")
    say(f"next: `warehouse dbt build --select {model.stem}+`, then close the entries: `warehouse drift resolve`")


def _confirmed(yes: bool, where: str) -> bool:
    """Ask a person whether to write.

    Raises:
        ConfigError: Nobody is at a terminal.
    """
    if yes:
        return True
    if not sys.stdin.isatty():
        raise ConfigError(
            "nothing was written, as nobody can be asked", where, "look at the difference, then give --yes"
        )
    return typer.confirm("Write it?", err=True)


def contract(
    name: Annotated[str, typer.Argument(metavar="TABLE", help="source.table", autocompletion=tables_of)],
) -> None:
    """Write rules that everything in bronze keeps, to be read, tightened and pasted into sources.yaml."""
    from flows.cli import _table
    from flows.console import say
    from flows.views import opened
    from tasks.drift.contract import written

    settings, ref = _table(name)
    with opened(settings.database_url()) as connection:
        lines = written(connection, ref.key, ref.table)
    if not lines:
        raise ConfigError("bronze holds nothing of it", ref.name, f"load it first: `warehouse run {ref.name}`")
    say(f"{' ' * 8}# Everything that is in bronze of {ref.name} keeps these rules; see docs/contracts.md.")
    for line in lines:
        say(line)


def rescue(
    name: Annotated[str, typer.Argument(metavar="TABLE", help="source.table", autocompletion=tables_of)],
) -> None:
    """Move rescued values into their columns, after a widening or a change of `on_drift`; the source is not read."""
    from flows.cli import _table
    from flows.console import say, table
    from tasks.bronze.rescue import move_rescued

    settings, ref = _table(name)
    done = move_rescued(ref, settings)
    fields = sorted({**done.moved, **done.left})
    if fields:
        table(("field", "moved", "left"), [(field, done.moved[field], done.left[field]) for field in fields])
    if done.added:
        say(f"columns added: {', '.join(done.added)}")
    say(f"{ref.name}: {done.moved.total():,} value(s) moved, {done.left.total():,} left in _rescued")
    if done.moved.total():
        say(f"next: the models read them from the next `warehouse run {ref.name}` on that loads something")
