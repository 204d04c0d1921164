"""Bronze: landed batches into Postgres, each in one transaction, nothing lost and nothing doubled."""

from tasks.bronze.load import LoadResult, load_batch
from tasks.bronze.pending import load_pending, pending

__all__ = ["LoadResult", "load_batch", "load_pending", "pending"]
