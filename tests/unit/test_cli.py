"""The command line without servers: exit codes, error blocks, quick start, and what it refuses."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import io
import json
import os
import subprocess
import sys
import sysconfig
from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer.main

from flows import checks, cli, commands, console, demo, plans, runs, views
from infra.embedded import process, services
from tasks import shipped
from tasks.errors import ConfigError, LoadError, WarehouseUnreachable
from tasks.mongodb.values import freeze
from tasks.settings import Settings, get_settings
from tasks.sources import load_sources, registry
from tests.channels import Script, serving

SOURCES = """\
sources:
  shop:
    kind: mongodb
    uri: mongodb://127.0.0.1:1
    database: shop
    tables:
      orders: {mode: incremental, cursor: updated_at}
      products: {mode: full}
"""


# Set where a command would otherwise start the embedded Postgres before it looks at what it was given.
NOWHERE = "postgresql://127.0.0.1:1/none"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in an empty folder, with no server configured."""
    for name in (*demo._OTHER_SERVERS, "WAREHOUSE_HOME", "WAREHOUSE_SOURCES", "PREFECT_PROFILES_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "no-prefect"))
    monkeypatch.chdir(tmp_path)
    get_settings.cache_clear()
    yield tmp_path
    get_settings.cache_clear()


def test_help_needs_none_of_the_slow_libraries() -> None:
    script = (
        "import sys; from flows import cli; cli.invoke(['--help']);"
        "print('slow:', sorted({'prefect','polars','dbt','pymongo','psycopg','pydantic'} & set(sys.modules)))"
    )
    checkout = Path(cli.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=checkout, capture_output=True, text=True, timeout=60, check=True
    )
    assert "slow: []" in done.stdout
    assert "checkpoint" in done.stdout


def test_the_installed_command_finds_its_packages(tmp_path: Path) -> None:
    command = Path(sysconfig.get_path("scripts")) / "warehouse"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(command), "--help"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0 and "checkpoint" in done.stdout, done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-command"],
        ["run", "--no-such-option"],
        ["checkpoint", "set"],
        ["checkpoint", "set", "shop.orders"],
        ["checkpoint", "set", "shop.orders", "--start", "--since", "2026-01-01"],
        ["checkpoint", "set", "shop.orders", "--state", "not json"],
        ["checkpoint", "set", "shop.orders", "--state", "[1]"],
        ["checkpoint", "set", "shop.orders", "--since", "yesterday"],
        ["checkpoint", "set", "shop.products", "--since", "2026-01-01"],
        ["checkpoint", "set", "shop.ordrs", "--start"],
        ["reset", "shop.orders", "--since", "yesterday"],
        ["reset", "shop.products", "--since", "2026-01-01"],
        ["rejects", "list", "--limit", "0"],
        ["drift", "--limit", "0"],
        ["report", "--run", "not a run's id"],
        ["sql"],
        ["check", "shpo"],
        ["run", "shop.orders", "--from", "2026-01-01"],
        ["run", "shop.orders", "--from", "2026-01-02", "--to", "2026-01-01", "--plan"],
        ["run", "shop.orders", "--from", "2026-01-01", "--to", "2026-01-02", "--full", "--plan"],
        ["run", "shop.orders", "--from", "2026-01-01", "--to", "2026-01-02", "--plan"],
        ["run", "shop.orders", "--from", "January", "--to", "2026-01-02"],
    ],
)
def test_wrong_use_exits_with_2(arguments: list[str], place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAREHOUSE_URL", NOWHERE)
    (place / "sources.yaml").write_text(SOURCES)
    assert cli.invoke(arguments) == cli.WRONG_USE


@pytest.mark.parametrize(
    "arguments",
    [["run"], ["run", "--plan"], ["reset", "shop.orders"], ["verify", "shop.orders"], ["resources"]],
    ids=" ".join,
)
@pytest.mark.parametrize(
    ("written", "said"),
    [
        (SOURCES.replace("mode: full", "mood: full"), "mood"),
        (SOURCES.replace("mongodb://127.0.0.1:1", "${MONGODB_URI}"), "MONGODB_URI is not set"),
    ],
    ids=["unknown key", "missing variable"],
)
def test_wrong_sources_are_told_before_any_server_is_started(
    place: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], written: str, said: str
) -> None:
    (place / "sources.yaml").write_text(written)
    assert cli.invoke(arguments) == cli.WRONG_USE
    assert said in capsys.readouterr().err
    assert not (place / ".warehouse").exists()


