"""A panel is one SQL file with a header in YAML: what it answers, its columns, its chart. Panels make a page."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from monitoring.pages.formats import Format
from tasks.errors import ConfigError
from tasks.metrics import shown

if TYPE_CHECKING:
    import psycopg

FOLDER = Path(__file__).parent / "panels"
"""The product's own panels: one folder per page."""
# More rows than this are no page but an export; the reader is told that there are more.
MOST_ROWS = 2_000
_HEADER = re.compile(r"\A\s*/\*(.*?)\*/(.*)\Z", re.S)
_PARAMETER = re.compile(r"%\((\w+)\)s")
# `{{ return_on_ad_spend }} as roas`: the formula of a metric, and the column that shows it.
_METRIC = re.compile(r"\{\{\s*(\w+)\s*\}\}(?:\s+as\s+(\w+))?")
# By all columns at once, so that a company's own table of this name may have others.
_CURRENCY = """
    select to_jsonb(c) ->> 'currency' from gold.dim_currency c where (to_jsonb(c) ->> 'is_reporting')::boolean
"""
Kind = Literal["figures", "cards", "chart", "table"]


class Column(BaseModel):
    """How one column of a panel is shown."""

    model_config = ConfigDict(extra="forbid")

    title: str = ""
    format: Format = "text"
    definition: str = ""
    better: Literal["more", "less", "neither"] = "more"


