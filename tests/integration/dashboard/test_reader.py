"""The read-only role on a real Postgres: what it sees, what it does not, and that a rebuild takes nothing away."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors, sql

from monitoring import reader
from tasks.database import connect
from tests.history import fill


@pytest.fixture
def role(postgres_url: str) -> Iterator[str]:
    name = f"reader_{uuid.uuid4().hex[:10]}"
    yield name
    with connect(postgres_url, autocommit=True) as connection:
        connection.execute(sql.SQL("drop owned by {0}; drop role {0}").format(sql.Identifier(name)))


@pytest.fixture
def as_reader(postgres_url: str, role: str) -> Iterator[psycopg.Connection]:
    with connect(postgres_url, autocommit=True) as owner:
        fill(owner, 3)
        owner.execute("create schema gold; create table gold.dim_customer (customer_id text, email text, country text)")
        owner.execute("insert into gold.dim_customer values ('1', 'a@example.com', 'DE')")
        reader.apply(owner, role, "secret ' \" %")
        assert reader.apply(owner, role, None)[0].endswith("left alone")
    with connect(reader.as_role(postgres_url, role, "secret ' \" %"), autocommit=True) as connection:
        yield connection


def test_it_reads_all_but_what_is_personal(as_reader: psycopg.Connection) -> None:
    assert as_reader.execute("select customer_id, country from gold.dim_customer").fetchall() == [("1", "DE")]
    assert as_reader.execute("select count(*) from monitoring.pipeline_log").fetchone() != (0,)
    assert as_reader.execute("select count(*) from monitoring.rejects").fetchone() == (7,)
    shown = (
        "select column_name from information_schema.columns where table_schema = 'monitoring' and table_name = any(%s)"
    )
    columns = {row[0] for row in as_reader.execute(shown, [["loads", "schema_changes", "rejects"]])}
    assert columns.isdisjoint({"document", "bytes", "document_id", "evidence", "resolved_by", "resolved_why", "scope"})
    for query in (
        "select email from gold.dim_customer",
        "select * from gold.dim_customer",
        "select document from ops.rejects",
        "select evidence from ops.schema_changes",
        "select * from ops.checkpoints",
        "select * from ops.personal_columns",
    ):
        with pytest.raises(errors.InsufficientPrivilege):
            as_reader.execute(query)


def test_it_changes_nothing_even_when_it_asks_to(as_reader: psycopg.Connection) -> None:
    with pytest.raises(errors.ReadOnlySqlTransaction):
        as_reader.execute("delete from monitoring.pipeline_log")
    as_reader.execute("set default_transaction_read_only = off")
    for query in ("delete from monitoring.pipeline_log", "update gold.dim_customer set country = 'X'"):
        with pytest.raises(errors.InsufficientPrivilege):
            as_reader.execute(query)
    with pytest.raises(errors.InsufficientPrivilege):
        as_reader.execute("create schema mine")


def test_a_table_that_is_swapped_as_dbt_does_keeps_its_readers(
    postgres_url: str, as_reader: psycopg.Connection
) -> None:
    with connect(postgres_url, autocommit=True) as owner:
        owner.execute("create table gold.dim_customer__tmp as select customer_id, 'x' as email, 'FR' as country "
                      "from gold.dim_customer; drop table gold.dim_customer; "
                      "alter table gold.dim_customer__tmp rename to dim_customer")  # fmt: skip
        with pytest.raises(errors.InsufficientPrivilege):
            as_reader.execute("select country from gold.dim_customer")
        owner.execute("select ops.grant_reading('gold.dim_customer'::regclass)")
    assert as_reader.execute("select country from gold.dim_customer").fetchall() == [("FR",)]
    with pytest.raises(errors.InsufficientPrivilege):
        as_reader.execute("select email from gold.dim_customer")


def test_a_further_column_can_be_hidden(postgres_url: str, role: str, as_reader: psycopg.Connection) -> None:
    with connect(postgres_url, autocommit=True) as owner:
        reader.apply(owner, role, None, ["Country"])
    with pytest.raises(errors.InsufficientPrivilege):
        as_reader.execute("select country from gold.dim_customer")


def test_a_new_table_of_monitoring_can_be_read_at_once(postgres_url: str, as_reader: psycopg.Connection) -> None:
    with connect(postgres_url, autocommit=True) as owner:
        owner.execute("create table monitoring.later as select 1 as n")
    assert as_reader.execute("select n from monitoring.later").fetchall() == [(1,)]


def test_it_may_take_an_incident_once(postgres_url: str, as_reader: psycopg.Connection) -> None:
    columns = [
        *("fingerprint", "kind", "severity", "error_class", "subject", "title", "message", "owner"),
        *("first_step", "runbook"),
    ]
    with connect(postgres_url, autocommit=True) as owner:
        owner.execute(
            f"insert into monitoring.incidents ({', '.join(columns)}, first_seen, last_seen) "
            f"values ({', '.join(['%s'] * len(columns))}, now(), now())",
            columns,
        )
    as_reader.execute("set default_transaction_read_only = off")
    assert as_reader.execute("select monitoring.acknowledge(1, ' Ada ')").fetchone() == (True,)
    assert as_reader.execute("select monitoring.acknowledge(1, 'Bob')").fetchone() == (False,)
    with pytest.raises(errors.RaiseException):
        as_reader.execute("select monitoring.acknowledge(1, ' ')")
    with connect(postgres_url, autocommit=True) as owner:
        assert owner.execute("select acknowledged_by from monitoring.incidents").fetchall() == [("Ada",)]
