"""Values as extended JSON and back, and NUL, which Postgres does not take."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from tasks.bronze import canonical, extended
from tasks.landing.kinds import fragment


@given(st.floats())
def test_doubles_as_extended_json_come_back_bit_for_bit(value: float) -> None:
    text = fragment("double", value)
    read = json.loads(text)
    number = float(read["$numberDouble"]) if isinstance(read, dict) else read
    assert repr(number) == repr(value) and isinstance(number, float)


@given(st.text())
def test_strings_as_extended_json_come_back_and_never_hold_an_escaped_nul(value: str) -> None:
    text = fragment("string", value)
    assert not extended.has_nul(text)
    assert canonical.canonical(text) == json.dumps(value)


@given(st.text("\\u0", max_size=24).map(json.dumps))
def test_escaped_nul_is_told_from_a_backslash_before_the_same_letters(text: str) -> None:
    assert extended.has_nul(text) == ("\x00" in json.loads(text))


@given(st.text(st.sampled_from(["\x00", "\\", "u", "0", '"', "a"]), max_size=16))
def test_only_nul_is_taken_out_of_json(value: str) -> None:
    assert json.loads(extended.without_nul(json.dumps(value))) == value.replace("\x00", "")
