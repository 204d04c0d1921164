"""The landing: immutable Parquet parts and one manifest per batch, the only thing extract and load share."""

from tasks.landing.manifest import Child, FieldStatistics, Manifest, Part, PartitionScope, Scope, Segment
from tasks.landing.store import BatchWriter, Landing, Plan, new_batch_id

__all__ = [
    "BatchWriter",
    "Child",
    "FieldStatistics",
    "Landing",
    "Manifest",
    "Part",
    "PartitionScope",
    "Plan",
    "Scope",
    "Segment",
    "new_batch_id",
]
