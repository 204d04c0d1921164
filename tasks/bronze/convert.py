"""Landed frames into frames of the relation's own columns; what does not fit goes to `_rescued`, nothing is lost.

All of it works on whole columns. Only rows that have something to rescue are looked at one by one.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass, field

import polars as pl

from tasks.bronze import extended, kinds, native
from tasks.bronze.capabilities import POSTGRES, Capabilities
from tasks.bronze.plan import RelationPlan
from tasks.landing.kinds import fragment, plain, quote
from tasks.landing.numbers import exact_as_double

# A key that is too long is replaced by its beginning and a digest, the whole rescued.
_KEY_BEGINNING = 200
_DAY_MS = 86_400_000
_NEGATIVE_ZERO = r"^-0(\.0*)?(E[+-]?\d+)?$"
_DECIMAL = r"^(-?\d+(\.\d+)?(E[+-]?\d+)?|NaN|-?Infinity)$"
_KEYS = ("_id", "_root_id", "_parent_id")


@dataclass
class Converted:
    """A frame ready to be copied.

    Attributes:
        frame: Meta columns and the relation's columns, each in the Polars type of its type at the destination.
        rescued: Number of rows with something in `_rescued`.
        misfits: By (path, kind) how many values are in `_rescued` and nowhere else.
        sanitised: By (path, kind) how many values are in `_rescued` and in a readable form in their column.
    """

    frame: pl.DataFrame
    rescued: int = 0
    misfits: Counter[tuple[str, str]] = field(default_factory=Counter)
    sanitised: Counter[tuple[str, str]] = field(default_factory=Counter)


@dataclass
class _Piece:
    """One landed column on its way: by column the values for the relation, and which values keep their original."""

    path: str
    kind: str
    landed: str
    values: dict[str, pl.Expr]
    original: pl.Expr | None = None


def convert(landed: pl.DataFrame, plan: RelationPlan) -> Converted:
    """Convert a landed part to the relation's columns.

    Args:
        landed: A part of rows or child rows.
        plan: The relation's plan, made from the same batch.
    """
    capabilities = plan.capabilities
    suspects = _suspects(landed, capabilities)
    landed, set_aside = _short_keys(landed, suspects, capabilities)
    landed = _narrow_rows(landed, plan, set_aside)
    by_path = kinds.landed_kinds(landed.columns)
    pieces = [_piece(plan, path, kind, suspects) for path, found in by_path.items() for kind in found]
    values: dict[str, list[pl.Expr]] = {}
    for piece in pieces:
        for name, value in piece.values.items():
            values.setdefault(name, []).append(value)
    rescued, result = _rescue(landed, pieces, set_aside)
    meta = [pl.col(name) for name in landed.columns if "|" not in name and name != "_rescued"]
    if "_rescued" not in landed.columns:
        landed = landed.with_columns(pl.lit(None, pl.String).alias("_rescued"))
    stored = [
        pl.coalesce(values[column.name]).alias(column.name)
        if column.name in values
        else pl.lit(None, capabilities.types[column.kind].dtype).alias(column.name)
        for column in plan.stored
    ]
    result.frame = landed.select(*meta, *stored).with_columns(rescued)
    return result


def keys_of(frame: pl.DataFrame, capabilities: Capabilities = POSTGRES) -> pl.DataFrame:
    """Return a frame of `_id` with the keys as bronze writes them."""
    return _short_keys(frame, _suspects(frame, capabilities), capabilities)[0]


def normal_keys(keys: pl.Series, capabilities: Capabilities = POSTGRES) -> list[str]:
    """Return keys as bronze writes them."""
    return [str(key) for key in keys_of(keys.alias("_id").to_frame(), capabilities)["_id"]]


def rescue_cells(frame: pl.DataFrame, plan: RelationPlan, cells: Sequence[tuple[int, str]]) -> pl.DataFrame:
    """Return a converted frame with cells that the destination cannot hold taken out and put into `_rescued`.

    Args:
        frame: A converted frame.
        plan: The relation's plan.
        cells: (row, column name), none of them of our own columns.
    """
    by_name = {column.name: column for column in plan.stored}
    fragments: _Fragments = {}
    taken: dict[str, list[int]] = {}
    for row, name in cells:
        column = by_name[name]
        kind = "micros" if column.kind == "date" else column.kind
        value = plain(frame[name].slice(row, 1), kind)[0]
        # jsonb refuses the text, or would drop a repeated key: the text itself is kept.
        text = extended.wrapped(value) if kind == "json" else fragment(kind, value)
        fragments.setdefault(row, {})[column.path] = text
        taken.setdefault(name, []).append(row)
        plan.refused[column.path] += 1
    rescued = frame["_rescued"]
    texts = [extended.merge(own, rescued[row]) for row, own in fragments.items()]
    columns = [frame[name].scatter(rows, None) for name, rows in taken.items()]
    return frame.with_columns(*columns, rescued.scatter(list(fragments), texts))


_Fragments = dict[int, dict[str, str]]


def _suspects(frame: pl.DataFrame, capabilities: Capabilities) -> set[str]:
    """Return the columns of a landed frame whose rows have to be searched for NULs."""
    if capabilities.takes_any_text:
        return set()
    texts = [name for name in frame.columns if name in _KEYS or name.endswith("|string")]
    jsons = [name for name in frame.columns if name.endswith("|json")]
    return native.columns_with_nul(frame, texts, jsons)


def _short_keys(
    frame: pl.DataFrame, suspects: Container[str], capabilities: Capabilities
) -> tuple[pl.DataFrame, _Fragments]:
    """Return the frame with keys that the destination holds, and the originals of shortened `_id` by row."""
    most = capabilities.most_key_bytes
    originals: _Fragments = {}
    for name in _KEYS:
        if name not in frame.columns:
            continue
        column = frame[name]
        long = column.str.len_bytes() > most
        odd = (long | column.str.contains("\x00", literal=True) if name in suspects else long).arg_true()
        if not len(odd):
            continue
        texts = {int(row): str(column[int(row)]) for row in odd}
        if name == "_id" and "_root_id" not in frame.columns:
            originals = {
                row: {"_id": fragment("string", text)} for row, text in texts.items() if len(text.encode()) > most
            }
        frame = frame.with_columns(column.scatter(odd, [key_text(text, capabilities) for text in texts.values()]))
    return frame, originals


def _narrow_rows(landed: pl.DataFrame, plan: RelationPlan, set_aside: _Fragments) -> pl.DataFrame:
    """Return the frame with the last values of rows that no page could hold taken out, and set aside."""
    limits = plan.capabilities
    if len(plan.stored) * limits.pointer_bytes <= limits.most_row_bytes:
        return landed
    found = kinds.landed_kinds(landed.columns)
    cells = [(c, kind) for c in plan.stored for kind in found.get(c.path, []) if plan.taking(c.path, kind)[:1] == [c]]
    widths = landed.select(
        pl.when(pl.col(f"{c.path}|{kind}").is_not_null())
        .then(limits.types[c.kind].width or limits.pointer_bytes)
        .otherwise(0)
        .cast(pl.Int32)
        .alias(f"{c.path}|{kind}")
        for c, kind in cells
    )
    rows = (widths.sum_horizontal() > limits.most_row_bytes).arg_true().to_list() if cells else []
    taken: dict[str, list[int]] = {}
    for row in rows:
        room = limits.most_row_bytes
        for landed_name, width in zip(widths.columns, widths.row(row), strict=True):
            room -= width
            if width and room < 0:
                taken.setdefault(landed_name, []).append(row)
    for landed_name, positions in taken.items():
        path, _, kind = landed_name.rpartition("|")
        values = plain(landed[landed_name].gather(positions), kind).to_list()
        for row, value in zip(positions, values, strict=True):
            set_aside.setdefault(row, {})[path] = fragment(kind, value)
        landed = landed.with_columns(landed[landed_name].scatter(positions, None))
    return landed


def key_text(key: str, capabilities: Capabilities = POSTGRES) -> str:
    """Return a key as bronze writes it: a NUL as JSON escape, a very long one as its beginning and a digest."""
    if len(key.encode()) > capabilities.most_key_bytes:
        beginning = key[:_KEY_BEGINNING].replace("\x00", "")
        return f"{beginning}#sha256:{hashlib.sha256(key.encode()).hexdigest()}"
    return quote(key) if "\x00" in key else key


def _piece(plan: RelationPlan, path: str, kind: str, suspects: Container[str]) -> _Piece:
    """Return how one landed column becomes values of its relation's columns."""
    source = pl.col(f"{path}|{kind}")
    piece = _Piece(path, kind, f"{path}|{kind}", {}, source.is_not_null())
    columns = plan.taking(path, kind)
    for column in columns:
        change = _VALUES.get((column.kind, kind), _as_is)
        if change in (_text, _jsonb) and piece.landed not in suspects:
            change = _as_is
        value, original = change(source, plan.capabilities)
        if {kind, column.kind} == {"string", "objectid"}:
            original = source.is_not_null()
        if original is not None and column is not columns[-1]:
            # A column that has others after it holds a number or day exactly or not at all: no row fills two.
            value = pl.when(~original).then(value)
        piece.values[column.name], piece.original = value, original
        if original is None:
            break
        source = pl.when(original).then(source)
    return piece


