"""The engine against small APIs over real HTTP: pages, jobs, errors, windows, tokens and exact values."""

from __future__ import annotations

import gzip
import io
import logging
import zipfile
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from infra.sample.channels.server import Answer, Asked
from tasks.errors import ConfigError, QuotaExhausted, SourceAuthError, SourceError
from tasks.marketing.rest.auth import TokenStore
from tasks.marketing.rest.errors import VersionEnded
from tasks.marketing.rest.extract import AccountsFailed
from tasks.marketing.rest.tokens import BlockTokens, FileTokens, token_store
from tasks.settings import Settings
from tasks.sources import load_sources
from tests.channels import NOW, Pulls, Script, serving

ROWS = [{"id": str(number), "amount": number} for number in range(1, 8)]


def rest(url: str, table: dict[str, Any] | None = None, **source: Any) -> dict[str, Any]:
    made = {"path": "things", "records": "data", "key": ["id"], **(table or {})}
    return {"kind": "rest", "base_url": f"{url}/api", "tables": {"things": made}, **source}


def pull(home: Path, answer: Any, table: dict[str, Any] | None = None, **source: Any) -> tuple[Pulls, Script]:
    fake = Script(answer)
    with serving(api=fake) as url:
        pulls = Pulls(home, rest(url, table, **source))
        pulls.pull("things")
    return pulls, fake


def page(asked: Asked) -> list[dict[str, Any]]:
    start = (int(asked.query["page"]) - 1) * int(asked.query["size"])
    return ROWS[start : start + int(asked.query["size"])]


# -- pages ----------------------------------------------------------------------------------------------------


def test_numbered_pages_end_at_one_that_is_not_full(tmp_path: Path) -> None:
    paging = {"type": "page", "param": "page", "size_param": "size", "size": 3}
    pulls, fake = pull(tmp_path, lambda asked: {"data": page(asked)}, {"paging": paging})
    assert [row["id"] for row in pulls.last("things")] == [row["id"] for row in ROWS]
    assert [asked.query["page"] for asked in fake.log] == ["1", "2", "3"]


def test_offsets_in_the_body_end_at_the_total(tmp_path: Path) -> None:
    def answer(asked: Asked) -> Any:
        start, size = asked.json["page"]["offset"], asked.json["page"]["limit"]
        return {"data": ROWS[start : start + size], "meta": {"total": len(ROWS)}}

    paging = {"type": "offset", "in": "body", "param": "page.offset", "size_param": "page.limit", "size": 4}
    table = {"method": "POST", "json": {"kind": "all"}, "paging": {**paging, "total": "meta.total"}}
    pulls, fake = pull(tmp_path, answer, table)
    assert len(pulls.last("things")) == 7
    assert [asked.json for asked in fake.log] == [
        {"kind": "all", "page": {"offset": 0, "limit": 4}},
        {"kind": "all", "page": {"offset": 4, "limit": 4}},
    ]


def test_a_row_that_breaks_a_rule_is_held_back_and_fails_nothing(tmp_path: Path) -> None:
    rule = {"field": "id", "set": [row["id"] for row in ROWS[1:]]}
    pulls, _ = pull(tmp_path, lambda asked: {"data": ROWS}, {"rules": [rule]})
    manifest = pulls.manifests("things")[-1]
    assert [row["id"] for row in pulls.last("things")] == [row["id"] for row in ROWS[1:]]
    assert (manifest.held_rows, manifest.reject_rows) == (1, 1)


def test_rows_of_any_number_and_size_land_as_they_came(tmp_path: Path) -> None:
    # The hundredth is so long that it and its neighbours are encoded apart.
    rows = [{"id": f"{number}", "text": "ä" * (1 << 20 if number == 100 else number)} for number in range(150)]
    pulls, _ = pull(tmp_path, lambda asked: {"data": rows})
    assert [{name: row[name] for name in ("id", "text")} for row in pulls.last("things")] == rows


def test_a_cursor_ends_where_none_is_given(tmp_path: Path) -> None:
    def answer(asked: Asked) -> Any:
        start = int(asked.query.get("after", 0))
        return {"data": ROWS[start : start + 5], "next": str(start + 5) if start + 5 < len(ROWS) else None}

    pulls, _ = pull(tmp_path, answer, {"paging": {"type": "cursor", "param": "after", "next": "next"}})
    assert len(pulls.last("things")) == 7


