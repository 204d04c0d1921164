"""The reference, generated from the code: `warehouse schema` for editors, and docs/reference/ by `make reference`."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from pydantic import BaseModel

FOLDER = Path("docs/reference")
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
# An attribute of a docstring's section: four spaces in from the section's name, its text going on further in.
_ATTRIBUTE = re.compile(r"^    (\w+): (.+(?:\n {5,}.+)*)", re.MULTILINE)
_ABBREVIATIONS = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("schema")(print_schema)


def print_schema() -> None:
    """Print the JSON Schema of sources.yaml, by which editors complete and check the file."""
    typer.echo(json.dumps(schema(), indent=2))


# -- sources.yaml -----------------------------------------------------------------------------------------------------


def schema() -> dict[str, Any]:
    """Return the JSON Schema of sources.yaml, with every kind of source that is installed."""
    from tasks.sources import registry
    from tasks.sources.config import NAME_PATTERN

    kinds = registry.kinds()
    definitions: dict[str, Any] = {}
    choices = []
    for kind in kinds:
        made = _model_schema(registry.connector(kind).config)
        definitions |= made.pop("$defs", {})
        definitions[f"kind {kind}"] = made
        choices.append(
            {
                "if": {"properties": {"kind": {"const": kind}}},
                "then": {"$ref": f"#/$defs/kind {kind}".replace(" ", "%20")},
            }
        )
    source = {"type": "object", "required": ["kind"], "properties": {"kind": {"enum": list(kinds)}}, "allOf": choices}
    sources = {"type": "object", "minProperties": 1, "propertyNames": {"pattern": NAME_PATTERN}}
    return {
        "$schema": _DIALECT,
        "title": "sources.yaml",
        "type": "object",
        "required": ["sources"],
        "additionalProperties": False,
        "properties": {"sources": {**sources, "additionalProperties": source}},
        "$defs": definitions,
    }


def _model_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return a model's JSON Schema, in which each key has the text of its class's docstring."""
    from pydantic.json_schema import GenerateJsonSchema

    class Described(GenerateJsonSchema):
        def model_schema(self, schema: Any) -> dict[str, Any]:
            made = super().model_schema(schema)
            told = attributes(schema["cls"])
            made["description"] = _first_line(schema["cls"])
            for name, body in made.get("properties", {}).items():
                body.pop("title", None)
                if name in told:
                    body["description"] = told[name]
            return made

        def dict_schema(self, schema: Any) -> dict[str, Any]:
            made = super().dict_schema(schema)
            # A pattern of names alone would let any other name pass.
            for pattern, body in made.pop("patternProperties", {}).items():
                made |= {"propertyNames": {"pattern": pattern}, "additionalProperties": body}
            return made

        def encode_default(self, dft: Any) -> Any:
            return duration(dft) if isinstance(dft, timedelta) else super().encode_default(dft)

    return model.model_json_schema(schema_generator=Described)


