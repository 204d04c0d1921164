"""Errors land in the class of the people who can act on them."""

from __future__ import annotations

from pathlib import Path

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
        (errors.DbtError("2 dbt node(s) failed"), "model"),
        (MemoryError(), "out_of_memory"),
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
        ("Process exited with status code: -9", "Crashed", "out_of_memory"),
        ("pod: OOMKilled", "Crashed", "out_of_memory"),
        ("Pod was evicted: the node was low on resource: memory", "Crashed", "evicted"),
        ("0/3 nodes are available: insufficient memory", "Crashed", "resource"),
        ("429 Too Many Requests", "Failed", "quota"),
        ("403 Forbidden: rateLimitExceeded, quota of the project", "Failed", "quota"),
        ("HTTP 503 Service Unavailable", "Failed", "source"),
        ("401 Unauthorized", "Failed", "auth"),
        ('column "total" does not exist\nDatabase Error in model fct_order (models/gold/fct_order.sql)', "", "model"),
        ("This model has an enforced contract that failed.", "", "model"),
        ("its process is gone (host laptop, process 17)", "Crashed", "resource"),
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
    root = Path(__file__).resolve().parents[3]
    for item in taxonomy.CLASSES.values():
        page = (root / item.runbook).read_text()
        assert f"Who acts: {item.who}. Class `{item.key}`" in page and "1. " in page
    assert all(item.who and item.action for item in taxonomy.CLASSES.values())


def test_the_first_line_that_says_something() -> None:
    assert taxonomy.first_line("\n\n  boom  \nmore") == "boom"
    assert taxonomy.first_line("x" * 400) == "x" * 299 + "…"
    assert taxonomy.first_line(None) == ""
