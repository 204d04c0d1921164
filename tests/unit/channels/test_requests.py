"""The requests that a declared API would be sent, told before the first is: nothing is asked, no secret is shown."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from tasks.sources import TableRef, load_sources
from tasks.sources.file import hide_variables
from tasks.sources.window import Window

SOURCES = """\
sources:
  loyalty:
    kind: rest
    base_url: https://127.0.0.1:1/v2
    auth: {type: query, name: key, value: "${LOYALTY_KEY}"}
    headers: {X-Key: "${LOYALTY_KEY}"}
    timezone: UTC
    accounts: ACCOUNTS
    paging: {type: page, param: page, size_param: size, size: 50}
    tables:
      points:
        path: programs/{account}/points
        params: {from: "{window.first}", to: "{window.last:%Y%m%d}", tenant: "${TENANT}"}
        records: data
        key: [day]
        day: day
        lookback: 1d
        step: 10d
      lines:
        path: orders/{parent.id}/lines
        parent: {path: orders, records: data}
        records: data
        key: [id]
"""
KEY = {"LOYALTY_KEY": "s3cret/key", "TENANT": "tenant-7"}


def table(folder: Path, name: str, accounts: str = "[a, b]") -> TableRef:
    path = folder / "sources.yaml"
    path.write_text(SOURCES.replace("ACCOUNTS", accounts))
    return load_sources(path, KEY).table(f"loyalty.{name}")


def test_each_account_and_slice_is_told_with_its_days(tmp_path: Path) -> None:
    ref = table(tmp_path, "points")
    window = Window(date(2026, 1, 1), date(2026, 1, 15))
    found = list(ref.connector.requests(ref, {}, window))
    address = "GET https://127.0.0.1:1/v2/programs"
    assert found == [
        f"{address}/{account}/points?from={first}&to={last:%Y%m%d}&tenant=tenant-7&page=1&size=50&key=*** "
        f"({first} to {last})"
        for first, last in ((date(2026, 1, 6), date(2026, 1, 15)), (date(2026, 1, 1), date(2026, 1, 5)))
        for account in "ab"
    ]
    assert KEY["LOYALTY_KEY"] not in "".join(found)


def test_what_only_an_answer_tells_stays_in_braces(tmp_path: Path) -> None:
    ref = table(tmp_path, "lines", "{path: programs, records: data}")
    assert list(ref.connector.requests(ref, {}, None)) == [
        "GET https://127.0.0.1:1/v2/programs?page=1&size=50&key=***",
        "GET https://127.0.0.1:1/v2/orders?page=1&size=50&key=***",
        "GET https://127.0.0.1:1/v2/orders/{parent.id}/lines?page=1&size=50&key=***",
    ]


def test_known_accounts_are_asked_for_what_their_state_leaves(tmp_path: Path) -> None:
    ref = table(tmp_path, "points", "{path: programs, records: data}")
    today = datetime.now(UTC).date()
    state = {"accounts": {"p1": {"final": [["2020-01-01", f"{today - timedelta(days=1)}"]]}}}
    found = list(ref.connector.requests(ref, state, None))[1:]
    assert [line.rpartition(" (")[2] for line in found] == [f"{today} to {today})"]
    assert "/programs/p1/points" in found[0]


def test_values_of_variables_are_told_by_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEY.items():
        monkeypatch.setenv(name, value)
    table(tmp_path, "points")
    text = "GET https://x/?a=s3cret/key&b=s3cret%2Fkey&tenant=tenant-7"
    assert hide_variables(text, tmp_path / "sources.yaml") == (
        "GET https://x/?a=${LOYALTY_KEY}&b=${LOYALTY_KEY}&tenant=${TENANT}"
    )