@pytest.mark.parametrize("place", ["header", "body"])
def test_links_are_followed_on_the_same_host(tmp_path: Path, place: str) -> None:
    def answer(asked: Asked) -> Any:
        start = int(asked.query.get("from", 0))
        address = f"http://{asked.headers['host']}/api/things?from={start + 5}"
        last = start + 5 >= len(ROWS)
        if place == "header":
            link = {} if last else {"Link": f'<{address}>; rel="next", <http://x/>; rel="first"'}
            return Answer({"data": ROWS[start : start + 5]}, headers=link)
        return {"data": ROWS[start : start + 5], "links": {"next": None if last else address}}

    paging = {"type": "link", **({"next": "links.next"} if place == "body" else {})}
    pulls, _ = pull(tmp_path, answer, {"paging": paging})
    assert len(pulls.last("things")) == 7


def test_a_link_to_another_host_gets_no_credentials(tmp_path: Path) -> None:
    def answer(asked: Asked) -> Any:
        return {"data": ROWS, "next": "http://127.0.0.1:9/steal"}

    with pytest.raises(AccountsFailed, match="points to another host: 127.0.0.1:9"):
        pull(tmp_path, answer, {"paging": {"type": "link", "next": "next"}})


def test_pages_that_go_in_a_circle_are_an_error(tmp_path: Path) -> None:
    def answer(asked: Asked) -> Any:
        number = int(asked.query.get("after", 0))
        return {"data": [{"id": f"{number}"}], "next": str(1 + number % 2)}

    with pytest.raises(AccountsFailed, match="go in a circle"):
        pull(tmp_path, answer, {"paging": {"type": "cursor", "param": "after", "next": "next"}})


def test_an_empty_page_before_the_total_is_an_error(tmp_path: Path) -> None:
    paging = {"type": "page", "param": "page", "size_param": "size", "size": 4, "total": "total"}
    with pytest.raises(AccountsFailed, match="an empty page came after 7 records"):
        pull(tmp_path, lambda asked: {"data": page(asked), "total": 9}, {"paging": paging})


def test_a_page_is_made_smaller_where_the_service_asks_for_it(tmp_path: Path) -> None:
    def answer(asked: Asked) -> Any:
        start, size = int(asked.query["offset"]), int(asked.query["limit"])
        if size > 2:
            return Answer({"error": {"message": "Please reduce the amount of data"}}, 500)
        return {"data": ROWS[start : start + size]}

    paging = {"type": "offset", "param": "offset", "size_param": "limit", "size": 8}
    rule = {"when": {"status": [500], "contains": "reduce the amount"}, "action": "reduce_page"}
    pulls, fake = pull(tmp_path, answer, {"paging": paging}, errors=[rule])
    assert [row["id"] for row in pulls.last("things")] == [row["id"] for row in ROWS]
    assert [asked.query["limit"] for asked in fake.log] == ["8", "4", "2", "2", "2", "2"]


def test_an_answer_without_the_list_is_not_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(AccountsFailed, match="the answer has no list at data"):
        pull(tmp_path, lambda asked: {"rows": []})


# -- values ---------------------------------------------------------------------------------------------------


def test_values_stay_as_they_were_sent(tmp_path: Path) -> None:
    raw = (
        b'{"data": [{"id": 9007199254740993, "amount": 19.990, "big": 12345678901234567.89, "tiny": 0.10,'
        b' "none": null, "dash": "-", "long": 1234567890123456789012345678901234567890, "nested": {"a": [1, 2.50]}},'
        b' {"id": 2, "amount": 5}]}'
    )
    pulls, _ = pull(tmp_path, lambda asked: Answer(raw), {"nulls": ["-", "--"]})
    first, second = pulls.last("things")
    assert first["id"] == 9007199254740993 and first["amount"] == "19.990" and first["tiny"] == "0.10"
    assert first["big"] == "12345678901234567.89" and first["long"] == "1234567890123456789012345678901234567890"
    assert "2.50" in first["nested.a"]
    fields = pulls.manifests("things")[-1].fields
    # Null and missing are two facts; a spelling of nothing is null.
    assert fields["none"].present == 1 and fields["none"].types == {"null": 1}
    assert fields["dash"].types == {"null": 1}
    assert second["amount"] == 5


def test_a_bare_nan_is_no_json(tmp_path: Path) -> None:
    with pytest.raises(AccountsFailed, match="NaN is no JSON number"):
        pull(tmp_path, lambda asked: Answer(b'{"data": [{"id": 1, "x": NaN}]}'))


