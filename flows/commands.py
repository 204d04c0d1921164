"""How commands are listed and found: the five of the first day first, those of other modules imported when called."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import typer.main
from typer.core import TyperGroup

FIRST = ("demo", "check", "run", "status", "report")
"""What somebody needs on the first day."""

ELSEWHERE: dict[str, tuple[str, str]] = {}
"""Commands of other modules: name to `module:typer_app` and its help in one line. Adding one takes one line here."""

EXAMPLES: dict[str, tuple[str, ...]] = {
    "demo": ("warehouse demo",),
    "init": ("warehouse init my-company", "warehouse init my-company --uri 'mongodb://...' --database shop"),
    "source new": (
        "warehouse source new files exports/spend-2026-01.csv --dry-run",
        "warehouse source new files exports/spend-2026-01.csv --name ads",
    ),
    "up": ("warehouse up",),
    "down": ("warehouse down", "warehouse down --wipe"),
    "status": ("warehouse status", "warehouse status --json"),
    "connectors list": ("warehouse connectors list", "warehouse connectors list --json"),
    "connectors install": ("warehouse connectors install snapchat-marketing",),
    "connectors check": ("warehouse connectors check snapchat",),
    "connectors discover": ("warehouse connectors discover snapchat",),
    "connectors verify": ("warehouse connectors verify snapchat-marketing",),
    "check": ("warehouse check", "warehouse check google_ads", "warehouse check --json --quiet"),
    "sql": ('warehouse sql "select count(*) from bronze.shop__orders"', 'warehouse sql --json "select 1 as one"'),
    "run": (
        "warehouse run",
        "warehouse run shop.orders --no-models",
        "warehouse run --plan",
        "warehouse run --keep",
        "warehouse run ga4.sessions --from 2026-01-01 --to 2026-03-31",
    ),
    "report": ("warehouse report --to monday.html",),
    "dashboard": ("warehouse dashboard",),
    "reader": ("warehouse reader --help",),
    "schema": ("warehouse schema > sources.schema.json",),
    "resources": ("warehouse resources",),
    "deploy": ("warehouse deploy --dry-run", "warehouse deploy"),
    "checkpoint show": ("warehouse checkpoint show", "warehouse checkpoint show shop.orders --json"),
    "checkpoint set": (
        "warehouse checkpoint set shop.orders --since 2026-01-01",
        "warehouse checkpoint set shop.orders --start",
    ),
    "drift show": ("warehouse drift show", "warehouse drift show shop.orders --limit 10 --all"),
    "drift resolve": ('warehouse drift resolve 17 18 --why "renamed on purpose, stg_shop__orders reads both"',),
    "drift write-dbt": ("warehouse drift write-dbt shop.orders", "warehouse drift write-dbt shop.orders__items --yes"),
    "drift timeline": ("warehouse drift timeline shop.orders",),
    "drift message": ("warehouse drift message shop.orders", "warehouse drift message shop.orders --since 2026-01-31"),
    "contract": ("warehouse contract shop.orders",),
    "rescue": ("warehouse rescue shop.orders",),
    "rejects list": ("warehouse rejects list", "warehouse rejects list shop.orders --json"),
    "rejects show": ("warehouse rejects show 17",),
    "rejects replay": ("warehouse rejects replay shop.orders", "warehouse rejects replay shop.orders 17 18"),
    "verify": ("warehouse verify shop.orders", "warehouse verify shop.orders --no-values"),
    "rebuild": ("warehouse rebuild shop.orders",),
    "reset": (
        "warehouse reset shop.orders --plan",
        "warehouse reset shop.orders --why 'the filter was wrong'",
        "warehouse reset shop.orders --since 2026-01-01",
    ),
}
"""Examples by command, shown at the end of its help."""


class Commands(TyperGroup):
    """The commands, with those of `ELSEWHERE` imported late."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands."""
        return [*super().list_commands(ctx), *ELSEWHERE]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command, with its examples."""
        if cmd_name in ELSEWHERE:
            module, _, attribute = ELSEWHERE[cmd_name][0].partition(":")
            return typer.main.get_command(getattr(import_module(module), attribute))
        command = super().get_command(ctx, cmd_name)
        _add_examples(command, cmd_name)
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the first day's commands, then all others."""
        helps = {
            name: ELSEWHERE[name][1] if name in ELSEWHERE else self._help(ctx, name) for name in self.list_commands(ctx)
        }
        with formatter.section("Start with"):
            formatter.write_dl([(name, helps.pop(name)) for name in FIRST])
        with formatter.section("All others"):
            formatter.write_dl(sorted(helps.items()))

    def _help(self, ctx: Any, name: str) -> str:
        if name in ELSEWHERE:
            return ELSEWHERE[name][1]
        command = super().get_command(ctx, name)
        return command.get_short_help_str(100) if command else ""


def _add_examples(command: Any, words: str) -> None:
    for name, inner in getattr(command, "commands", {}).items():
        _add_examples(inner, f"{words} {name}")
    if words in EXAMPLES:
        # A paragraph that begins with \b is not wrapped.
        command.epilog = "\b\nExamples:\n" + "\n".join(f"  {example}" for example in EXAMPLES[words])


def sources_of(incomplete: str) -> list[str]:
    """Return the sources of sources.yaml that begin so."""
    return list(dict.fromkeys(name.partition(".")[0] for name in tables_of(incomplete)))


def tables_of(incomplete: str) -> list[str]:
    """Return the tables of sources.yaml that begin so, for a shell's completion; none where the file is wrong."""
    from tasks.errors import ConfigError
    from tasks.settings import get_settings
    from tasks.sources import load_sources

    try:
        return [ref.name for ref in load_sources(get_settings().sources).refs() if ref.name.startswith(incomplete)]
    except ConfigError:
        return []
