"""A decoder that takes a single value in the place of a child table's array for its only element.

Its row in the child table is like that of an array's first element, but for `-` in the place of the position in `_id`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from tasks.landing.decoder import Decoded, Decoder

_VALUE = "value"
_NOT_SINGLE = ("null", "array", "document")


class SinglesDecoder:
    """See `tasks.landing.decoder.Decoder`.

    Args:
        decoder: Makes the frames; the columns of a single value are in its parent's frame there.
        children: Paths of the child tables.
    """

    def __init__(self, decoder: Decoder, children: Sequence[str]) -> None:
        self._decoder = decoder
        # Those around others first: what hangs below a single document has moved with it by then.
        self._children = sorted(children, key=len)
        self._parents = {child: _parent(child, children) for child in self._children}
        # By child how many single values were empty texts, and how many `{}`.
        self._empty: dict[str, tuple[int, int]] = {}

    @property
    def pending_bytes(self) -> int:
        """See `Decoder`."""
        return self._decoder.pending_bytes

    @property
    def pending_rows(self) -> int:
        """See `Decoder`."""
        return self._decoder.pending_rows

    def push(self, raw: bytes | memoryview, start: int = 0, op: str = "u") -> int:
        """See `Decoder`."""
        return self._decoder.push(raw, start, op)

    def push_delete(self, id_document: bytes) -> None:
        """See `Decoder`."""
        self._decoder.push_delete(id_document)

    def flush(self) -> Decoded:
        """See `Decoder`."""
        decoded = self._decoder.flush()
        for child in self._children:
            self._move(decoded.tables, child)
        return decoded

    def stats(self) -> dict[str, Any]:
        """See `Decoder`."""
        stats = self._decoder.stats()
        for child in self._children:
            self._count(stats, child)
        return stats

    def _move(self, tables: dict[str, pl.DataFrame], child: str) -> None:
        parent = self._parents[child]
        at = _within(child, parent)
        frame = tables.get(parent)
        names = [name for name in frame.columns if _is_at(name.rpartition("|")[0], at)] if frame is not None else []
        if frame is None or not names:
            return
        singles = frame.filter(pl.any_horizontal(pl.col(names).is_not_null()))
        tables[parent] = frame.drop(names)
        # Of `{value: 5}` and 5 no row has both.
        new: dict[str, list[str]] = {}
        for name in names:
            new.setdefault(_moved(name, at), []).append(name)
        moved = singles.select(
            _id=pl.col("_id") + (".-" if parent else ":-"),
            _root_id=pl.col("_root_id" if parent else "_id"),
            _parent_id=pl.col("_id"),
            _position=pl.lit(0, pl.Int64),
            _rescued=pl.lit(None, pl.String),
            **{name: pl.coalesce(found) for name, found in new.items()},
        )
        self._count_empty(child, moved)
        known = tables.get(child)
        tables[child] = moved if known is None else pl.concat([known, moved], how="diagonal")
        self._hang(tables, child, dict(zip(singles["_id"], moved["_id"], strict=True)))

    def _hang(self, tables: dict[str, pl.DataFrame], child: str, new: Mapping[str, str]) -> None:
        """Hang the rows of arrays within single documents on their rows, instead of on what is around these."""
        for inner in (one for one, parent in self._parents.items() if parent == child and one in tables):
            frame = tables[inner]
            moves = frame["_parent_id"].is_in(list(new))
            if not moves.any():
                continue
            parent_id = frame["_parent_id"].replace(new)
            own = parent_id + "." + frame["_position"].cast(pl.String)
            tables[inner] = frame.with_columns(_id=own.zip_with(moves, frame["_id"]), _parent_id=parent_id)
            changed = dict(zip(frame.filter(moves)["_id"], tables[inner].filter(moves)["_id"], strict=True))
            self._hang(tables, inner, changed)

    def _count_empty(self, child: str, moved: pl.DataFrame) -> None:
        texts, documents = self._empty.get(child, (0, 0))
        if f"{_VALUE}|string" in moved.columns:
            texts += int((moved[f"{_VALUE}|string"] == "").sum())
        if f"{_VALUE}|json" in moved.columns:
            documents += int((moved[f"{_VALUE}|json"] == "{}").sum())
        self._empty[child] = texts, documents

    def _count(self, stats: dict[str, Any], child: str) -> None:
        parent = self._parents[child]
        at = _within(child, parent)
        outer = stats.get(parent, {"fields": {}})["fields"]
        types: Mapping[str, int] = outer.get(at, {}).get("types", {})
        single = {name: count for name, count in types.items() if name not in _NOT_SINGLE}
        documents = types.get("document", 0)
        if not single and not documents:
            return
        inner = stats.setdefault(child, {"rows": 0, "overflow": 0, "fields": {}})
        inner["rows"] += sum(single.values()) + documents
        texts, empty = self._empty.get(child, (0, 0))
        single |= {"document": empty} if empty else {}
        if single:
            count = {"present": sum(single.values()), "types": single, "empty": texts + empty}
            inner["fields"][_VALUE] = _sum(inner["fields"].get(_VALUE), count)
        for path in [path for path in outer if path.startswith(f"{at}.")]:
            name = path[len(at) + 1 :]
            inner["fields"][name] = _sum(inner["fields"].get(name), outer.pop(path))


def _parent(child: str, children: Sequence[str]) -> str:
    """Return the child table around another, `""` for the rows."""
    return max((one for one in children if child.startswith(f"{one}.")), key=len, default="")


def _within(child: str, parent: str) -> str:
    return child[len(parent) + 1 :] if parent else child


def _is_at(path: str, root: str) -> bool:
    return path == root or path.startswith(f"{root}.")


def _moved(name: str, at: str) -> str:
    """Return the column in the child table: plain values are `value`, as those of an array are."""
    path, _, kind = name.rpartition("|")
    return f"{_VALUE if path == at else path[len(at) + 1 :]}|{kind}"


def _sum(one: Mapping[str, Any] | None, other: Mapping[str, Any]) -> dict[str, Any]:
    if one is None:
        return dict(other)
    types = {
        name: one["types"].get(name, 0) + other["types"].get(name, 0) for name in {**one["types"], **other["types"]}
    }
    return {"present": one["present"] + other["present"], "types": types, "empty": one["empty"] + other["empty"]}
