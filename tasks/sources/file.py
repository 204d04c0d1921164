"""The file sources.yaml: read strictly, every mistake named with its line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic import Field, SerializeAsAny, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.constructor import RoundTripConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from tasks.errors import ConfigError
from tasks.sources import registry
from tasks.sources.config import Name, Source, Strict, TableRef

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
# The first line of a source, two blanks in.
_SOURCE = re.compile(r"  ?[A-Za-z0-9_\"'-]+\s*:")
_DEFAULTS = {"WAREHOUSE_HOME": ".warehouse"}
# A shorter value would blot out ordinary words.
_LEAST_SECRET = 4
# What pydantic says in words of Python.
_SAID = {
    "extra_forbidden": "unknown key",
    "tuple_type": "must be a list, such as [a, b]",
    "dict_type": "must be keys and values, such as {a: 1}",
    "model_type": "must be keys and values; {} where every key has its default",
}
# What stands for the value of a variable that is not set.
_UNSET = "unset:"
# What pydantic puts behind a key that is wrong itself.
_OF_KEY = "[key]"

_Loc = tuple[str | int, ...]


class Sources(Strict):
    """The whole of sources.yaml."""

    sources: dict[Name, SerializeAsAny[Source]] = Field(min_length=1)

    def refs(self) -> list[TableRef]:
        """Return every table, in the order of the file."""
        return [
            TableRef(source_name, table_name, source, table)
            for source_name, source in self.sources.items()
            for table_name, table in source.tables.items()
        ]

    def table(self, name: str) -> TableRef:
        """Return the table called `source.table`.

        Raises:
            ConfigError: No table has this name; the message lists those that exist.
        """
        for ref in self.refs():
            if ref.name == name:
                return ref
        known = ", ".join(ref.name for ref in self.refs())
        raise ConfigError(f"no table is called {name!r}", "sources.yaml", f"use one of: {known}")


class _Outline(Strict):
    """What the file is before the kinds of its sources are looked at."""

    sources: dict[Name, dict[str, Any]] = Field(min_length=1)


class _Constructor(RoundTripConstructor):
    """Takes note of keys that are there twice, of which the first counts, so that all other mistakes are told, too."""

    def check_mapping_key(self, node: Any, key_node: Any, mapping: Any, key: Any, value: Any) -> bool:
        if key not in mapping:
            return True
        first = mapping.lc.key(key)[0] + 1
        self.loader.repeated.append(
            (key_node.start_mark.line + 1, f"the key {str(key)!r} is there twice, first in line {first}")
        )
        return False


class _Yaml(YAML):
    """YAML with line numbers; keys that are there twice are in `repeated`."""

    def __init__(self) -> None:
        super().__init__(typ="rt")
        self.Constructor = _Constructor
        self.repeated: list[tuple[int, str]] = []


# A run reads its file several times, and parsing is nine tenths of that; nobody changes the document.
@lru_cache(maxsize=2)
def _parsed(text: str) -> tuple[Any, list[tuple[int, str]]]:
    """Return the document and its mistakes; where a source is not valid YAML, what is left without it, or None."""
    yaml = _Yaml()
    try:
        document = yaml.load(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problems = [(line, f"not valid YAML: {error.problem or error.context}")]
        return _parsed_without(text, line, problems), problems
    return document, yaml.repeated


def _parsed_without(text: str, line: int, problems: list[tuple[int, str]]) -> Any:
    """Return the document without the source that a line is part of; its other lines keep their numbers."""
    lines = text.splitlines()
    heads = [number for number, one in enumerate(lines) if _SOURCE.match(one)]
    begin = max((number for number in heads if number < line), default=0)
    end = min((number for number in heads if number >= line), default=len(lines))
    if len(heads) < 2 or begin == 0:
        return None
    yaml = _Yaml()
    try:
        document = yaml.load("\n".join([*lines[:begin], *[""] * (end - begin), *lines[end:]]))
    except YAMLError:
        return None
    problems += yaml.repeated
    return document


def _checked(document: Any, environment: Mapping[str, str], problems: list[tuple[int, str]]) -> dict[str, Source]:
    if not isinstance(document, Mapping):
        return {}
    plain = _expand(document, environment, problems, document, ())
    return _validated(plain, document, problems)


def _no_text(path: Path) -> ConfigError:
    return ConfigError("not a YAML text", str(path), "save it as UTF-8, without control characters")


def load_sources(path: Path, environment: Mapping[str, str] | None = None) -> Sources:
    """Read and validate sources.yaml; only the connectors of the kinds that it names are imported.

    Args:
        path: The file.
        environment: Variables for `${NAME}`; default the process's environment.

    Raises:
        ConfigError: With every mistake and its line number.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read sources: {error.strerror}", str(path), "set WAREHOUSE_SOURCES") from None
    except UnicodeDecodeError:
        raise _no_text(path) from None
    try:
        document, mistakes = _parsed(text)
    except YAMLError:
        raise _no_text(path) from None
    problems = list(mistakes)
    if not isinstance(document, Mapping) and not problems:
        raise ConfigError("sources.yaml is empty", str(path), "it starts with `sources:`")
    sources = _checked(document, {**_DEFAULTS, **(os.environ if environment is None else environment)}, problems)
    if problems:
        told = tuple(f"line {line}: {problem}" for line, problem in sorted(problems, key=lambda found: found[0]))
        raise ConfigError(f"{len(told)} mistake(s)", str(path), "correct the lines below", told)
    return Sources.model_construct(sources=sources)


