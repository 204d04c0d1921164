"""Who loads while a group is extracted waits for its table, and for nothing that will not come."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from flows.launch import Extraction, stopping


@pytest.fixture
def extraction() -> Iterator[Extraction]:
    found = Extraction()
    with found.followed(lambda name: None):
        yield found
    stopping.clear()


def waiting(extraction: Extraction) -> threading.Thread:
    """Return a thread that waits for orders, once it does."""
    begun = threading.Event()

    def wait() -> None:
        begun.set()
        extraction.wait_for("shop.orders", "small-1")

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    assert begun.wait(10)
    return thread


def test_the_table_is_waited_for_and_no_other(extraction: Extraction) -> None:
    thread = waiting(extraction)
    extraction.end_table("shop.tags")
    extraction.end_group("small-2")
    thread.join(0.1)
    assert thread.is_alive()
    extraction.end_table("shop.orders")
    thread.join(10)
    assert not thread.is_alive()


def test_the_end_of_its_group_is_enough(extraction: Extraction) -> None:
    thread = waiting(extraction)
    extraction.end_group("small-1")
    thread.join(10)
    assert not thread.is_alive() and extraction.is_over("small-1") and not extraction.is_over("small-2")


def test_nobody_waits_in_a_process_that_ends(extraction: Extraction) -> None:
    thread = waiting(extraction)
    stopping.set()
    thread.join(10)
    assert not thread.is_alive()


def test_a_process_that_only_loads_waits_for_nobody() -> None:
    thread = waiting(Extraction())
    thread.join(10)
    assert not thread.is_alive()


def test_nobody_waits_once_the_pipeline_has_ended() -> None:
    extraction = Extraction()
    with extraction.followed(lambda name: None):
        thread = waiting(extraction)
        thread.join(0.1)
        assert thread.is_alive()
    thread.join(10)
    assert not thread.is_alive()


def test_who_is_told_comes_before_who_loads_even_where_it_fails() -> None:
    extraction, told = Extraction(), list[str]()

    def tell(name: str) -> None:
        assert thread.is_alive()
        told.append(name)
        raise OSError("no dbt")

    with extraction.followed(tell):
        thread = waiting(extraction)
        with pytest.raises(OSError, match="no dbt"):
            extraction.end_table("shop.orders")
        thread.join(10)
    assert told == ["shop.orders"] and not thread.is_alive()
    extraction.end_table("shop.tags")
    assert told == ["shop.orders"]
