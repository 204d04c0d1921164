"""The command line on real servers: runs, and all that goes wrong around them, with its name and exit code."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pymongo import MongoClient

from flows import cli
from tasks.landing import decoder
from tasks.settings import get_settings
from tests.command import rows, run
from tests.line import Line

# A field of this name has its type byte broken on the way, as damaged data would.
BREAK = b"\x02broken_here\x00"
BROKEN = b"\x77broken_here\x00"


@pytest.fixture
def damaging(mongodb_uri: str) -> Iterator[Line]:
    """A line on which one field's type is broken in what the server answers."""
    found = Line(mongodb_uri, lambda message: message.replace(BREAK, BROKEN))
    yield found
    found.close()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres_url: str, prefect_server: str) -> Iterator[Path]:
    """A folder to run in, with all three servers configured."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WAREHOUSE_URL", postgres_url)
    monkeypatch.setenv("WAREHOUSE_HOME", str(tmp_path / "home"))
    get_settings.cache_clear()
    yield tmp_path
    get_settings.cache_clear()


def source(uri: str, database: str, *tables: str) -> str:
    listed = "".join(f"      {table}: {{mode: incremental, cursor: at}}\n" for table in tables)
    return f"    kind: mongodb\n    uri: {uri}\n    database: {database}\n    tables:\n{listed}"


def write_sources(place: Path, **sources: str) -> None:
    text = "".join(f"  {name}:\n{body}" for name, body in sources.items())
    (place / "sources.yaml").write_text(f"sources:\n{text}")


def files(folder: Path, **content: str) -> str:
    folder.mkdir()
    listed = ""
    for name, text in content.items():
        (folder / f"{name}.csv").write_text(text)
        listed += f"      {name}: {{pattern: {name}.csv, format: csv, key: [day, id], types: {{spend: decimal}}}}\n"
    return f"    kind: files\n    path: {folder}\n    tables:\n{listed}"


def documents(first: int, count: int, **more: Any) -> list[dict[str, Any]]:
    return [
        {"_id": number, "at": datetime(2026, 1, 1, 0, number, tzinfo=UTC), **more}
        for number in range(first, first + count)
    ]


@pytest.mark.slow
def test_one_run_with_everything_that_can_go_wrong_beside_a_table_that_is_well(
    place: Path,
    postgres_url: str,
    mongodb_uri: str,
    mongodb_database: str,
    damaging: Line,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each failure is named, the exit code is 1, the healthy tables load, and no failed table's checkpoint moves."""
    # The product waits 15 s for a failover, which a refused connection need not.
    monkeypatch.setattr("tasks.mongodb.client.SERVER_SELECTION_MS", 500)
    with MongoClient(mongodb_uri) as client:
        database = client[mongodb_database]
        for name in ("well", "gone"):
            database[name].insert_many(documents(0, 3))
        write_sources(place, shop=source(mongodb_uri, mongodb_database, "well", "gone"))
        assert run("run", "--no-models") == cli.DONE
        before = rows(postgres_url, "select version, state from ops.checkpoints where table_name = 'gone'")
        assert before

        database["gone"].drop()
        database["well"].insert_many(documents(10, 2))
        database.create_collection("empty")
        database["damaged"].insert_many([*documents(0, 2), *documents(2, 1, broken_here="x"), *documents(3, 2)])
    write_sources(
        place,
        shop=source(mongodb_uri, mongodb_database, "well", "gone", "empty"),
        bent=source(damaging.uri, mongodb_database, "damaged"),
        away=source("mongodb://reader:hunter2@127.0.0.1:1/?directConnection=true", "none", "orders"),
        ads=files(
            place / "ads",
            spend="day,id,spend\n2026-01-01,a,1.50\n2026-01-01,b,2.5,9\n2026-01-02,c,3\n",
            keyless="id,spend\na,1.50\n",
        ),
    )
    capsys.readouterr()

    assert run("run", "--no-models") == cli.FAILED

    shown = capsys.readouterr()
    text = shown.out + shown.err
    assert "MissingCollection" in text
    assert "shop.gone" in text
    assert "SourceUnreachable" in text
    assert "away.orders" in text
    assert "hunter2" not in text
    assert rows(postgres_url, "select count(*) from bronze.shop__well") == [(5,)]
    assert rows(postgres_url, "select count(*) from bronze.shop__gone where _deleted_at is null") == [(3,)]
    assert rows(postgres_url, "select version, state from ops.checkpoints where table_name = 'gone'") == before
    assert rows(postgres_url, "select * from ops.checkpoints where source = 'away'") == []
    assert rows(postgres_url, "select _id from bronze.bent__damaged order by 1") == [("0",), ("1",), ("3",), ("4",)]
    # Nothing to read is no failure, and no place to go on from.
    assert "shop.empty (" not in text
    assert rows(postgres_url, "select * from ops.checkpoints where table_name = 'empty'") == []
    assert rows(postgres_url, "select id, spend from bronze.ads__spend order by 1") == [
        ("a", Decimal("1.50")),
        ("c", Decimal(3)),
    ]
    assert rows(postgres_url, "select table_name, reason from ops.rejects where source = 'ads' order by 1") == [
        ("keyless", "keyless.csv: the key column day is not in the file"),
        ("spend", "spend.csv, line 3: 4 fields where the header has 3"),
    ]
    rejects = "select document_id, reason, bytes from ops.rejects where source = 'bent'"
    ((document, reason, kept),) = rows(postgres_url, rejects)
    assert document in (None, "2")
    assert reason
    assert BROKEN in bytes(kept)

    assert run("rejects", "list") == cli.DONE
    assert "bent.damaged" in capsys.readouterr().out
    assert run("status") == cli.DONE
    assert "shop.well" in capsys.readouterr().out


