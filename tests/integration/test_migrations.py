"""The migrations of the control tables and the log, and the function that the models cast with, on a real Postgres."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from monitoring import log
from tasks.ops import migrations
from tasks.ops.migrations import INPUT_IS_VALID, INPUT_IS_VALID_BEFORE_16

CASES = (
    *(("12.50", "numeric"), ("1e400", "double precision"), ("", "numeric"), ("12,5", "numeric"), (" 7 ", "bigint")),
    *(("9223372036854775808", "bigint"), ("7.0", "bigint"), ("nan", "numeric"), ("1234", "numeric(3,1)")),
    *(("2026-02-29", "date"), ("2024-02-29", "date"), ("2026-01-02T03:04:05Z", "timestamptz"), ("soon", "timestamptz")),
    *(("294277-01-01", "timestamptz"), ("yes", "boolean"), ("2", "boolean"), ("{", "jsonb"), ('{"a": 1}', "jsonb")),
    *(("O'Hara; drop table x", "text"), ("6f1a0c4e-6a55-5b5e-9b51-2f3c6a3f0d11", "uuid"), ("6f1a", "uuid")),
)


@pytest.mark.parametrize("form", [INPUT_IS_VALID, INPUT_IS_VALID_BEFORE_16], ids=["16", "before 16"])
def test_texts_are_judged_as_by_postgres_itself_on_every_version(postgres_url: str, form: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        connection.execute("create schema ops")
        connection.execute(form.encode())
        for value, kind in CASES:
            query = "select ops.input_is_valid(%s, %s), pg_input_is_valid(%s, %s)"
            found = connection.execute(query, [value, kind, value, kind]).fetchone()
            assert found is not None
            assert found[0] is found[1], (value, kind)
        assert connection.execute("select ops.input_is_valid(null, 'date')").fetchone() == (None,)


def test_the_control_tables_bring_the_function_and_can_be_ensured_again(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        for _ in range(2):
            migrations.migrate(connection)
        plan = connection.execute("explain verbose select ops.input_is_valid(x, 'date') from (values ('1')) v (x)")
        # Inlined: a model pays nothing for the detour on a server that has the function itself.
        assert "pg_input_is_valid" in str(plan.fetchall())


def migrated(url: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        migrations.migrate(connection)
        return connection.execute("select version from ops.schema_version order by version").fetchall()


def test_processes_that_start_together_migrate_once(postgres_url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(migrated, [postgres_url] * 4))
    assert found == [[(number + 1,) for number in range(len(migrations.MIGRATIONS))]] * 4


def test_a_warehouse_of_an_older_release_keeps_its_log_and_what_is_built(postgres_url: str) -> None:
    """Up to version 4 the log made its own tables, and what is built stood among them."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        released, ours = migrations.MIGRATIONS, migrations.MIGRATIONS[:4]
        for statement in ("create schema ops", "create schema bronze", "create schema monitoring", *ours):
            connection.execute(statement.encode())
        connection.execute("create table ops.schema_version (version integer primary key, applied_at timestamptz)")
        connection.execute("insert into ops.schema_version (version) select generate_series(1, 4)")
        table = released[4].split("create table if not exists ")[1].split(";")[0]
        connection.execute(f"create table {table}".encode())
        connection.execute("alter table monitoring.pipeline_log drop column expected_at, drop column process")
        connection.execute(
            "create table monitoring.models_built (source text, table_name text, built_at timestamptz not null)"
        )
        connection.execute("insert into monitoring.models_built values ('shop', 'orders', '2026-01-02')")
        connection.execute("insert into monitoring.pipeline_log (id, stage) values (gen_random_uuid(), 'pipeline')")
        migrations.migrate(connection)
        log.write(connection, [{"stage": "pipeline", "state": "Completed", "process": "host:1"}])
        assert connection.execute("select count(*) from monitoring.pipeline_log").fetchone() == (2,)
        built = connection.execute("select source, table_name, built_at::date::text from ops.models_built").fetchall()
        assert built == [("shop", "orders", "2026-01-02")]
        assert connection.execute("select to_regclass('monitoring.models_built')").fetchone() == (None,)


def test_the_log_has_the_columns_that_are_written(postgres_url: str) -> None:
    migrated(postgres_url)
    with psycopg.connect(postgres_url) as connection:
        found = connection.execute(
            "select column_name from information_schema.columns where table_name = 'pipeline_log'"
        ).fetchall()
    assert {row[0] for row in found} == {*log.COLUMNS, "logged_at"}
