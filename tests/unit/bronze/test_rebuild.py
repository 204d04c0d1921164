"""Which batch a rebuild starts from."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tasks.bronze.rebuild import base_of
from tasks.landing import Manifest


def test_a_rebuild_starts_from_the_last_complete_read() -> None:
    def manifest(number: int, scope: str, previous: dict[str, int]) -> Manifest:
        days = {"account": "a", "day": "d", "parts": []} if scope == "account_days" else {}
        part = {"file": "f", "rows": 1, "bytes": 1, "sha256": "", "columns": []}
        return Manifest.model_validate(
            {
                "source": "s", "table": "t", "batch_id": str(number), "mode": "cdc", "scope": {"type": scope, **days},
                "previous_checkpoint": previous, "parts": [part],
                "extracted_at": datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number),
            }
        )  # fmt: skip

    assert base_of([]) is None
    assert base_of([manifest(1, "upsert", {"a": 1})]) is None
    assert base_of([manifest(1, "upsert", {}), manifest(2, "upsert", {"a": 1})]) == 0
    assert base_of([manifest(1, "snapshot", {}), manifest(2, "snapshot", {}), manifest(3, "upsert", {"a": 1})]) == 1
    # A read from the beginning brings a channel's last days alone: the older ones are in the batches before.
    assert base_of([manifest(1, "account_days", {}), manifest(2, "account_days", {})]) == 0
    assert base_of([manifest(1, "account_days", {"a": 1}), manifest(2, "account_days", {})]) is None
