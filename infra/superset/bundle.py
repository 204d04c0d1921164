"""Writes the bundle that `superset import-dashboards` takes: python -m infra.superset.bundle warehouse.zip."""

from __future__ import annotations

import io
import sys
import uuid
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tasks import metrics

_HERE = Path(__file__).parent
_MODELS = _HERE.parents[1] / "dbt"
# Any value, as long as it never changes: an import replaces what has the same id.
_NAMESPACE = uuid.UUID("0d0a3f6e-7c0b-5a53-9b8e-6a54a1a6f7b2")
_VERSION = "1.0.0"
_ROOT = "warehouse"
# Columns of a dashboard's grid, and the height of its rows in Superset's units.
_GRID, _LOW, _HIGH = 12, 18, 50


def build(definitions: Mapping[str, Any], columns: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Return the bundle's files by path.

    Args:
        definitions: What dashboards.yaml holds.
        columns: Columns of each model, as its YAML describes them.
    """
    files: dict[str, Any] = {
        "metadata.yaml": {"version": _VERSION, "type": "Dashboard", "timestamp": "2026-01-01T00:00:00+00:00"},
        "databases/warehouse.yaml": _database(),
    }
    for name, dataset in definitions["datasets"].items():
        files[f"datasets/warehouse/{name}.yaml"] = _dataset(name, dataset, columns[name])
    for name, chart in definitions["charts"].items():
        files[f"charts/{name}.yaml"] = _chart(name, chart, definitions["datasets"][chart["dataset"]])
    for name, dashboard in definitions["dashboards"].items():
        files[f"dashboards/{name}.yaml"] = _dashboard(name, dashboard, definitions["charts"])
    return {f"{_ROOT}/{path}": content for path, content in files.items()}


def _id(kind: str, name: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, f"{kind}/{name}"))


def _database() -> dict[str, Any]:
    # Address and password are set after the import (`superset set-database-uri`), so that none stands here.
    return {
        "database_name": "warehouse",
        "sqlalchemy_uri": "postgresql+psycopg2://warehouse_reader@localhost:5432/warehouse",
        "expose_in_sqllab": True,
        "allow_run_async": False,
        "allow_ctas": False,
        "allow_cvas": False,
        "allow_dml": False,
        "allow_csv_upload": False,
        "extra": {"allows_virtual_table_explore": True},
        "uuid": _id("database", "warehouse"),
        "version": _VERSION,
    }


def _dataset(name: str, dataset: Mapping[str, Any], columns: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "table_name": name,
        "main_dttm_col": dataset["time"],
        "schema": "gold",
        "sql": None,
        "filter_select_enabled": True,
        "uuid": _id("dataset", name),
        "metrics": [
            {"metric_name": key, "verbose_name": metric["title"], "d3format": metric["format"], **_formula(key, metric)}
            for key, metric in dataset["metrics"].items()
        ],
        "columns": [
            {
                "column_name": column["name"],
                "verbose_name": column["name"].replace("_", " "),
                "type": str(column.get("data_type", "text")).upper(),
                "is_dttm": column.get("data_type") in ("date", "timestamptz"),
                "groupby": True,
                "filterable": True,
                "is_active": True,
                "description": column.get("description"),
            }
            for column in columns
        ],
        "version": _VERSION,
        "database_uuid": _id("database", "warehouse"),
    }


def _formula(name: str, metric: Mapping[str, Any]) -> dict[str, str]:
    if "sql" in metric:
        return {"expression": metric["sql"], "description": metric["about"]}
    known = metrics.shown()[metric.get("metric", name)]
    return {"expression": known.value.as_string(), "description": f"{known.formula}. {known.caveats}"}


def _chart(name: str, chart: Mapping[str, Any], dataset: Mapping[str, Any]) -> dict[str, Any]:
    time = {"clause": "WHERE", "expressionType": "SIMPLE", "operator": "TEMPORAL_RANGE", "comparator": "No filter"}
    params: dict[str, Any] = {
        "viz_type": chart["kind"],
        "adhoc_filters": [{**time, "subject": dataset["time"]}],
        "row_limit": 1000,
    }
    match chart["kind"]:
        case "big_number_total":
            params |= {"metric": chart["metric"], "y_axis_format": dataset["metrics"][chart["metric"]]["format"]}
        case "table":
            params |= {"query_mode": "aggregate", "groupby": chart["by"], "metrics": chart["metrics"]}
        case "heatmap_v2":
            params |= {"x_axis": chart["x"], "groupby": chart["by"], "metric": chart["metric"]}
            params |= {"sort_x_axis": "alpha_asc", "sort_y_axis": "alpha_asc", "value_bounds": [None, None]}
            params |= {"linear_color_scheme": "superset_seq_1", "show_legend": True, "y_axis_format": ".0%"}
        case _:
            params |= {"x_axis": dataset["time"], "time_grain_sqla": chart["grain"], "metrics": chart["metrics"]}
            params |= {"groupby": [], "show_legend": True, "y_axis_format": "SMART_NUMBER"}
    return {
        "slice_name": chart["title"],
        "viz_type": chart["kind"],
        "params": params,
        "query_context": None,
        "uuid": _id("chart", name),
        "version": _VERSION,
        "dataset_uuid": _id("dataset", chart["dataset"]),
    }


def _dashboard(name: str, dashboard: Mapping[str, Any], charts: Mapping[str, Any]) -> dict[str, Any]:
    rows = [f"ROW-{number}" for number in range(len(dashboard["rows"]))]
    position: dict[str, Any] = {
        "DASHBOARD_VERSION_KEY": "v2",
        "ROOT_ID": {"type": "ROOT", "id": "ROOT_ID", "children": ["GRID_ID"]},
        "GRID_ID": {"type": "GRID", "id": "GRID_ID", "children": rows, "parents": ["ROOT_ID"]},
        "HEADER_ID": {"type": "HEADER", "id": "HEADER_ID", "meta": {"text": dashboard["title"]}},
    }
    for row, names in zip(rows, dashboard["rows"], strict=True):
        parents = ["ROOT_ID", "GRID_ID"]
        cells = [f"CHART-{item}" for item in names]
        background = {"background": "BACKGROUND_TRANSPARENT"}
        position[row] = {"type": "ROW", "id": row, "children": cells, "parents": parents, "meta": background}
        for cell, item in zip(cells, names, strict=True):
            height = _LOW if charts[item]["kind"] == "big_number_total" else _HIGH
            meta = {"uuid": _id("chart", item), "sliceName": charts[item]["title"]}
            meta |= {"width": _GRID // len(names), "height": height, "chartId": 0}
            position[cell] = {"type": "CHART", "id": cell, "children": [], "parents": [*parents, row], "meta": meta}
    return {
        "dashboard_title": dashboard["title"],
        "slug": name,
        "uuid": _id("dashboard", name),
        "position": position,
        "metadata": {"native_filter_configuration": [_time_filter(name)], "color_scheme": "supersetColors"},
        "published": True,
        "version": _VERSION,
    }


def _time_filter(name: str) -> dict[str, Any]:
    chosen = {"extraFormData": {"time_range": "Last year"}, "filterState": {"value": "Last year"}}
    return {
        "id": f"NATIVE_FILTER-{_id('filter', name)[:8]}",
        "name": "Period",
        "type": "NATIVE_FILTER",
        "filterType": "filter_time",
        "targets": [{}],
        "controlValues": {"enableEmptyFilter": False},
        "defaultDataMask": chosen,
        "cascadeParentIds": [],
        "scope": {"rootPath": ["ROOT_ID"], "excluded": []},
    }


def read_columns() -> dict[str, list[dict[str, Any]]]:
    """Return the described columns of every model of the product, by the model's name."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(_MODELS.rglob("models/**/*.yml")):
        document = YAML(typ="safe").load(path.read_text(encoding="utf-8")) or {}
        for model in document.get("models") or []:
            found[model["name"]] = list(model.get("columns") or [])
    return found


def read_definitions() -> dict[str, Any]:
    """Return what dashboards.yaml holds."""
    return dict(YAML(typ="safe").load((_HERE / "dashboards.yaml").read_text(encoding="utf-8")))


def write(to: Path) -> Path:
    """Write the bundle as a zip; the same definitions give the same bytes."""
    yaml = YAML(typ="safe")
    yaml.default_flow_style = False
    with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as bundle:
        for path, content in sorted(build(read_definitions(), read_columns()).items()):
            text = io.StringIO()
            yaml.dump(content, text)
            bundle.writestr(zipfile.ZipInfo(path), text.getvalue())
    return to.resolve()


if __name__ == "__main__":
    print(f"written: {write(Path(sys.argv[1] if len(sys.argv) > 1 else 'warehouse-superset.zip'))}")
