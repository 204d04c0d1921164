"""Errors land in the class of the people who can act on them."""

from __future__ import annotations

import pytest

from monitoring import taxonomy
from tasks import errors


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.ConfigError("unknown key"), "config"),
        (errors.MissingCollection("no collection orders"), "config"),
        (errors.SourceAuthError("refused"), "auth"),
        (errors.SourceUnreachable("no answer"), "network"),
        (errors.WarehouseUnreachable("Postgres does not answer: connection refused"), "network"),
        (errors.WarehouseUnreachable("Postgres refused the credentials: password authentication failed"), "auth"),
        (errors.CursorError("the cursor is a string now"), "source_drift"),
        (errors.RejectLimitExceeded("12 rejected, 10 allowed"), "data_quality"),
        (errors.LoadError("the disk of Postgres is full: no space left on device"), "resource"),
        (errors.LoadError("new field `x`: on_drift.new is fail"), "source_drift"),
        (errors.LandingError("cannot write in the landing: Read-only file system (os error 30)"), "auth"),
        (errors.LoadError("syntax error at or near"), "code"),
        (errors.DbtError("2 dbt node(s) failed"), "data_quality"),
        (MemoryError(), "resource"),
        (ZeroDivisionError("division by zero"), "code"),
    ],
)
def test_exceptions(error: Exception, expected: str) -> None:
    assert taxonomy.classify_error(error) == expected


def test_what_to_do_fits_every_error_of_its_class() -> None:
    # A lost position and a full landing are of classes that are mostly something else.
    assert "what the error says" in taxonomy.CLASSES["source_drift"].action
    assert "free space" in taxonomy.CLASSES["resource"].action


def test_the_cause_counts_when_the_error_itself_says_nothing() -> None:
    wrapped = RuntimeError("could not")
    wrapped.__cause__ = errors.SourceAuthError("refused")
    assert taxonomy.classify_error(wrapped) == "auth"


@pytest.mark.parametrize(
    ("message", "state", "expected"),
    [
        ("Kubernetes job was deleted", "Crashed", "resource"),
        ("Process exited with status code: -9", "Crashed", "resource"),
        ("pod: OOMKilled", "Crashed", "resource"),
        ("ImagePullBackOff", "Crashed", "config"),
        ("no heartbeat for 540 s", "Crashed", "resource"),
        ("", "Crashed", "resource"),
        ("", "Cancelled", "cancelled"),
        ("Got 3 results, configured to fail if != 0", "Failed", "data_quality"),
        ("TypeError: x", "Failed", "code"),
    ],
)
def test_messages_of_runs(message: str, state: str, expected: str) -> None:
    assert taxonomy.classify((), message, state) == expected


def test_every_class_says_who_acts() -> None:
    keys = {*taxonomy._BY_EXCEPTION.values(), *taxonomy._BY_DEFAULT.values(), *dict(taxonomy._BY_MESSAGE).values()}
    assert keys | {"cancelled", "code"} == set(taxonomy.CLASSES)
    assert all(item.who and item.action for item in taxonomy.CLASSES.values())


def test_the_first_line_that_says_something() -> None:
    assert taxonomy.first_line("\n\n  boom  \nmore") == "boom"
    assert taxonomy.first_line("x" * 400) == "x" * 299 + "…"
    assert taxonomy.first_line(None) == ""
