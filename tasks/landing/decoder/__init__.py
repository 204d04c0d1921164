r"""From raw BSON to columns: the decoder's contract, and the choice between its implementations.

`native` is the module `warehouse_native` (Rust, folder `decoder/`); `driver` lets the driver's C code decode, for where
no compiler is; `reference` is plain Python, built from the BSON specification on its own, for what the driver cannot
hold and as the oracle of the others' tests. All give the same frames, rejects, statistics and offsets for the same
bytes.

Columns. A value goes to the column `<path>|<kind>`, so that no kind ever gives way to another; see `KINDS`. A path is
the keys joined by `.`; within a key `\`, `.` and `|` are escaped by `\`. Documents are flattened to `max_depth`
segments, deeper ones are kind json, as are arrays and `{}`. A column is in a frame only if it has a value there;
columns stand in the order in which their paths were first seen, kinds of one path in the order of `KINDS`.

Meta columns of rows: `_id`, `_hash`, `_op` (with `with_op`), `_rescued`. Of child rows: `_id`, `_root_id`,
`_parent_id`, `_position`, `_rescued`. `_hash` is the seeded xxh3_128 of the whole raw document, null for deletes.

Key text (`_id`). ObjectId: its hex. Integral numbers within int64: their digits. Strings: themselves, unless they could
be read as something else (24 lower hex digits, a JSON number or literal, a start of `{`, `[` or `"`) or hold a NUL:
then JSON-quoted. All else: extended JSON.

A single value where a child table's array is expected is its only element: a child row at position 0 whose `_id` has
`-` in place of the position, `7:-`, which no element of an array has.

Set aside in `_rescued`, as one JSON object of extended JSON: by path, values at paths past the first `MAX_PATHS` of a
table or longer than `MAX_PATH_BYTES`, and values of child rows whose columns a single document would blow up past the
memory limit; by `<path>|duplicates`, as an array, the second and later values of a key that occurs more than once in
its document. No path ends in a bare `|` and a word, so nothing in a document can pass for the latter.

With `documents`, a row has its whole document besides, to the byte, in the column `|document|binary`, whose path no
field can have. It is counted as a field of that path.

Rejects. A malformed document, one without `_id` or one over 256 MiB gives a row of `rejects` with its bytes; decoding
goes on behind it. When a length prefix is unusable the rest of the raw batch is one reject. `_id` and `path` are given
where they are known; `path` names arrays' positions by number.

Statistics count every value once, at its path: `present`, `types` (see `TYPE_KINDS`) and `empty` (`""`, `{}`, `[]`, no
bytes). Values set aside are not counted under `fields`; those past the limits count as `overflow`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import polars as pl

# Kinds in the order of the columns of one path.
KINDS = ("int", "double", "decimal", "string", "bool", "date", "objectid", "uuid", "binary", "json")

# Type names of the statistics, and the kind of their column. A document has a json column only when it is empty or too
# deep; an array has none where it is a child table.
TYPE_KINDS: Mapping[str, str | None] = {
    "double": "double",
    "string": "string",
    "string_invalid": "json",
    "document": None,
    "array": "json",
    "binary": "binary",
    "uuid": "uuid",
    "binary_other": "json",
    "undefined": "json",
    "objectid": "objectid",
    "bool": "bool",
    "date": "date",
    "null": None,
    "regex": "json",
    "dbpointer": "json",
    "code": "json",
    "symbol": "json",
    "code_with_scope": "json",
    "int32": "int",
    "timestamp": "json",
    "int64": "int",
    "decimal": "decimal",
    "minkey": "json",
    "maxkey": "json",
}

# Behind a path in `_rescued`: the later values of a key that its document has more than once.
DUPLICATES = "|duplicates"
# The path of the whole document, as if it were a field.
DOCUMENT = "|document"
# A table of more columns than this cannot be loaded anywhere as such; the bound keeps memory in check.
MAX_PATHS = 10_000
# Column names are repeated in every part and manifest.
MAX_PATH_BYTES = 1_024
# What a MongoDB server itself stores at most; clients may send 100.
MAX_NESTING = 200


@dataclass(frozen=True)
class Decoded:
    """What a flush hands over.

    Attributes:
        tables: Frames by child path; `""` (always there) are the rows, child tables only if they have rows.
        rejects: Documents that could not be decoded: `_id`, `reason`, `path`, `document`, `bytes`.
    """

    tables: dict[str, pl.DataFrame]
    rejects: pl.DataFrame


class Decoder(Protocol):
    """Decodes raw BSON; one per table and reader. Not for use by several threads at once."""

    @property
    def pending_bytes(self) -> int:
        """Memory that the frames will take when flushed now: dense columns and variable bytes."""
        ...

    @property
    def pending_rows(self) -> int:
        """Rows (deletes included, child rows and rejects not) since the last flush."""
        ...

    def push(self, raw: bytes | memoryview, start: int = 0, op: str = "u") -> int:
        """Decode concatenated documents from offset `start`.

        Args:
            raw: Concatenated BSON documents.
            start: Offset of the first document to take.
            op: `u` for whole documents, `d` for documents of which only `_id` counts (needs `with_op`).

        Returns:
            The offset reached; less than `len(raw)` when `max_bytes` are pending: flush, then push again from there.

        Raises:
            ValueError: `start` lies outside `raw`, `raw` has 2 GiB or more, or `op` is unknown or not allowed.
        """
        ...

    def push_delete(self, id_document: bytes) -> None:
        """Add a row with `_op` `d` for `{_id: ...}`; other fields are not looked at."""
        ...

    def flush(self) -> Decoded:
        """Hand over everything decoded since the last flush."""
        ...

    def stats(self) -> dict[str, Any]:
        """Return cumulative statistics: `{"": {"rows", "deletes", "overflow", "fields"}, <child>: ...}`."""
        ...


def native_available() -> bool:
    """Tell whether the native decoder is installed."""
    return importlib.util.find_spec("warehouse_native") is not None


SLOW = "the driver's, 27 thousand documents a second: a twentieth of the native one's rate, with the same results"
"""What decodes where the native decoder is not installed."""
INSTALL = "`make native` installs the native decoder, built with Rust or from a release's wheel (docs/release.md)"
"""What to do about it."""


def make_decoder(
    *,
    children: Sequence[str] = (),
    max_depth: int = 8,
    seed: int = 0,
    max_bytes: int = 64 << 20,
    with_op: bool = False,
    documents: bool = False,
    implementation: Literal["auto", "native", "driver", "reference"] = "auto",
) -> Decoder:
    """Return a decoder.

    Args:
        children: Paths whose arrays become child tables; a nested one as `items.discounts`.
        max_depth: Path segments (1 to 64) down to which documents are flattened.
        seed: 64-bit seed of `_hash`.
        max_bytes: Pending memory at which `push` stops early.
        with_op: Give rows an `_op` column and accept deletes.
        documents: Keep each document whole beside its columns.
        implementation: `auto` takes the native one where it is installed, else the driver's.

    Raises:
        ValueError: An argument is out of its range.
        ImportError: The native decoder is asked for by name and not installed.
    """
    options = {"children": children, "max_depth": max_depth, "seed": seed, "max_bytes": max_bytes, "with_op": with_op}
    if implementation == "auto":
        implementation = "native" if native_available() else "driver"
    decoder = _implementation(implementation)(**options)
    if children:
        from tasks.landing.decoder.singles import SinglesDecoder

        decoder = SinglesDecoder(decoder, children)
    if not documents:
        return decoder
    from tasks.landing.decoder.keeping import KeepingDecoder

    return KeepingDecoder(decoder, seed, max_bytes)


def _implementation(name: Literal["native", "driver", "reference"]) -> Callable[..., Decoder]:
    """Return a decoder's class, imported only where it is used."""
    if name == "native":
        from tasks.landing.decoder.native import NativeDecoder

        return NativeDecoder
    if name == "driver":
        from tasks.landing.decoder.driver import DriverDecoder

        return DriverDecoder
    from tasks.landing.decoder.reference import ReferenceDecoder

    return ReferenceDecoder
