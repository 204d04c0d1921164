"""Batches on a local folder or an object store, written so that a crash leaves nothing half-believed."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import secrets
import shutil
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, TypeVar

import obstore
import polars as pl
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import LocalStore, ObjectStore, from_url
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasks.errors import LandingError
from tasks.landing.manifest import Child, FieldStatistics, Manifest, Part, Segment, merge_segments
from tasks.landing.numbers import beyond_double

MANIFEST = "manifest.json"
PLAN = "plan.json"
# Parts being compressed and uploaded while the next is decoded; each holds up to one flush of the decoder.
_PENDING_PARTS = 1
# How a folder's file system says that it is full; obstore passes on the text alone.
_FULL = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))
# Key in a file's own metadata under which child rows name their table; rows of the table itself have none.
_CHILD = "warehouse.child"
# What obstore appends for its own developers, a screen long.
_DEBUG = "Debug source:"
_Result = TypeVar("_Result")
_PartKind = Literal["rows", "child", "rejects", "ids", "held"]


def new_batch_id(now: datetime | None = None) -> str:
    """Return a batch id: UTC time to the microsecond, then 8 random hex digits; ids sort by time."""
    return f"{now or datetime.now(UTC):%Y%m%dT%H%M%S%fZ}-{secrets.token_hex(4)}"


class BatchKey(NamedTuple):
    """What names a batch in the landing: its source, its table and its id; its folder is the three joined."""

    source: str
    table: str
    batch_id: str


class BatchPlan(BaseModel):
    """What a batch set out to read; a later run goes on with it when the process died.

    Attributes:
        ranges: One opaque description per segment, in order.
        key: Everything that must be unchanged for the batch to be continued (mode, checkpoint, fingerprint).
    """

    model_config = ConfigDict(extra="forbid")

    key: dict[str, Any]
    ranges: list[Any] = Field(default_factory=list)
    state: dict[str, Any] = Field(default_factory=dict)
    extracted_at: datetime
    source_time: datetime | None = None


class Landing:
    """The landing root.

    Args:
        store: An obstore store whose prefix is the root.
        root: The root as people write it, for messages.
    """

    def __init__(self, store: ObjectStore, root: str) -> None:
        self._store = store
        self.root = root

    @classmethod
    def open(cls, root: str) -> Landing:
        """Open a folder (made when absent) or an object store URL.

        Object stores take endpoint and credentials from their usual environment variables (`AWS_...`, `GOOGLE_...`,
        `AZURE_...`).

        Raises:
            LandingError: The root cannot be used.
        """
        try:
            if "://" in root and not root.startswith("file://"):
                return cls(from_url(root), root)
            folder = Path(root.removeprefix("file://"))
            folder.mkdir(parents=True, exist_ok=True)
            return cls(LocalStore(folder), root)
        except (OSError, BaseError, ValueError) as error:
            raise LandingError(f"cannot open the landing: {error}", root, "check WAREHOUSE_LANDING") from error

    # -- batches ----------------------------------------------------------------------------------------------

    def batches(self, source: str, table: str) -> list[str]:
        """Return the ids of committed batches, oldest first."""
        return self._folders_with(source, table, MANIFEST)

    def unfinished(self, source: str, table: str) -> list[str]:
        """Return the ids of batches that were planned and never committed, oldest first."""
        return sorted(set(self._folders_with(source, table, PLAN)) - set(self.batches(source, table)))

    def manifest(self, source: str, table: str, batch_id: str) -> Manifest:
        """Read the manifest of a committed batch."""
        return self._read_model(Manifest, f"{source}/{table}/{batch_id}/{MANIFEST}")

    def plan(self, source: str, table: str, batch_id: str) -> BatchPlan:
        """Read the plan of a batch."""
        return self._read_model(BatchPlan, f"{source}/{table}/{batch_id}/{PLAN}")

    def write_plan(self, source: str, table: str, batch_id: str, plan: BatchPlan) -> None:
        """Write the plan of a batch, before any of its segments."""
        self.put(f"{source}/{table}/{batch_id}/{PLAN}", plan.model_dump_json(indent=1).encode())

    def segments(self, source: str, table: str, batch_id: str) -> dict[int, Segment]:
        """Return the segments of a batch that are complete, by index."""
        prefix = f"{source}/{table}/{batch_id}/"
        names = [name for name in self._names(prefix) if name.startswith("segment-")]
        found = [self._read_model(Segment, prefix + name) for name in names]
        return {segment.index: segment for segment in found}

    def growing(self, source: str, table: str, batch_id: str) -> tuple[list[str], bool]:
        """Return the files of rows and child rows that a batch has so far, and whether it is committed."""
        names = self._names(f"{source}/{table}/{batch_id}/")
        return sorted(name for name in names if name.startswith(("part-", "child-"))), MANIFEST in names

    def read_growing(self, source: str, table: str, batch_id: str, file: str) -> tuple[Part, pl.DataFrame]:
        """Read a file that no manifest vouches for yet, with what the manifest will have to say of it."""
        payload = self.get(f"{source}/{table}/{batch_id}/{file}")
        child = pl.read_parquet_metadata(io.BytesIO(payload)).get(_CHILD)
        frame = pl.read_parquet(io.BytesIO(payload))
        return _part(file, frame, payload, "rows" if child is None else "child", child or ""), frame

    def writer(self, source: str, table: str, batch_id: str, segment: int = 0) -> BatchWriter:
        """Return a writer for one segment of a batch."""
        return BatchWriter(self, source, table, batch_id, segment)

    def commit(self, source: str, table: str, batch_id: str, segments: Iterable[Segment], **fields: Any) -> Manifest:
        """Write the manifest over `segments`: from now on the batch exists.

        Args:
            source: Source name.
            table: Table name.
            batch_id: The batch.
            segments: All segments of the batch.
            **fields: The manifest's own fields: mode, scope, window, checkpoint, extracted_at and so on.
        """
        manifest = Manifest(source=source, table=table, batch_id=batch_id, **merge_segments(segments), **fields)
        payload = manifest.model_dump_json(indent=1, by_alias=True).encode()
        self.put(f"{source}/{table}/{batch_id}/{MANIFEST}", payload)
        return manifest

    def beyond_double(self, manifest: Manifest, child: str, paths: Collection[str]) -> set[str]:
        """Return those of the paths of a relation with whole numbers that no double represents.

        Parts of older releases, which do not say so, are searched.
        """
        found: set[str] = set()
        for part in manifest.of_kind("child" if child else "rows", child):
            counted = part.beyond_double
            if counted is None and (wanted := [name for path in paths if (name := f"{path}|int") in part.columns]):
                counted = beyond_double(self.read(manifest, part, wanted))
            found.update(counted or ())
        return found.intersection(paths)

    def read(self, manifest: Manifest, part: Part, columns: list[str] | None = None) -> pl.DataFrame:
        """Read one part, or some of its columns.

        Raises:
            LandingError: The file is missing, or is not what was written.
        """
        path = f"{manifest.source}/{manifest.table}/{manifest.batch_id}/{part.file}"
        payload = self.get(path)
        if hashlib.sha256(payload).hexdigest() != part.sha256:
            raise LandingError(
                "a landed part is damaged: its checksum differs from the manifest's",
                f"{self.root}/{path}",
                "restore the file from the store's versions, or reset the table to read it again",
            )
        return pl.read_parquet(io.BytesIO(payload), columns=columns)

    def delete(self, source: str, table: str, batch_id: str) -> None:
        """Remove a batch, the manifest first so that no reader believes a part of it."""
        prefix = f"{source}/{table}/{batch_id}/"
        names = sorted(self._names(prefix), key=lambda name: (name != MANIFEST, name))
        for name in names:
            self._try("remove", prefix + name, partial(obstore.delete, self._store, prefix + name))
        if isinstance(self._store, LocalStore):
            # A writer that was killed leaves a piece of a file that no listing shows.
            shutil.rmtree(Path(str(self._store.prefix), prefix), ignore_errors=True)

    # -- objects ----------------------------------------------------------------------------------------------

    def put(self, path: str, payload: bytes) -> None:
        """Write one object atomically: readers see all of it or none."""
        self._try("write", path, lambda: obstore.put(self._store, path, payload, use_multipart=False))

    def get(self, path: str) -> bytes:
        """Read one object whole."""
        return self._try("read", path, lambda: bytes(obstore.get(self._store, path).bytes()))

    def _names(self, prefix: str) -> list[str]:
        def names() -> list[str]:
            return [item["path"].removeprefix(prefix) for page in obstore.list(self._store, prefix) for item in page]

        return self._try("list", prefix, names)

    def _folders_with(self, source: str, table: str, file: str) -> list[str]:
        names = self._names(f"{source}/{table}/")
        return sorted(name.removesuffix(f"/{file}") for name in names if name.endswith(f"/{file}"))

    def _read_model(self, model: type[_Model], path: str) -> _Model:
        try:
            return model.model_validate_json(self.get(path))
        except ValidationError as error:
            raise LandingError(f"not a valid {model.__name__.lower()}: {error}", f"{self.root}/{path}") from error

    def _try(self, verb: str, path: str, action: Callable[[], _Result]) -> _Result:
        try:
            return action()
        except (BaseError, OSError) as error:
            missing = isinstance(error, NotFoundError | FileNotFoundError)
            remedy = "check that WAREHOUSE_LANDING is reachable and that its credentials may read, write and list"
            if any(text in str(error) for text in _FULL):
                remedy = "free space, or give the landing more, then run again: nothing of the batch was committed"
            raise LandingError(
                f"cannot {verb} in the landing: {'no such object' if missing else str(error).split(_DEBUG)[0].strip()}",
                f"{self.root}/{path}",
                remedy,
            ) from error


_Model = TypeVar("_Model", bound=BaseModel)


class BatchWriter:
    """Writes the parts of one segment; compressing and uploading overlap with what the caller does next.

    File names carry a random tag, so two writers of one segment never overwrite each other: whichever commits last
    wins, whole.
    """

    def __init__(self, landing: Landing, source: str, table: str, batch_id: str, segment: int) -> None:
        self._landing = landing
        self._batch = BatchKey(source, table, batch_id)
        self._segment = Segment(index=segment)
        self._tag = secrets.token_hex(3)
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="landing")
        self._pending: list[Future[Part]] = []

    def __enter__(self) -> BatchWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=kind is not None)

    def write(self, frame: pl.DataFrame, kind: _PartKind = "rows", child: str = "") -> None:
        """Hand over one part; empty frames are left out, except an empty list of ids, which says that all are gone.

        Raises:
            LandingError: An earlier part could not be written.
        """
        if frame.is_empty() and kind != "ids":
            return
        while len(self._pending) > _PENDING_PARTS:
            self._segment.parts.append(self._pending.pop(0).result())
        number = len(self._segment.parts) + len(self._pending)
        name = f"{'part' if kind == 'rows' else kind}-{self._segment.index:05d}-{number:05d}-{self._tag}.parquet"
        self._pending.append(self._pool.submit(self._write, name, frame, kind, child))

    def finish(
        self,
        statistics: dict[str, dict[str, Any]],
        source_bytes: int,
        seconds: float,
        reject_rows: int = 0,
        state: dict[str, Any] | None = None,
        warned_rows: int = 0,
        warned: Mapping[str, int] | None = None,
    ) -> Segment:
        """Wait for all parts, write the segment's own record, and return it.

        Args:
            statistics: The decoder's `stats()`: by child path (`""` for the rows) `rows` and `fields`.
            source_bytes: Bytes read from the source.
            seconds: Time spent reading.
            reject_rows: Documents that were rejected.
            state: This segment's part of the checkpoint.
            warned_rows: Documents that were landed although they break a rule.
            warned: By rule how many these are.
        """
        self._segment.parts += [future.result() for future in self._pending]
        self._pending.clear()
        main = statistics.get("", {"rows": 0, "fields": {}})
        segment = self._segment.model_copy(
            update={
                "rows": sum(part.rows for part in self._segment.parts if part.kind == "rows"),
                "rows_read": main["rows"],
                "fields": _fields(main["fields"]),
                "children": {
                    path: Child(rows=found["rows"], fields=_fields(found["fields"]))
                    for path, found in statistics.items()
                    if path
                },
                "source_bytes": source_bytes,
                "seconds": round(seconds, 3),
                "reject_rows": reject_rows,
                "warned_rows": warned_rows,
                "warned": dict(warned or {}),
                "state": state or {},
            }
        )
        path = f"{'/'.join(self._batch)}/segment-{segment.index:05d}.json"
        self._landing.put(path, segment.model_dump_json(indent=1).encode())
        return segment

    def _write(self, name: str, frame: pl.DataFrame, kind: _PartKind, child: str) -> Part:
        buffer = io.BytesIO()
        # Level 1: the landing is written once and read once; higher levels cost more time than they save.
        frame.write_parquet(
            buffer,
            compression="zstd",
            compression_level=1,
            statistics=False,
            metadata={_CHILD: child} if kind == "child" else None,
        )
        payload = buffer.getvalue()
        self._landing.put("/".join((*self._batch, name)), payload)
        return _part(name, frame, payload, kind, child)


def _part(name: str, frame: pl.DataFrame, payload: bytes, kind: _PartKind, child: str) -> Part:
    return Part(
        file=name,
        kind=kind,
        child=child,
        rows=frame.height,
        bytes=len(payload),
        sha256=hashlib.sha256(payload).hexdigest(),
        columns=frame.columns,
        beyond_double=beyond_double(frame),
    )


def _fields(raw: dict[str, Any]) -> dict[str, FieldStatistics]:
    return {path: FieldStatistics.model_validate(field) for path, field in raw.items()}