def test_init_asks_nobody_for_a_uri_where_nobody_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MONGODB_URI", raising=False)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert cli.invoke(["init", str(tmp_path / "own")]) == 2
    assert "set MONGODB_URI" in capsys.readouterr().err


def test_a_missing_dbt_project_is_told_before_any_server_is_started(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "sources.yaml").write_text(SOURCES)
    monkeypatch.setenv("WAREHOUSE_DBT", str(place / "no-project"))
    for arguments in (["run"], ["dbt", "build"], ["model", "new", "shop.orders"]):
        assert cli.invoke(arguments) == cli.WRONG_USE
        assert "no-project" in capsys.readouterr().err
    assert not (place / ".warehouse").exists()


def test_an_embedded_source_that_is_down_is_no_missing_variable(place: Path) -> None:
    variables = {"mongodb": "MONGODB_URI", "channels": "SAMPLE_CHANNELS_URL"}
    for name in variables:
        folder = place / ".warehouse" / name
        folder.mkdir(parents=True)
        process.write_record(folder, process.Record(port=27027))
    (place / "sources.yaml").write_text(shipped.path("sources.yaml").read_text())
    settings = get_settings()
    runs.check_configuration(settings, ["shop.orders", "google_ads.ads"], plans.How(), models=True)
    found = services.foreseen(settings.home)
    for variable in variables.values():
        assert "127.0.0.1:27027" in found[variable] and variable not in os.environ