def attributes(model: type) -> dict[str, str]:
    """Return what the docstrings of a class and of those that it extends say of its attributes."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        _, _, section = (inspect.cleandoc(base.__doc__ or "")).partition("Attributes:\n")
        found |= {name: " ".join(text.split()) for name, text in _ATTRIBUTE.findall(section)}
    return found


def _first_line(model: type) -> str:
    return inspect.cleandoc(model.__doc__ or "").partition("\n")[0]


def duration(length: timedelta) -> str:
    """Return a duration as people write it in sources.yaml."""
    seconds = int(length.total_seconds())
    return next(
        (f"{seconds // unit}{letter}" for unit, letter in _ABBREVIATIONS if seconds and not seconds % unit), "0s"
    )


def _type_of(body: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """Return the type of a key in words."""
    if "$ref" in body:
        name = _target(body["$ref"])
        return (
            f"[{name}](#{name.lower()})"
            if definitions[name].get("properties")
            else _type_of(definitions[name], definitions)
        )
    if "const" in body:
        return f"`{body['const']}`"
    if "enum" in body:
        return ", ".join(f"`{value}`" for value in body["enum"])
    if "anyOf" in body:
        return " or ".join(_type_of(one, definitions) for one in body["anyOf"] if one.get("type") != "null")
    if body.get("type") == "array":
        return f"list of {_type_of(body.get('items', {}), definitions)}"
    if body.get("type") == "object" and isinstance(body.get("additionalProperties"), dict):
        return f"by name: {_type_of(body['additionalProperties'], definitions)}"
    return {"integer": "whole number", "number": "number", "boolean": "true, false", "string": "text"}.get(
        body.get("type", ""), "anything"
    )


def _target(reference: str) -> str:
    return reference.rpartition("/")[2]


def _rows(body: Mapping[str, Any], definitions: Mapping[str, Any]) -> Iterator[str]:
    required = body.get("required", [])
    yield "| key | values | default | |"
    yield "|---|---|---|---|"
    for name, part in body["properties"].items():
        default = "required" if name in required else json.dumps(part.get("default"))
        default = "" if default in ("null", "{}", "[]") else default if name in required else f"`{default}`"
        yield _row(f"`{name}`", _type_of(part, definitions), default, part.get("description", ""))


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def sources_page() -> str:
    """Return the page of every key of sources.yaml."""
    from tasks.sources import registry

    lines = ["# sources.yaml", "", "Every key, by kind of source. `warehouse schema` prints the same for editors.", ""]
    parts: dict[str, Any] = {}
    for kind in registry.kinds():
        made = _model_schema(registry.connector(kind).config)
        definitions = made.pop("$defs", {})
        parts |= definitions
        lines += [f"## kind: {kind}", "", made["description"], "", *_rows(made, definitions), ""]
    for name, body in sorted(parts.items()):
        if body.get("properties"):
            lines += [f"### {name}", "", body.get("description", ""), "", *_rows(body, parts), ""]
    return "\n".join(lines)


# -- settings and commands ---------------------------------------------------------------------------------------------


def settings_page() -> str:
    """Return the page of the settings."""
    from tasks.settings import PREFIX, Settings

    told = attributes(Settings)
    lines = ["# Settings", "", "Read from the environment by every command and every pod.", ""]
    lines += ["| variable | default | |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None else f"`{field.default}`"
        lines.append(_row(f"`{PREFIX}{name.upper()}`", default, told[name]))
    return "\n".join(lines) + "\n"


def commands_page() -> str:
    """Return the page of the commands."""
    from typer.main import get_command

    from flows.cli import app

    lines = ["# Commands", "", "As `warehouse COMMAND --help` shows them.", ""]
    for words, command, context in _commands(get_command(app), "warehouse", None):
        lines += [f"## {words}", "", inspect.cleandoc(command.help or "").replace("\b", ""), ""]
        records = [record for parameter in command.params if (record := parameter.get_help_record(context))]
        if records:
            lines += ["| | |", "|---|---|", *(_row(f"`{first}`", text) for first, text in records), ""]
        if command.epilog:
            examples = [line.strip() for line in command.epilog.splitlines()[2:]]
            lines += [*(f"    {example}" for example in examples), ""]
    return "\n".join(lines)


def changes_page() -> str:
    """Return the page of the kinds of changes."""
    from tasks.drift.kinds import KINDS

    lines = ["# Kinds of changes", "", "As `ops.schema_changes.change` and `warehouse drift` name them.", ""]
    lines += ["| kind | what was seen | next step |", "|---|---|---|"]
    lines += [_row(f"`{name}`", kind.meaning, kind.next_step) for name, kind in KINDS.items()]
    return "\n".join(lines) + "\n"


def _commands(command: Any, words: str, parent: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield every command that does something, with its words and its context."""
    import click

    context = click.Context(command, info_name=words.rpartition(" ")[2], parent=parent)
    if not hasattr(command, "list_commands"):
        yield words, command, context
        return
    for name in sorted(command.list_commands(context)):
        inner = command.get_command(context, name)
        if inner is not None and not inner.hidden:
            yield from _commands(inner, f"{words} {name}", context)


# -- all of it ---------------------------------------------------------------------------------------------------------


def files() -> dict[str, str]:
    """Return the files of docs/reference by name."""
    return {
        "settings.md": settings_page(),
        "commands.md": commands_page(),
        "sources.md": sources_page(),
        "changes.md": changes_page(),
        "sources.schema.json": json.dumps(schema(), indent=2) + "\n",
    }


def write(folder: Path) -> None:
    """Write the reference into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(FOLDER)
