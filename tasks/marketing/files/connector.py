"""What the product can do with files; see `tasks.sources.connector` for the contract."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tasks.marketing.files.config import FilesRef, FilesSource, FilesTable
from tasks.sources.connector import Connector, Finding, Proposal

if TYPE_CHECKING:
    from tasks.extract import ExtractContext, ExtractResult


class FilesConnector(Connector[FilesSource, FilesTable]):
    """Files of one folder or object store prefix; a table is the files that match a pattern."""

    config = FilesSource
    reader = "the readers of files"
    # A later file of a batch may hold the keys of an earlier one.
    repeats_keys = True

    def check(self, name: str, source: FilesSource) -> Iterator[Finding]:
        """See `Connector`."""
        from tasks.marketing.files.check import check

        return check(name, source)

    def propose(self, uri: str, database: str | None, name: str | None) -> Proposal:
        """See `Connector`; `uri` is the path of one file."""
        from tasks.marketing.files.propose import propose

        return propose(uri, name)

    def mode(self, ref: FilesRef) -> str:
        """See `Connector`: what is new or changed is read."""
        return "file"

    def extract(self, ref: FilesRef, context: ExtractContext) -> ExtractResult:
        """See `Connector`."""
        from tasks.marketing.files.extract import extract_table

        return extract_table(ref, context)

    def recount(self, ref: FilesRef) -> int | None:
        """See `Connector`."""
        from tasks.marketing.files.recount import recount

        return recount(ref)

    def describe_state(self, state: Mapping[str, Any]) -> str | None:
        """See `Connector`."""
        if "files" not in state:
            return None
        return f"what is new or changed since {len(state['files'])} file(s) were read"
