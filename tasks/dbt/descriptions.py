"""The `.yml` of a company's staging model, kept in step with the columns of its block: descriptions are added.

Lines are put into the text, so that all else stays as people wrote it. Parsed, it differs by the new columns alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError

from tasks.dbt.company import read_text

_DASH = re.compile(r"([ ]*)- ")


@dataclass(frozen=True)
class Described:
    """The file that describes a model, without and with new columns.

    Attributes:
        path: The file.
        before: Its text.
        lines: What the new columns are described by, as the lines stand in it.
        after: Its text with them; None where they cannot be put in without a person.
    """

    path: Path
    before: str
    lines: tuple[str, ...]
    after: str | None


def with_columns(files: Iterable[Path], model: str, columns: Mapping[str, str]) -> Described | None:
    """Return the file that describes a model's columns, with new ones.

    Args:
        files: Of the project.
        model: Name of the model.
        columns: By name the description of each new column.

    Returns:
        None where no file describes columns of the model, or one describes all of these already.
    """
    for path in files:
        if path.suffix not in (".yml", ".yaml") or model not in (text := read_text(path)):
            continue
        listed = _columns(_parsed(text), model)
        if not listed:
            continue
        known = {str(column.get("name")).lower() for column in listed if isinstance(column, Mapping)}
        missing = {name: told for name, told in columns.items() if name.lower() not in known}
        return _added(path, text, listed, model, missing) if missing else None
    return None


def _parsed(text: str) -> Any:
    try:
        return YAML().load(text)
    except YAMLError:
        return None


def _columns(document: Any, model: str) -> CommentedSeq | None:
    """Return the columns that a parsed file lists of a model; None where it lists none."""
    models = document.get("models") if isinstance(document, CommentedMap) else None
    for one in models if isinstance(models, CommentedSeq) else ():
        if isinstance(one, CommentedMap) and one.get("name") == model:
            columns = one.get("columns")
            return columns if isinstance(columns, CommentedSeq) else None
    return None


def _added(path: Path, text: str, listed: CommentedSeq, model: str, columns: Mapping[str, str]) -> Described:
    # Not `splitlines`, for which more ends a line than for YAML.
    rows = re.split(r"(?<=\n)", text)
    first = listed.lc.item(len(listed) - 1)[0]
    dash = _DASH.match(rows[first])
    indent = dash[1] if dash else ""
    lines = tuple(_lines(indent, columns))
    if dash is None:
        return Described(path, text, lines, None)
    end = _end(rows, first, len(indent))
    ending = "\r\n" if "\r\n" in text else "\n"
    head = "".join(rows[:end])
    head += "" if head.endswith("\n") else ending
    after = head + "".join(f"{line}{ending}" for line in lines) + "".join(rows[end:])
    return Described(path, text, lines, after if _differs_by(text, after, model, columns) else None)


def _lines(indent: str, columns: Mapping[str, str]) -> Iterator[str]:
    for name, told in columns.items():
        yield f"{indent}- name: {json.dumps(name)}"
        yield f"{indent}  description: {json.dumps(told)}"


def _end(rows: list[str], first: int, depth: int) -> int:
    """Return the row after an item of a list: blank rows, and comments that are not deeper than it, come after it."""
    end = first + 1
    for number in range(first + 1, len(rows)):
        row = rows[number].strip()
        if not row:
            continue
        if len(rows[number]) - len(rows[number].lstrip(" ")) <= depth:
            break
        end = number + 1
    return end


def _differs_by(before: str, after: str, model: str, columns: Mapping[str, str]) -> bool:
    """Return whether the new columns, at the end of the model's, are all that a text has more than another."""
    new = [{"name": name, "description": told} for name, told in columns.items()]
    document = _parsed(after)
    listed = _columns(document, model)
    if listed is None or [*listed[-len(new) :]] != new:
        return False
    del listed[-len(new) :]
    return bool(document == _parsed(before))