def test_a_run_that_refused_a_file_fails_until_the_file_is_mended(
    place: Path, postgres_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_sources(
        place, ads=files(place / "ads", good="day,id,spend\n2026-01-01,a,1\n", bad="day,id,spend\n2026-01-01\n")
    )
    for _ in range(2):
        assert run("run", "--no-models") == cli.FAILED
        report, progress = capsys.readouterr()
        assert (decoder.SLOW in progress) is not decoder.native_available()
        assert "1 file(s) refused, ads.bad: bad.csv: none of its 1 row(s) could be read" in report
        assert "Mend the files" in report
    assert rows(postgres_url, "select id from bronze.ads__good") == [("a",)]
    (place / "ads" / "bad.csv").write_text("day,id,spend\n2026-01-01,b,1\n")
    assert run("run") == cli.DONE
    report = capsys.readouterr().out
    assert "All well" in report
    assert "2 of 2 table(s) are read by no model, such as ads.good" in report
    assert "`warehouse model new ads.good`" in report
    assert rows(postgres_url, "select id from bronze.ads__bad") == [("b",)]


def test_a_run_against_no_warehouse_names_it_and_leaves_the_source_alone(
    place: Path,
    mongodb_uri: str,
    mongodb_database: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_sources(place, shop=source(mongodb_uri, mongodb_database, "well"))
    monkeypatch.setenv("WAREHOUSE_URL", "postgresql://me:hunter2@127.0.0.1:1/none")
    get_settings.cache_clear()
    assert run("run", "--no-models") == cli.FAILED
    shown = capsys.readouterr()
    assert "Postgres does not answer" in shown.out + shown.err
    assert "hunter2" not in shown.out + shown.err
    assert not list((place / "home").rglob("manifest.json"))


@pytest.fixture(scope="module")
def guarded_mongodb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`host:port` of a MongoDB-wire server that asks for a password; `reader` with `right-one` may read `shop`."""
    from infra.embedded import process

    folder = tmp_path_factory.mktemp("guarded")
    port = process.choose_port(0)

    def start(*options: str) -> None:
        command = [sys.executable, "-P", "-m", "secantus", "--port", str(port), "--storage-path", "data", *options]
        server = process.spawn(command, folder, port)
        assert process.wait_ready(lambda: server.poll() is None, answers, 60, print), process.log_tail(
            folder / "server.log"
        )

    def answers() -> bool:
        with closing(socket.socket()) as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    # The server makes users only while it does not ask for one.
    start()
    with MongoClient(f"mongodb://127.0.0.1:{port}/?directConnection=true") as client:
        client["shop"]["orders"].insert_many(documents(0, 3))
        client["admin"].command("createUser", "reader", pwd="right-one", roles=[{"role": "read", "db": "shop"}])
    process.stop(folder)
    start("--auth")
    yield f"127.0.0.1:{port}"
    process.stop(folder)


@pytest.mark.parametrize("command", [["run", "--no-models"], ["check"]])
def test_a_wrong_mongodb_password_is_named_and_never_shown(
    command: list[str],
    place: Path,
    postgres_url: str,
    guarded_mongodb: str,
    mongodb_uri: str,
    mongodb_database: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The table that may not be read is named, the others load, and nothing of it is left behind."""
    with MongoClient(mongodb_uri) as client:
        client[mongodb_database]["well"].create_index("at")
        client[mongodb_database]["well"].insert_many(documents(0, 3))
    wrong = f"mongodb://reader:hunter2-wrong@{guarded_mongodb}/?directConnection=true&authSource=admin"
    write_sources(place, shop=source(mongodb_uri, mongodb_database, "well"), locked=source(wrong, "shop", "orders"))
    assert run(*command) == cli.FAILED
    shown = capsys.readouterr()
    text = shown.out + shown.err
    assert "MongoDB refused" in text
    assert "locked" in text
    assert "check user, password and authSource" in text
    assert "hunter2-wrong" not in text
    if command[0] == "run":
        assert rows(postgres_url, "select count(*) from bronze.shop__well") == [(3,)]
        assert rows(postgres_url, "select * from ops.checkpoints where source = 'locked'") == []
        kept = rows(
            postgres_url,
            "select error_class, error_message from monitoring.pipeline_log"
            " where source = 'locked' and stage = 'extract'",
        )
        assert [error_class for error_class, _ in kept] == ["auth"]
        assert "hunter2-wrong" not in str(kept)
        assert not [
            path
            for path in place.rglob("*")
            if path.is_file() and b"hunter2-wrong" in path.read_bytes() and path.name != "sources.yaml"
        ]


def test_the_right_mongodb_password_reads(
    place: Path, postgres_url: str, guarded_mongodb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    right = f"mongodb://reader:right-one@{guarded_mongodb}/?directConnection=true&authSource=admin"
    write_sources(place, locked=source(right, "shop", "orders"))
    assert run("run", "--no-models") == cli.DONE, capsys.readouterr()
    assert rows(postgres_url, "select count(*) from bronze.locked__orders") == [(3,)]


@pytest.mark.parametrize(
    "command", [["status"], ["checkpoint", "show"], ["sql", "select 1"], ["run", "--plan"], ["run", "--no-models"]]
)
def test_a_wrong_password_is_named(
    command: list[str],
    place: Path,
    postgres_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_sources(place, shop=source("mongodb://127.0.0.1:1", "none", "orders"))
    user = postgres_url.split("//")[1].split(":")[0]
    monkeypatch.setenv("WAREHOUSE_URL", f"postgresql://{user}:hunter2@{postgres_url.split('@')[1]}")
    get_settings.cache_clear()
    # status shows it as a finding, the others cannot do their work.
    assert run(*command) == (cli.DONE if command == ["status"] else cli.FAILED)
    shown = capsys.readouterr()
    assert "password authentication failed" in shown.out + shown.err
    assert "hunter2" not in shown.out + shown.err


def test_an_unknown_key_stops_the_run_before_it_starts(
    place: Path, postgres_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "sources.yaml").write_text(
        "sources:\n  shop:\n    kind: mongodb\n    uri: mongodb://x\n    database: shop\n    tables:\n"
        "      orders: {mode: full, arays: {items: table}}\n"
    )
    assert run("run") == cli.WRONG_USE
    assert "line 7: sources.shop.tables.orders.arays: unknown key" in capsys.readouterr().err
    assert rows(postgres_url, "select count(*) from pg_namespace where nspname = 'bronze'") == [(0,)]


def test_the_checkpoint_can_be_set_back_and_the_next_run_reads_again(
    place: Path, postgres_url: str, mongodb_uri: str, mongodb_database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with MongoClient(mongodb_uri) as client:
        client[mongodb_database]["orders"].insert_many(documents(0, 4))
    write_sources(place, shop=source(mongodb_uri, mongodb_database, "orders"))
    assert run("run", "shop.orders", "--no-models") == cli.DONE
    assert run("checkpoint", "show", "shop.orders") == cli.DONE
    assert "2026-01-01T00:03:00" in capsys.readouterr().out

    for wrong, said in (('{"x": 1}', "no state of mode incremental"), ('{"cursor": 5}', "cannot be read")):
        assert run("checkpoint", "set", "shop.orders", "--state", wrong) == cli.WRONG_USE
        assert said in capsys.readouterr().err
    assert run("checkpoint", "set", "shop.orders", "--since", "2026-01-01T00:01") == cli.DONE
    assert "2026-01-01T00:01:00" in capsys.readouterr().out
    assert run("run", "shop.orders", "--plan") == cli.DONE
    assert "2026-01-01T00:01:00" in capsys.readouterr().out
    assert run("run", "shop.orders", "--no-models") == cli.DONE
    landed = rows(postgres_url, "select rows_landed from ops.batches order by batch_id")
    assert landed == [(4,), (3,)]
    assert rows(postgres_url, "select count(*) from bronze.shop__orders") == [(4,)]


def test_check_reports_tables_that_cannot_be_read(
    place: Path, mongodb_uri: str, mongodb_database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with MongoClient(mongodb_uri) as client:
        client[mongodb_database]["orders"].insert_many(documents(0, 2))
    write_sources(place, shop=source(mongodb_uri, mongodb_database, "orders", "ordres"))
    assert run("check") == cli.FAILED
    lines = capsys.readouterr().out.splitlines()
    wrong = [line for line in lines if line.startswith("wrong")]
    assert len(wrong) == 1
    assert "shop.ordres" in wrong[0]
    assert any(line.startswith("warning") and "cursor at has no index" in line for line in lines)

    hinted = source(mongodb_uri, mongodb_database, "orders").replace("cursor: at", "cursor: at, hint: nowhere")
    write_sources(place, shop=hinted)
    assert run("check") == cli.FAILED
    assert "shop.orders: hint: there is no index 'nowhere'" in capsys.readouterr().out

    write_sources(place, shop=source(mongodb_uri, mongodb_database, "orders"))
    assert run("check") == cli.DONE
    assert "nothing is wrong" in capsys.readouterr().out


def test_check_tells_a_mistyped_path_by_what_was_read(
    place: Path, mongodb_uri: str, mongodb_database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def steps(dropped: str, cast: str, table: str) -> str:
        rule = f"{{field: at, reference: {{table: {table}, field: {cast}}}}}"
        listed = f"transforms: [{{drop: {dropped}}}, {{cast: {{{cast}: string}}}}], rules: [{rule}]"
        return source(mongodb_uri, mongodb_database, "orders").replace("incremental, cursor: at", f"full, {listed}")

    with MongoClient(mongodb_uri) as client:
        client[mongodb_database]["orders"].insert_many([{**one, "e_mail": "a@x"} for one in documents(0, 2)])
    warnings = [
        "shop.orders: transforms, drop: no document so far has e_mial; did you mean e_mail?",
        "shop.orders: transforms, cast: no document so far has att; did you mean at?",
        "shop.orders: rules of shop.orders, reference: no document so far has att; did you mean at?",
        "'at reference' refers to shop.ordres, which is not in sources.yaml; did you mean shop.orders?",
    ]
    expected = {
        ("e_mial", "att", "shop.orders"): [True, True, True, False],
        ("e_mial", "at", "shop.ordres"): [True, False, False, True],
        ("e_mail", "at", "shop.orders"): [False] * 4,
    }
    for paths, told in expected.items():
        write_sources(place, shop=steps(*paths))
        assert run("run", "shop.orders", "--no-models") == cli.DONE
        capsys.readouterr()
        assert run("check") == cli.DONE
        shown = capsys.readouterr().out
        assert [warning in shown for warning in warnings] == told


def test_sql_is_read_only_and_needs_no_client(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("sql", "select 41 + 1 as answer") == cli.DONE
    assert "42" in capsys.readouterr().out
    assert run("sql", "create table x (a int)") == cli.FAILED
    assert "read-only transaction" in capsys.readouterr().err
    assert run("sql", "select generate_series(1, 9)", "--limit", "3") == cli.DONE
    assert "6 more row(s)" in capsys.readouterr().out
    assert run("sql", "commit; create table x (a int)") == cli.FAILED
    assert "read-only transaction" in capsys.readouterr().err


def test_sql_shows_values_as_postgres_writes_them(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = ["10.25::float8", "1234567", "1.10::numeric", "timestamptz '12000-01-09 00:00+00'", "true", "null"]
    values += ["'infinity'::timestamptz", "date '0002-12-31 BC'", """'{"b": 1.0}'::jsonb"""]
    assert run("sql", f"select {', '.join(values)}") == cli.DONE
    shown = capsys.readouterr().out
    for text in ("10.25", "1234567", "1.10", "12000-01-0", "infinity", "0002-12-31 BC", '{"b": 1.0}'):
        assert text in shown


def test_proof_and_repair_of_a_table(
    place: Path, postgres_url: str, mongodb_uri: str, mongodb_database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Verify sees a row that somebody changed by hand, and rebuild brings back what was landed."""
    with MongoClient(mongodb_uri) as client:
        client[mongodb_database]["orders"].insert_many(documents(0, 4, total="1.50"))
    write_sources(place, shop=source(mongodb_uri, mongodb_database, "orders"))
    assert run("run", "--no-models") == cli.DONE
    assert run("verify", "shop.orders") == cli.DONE
    shown = capsys.readouterr().out
    assert "bronze equals the source" in shown and "note: read by the decoder of documents" in shown

    with psycopg.connect(postgres_url) as connection:
        connection.execute("update bronze.shop__orders set total = '9.99' where _id = '2'")
        connection.execute("create materialized view fixed as select total from bronze.shop__orders")
    assert run("verify", "shop.orders") == cli.FAILED
    shown = capsys.readouterr().out
    assert "1 document(s) differ" in shown
    assert "9.99" in shown

    assert run("rebuild", "shop.orders") == cli.DONE
    assert "note: all columns keep their types: a materialized view" in capsys.readouterr().out
    assert run("verify", "shop.orders") == cli.DONE
    assert run("rejects", "replay", "shop.orders") == cli.DONE
    assert run("verify", "shop.ordres") == cli.WRONG_USE
