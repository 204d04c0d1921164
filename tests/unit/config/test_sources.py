"""sources.yaml: every mistake at once, each with its line, and never a secret in a message."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import bson
import pytest
from bson.decimal128 import Decimal128
from bson.objectid import ObjectId

from tasks.errors import ConfigError, credentials_are_escaped, redact
from tasks.mongodb.config import MongoTable
from tasks.settings import Settings
from tasks.sources import load_sources

GOOD = """
sources:
  shop:
    kind: mongodb
    uri: ${MONGODB_URI}
    database: shop
    tables:
      orders: {mode: incremental, cursor: updated_at, lag: 10m, arrays: {items: table, tags: json}}
      products: {}
  ads:
    kind: files
    path: exports
    tables:
      google: {pattern: "*.csv", format: csv, key: [day], types: {day: day}}
"""
ENVIRONMENT = {"MONGODB_URI": "mongodb://user:hunter2@host/"}


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "sources.yaml"
    file.write_text(text)
    return file


def test_a_good_file_gives_every_table_in_order(tmp_path: Path) -> None:
    sources = load_sources(write(tmp_path, GOOD), ENVIRONMENT)
    assert [ref.name for ref in sources.refs()] == ["shop.orders", "shop.products", "ads.google"]
    orders = sources.table("shop.orders").table
    assert isinstance(orders, MongoTable)
    assert orders.lag == timedelta(minutes=10)
    assert orders.child_paths == ("items",)
    assert "hunter2" not in repr(sources)


def test_every_mistake_is_named_at_once_with_its_line(tmp_path: Path) -> None:
    text = """
sources:
  shop:
    kind: mongodb
    uri: ${NOT_SET}
    database: shop
    tables:
      orders: {mode: incremental, curser: x, lag: 10x}
      Bad: {mode: cdc}
  ads:
    kind: fles
