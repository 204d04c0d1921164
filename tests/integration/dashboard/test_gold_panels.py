"""The pages of sales and marketing against gold as its models describe it: a column that is renamed is found here."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from psycopg import sql

from infra.superset.bundle import read_columns
from monitoring.pages.panels import FOLDER, read_folder, run
from tasks.database import connect


def test_every_panel_is_sql_that_the_models_of_today_answer(postgres_url: str) -> None:
    now = datetime.now(UTC)
    asked = {"since": now - timedelta(days=90), "until": now, "since_before": now - timedelta(days=180)}
    panels = [panel for panel in read_folder(FOLDER) if "gold." in panel.sql]
    needed = {name for panel in panels for name in panel.header.needs}
    described = read_columns()
    with connect(postgres_url, autocommit=True) as connection:
        connection.execute("create schema gold")
        for name in sorted(needed | {"gold.dim_channel"}):
            schema, _, model = name.partition(".")
            listed = sql.SQL(", ").join(
                sql.SQL("{} {}").format(sql.Identifier(one["name"]), sql.SQL(one["data_type"]))
                for one in described[model]
            )
            connection.execute(sql.SQL("create table {} ({})").format(sql.Identifier(schema, model), listed))
        results = [run(connection, panel, asked) for panel in panels]
    assert len(results) >= 12
    assert {f"{one.panel.page}/{one.panel.name}": one.problem for one in results if one.problem} == {}
