"""The bundle in a real Superset 6.1: imported twice, read as the read-only role, looked at in Chromium."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import sql

from infra.superset import bundle
from monitoring import reader
from tasks.database import connect
from tests.served import free_port, until_it_answers

ROOT = Path(__file__).parents[2]
_PATIENCE = 180.0


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with Superset: SUPERSET_VENV's, or one that is made here."""
    given = os.environ.get("SUPERSET_VENV")
    if given:
        return Path(given) / "bin"
    uv = shutil.which("uv") or str(ROOT / ".venv/bin/uv")
    folder = tmp_path_factory.mktemp("superset") / "venv"
    subprocess.run([uv, "venv", "--quiet", str(folder)], check=True)
    lock = str(ROOT / "requirements/superset.lock")
    command = [uv, "pip", "install", "--quiet", "--require-hashes", "-r", lock]
    subprocess.run(command, check=True, env={**os.environ, "VIRTUAL_ENV": str(folder)}, timeout=600)
    return folder / "bin"


@pytest.fixture(scope="module")
def gold(module_postgres_url: str) -> Iterator[str]:
    """URL of the read-only role on the bundle's tables, with one row each, as the models' YAML describes them."""
    described = bundle.read_columns()
    with connect(module_postgres_url, autocommit=True) as connection:
        connection.execute("create schema gold")
        for name in bundle.read_definitions()["datasets"]:
            table = sql.Identifier("gold", name)
            listed = sql.SQL(", ").join(
                sql.SQL("{} {}").format(sql.Identifier(one["name"]), sql.SQL(one["data_type"]))
                for one in described[name]
            )
            connection.execute(sql.SQL("create table {} ({})").format(table, listed))
        connection.execute(
            "insert into gold.rpt_sales_daily (date_day, orders, revenue, net_revenue) "
            "values (current_date - 30, 3, 150, 123456)"
        )
        reader.apply(connection, "superset_reader", "secret")
    yield reader.as_role(module_postgres_url, "superset_reader", "secret")
    with connect(module_postgres_url, autocommit=True) as connection:
        connection.execute("drop owned by superset_reader; drop role superset_reader")


@pytest.fixture(scope="module")
def address(installed: Path, gold: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A served Superset that holds the bundle."""
    home = tmp_path_factory.mktemp("home")
    environment = {
        **os.environ,
        "FLASK_APP": "superset",
        "SUPERSET_HOME": str(home),
        "SUPERSET_SECRET_KEY": secrets.token_urlsafe(42),
        "SUPERSET_CONFIG_PATH": str(ROOT / "infra/superset/superset_config.py"),
        "SUPERSET_DATABASE_URI": f"sqlite:///{home}/superset.db",
        "SUPERSET_FORCE_HTTPS": "0",
    }
    bundle.write(home / "bundle.zip")

    def superset(*arguments: str) -> None:
        done = subprocess.run(
            [str(installed / "superset"), *arguments], env=environment, capture_output=True, text=True, timeout=400
        )
        assert done.returncode == 0, done.stderr[-2000:]

    superset("db", "upgrade")
    person = ("--firstname", "A", "--lastname", "B", "--email", "a@example.com")
    superset("fab", "create-admin", "--username", "admin", "--password", "admin", *person)
    superset("init")
    superset("import-dashboards", "-p", str(home / "bundle.zip"), "-u", "admin")
    superset("import-dashboards", "-p", str(home / "bundle.zip"), "-u", "admin")
    superset("set-database-uri", "-d", "warehouse", "-u", gold.replace("postgresql://", "postgresql+psycopg2://"))
    port = free_port()
    line = [str(installed / "gunicorn"), "-w", "1", "-k", "gthread", "--threads", "8", "-b", f"127.0.0.1:{port}"]
    process = subprocess.Popen([*line, "superset.app:create_app()"], env=environment)
    try:
        until_it_answers(f"http://127.0.0.1:{port}/health", process, _PATIENCE)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


@pytest.mark.timeout(1800)
def test_both_dashboards_are_there_once_and_answer_without_calling_anybody(address: str) -> None:
    from playwright.sync_api import Response, sync_playwright

    binary = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if binary is None:
        pytest.skip("no chromium: apt-get install chromium, or set CHROMIUM to its path")
    answers: list[tuple[int, str]] = []

    def note(response: Response) -> None:
        answers.append((response.status, response.url))

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=binary, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1300, "height": 1800})
        page.on("response", note)
        page.goto(f"{address}/login/", timeout=120_000)
        page.locator("#username").fill("admin")
        page.locator("#password").fill("admin")
        page.keyboard.press("Enter")
        page.wait_for_url("**/welcome/**", timeout=120_000)
        for slug, title in (("marketing", "Channels"), ("sales", "Products")):
            page.goto(f"{address}/superset/dashboard/{slug}/", timeout=120_000)
            page.get_by_text(title, exact=True).first.wait_for(timeout=120_000)
            page.wait_for_load_state("networkidle", timeout=120_000)
        page.get_by_text("123,456").first.wait_for(timeout=60_000)
        listed = page.request.get(f"{address}/api/v1/dashboard/").json()
        browser.close()
    assert sorted(one["slug"] for one in listed["result"]) == ["marketing", "sales"], "imported twice, there once"
    charts = [status for status, url in answers if "/api/v1/chart/data" in url]
    assert len(charts) >= 6 and set(charts) == {200}
    assert {url.split("/")[2] for _, url in answers if url.startswith("http")} == {address.removeprefix("http://")}
