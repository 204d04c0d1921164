"""Rows of Excel files (.xlsx): numbers as they are stored, days and times as ISO 8601, everything else as text."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from tasks.marketing.files.config import Layout
from tasks.marketing.files.records import Cells, FileProblem, Record, exact_number, records_of


def sheet_records(path: Path, key: Sequence[str], layout: Layout) -> Iterator[Record]:
    """Yield the rows of a sheet; a row without a value is none.

    Args:
        path: The file.
        key: Columns that must be there.
        layout: How the sheet is laid out.

    Raises:
        FileProblem: Not an Excel file, no such sheet, no header, or a key column that is not there.
    """
    rows = islice(_rows(path, layout.sheet), layout.skip_rows, None)
    filled = (row for row in rows if row.reason or any(cell is not None for cell in row.fields))
    header = next(filled, None)
    if header is None:
        raise FileProblem("the sheet is empty: not even a header")
    header.fields = _trimmed(header.fields)
    width = len(header.fields)
    yield from records_of(header, (_fitted(row, width) for row in filled), key, layout)


def rows_of(path: Path, sheet: str | None) -> Iterator[list[Any]]:
    """Yield the cells of each row of a sheet, the first where none is named.

    Raises:
        FileProblem: Not an Excel file, or no such sheet.
    """
    return (row.fields for row in _rows(path, sheet))


def _rows(path: Path, sheet: str | None) -> Iterator[Cells]:
    import openpyxl

    try:
        values = openpyxl.load_workbook(path, read_only=True, data_only=True)
        formulas = openpyxl.load_workbook(path, read_only=True)
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, OSError) as error:
        raise FileProblem(f"not a readable Excel file (.xlsx): {error}") from None
    try:
        if sheet is not None and sheet not in values.sheetnames:
            raise FileProblem(f"no sheet is called {sheet!r}; there is: {', '.join(values.sheetnames)}")
        name = sheet or values.sheetnames[0]
        both = zip(values[name].iter_rows(), formulas[name].iter_rows(), strict=True)
        for number, (cells, written) in enumerate(both, start=1):
            yield _row(number, cells, written)
    except (zipfile.BadZipFile, KeyError, ValueError, SyntaxError) as error:
        raise FileProblem(f"the sheet cannot be read: {error}") from None
    finally:
        values.close()
        formulas.close()


def _row(number: int, cells: Sequence[Any], written: Sequence[Any]) -> Cells:
    fields = [_value(cell) for cell in cells]
    raw = json.dumps([None if value is None else str(value) for value in fields], ensure_ascii=False).encode()
    # What a program wrote and nobody opened has formulas and no values: a null would be a value lost.
    open_formula = next((one for cell, one in zip(cells, written, strict=True) if _is_open(cell, one)), None)
    if open_formula is not None:
        said = f"{open_formula.coordinate} is a formula without a value: open the file in Excel and save it"
        return Cells(number, raw, fields, said)
    return Cells(number, raw, fields)


def _is_open(cell: Any, written: Any) -> bool:
    return cell.value is None and getattr(written, "data_type", "") == "f"


def _value(cell: Any) -> Any:
    """Return a cell's value as a document holds it."""
    value = cell.value
    if isinstance(value, datetime):
        # A date is a time at midnight, shown without it.
        shown = str(cell.number_format).lower()
        return value.isoformat() if "h" in shown or value.time() != time() else value.date().isoformat()
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return str(value)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 1 << 53 else exact_number(repr(value))
    if isinstance(value, int):
        return exact_number(str(value))
    return str(value)


def _trimmed(fields: list[Any]) -> list[Any]:
    """Return the cells up to the last that has a value: sheets are as wide as their widest row."""
    width = max((number for number, cell in enumerate(fields, start=1) if cell is not None), default=0)
    return fields[:width]


def _fitted(row: Cells, width: int) -> Cells:
    fields = _trimmed(row.fields)
    row.fields = fields + [None] * (width - len(fields))
    return row
