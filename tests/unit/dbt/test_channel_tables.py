"""What the packages read of a channel is what the channel lands: its tables, and the columns of their reports."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tasks import dbt
from tasks.marketing.ga4 import config as ga4
from tasks.marketing.ga4.channel import snake
from tasks.marketing.google_ads import config as google
from tasks.marketing.google_ads.channel import column_of
from tasks.marketing.linkedin_ads import config as linkedin
from tasks.marketing.meta_ads import config as meta
from tasks.marketing.microsoft_ads import config as microsoft
from tasks.marketing.tiktok_ads import config as tiktok

PACKAGES = dbt.SHIPPED / "packages"
PURCHASES = ("purchases", "purchase_value", "attribution", "publisher_platform", "account_currency")
LANDED: dict[str, dict[str, set[str]]] = {
    "google_ads": {
        name: {column_of(field) for field in fields} | {"account_name", "currency", "segments_date"}
        for name, (_, fields, _) in (google.REPORTS | google.ENTITIES).items()
    },
    "meta_ads": {
        **{name: {*fields, *meta.METRICS, *PURCHASES, "date_start"} for name, (_, fields, _) in meta.LEVELS.items()},
        **{name: set(fields) for name, (_, fields) in meta.ENTITIES.items()},
    },
    "tiktok_ads": {
        **{
            name: {*attributes, *tiktok.METRICS, dimension or "", "currency", "stat_time_day"}
            for name, (_, dimension, attributes) in tiktok.REPORTS.items()
        },
        **{name: set() for name in tiktok.ENTITIES},
    },
    "linkedin_ads": {
        **{
            name: {column or "", *linkedin.METRICS, "currency", "date"} for name, (_, column) in linkedin.PIVOTS.items()
        },
        **{name: set() for name in linkedin.ENTITIES},
    },
    "microsoft_ads": {
        **{name: {*columns, *microsoft.METRICS} for name, (_, columns, _) in microsoft.REPORTS.items()},
        **{name: set(entity.columns) for name, entity in microsoft.ENTITIES.items()},
    },
    "ga4": {
        name: {snake(field) for field in (*dimensions, *metrics)}
        | {"date", "property_currency", "is_other_row", "subject_to_thresholding", "samples_read"}
        for name, (dimensions, metrics) in ga4.REPORTS.items()
    },
}
# These stand in exports alone; channels have them in their lists.
OF_EXPORTS = {
    "google_ads": {"advertising_channel_type", "ad_name"},
    "meta_ads": {"objective"},
    "tiktok_ads": {"objective_type"},
    "linkedin_ads": {"campaign_group_name", "campaign_name"},
}


def declared() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for path in PACKAGES.glob("*/models/silver/_sources.yml"):
        for source in YAML(typ="safe").load(path.read_text())["sources"]:
            found[source["name"]] = {table["name"] for table in source["tables"]}
            assert all(table["identifier"] == f"{source['name']}__{table['name']}" for table in source["tables"])
    return found


def test_the_declared_tables_are_tables_of_the_channels() -> None:
    for kind, tables in LANDED.items():
        assert declared()[kind] <= tables.keys(), kind


@pytest.mark.parametrize("kind", sorted(LANDED))
def test_the_fields_of_staging_models_are_columns_of_the_reports(kind: str) -> None:
    (path,) = [
        *PACKAGES.glob(f"*/models/silver/stg_ads__{kind}.sql"),
        *PACKAGES.glob(f"*/models/silver/stg_{kind}__*.sql"),
    ]
    read = set(re.findall(r"bronze_value\(bronze, \[?'(\w+)'", path.read_text())) - {"account_id", "_loaded_at"}
    assert len(read) > 9
    reports = [columns for name, columns in LANDED[kind].items() if name in declared()[kind] and "_list" not in name]
    landed = set().union(*reports)
    assert read - landed == OF_EXPORTS.get(kind, set())


def test_the_fields_of_lists_are_columns_of_the_lists() -> None:
    text = Path(PACKAGES / "ads/macros/tables.sql").read_text()
    entries = re.findall(r"\{'table': '(\w+)\.(\w+)', (.*?)\}", text, re.DOTALL)
    assert len(entries) == 14
    for kind, table, fields in entries:
        names = set(re.findall(r"'(?:id|name|parent|status|objective)': '(\w+)'", fields))
        assert table in declared()[kind]
        assert not LANDED[kind][table] or names <= LANDED[kind][table], (kind, table)
