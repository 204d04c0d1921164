"""`kind: airbyte` against a connector that goes wrong in every way: nothing of a reading counts unless it was whole."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import pytest

from infra.sample.channels.server import Asked
from infra.sample.connectors.services import SERVICES, Service
from infra.sample.connectors.verify import NotVerified, verify
from tasks.connectors import catalogue, environments
from tasks.connectors.process import Limits, Process, memory
from tasks.errors import ConfigError, SourceError
from tasks.marketing.rest.extract import AccountsFailed
from tasks.settings import get_settings
from tests.channels import Pulls

TOY = Path(__file__).parents[2] / "toy_connector" / "toy.py"
TOKEN = "token-of-the-toy"
DAYS = ("2026-11-21", "2026-11-22", "2026-11-23")


def row(number: int, day: str = DAYS[-1], cost: str = "1.10") -> dict[str, Any]:
    return {"id": number, "day": day, "cost": cost}


class Toy:
    """A source that the toy reads: what it serves is a file."""

    def __init__(self, home: Path, table: dict[str, Any] | None = None, **source: Any) -> None:
        self.file = home / "script.json"
        self.served: dict[str, Any] = {"rows": {"one": []}}
        default = {"mode": "window", "day": "day", "lookback": "3d"}
        told = {
            "kind": "airbyte",
            "program": [sys.executable, str(TOY)],
            "account": "accounts",
            "first_day": "first",
            "last_day": "last",
            "config": {"script": str(self.file), "token": TOKEN, "accounts": ["one"]},
            "tables": {"spend": table or default},
        }
        self.pulls = Pulls(home, told | source)
        self.serve()

    def serve(self, **what: Any) -> None:
        self.served |= what
        self.file.write_text(json.dumps(self.served))

    @property
    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.file.with_name("log").read_text().splitlines()]

    def failure(self) -> SourceError:
        with pytest.raises(SourceError) as found:
            self.pulls.pull("spend")
        return found.value


# -- what comes through ------------------------------------------------------------------------------------------------


def test_numbers_come_exactly_and_windows_are_ours(tmp_path: Path) -> None:
    toy = Toy(tmp_path)
    costs = ("19.990", "1e-7", "9007199254740993", "12345678901234567.89", "-0.10")
    toy.serve(rows={"one": [row(number, cost=cost) for number, cost in enumerate(costs)]})
    result = toy.pulls.pull("spend")
    landed = {found["id"]: found["cost"] for found in toy.pulls.last("spend")}
    assert [str(Decimal(str(landed[number]))) for number in range(len(costs))] == [str(Decimal(cost)) for cost in costs]
    (read,) = [said for said in toy.log if said["command"] == "read"]
    assert (read["first"], read["last"]) == ("2026-11-21", "2026-11-24")
    assert any("cost 1" in warning for warning in result.warnings), result.warnings
    assert not Path(read["folder"]).exists()


def test_a_day_that_lost_its_rows_is_replaced_by_none(tmp_path: Path) -> None:
    toy = Toy(tmp_path)
    toy.serve(rows={"one": [row(1, DAYS[1]), row(2, DAYS[2])]})
    toy.pulls.pull("spend")
    toy.serve(rows={"one": [row(1, DAYS[1])]})
    toy.pulls.pull("spend")
    (part,) = toy.pulls.manifests("spend")[-1].scope.parts  # type: ignore[union-attr]
    assert (part.from_, part.to) == ("2026-11-22", "2026-11-24")
    assert len(toy.pulls.last("spend")) == 1


def test_an_account_that_suddenly_answers_nothing_replaces_nothing(tmp_path: Path) -> None:
    toy = Toy(tmp_path, table={"mode": "full"})
    toy.serve(rows={"one": [row(1)]})
    toy.pulls.pull("spend")
    toy.serve(rows={"one": []})
    assert "1 rows were there" in str(toy.failure())
    assert len(toy.pulls.manifests("spend")) == 1


def test_what_is_new_goes_on_from_the_connectors_own_state(tmp_path: Path) -> None:
    toy = Toy(tmp_path, table={"mode": "incremental"})
    toy.serve(rows={"one": [row(1), row(2), row(2, cost="3")]})
    toy.pulls.pull("spend")
    assert len(toy.pulls.last("spend")) == 3
    toy.serve(rows={"one": [row(1), row(2), row(3), row(4)]}, faults={"one": {"how": "exit", "after": 1}})
    before = toy.pulls.states["spend"]
    toy.failure()
    assert toy.pulls.states["spend"] == before
    toy.serve(faults={})
    toy.pulls.pull("spend")
    assert sorted(found["id"] for found in toy.pulls.last("spend")) == [3, 4]
    toy.pulls.pull("spend")
    assert toy.pulls.last("spend") == []


def test_without_a_key_for_the_last_day_later_rows_are_left_out(tmp_path: Path) -> None:
    toy = Toy(tmp_path, last_day=None)
    toy.serve(rows={"one": [row(1, "2026-11-10"), row(2, "2026-11-11"), row(3, "2026-11-20")]})
    toy.pulls.pull("spend", (date(2026, 11, 10), date(2026, 11, 11)))
    assert sorted(found["id"] for found in toy.pulls.last("spend")) == [1, 2]


def test_fields_with_the_names_of_ours_are_kept_beside_them(tmp_path: Path) -> None:
    toy = Toy(tmp_path, account=None, config={"script": str(tmp_path / "script.json"), "accounts": ["one"]})
    toy.serve(rows={"one": [{**row(1), "_id": "theirs", "account_id": "A-1"}]})
    toy.pulls.pull("spend")
    (found,) = toy.pulls.last("spend")
    assert (found["account_id"], found["record_id"], found["record_account_id"]) == ("shop", "theirs", "A-1")


def test_a_token_that_the_connector_replaces_is_kept_even_of_a_reading_that_failed(tmp_path: Path) -> None:
    toy = Toy(tmp_path)
    toy.serve(rows={"one": [row(1)]}, token_next="token-after-it")
    toy.pulls.pull("spend")
    toy.pulls.pull("spend")
    assert [said["token"] for said in toy.log if said["command"] == "read"] == [TOKEN, "token-after-it"]


# -- what does not -----------------------------------------------------------------------------------------------------

FAULTS = {
    "exit": "ended with 3, the stream is STARTED: the service said no",
    "killed": "was ended by signal 9",
    "garbage": "not JSON",
    "torn": "not JSON",
    "nan": "NaN is no JSON number",
    "long": "a line of more than 8 MiB",
    "incomplete": "the stream is INCOMPLETE",
    "silent": "ended with 0, the stream is STARTED",
    "other": "a record of the stream 'other' came",
}


@pytest.mark.parametrize("how", FAULTS)
def test_a_connector_that_fails_after_records_lands_nothing_of_its_account(tmp_path: Path, how: str) -> None:
    toy = Toy(tmp_path)
    toy.serve(rows={"one": [row(1), row(2), row(3)]}, faults={"one": {"how": how, "after": 2}})
    error = toy.failure()
    assert isinstance(error, AccountsFailed)
    assert FAULTS[how] in str(error)
    assert TOKEN not in str(error)
    assert toy.pulls.manifests("spend") == []
    toy.serve(faults={})
    toy.pulls.pull("spend")
    assert len(toy.pulls.last("spend")) == 3


def test_one_that_fails_stops_no_other_account(tmp_path: Path) -> None:
    config = {"script": str(tmp_path / "script.json"), "token": TOKEN, "accounts": ["one", "two", "three"]}
    toy = Toy(tmp_path, config=config)
    rows = {name: [row(1), row(2)] for name in ("one", "two", "three")}
    toy.serve(rows=rows, faults={"two": {"how": "exit", "after": 1}})
    assert "1 of 3 accounts could not be read (the other 2 are landed): two:" in str(toy.failure())
    assert {found["account_id"] for found in toy.pulls.last("spend")} == {"one", "three"}


@pytest.mark.parametrize(
    ("how", "limits", "said"),
    [
        ("hangs", {"silence": "6s"}, "it said nothing for 6 s"),
        ("hangs", {"time": "6s"}, "it took longer than 6 s"),
        ("memory", {"memory": "200Mi"}, "of memory, 200 MiB are its limit"),
    ],
)
def test_one_that_breaks_a_limit_is_ended_with_all_that_it_started(
    tmp_path: Path, how: str, limits: dict[str, str], said: str
) -> None:
    toy = Toy(tmp_path, limits=limits)
    toy.serve(rows={"one": [row(1), row(2)]}, faults={"one": {"how": how, "after": 1}})
    began = time.monotonic()
    assert said in str(toy.failure())
    assert time.monotonic() - began < 60
    assert toy.pulls.manifests("spend") == []
    (folder,) = {entry["folder"] for entry in toy.log if entry["command"] == "read"}
    assert not Path(folder).exists()
    # A killed grandchild is nobody's to wait for here: the system takes it away a moment later.
    deadline = time.monotonic() + 30
    while any(folder in found for found in working_folders()):
        assert time.monotonic() < deadline, "something that it started lives on"
        time.sleep(0.01)


def working_folders() -> Iterator[str]:
    """Yield where each process of this machine that we may look at works."""
    for place in Path("/proc").glob("[0-9]*/cwd"):
        with suppress(OSError):
            yield str(place.readlink())


def test_a_flood_of_errors_neither_blocks_nor_fills_the_memory(tmp_path: Path) -> None:
    toy = Toy(tmp_path)
    toy.serve(rows={"one": [row(1), row(2)]}, faults={"one": {"how": "flood", "after": 1}})
    before = memory(os.getpid())
    toy.pulls.pull("spend")
    assert len(toy.pulls.last("spend")) == 2
    assert memory(os.getpid()) - before < 100 << 20


def test_a_process_ends_with_the_one_that_started_it(tmp_path: Path) -> None:
    script = (
        f"import sys, time\nsys.path.insert(0, {str(Path.cwd())!r})\nfrom tasks.connectors.process import *\n"
        "process = Process([sys.executable, '-c', 'import time; time.sleep(600)'], {}, Limits(), 'shop')\n"
        "print(process._process.pid, flush=True)\ntime.sleep(600)\n"
    )
    with Process([sys.executable, "-c", script], {}, Limits(), "shop") as outer:
        pid = int(next(outer.lines()))
    deadline = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists() and Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.05)


# -- what is said before -----------------------------------------------------------------------------------------------


def test_check_tells_accounts_and_first_rows_and_hides_the_token(tmp_path: Path) -> None:
    from tasks.marketing.rest.check import check

    toy = Toy(tmp_path)
    toy.serve(rows={"one": [row(1), row(2)]})
    source = toy.pulls.sources.sources["shop"]
    told = [(finding.level, finding.message) for finding in check("shop", source, toy.pulls.open())]  # type: ignore[arg-type]
    assert ("ok", "account one: the connector can read it") in told
    assert any("cost=1.10" in message for _, message in told)
    toy.serve(refused=True)
    refused = [finding.message for finding in check("shop", source, toy.pulls.open()) if finding.level == "wrong"]  # type: ignore[arg-type]
    assert refused == ["account one: not with ***"]


def test_a_stream_that_there_is_not_is_told_with_those_that_there_are(tmp_path: Path) -> None:
    toy = Toy(tmp_path, table={"mode": "full", "stream": "clicks"})
    with pytest.raises(ConfigError, match="no stream 'clicks'; there are: spend"):
        toy.pulls.pull("spend")


@pytest.mark.parametrize(
    ("source", "table", "said"),
    [
        ({"connector": "faker"}, {"mode": "full"}, "give connector, program or manifest, one of them"),
        ({"program": [], "connector": "manifest"}, {"mode": "full"}, "name yours in `manifest`"),
        ({"program": [], "manifest": "none.yaml"}, {"mode": "full"}, "cannot read none.yaml: No such file"),
        ({"program": [], "connector": "nobody"}, {"mode": "full"}, "the catalogue has no connector 'nobody'"),
        ({}, {"mode": "window"}, "`day` names the field with the day of mode window"),
        ({"first_day": None}, {"mode": "window", "day": "day"}, "mode window needs `first_day`"),
        ({}, {"mode": "full", "lookback": "3d"}, "lookback, start and step are for mode window"),
        ({"timezone": "Berlin"}, {"mode": "full"}, "no time zone is called so"),
        ({"limits": {"memory": "much"}}, {"mode": "full"}, "not a Kubernetes quantity"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, source: dict[str, Any], table: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Toy(tmp_path, table=table, **source)


# -- the catalogue -----------------------------------------------------------------------------------------------------


def test_each_connector_has_a_lock_of_its_version_in_which_all_packages_have_hashes() -> None:
    for name, entry in catalogue.entries().items():
        if entry.grade == "refused":
            assert entry.reason, name
            assert not catalogue.lock(name).exists(), name
            continue
        lock = catalogue.lock(name).read_text()
        pins = re.findall(r"^(\S+==\S+)(.*)$", lock, re.MULTILINE)
        assert (f"{entry.package}=={entry.version}", " \\") in pins, name
        assert len(pins) == len(re.findall(r"^\S+==\S+ \\\n    --hash=sha256:", lock, re.MULTILINE)), name


def test_a_refused_connector_is_neither_installed_nor_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is refused: its version of the API is retired"):
        environments.install("klaviyo")
    toy = Toy(tmp_path, table={"mode": "full"}, program=[], connector="klaviyo")
    with pytest.raises(ConfigError, match="is refused"):
        toy.pulls.pull("spend")


def test_an_environment_is_made_of_a_python_that_is_here_and_of_hashed_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def fails_at_the_packages(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, len(commands) - 1, "", "no such package")

    monkeypatch.setenv("WAREHOUSE_CONNECTORS", str(tmp_path / "none"))
    monkeypatch.setattr(subprocess, "run", fails_at_the_packages)
    get_settings.cache_clear()
    with pytest.raises(environments.InstallFailed, match="no such package"):
        environments.install("faker")
    get_settings.cache_clear()
    make, sync = commands
    assert "--no-python-downloads" in make and "--require-hashes" in sync
    assert [left.name for left in (tmp_path / "none" / "faker").iterdir()] == [".lock"]


SPEC = 'import sys\n\ndef main():\n    print(\'{"type": "SPEC", "spec": {}}\')\n'


def wheel(folder: Path) -> str:
    """Write the package of a connector that answers `spec`, and return its hash."""
    import zipfile

    name = "source_ours-1.0"
    files = {
        "source_ours.py": SPEC,
        f"{name}.dist-info/METADATA": "Metadata-Version: 2.1\nName: source-ours\nVersion: 1.0\n",
        f"{name}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{name}.dist-info/entry_points.txt": "[console_scripts]\nsource-ours = source_ours:main\n",
    }
    record = "".join(f"{file},,\n" for file in files) + f"{name}.dist-info/RECORD,,\n"
    path = folder / f"{name}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in {**files, f"{name}.dist-info/RECORD": record}.items():
            archive.writestr(file, text)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_connector_is_installed_once_without_a_network_and_by_the_hash_of_its_lock_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = wheel(tmp_path)
    entry = {"package": "source-ours", "version": "1.0", "program": "source-ours", "licence": "ours"}
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    (tmp_path / "catalogue.yaml").write_text(json.dumps({"ours": {**entry, "python": python, "grade": "starts"}}))
    lock = tmp_path / "ours.lock"
    lock.write_text(f"source-ours==1.0 --hash=sha256:{'0' * 64}\n")
    monkeypatch.setattr(catalogue, "FILE", tmp_path / "catalogue.yaml")
    monkeypatch.setattr(catalogue, "LOCKS", tmp_path)
    for name, value in {"UV_OFFLINE": "1", "UV_NO_INDEX": "1", "UV_FIND_LINKS": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("WAREHOUSE_CONNECTORS", str(tmp_path / "connectors"))
    catalogue.entries.cache_clear()
    get_settings.cache_clear()
    try:
        with pytest.raises(environments.InstallFailed, match="[Hh]ash mismatch"):
            environments.install("ours")
        assert environments.installed("ours") is None
        lock.write_text(f"source-ours==1.0 --hash=sha256:{digest}\n")
        first = environments.install("ours")
        made = environments.program("ours").stat().st_mtime_ns
        assert environments.install("ours") == first
        assert environments.program("ours").stat().st_mtime_ns == made
    finally:
        catalogue.entries.cache_clear()
        get_settings.cache_clear()


def test_a_connector_that_is_not_installed_says_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAREHOUSE_CONNECTORS", str(tmp_path / "none"))
    get_settings.cache_clear()
    toy = Toy(tmp_path, table={"mode": "full"}, program=[], connector="faker")
    with pytest.raises(ConfigError, match="run `warehouse connectors install faker`"):
        toy.pulls.pull("spend")
    get_settings.cache_clear()


NAME = "snapchat-marketing"


def install_toy(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the toy where a connector of the catalogue is installed."""
    place = folder / "connectors" / NAME / hashlib.sha256(catalogue.lock(NAME).read_bytes()).hexdigest()[:16]
    (place / "bin").mkdir(parents=True)
    (place / "connector.json").write_text(json.dumps({"name": NAME, "version": "1", "lock": "", "spec": ""}))
    program = place / "bin" / catalogue.entries()[NAME].program
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {TOY} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("WAREHOUSE_CONNECTORS", str(folder / "connectors"))
    get_settings.cache_clear()


