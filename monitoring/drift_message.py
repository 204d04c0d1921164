"""A message to the team whose application changed: Markdown that shows names and values to the letter."""

from __future__ import annotations

import re
from collections.abc import Sequence

from monitoring.drift import Timeline, Told, printable
from monitoring.masking import mask
from tasks.drift.kinds import KINDS

_BACKTICKS = re.compile("`+")
_ASKED = (
    "Was each of these changes intended?",
    "Will documents that exist already be migrated, and when?",
    "Is more to come, such as a field that goes away once nothing reads it?",
)


def code(text: str) -> str:
    """Return a text as Markdown shows it to the letter: as code, in more backticks than it has itself in a row."""
    shown = printable(text)
    if not shown.strip():
        return code(f'"{shown}"')
    fence = "`" * (max(map(len, _BACKTICKS.findall(shown)), default=0) + 1)
    # Markdown takes one blank from each end, where there are two.
    pad = " " if "`" in (shown[0], shown[-1]) or (shown[0] == shown[-1] == " ") else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def message(timeline: Timeline) -> str:
    """Return the message about the changes of a timeline, which has one at least."""
    began = timeline.releases[0][0].at
    lines = [
        f"# Documents of {code(timeline.table)} have changed",
        "",
        f"Our data warehouse reads {code(timeline.table)}. Since {began:%Y-%m-%d} its documents differ from before.",
        "Reports that use these fields may have gaps until we know what is meant.",
    ]
    for release in timeline.releases:
        lines += ["", f"## Seen on {release[0].at:%Y-%m-%d at %H:%M} UTC", ""]
        renamed = {one.change.field for one in release if one.change.change == "renamed"}
        # That a renamed field is new goes without saying.
        shown = [one for one in release if one.change.change != "appeared" or one.change.field not in renamed]
        lines += [f"- {' '.join(_sentences(one))}" for one in shown]
    lines += ["", "## What we ask", "", *(f"{number}. {text}" for number, text in enumerate(_ASKED, 1))]
    return "\n".join(lines)


def _affected(told: Told) -> str:
    """Return how many of the documents read since are concerned; empty where that is not known."""
    if told.location is None or told.seen is None or not told.seen.rows:
        return ""
    conflict = told.change.change == "type_conflict"
    count = told.seen.rescued if conflict else told.seen.present
    unit = f"elements of {_field(told.location.child)}" if told.location.child else "documents"
    return f"{count:,} of the {told.seen.rows:,} {unit} read since then have {'such a value' if conflict else 'it'}."


def _sentences(told: Told) -> list[str]:
    found = [_what(told), _affected(told)]
    if told.hidden:
        found.append("No examples are shown, as it may hold personal data.")
    found += [_examples("Before", told.old), _examples("Since then", told.new)]
    return [one for one in found if one]


def _what(told: Told) -> str:
    change, field = told.change, _field(told.change.field)
    old, new = code(change.old_type or "no type"), code(change.new_type or "no type")
    match change.change:
        case "appeared":
            return f"{field} is new, of type {new}."
        case "vanished":
            return f"{field} is missing: no document has carried it lately."
        case "reappeared":
            return f"{field} is there again, after it was missing."
        case "widened":
            return f"{field} has values of a wider type: {new}, where it was {old}."
        case "type_conflict":
            return f"{field} has values of another type: {new}, where it was {old}."
        case "renamed":
            return f"{field} probably is the new name of {_field(str(change.evidence['renamed_from']))}."
        case other:
            return f"{field}: {KINDS[other].meaning}."


def _field(path: str) -> str:
    # Keys of documents may be data themselves, such as an address by which a map is kept; the escape of dots hides it.
    return code(mask(path.replace("\\.", ".")))


def _examples(when: str, values: Sequence[str]) -> str:
    return f"{when}: {', '.join(map(code, values))}." if values else ""
