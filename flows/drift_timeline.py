"""`warehouse drift timeline` and `warehouse drift message`: what changed in a table's documents, for people."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands import tables_of

if TYPE_CHECKING:
    from monitoring.drift import Timeline, Told

Table = Annotated[str, typer.Argument(metavar="TABLE", help="source.table", autocompletion=tables_of)]
_HEADERS = (
    *("release", "id", "field", "change", "was", "is", "action", "read", "rows since", "with the field", "rescued"),
    *("before", "since", "hidden", "state", "next", "models"),
)


def register(group: typer.Typer) -> None:
    """Add the commands to the group `drift`."""
    group.command("timeline")(timeline)
    group.command("message")(message)


def timeline(name: Table) -> None:
    """Show all changes of a table by the application's likely releases, with samples, and what is open."""
    from flows.console import options, say, table

    found = _found(name, None, resolved=True)
    if options.json:
        table(_HEADERS, [_row(n, one, found) for n, group in enumerate(found.releases, 1) for one in group])
        return
    for line in _lines(found):
        say(line)


def message(
    name: Table,
    since: Annotated[
        str | None, typer.Option(help="Only what was read from this time on (ISO 8601; no zone means UTC).")
    ] = None,
) -> None:
    """Print a Markdown message to the application's team about what is open: what changed, since when, what we ask."""
    from flows.console import say
    from monitoring import drift_message

    found = _found(name, _moment(since) if since else None, resolved=False)
    if found.releases:
        say(drift_message.message(found))
    else:
        say(f"no schema change of {found.table} is open{f' since {since}' if since else ''}: there is nothing to ask")


def _found(name: str, since: datetime | None, *, resolved: bool) -> Timeline:
    from flows.cli import _table
    from flows.views import opened
    from monitoring import drift

    settings, ref = _table(name)
    with opened(settings.database_url()) as connection:
        return drift.timeline(connection, ref, since, resolved=resolved)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"--since {text!r} is no time such as 2026-01-31 or 2026-01-31T12:00:00Z") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _row(number: int, told: Told, found: Timeline) -> tuple[Any, ...]:
    change, seen = told.change, told.seen
    return (
        *(number, change.id, change.field, change.change, change.old_type, change.new_type, change.action, told.at),
        *((seen.rows, seen.present, seen.rescued) if seen else (None, None, None)),
        *(list(told.old), list(told.new), told.hidden or None, _state(told), _next(told), found.models),
    )


def _lines(found: Timeline) -> Iterator[str]:
    told = [one for group in found.releases for one in group]
    if not told:
        yield f"{found.table}: no change has been seen since its first load"
        return
    still = sum(one.change.resolved_at is None for one in told)
    yield f"{found.table}: {len(told):,} change(s) in {len(found.releases):,} likely release(s), {still:,} open"
    yield f"dbt models above: {', '.join(found.models) or 'none is known; they are noted when dbt runs'}"
    for number, group in enumerate(found.releases, 1):
        first, last = group[0].at, group[-1].at
        until = f" to {last:%Y-%m-%d %H:%M}" if last != first else ""
        yield f"\nrelease {number}, read {first:%Y-%m-%d %H:%M}{until} UTC"
        for one in group:
            yield from _change_lines(one)


def _change_lines(told: Told) -> Iterator[str]:
    from monitoring.drift import printable

    change = told.change
    types = " to ".join(filter(None, (change.old_type, change.new_type)))
    field, action = printable(change.field), printable(change.action)
    yield f"  {change.id}  {field}: {change.change}{f' ({types})' * bool(types)}; {action}; {_state(told)}"
    if told.seen and told.seen.rows:
        rescued = f", {told.seen.rescued:,} rescued" if told.seen.rescued else ""
        yield f"      rows read since: {told.seen.present:,} of {told.seen.rows:,} have it{rescued}"
    if told.hidden:
        yield f"      samples: none, {told.hidden}"
    for when, values in (("before", told.old), ("since", told.new)):
        if values:
            yield f"      {when}: {' | '.join(values)}"
    if step := _next(told):
        yield f"      next: {step}"


def _next(told: Told) -> str | None:
    """Return what a person does about an open change."""
    from tasks.drift.kinds import KINDS

    return KINDS[told.change.change].next_step if told.change.resolved_at is None else None


def _state(told: Told) -> str:
    from monitoring.drift import printable

    change = told.change
    if change.resolved_at is None:
        return "open"
    return printable(f"closed {change.resolved_at:%Y-%m-%d %H:%M} by {change.resolved_by}: {change.resolved_why}")