def hide_variables(text: str, path: Path) -> str:
    """Return a text in which the values of the variables of a sources.yaml stand as `${NAME}` again."""
    for name in set(_VARIABLE.findall(path.read_text(encoding="utf-8"))):
        value = os.environ.get(name, "")
        if len(value) >= _LEAST_SECRET:
            text = text.replace(value, f"${{{name}}}").replace(quote(value, safe=""), f"${{{name}}}")
    return text


def _validated(plain: Any, document: object, problems: list[tuple[int, str]]) -> dict[str, Source]:
    """Return the sources by name, each as its kind's own model; add every mistake to `problems`."""
    try:
        _Outline.model_validate(plain)
    except ValidationError as error:
        problems += _told(error, document, ())
    found = plain.get("sources")
    sources: dict[str, Source] = {}
    for name, body in found.items() if isinstance(found, dict) else ():
        if not isinstance(body, dict):
            continue
        loc = ("sources", name)
        try:
            sources[name] = _model(body.get("kind")).model_validate(body)
        except ValidationError as error:
            problems += _told(error, document, loc)
        except registry.UnknownKind as error:
            problems.append((_line(document, (*loc, "kind")), f"{'.'.join(loc)}.kind: {error}"))
    return sources


def _model(kind: object) -> type[Source]:
    return registry.connector(kind).config if isinstance(kind, str) else Source


def _expand(
    node: object, environment: Mapping[str, str], problems: list[tuple[int, str]], root: object, loc: _Loc
) -> Any:
    """Return plain data with `${NAME}` replaced; an unset variable is a problem, never an empty text."""
    if isinstance(node, Mapping):
        return {str(key): _expand(value, environment, problems, root, (*loc, key)) for key, value in node.items()}
    if isinstance(node, list):
        return [_expand(value, environment, problems, root, (*loc, index)) for index, value in enumerate(node)]
    if not isinstance(node, str):
        return node

    def replace(match: re.Match[str]) -> str:
        if match[1] not in environment:
            path = ".".join(str(part) for part in loc)
            problems.append((_line(root, loc), f"{path}: the environment variable {match[1]} is not set"))
        return environment.get(match[1], f"{_UNSET}{match[1]}")

    return _VARIABLE.sub(replace, str(node))


def _told(error: ValidationError, document: object, above: _Loc) -> Iterator[tuple[int, str]]:
    """Yield each mistake with its line, in a person's words; the input is left out, it may be a secret."""
    for item in error.errors():
        if isinstance(item["input"], str) and _UNSET in item["input"]:
            # Of a variable that is not set nothing else is to be said.
            continue
        loc = (*above, *item["loc"])
        path = ".".join(str(part) for part in _keys(document, loc))
        yield _line(document, loc), f"{path}: {_SAID.get(item['type'], item['msg'].removeprefix('Value error, '))}"


def _keys(root: object, loc: _Loc) -> Iterator[str | int]:
    """Yield the parts of `loc` that are keys: not pydantic's own between them, such as the tag of a union."""
    node: Any = root
    last = len(loc) - (2 if loc[-1] == _OF_KEY else 1)
    for index, part in enumerate(loc[: last + 1]):
        try:
            node = node[part]
        except (KeyError, IndexError, TypeError):
            if index < last:
                continue
        yield part


def _line(root: object, loc: Sequence[str | int]) -> int:
    """Return the 1-based line of the deepest part of `loc` that the file holds."""
    node, line = root, getattr(getattr(root, "lc", None), "line", 0)
    for part in loc:
        try:
            line = (node.lc.item(part) if isinstance(part, int) else node.lc.key(part))[0]  # type: ignore[attr-defined]
            node = node[part]  # type: ignore[index]
        except (KeyError, AttributeError, TypeError, IndexError):
            # Not in the file: a union's tag, or a key that YAML merged in; go on from the parent.
            continue
    return int(line) + 1