"""
    with pytest.raises(ConfigError) as caught:
        load_sources(write(tmp_path, text), {})
    problems = caught.value.problems
    expected = ["line 5: ", "line 8: ", "line 8: ", "line 9: ", "line 11: "]
    assert [problem[: len(start)] for problem, start in zip(problems, expected, strict=True)] == expected
    text = str(caught.value)
    for part in ("NOT_SET is not set", "curser: unknown key", "10m", "not a usable name", "'fles'"):
        assert part in text


def test_of_a_variable_that_is_not_set_nothing_else_is_told(tmp_path: Path) -> None:
    text = "sources:\n  web:\n    kind: ga4\n    base_url: ${NOT_SET}/ga4\n    properties: ['1']\n"
    text += "    credentials: {client_id: c, client_secret: s, refresh_token: r}\n    tables: {sessions: {}}\n"
    with pytest.raises(ConfigError) as caught:
        load_sources(write(tmp_path, text), {})
    assert caught.value.problems == ("line 4: sources.web.base_url: the environment variable NOT_SET is not set",)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("{mode: incremental}", "needs a cursor"),
        ("{mode: full, cursor: x}", "cursor is for mode incremental"),
        ("{mode: cdc, deletes: sweep}", "knows deletes already"),
        ("{mode: full, hint: by_time}", "hint is for"),
        ("{mode: cdc, hint: by_time, filter: {a: 1}}", "hint is for"),
        ("{mode: full, hint: by_time, filter: {a: 1}, partitions: 2}", "no other hint"),
        ("{fields: {include: [a], exclude: [b]}}", "not both"),
        ("{fields: {exclude: [_id]}}", "_id is the row's key"),
        ("{filter: {at: {$gte: 2026-01-05}}}", '$date: "2026-01-05T00:00:00Z"'),
        ("{filter: {at: {$gte: {$date: 5 May}}}}", "$date is no value of extended JSON; a date is written"),
        ("{filter: {a: {$oid: 65}}}", "under $oid is no value"),
        ("{filter: {$oid: '650000000000000000000003'}}", "not a value"),
        ("{transforms: [{drop: a, hash: b}]}", "exactly one of"),
        ("{transforms: [{derive: {name: x, expression: 'a +', kind: int}}]}", "not valid Polars SQL"),
        ("{transforms: [{derive: {name: x, expression: 'no_such(a)', kind: int}}]}", "not valid Polars SQL"),
        ("{transforms: [{derive: {name: x, expression: a, kind: money}}]}", "kind: "),
        ("{transforms: [{cast: {total: money}}]}", "total"),
        ("{transforms: [{hash: _id}]}", "_id is the row's key"),
        ("{arrays: {items: table}, transforms: [{drop: items}]}", "items holds the child table items"),
        ("{arrays: {a.items: table}, transforms: [{hash: a}]}", "a holds the child table a.items"),
        ("{arrays: {items: table}, transforms: [{rename: {items.a: items.b}}]}", "not for its child items"),
        ("{arrays: {items: rows}}", "'table' or 'json'"),
        ("", "products: must be keys and values; {} where every key"),
        ("{filter: [a]}", "filter: must be keys and values, such as"),
        ("{fields: {include: a}}", "include: must be a list, such as [a, b]"),
        ("{partitions: 0}", "greater than or equal to 1"),
    ],
)
def test_tables_that_contradict_themselves_are_refused(tmp_path: Path, table: str, message: str) -> None:
    text = GOOD.replace("products: {}", f"products: {table}")
    with pytest.raises(ConfigError, match="1 mistake") as caught:
        load_sources(write(tmp_path, text), ENVIRONMENT)
    assert message in str(caught.value)


def test_a_filter_in_extended_json_has_the_values_that_it_tells(tmp_path: Path) -> None:
    query = (
        '{at: {$gte: {$date: "2026-01-05T00:00:00Z"}}, owner: {$in: [{$oid: "650000000000000000000003"}]}, '
        'price: {$lt: {$numberDecimal: "1.50"}}, name: {$regex: "^a", $ne: ab}, kind: {$type: string}}'
    )
    text = GOOD.replace("products: {}", f"products: {{filter: {query}}}")
    table = load_sources(write(tmp_path, text), ENVIRONMENT).table("shop.products").table
    assert isinstance(table, MongoTable)
    assert bson.decode(bson.encode(table.filter)) == {
        "at": {"$gte": datetime(2026, 1, 5)},
        "owner": {"$in": [ObjectId("650000000000000000000003")]},
        "price": {"$lt": Decimal128("1.50")},
        "name": {"$regex": "^a", "$ne": "ab"},
        "kind": {"$type": "string"},
    }


def test_reads_that_a_failover_may_take_back_are_for_tables_without_a_position(tmp_path: Path) -> None:
    local = GOOD.replace("    database: shop\n", "    database: shop\n    read_concern: local\n")
    with pytest.raises(ConfigError, match="1 mistake") as caught:
        load_sources(write(tmp_path, local), ENVIRONMENT)
    assert "read_concern: local may show what a failover takes back" in str(caught.value)
    full = "sources: {shop: {kind: mongodb, uri: x, database: shop, read_concern: local, tables: {orders: {}}}}"
    assert load_sources(write(tmp_path, full), {}).table("shop.orders").source.read_concern == "local"  # type: ignore[union-attr]


def test_an_unknown_kind_is_answered_with_those_that_exist_and_hides_no_other_mistake(tmp_path: Path) -> None:
    text = GOOD.replace("kind: files", "kind: fils").replace("products: {}", "products: {cursr: x}")
    with pytest.raises(ConfigError) as caught:
        load_sources(write(tmp_path, text), ENVIRONMENT)
    assert caught.value.problems == (
        "line 9: sources.shop.tables.products.cursr: unknown key",
        "line 11: sources.ads.kind: 'fils' is no kind of source; there are: "
        "airbyte, files, ga4, google_ads, klaviyo, linkedin_ads, meta_ads, microsoft_ads, mongodb, rest, tiktok_ads",
    )
    with pytest.raises(ConfigError, match=r"sources\.ads\.kind: Field required"):
        load_sources(write(tmp_path, GOOD.replace("    kind: files\n", "")), ENVIRONMENT)


@pytest.mark.parametrize(
    ("kept", "imported"), [("shop", ["tasks.mongodb.config"]), ("ads", ["tasks.marketing.files.config"])]
)
def test_only_what_the_kinds_in_the_file_need_is_imported(tmp_path: Path, kept: str, imported: list[str]) -> None:
    shop, ads = GOOD.split("  ads:\n")
    text = shop if kept == "shop" else f"sources:\n  ads:\n{ads}"
    script = (
        "import sys; from pathlib import Path; from tasks.sources import load_sources;"
        f"load_sources(Path({str(write(tmp_path, text))!r}), {ENVIRONMENT!r});"
        "slow = {'polars', 'pymongo', 'bson', 'obstore', 'tasks.mongodb.config', 'tasks.marketing.files.config'};"
        "print(sorted(slow & set(sys.modules)))"
    )
    checkout = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=checkout, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == str(imported)


def test_arrays_as_tables_are_refused_where_files_cannot_nest(tmp_path: Path) -> None:
    text = GOOD.replace("types: {day: day}", "arrays: {items: table}")
    with pytest.raises(ConfigError, match="arrays as tables need format jsonl"):
        load_sources(write(tmp_path, text), ENVIRONMENT)


def test_yaml_mistakes_are_told_beside_all_others(tmp_path: Path) -> None:
    text = """sources:
  first:
    kind: files
    path: a
    path: secret-of-somebody
    tables: {t: {pattern: x, format: csx, key: [id]}}
  broken:
    kind: files
   tables: [
  last: {kind: fils, tables: {}}
"""
    with pytest.raises(ConfigError) as caught:
        load_sources(write(tmp_path, text), {})
    assert [problem.partition(" ")[2].partition(",")[0] for problem in caught.value.problems] == [
        "5: the key 'path' is there twice",
        "6: sources.first.tables.t.format: Input should be 'csv'",
        "9: not valid YAML: expected <block end>",
        "10: sources.last.kind: 'fils' is no kind of source; there are: airbyte",
    ]
    assert "secret" not in str(caught.value)


def test_reading_twice_tells_the_same_and_a_corrected_file_or_variable_counts_at_once(tmp_path: Path) -> None:
    path = write(
        tmp_path, "sources:\n  shop: {kind: mongodb, uri: '${URI}', database: '${DATABASE}', tables: {a: {}, a: {}}}\n"
    )
    told = []
    for _ in range(2):
        with pytest.raises(ConfigError) as error:
            load_sources(path, {})
        told.append(error.value.problems)
    assert told[0] == told[1] and len(told[0]) == 3
    write(tmp_path, path.read_text().replace("a: {}, a: {}", "a: {}"))
    for database in ("before", "after"):
        (ref,) = load_sources(path, {"URI": "mongodb://a", "DATABASE": database}).refs()
        assert ref.source.model_dump()["database"] == database


def test_the_home_is_a_variable_that_always_has_a_value(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.replace("    path: ", "    path: ${WAREHOUSE_HOME}/"))
    for environment, home in ((ENVIRONMENT, ".warehouse"), (ENVIRONMENT | {"WAREHOUSE_HOME": "/far"}, "/far")):
        assert load_sources(path, environment).sources["ads"].path.startswith(f"{home}/")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "url", ["u:p@ss@host/x", "u:p@s/s:w@host/x", "u:a?b@host/x", "u:a#b@host", "u:100%@host", "u:a:b@host", "u:[x@host"]
)
def test_an_unescaped_password_is_said_so_and_no_piece_of_it_is_shown(url: str) -> None:
    assert not credentials_are_escaped(f"postgresql://{url}")
    assert redact(f"failed at mongodb://{url}") == f"failed at mongodb://***@{url.rpartition('@')[2]}"


@pytest.mark.parametrize(
    "url", ["h/x", "u@h/x", "u:p%40%25@h:1/x", "u:p@h1:1,h2:2/?replicaSet=a", "h/?user=a@b", "u:p@[::1]:1/x?a=b@c"]
)
def test_escaped_passwords_are_taken_as_such(url: str) -> None:
    assert credentials_are_escaped(f"postgresql://{url}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sources: {a: 1, a: 2}", "the key 'a' is there twice, first in line 1"),
        ("sources: [", "not valid YAML"),
        ("", "is empty"),
        ("sources: {}", "at least 1 item"),
    ],
)
def test_files_that_are_no_sources_at_all(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_sources(write(tmp_path, text), {})
    assert message in str(caught.value)


def test_a_file_that_is_not_there_names_the_variable(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="WAREHOUSE_SOURCES"):
        load_sources(tmp_path / "absent.yaml", {})


def test_an_unknown_table_is_answered_with_those_that_exist(tmp_path: Path) -> None:
    sources = load_sources(write(tmp_path, GOOD), ENVIRONMENT)
    with pytest.raises(ConfigError, match=r"shop\.orders, shop\.products, ads\.google"):
        sources.table("shop.order")


@pytest.mark.parametrize("step", [{"drop": "email"}, {"hash": "items.name"}])
def test_a_kept_document_would_keep_what_is_to_be_hidden(step: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="document: true would keep what transforms drop or hash"):
        MongoTable.model_validate({"document": True, "transforms": [step]})
    assert MongoTable.model_validate({"document": True, "transforms": [{"cast": {"total": "decimal"}}]}).document
    assert MongoTable(document=True).fingerprint() != MongoTable().fingerprint()


def test_the_fingerprint_follows_what_shapes_a_row_and_nothing_else() -> None:
    plain = MongoTable()
    assert plain.fingerprint() == MongoTable(resources="large", reject_limit=3).fingerprint()
    changed = [
        MongoTable(arrays={"items": "table"}),
        MongoTable.model_validate({"fields": {"exclude": ["a"]}}),
        MongoTable.model_validate({"transforms": [{"drop": "a"}]}),
    ]
    assert len({table.fingerprint() for table in (plain, *changed)}) == 4


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("mongodb://user:hunter2@host/db", "hunter2"),
        ("postgresql://u:p%40ss@h/db failed", "p%40ss"),
        ("connection failed: password=hunter2 host=x", "hunter2"),
        ("'api_key': sk-123456", "sk-123456"),
    ],
)
def test_secrets_are_hidden_in_messages(text: str, hidden: str) -> None:
    assert hidden not in redact(text)


def test_settings_refuse_what_is_no_postgres(monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks import settings

    monkeypatch.setenv("WAREHOUSE_URL", "mysql://u:hunter2@h/x")
    monkeypatch.setenv("WAREHOUSE_EXECUTION", "somehow")
    settings.get_settings.cache_clear()
    with pytest.raises(ConfigError) as caught:
        settings.get_settings()
    settings.get_settings.cache_clear()
    text = str(caught.value)
    assert "2 setting(s)" in text
    assert "WAREHOUSE_URL" in text
    assert "hunter2" not in text


def test_the_landing_is_absolute_or_a_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings(landing="s3://bucket/x").landing_root() == "s3://bucket/x"
    assert Settings(landing=None, home=Path("home")).landing_root() == str(tmp_path / "home" / "landing")


@pytest.mark.parametrize("content", [b"sources: \x01", b"sources: \xff"])
def test_what_is_no_text_is_said(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "sources.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="not a YAML text"):
        load_sources(path)


def test_the_examples_of_the_page_on_contracts_are_valid(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "contracts.md").read_text()
    examples = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert examples
    for example in examples:
        (tmp_path / "sources.yaml").write_text(example)
        load_sources(tmp_path / "sources.yaml", {"MONGODB_URI": "mongodb://nowhere"})
