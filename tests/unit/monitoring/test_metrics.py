"""The metrics as data: columns that exist, formulas that divide sums, and files that are made of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from monitoring import metrics

CHECKOUT = Path(metrics.__file__).resolve().parents[1]


def test_the_made_files_are_those_of_the_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = {
        "docs/metrics.md": tmp_path / "docs" / "metrics.md",
        "dbt/packages/shop/models/gold/_metrics.yml": tmp_path / "shop" / "models" / "gold" / "_metrics.yml",
    }
    for path in made.values():
        path.parent.mkdir(parents=True)
    known = metrics.read()
    monkeypatch.setattr(metrics, "read", lambda: known)
    monkeypatch.setattr(metrics, "METRICS", tmp_path / "shop" / "metrics.yaml")
    metrics.write(tmp_path)
    for name, path in made.items():
        assert (CHECKOUT / name).read_text() == path.read_text(), f"run python -m monitoring.metrics: {name} is another"


def test_every_metric_reads_columns_that_its_table_has() -> None:
    gold = YAML(typ="safe").load(CHECKOUT / "dbt" / "packages" / "shop" / "models" / "gold" / "_models.yml")
    columns = {model["name"]: {column["name"] for column in model["columns"]} for model in gold["models"]}
    for metric in metrics.read().values():
        assert {metric.time, metric.sum, metric.per or metric.sum} <= columns[metric.table], metric.name


def test_ratios_divide_sums_and_never_average_ratios() -> None:
    query = metrics.read()["return_on_ad_spend"].query("month", "channel_group").as_string()
    assert query == (
        'select date_trunc(\'month\', "date_day")::date as period, "channel_group", '
        'sum("net_revenue")::numeric / nullif(sum("spend"), 0) as "return_on_ad_spend" '
        'from "gold"."rpt_channel_performance_daily" group by 1, 2 order by 1, 2'
    )


def test_a_misspelt_key_and_a_name_given_twice_are_refused(tmp_path: Path) -> None:
    entry = "{name: a, label: A, unit: count, table: t, time: d, sum: s, caveats: none}"
    path = tmp_path / "metrics.yaml"
    path.write_text(f"metrics: [{entry}, {entry}]")
    with pytest.raises(ValueError, match="one name"):
        metrics.read(path)
    path.write_text(f"metrics: [{entry.replace('unit', 'unti')}]")
    with pytest.raises(ValueError, match="unti"):
        metrics.read(path)
