"""The reference says what the code says, and the schema takes and refuses what the product does."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from flows import reference
from tasks.sources import registry

ROOT = Path(__file__).parents[3]
EXAMPLES = [
    ROOT / "sources.yaml",
    *(ROOT / "docs" / "sources").glob("*.md"),
    ROOT / "docs" / "contracts.md",
    ROOT / "README.md",
]
GOOD: dict[str, Any] = {"kind": "mongodb", "uri": "mongodb://h", "database": "d", "tables": {"orders": {"lag": "10m"}}}


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    return Draft202012Validator(reference.schema())


def documents(path: Path) -> list[Any]:
    text = path.read_text()
    blocks = [text] if path.suffix == ".yaml" else re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    loaded = [YAML(typ="safe").load(block) for block in blocks]
    # Days are text to editors, as they are to JSON.
    return [json.loads(json.dumps(one, default=str)) for one in loaded if isinstance(one, dict) and "sources" in one]


def test_the_committed_reference_is_what_the_code_gives() -> None:
    folder = ROOT / reference.FOLDER
    stale = [name for name, text in reference.files().items() if (folder / name).read_text() != text]
    assert not stale, "run `make reference`"


def test_the_schema_is_one_and_names_every_kind(validator: Draft202012Validator) -> None:
    Draft202012Validator.check_schema(validator.schema)
    kinds = validator.schema["properties"]["sources"]["additionalProperties"]["properties"]["kind"]["enum"]
    assert tuple(kinds) == registry.kinds() and "mongodb" in kinds


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_schema_takes_what_the_documentation_shows(validator: Draft202012Validator, path: Path) -> None:
    told = [[error.message for error in validator.iter_errors(document)] for document in documents(path)]
    assert told == [[]] * len(told)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (GOOD, None),
        ({**GOOD, "kind": "oracle"}, "'oracle' is not one of"),
        ({**GOOD, "databse": "d"}, "'databse' was unexpected"),
        ({**GOOD, "tables": {"orders": {"lag": "ten minutes"}}}, "'ten minutes' does not match"),
        ({**GOOD, "tables": {"orders": {"mode": "fast"}}}, "'fast' is not one of"),
        ({**GOOD, "tables": {"Orders": {}}}, "'Orders' does not match"),
        ({name: value for name, value in GOOD.items() if name != "database"}, "'database' is a required property"),
    ],
)
def test_the_schema_refuses_what_check_refuses(
    validator: Draft202012Validator, source: dict[str, Any], said: str | None
) -> None:
    told = [error.message for error in validator.iter_errors({"sources": {"shop": source}})]
    assert told == [] if said is None else any(said in message for message in told), told


def test_definitions_of_two_kinds_share_no_name() -> None:
    seen: dict[str, str] = {}
    for kind in registry.kinds():
        for name, body in reference._model_schema(registry.connector(kind).config).get("$defs", {}).items():
            assert seen.setdefault(name, text := json.dumps(body, sort_keys=True)) == text, f"{name} of {kind}"


def test_keys_have_the_text_of_the_class_that_names_them() -> None:
    class Base:
        """A base.

        Attributes:
            first: One line.
            second: A text that
                goes on, with a colon: here.
        """

    class Derived(Base):
        """A derived one.

        Attributes:
            second: Its own.
        """

    assert reference.attributes(Base) == {"first": "One line.", "second": "A text that goes on, with a colon: here."}
    assert reference.attributes(Derived) == {"first": "One line.", "second": "Its own."}


def test_the_page_of_commands_has_every_command_with_its_examples() -> None:
    page = reference.commands_page()
    assert "## warehouse run\n" in page and "    warehouse checkpoint set shop.orders --start\n" in page
    assert "| `--start` | Read all again. |" in page
