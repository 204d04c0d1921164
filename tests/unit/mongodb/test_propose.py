"""What a survey leads to: known answers for each rule, and text that always reads back."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.mongodb.propose import Proposal, propose, table_name, to_yaml
from tasks.mongodb.survey import Field, Survey
from tasks.sources import load_sources


def _field(present: int = 200, **types: int) -> Field:
    return Field(present, Counter(types or {"str": present}))


def _one(*, streams: bool = False, **known: Any) -> Proposal:
    survey = Survey("orders", **{"documents": 50_000, "sampled": 200, **known})
    (proposal,) = propose([survey], streams=streams)
    return proposal


def test_mode_follows_size_and_evidence() -> None:
    dated = {"updated_at": _field(datetime=200)}
    assert _one(documents=9_999, fields=dated).keys == {"mode": "full"}
    assert _one(fields=dated).keys["cursor"] == "updated_at"
    assert _one(fields=dated, documents=3_000_000).keys.get("deletes") is None
    assert _one(fields=dated, documents=6_000_000).keys["resources"] == "large"
    assert _one(streams=True).keys == {"mode": "cdc"}
    assert _one().keys == {"mode": "full"} and "updated_at" in _one().remarks[0]
    assert _one(kind="view", documents=None, fields=dated).keys == {"mode": "full"}


def test_a_cursor_is_a_date_in_nearly_all_documents() -> None:
    assert "cursor" not in _one(fields={"updated_at": _field(str=200)}).keys
    assert "cursor" not in _one(fields={"updated_at": _field(datetime=150)}).keys
    most = _one(fields={"updated_at": _field(datetime=195, NoneType=5)})
    assert most.keys["missing_cursor"] == "include"
    both = {"updated_at": _field(datetime=200), "modifiedOn": _field(datetime=200)}
    assert _one(fields=both, indexed=frozenset({"modifiedOn"})).keys["cursor"] == "modifiedOn"
    assert "cursor" not in _one(fields={"meta.updated_at": _field(datetime=200)}).keys


def test_numbers_of_several_widths_are_no_mixture() -> None:
    assert _one(fields={"n": _field(int=100, float=50, Int64=50)}).remarks[:-1] == []
    assert any("n has values of several types" in remark for remark in _one(fields={"n": _field(int=1, str=9)}).remarks)


@pytest.mark.parametrize(
    ("path", "texts", "step"),
    [
        ("email", [], "hash"),
        ("contactEmail", ["a@b.de", "c@d.de", "e@f.de"], "hash"),
        ("login", ["a@b.de", "c@d.de", "e@f.de"], "hash"),
        ("number", ["+49 30 1234567", "+49 30 1234568", "+49 30 1234569"], "hash"),
        ("ean", ["4006381333931", "4006381333932", "4006381333933"], None),
        ("day", ["2026-01-01", "2026-01-02", "2026-01-03"], None),
        ("passwordHash", [], "drop"),
        ("api_key", [], "drop"),
        ("company", [], None),
        ("panel", [], None),
    ],
)
def test_personal_data_is_found_by_name_or_content(path: str, texts: list[str], step: str | None) -> None:
    found = _one(fields={path: Field(200, Counter(str=200), texts)}).steps
    assert [taken for taken, _, _ in found] == ([step] if step else [])


def test_what_transforms_cannot_reach_is_said() -> None:
    mixed = Field(200, Counter(list=200), [], Counter({"dict": 1, "int": 1}))
    proposal = _one(fields={"log": mixed, "log.email": _field()})
    assert proposal.keys["arrays"] == {"log": "json"} and proposal.steps == []
    assert any("log.email is named like personal data" in remark for remark in proposal.remarks)


@given(st.lists(st.text(min_size=1, max_size=60), min_size=1, max_size=5, unique=True))
def test_every_name_of_a_collection_reads_back(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    surveys = [Survey(name, documents=5, sampled=1, fields={name or "x": _field(str=1, int=1)}) for name in names]
    text = to_yaml("app", names[0], propose(surveys, streams=True), {names[0]: "a\nb"})
    path: Path = tmp_path_factory.mktemp("init") / "sources.yaml"
    path.write_text(text, encoding="utf-8")
    sources = load_sources(path, {"MONGODB_URI": "mongodb://localhost"})
    tables: Any = sources.sources["app"].tables
    assert [table.collection or name for name, table in tables.items()] == names


def test_table_names_are_distinct_and_usable() -> None:
    taken: set[str] = set()
    found = [table_name(name, taken) for name in ("orderItems", "order_items", "Order-Items", "9lives", "Ä", "x" * 60)]
    assert found == ["order_items", "order_items_2", "order_items_3", "c_9lives", "collection", "x" * 40]