def test_positional_rows_follow_the_headers_of_their_page(tmp_path: Path) -> None:
    def answer(asked: Asked) -> Any:
        if asked.query["page"] == "1":
            return {"columns": [{"name": "id"}, {"name": "v"}], "rows": [["a", 1], ["b", 2]], "total": 3}
        return {"columns": [{"name": "v"}, {"name": "id"}], "rows": [[3, "c"]], "total": 3}

    paging = {"type": "page", "param": "page", "total": "total"}
    pulls, _ = pull(tmp_path, answer, {"records": "rows", "columns": "columns.*.name", "paging": paging})
    assert [(row["id"], row["v"]) for row in pulls.last("things")] == [("a", 1), ("b", 2), ("c", 3)]


def test_fields_in_several_requests_are_joined_by_the_key(tmp_path: Path) -> None:
    values = {"a": {"x": 1, "y": 2, "z": 3}, "b": {"x": 4}}

    def answer(asked: Asked) -> Any:
        names = asked.query["fields"].split(",")
        rows = [{"id": key, **{name: row[name] for name in names if name in row}} for key, row in values.items()]
        return {"data": [row for row in rows if len(row) > 1]}

    table = {"params": {"fields": "{fields}"}, "fields": {"names": ["x", "y", "z"], "most": 2}}
    pulls, fake = pull(tmp_path, answer, table)
    assert [asked.query["fields"] for asked in fake.log] == ["x,y", "z"]
    rows = {row["id"]: {k: v for k, v in row.items() if k in "xyz"} for row in pulls.last("things")}
    assert rows == values


def test_a_child_is_read_for_each_parent(tmp_path: Path) -> None:
    def answer(asked: Asked) -> Any:
        if asked.path == "lists":
            return {"data": [{"id": "l/1", "name": "One"}, {"id": "l2", "name": "Two"}]}
        return {"data": [{"id": f"{asked.path}:{number}"} for number in range(2)]}

    parent = {"path": "lists", "records": "data", "keep": ["name"]}
    pulls, fake = pull(tmp_path, answer, {"path": "lists/{parent.id}/members", "parent": parent})
    # What goes into a path cannot add a segment of its own.
    assert [asked.path for asked in fake.log] == ["lists", "lists/l/1/members", "lists/l2/members"]
    assert {row["parent_name"] for row in pulls.last("things")} == {"One", "Two"}


def test_a_repeated_key_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AccountsFailed, match="came twice"):
        pull(tmp_path, lambda asked: {"data": [{"id": 1}, {"id": 1, "x": 2}]})


@pytest.mark.parametrize("packing", ["plain", "gzip", "zip"])
def test_csv_is_unpacked(tmp_path: Path, packing: str) -> None:
    text = '\ufeffid,spend,rate\r\n1,0.10,"12,5%"\r\n2,--,\r\n'.encode()
    if packing == "gzip":
        text = gzip.compress(text)
    if packing == "zip":
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("report.csv", text)
        text = file.getvalue()
    table = {"format": "csv", "records": "", "types": {"spend": "decimal"}, "nulls": ["--"]}
    pulls, _ = pull(tmp_path, lambda asked: Answer(text), table)
    rows = pulls.last("things")
    assert [(row["id"], row.get("spend"), row.get("rate")) for row in rows] == [
        ("1", "0.10", "12,5%"),
        ("2", None, None),
    ]


def test_a_broken_archive_lands_nothing(tmp_path: Path) -> None:
    cut = gzip.compress(b"id\n" + b"".join(b"%d\n" % number for number in range(10_000)))[:-50]
    with pytest.raises(AccountsFailed, match="gzip"):
        pull(tmp_path, lambda asked: Answer(cut), {"format": "csv", "records": ""})


# -- jobs -----------------------------------------------------------------------------------------------------

JOB: dict[str, Any] = {"id": "job", "poll": "jobs/{job}", "status": "state", "done": ["ready"], "failed": ["broken"]}


def test_a_job_is_ordered_again_when_it_fails(tmp_path: Path) -> None:
    ordered: list[str] = []

    def answer(asked: Asked) -> Any:
        if asked.method == "POST":
            ordered.append(asked.json["from"])
            return {"job": f"j{len(ordered)}"}
        if asked.path == "jobs/j1":
            return {"state": "broken"}
        if asked.path == "jobs/j2":
            polls = sum(one.path == "jobs/j2" for one in fake.log)
            return {"state": "ready" if polls > 2 else "working", "url": f"http://{asked.headers['host']}/api/file"}
        return Answer(b"id\n7\n")

    table = {
        "method": "POST",
        "json": {"from": "{account}"},
        "format": "csv",
        "records": "",
        "job": {**JOB, "result": "url"},
    }
    fake = Script(answer)
    with serving(api=fake) as url:
        pulls = Pulls(tmp_path, rest(url, table))
        pulls.pull("things")
    assert ordered == ["shop", "shop"] and [row["id"] for row in pulls.last("things")] == ["7"]


