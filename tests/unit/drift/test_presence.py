"""Fields that became optional or always null, from counts alone."""

from __future__ import annotations

from tasks.drift.presence import Nulls, Presence, became_null, became_optional, has_values


def test_a_field_that_all_had_is_optional_once_more_lack_it_than_chance_would_leave_out() -> None:
    known = Presence()
    assert became_optional(known, 1_000, 1_000) is None
    # Of 100 rows after 1,000 complete ones, chance puts three or fewer missing there more than once in ten thousand.
    assert became_optional(known, 50, 48) is None
    assert became_optional(known, 50, 49) is None
    assert became_optional(known, 10, 8) == {"rows_before": 1_000, "rows": 110, "missing": 5}
    assert became_optional(known, 100, 50) is None, "told once"


def test_few_rows_and_fields_that_were_missing_from_the_start_prove_nothing() -> None:
    known = Presence()
    assert became_optional(known, 5, 5) is None
    assert became_optional(known, 5, 3) is None
    known = Presence()
    assert became_optional(known, 1_000, 999) is None
    assert became_optional(known, 1_000, 1) is None


def test_a_field_that_none_has_is_left_to_those_who_tell_what_vanished() -> None:
    known = Presence()
    became_optional(known, 1_000, 1_000)
    assert became_optional(known, 500, 0) is None
    assert became_optional(known, 500, 500) is None, "it vanished and came back"
    # Batches of one row are whole or empty: a few of these are pooled.
    found = [became_optional(known, 1, number % 2) for number in range(20)]
    assert sum(one is not None for one in found) == 1


def test_a_field_that_all_have_for_long_can_become_optional_again() -> None:
    known = Presence()
    became_optional(known, 1_000, 900)
    assert became_optional(known, 999, 999) is None
    assert became_optional(known, 1_000, 1_000) is None
    assert became_optional(known, 100, 50) is not None


def test_a_field_that_had_values_is_always_null_once_chance_would_hardly_make_it_so() -> None:
    known = Nulls()
    assert became_null(known, 100, 50) is None
    assert became_null(known, 13, 13) is None
    assert became_null(known, 1, 1) == {"nulls": 14, "values_before": 0.5}
    assert became_null(known, 100, 100) is None, "told once"
    assert has_values(known, 10, 10) is None
    assert has_values(known, 10, 9) == {"present": 10, "values": 1}
    assert has_values(known, 10, 9) is None


def test_a_field_that_never_had_a_value_did_not_become_null() -> None:
    known = Nulls()
    assert became_null(known, 10_000, 10_000) is None
    assert became_null(known, 0, 0) is None
