"""A look at one file: how it is laid out and spelt, and which columns could be its key, as a source of sources.yaml."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import re
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.errors import ConfigError
from tasks.marketing.files.config import FilesSource, Layout
from tasks.marketing.files.records import numbered
from tasks.sources.config import TableRef
from tasks.sources.connector import Proposal
from tasks.sources.spelling import Spelling

# Enough to see a shape; what is beyond is read by the first run.
_MOST_BYTES = 8 << 20
_MOST_ROWS = 20_000
_PREVIEW_BYTES = 64 << 20
_SHOWN = 5
_FORMATS = {".csv": "csv", ".tsv": "csv", ".txt": "csv", ".zip": "csv", ".xlsx": "xlsx", ".jsonl": "jsonl"}
_SPELLINGS = [Spelling(*one) for one in ((".", None), (",", "."), (".", ","), (",", None), (",", " "), (".", "'"))]
_DATES = (None, "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%d-%m-%Y")
_ISO_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_WHOLE = re.compile(r"-?(0|[1-9]\d{0,17})")
_FRACTION = re.compile(r"-?(0|[1-9]\d*)\.\d+")
_LIKE_A_KEY = re.compile(r"(^|_|\b)(id|key|nr|no|number|nummer|sku|code)(_|\b|$)", re.IGNORECASE)
_MOST_KEY_COLUMNS = 3


@dataclass
class _Found:
    """What a file is."""

    header: list[str]
    rows: list[list[Any]]
    keys: dict[str, Any] = field(default_factory=dict)


def propose(path: str, name: str | None) -> Proposal:
    """Look at a file and propose how to read files like it.

    Args:
        path: The file.
        name: Name of the source; None takes the folder's.

    Raises:
        ConfigError: It is no file of a known format, or nothing in it looks like a table.
    """
    file = Path(path)
    plain = Path(file.name.removesuffix(".gz"))
    form = _FORMATS.get(plain.suffix.lower())
    if form is None or not file.is_file():
        raise ConfigError(
            "this is no file that can be looked at", path, f"give one that ends in {', '.join(_FORMATS)}, or in .gz"
        )
    found = {"csv": _csv, "xlsx": _xlsx, "jsonl": _jsonl}[form](file)
    source, table = _plain(name or file.resolve().parent.name), _plain(plain.stem)
    key = _key(found)
    body = {"pattern": _pattern(file.name), "format": form, "key": key, **found.keys}
    day = next((column for column in key if found.keys.get("types", {}).get(column) == "day"), None)
    if day:
        body["partition"] = day
    lines = [f"{file.name}: {form}, {len(found.header)} columns, {len(found.rows):,} row(s) looked at"]
    if not _is_unique(found, key):
        lines.append("no column or three tell rows apart: choose a key that does before the first run")
    lines += _preview(file, source, table, body)
    return Proposal(source, _yaml(file, source, table, body), False, tuple(lines))


# -- formats --------------------------------------------------------------------------------------------------------


def _csv(file: Path) -> _Found:
    raw = _beginning(file)
    encoding, text = _decoded(raw)
    delimiter, skip, rows = max((_shape(text, one) for one in ",;\t|"), key=_weight)
    if not rows:
        raise ConfigError("nothing in this file looks like a table", str(file), "write the source by hand")
    width = len(rows[0])
    header = [cell.strip() for cell in rows[0]]
    keys: dict[str, Any] = {"encoding": encoding} if encoding else {}
    if delimiter != ",":
        keys["delimiter"] = delimiter
    if skip:
        keys["skip_rows"] = skip
    whole = len(raw) < _MOST_BYTES
    totals = Layout(totals="drop")
    below = [row for row in rows[1:] if not totals.is_total(row[0])]
    if len(below) < len(rows) - 1:
        keys["totals"] = "drop"
    footer = len(list(itertools.takewhile(lambda row: len(row) != width, reversed(below)))) if whole else 0
    if footer:
        keys["skip_footer"] = footer
    if len(set(header)) < len(header) or "" in header:
        keys["duplicate_headers"] = "number"
        header = numbered(header)
    body = [row for row in below if len(row) == width]
    return _Found(header, body, keys | _spelt(header, body, delimiter))


def _beginning(file: Path) -> bytes:
    with file.open("rb") as stream:
        packed = stream.read(4)
        stream.seek(0)
        if packed.startswith(b"\x1f\x8b"):
            return gzip.GzipFile(fileobj=stream).read(_MOST_BYTES)
        if not packed.startswith(b"PK"):
            return stream.read(_MOST_BYTES)
    with zipfile.ZipFile(file) as archive:
        first = next(item for item in archive.infolist() if not item.is_dir() and "__MACOSX" not in item.filename)
        with archive.open(first) as member:
            return member.read(_MOST_BYTES)


def _decoded(raw: bytes) -> tuple[str | None, str]:
    """Return the encoding where it has to be said, and the text."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return None, raw[: len(raw) // 2 * 2].decode("utf-16", errors="replace")
    if len(raw) == _MOST_BYTES:
        # Not in the midst of a line, and so of a character.
        raw = raw[: raw.rfind(b"\n") + 1] or raw
    for encoding in ("utf-8-sig", "cp1252", "latin-1"):
        try:
            return (None if encoding == "utf-8-sig" else encoding), raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise AssertionError("latin-1 decodes everything")