def test_a_job_that_fails_for_a_month_is_split_down_to_the_days_that_work(tmp_path: Path) -> None:
    bad = {"2026-11-22"}

    def answer(asked: Asked) -> Any:
        if asked.method == "POST":
            return {"job": f"{asked.json['from']}_{asked.json['to']}"}
        first, _, last = asked.path.rpartition("/")[2].partition("_")
        if asked.path.startswith("jobs/"):
            return {"state": "broken" if first != last and any(first <= day <= last for day in bad) else "ready"}
        return {
            "data": [
                {"id": day, "day": day}
                for day in (f"2026-11-{number}" for number in range(10, 31))
                if first <= day <= last
            ]
        }

    table = {
        "method": "POST",
        "json": {"from": "{window.first}", "to": "{window.last}"},
        "day": "day",
        "lookback": "5d",
        "job": {**JOB, "download": "results/{job}"},
    }
    pulls, _ = pull(tmp_path, answer, table)
    assert sorted(row["id"] for row in pulls.last("things")) == [f"2026-11-{number}" for number in range(19, 25)]
    (part,) = pulls.manifests("things")[-1].scope.parts  # type: ignore[union-attr]
    assert (part.from_, part.to) == ("2026-11-19", "2026-11-24")


# -- errors ---------------------------------------------------------------------------------------------------


def fails_once(asked: Asked, fake: Any, answer: Answer) -> Any:
    return answer if len(fake.log) == 1 else {"data": ROWS}


@pytest.mark.parametrize(
    ("answer", "rule", "waited"),
    [
        (Answer({}, 429, {"Retry-After": "17"}), None, 17.0),
        (Answer({}, 429, {"Retry-After": "Tue, 24 Nov 2026 12:00:40 GMT"}), None, 40.0),
        (Answer({}, 429), None, 1.0),
        (Answer({}, 503), None, 1.0),
        (
            Answer({"code": 40100, "retry": 3}),
            {"when": {"body": {"code": [40100]}}, "action": "wait", "wait": {"body": "retry", "unit": "minutes"}},
            180.0,
        ),
        (
            Answer({}, 429, {"x-reset": str(int(NOW.timestamp()) + 25)}),
            {"when": {"status": [429]}, "action": "wait", "wait": {"header": "x-reset", "unit": "unix"}},
            25.0,
        ),
        (
            Answer({"code": 7}),
            {
                "when": {"unless": {"code": [0, "None"]}, "body": {"code": [7]}},
                "action": "retry",
                "wait": {"seconds": 9},
            },
            9.0,
        ),
    ],
)
def test_waits_are_as_long_as_told(tmp_path: Path, answer: Answer, rule: dict[str, Any] | None, waited: float) -> None:
    fake = Script(lambda asked: fails_once(asked, fake, answer))
    with serving(api=fake) as url:
        pulls = Pulls(tmp_path, rest(url, errors=[rule] if rule else []))
        pulls.pull("things")
    assert pulls.clock.slept == [pytest.approx(waited, abs=0.01)]
    assert len(pulls.last("things")) == len(ROWS)


def test_a_long_wait_ends_the_run_with_its_progress_kept(tmp_path: Path) -> None:
    fake = Script(lambda asked: {"data": [{"id": asked.path}]})
    with serving(api=fake) as url:
        pulls = Pulls(tmp_path, rest(url, {"path": "things/{account}"}, accounts=["a", "b"]))
        fake.fail(Answer({}, 429, {"Retry-After": "7200"}), where=lambda asked: asked.path == "things/b")
        with pytest.raises(QuotaExhausted, match="after 2026-11-24 14:00 UTC") as raised:
            pulls.pull("things")
        assert raised.value.until == NOW.replace(hour=14, microsecond=raised.value.until.microsecond)
        assert raised.value.done.rows_landed == 1
        assert [row["id"] for row in pulls.last("things")] == ["things/a"]
        pulls.pull("things")
    assert [row["id"] for row in pulls.last("things")] == ["things/a", "things/b"]