def test_of_a_connector_that_cannot_be_told_the_first_day_only_the_windows_days_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_toy(tmp_path, monkeypatch)
    toy = Toy(tmp_path, program=[], connector=NAME, first_day=None, last_day=None)
    toy.serve(rows={"one": [row(1, "2024-02-29"), row(2, DAYS[0]), row(3, DAYS[2])]})
    toy.pulls.pull("spend")
    assert sorted(found["id"] for found in toy.pulls.last("spend")) == [2, 3]
    toy.serve(rows={"one": [row(4, "2026-11-25")]})
    assert "outside of the days asked for" in str(toy.failure())
    get_settings.cache_clear()


# -- verify ------------------------------------------------------------------------------------------------------------


class ToyService(Service):
    """What the toy reads: it has a file of its own, which says what this holds, or something else."""

    hosts = ("toy.example",)
    tables: ClassVar = {"spend": {"mode": "full"}}
    config: ClassVar[dict[str, Any]] = {}
    told: ClassVar[dict[str, Any]] = {}

    def __init__(self, today: date) -> None:
        super().__init__(today)
        self.write()

    def make(self, table: str) -> list[dict[str, Any]]:
        return [{"id": number, "name": f"campaign {number}"} for number in range(3)]

    def give(self, asked: Asked) -> Any:
        return None

    def restate(self) -> None:
        super().restate()
        if "stale" not in self.told:
            self.write()

    def write(self, **told: Any) -> None:
        rows = self.records["spend"][: self.told.get("rows", 3)]
        Path(self.config["script"]).write_text(json.dumps({"rows": {"one": rows}, **told}))

    @property
    def refuses(self) -> bool:
        return False

    @refuses.setter
    def refuses(self, value: bool) -> None:
        if value and "patient" not in self.told:
            self.write(faults={"one": {"how": "exit", "after": 0}})


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"rows": 2}, "^3 rows were served and 2 landed: lacks"),
        ({"stale": True}, "^after a change, 2 rows were served and 3 landed"),
        ({"patient": True}, "^the service refused, and the connector called the stream complete"),
        ({}, ""),
    ],
)
def test_verify_says_in_which_case_a_connector_reads_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: dict[str, Any], said: str
) -> None:
    config = {"script": str(tmp_path / "script.json"), "token": TOKEN, "accounts": ["one"]}
    monkeypatch.setattr(ToyService, "config", config)
    monkeypatch.setattr(ToyService, "told", told)
    monkeypatch.setitem(SERVICES, NAME, ToyService)
    install_toy(tmp_path, monkeypatch)
    if not said:
        assert list(verify(NAME, tmp_path))[-1] == "no other host was asked"
    else:
        with pytest.raises(NotVerified, match=said):
            list(verify(NAME, tmp_path))
    get_settings.cache_clear()


