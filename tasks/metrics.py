"""The metrics of gold, read from one file: the data dictionary, what dashboards query, and MetricFlow's definitions."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

from psycopg import sql
from pydantic import BaseModel, ConfigDict
from ruamel.yaml import YAML

from tasks import shipped

METRICS = shipped.path("dbt") / "packages" / "shop" / "metrics.yaml"


class Metric(BaseModel):
    """One metric.

    Attributes:
        name: Name in SQL and MetricFlow.
        label: Name for people.
        unit: What its values are: count, money (in the reporting currency) or ratio.
        table: Table of gold that holds its columns.
        time: Column with the first day of the period that a row is about.
        grain: Length of that period: no shorter one has a value.
        within: Column of which rows with one value only are added up, "" where all may be.
        sum: Column that is added up.
        per: Column whose sum it is divided by, "" for a plain sum.
        caveats: What somebody should know who compares it with another system's figure.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    label: str
    unit: Literal["count", "money", "ratio"]
    table: str
    time: str
    grain: Literal["day", "month"]
    within: str = ""
    sum: str
    per: str = ""
    caveats: str

    @property
    def formula(self) -> str:
        """The formula as people write it."""
        return f"sum({self.sum}) / sum({self.per})" if self.per else f"sum({self.sum})"

    @property
    def value(self) -> sql.Composed:
        """The formula as SQL over rows with its columns; null where the denominator is 0."""
        value = sql.SQL("sum({})").format(sql.Identifier(self.sum))
        if self.per:
            value = sql.SQL("round({}::numeric / nullif(sum({}), 0), 4)").format(value, sql.Identifier(self.per))
        return value


@cache
def shown() -> Mapping[str, Metric]:
    """Return the product's metrics by name, for those who show them."""
    return read()


def read(path: Path = METRICS) -> dict[str, Metric]:
    """Return the metrics by name, in the order of the file.

    Raises:
        ValueError: A metric is not as it should be, its table is not told of, or two have one name.
    """
    content = YAML(typ="safe").load(path)
    metrics = [Metric.model_validate(content["tables"].get(entry["table"], {}) | entry) for entry in content["metrics"]]
    found = {metric.name: metric for metric in metrics}
    if len(found) != len(metrics):
        raise ValueError(f"two metrics of {path} have one name")
    return found


def dictionary(metrics: dict[str, Metric]) -> str:
    """Return the data dictionary of the metrics in Markdown."""
    lines = ["| metric | name | formula | table | by | unit | to know |", "|---|---|---|---|---|---|---|"]
    for metric in metrics.values():
        cells = (
            metric.label,
            f"`{metric.name}`",
            f"`{metric.formula}`",
            f"`gold.{metric.table}`",
            metric.grain + (f", `{metric.within}`" if metric.within else ""),
            metric.unit,
            metric.caveats,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def metricflow(metrics: dict[str, Metric]) -> dict[str, Any]:
    """Return semantic models and metrics as MetricFlow has them in a project's YAML."""
    models = []
    for table in dict.fromkeys(metric.table for metric in metrics.values()):
        own = [metric for metric in metrics.values() if metric.table == table]
        columns = dict.fromkeys(column for metric in own for column in (metric.sum, metric.per) if column)
        models.append(
            {
                "name": table,
                "model": f"ref('{table}')",
                "defaults": {"agg_time_dimension": own[0].time},
                "primary_entity": table,
                "dimensions": _dimensions(own[0]),
                "measures": [{"name": _measure(table, column), "agg": "sum", "expr": column} for column in columns],
            }
        )
    return {"version": 2, "semantic_models": models, "metrics": _metricflow_metrics(metrics)}


def _dimensions(metric: Metric) -> list[dict[str, Any]]:
    time = {"name": metric.time, "type": "time", "type_params": {"time_granularity": metric.grain}}
    return [time, *([{"name": metric.within, "type": "categorical"}] if metric.within else [])]


def _measure(table: str, column: str) -> str:
    # Names are unique over all tables, and MetricFlow keeps double underscores for itself.
    return f"{column}_of_{table}"


def _metricflow_metrics(metrics: dict[str, Metric]) -> list[dict[str, Any]]:
    def simple(metric: Metric, column: str, name: str, label: str) -> dict[str, Any]:
        measure = {"measure": _measure(metric.table, column)}
        return {"name": name, "label": label, "type": "simple", "type_params": measure}

    made: dict[str, dict[str, Any]] = {}
    for metric in metrics.values():
        if not metric.per:
            entry = simple(metric, metric.sum, metric.name, metric.label)
        else:
            parts = {"numerator": _measure(metric.table, metric.sum), "denominator": _measure(metric.table, metric.per)}
            for column, part in zip((metric.sum, metric.per), parts.values(), strict=True):
                made.setdefault(part, simple(metric, column, part, f"{column} of {metric.table}"))
            entry = {"name": metric.name, "label": metric.label, "type": "ratio", "type_params": parts}
        made[metric.name] = {**entry, "description": metric.caveats}
    return list(made.values())


def write(folder: Path) -> None:
    """Write the data dictionary, MetricFlow's definitions, and the macro that the models take ratios from.

    Args:
        folder: The checkout.
    """
    metrics = read()
    (folder / "docs" / "metrics.md").write_text(f"{_TITLE}{dictionary(metrics)}", encoding="utf-8")
    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    with (METRICS.parent / "models" / "gold" / "_metrics.yml").open("w", encoding="utf-8") as file:
        file.write("# Made of metrics.yaml by `python -m tasks.metrics`.\n")
        yaml.dump(metricflow(metrics), file)
    macros = METRICS.parent / "macros" / "metrics.sql"
    macros.write_text(_MACRO.replace("PARTS", _parts(metrics)), encoding="utf-8")


def _parts(metrics: Mapping[str, Metric]) -> str:
    """Return the columns of the ratios as Jinja has them."""
    return "\n".join(f"        '{one.name}': ['{one.sum}', '{one.per}']," for one in metrics.values() if one.per)


_MACRO = """{#-
  Made of metrics.yaml by `python -m tasks.metrics`: a ratio over a row of sums, `relation` being where its columns are.
-#}
{% macro metric(name, relation) -%}
    {%- set parts = {
PARTS
    }[name] -%}
    {{ warehouse.ratio(relation ~ '.' ~ parts[0], relation ~ '.' ~ parts[1]) }}
{%- endmacro %}
"""

_TITLE = """# Metrics

Made of `dbt/packages/shop/metrics.yaml` by `python -m tasks.metrics`. Money is in the reporting currency; days are
those of the setting `reporting_timezone`.

"""

if __name__ == "__main__":
    write(METRICS.parents[3])
