"""From a survey to a proposal for sources.yaml: pure rules, each choice with its reason in words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tasks.mongodb.survey import Field, Survey

# Below this a whole read is cheap, and knows what was deleted.
SMALL = 10_000
# Above this comparing all ids each run is no longer a matter of seconds.
SWEEP = 2_000_000
LARGE = 5_000_000
# A cursor must be a date in nearly all documents; the rest are read each time.
_MOSTLY = 0.95
_CHANGED = re.compile(
    r"^(last_?)?(updated|modified|changed)(_?(at|on|date|time|ts))?$|^_?(updated|modified)_?at$", re.I
)
_DATES = {"datetime", "DatetimeMS"}
_NUMBERS = {"int", "Int64", "float", "Decimal128"}
_EMAIL = re.compile(r"^[^@\s]+@[^@\s]+\.[^@\s]+$")
_PHONE = re.compile(r"^\+?[0-9][0-9 ()/.-]{6,}[0-9]$")
_SECRET = re.compile(
    r"pass(word|wd|phrase)|secret|token|(api|private)_?key|card_?number|\bcvc\b|\bcvv\b|\biban\b|\bpan\b", re.I
)
_PERSON = re.compile(
    r"^(e_?mail(_?address)?|phone(_?number)?|mobile|first_?name|last_?name|full_?name|surname|birth_?(day|date)"
    r"|date_?of_?birth|dob|street|address_?line_?[0-9]|ip(_?address)?|ssn|tax_?id|passport(_?number)?)$",
    re.I,
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@dataclass
class Proposal:
    """One table of sources.yaml: its keys in order, each with a reason, and remarks for the person who reads it."""

    table: str
    keys: dict[str, object] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    steps: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, key: str, value: object, reason: str) -> None:
        """Propose a key."""
        self.keys[key] = value
        self.reasons[key] = reason


def propose(surveys: Iterable[Survey], *, streams: bool) -> list[Proposal]:
    """Return a table for each collection that can be read.

    Args:
        surveys: What is known of the collections.
        streams: Whether the server has change streams.
    """
    readable = [survey for survey in surveys if survey.refused is None]
    taken: set[str] = set()
    # A collection whose name can be used keeps it; the others get what is left.
    usable_first = sorted(readable, key=lambda survey: table_name(survey.name) != survey.name)
    names = {survey.name: table_name(survey.name, taken) for survey in usable_first}
    return [_table(survey, names[survey.name], streams) for survey in readable]


def table_name(collection: str, taken: set[str] | None = None) -> str:
    """Return a usable table name: small letters, digits and single underscores, 40 at most, and not yet taken."""
    taken = set() if taken is None else taken
    words = re.findall(r"[a-z0-9]+", _CAMEL.sub("_", collection).lower())
    base = "_".join(words) or "collection"
    base = (base if base[0].isalpha() else f"c_{base}")[:40].rstrip("_")
    name, number = base, 1
    while name in taken:
        number += 1
        name = f"{base[: 39 - len(str(number))]}_{number}"
    taken.add(name)
    return name


def _table(survey: Survey, name: str, streams: bool) -> Proposal:
    proposal = Proposal(name)
    if name != survey.name:
        proposal.add("collection", survey.name, "the table's own name has small letters only")
    _mode(proposal, survey, streams)
    _arrays(proposal, survey)
    _personal(proposal, survey)
    _mixed(proposal, survey)
    return proposal


def _mode(proposal: Proposal, survey: Survey, streams: bool) -> None:
    count = survey.documents
    if survey.kind != "collection":
        proposal.add("mode", "full", f"a {survey.kind} has no change stream and no ids to sweep")
        return
    if count is not None and count < SMALL:
        proposal.add("mode", "full", f"about {count:,} documents: read whole each time, which shows deletes, too")
        return
    size = "of unknown size" if count is None else f"about {count:,} documents"
    cursor = _cursor(survey)
    if cursor is not None:
        _incremental(proposal, survey, cursor, size)
    elif streams:
        proposal.add("mode", "cdc", f"{size} and no field that grows with every change; the server has change streams")
    else:
        proposal.add("mode", "full", f"{size}, no field that grows with every change, and no change streams")
        proposal.remarks.append("each run reads all of it: have the application set updated_at, with an index")
    if count is not None and count >= LARGE:
        proposal.add("resources", "large", size)


def _incremental(proposal: Proposal, survey: Survey, cursor: str, size: str) -> None:
    seen = survey.fields[cursor]
    dated = sum(seen.types[kind] for kind in _DATES)
    proposal.add("mode", "incremental", size)
    proposal.add("cursor", cursor, f"a date in {dated} of {survey.sampled} sampled documents")
    proposal.add("lag", "10m", "clocks differ, and writes arrive late")
    if dated < survey.sampled:
        proposal.add("missing_cursor", "include", "documents without it are read each time")
    if survey.documents is not None and survey.documents <= SWEEP:
        proposal.add("deletes", "sweep", "all ids are compared to find what was deleted")
    else:
        proposal.remarks.append("deletes are not found: comparing all ids takes long at this size; cdc would know them")
    if cursor not in survey.indexed:
        proposal.remarks.append(f"{cursor} has no index, so each run reads all: create one on {cursor}")


def _cursor(survey: Survey) -> str | None:
    """Return the field that says when a document was last changed; an indexed one first."""
    found = [
        path
        for path, seen in survey.fields.items()
        if _CHANGED.match(path.rsplit(".", 1)[-1])
        and "." not in path
        and sum(seen.types[kind] for kind in _DATES) >= _MOSTLY * max(survey.sampled, 1)
    ]
    return min(found, key=lambda path: (path not in survey.indexed, len(path)), default=None)


def _arrays(proposal: Proposal, survey: Survey) -> None:
    shapes = _shapes(survey)
    if shapes:
        proposal.add("arrays", shapes, "arrays of documents become child tables, one row an element")


def _shapes(survey: Survey) -> dict[str, str]:
    """Return what each array becomes; one within an array that stays JSON stays with it."""
    shapes: dict[str, str] = {}
    for path, seen in survey.fields.items():
        if seen.elements and not _within(path, [outer for outer, shape in shapes.items() if shape == "json"]):
            shapes[path] = "table" if seen.elements["dict"] == seen.elements.total() else "json"
    return shapes


def _within(path: str, outer: Iterable[str]) -> bool:
    return any(path.startswith(f"{parent}.") for parent in outer)


def _personal(proposal: Proposal, survey: Survey) -> None:
    out_of_reach = [path for path, shape in _shapes(survey).items() if shape == "json"]
    for path, seen in survey.fields.items():
        key = _CAMEL.sub("_", path.rsplit(".", 1)[-1])
        reason = "looks like a secret" if _SECRET.search(key) else _person(key, seen)
        if reason is None or seen.types["dict"] or seen.elements:
            continue
        if _within(path, out_of_reach):
            proposal.remarks.append(f"{path} {reason}, within an array that stays JSON: exclude the array, or drop it")
        else:
            proposal.steps.append(("drop" if _SECRET.search(key) else "hash", path, reason))


def _person(key: str, seen: Field) -> str | None:
    if _PERSON.match(key):
        return "is named like personal data"
    texts = [text for text in seen.texts if text]
    for pattern, what in ((_EMAIL, "e-mail addresses"), (_PHONE, "phone numbers")):
        matching = sum(bool(pattern.match(text)) for text in texts)
        if matching >= 3 and 2 * matching > len(texts) and not (pattern is _PHONE and not _has_plus(texts)):
            return f"holds {what}"
    return None


def _has_plus(texts: list[str]) -> bool:
    """Return whether numbers are written as phone numbers are: days and article numbers have no plus sign."""
    return any(text.startswith("+") for text in texts)


def _mixed(proposal: Proposal, survey: Survey) -> None:
    for path, seen in survey.fields.items():
        kinds = {kind: count for kind, count in seen.types.items() if kind not in ("NoneType", "dict", "list")}
        if len(kinds) > 1 and not kinds.keys() <= _NUMBERS:
            told = ", ".join(f"{kind} in {count}" for kind, count in sorted(kinds.items(), key=lambda item: -item[1]))
            proposal.remarks.append(f"{path} has values of several types: {told}")


def to_yaml(name: str, database: str, proposals: Iterable[Proposal], refused: Mapping[str, str]) -> str:
    """Return the text of sources.yaml: every choice with its reason beside it.

    Args:
        name: The source's name.
        database: The database.
        proposals: Its tables.
        refused: Collections that could not be read, with the server's words.
    """
    lines = [
        "# What to ingest, proposed from a sample of each collection. Read it, correct it, then: warehouse check",
        "sources:",
        f"  {name}:",
        "    kind: mongodb",
        "    uri: ${MONGODB_URI}",
        f"    database: {_scalar(database)}",
        "    tables:",
    ]
    for proposal in proposals:
        lines += _lines(proposal)
    lines += [
        f"      # {_one_line(collection)} could not be read: {_one_line(reason)}"
        for collection, reason in refused.items()
    ]
    return "\n".join(lines) + "\n"


def _lines(proposal: Proposal) -> list[str]:
    lines = [f"      {_scalar(proposal.table)}:"]
    lines += [f"        # {_one_line(remark)}" for remark in proposal.remarks]
    for key, value in proposal.keys.items():
        lines.append(f"        {key}: {_value(value)}  # {_one_line(proposal.reasons[key])}")
    if proposal.steps:
        lines.append("        transforms:")
        lines += [
            f"          - {step}: {_scalar(path)}  # {_one_line(reason)}" for step, path, reason in proposal.steps
        ]
    return lines


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_scalar(str(key))}: {inner}" for key, inner in value.items()) + "}"
    return _scalar(str(value))


def _scalar(text: str) -> str:
    """Return a text as YAML reads it back: quoted where it is not a plain word."""
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*|[0-9]+(ms|s|m|h|d)", text) and text.lower() not in (
        "true",
        "false",
        "null",
        "yes",
        "no",
    ):
        return text
    plain = (c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in text)
    return f'"{"".join(plain)}"'


def _one_line(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in " ".join(text.split()))