def test_tables_of_a_source_share_its_budget(tmp_path: Path) -> None:
    table = {"path": "things", "records": "data", "key": ["id"]}
    with serving(api=Script(lambda asked: {"data": ROWS})) as url:
        source = rest(url, budget={"requests": 2, "per": "60s"})
        pulls = Pulls(tmp_path, source | {"tables": {f"t{number}": table for number in range(4)}})
        for ref in pulls.sources.refs():
            # As a run does: each table opens the source anew.
            pulls.pull(ref.table_name)
    # Two may be asked for at once; then one each half a minute.
    assert pulls.clock.slept == [pytest.approx(30, abs=0.01)] * 2


def test_a_long_wait_for_the_budget_is_told_with_the_budget(tmp_path: Path) -> None:
    with serving(api=Script(lambda asked: {"data": [{"id": asked.path}]})) as url:
        source = rest(url, {"path": "things/{account}"}, accounts=["a", "b", "c"], budget={"requests": 1, "per": "45s"})
        result = Pulls(tmp_path, source, name="slow").pull("things")
    assert result.warnings == (
        "3 request(s) waited 90 s for their turn: the budget is 1 request(s) in 45 s for all that read the source",
    )


def test_one_forbidden_account_stops_no_other(tmp_path: Path) -> None:
    def answer(asked: Asked) -> Any:
        if asked.path == "accounts":
            return {"data": [{"id": 1, "title": "One"}, {"id": 2, "title": "Two"}, {"id": 3, "title": "Three"}]}
        if asked.path == "things/2":
            return Answer({"error": {"message": "no access"}}, 403)
        return {"data": [{"id": asked.path}]}

    accounts = {"path": "accounts", "records": "data", "id": "id", "name": "title"}
    fake = Script(answer)
    with serving(api=fake) as url:
        pulls = Pulls(tmp_path, rest(url, {"path": "things/{account}"}, accounts=accounts))
        with pytest.raises(AccountsFailed, match=r"1 of 3 accounts.*2 \(Two\).*no access"):
            pulls.pull("things")
    assert [row["account_id"] for row in pulls.last("things")] == ["1", "3"]
    assert [part.account for part in pulls.manifests("things")[-1].scope.parts] == ["1", "3"]  # type: ignore[union-attr]


def test_an_ended_version_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(VersionEnded, match="upgrade"):
        pull(tmp_path, lambda asked: Answer({"message": "sunset"}, 410))


def test_an_answer_that_breaks_off_is_asked_for_again(tmp_path: Path) -> None:
    fake = Script(lambda asked: {"data": ROWS})
    fake.fail(Answer({"data": ROWS}, cut=20))
    with serving(api=fake) as url:
        pulls = Pulls(tmp_path, rest(url))
        pulls.pull("things")
    assert len(pulls.last("things")) == len(ROWS) and len(fake.log) == 2


# -- credentials ----------------------------------------------------------------------------------------------


class Tokens:
    """An OAuth2 service that replaces the refresh token each time."""

    def __init__(self) -> None:
        self.number = 0
        # Whether earlier access tokens go on.
        self.outlive = False

    def __call__(self, asked: Asked) -> Any:
        if asked.path == "token":
            if asked.form["refresh_token"] != f"refresh-{self.number}":
                return Answer({"error": "invalid_grant"}, 400)
            self.number += 1
            return {
                "access_token": f"access-{self.number}",
                "refresh_token": f"refresh-{self.number}",
                "expires_in": 900,
            }
        access = asked.headers.get("authorization")
        if access != f"Bearer access-{self.number}" and not (access and self.outlive):
            return Answer({"error": "expired"}, 401)
        return {"data": ROWS}


def oauth(url: str) -> dict[str, Any]:
    client = {"client_id": "client", "client_secret": "client-secret-1", "refresh_token": "refresh-0"}
    return {"type": "oauth2", "token_url": f"{url}/api/token", **client}


def test_replaced_refresh_tokens_are_kept(tmp_path: Path) -> None:
    tokens = Tokens()
    with serving(api=Script(tokens)) as url:
        pulls = Pulls(tmp_path, rest(url, auth=oauth(url)))
        pulls.pull("things")
        # Ended before its time, as when somebody else has used the refresh token's successor.
        pulls.clock.sleep(3_600)
        pulls.pull("things")
    assert tokens.number == 2 and list(pulls.tokens.tokens.values()) == ["refresh-2"]


