"""What the product can do with MongoDB; see `tasks.sources.connector` for the contract."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tasks.mongodb.config import MongoRef, MongoSource, MongoTable
from tasks.sources import TableRef
from tasks.sources.connector import Connector, Count, Finding, Proposal, Sample, Shared, Successor

if TYPE_CHECKING:
    import polars as pl

    from tasks.extract import ExtractContext, ExtractResult
    from tasks.landing.manifest import Origin


class MongoConnector(Connector[MongoSource, MongoTable]):
    """Collections of one database, read whole, by a cursor field, or by change streams."""

    config = MongoSource
    reader = "the decoder of documents"

    def check(self, name: str, source: MongoSource) -> Iterator[Finding]:
        """See `Connector`."""
        from tasks.mongodb.check import check

        return check(name, source)

    def propose(self, uri: str, database: str | None, name: str | None) -> Proposal:
        """See `Connector`."""
        from tasks.mongodb.proposal import propose_source

        return propose_source(uri, database, name)

    def mode(self, ref: MongoRef) -> str:
        """See `Connector`."""
        return ref.table.mode

    def extract(self, ref: MongoRef, context: ExtractContext) -> ExtractResult:
        """See `Connector`."""
        from tasks.mongodb.extract import extract_table

        return extract_table(ref, context)

    def usable_state(self, ref: MongoRef, state: Mapping[str, Any]) -> dict[str, Any]:
        """See `Connector`."""
        from tasks.mongodb.values import state_for

        return state_for(ref, state)

    def state_since(self, ref: MongoRef, since: str) -> dict[str, Any]:
        """See `Connector`; only incremental tables can be read since a time."""
        from tasks.mongodb.values import state_since

        return state_since(ref.name, ref.table.cursor, since)

    def successor(self, ref: MongoRef, before: Origin, known: Callable[[Sequence[str]], int]) -> Successor | None:
        """See `Connector`."""
        from tasks.mongodb.renamed import successor

        return successor(ref, before, known)

    def describe_state(self, state: Mapping[str, Any]) -> str | None:
        """See `Connector`."""
        from tasks.mongodb.position import describe_cursor

        return describe_cursor(state["cursor"]) if "cursor" in state else None

    def most_ranges(self, ref: MongoRef, first: bool) -> int:
        """See `Connector`."""
        return (ref.table.partitions or 1) if first or ref.table.mode == "full" else 1

    def plan(self, ref: MongoRef, context: ExtractContext) -> tuple[str, int]:
        """See `Connector`."""
        from tasks.mongodb.extract import plan_batch

        return plan_batch(ref, context)

    def join(self, ref: MongoRef, context: ExtractContext) -> ExtractResult:
        """See `Connector`."""
        from tasks.mongodb.extract import join_batch

        return join_batch(ref, context)

    def share(self, refs: Sequence[MongoRef], state_of: Callable[[TableRef], dict[str, Any]]) -> Mapping[str, Shared]:
        """See `Connector`; cdc tables share the change stream of their database where the source says so."""
        members = [ref for ref in refs if ref.table.mode == "cdc" and ref.source.change_stream == "database"]
        if not members:
            return {}
        from tasks.mongodb.shared import SharedStream

        stream = SharedStream(members, state_of)
        return {ref.name: stream for ref in members}

    def sample(self, ref: MongoRef, documents: int) -> Sample:
        """See `Connector`."""
        from tasks.mongodb.sampling import sample_documents

        return sample_documents(ref, documents)

    def estimate(self, ref: MongoRef) -> int:
        """See `Connector`; the collection's own count, of which a filter leaves less."""
        from tasks.mongodb.sampling import estimated_count

        return estimated_count(ref)

    def count(self, refs: Sequence[MongoRef], seconds: float) -> Mapping[str, Count]:
        """See `Connector`; a collection that is read whole is not counted, one that is read through a filter is."""
        from tasks.mongodb.sampling import counts

        return counts(refs, seconds)

    def decode_reject(self, ref: MongoRef, raw: bytes) -> dict[str, pl.DataFrame]:
        """See `Connector`."""
        from tasks.landing.transforms import Transforms
        from tasks.landing.typed import TableTypes
        from tasks.mongodb.reading import decoder_of

        decoder = decoder_of(ref.table)
        decoder.push(raw)
        decoded = decoder.flush()
        if decoded.rejects.height:
            return {}
        typed = TableTypes(ref.table).apply_tables(decoded.tables)
        return Transforms(ref.table.transforms, ref.table.child_paths).apply_tables(typed)
