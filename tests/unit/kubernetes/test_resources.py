"""Resource classes, cgroup figures and the recommendation drawn from them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.resources import CLASSES, quantity, recommend, step_up, usage

MI = 1 << 20


def cgroup(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / name.replace("_", ".", 1)).write_text(text)
    return folder


def test_figures_of_a_cgroup(tmp_path: Path) -> None:
    found = usage(
        cgroup(
            tmp_path,
            memory_peak="734003200\n",
            cpu_stat="usage_usec 12500000\nuser_usec 12000000\n",
        )
    )
    assert found.peak_memory_bytes == 734003200
    assert found.cpu_seconds == 12.5
    assert found.source == "cgroup"


def test_outside_a_container_the_process_is_measured(tmp_path: Path) -> None:
    held = bytearray(64 * MI)
    held[::4096] = b"x" * len(held[::4096])
    found = usage(tmp_path)
    assert found.source == "process"
    assert found.peak_memory_bytes > 64 * MI
    assert found.cpu_seconds > 0


@pytest.mark.parametrize(
    ("text", "number"), [("250m", 0.25), ("2", 2), ("1.5", 1.5), ("2Gi", 2 << 30), ("768Mi", 768 * MI), ("1G", 10**9)]
)
def test_quantities(text: str, number: float) -> None:
    assert quantity(text) == number


@pytest.mark.parametrize("text", ["", "1 Gi", "-1", "1Q", "Mi"])
def test_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="not a Kubernetes quantity"):
        quantity(text)


def test_classes_grow() -> None:
    memory = [item.memory_bytes for item in CLASSES.values()]
    requested = [quantity(item.cpu_request) for item in CLASSES.values()]
    assert memory == sorted(set(memory))
    assert requested == sorted(set(requested))
    assert all(quantity(item.cpu_request) <= quantity(item.cpu_limit) for item in CLASSES.values())


def test_stepping_up_ends_at_the_cap() -> None:
    assert step_up("small") == "medium"
    assert step_up("large") == "xlarge"
    assert step_up("xlarge") == "xlarge"
    assert step_up("medium", cap="large") == "large"
    assert step_up("large", cap="large") == "large"
    assert step_up("xlarge", cap="large") == "xlarge"


def row(table: str, peak: int, stage: str = "extract", seconds: float = 100.0, cpu: float = 50.0) -> dict[str, object]:
    source, name = table.split(".")
    return {
        "stage": stage, "source": source, "table_name": name, "seconds": seconds,
        "peak_memory_bytes": peak, "cpu_seconds": cpu, "error_class": None,
    }  # fmt: skip


def test_recommendations() -> None:
    rows = [
        row("shop.orders", 700 * MI),
        row("shop.orders", 500 * MI),
        row("shop.events", 300 * MI),
        row("shop.carts", 400 * MI),
        {"stage": "pipeline", "source": None, "table_name": None, "peak_memory_bytes": 1},
    ]
    found = {item.table: item for item in recommend(rows, {"shop.events": "large", "shop.carts": "small"})}
    assert found["shop.orders"].suggested == "medium"
    assert found["shop.orders"].runs == 2
    assert found["shop.orders"].cpu_cores == 0.5
    assert "91% of the memory of small" in found["shop.orders"].reason
    assert found["shop.events"].suggested == "small"
    assert found["shop.carts"].suggested == "small"
    assert [item.table for item in recommend(rows, {"shop.events": "large"})][-1] == "shop.carts"


def test_a_table_too_large_for_every_class_is_to_be_split() -> None:
    [found] = recommend([row("shop.events", 8000 * MI)], {"shop.events": "xlarge"})
    assert found.suggested == "xlarge"
    assert "split it into _id ranges" in found.reason


@given(st.integers(1, 20 << 30), st.sampled_from(list(CLASSES)))
def test_a_suggestion_always_holds_the_peak_or_is_the_largest(peak: int, current: str) -> None:
    [found] = recommend([row("a.b", peak)], {"a.b": current})
    assert found.suggested == "xlarge" or CLASSES[found.suggested].memory_bytes >= peak