def test_a_refresh_token_that_was_granted_anew_counts_before_what_replaced_the_old_one(tmp_path: Path) -> None:
    tokens = Tokens()
    with serving(api=Script(tokens)) as url:
        first = Pulls(tmp_path / "first", rest(url, auth=oauth(url)))
        first.pull("things")
        tokens.number = 70
        again = Pulls(tmp_path / "again", rest(url, auth={**oauth(url), "refresh_token": "refresh-70"}))
        again.tokens = first.tokens
        again.pull("things")
    assert tokens.number == 71 and len(again.last("things")) == len(ROWS)


def test_tables_that_are_read_at_once_do_not_use_up_each_others_token(tmp_path: Path) -> None:
    tokens = Tokens()
    tokens.outlive = True
    with serving(api=Script(tokens)) as url, ThreadPoolExecutor(6) as pool:
        table = {"path": "things", "records": "data", "key": ["id"]}
        pulls = Pulls(tmp_path, rest(url, auth=oauth(url)) | {"tables": {f"t{number}": table for number in range(6)}})
        pulls.tokens = FileTokens(tmp_path / "tokens.json")  # type: ignore[assignment]
        list(pool.map(pulls.pull, [f"t{number}" for number in range(6)]))
    assert tokens.number == 6


@pytest.mark.parametrize(
    ("prefect", "store"),
    [("", FileTokens), ("http://127.0.0.1:4200/api", FileTokens), ("https://prefect.example/api", BlockTokens)],
)
def test_check_and_run_share_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefect: str, store: type[TokenStore]
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", prefect)
    assert isinstance(token_store(Settings(home=tmp_path)), store)


def test_tokens_of_several_sources_are_kept_at_once_and_for_the_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "home" / "tokens.json"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: FileTokens(path).put(f"source {number}", f"token {number}"), range(40)))
    assert [FileTokens(path).get(f"source {number}") for number in range(40)] == [f"token {n}" for n in range(40)]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_token_that_ends_in_the_middle_is_renewed(tmp_path: Path) -> None:
    tokens = Tokens()
    fake = Script(tokens)
    fake.fail(Answer({"error": "expired"}, 401), where=lambda asked: asked.path == "things")
    with serving(api=fake) as url:
        pulls = Pulls(tmp_path, rest(url, auth=oauth(url)))
        pulls.pull("things")
    assert tokens.number == 2 and len(pulls.last("things")) == len(ROWS)


def test_a_refused_refresh_token_says_so_without_showing_it(tmp_path: Path) -> None:
    with serving(api=Script(lambda asked: Answer({"error": "invalid_grant refresh-0 client-secret-1"}, 400))) as url:
        pulls = Pulls(tmp_path, rest(url, auth=oauth(url)))
        with pytest.raises(SourceAuthError, match="invalid_grant") as raised:
            pulls.pull("things")
    assert "refresh-0" not in str(raised.value) and "client-secret-1" not in str(raised.value)


@pytest.mark.parametrize("status", [400, 401, 403, 410, 500])
def test_no_secret_is_in_an_error_or_a_log(tmp_path: Path, status: int, caplog: pytest.LogCaptureFixture) -> None:
    secret = "s3cr3t/t0k+en"
    caplog.set_level(logging.DEBUG)

    def answer(asked: Asked) -> Any:
        return Answer({"error": {"message": f"bad key {asked.query['key']} in {asked.raw_query}"}}, status)

    with pytest.raises(SourceError) as raised:
        pull(tmp_path, answer, auth={"type": "query", "name": "key", "value": secret})
    said = repr(raised.value) + str(raised.value) + repr(raised.value.__cause__) + caplog.text
    assert secret not in said and "s3cr3t%2Ft0k%2Ben" not in said


@pytest.mark.parametrize(
    ("auth", "header", "value"),
    [
        ({"type": "bearer", "token": "tok1"}, "authorization", "Bearer tok1"),
        ({"type": "header", "name": "X-Key", "value": "tok1", "prefix": "Key "}, "x-key", "Key tok1"),
        ({"type": "basic", "user": "u", "password": "p"}, "authorization", "Basic dTpw"),
    ],
)
def test_credentials_in_headers(tmp_path: Path, auth: dict[str, Any], header: str, value: str) -> None:
    _, fake = pull(tmp_path, lambda asked: {"data": ROWS}, auth=auth)
    assert fake.log[0].headers[header] == value and not fake.log[0].raw_query


# -- windows --------------------------------------------------------------------------------------------------

