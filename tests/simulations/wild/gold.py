"""A company's own dbt project above the application: staging models by the product's commands, and marts by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from tests.simulations.wild.application import Document, Release, look
from tests.simulations.wild.ledger import led
from tests.simulations.wild.reconstruction import Number, number_of, of_source

if TYPE_CHECKING:
    from tests.simulations.wild.simulation import Commands, Ended

_FACT = """\
{{{{ config(contract={{'enforced': true}}) }}}}
select {key} as key, total::numeric as total, status::text as status from {{{{ ref('stg_app__{table}') }}}}
"""
_COPY = """\
{{{{ config(materialized='incremental', unique_key='{key}', on_schema_change='sync_all_columns') }}}}
select * from {{{{ ref('stg_app__{table}') }}}}
"""
_ABOVE = "{{{{ config(materialized='view') }}}}\nselect count(*) as copied from {{{{ ref('fct_{table}_copy') }}}}\n"
_DESCRIBED = """\
models:
  - name: fct_{table}
    description: One row per document.
    columns:
      - {{name: key, data_type: text, data_tests: [not_null, unique]}}
      - {{name: total, data_type: numeric}}
      - name: status
        data_type: text
{tests}"""
_TESTS = "        data_tests:\n          - accepted_values: {{arguments: {{values: {values}}}}}\n"


class Project:
    """The project's folder, and what the person does who keeps it.

    Args:
        folder: Where it is going to be.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.exists = folder, False

    def begin(self, commands: Commands, words: Mapping[str, Sequence[str]]) -> Iterator[str]:
        """Write models for tables that have been loaded; yield what went wrong."""
        from tasks.dbt.company import write_project

        write_project(self.folder, packages=("core",))
        for table, values in words.items():
            for name in (table, f"{table}__items"):
                yield from self._do(commands, "model", "new", f"app.{name}")
            parts = {"table": table, "key": f"{table.removesuffix('s')}_id"}
            for name, text in ((f"fct_{table}", _FACT), (f"fct_{table}_copy", _COPY), (f"rpt_{table}", _ABOVE)):
                (self.folder / "models/gold" / f"{name}.sql").write_text(text.format(**parts))
            self.accept(table, values)
        self.exists = True

    def accept(self, table: str, values: Sequence[str] | None) -> None:
        """Say which values of `status` are right; None says that it is no such field any more."""
        tests = "" if values is None else _TESTS.format(values=list(values))
        (self.folder / "models/gold" / f"fct_{table}.yml").write_text(_DESCRIBED.format(table=table, tests=tests))

    def follow(self, commands: Commands, tables: Sequence[str]) -> Iterator[str]:
        """Bring the staging models up to what bronze has; yield what went wrong."""
        for table in tables:
            for name in (table, f"{table}__items"):
                yield from self._do(commands, "drift", "write-dbt", f"app.{name}", "--yes")

    def _do(self, commands: Commands, *arguments: str) -> Iterator[str]:
        ended = commands.run(*arguments)
        if ended.code:
            yield f"warehouse {' '.join(arguments)} ended with {ended.code}:\n{ended.said[-3000:]}"


def explains(ended: Ended, table: str) -> bool:
    """Return whether a run says that a table's mart is as it was because of a value of `status`."""
    return f"accepted_values_fct_{table}_status" in ended.said


def statuses(documents: Mapping[Any, Document]) -> set[str] | None:
    """Return the values of `status`; None where one is no text."""
    found = [one["status"] for one in documents.values() if one.get("status") is not None]
    return set(found) if all(isinstance(one, str) for one in found) else None


def faults(
    connection: psycopg.Connection[Any],
    table: str,
    documents: Mapping[str, Document],
    most: int,
    releases: Sequence[Release],
) -> Iterator[str]:
    """Yield what a mart shows that is not so: keys, and totals that no name of the field has.

    Args:
        connection: Of the warehouse.
        table: Name of the table.
        documents: Its documents that bronze has as they are, by their key there.
        most: How many documents the source has: of those that are rejects an earlier version may be shown.
        releases: All that the application did to it.
    """
    shown = dict(connection.execute(f"select key, total from gold.fct_{table}").fetchall())
    if missing := sorted(documents.keys() - shown.keys()):
        yield f"gold.fct_{table} lacks {missing[:5]}"
    if len(shown) > most:
        yield f"gold.fct_{table} has {len(shown)} rows, the source {most}"
    names = sorted({"total", *(to for to in (one.to for one in releases) if to and led(releases, "total", to))})
    for key in documents.keys() & shown.keys():
        if shown[key] is None:
            continue
        values = [look(documents[key], tuple(name.split("."))) for name in names]
        if not any(_is(value, shown[key]) for value in values):
            yield f"gold.fct_{table} {key}: total is {shown[key]}, at the source {values} as {names}"


def _is(value: Any, shown: Decimal) -> bool:
    """Return whether a number of gold is a value of the source: the same number, or the text of it.

    No `numeric` is a negative zero: it shows 0, and bronze has the original.
    """
    form = of_source(value)
    if form == Number("-0"):
        return shown == 0
    if isinstance(form, tuple):
        try:
            return form[0] == "text" and Decimal(form[1].replace("\x00", "").strip()) == shown
        except InvalidOperation:
            return False
    return isinstance(form, Number) and form.value == number_of(shown).value
