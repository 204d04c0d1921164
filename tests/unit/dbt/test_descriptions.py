"""New columns are described in the file that describes a model, of which nothing else changes by a single letter."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.dbt.descriptions import Described, with_columns

NEW = {"city": "Field city of the source.", "it_s": 'Field "it\'s": odd # not a comment.'}
LINES = (
    '- name: "city"',
    '  description: "Field city of the source."',
    '- name: "it_s"',
    '  description: "Field \\"it\'s\\": odd # not a comment."',
)
HEAD = "version: 2   # theirs\nmodels:\n"


def described(folder: Path, text: str, columns: dict[str, str] = NEW) -> Described | None:
    path = folder / "models.yml"
    path.write_bytes(text.encode())
    return with_columns([folder / "model.sql", path], "stg_app__orders", columns)


def added(indent: str, ending: str = "\n") -> str:
    return "".join(f"{indent}{line}{ending}" for line in LINES)


@pytest.mark.parametrize(
    ("before", "after", "indent"),
    [
        pytest.param(
            HEAD + "  - name: stg_app__orders\n    columns:\n      - name: order_id  # key\n"
            "        data_tests: [not_null,   unique]\n",
            "\n  # the next one\n  - {name: other,columns: [{name: x}]}\n",
            "      ",
            id="before another model",
        ),
        pytest.param(
            HEAD + "- columns:\n  - name: 'a'\n    description: >\n      folded\n\n      # text, not a comment\n",
            "  # of the model\n  name: stg_app__orders\n  config: {tags: [x]}\n",
            "  ",
            id="dashes as deep as their key, a text of several lines",
        ),
        pytest.param(
            HEAD + "  - name: stg_app__orders\n    columns:\n      - description: &d |\n          x\n        name: a\n"
            "        meta:\n          # deep\n          by: me\n        # of the column\n",
            "    data_tests:\n      - unique\n\n\n",
            "      ",
            id="comments of the column, a key after the columns",
        ),
        pytest.param(
            "models:\n  - name: stg_app__orders\n    columns:\n      - name: a",
            "",
            "      ",
            id="no end of line at the end",
        ),
    ],
)
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_new_columns_come_after_the_last_one(tmp_path: Path, before: str, after: str, indent: str, ending: str) -> None:
    before, after = (text.replace("\n", ending) for text in (before, after))
    found = described(tmp_path, before + after)
    assert found is not None
    whole = before if before.endswith(ending) else before + ("\r\n" if "\r\n" in before else "\n")
    assert found.after == whole + added(indent, "\r\n" if "\r\n" in before else "\n") + after
    again = described(tmp_path, found.after)
    assert again is None


@pytest.mark.parametrize(
    "text",
    [
        " [{name: a}]\n",
        "\n      -\n        name: a\n",
        "\n      - name: a\n        description: 'over\n    two lines'\n",
    ],
)
def test_where_lines_cannot_be_put_in_they_are_for_a_person(tmp_path: Path, text: str) -> None:
    found = described(tmp_path, f"models:\n  - name: stg_app__orders\n    columns:{text}")
    assert found is not None and found.after is None
    assert [line.strip() for line in found.lines] == [line.strip() for line in LINES]


@pytest.mark.parametrize(
    "text",
    [
        "models:\n  - name: stg_app__orders\n",
        "models:\n  - name: stg_app__orders\n    columns: []\n",
        "models:\n  - name: stg_app__orders_2\n    columns:\n      - name: a\n",
        "seeds:\n  - name: stg_app__orders\n    columns:\n      - name: a\n",
        "# stg_app__orders\n[",
        "models:\n  - name: stg_app__orders\n    columns:\n      - name: a\n    columns:\n      - name: b\n",
    ],
)
def test_a_file_that_describes_no_columns_of_the_model_stays(tmp_path: Path, text: str) -> None:
    assert described(tmp_path, text) is None


def test_a_column_that_somebody_described_already_is_not_described_twice(tmp_path: Path) -> None:
    text = "models:\n  - name: stg_app__orders\n    columns:\n      - name: CITY\n        description: theirs\n"
    found = described(tmp_path, text)
    assert found is not None and found.after == text + "".join(f"      {line}\n" for line in LINES[2:])
    assert described(tmp_path, text, {"city": "x"}) is None