def test_a_source_is_checked_alone(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = {"path": "t", "records": "data", "key": ["id"]}
    with serving(api=Script(lambda asked: {"data": [{"id": 1, "name": "first"}]})) as url:
        found = {"kind": "rest", "base_url": f"{url}/api", "tables": {"things": table}}
        (place / "sources.yaml").write_text(
            json.dumps({"sources": {"web": found, "ads": {**found, "ends": "2020-01-01"}}})
        )
        assert cli.invoke(["check", "web"]) == cli.DONE
        assert capsys.readouterr().out.splitlines() == [
            "ok      source web: account web in UTC",
            "ok      web.things: account web, the first rows:",
            "          id=1, name=first",
            "nothing is wrong",
        ]
        assert cli.invoke(["check", "ads"]) == cli.FAILED
    shown = capsys.readouterr().out
    assert "wrong   source ads: the API of ads has ended on 2020-01-01" in shown and "web" not in shown


def test_an_unknown_table_names_those_that_exist(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WAREHOUSE_URL", NOWHERE)
    (place / "sources.yaml").write_text(SOURCES)
    assert cli.invoke(["checkpoint", "set", "shop.ordrs", "--start"]) == cli.WRONG_USE
    assert capsys.readouterr().err.splitlines() == [
        "error: no table is called 'shop.ordrs'",
        "where: sources.yaml",
        "to do: use one of: shop.orders, shop.products",
    ]


def test_a_missing_warehouse_is_a_named_error_without_a_traceback(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.invoke(["sql", "select 1"]) == cli.FAILED
    shown = capsys.readouterr().err
    assert shown.startswith("error: no warehouse is configured")
    assert "warehouse up" in shown
    assert "Traceback" not in shown


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.invoke(["sql", "select 1"], debug=True) == cli.FAILED
    assert "Traceback" in capsys.readouterr().err


def test_a_wrong_setting_is_wrong_use(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("WAREHOUSE_URL", "mysql://root:hunter2@db/shop")
    monkeypatch.setenv("WAREHOUSE_EXECUTION", "elsewhere")
    assert cli.invoke(["status"]) == cli.WRONG_USE
    shown = capsys.readouterr().err
    assert "WAREHOUSE_URL" in shown
    assert "WAREHOUSE_EXECUTION" in shown
    assert "hunter2" not in shown


def test_an_unforeseen_error_is_one_block_without_secrets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> None:
        raise RuntimeError("cannot reach postgresql://me:hunter2@db/x")

    monkeypatch.setattr("tasks.settings.get_settings", broken)
    assert cli.invoke(["status"]) == cli.FAILED
    shown = capsys.readouterr().err
    assert shown.startswith("error: RuntimeError: cannot reach postgresql://***@db/x")
    assert "Traceback" not in shown


def test_error_block_lists_every_problem() -> None:
    error = ConfigError("2 mistake(s)", "sources.yaml", "correct the lines", ("line 3: a: unknown key", "line 9: b"))
    assert console.error_block(error).splitlines() == [
        "error: 2 mistake(s)",
        "where: sources.yaml",
        "  - line 3: a: unknown key",
        "  - line 9: b",
        "to do: correct the lines",
    ]
    assert console.error_block(LoadError("it failed")) == "error: it failed"


def test_check_finds_all_mistakes_at_once(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "sources.yaml").write_text(SOURCES.replace("mode: full", "mod: full").replace("cursor:", "curser:"))
    monkeypatch.setenv("WAREHOUSE_URL", "postgresql://me:hunter2@127.0.0.1:1/none")
    (place / "landing").write_text("a file where a folder should be")
    monkeypatch.setenv("WAREHOUSE_LANDING", str(place / "landing"))
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    assert cli.invoke(["check"]) == cli.FAILED
    shown = capsys.readouterr().out
    wrong = [line for line in shown.splitlines() if line.startswith("wrong")]
    assert any("line 7" in line and "curser" in line for line in wrong)
    assert any("line 8" in line and "mod" in line for line in wrong)
    assert any("warehouse" in line and "127.0.0.1:1" in line for line in wrong)
    assert any("landing" in line for line in wrong)
    assert any("prefect" in line for line in wrong)
    assert f"{len(wrong)} thing(s) to mend" in shown
    assert "hunter2" not in shown


def test_check_finds_settings_that_are_mistyped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WAREHOUSE_URL", NOWHERE)
    for name in ("WAREHOUSE_LANDNG", "WAREHOUSE_HASHKEY", "WAREHOUSE_IMAGE", "WAREHOUSE_REGION", "WAREHOUSE_HOME"):
        monkeypatch.setenv(name, "somewhere")
    cli.invoke(["check"])
    shown = capsys.readouterr().out
    assert "WAREHOUSE_LANDNG is no setting" in shown and "WAREHOUSE_LANDING was meant" in shown
    assert "WAREHOUSE_HASHKEY is no setting" in shown and "WAREHOUSE_HASH_KEY was meant" in shown
    assert shown.count("is no setting") == 2


def test_check_says_that_a_hash_needs_its_key(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "sources.yaml").write_text(SOURCES.replace("{mode: full}", "{transforms: [{hash: email}]}"))
    monkeypatch.setenv("WAREHOUSE_URL", NOWHERE)
    said = "wrong   shop.products: a hash transform needs a secret key"
    for key in ("", "a key of the company's own"):
        monkeypatch.setenv("WAREHOUSE_HASH_KEY", key)
        cli.invoke(["check"])
        assert (said in capsys.readouterr().out) == (not key)


def test_a_look_that_breaks_does_not_hide_the_others() -> None:
    def look() -> object:
        yield checks.Finding("ok", "a", "seen")
        raise WarehouseUnreachable("gone", "here", "come back")

    assert checks._guarded("b", look) == [  # type: ignore[arg-type]
        checks.Finding("ok", "a", "seen"),
        checks.Finding("wrong", "b", "gone (here)", "come back"),
    ]


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ({}, "from the beginning"),
        ({"cursor": freeze(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))}, "2026-01-02T03:04:05+00:00"),
        ({"cursor": freeze(41)}, "41"),
        ({"cursor": freeze("abc")}, "abc"),
        ({"files": {"a.csv": "1"}}, "what is new or changed since 1 file(s) were read"),
        ({"token": "82"}, '{"token": "82"}'),
        ({"cursor": 5}, "5, which cannot be read"),
        ({"cursor": "{}"}, "'{}', which cannot be read"),
    ],
)
def test_position_is_readable(state: dict[str, object], text: str) -> None:
    connector = registry.connector("files" if "files" in state else "mongodb")
    assert views.position(state, connector) == text


def test_a_position_of_a_source_that_is_no_longer_configured_is_told_as_json() -> None:
    assert views.position({"cursor": freeze(41)}, None) == '{"cursor": "{\\"v\\": {\\"$numberInt\\": \\"41\\"}}"}'


@pytest.mark.parametrize("name", ["orders", "shop.", ".orders", "a.b.c", ""])
def test_names_of_tables_have_one_dot(name: str) -> None:
    with pytest.raises(ConfigError, match=r"source\.table"):
        views.key_of(name)


def test_cells_are_for_people() -> None:
    assert [console.cell_text(value) for value in (1234567, 0.25, True, "x", {"total": "1.50"})] == [
        *("1,234,567", "0.2", "yes", "x"),
        '{"total": "1.50"}',
    ]


def test_bytes_of_a_reject_are_shown_as_the_line_that_they_are() -> None:
    lines = (b"a,3.30,2", "ünï".encode(), b"\xff,d,1", b"\x05\x00\x00\x00\x00", "\ufffd".encode())
    assert [console.raw_text(raw) for raw in lines] == ["a,3.30,2", "ünï", "ff2c642c31", "0500000000", "efbfbd"]


def test_servers_of_ones_own_keep_the_embedded_ones_away(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = place / ".warehouse"
    assert services.configured("mongodb", home) == ""
    monkeypatch.setenv("MONGODB_URI", "mongodb://elsewhere")
    assert services.configured("mongodb", home) == "MONGODB_URI"
    (home / "mongodb").mkdir(parents=True)
    process.write_record(home / "mongodb", process.Record(port=27))
    assert services.configured("mongodb", home) == "MONGODB_URI"
    monkeypatch.setenv("MONGODB_URI", "mongodb://127.0.0.1:27/?directConnection=true")
    assert services.configured("mongodb", home) == ""


def test_a_prefect_profile_counts_as_configured(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profiles = place / "profiles.toml"
    monkeypatch.setenv("PREFECT_PROFILES_PATH", str(profiles))
    profiles.write_text('active = "a"\n[profiles.a]\nPREFECT_API_URL = "http://x/api"\n[profiles.b]\n')
    assert services.configured("prefect", place) == str(profiles)
    monkeypatch.setenv("PREFECT_PROFILE", "b")
    assert services.configured("prefect", place) == ""
    profiles.write_text("not toml =")
    assert services.configured("prefect", place) == ""


@pytest.mark.parametrize(
    ("as_delivered", "changed"),
    [
        ("\n  ads:\n", "\n  exports:\n"),
        ("database: shop", "database: crm"),
        ("path: ${WAREHOUSE_HOME}/sample/ads", "path: /data/real"),
        ("base_url: ${SAMPLE_CHANNELS_URL}/meta_ads", "base_url: https://graph.example"),
    ],
    ids=["no ads", "another database", "files outside the home", "a channel elsewhere"],
)
def test_the_demo_writes_nowhere_but_into_its_home(
    place: Path, monkeypatch: pytest.MonkeyPatch, as_delivered: str, changed: str
) -> None:
    monkeypatch.setenv("MONGODB_URI", "mongodb://127.0.0.1:1")
    monkeypatch.setenv("SAMPLE_CHANNELS_URL", "http://127.0.0.1:1")
    monkeypatch.delenv("WAREHOUSE_HOME", raising=False)
    sample = shipped.path("sources.yaml").read_text()
    assert sample.count(as_delivered) == 1
    path = place / "sources.yaml"
    path.write_text(sample.replace(as_delivered, changed))
    with pytest.raises(ConfigError, match=r"sample's sources\.yaml"):
        demo.ads_folder(Settings(), load_sources(path))


@pytest.mark.parametrize("home", [None, "elsewhere"])
def test_the_demo_writes_below_the_home_wherever_it_is(
    place: Path, monkeypatch: pytest.MonkeyPatch, home: str | None
) -> None:
    monkeypatch.setenv("MONGODB_URI", "mongodb://127.0.0.1:1")
    monkeypatch.setenv("SAMPLE_CHANNELS_URL", "http://127.0.0.1:1")
    if home:
        monkeypatch.setenv("WAREHOUSE_HOME", str(place / home))
    else:
        monkeypatch.delenv("WAREHOUSE_HOME", raising=False)
    folder = demo.ads_folder(Settings(), load_sources(shipped.path("sources.yaml")))
    assert folder == place / (home or ".warehouse") / "sample" / "ads"


def test_the_demo_sets_the_persons_own_servers_aside(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in demo._OTHER_SERVERS:
        monkeypatch.setenv(name, "postgresql://production" if name == "WAREHOUSE_URL" else "deployments")
    lines: list[str] = []
    settings = demo._only_embedded(lines.append)
    assert settings.url is None
    assert settings.landing is None
    assert settings.execution == "in_process"
    assert len(lines) == len(demo._OTHER_SERVERS)
    assert "production" not in "".join(lines)


def test_demo_state_survives_damage(place: Path) -> None:
    settings = Settings()
    settings.home.mkdir()
    assert demo.read_state(settings) == {}
    (settings.home / "demo.json").write_text("{")
    assert demo.read_state(settings) == {}
    demo._write_state(settings, {"seeded": True, "rounds": 2})
    assert json.loads((settings.home / "demo.json").read_text()) == demo.read_state(settings)


def test_a_check_holds_only_when_every_place_agrees() -> None:
    assert demo.Check("rows", 3, {"bronze": 3, "gold": 3}).ok
    assert not demo.Check("rows", 3, {"bronze": 3, "gold": 2}).ok
    assert not demo.Check("rows", 3, {"bronze": "not readable: gone"}).ok


@pytest.mark.parametrize(
    ("installed", "said"), [(True, "decoder: native\n"), (False, "27 thousand documents a second")]
)
def test_status_shows_which_decoder_is_in_use(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], installed: bool, said: str
) -> None:
    monkeypatch.setenv("WAREHOUSE_URL", NOWHERE)
    real = importlib.util.find_spec
    found = importlib.machinery.ModuleSpec("warehouse_native", None) if installed else None
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *of: found if name == "warehouse_native" else real(name, *of)
    )
    cli.invoke(["status"])
    assert said in capsys.readouterr().out


def words_of(group: object, *path: str) -> list[str]:
    found: list[str] = []
    for name in group.list_commands(None):  # type: ignore[attr-defined]
        command = group.get_command(None, name)  # type: ignore[attr-defined]
        inner = hasattr(command, "list_commands")
        found += words_of(command, *path, name) if inner else [" ".join((*path, name))]
    return found


def test_examples_are_of_commands_that_exist() -> None:
    group = typer.main.get_command(cli.app)
    assert set(commands.EXAMPLES) <= set(words_of(group))
    for words, examples in commands.EXAMPLES.items():
        assert examples and all(example.startswith(f"warehouse {words}") for example in examples)


def test_help_shows_the_first_days_commands_first_and_each_command_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.invoke(["--help"]) == cli.DONE
    shown = capsys.readouterr().out
    first, others = shown.split("Start with:")[1].split("All others:")
    assert [line.split()[0] for line in first.strip().splitlines()] == list(commands.FIRST)
    assert "verify" in others and "--json" in others
    assert cli.invoke(["run", "--help"]) == cli.DONE
    assert "\n    warehouse run --plan\n" in capsys.readouterr().out


def test_a_command_of_another_module_is_imported_only_when_it_is_called(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "late_module.py").write_text(
        "import typer\napp = typer.Typer()\n@app.command()\ndef late(name: str) -> None:\n    print('late', name)\n"
    )
    monkeypatch.syspath_prepend(str(place))
    monkeypatch.setitem(commands.ELSEWHERE, "late", ("late_module:app", "Comes late."))
    assert cli.invoke(["--help"]) == cli.DONE
    assert "Comes late." in capsys.readouterr().out
    assert "late_module" not in sys.modules
    assert cli.invoke(["late", "x"]) == cli.DONE
    assert capsys.readouterr().out == "late x\n"


def test_results_are_one_json_value_and_all_else_is_beside_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WAREHOUSE_URL", NOWHERE)
    try:
        assert console.take_options(["check", "--json", "--quiet"]) == ["check"]
        cli.invoke(["check"])
        shown = capsys.readouterr()
        levels = {finding["level"] for finding in json.loads(shown.out)}
        assert "wrong" in levels and shown.err == ""
        console.take_options(["drift", "--json"])
        assert cli.invoke(["drift"]) == cli.FAILED
        shown = capsys.readouterr()
        assert json.loads(shown.out) == [] and "error: " in shown.err
    finally:
        console.take_options([])


def test_a_shell_completes_the_tables_of_sources_yaml(place: Path) -> None:
    assert commands.tables_of("shop.") == []
    (place / "sources.yaml").write_text(SOURCES)
    assert commands.tables_of("shop.o") == ["shop.orders"]
    assert commands.tables_of("") == ["shop.orders", "shop.products"]


def test_a_table_fits_a_terminal_whatever_the_names(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from rich.console import Console

    name = "x" * 200 + "_end"
    row = ("shop.orders", name, "appeared", name, "bigint", name, "2026-01-02 03:04")
    headers = ("table", "field", "change", "was", "is", "action", "seen")
    monkeypatch.setattr(console, "out", lambda: Console(width=120))
    console.table(headers, [row])
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert len(lines) == 3, "no cell is folded"
    assert max(map(len, lines)) <= 120
    assert "shop.orders" in lines[2] and "…" in lines[2] and "_end" in lines[2]
    monkeypatch.undo()
    console.table(headers, [row])
    assert name in capsys.readouterr().out, "where it is no terminal nothing is cut"


def test_a_setting_with_an_unescaped_password_says_so_and_shows_no_piece_of_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WAREHOUSE_URL", "postgresql://u:p@geh/eim@127.0.0.1:1/x")
    get_settings.cache_clear()
    try:
        assert cli.invoke(["sql", "select 1"]) == cli.WRONG_USE
    finally:
        get_settings.cache_clear()
    told = capsys.readouterr().err
    assert "WAREHOUSE_URL: percent-encode user and password" in told
    assert not any(piece in told for piece in ("geh", "eim", "Value error"))