DAILY: dict[str, Any] = {
    "params": {"from": "{window.first}", "until": "{window.end:%Y%m%d}"},
    "key": ["day"],
    "day": "day",
    "lookback": "2d",
}


def days(asked: Asked) -> Any:
    first, end = date.fromisoformat(asked.query["from"]), datetime.strptime(asked.query["until"], "%Y%m%d").date()
    return {
        "data": [{"day": date.fromordinal(n).isoformat(), "v": 1} for n in range(first.toordinal(), end.toordinal())]
    }


@pytest.mark.parametrize(
    ("zone", "now", "first", "last"),
    [
        # 03:00 UTC is still yesterday in California, and already the next day in Auckland at noon UTC.
        ("America/Los_Angeles", datetime(2026, 11, 24, 3, tzinfo=UTC), "2026-11-21", "2026-11-23"),
        ("Pacific/Auckland", datetime(2026, 11, 24, 12, tzinfo=UTC), "2026-11-23", "2026-11-25"),
        # The day has 25 hours in Berlin, and 23:30 UTC is the next day there.
        ("Europe/Berlin", datetime(2026, 10, 25, 23, 30, tzinfo=UTC), "2026-10-24", "2026-10-26"),
    ],
)
def test_today_is_the_accounts_own(tmp_path: Path, zone: str, now: datetime, first: str, last: str) -> None:
    with serving(api=Script(days)) as url:
        pulls = Pulls(tmp_path, rest(url, DAILY, timezone=zone), now)
        pulls.pull("things")
    found = [row["day"].isoformat() for row in pulls.last("things")]
    assert (found[0], found[-1]) == (first, last)


def test_final_days_are_not_read_again_and_gaps_are(tmp_path: Path) -> None:
    fake = Script(days)
    with serving(api=fake) as url:
        pulls = Pulls(tmp_path, rest(url, {**DAILY, "start": "2026-11-01", "step": "7d"}, timezone="UTC"))
        pulls.pull("things")
        first = [(asked.query["from"], asked.query["until"]) for asked in fake.log]
        # The days that still change first, then what is older, the newest first.
        assert first == [
            ("2026-11-22", "20261125"),
            ("2026-11-15", "20261122"),
            ("2026-11-08", "20261115"),
            ("2026-11-01", "20261108"),
        ]
        del fake.log[:]
        pulls.clock.sleep(3 * 86_400)
        pulls.pull("things")
        # The 22nd was read two days after it: final. Those after it were not.
        assert [asked.query["from"] for asked in fake.log] == ["2026-11-25", "2026-11-23"]


def test_rows_outside_of_the_window_fail_the_account(tmp_path: Path) -> None:
    with pytest.raises(AccountsFailed, match="outside of the days asked for"):
        pull(tmp_path, lambda asked: {"data": [{"day": "2026-01-01"}]}, DAILY)


@pytest.mark.parametrize(
    ("start", "asked"), [("2026-11-23", ["2026-11-23"]), ("2026-11-24", ["2026-11-24"]), ("2026-12-01", [])]
)
def test_nothing_is_read_before_the_start(tmp_path: Path, start: str, asked: list[str]) -> None:
    fake = Script(days)
    with serving(api=fake) as url:
        Pulls(tmp_path, rest(url, {**DAILY, "start": start}, timezone="UTC")).pull("things")
    assert [found.query["from"] for found in fake.log] == asked


def test_a_backfill_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    fake = Script(days)
    wanted = (date(2026, 1, 1), date(2026, 1, 30))
    with serving(api=fake) as url:
        pulls = Pulls(tmp_path, rest(url, {**DAILY, "step": "10d"}, timezone="UTC"))
        pulls.pull("things")
        del fake.log[:]
        fake.fail(Answer({"error": {"message": "no"}}, 400), where=lambda asked: asked.query["from"] == "2026-01-11")
        with pytest.raises(AccountsFailed):
            pulls.pull("things", wanted)
        assert [asked.query["from"] for asked in fake.log] == ["2026-01-21", "2026-01-11"]
        del fake.log[:]
        pulls.pull("things")
        # The daily run in between is not disturbed.
        assert [asked.query["from"] for asked in fake.log] == ["2026-11-23"]
        daily = {name: value for name, value in pulls.states["things"].items() if name != "backfill"}
        assert "goes on" in str(pulls.ref("things").connector.describe_state(pulls.states["things"]))
        del fake.log[:]
        pulls.pull("things", wanted)
        assert [asked.query["from"] for asked in fake.log] == ["2026-01-11", "2026-01-01"]
        # And does not disturb it.
        assert {name: value for name, value in pulls.states["things"].items() if name != "backfill"} == daily
        assert "goes on" not in str(pulls.ref("things").connector.describe_state(pulls.states["things"]))
        del fake.log[:]
        # Asked for once more after it has ended, all of it is read once more.
        pulls.pull("things", wanted)
        assert [asked.query["from"] for asked in fake.log] == ["2026-01-21", "2026-01-11", "2026-01-01"]


