"""The landing: immutable Parquet parts and one manifest per batch, the only thing extract and load share."""

from tasks.landing.manifest import (
    AccountDaysScope,
    Child,
    FieldStatistics,
    Manifest,
    Part,
    PartitionScope,
    Replaced,
    Scope,
    Segment,
    UpsertScope,
)
from tasks.landing.store import BatchKey, BatchPlan, BatchWriter, Landing, new_batch_id

__all__ = [
    "AccountDaysScope",
    "BatchKey",
    "BatchPlan",
    "BatchWriter",
    "Child",
    "FieldStatistics",
    "Landing",
    "Manifest",
    "Part",
    "PartitionScope",
    "Replaced",
    "Scope",
    "Segment",
    "UpsertScope",
    "new_batch_id",
]
