"""The report of requested against used."""

from __future__ import annotations

from monitoring.cost import lines

MI = 1 << 20


def row(table: str, peak: int) -> dict[str, object]:
    return {"stage": "extract", "source": "shop", "table_name": table, "seconds": 10.0,
            "peak_memory_bytes": peak, "cpu_seconds": 5.0, "error_class": None}  # fmt: skip


def test_what_must_change_comes_first() -> None:
    head, first, second = lines([row("carts", 400 * MI), row("orders", 740 * MI)], {})
    assert head == "1 of 2 should change class"
    assert first.split()[:5] == ["extract", "shop.orders", "small", "->", "medium"]
    assert "memory 740 of 768 MiB, CPU 0.50 of 0.25 cores, 1 run(s)" in first
    assert second.split()[:3] == ["extract", "shop.carts", "small"]


def test_all_fits() -> None:
    assert lines([row("carts", 400 * MI)], {})[0] == "every table fits its class"


def test_nothing_measured_says_why() -> None:
    assert lines([], {}) == ["no run was measured lately: figures come with runs on Kubernetes or in containers"]