def _shape(text: str, delimiter: str) -> tuple[str, int, list[list[str]]]:
    """Return the lines above the header and the rows from the header on, if this were the delimiter."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows: list[tuple[int, list[str]]] = []
    before = 0
    for row in itertools.islice(reader, _MOST_ROWS):
        if row:
            rows.append((before, row))
        before = reader.line_num
    widths = Counter(len(row) for _, row in rows if len(row) > 1)
    if not widths:
        return delimiter, 0, []
    width = max(widths, key=lambda one: (widths[one], one))
    first = next(index for index, (_, row) in enumerate(rows) if len(row) == width)
    return delimiter, rows[first][0], [row for _, row in rows[first:]]


def _weight(shape: tuple[str, int, list[list[str]]]) -> tuple[int, int]:
    _, _, rows = shape
    width = len(rows[0]) if rows else 0
    return sum(len(row) == width for row in rows), width


def _xlsx(file: Path) -> _Found:
    from tasks.marketing.files.excel import rows_of

    rows = list(itertools.islice(rows_of(file, None), _MOST_ROWS))
    filled = [[cell for cell in row if cell is not None] for row in rows]
    width = max(map(len, filled), default=0)
    skip = next((index for index, row in enumerate(filled) if len(row) == width), 0)
    if width < 1:
        raise ConfigError("nothing in this file looks like a table", str(file), "write the source by hand")
    header = [str(cell) for cell in filled[skip]]
    totals = Layout(totals="drop")
    body = [row[:width] for row, cells in zip(rows[skip + 1 :], filled[skip + 1 :], strict=True) if cells]
    below = [row for row in body if not totals.is_total(row[0])]
    keys: dict[str, Any] = {"skip_rows": skip} if skip else {}
    keys |= {"totals": "drop"} if len(below) < len(body) else {}
    types = {
        name: "day"
        for index, name in enumerate(header)
        if (values := [row[index] for row in below if row[index] is not None])
        and all(isinstance(value, str) and _ISO_DAY.fullmatch(value) for value in values)
    }
    return _Found(header, below, keys | ({"types": types} if types else {}))


def _jsonl(file: Path) -> _Found:
    lines = _beginning(file).decode(errors="replace").splitlines()[:_MOST_ROWS]
    try:
        documents = [json.loads(line) for line in lines[: max(len(lines) - 1, 1)] if line.strip()]
    except ValueError as error:
        raise ConfigError(f"not JSON lines: {error}", str(file), "write the source by hand") from None
    header = list(dict.fromkeys(name for document in documents for name in document))
    return _Found(header, [[_scalar(document.get(name)) for name in header] for document in documents])


def _scalar(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, dict | list) else value


# -- spelling -------------------------------------------------------------------------------------------------------


def _spelt(header: Sequence[str], rows: Sequence[Sequence[str]], delimiter: str) -> dict[str, Any]:
    """Return types and spelling of text columns; what all values of a column agree with."""
    columns = {name: [row[index] for row in rows if row[index]] for index, name in enumerate(header)}
    columns = {name: values for name, values in columns.items() if values}
    dates = Counter(one for values in columns.values() for one in _DATES if _are_days(values, one))
    date_format = max(dates, key=lambda one: (dates[one], -_DATES.index(one))) if dates else None
    numbers = Counter(
        {one: sum(_are_numbers(values, one) for values in columns.values()) for one in _preferred(delimiter)}
    )
    spelling = max(_preferred(delimiter), key=lambda one: numbers[one])
    types: dict[str, str] = {}
    for name, values in columns.items():
        if _are_days(values, date_format):
            types[name] = "day"
        elif _are_numbers(values, spelling):
            texts = [spelling.plain(value, "decimal") or "" for value in values]
            types[name] = "int" if all(map(_WHOLE.fullmatch, texts)) else "decimal"
    keys: dict[str, Any] = {}
    if spelling.decimal != "." and types:
        keys["decimal"] = spelling.decimal
    if spelling.thousands and types:
        keys["thousands"] = spelling.thousands
    if date_format:
        keys["date_format"] = date_format
    return keys | ({"types": types} if types else {})


def _preferred(delimiter: str) -> list[Spelling]:
    """Return spellings, first those that go with a delimiter: where commas separate, none is before a fraction."""
    commas = delimiter == ";"
    return sorted(_SPELLINGS, key=lambda one: (one != _SPELLINGS[0], (one.decimal == ",") != commas))


def _are_numbers(values: Sequence[str], spelling: Spelling) -> bool:
    """Tell whether all texts are numbers so spelt; a zero in front is the sign of a name."""
    plain = (spelling.plain(value, "decimal") for value in values)
    return all(text is not None and (_WHOLE.fullmatch(text) or _FRACTION.fullmatch(text)) for text in plain)


def _are_days(values: Sequence[str], date_format: str | None) -> bool:
    if date_format is None:
        return all(map(_ISO_DAY.fullmatch, values))
    spelling = Spelling(date_format=date_format)
    return all(spelling.plain(value, "day") for value in values)


# -- keys -----------------------------------------------------------------------------------------------------------


def _key(found: _Found) -> list[str]:
    """Return the first one, two or three columns that tell all rows apart: named like a key first, amounts never."""
    types = found.keys.get("types", {})
    able = [name for name in found.header if types.get(name) != "decimal"]
    able.sort(key=lambda name: not _LIKE_A_KEY.search(name))
    for size in range(1, _MOST_KEY_COLUMNS + 1):
        for chosen in itertools.combinations(able, size):
            if _is_unique(found, chosen):
                return sorted(chosen, key=found.header.index)
    return found.header[:1]


def _is_unique(found: _Found, chosen: Sequence[str]) -> bool:
    indexes = [found.header.index(name) for name in chosen]
    keys = [tuple(row[index] for index in indexes) for row in found.rows]
    return len(set(keys)) == len(keys) and not any(cell in (None, "") for key in keys for cell in key)


# -- sources.yaml ---------------------------------------------------------------------------------------------------


def _plain(name: str) -> str:
    """Return a name that a source or table may have: the digits of a date are no part of it."""
    made = re.sub(r"[^a-z0-9]+", "_", re.sub(r"\d[\d._-]*", "", name.lower())).strip("_")
    return made[:40].rstrip("_") or "files"


def _pattern(name: str) -> str:
    """Return a glob of the files that come after this one: what counts or dates them is left open."""
    return re.sub(r"\d+([._-]\d+)*", "*", name)


def _yaml(file: Path, source: str, table: str, body: dict[str, Any]) -> str:
    lines = [
        "sources:",
        f"  {source}:",
        "    kind: files",
        f"    path: {json.dumps(str(file.resolve().parent))}",
        "    tables:",
        f"      {table}:",
        *(f"        {name}: {json.dumps(value, ensure_ascii=False)}" for name, value in body.items()),
    ]
    return "\n".join(lines) + "\n"


def _preview(file: Path, source: str, table: str, body: dict[str, Any]) -> Iterator[str]:
    """Yield the first rows as they would land: by reading the file as a run would."""
    from tasks.extract import ExtractContext
    from tasks.landing import Landing
    from tasks.marketing.files.extract import extract_table

    if file.stat().st_size > _PREVIEW_BYTES:
        yield "the file is large: how its rows land is shown by the first run"
        return
    tables = {table: {**body, "pattern": file.name}}
    config = FilesSource.model_validate({"kind": "files", "path": str(file.resolve().parent), "tables": tables})
    with tempfile.TemporaryDirectory(prefix="warehouse-look-") as folder:
        landing = Landing.open(folder)
        result = extract_table(TableRef(source, table, config, config.tables[table]), ExtractContext(landing))
        yield f"{result.metrics.rows_landed:,} row(s) would land, {result.metrics.rows_rejected:,} would be rejected"
        yield from result.warnings
        parts = result.manifest.of_kind("rows") if result.manifest else []
        if result.manifest and parts:
            for row in landing.read(result.manifest, parts[0]).head(_SHOWN).to_dicts():
                cells = ((*name.rpartition("|"), value) for name, value in row.items())
                shown = (f"{path}: {value} ({kind})" for path, bar, kind, value in cells if bar and value is not None)
                yield f"  {', '.join(shown)}"
