"""Models are written for no database: what databases write differently is in dispatched macros."""

from __future__ import annotations

import re

import pytest

from tasks import shipped

DBT = shipped.path("dbt")
# Functions, operators and clauses of Postgres that others write otherwise, but for casts by `::` and `filter`.
POSTGRES_ONLY = (
    r"\bdistinct on\b", r"\bjsonb?_\w+\(", r"\bto_jsonb?\(", r"\brow_to_json\(", r"::jsonb?\b", r"->>?", r"#>>?", r"@>",
    r"(?<!\w)!?~\*?\s*'", r"\bilike\b", r"\bsubstring\([^)]*\bfrom\b", r"\bregexp_\w+\(", r"\bgenerate_series\(",
    r"\bunnest\(", r"\bto_(char|date|timestamp|number)\(", r"\bat time zone\b", r"\bextract\(epoch\b", r"\bmake_\w+\(",
    r"\bage\(", r"'-?infinity'", r"\binterval '[^']*[a-z][^']*'", r"\btimestamptz '", r"\bstring_agg\(", r"\bmd5\(",
    r"\bencode\(", r"\bpg_\w+\(", r"\bops\.\w+\(", r"\bclock_timestamp\(", r"\bwith ordinality\b",
    r"\bpercentile_\w+\(",
)  # fmt: skip
FOLDERS = ("packages/*/models", "packages/*/snapshots", "models")
MODELS = sorted(path for folder in FOLDERS for path in DBT.glob(f"{folder}/**/*.sql"))


def only_of_postgres(text: str) -> set[str]:
    # Comments, and calls of macros with the texts that they are given, are left out.
    code = re.sub(r"\{#.*?#\}|\{\{.*?\}\}|\{%.*?%\}|--[^\n]*", " ", text, flags=re.DOTALL)
    found = (re.search(pattern, code, re.IGNORECASE) for pattern in POSTGRES_ONLY)
    return {match.group().strip() for match in found if match}


def test_models_hold_nothing_that_only_postgres_has() -> None:
    assert len(MODELS) > 50
    assert {(path.name, what) for path in MODELS for what in only_of_postgres(path.read_text())} == set()


@pytest.mark.parametrize(
    "text",
    [
        *("select distinct on (a) a", "a ~ 'x'", "a ~* 'x'", "a -> 'b'", "jsonb_array_elements(a)", "to_char(a, 'x')"),
        *("interval '1 day'", "a at time zone 'UTC'", "'-infinity'", "substring(a from 'b')", "extract(epoch from a)"),
    ],
)
def test_what_only_postgres_has_is_found(text: str) -> None:
    assert only_of_postgres(text)


@pytest.mark.parametrize(
    "text", ["interval '1' day", "a - b > 0", "{{ m('a ~ b') }}", "-- a ~ 'b'", "extract(year from a)"]
)
def test_nothing_else_is_found(text: str) -> None:
    assert not only_of_postgres(text)


def test_every_macro_of_the_dialect_is_dispatched() -> None:
    text = (DBT / "packages" / "core" / "macros" / "dialect.sql").read_text()
    names = set(re.findall(r"macro (\w+)\(", text))
    own = {name for name in names if "__" not in name}
    assert names - own == {f"postgres__{name}" for name in own}
    assert own == set(re.findall(r"adapter\.dispatch\('(\w+)', 'warehouse'\)", text))
