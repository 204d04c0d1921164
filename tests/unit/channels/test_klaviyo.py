"""Klaviyo, which is described as any API can be, against its fake over real HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infra.sample.channels.klaviyo import KlaviyoFake
from tasks.errors import ConfigError
from tasks.marketing.rest.check import check
from tasks.marketing.rest.errors import VersionEnded
from tasks.marketing.rest.extract import AccountsFailed
from tests.channels import Pulls, Script, serving


def source(url: str, *tables: str, **more: Any) -> dict[str, Any]:
    return {
        "kind": "klaviyo",
        "api_key": "pk_secret",
        "base_url": f"{url}/klaviyo",
        "tables": {name: {} for name in tables},
        **more,
    }


def filled(count: int = 7) -> KlaviyoFake:
    fake = KlaviyoFake()
    for number in range(count):
        changed = f"2026-11-20T10:00:0{number}+00:00"
        fake.records["profiles"][f"p{number}"] = {"email": f"{number}@example.com", "updated": changed}
        fake.records["events"][f"e{number}"] = {"datetime": changed, "event_properties": {"$value": number}}
    return fake


def test_all_pages_are_read_and_attributes_become_columns(tmp_path: Path) -> None:
    fake = filled()
    fake.page_size = 3
    with serving(klaviyo=fake) as url:
        pulls = Pulls(tmp_path, source(url, "profiles"))
        pulls.pull("profiles")
    rows = pulls.last("profiles")
    assert [(row["id"], row["email"]) for row in rows] == [(f"p{n}", f"{n}@example.com") for n in range(7)]
    assert {row["account_id"] for row in rows} == {"AbC123"}


@pytest.mark.parametrize("table", ["profiles", "events"])
def test_what_changes_within_the_last_second_is_not_missed(table: str, tmp_path: Path) -> None:
    fake = filled()
    with serving(klaviyo=fake) as url:
        pulls = Pulls(tmp_path, source(url, table))
        pulls.pull(table)
        field = "updated" if table == "profiles" else "datetime"
        fake.records[table]["late"] = {field: "2026-11-20T10:00:06+00:00", "email": "late@example.com"}
        fake.log.clear()
        pulls.pull(table)
    assert "late" in {row["id"] for row in pulls.last(table)}
    lag = {"profiles": "2026-11-20T09:59:06+00:00", "events": "2026-11-18T10:00:06+00:00"}[table]
    assert lag in fake.log[-1].query["filter"]


def test_lists_that_have_no_cursor_are_read_whole(tmp_path: Path) -> None:
    fake = KlaviyoFake()
    tables = ("campaigns", "flows", "lists", "metrics")
    for name in tables:
        fake.records[name] = {f"{name}-{n}": {"name": f"{name} {n}"} for n in range(12)}
    with serving(klaviyo=fake) as url:
        pulls = Pulls(tmp_path, source(url, *tables))
        for name in tables:
            pulls.pull(name)
            assert len(pulls.last(name)) == 12
        fake.records["lists"].pop("lists-3")
        pulls.pull("lists")
    assert pulls.manifests("lists")[-1].scope.type == "account_days" and len(pulls.last("lists")) == 11


def test_a_missing_scope_and_an_ended_revision_say_what_to_do(tmp_path: Path) -> None:
    fake = filled()
    fake.scopes = ("accounts", "events")
    with serving(klaviyo=fake) as url:
        pulls = Pulls(tmp_path / "scope", source(url, "events", "profiles"))
        found = list(check("shop", pulls.ref("profiles").source, pulls.open()))  # type: ignore[arg-type]
        assert [one.level for one in found] == ["ok", "ok", "ok", "wrong"]
        assert "profiles:read" in found[-1].message and "read scope of each table" in found[-1].action
        with pytest.raises(AccountsFailed, match="lacks a scope"):
            pulls.pull("profiles")
        old = Pulls(tmp_path / "old", source(url, "events", version="2024-10-15"))
        assert any(
            "has ended on 2026-10-15" in one.message for one in check("shop", old.ref("events").source, old.open())
        )  # type: ignore[arg-type]
        with pytest.raises(VersionEnded) as raised:
            old.pull("events")
    assert raised.value.action == "set `version` to 2026-10-15"


def test_a_table_that_is_not_described_is_a_mistake_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="profils is not known; there are: profiles, events"):
        Pulls(tmp_path, source("http://127.0.0.1:1", "profils"))


def test_fields_that_are_lifted_take_nobodys_place(tmp_path: Path) -> None:
    record = {"id": "1", "type": "thing", "attributes": {"type": "inner", "name": "n", "at": "2026-01-01T00:00:00Z"}}
    table = {"path": "t", "records": "data", "key": ["id"], "lift": "attributes"}
    with serving(api=Script(lambda asked: {"data": [record]})) as url:
        pulls = Pulls(tmp_path, {"kind": "rest", "base_url": f"{url}/api", "tables": {"things": table}})
        pulls.pull("things")
    (row,) = pulls.last("things")
    assert (row["type"], row["attributes_type"], row["name"]) == ("thing", "inner", "n")