_Pair = tuple[pl.Expr, pl.Expr | None]


def _as_is(source: pl.Expr, _: Capabilities) -> _Pair:
    return source, None


def _text(source: pl.Expr, _: Capabilities) -> _Pair:
    odd = source.str.contains("\x00", literal=True)
    return pl.when(odd).then(source.str.replace_all("\x00", "", literal=True)).otherwise(source), odd


def _jsonb(source: pl.Expr, _: Capabilities) -> _Pair:
    return source.map_batches(_clean_json, return_dtype=pl.String), source.map_batches(
        _odd_json, return_dtype=pl.Boolean
    )


def _odd_rows(texts: pl.Series) -> list[int]:
    """Return the rows whose JSON jsonb would refuse or shorten; the native encoder finds repeated keys by itself."""
    if native.is_installed():
        rows = texts.str.contains("\\u0000", literal=True).arg_true().to_list()
        return [row for row in rows if extended.has_nul(texts[row])]
    return [row for row, text in enumerate(texts) if text is not None and extended.safe_json(text) is not text]


def _odd_json(texts: pl.Series) -> pl.Series:
    mask = pl.repeat(False, len(texts), eager=True)
    rows = _odd_rows(texts)
    return mask.scatter(rows, True) if rows else mask


def _clean_json(texts: pl.Series) -> pl.Series:
    rows = _odd_rows(texts)
    clean = [None if extended.repeats_key(texts[row]) else extended.without_nul(texts[row]) for row in rows]
    return texts.scatter(rows, clean) if rows else texts


