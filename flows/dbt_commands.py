"""Commands for a company's own models: `warehouse dbt`, `warehouse model new`, `warehouse upgrade --check`."""

from __future__ import annotations

from typing import Annotated

import typer

from tasks.errors import ConfigError

_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}

model_app = typer.Typer(help="Write dbt models of your own from what bronze has.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command("dbt", context_settings=_PASS_ON, add_help_option=False)(run_dbt)
    app.command("upgrade")(upgrade)
    app.add_typer(model_app, name="model")


def run_dbt(context: typer.Context) -> None:
    """Run dbt on your project with the right environment: `warehouse dbt test --select stg_shop__orders`.

    What it builds, it builds in place; `warehouse run` builds and tests aside and then shows it to readers.
    """
    import os
    import subprocess
    import sys

    from flows.cli import _serve, _settings
    from tasks import dbt

    settings = _settings()
    project = dbt.Project.of(settings)
    _serve(settings)
    env = dbt.environment(settings.database_url(), os.environ)
    # "-P" keeps the working directory off the import path: a folder called dbt there must not hide the package.
    # Not "-m dbt.cli.main": the package imports that module itself, of which Python would warn each time.
    program = [sys.executable, "-P", "-c", "from dbt.cli.main import cli; cli(prog_name='warehouse dbt')"]
    folders = ["--project-dir", str(project.folder), "--profiles-dir", str(project.profiles)]
    if project.needs_deps:
        subprocess.run([*program, "deps", *folders], env=env, cwd=project.folder, check=False)  # noqa: S603 - our own
    words = context.args or ["--help"]
    verbs = [*words, *folders] if words[0][:1] != "-" else words
    done = subprocess.run([*program, *verbs], env=env, cwd=project.folder, check=False)  # noqa: S603 - our own
    raise typer.Exit(done.returncode)


@model_app.command("new")
def new(
    name: Annotated[str, typer.Argument(metavar="TABLE", help="source.table, of child tables source.table__field")],
) -> None:
    """Write source, staging model and tests of a loaded table into your dbt project.

    For example: `warehouse model new shop.returns`.
    """
    from flows.cli import _serve, _settings
    from flows.console import say
    from tasks import dbt
    from tasks.database import connect
    from tasks.dbt import staging
    from tasks.dbt.company import write_model

    settings = _settings()
    source, dot, table = name.partition(".")
    if not dot:
        raise ConfigError(f"{name!r} is no table", "", "write source.table, such as shop.orders")
    project = dbt.Project.of(settings)
    _serve(settings)
    with connect(settings.database_url(), autocommit=True) as connection:
        bronze = staging.read(connection, source, table)
    if bronze is None:
        raise ConfigError(f"{name} is not in bronze", name, "load it first: `warehouse run` names its tables")
    for path in write_model(project, source, table, bronze):
        say(f"written: {path}")
    say(f"next: look at it, then `warehouse dbt build --select stg_{source}__{table}`")


def upgrade(
    check: Annotated[
        bool, typer.Option("--check", help="Build what changed aside, and show what differs; readers see nothing.")
    ] = False,
) -> None:
    """Show what the installed version of the product, or changes of your own project, would change in your models."""
    from flows.cli import DONE, FAILED, _serve, _settings
    from flows.console import Steps, say, table
    from tasks.dbt import compare

    if not check:
        raise typer.BadParameter("give --check; the next `warehouse run` builds what changed")
    settings = _settings()
    _serve(settings)
    found = compare.check(settings, Steps())
    for failure in found.failures:
        say(f"failed: {failure}")
    if not found.differences:
        say("no model differs" if not found.failures else "nothing can be compared while models fail")
    else:
        headers = ("model", "columns", "rows before", "rows after", "rows only before", "rows only after")
        table(headers, [difference.row() for difference in found.differences])
    raise typer.Exit(FAILED if found.failures else DONE)