# -- manifests ---------------------------------------------------------------------------------------------------------

ENGINE = """#!{python}
import json, sys
config = json.load(open(sys.argv[sys.argv.index("--config") + 1]))
stream = {{"name": "spend", "json_schema": {{}}, "supported_sync_modes": ["full_refresh"],
           "source_defined_primary_key": [["id"]]}}
if sys.argv[1] == "discover":
    print(json.dumps({{"type": "CATALOG", "catalog": {{"streams": [stream]}}}}))
else:
    described = config["__injected_declarative_manifest"]["streams"][0]["name"]
    data = {{"id": described, "token": config["token"]}}
    status = {{"stream_descriptor": {{"name": "spend"}}, "status": "COMPLETE"}}
    trace = {{"type": "STREAM_STATUS", "emitted_at": 0, "stream_status": status}}
    print(json.dumps({{"type": "RECORD", "record": {{"stream": "spend", "data": data, "emitted_at": 0}}}}))
    print(json.dumps({{"type": "TRACE", "trace": trace}}))
"""


def described(tmp_path: Path, text: str) -> Pulls:
    (tmp_path / "manifest.yaml").write_text(text)
    source = {
        "kind": "airbyte",
        "manifest": str(tmp_path / "manifest.yaml"),
        "config": {"token": "secret"},
        "tables": {"spend": {"mode": "full"}},
    }
    return Pulls(tmp_path, source)


