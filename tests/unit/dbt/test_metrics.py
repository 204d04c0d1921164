"""The metrics as data: columns that exist, formulas that divide sums, and files that are made of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from monitoring.pages.catalogue import BUSINESS, PAGES
from monitoring.pages.panels import FOLDER, parse
from tasks import metrics
from tasks.errors import ConfigError

CHECKOUT = Path(metrics.__file__).resolve().parents[1]


def test_the_made_files_are_those_of_the_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = {
        "docs/metrics.md": tmp_path / "docs" / "metrics.md",
        "dbt/packages/shop/models/gold/_metrics.yml": tmp_path / "shop" / "models" / "gold" / "_metrics.yml",
        "dbt/packages/shop/macros/metrics.sql": tmp_path / "shop" / "macros" / "metrics.sql",
    }
    for path in made.values():
        path.parent.mkdir(parents=True)
    known = metrics.read()
    monkeypatch.setattr(metrics, "read", lambda: known)
    monkeypatch.setattr(metrics, "METRICS", tmp_path / "shop" / "metrics.yaml")
    metrics.write(tmp_path)
    for name, path in made.items():
        assert (CHECKOUT / name).read_text() == path.read_text(), f"run python -m tasks.metrics: {name} is another"


def test_every_metric_reads_columns_that_its_table_has() -> None:
    gold = YAML(typ="safe").load(CHECKOUT / "dbt" / "packages" / "shop" / "models" / "gold" / "_models.yml")
    columns = {model["name"]: {column["name"] for column in model["columns"]} for model in gold["models"]}
    for metric in metrics.read().values():
        named = {metric.time, metric.within or metric.time, metric.sum, metric.per or metric.sum}
        assert named <= columns[metric.table], metric.name
        assert metric.grain == {"date_day": "day"}.get(metric.time, "month"), metric.name


def test_ratios_divide_sums_and_never_average_ratios() -> None:
    value = metrics.read()["return_on_ad_spend"].value.as_string()
    assert value == 'round(sum("net_revenue")::numeric / nullif(sum("spend"), 0), 4)'


def written_out(text: str) -> list[str]:
    """The lines of SQL that divide, or take a mean."""
    code = re.sub(r"/\*.*?\*/|\{#.*?#\}|--[^\n]*", "", text, flags=re.DOTALL)
    return [line.strip() for line in code.splitlines() if re.search(r"\bavg\s*\(|\)\s*/|/\s*nullif|\w\s/\s\w", line)]


def test_pages_and_bundle_take_every_ratio_from_the_metrics() -> None:
    panels = [path for page in PAGES if page.group == BUSINESS for path in (FOLDER / page.name).glob("*.sql")]
    assert len(panels) >= 12
    # A share of the rows shown, or of the first of them, and the mean over customers are no metrics: they have no day.
    found = {f"{path.parent.name}/{path.name}": written_out(path.read_text()) for path in panels}
    assert {name for name, lines in found.items() if lines} == {"customers/segments.sql", "funnel/steps.sql"}
    bundle = YAML(typ="safe").load(CHECKOUT / "infra" / "superset" / "dashboards.yaml")
    own = [one.get("sql", "") for dataset in bundle["datasets"].values() for one in dataset["metrics"].values()]
    assert [text for text in own if "/" in text or "avg" in text.lower()] == []


SHOP = CHECKOUT / "dbt" / "packages" / "shop"
# What reports and the macros that they are made of are written in; facts divide too, to share amounts out.
REPORTS = [
    *SHOP.glob("models/gold/rpt_*.sql"),
    SHOP / "models/gold/fct_funnel_daily.sql",
    SHOP / "macros/channel_figures.sql",
]


def test_reports_take_every_ratio_from_the_metrics() -> None:
    assert len(REPORTS) > 10
    for path in REPORTS:
        text = path.read_text()
        assert [*written_out(text), *re.findall(r"warehouse\.ratio\b", text)] == [], path.name


def test_a_ratio_bears_the_name_of_its_metric_and_its_description_tells_the_formula() -> None:
    known = metrics.read()
    made = "".join(path.read_text() for path in REPORTS)
    named = re.findall(r"metric\('(\w+)', \S+\) \}\} as (\w+)", made)
    for names in re.findall(
        r"for name in \[([^\]]*)\] -%\}\s*\{\{ warehouse_shop\.metric\(name, \S+\) \}\} as \{\{ name", made
    ):
        named += [(name, name) for name in re.findall(r"\w+", names)]
    assert {name for name, _ in named} == {name for name, metric in known.items() if metric.per}
    assert [pair for pair in named if pair[0] != pair[1]] == []
    gold = YAML(typ="safe").load(SHOP / "models" / "gold" / "_models.yml")
    for model in gold["models"]:
        for column in model["columns"]:
            if (metric := known.get(column["name"])) and metric.per:
                assert column["description"].startswith(f"{metric.sum} / {metric.per}"), (model["name"], metric.name)


@pytest.mark.parametrize("text", ["a.x / b.y as z", "sum(x) / sum(y)", "x / nullif(y, 0)", "avg(x)"])
def test_a_ratio_that_is_written_out_is_found(text: str) -> None:
    assert written_out(f"select 1,\n    {text}\nfrom t") == [text]


def test_a_panel_names_a_metric_and_gets_formula_and_definition(tmp_path: Path) -> None:
    header = "/* {title: A, columns: {roas: ratio, own: {definition: Mine.}}} */"
    query = "select {{ return_on_ad_spend }} as roas, {{orders}} as own"
    panel = parse(f"{header} {query}", "a", tmp_path / "a.sql")
    assert panel.sql == (
        'select round(sum("net_revenue")::numeric / nullif(sum("spend"), 0), 4) as roas, sum("orders") as own'
    )
    assert panel.column("roas").definition.startswith("sum(net_revenue) / sum(spend). Net of VAT")
    assert panel.column("own").definition == "Mine."
    with pytest.raises(ConfigError, match="no metric is called roas"):
        parse("/* {title: A} */ select {{ roas }}", "a", tmp_path / "a.sql")


def test_a_misspelt_key_and_a_name_given_twice_are_refused(tmp_path: Path) -> None:
    entry = "{name: a, label: A, unit: count, table: t, sum: s, caveats: none}"
    path = tmp_path / "metrics.yaml"
    tables = "tables: {t: {time: d, grain: day}}"
    path.write_text(f"{tables}\nmetrics: [{entry}, {entry}]")
    with pytest.raises(ValueError, match="one name"):
        metrics.read(path)
    path.write_text(f"{tables}\nmetrics: [{entry.replace('unit', 'unti')}]")
    with pytest.raises(ValueError, match="unti"):
        metrics.read(path)
    path.write_text(f"{tables}\nmetrics: [{entry.replace('table: t', 'table: u')}]")
    with pytest.raises(ValueError, match="time"):
        metrics.read(path)