def test_other_days_are_another_backfill(tmp_path: Path) -> None:
    fake = Script(days)
    with serving(api=fake) as url:
        pulls = Pulls(tmp_path, rest(url, {**DAILY, "step": "10d"}, timezone="UTC"))
        fake.fail(Answer({"error": {"message": "no"}}, 400), where=lambda asked: asked.query["from"] == "2026-01-11")
        with pytest.raises(AccountsFailed):
            pulls.pull("things", (date(2026, 1, 1), date(2026, 1, 30)))
        del fake.log[:]
        pulls.pull("things", (date(2026, 1, 21), date(2026, 1, 30)))
        assert [asked.query["from"] for asked in fake.log] == ["2026-01-21"]


def test_a_backfill_ends_with_what_the_service_keeps_and_with_today(tmp_path: Path) -> None:
    fake = Script(days)
    with serving(api=fake) as url:
        pulls = Pulls(tmp_path, rest(url, {**DAILY, "oldest": "10d"}, timezone="UTC"))
        result = pulls.pull("things", (date(2026, 1, 1), date(2026, 12, 31)))
    assert [(asked.query["from"], asked.query["until"]) for asked in fake.log] == [("2026-11-14", "20261125")]
    assert result.warnings == ("the service keeps 10 days: the days from 2026-01-01 to 2026-11-14 stay as they are",)


def test_a_backfill_that_finds_nothing_where_the_warehouse_has_rows_fails(tmp_path: Path) -> None:
    wanted = (date(2026, 1, 1), date(2026, 1, 2))
    with serving(api=Script(lambda asked: {"data": []})) as url:
        pulls = Pulls(tmp_path, rest(url, DAILY, timezone="UTC"))
        with pytest.raises(AccountsFailed, match="7 rows were there at the last read and none is there now"):
            pulls.pull("things", wanted, {"shop": {"2026-01-01": 3, "2026-01-02": 4}})
        assert pulls.manifests("things") == []
        pulls.pull("things", wanted, {"shop": {"2026-01-01": 0}})
        assert len(pulls.manifests("things")) == 1


def test_what_is_new_is_read_by_a_cursor(tmp_path: Path) -> None:
    table = {"params": {"since": "{cursor}"}, "cursor": "amount", "first": "0"}
    fake = Script(lambda asked: {"data": [row for row in ROWS if row["amount"] >= int(asked.query["since"])]})
    with serving(api=fake) as url:
        pulls = Pulls(tmp_path, rest(url, table))
        pulls.pull("things")
        pulls.pull("things")
    assert [asked.query["since"] for asked in fake.log] == ["0", "7"]
    assert pulls.manifests("things")[-1].scope.type == "upsert"


# -- sources.yaml ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "text", "said"),
    [
        (8, "        params: {from: '{window.frist}'}", "{window.frist} is not known here"),
        (8, "        params: {from: '{__class__}'}", "{__class__} is not known here"),
        (8, "        pageing: {type: none}", "unknown key"),
        (3, "    base_url: http://api.example.com", "https"),
    ],
)
def test_mistakes_are_named_with_their_line(tmp_path: Path, line: int, text: str, said: str) -> None:
    lines = [
        "sources:",
        "  loyalty:",
        "    base_url: https://api.example.com",
        "    kind: rest",
        "    tables:",
        "      points:",
        "        path: points",
        "        params: {from: '{window.first}'}",
        "        key: [id]",
        "        day: day",
    ]
    lines[line - 1] = text
    path = tmp_path / "sources.yaml"
    path.write_text("\n".join(lines))
    with pytest.raises(ConfigError) as raised:
        load_sources(path, {})
    assert any(said in problem for problem in raised.value.problems)
    first = int(raised.value.problems[0].removeprefix("line ").split(":")[0])
    assert first in (line, 7, 6)


def test_decimals_are_compared_as_such() -> None:
    from tasks.marketing.rest.rows import after

    assert after("10", "9") and after("2026-01-02", "2026-01-01") and not after("1.0", "1")
    assert Decimal("1.0") == 1