def test_a_manifest_is_handed_to_the_engine_that_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAREHOUSE_CONNECTORS", str(tmp_path / "connectors"))
    get_settings.cache_clear()
    pulls = described(tmp_path, "{type: DeclarativeSource, streams: [{name: clicks}]}")
    with pytest.raises(ConfigError, match="the connector manifest is not installed") as raised:
        pulls.pull("spend")
    assert raised.value.action == "run `warehouse connectors install manifest`"

    digest = hashlib.sha256(catalogue.lock("manifest").read_bytes()).hexdigest()[:16]
    engine = tmp_path / "connectors" / "manifest" / digest / "bin" / "source-declarative-manifest"
    engine.parent.mkdir(parents=True)
    engine.write_text(ENGINE.format(python=sys.executable))
    engine.chmod(0o755)
    record = {"name": "manifest", "version": "1", "lock": digest, "spec": ""}
    (engine.parents[1] / "connector.json").write_text(json.dumps(record))
    pulls.pull("spend")
    assert pulls.last("spend") == [{"id": "clicks", "token": "secret", "account_id": "shop"}]
    get_settings.cache_clear()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "is no YAML: "),
        ("streams: [{}]", "is no manifest: it has no `type: DeclarativeSource`"),
        ("type: DeclarativeSource", "describes no streams"),
        (
            "{type: DeclarativeSource, streams: [{retriever: {type: CustomRetriever, class_name: source.Own}}]}",
            r"needs code of its own \(source.Own\), which is not run",
        ),
    ],
)
def test_a_manifest_that_cannot_be_run_is_a_mistake_of_the_sources(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=rf"line \d+: sources.shop.manifest: .*{said}"):
        described(tmp_path, text)