def _double_of_int(source: pl.Expr, _: Capabilities) -> _Pair:
    exact = exact_as_double(source)
    return pl.when(exact).then(source.cast(pl.Float64)), (~exact).fill_null(False)


def _numeric_of_int(source: pl.Expr, _: Capabilities) -> _Pair:
    return source.cast(pl.String), None


def _numeric_of_double(source: pl.Expr, _: Capabilities) -> _Pair:
    text = source.cast(pl.String)
    negative_zero = text == "-0.0"
    # Polars writes `inf`, which is no numeric.
    spelt = pl.when(source.is_infinite()).then(text.str.replace("inf", "Infinity", literal=True)).otherwise(text)
    return pl.when(negative_zero).then(pl.lit("0")).otherwise(spelt), negative_zero


def _numeric(source: pl.Expr, _: Capabilities) -> _Pair:
    negative_zero = source.map_batches(_negative_zeros, return_dtype=pl.Boolean)
    if native.is_installed():
        # The native encoder finds texts that are no numbers by itself.
        return source, negative_zero
    good = source.str.contains(_DECIMAL)
    return pl.when(good).then(source), ((~good) | negative_zero).fill_null(False)


def _negative_zeros(texts: pl.Series) -> pl.Series:
    mask = texts.str.starts_with("-0")
    rows = mask.arg_true()
    return mask.scatter(rows, texts.gather(rows).str.contains(_NEGATIVE_ZERO)) if len(rows) else mask


