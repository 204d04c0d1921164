"""The control tables, and the function that the models cast with, on a real Postgres."""

from __future__ import annotations

import psycopg
import pytest

from tasks import database

CASES = (
    *(("12.50", "numeric"), ("1e400", "double precision"), ("", "numeric"), ("12,5", "numeric"), (" 7 ", "bigint")),
    *(("9223372036854775808", "bigint"), ("7.0", "bigint"), ("nan", "numeric"), ("1234", "numeric(3,1)")),
    *(("2026-02-29", "date"), ("2024-02-29", "date"), ("2026-01-02T03:04:05Z", "timestamptz"), ("soon", "timestamptz")),
    *(("294277-01-01", "timestamptz"), ("yes", "boolean"), ("2", "boolean"), ("{", "jsonb"), ('{"a": 1}', "jsonb")),
    *(("O'Hara; drop table x", "text"), ("6f1a0c4e-6a55-5b5e-9b51-2f3c6a3f0d11", "uuid"), ("6f1a", "uuid")),
)


@pytest.mark.parametrize("form", [database.INPUT_IS_VALID, database.INPUT_IS_VALID_BEFORE_16], ids=["16", "before 16"])
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
            database.ensure_ops(connection)
        plan = connection.execute("explain verbose select ops.input_is_valid(x, 'date') from (values ('1')) v (x)")
        # Inlined: a model pays nothing for the detour on a server that has the function itself.
        assert "pg_input_is_valid" in str(plan.fetchall())