class Header(BaseModel):
    """The YAML at the top of a panel's SQL file; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid")

    title: str
    question: str = ""
    definition: str = ""
    kind: Kind = "table"
    order: int = 50
    needs: tuple[str, ...] = ()
    columns: dict[str, Column] = Field(default_factory=dict)
    chart: dict[str, Any] | None = None
    filters: dict[str, str] = Field(default_factory=dict)
    as_of: str = ""
    empty: str = "Nothing in this period."

    @field_validator("columns", mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        """Take `spend: money` for `spend: {format: money}`."""
        if isinstance(value, Mapping):
            return {name: {"format": item} if isinstance(item, str) else item for name, item in value.items()}
        return value


@dataclass(frozen=True)
class Panel:
    """One question, the query that answers it, and how the answer is shown.

    Attributes:
        page: Name of the page it stands on.
        name: Name of the file without its ending.
        header: What the file says of itself.
        sql: The query; its parameters are the page's filters.
    """

    page: str
    name: str
    header: Header
    sql: str

    @cached_property
    def parameters(self) -> frozenset[str]:
        """Names of the parameters that the query takes."""
        return frozenset(_PARAMETER.findall(self.sql))

    def column(self, name: str) -> Column:
        """Return how a column is shown; one that the header does not name is text under its own name."""
        found = self.header.columns.get(name, Column())
        return found if found.title else found.model_copy(update={"title": name.replace("_", " ")})


@dataclass(frozen=True)
class Result:
    """What a panel's query gave.

    Attributes:
        panel: The panel.
        rows: At most `MOST_ROWS` rows.
        problem: Why there are no rows, in words for the reader; empty when the query was answered.
        more: Whether there were more rows.
        seconds: How long the query took.
        as_of: Up to when the data goes; None where the panel does not say.
        currency: Of its amounts; empty where it has none or gold does not say.
        parameters: What was asked for.
    """

    panel: Panel
    rows: list[dict[str, Any]] = field(default_factory=list)
    problem: str = ""
    more: bool = False
    seconds: float = 0.0
    as_of: Any = None
    currency: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)


def parse(text: str, page: str, path: Path) -> Panel:
    """Return the panel that a file holds.

    Raises:
        ConfigError: The header is missing or wrong, or the query names a metric that there is not.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    found = _HEADER.match(text)
    if found is None:
        raise ConfigError("the file has no header", str(path), "begin it with /* title: ... */, see docs/dashboard.md")
    try:
        header = Header.model_validate(YAML(typ="safe").load(found.group(1)) or {})
    except YAMLError as error:
        raise ConfigError(f"the header is not YAML: {error}", str(path), "correct it, see docs/dashboard.md") from None
    except ValidationError as error:
        problems = tuple(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise ConfigError("the header is wrong", str(path), "correct it, see docs/dashboard.md", problems) from None
    return Panel(page, path.stem, *_with_metrics(header, found.group(2).strip(), path))


def _with_metrics(header: Header, query: str, path: Path) -> tuple[Header, str]:
    """Return header and query with the metrics that the query names: their formulas, and what is to know of them."""
    metrics = shown()
    columns = dict(header.columns)

    def write_out(found: re.Match[str]) -> str:
        name, column = found.groups()
        if name not in metrics:
            problem = f"no metric is called {name}"
            raise ConfigError(problem, str(path), f"take one of docs/metrics.md: {', '.join(metrics)}")
        metric = metrics[name]
        if column and not (known := columns.get(column, Column())).definition:
            columns[column] = known.model_copy(update={"definition": f"{metric.formula}. {metric.caveats}"})
        return metric.value.as_string() + (f" as {column}" if column else "")

    query = _METRIC.sub(write_out, query)
    return header.model_copy(update={"columns": columns}), query


@lru_cache(maxsize=8)
def read_folder(folder: Path) -> tuple[Panel, ...]:
    """Return the panels below a folder in their order: `<page>/<panel>.sql`, or `<page>.sql` for a page of one panel.

    Raises:
        ConfigError: A file's header is wrong, or the folder is missing.
    """
    if not folder.is_dir():
        raise ConfigError("the folder of pages does not exist", str(folder), "correct WAREHOUSE_PAGES")
    found = []
    for path in sorted([*folder.glob("*.sql"), *folder.glob("*/*.sql")]):
        page = path.stem if path.parent == folder else path.parent.name
        found.append(parse(path.read_text(encoding="utf-8"), page, path))
    return tuple(sorted(found, key=lambda panel: (panel.page, panel.header.order, panel.name)))


def on_page(page: str) -> list[Panel]:
    """Return the panels of one page in their order."""
    return [panel for panel in read_folder(FOLDER) if panel.page == page]


def run(connection: psycopg.Connection[Any], panel: Panel, parameters: Mapping[str, Any]) -> Result:
    """Ask a panel's query; whatever goes wrong is a sentence for the reader, never an exception of Postgres.

    Args:
        connection: A connection in autocommit; the query runs in a read-only transaction of its own.
        panel: The panel.
        parameters: Values by name; what is missing is null, which every query takes for "all".
    """
    import psycopg
    from psycopg.rows import dict_row

    begin = time.monotonic()
    values = {name: parameters.get(name) for name in panel.parameters}
    try:
        with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
            cursor.execute("set transaction read only")
            if missing := _missing(connection, panel.header.needs):
                return Result(panel, problem=_not_there(missing))
            rows = cursor.execute(panel.sql.encode(), values).fetchmany(MOST_ROWS + 1)
            as_of, currency = _as_of(connection, panel), _currency(connection, panel)
    except psycopg.Error as error:
        return Result(panel, problem=_explain(error), seconds=time.monotonic() - begin)
    seconds = time.monotonic() - begin
    return Result(panel, rows[:MOST_ROWS], "", len(rows) > MOST_ROWS, seconds, as_of, currency, parameters)


def _missing(connection: psycopg.Connection[Any], names: Sequence[str]) -> list[str]:
    query = "select name from unnest(%s::text[]) as name where to_regclass(name) is null"
    return [row[0] for row in connection.execute(query, [list(names)]).fetchall()] if names else []


def _as_of(connection: psycopg.Connection[Any], panel: Panel) -> Any:
    if not panel.header.as_of:
        return None
    row = connection.execute(panel.header.as_of.encode()).fetchone()
    return row[0] if row else None


def _currency(connection: psycopg.Connection[Any], panel: Panel) -> str:
    has_amounts = any(column.format == "money" for column in panel.header.columns.values())
    if not has_amounts or _missing(connection, ["gold.dim_currency"]):
        return ""
    row = connection.execute(_CURRENCY).fetchone()
    return str(row[0]) if row and row[0] else ""


def _not_there(missing: Sequence[str]) -> str:
    verb = "does" if len(missing) == 1 else "do"
    return f"{', '.join(missing)} {verb} not exist yet. `warehouse run` builds it where its sources are loaded."


def _explain(error: psycopg.Error) -> str:
    """Return what a reader can do about an error of Postgres."""
    from psycopg import errors

    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    match error:
        case errors.UndefinedTable():
            return f"It reads what does not exist yet: {line}. `warehouse run` builds the models."
        case errors.UndefinedColumn() | errors.UndefinedFunction():
            return f"The warehouse has another shape than this page expects: {line}. Correct the panel's SQL."
        case errors.InsufficientPrivilege():
            return f"The reading role may not see this: {line}. See `warehouse reader`."
        case errors.QueryCanceled():
            return "The answer took too long. Choose fewer days or one source."
        case _:
            return f"The query failed: {line}"