def _time_of_date(source: pl.Expr, capabilities: Capabilities) -> _Pair:
    good = source.cast(pl.Int64).is_between(*capabilities.times)
    return pl.when(good).then(source).cast(pl.Datetime("us", "UTC")), (~good).fill_null(False)


def _time_of_micros(source: pl.Expr, capabilities: Capabilities) -> _Pair:
    good = source.cast(pl.Int64) >= capabilities.times[0] * 1_000
    return pl.when(good).then(source).cast(pl.Datetime("us", "UTC")), (~good).fill_null(False)


def _time_of_day(source: pl.Expr, capabilities: Capabilities) -> _Pair:
    first, last = capabilities.times
    good = source.cast(pl.Int32).is_between(-(-first // _DAY_MS), last // _DAY_MS)
    return pl.when(good).then(source).cast(pl.Datetime("us", "UTC")), (~good).fill_null(False)


def _day(source: pl.Expr, capabilities: Capabilities) -> _Pair:
    good = source.cast(pl.Int32).is_between(*capabilities.days)
    return pl.when(good).then(source), (~good).fill_null(False)


_TIMES = ("date", "micros")
# By the kinds of column and value how one becomes the other, where it is not the same.
_VALUES = {
    ("string", "string"): _text,
    ("objectid", "string"): _text,
    ("json", "json"): _jsonb,
    ("double", "int"): _double_of_int,
    ("decimal", "int"): _numeric_of_int,
    ("decimal", "double"): _numeric_of_double,
    ("decimal", "decimal"): _numeric,
    **{(column, "date"): _time_of_date for column in _TIMES},
    **{(column, "micros"): _time_of_micros for column in _TIMES},
    **{(column, "day"): _time_of_day for column in _TIMES},
    ("day", "day"): _day,
}


def _rescue(landed: pl.DataFrame, pieces: list[_Piece], found: _Fragments) -> tuple[pl.Series, Converted]:
    """Return the `_rescued` column, with what was rescued counted."""
    result = Converted(landed)
    decoder = landed["_rescued"] if "_rescued" in landed.columns else pl.Series([None] * landed.height, dtype=pl.String)
    asked = [piece for piece in pieces if piece.original is not None]
    masks = landed.select(
        piece.original.fill_null(False).alias(str(index))  # type: ignore[union-attr]
        for index, piece in enumerate(asked)
    )
    for index, piece in enumerate(asked):
        positions = masks[str(index)].arg_true()
        if not len(positions):
            continue
        column = landed[piece.landed].gather(positions)
        held = pl.any_horizontal(False, *(value.is_not_null() for value in piece.values.values()))
        readable = column.to_frame().select(held.sum()).item()
        for counter, count in ((result.sanitised, readable), (result.misfits, len(positions) - readable)):
            if count:
                counter[piece.path, piece.kind] += count
        values = plain(column, piece.kind).to_list()
        for row, value in zip(positions.to_list(), values, strict=True):
            fragments = found.setdefault(row, {})
            fragments[piece.path] = fragment(piece.kind, value)
    for row in decoder.is_not_null().arg_true().to_list():
        found.setdefault(row, {})
    rows = sorted(found)
    texts = [extended.merge(found[row], decoder[row]) for row in rows]
    empty = pl.Series("_rescued", [None], dtype=pl.String).new_from_index(0, landed.height)
    result.rescued = len(rows)
    return (empty.scatter(rows, texts) if rows else empty), result
