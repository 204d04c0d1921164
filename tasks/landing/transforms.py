"""Column transforms given in sources.yaml, run by Polars on each frame before it lands.

A landed column is `path|kind`; a transform names paths and acts on all kinds of a path.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from tasks.errors import ConfigError
from tasks.landing.cast import cast, text_of
from tasks.landing.kinds import KINDS
from tasks.sources import Derive, Transform

HASH_KEY_VARIABLE = "WAREHOUSE_HASH_KEY"
DROPPED = "dropped"
"""Type under which the statistics count a path that a step drops: the one sign that documents have it."""


class Transforms:
    """The transforms of one table, checked once and applied to every frame.

    Args:
        steps: In the order of sources.yaml.
        children: Paths of the table's child tables.

    Raises:
        ConfigError: A step cannot be carried out.
    """

    def __init__(self, steps: Sequence[Transform], children: Iterable[str] = ()) -> None:
        self._steps = steps
        self._children = {
            child: Transforms([inner for step in steps if (inner := step.within(child))]) for child in children
        }
        self._counts: dict[str, dict[str, int]] = {}
        self._personal = {step.drop or step.hash for step in steps} - {None}
        needs_key = any(step.hash for step in steps)
        self._key = os.environ.get(HASH_KEY_VARIABLE, "").encode()
        if needs_key and not self._key:
            raise ConfigError(
                "a hash transform needs a secret key",
                "sources.yaml, transforms",
                f"set {HASH_KEY_VARIABLE}; without a key hashed personal data can be guessed",
            )

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the frame with every step applied."""
        if not self._steps:
            return frame
        for step in self._steps:
            frame = self._apply_one(frame, step)
        self._count(frame)
        return self._without_rescued(frame)

    def apply_tables(self, tables: Mapping[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
        """Return frames by child path, `""` for the rows, each with the steps that concern it applied."""
        return {path: (self._children[path] if path else self).apply(frame) for path, frame in tables.items()}

    def apply_rejects(self, rejects: pl.DataFrame) -> pl.DataFrame:
        """Return rejects without the original document where it may hold personal data that is to be dropped."""
        if not self._personal or rejects.is_empty():
            return rejects
        return rejects.with_columns(
            document=pl.lit(None, pl.String), bytes=pl.lit(None, pl.Binary), reason=pl.col("reason") + " (not kept)"
        )

    def apply_statistics(self, statistics: dict[str, Any]) -> dict[str, Any]:
        """Return the decoder's statistics as they are after the steps."""
        if not self._steps:
            return statistics
        main = statistics.get("", {"rows": 0, "fields": {}})
        fields = dict(main["fields"])
        for step in self._steps:
            fields = self._statistics_of(step, fields)
        children = {
            path: child.apply_statistics({"": statistics[path]})[""]
            for path, child in self._children.items()
            if path in statistics
        }
        return {**statistics, **children, "": {**main, "fields": fields}}

    # -- one step -----------------------------------------------------------------------------------------------

    def _apply_one(self, frame: pl.DataFrame, step: Transform) -> pl.DataFrame:
        if step.drop is not None:
            _refuse_within_json(frame, step.drop)
            return frame.drop(columns_of(frame, step.drop))
        if step.hash is not None:
            _refuse_within_json(frame, step.hash)
            return self._hash(frame, step.hash)
        if step.rename is not None:
            return _rename(frame, step.rename)
        if step.cast is not None:
            for path, kind in step.cast.items():
                frame = _cast(frame, path, kind)
            return frame
        assert step.derive is not None  # noqa: S101  the model allows exactly one key
        return _derive(frame, step.derive)

    def _hash(self, frame: pl.DataFrame, path: str) -> pl.DataFrame:
        """Replace a path by the HMAC-SHA256 of its text: joinable, not reversible without the key."""
        found = [name for name in columns_of(frame, path)]
        if not found:
            return frame
        own = columns_of(frame, path, nested=False)
        texts = [text_of(frame[name], _kind_of(name)) for name in own]
        digest = (
            frame.select(pl.coalesce(*texts, _document_text(frame, set(found) - set(own))))
            .to_series()
            .map_elements(
                lambda value: hmac.new(self._key, value.encode(), hashlib.sha256).hexdigest(), return_dtype=pl.String
            )
        )
        return frame.drop(found).with_columns(digest.alias(f"{path}|string"))

    def _without_rescued(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Drop what the decoder set aside where it may hold personal data."""
        if self._personal and "_rescued" in frame.columns:
            return frame.with_columns(pl.lit(None, pl.String).alias("_rescued"))
        return frame

    def _count(self, frame: pl.DataFrame) -> None:
        """Count values by kind for the paths whose kind a step decides."""
        for path in self._decided():
            for name in columns_of(frame, path, nested=False):
                kinds = self._counts.setdefault(path, {})
                kind = name.rsplit("|", 1)[1]
                kinds[kind] = kinds.get(kind, 0) + frame[name].count()

    def _decided(self) -> Iterable[str]:
        for step in self._steps:
            if step.hash:
                yield step.hash
            if step.cast:
                yield from step.cast
            if step.derive:
                yield step.derive.name

    def _statistics_of(self, step: Transform, fields: dict[str, Any]) -> dict[str, Any]:
        if step.drop is not None:
            return _statistics_without(fields, step.drop)
        if step.rename is not None:
            return {_renamed(path, step.rename): value for path, value in fields.items()}
        decided = [step.hash] if step.hash else list(step.cast or ()) or ([step.derive.name] if step.derive else [])
        for path in decided:
            counts = self._counts.get(path, {})
            types = {KINDS[kind].statistics: count for kind, count in counts.items() if count}
            nulls = fields.get(path, {}).get("types", {}).get("null", 0)
            types |= {"null": nulls} if nulls else {}
            fields = {**fields, path: {"present": sum(types.values()), "types": types, "empty": 0}}
        return fields


def _refuse_within_json(frame: pl.DataFrame, path: str) -> None:
    """Refuse to leave personal data where no step reaches it: in an array, or a document too deep for columns.

    Raises:
        ConfigError: A JSON value above the path holds its key.
    """
    keys = path.split(".")
    for depth in range(1, len(keys)):
        above = ".".join(keys[:depth])
        # Decoders write no blank before the colon, and the quotes of a text are escaped: nothing but a key looks so.
        key = json.dumps(keys[depth], ensure_ascii=False) + ":"
        if f"{above}|json" in frame.columns and frame[f"{above}|json"].str.contains(key, literal=True).any():
            raise ConfigError(
                f"{path!r} cannot be dropped or hashed: {above!r} is an array or JSON here, and kept as a whole",
                "sources.yaml, transforms",
                f"set arrays: {{{above}: table}} if it is an array, or drop or hash {above!r}, "
                "or leave it at the server with fields: exclude",
            )


def columns_of(frame: pl.DataFrame, path: str, nested: bool = True) -> list[str]:
    """Return the columns of a path, and of what is nested below it."""
    return [
        name
        for name in frame.columns
        if "|" in name and (_is_at(name.rsplit("|", 1)[0], path) if nested else name.rsplit("|", 1)[0] == path)
    ]


def _is_at(path: str, root: str) -> bool:
    return path == root or path.startswith(f"{root}.")


def _statistics_without(fields: dict[str, Any], path: str) -> dict[str, Any]:
    """Return the statistics of what is landed without a path, of which nothing but its count is left."""
    found = [value for name, value in fields.items() if _is_at(name, path)]
    count = max((max(value["present"], value["types"].get(DROPPED, 0)) for value in found), default=0)
    left = {name: value for name, value in fields.items() if not _is_at(name, path)}
    return left | ({path: {"present": 0, "types": {DROPPED: count}, "empty": 0}} if count else {})


def _renamed(path: str, names: dict[str, str]) -> str:
    for old, new in names.items():
        if _is_at(path, old):
            return new + path[len(old) :]
    return path


def _rename(frame: pl.DataFrame, names: dict[str, str]) -> pl.DataFrame:
    mapping = {}
    for name in frame.columns:
        if "|" in name:
            path, kind = name.rsplit("|", 1)
            mapping[name] = f"{_renamed(path, names)}|{kind}"
    clash = {new for old, new in mapping.items() if new != old and new in frame.columns}
    if clash:
        raise ConfigError(
            f"renaming would overwrite {', '.join(sorted(clash))}", "sources.yaml, transforms", "choose another name"
        )
    return frame.rename(mapping)


def _document_text(frame: pl.DataFrame, names: Iterable[str]) -> pl.Series:
    """Return one text for all that rows hold in these columns, whatever their order; null where they hold nothing."""
    parts = pl.DataFrame([text_of(frame[name], _kind_of(name)) for name in sorted(names)])
    held = [[[name, value] for name, value in row.items() if value is not None] for row in parts.iter_rows(named=True)]
    return pl.Series([json.dumps(row) if row else None for row in held] or [None] * frame.height, dtype=pl.String)


def _cast(frame: pl.DataFrame, path: str, kind: str) -> pl.DataFrame:
    """Move values of other kinds into `path|kind` where that is exact; the rest stay as they are, for the rescue."""
    target = f"{path}|{kind}"
    for name in columns_of(frame, path, nested=False):
        if name == target:
            continue
        moved = cast(frame[name], _kind_of(name), kind).alias(target)
        left = pl.when(moved.is_null()).then(pl.col(name)).alias(name)
        frame = frame.with_columns(left, pl.coalesce(target, moved) if target in frame.columns else moved)
    return frame


def _kind_of(name: str) -> str:
    return name.rpartition("|")[2]


def _derive(frame: pl.DataFrame, derive: Derive) -> pl.DataFrame:
    """Add `name|kind` from Polars SQL over paths, each row with the kinds that its own values have.

    Rows whose kinds the expression cannot take, such as text in a difference, are null beside others that it can.

    Raises:
        ConfigError: No row can be computed.
    """
    expression = pl.sql_expr(derive.expression)
    choices = {root: columns_of(frame, root, nested=False) for root in expression.meta.root_names()}
    choices = {root: found or ([root] if root in frame.columns else []) for root, found in choices.items()}
    dtype, parts = KINDS[derive.kind].dtype, []
    problems: list[BaseException] = []
    numbered = frame.with_row_index("#row").with_columns(
        pl.coalesce(pl.when(pl.col(name).is_not_null()).then(index) for index, name in enumerate(found))
        .fill_null(0)
        .alias(f"#{root}")
        for root, found in choices.items()
        if len(found) > 1
    )
    several = [f"#{root}" for root, found in choices.items() if len(found) > 1]
    for rows in numbered.partition_by(several) if several and frame.height else [numbered]:
        view = rows.select(
            "#row",
            *(_operand(_chosen(rows, root, found), derive.kind).alias(root) for root, found in choices.items()),
        )
        try:
            parts.append(view.select("#row", value=expression.cast(dtype)))
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            # Polars panics where an expression leads past the years that it can tell.
            problems.append(error)
            parts.append(view.select("#row", value=pl.lit(None, dtype)))
    if len(problems) == len(parts):
        raise ConfigError(
            f"the derived column {derive.name!r} cannot be computed: {problems[0]}",
            "sources.yaml, transforms",
            "correct the expression, or cast its inputs first",
        ) from problems[0]
    return frame.with_columns(pl.concat(parts).sort("#row")["value"].alias(f"{derive.name}|{derive.kind}"))


def _chosen(rows: pl.DataFrame, root: str, found: list[str]) -> str | None:
    """Return the column of a path that rows of one combination of kinds hold; None where the path is absent."""
    if not found:
        return None
    return found[rows[f"#{root}"][0]] if len(found) > 1 and rows.height else found[0]


def _operand(name: str | None, kind: str) -> pl.Expr:
    """Return a column as an expression sees it: exact decimals land as text, and count as doubles for a double."""
    if name is None:
        return pl.lit(None)
    column = pl.col(name)
    return column.cast(pl.Float64, strict=False) if kind == "double" and name.endswith("|decimal") else column
