"""Day after day of a wild application, the pipeline after each, killed at random; and what must hold then."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from pymongo import MongoClient

from tests.simulations.wild import gold, reconstruction
from tests.simulations.wild.application import COLLECTIONS, Application, Document, Release
from tests.simulations.wild.ledger import Ledger

ARRAYS = ("items",)
_WEEK = 4
MODES = {
    "cdc": {"mode": "cdc", "arrays": {"items": "table"}},
    "incremental": {
        **{"mode": "incremental", "cursor": "updated_at", "lag": "10m", "deletes": "sweep"},
        "arrays": {"items": "table"},
    },
    "full": {"mode": "full", "arrays": {"items": "table"}, "history": True},
}
# In every other week tables have contracts; when they end, what was held back or rescued is brought in.
CONTRACTS = {
    "cdc": {},
    "incremental": {"rules": [{"field": "weight", "range": {"max": 140_000}}]},
    "full": {"on_drift": {"fields": {"meta": {"new": "rescue"}, "status": {"type": "freeze"}}}},
}


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, negative for a signal, its events and what it said."""

    code: int
    events: int
    said: str


class Commands:
    """The product's commands, each in a process of its own; see runner.py.

    Args:
        home: Where their output is kept.
        environment: What they know.
    """

    program = ("-m", "tests.simulations.wild.runner")

    def __init__(self, home: Path, environment: dict[str, str]) -> None:
        self._home, self._count = home, 0
        self._process = subprocess.Popen(
            [sys.executable, *self.program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[3],
            env={**os.environ, **environment},
        )

    def __enter__(self) -> Commands:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)

    def run(self, *arguments: str, stop: int = 0) -> Ended:
        """Do one command; with `stop` it is killed before that event."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._count += 1
        output = self._home / f"{self._count:04}-{arguments[0]}.out"
        asked = {"arguments": list(arguments), "stop": stop, "output": str(output)}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return Ended(answer["code"], answer["events"], output.read_text(errors="replace"))


@dataclass
class Figures:
    """What a simulation did and found."""

    days: int = 0
    runs: int = 0
    kills: int = 0
    changes: int = 0
    releases: Counter[str] = field(default_factory=Counter)
    compared: int = 0
    rejected: int = 0
    entries: int = 0
    green: int = 0
    explained: int = 0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        kinds = ", ".join(f"{kind} {count}" for kind, count in self.releases.most_common())
        return (
            f"{self.days} days, {self.changes:,} changes of documents, {self.releases.total()} of their shape "
            f"({kinds}); {self.runs} runs, {self.kills} of them killed; {self.compared:,} documents compared, "
            f"{self.rejected:,} of them in rejects; "
            f"{self.entries} entries in the ledger; gold green on {self.green} days, "
            f"said why not on {self.explained}; {len(self.faults)} fault(s)"
        )


class Simulation:
    """One application, one warehouse, from the first day on.

    Args:
        home: An empty folder.
        mongodb_uri: Of the application's server.
        database: Name of its database.
        url: Of an empty warehouse.
        seed: Everything follows from it.
        tables: Which of the application's collections there are.
        models: Whether gold is built.
    """

    def __init__(
        self, home: Path, mongodb_uri: str, database: str, url: str, seed: int,
        tables: tuple[str, ...] = tuple(COLLECTIONS), models: bool = True,
    ) -> None:  # fmt: skip
        self.random = random.Random(f"kills {seed}")
        self.figures = Figures()
        self.url, self.tables, self.models = url, tables, models
        self.application = Application(MongoClient(mongodb_uri)[database], seed, tables)
        # What the run before saw, and those since.
        self.seen: dict[str, list[dict[Any, Document]]] = {table: [{}] for table in tables}
        self._sources = home / "sources.yaml"
        self._source = {"kind": "mongodb", "uri": mongodb_uri, "database": database}
        self._agree(False)
        self.project = gold.Project(home / "company")
        (home / "said").mkdir()
        self.commands = Commands(
            home / "said",
            {
                "WAREHOUSE_URL": url,
                "WAREHOUSE_SOURCES": str(self._sources),
                "WAREHOUSE_HOME": str(home),
                "WAREHOUSE_DBT": str(self.project.folder),
            },
        )
        self.connection = psycopg.connect(url, autocommit=True)
        self.ledger = Ledger(self.connection, ARRAYS)
        self.events, self.is_green = 0, True
        self.versions: dict[str, list[reconstruction.Tree]] = {}
        # By table the documents that bronze has as they are, by their key there.
        self.loaded: dict[str, dict[str, Document]] = {}
        # By table and key the last version that bronze had, and those that a run which was killed may have brought.
        self.last: dict[str, dict[str, list[reconstruction.Tree]]] = {table: {} for table in tables}

    def __enter__(self) -> Simulation:
        return self

    def __exit__(self, *_: object) -> None:
        self.commands.__exit__()
        self.connection.close()

    def live(self, days: int) -> Figures:
        """Let days pass; return what was done and found, the first day being that of the first load."""
        for day in range(days):
            if day:
                self.application.live_a_day()
                self._contracts()
            self._run_a_day()
            self._hold()
            self._keep_models()
            if self.figures.faults:
                break
        self.figures.changes = self.application.changes
        self.figures.releases = Counter(one.kind for one in self.application.releases)
        return self.figures

    # -- a day's run

    def _agree(self, contracts: bool) -> None:
        """Write sources.yaml, with contracts or without."""
        modes = {table: COLLECTIONS[table] for table in self.tables}
        tables = {table: {**MODES[mode], **(CONTRACTS[mode] if contracts else {})} for table, mode in modes.items()}
        self._sources.write_text(json.dumps({"sources": {"app": {**self._source, "tables": tables}}}))

    def _contracts(self) -> None:
        """Begin or end the contracts of a week; what they kept out comes in, without a look at the source."""
        week, day = divmod(self.application.day + _WEEK // 2, _WEEK)
        if day:
            return
        self._agree(week % 2 == 1)
        if week and week % 2 == 0:
            for table in self.tables:
                for arguments in (("rejects", "replay", f"app.{table}"), ("rescue", f"app.{table}")):
                    ended = self.commands.run(*arguments)
                    if ended.code:
                        self.figures.faults.append(f"warehouse {' '.join(arguments)}:\n{ended.said[-3000:]}")

    def _run_a_day(self) -> None:
        self.figures.days += 1
        self.is_green = True
        arguments = ("run",) if self.project.exists else ("run", "--no-models")
        if self.events and self.random.random() < 1 / 3:
            ended = self.commands.run(*arguments, stop=self.random.randint(1, self.events))
            self.figures.runs += 1
            self.figures.kills += ended.code < 0
            self._see(killed=True)
            if self.random.random() < 0.5:
                self.application.live_on()
        ended = self.commands.run(*arguments)
        self.figures.runs += 1
        self.events = ended.events
        self._see()
        if ended.code:
            self._explain(ended)
        self.figures.green += self.is_green

    def _keep_models(self) -> None:
        """Do what the person does who keeps the models."""
        if self.models and not self.project.exists:
            words = {name: one.words for name, one in self.application.collections.items()}
            self.figures.faults += self.project.begin(self.commands, words)
        elif self.models:
            self.figures.faults += self.project.follow(self.commands, self.tables)

    def _see(self, killed: bool = False) -> None:
        """Take note of what the run could see; of one that was killed nobody knows whether it came so far."""
        self._now = self.application.snapshot()
        for table, documents in self._now.items():
            self.ledger.take_in(table, documents.values(), surely=False)
            self.seen[table].append(documents)
            if killed:
                for document in documents.values():
                    key, form = reconstruction.expected(document, ARRAYS)
                    if key in self.last[table]:
                        self.last[table][key].append(form)

    def _explain(self, ended: Ended) -> None:
        """Gold may be as it was because of a new status, where the run says so; the person then mends the test."""
        self.is_green = False
        because = [table for table in self.tables if gold.explains(ended, table)]
        for table in because:
            found = gold.statuses(self._now[table])
            self.project.accept(table, found and sorted({*found, *self.application.collections[table].words}))
        if because:
            self.figures.explained += 1
        else:
            self.figures.faults.append(f"day {self.application.day}: the run failed:\n{ended.said[-6000:]}")

    # -- what must hold

    def _hold(self) -> None:
        day = self.application.day
        for table in self.tables:
            releases, seen = self._releases(table), self.seen[table]
            found = self._documents(table)
            found += self.ledger.faults(table, releases, day, seen, self.loaded[table].values())
            if self.is_green and self.project.exists:
                found += gold.faults(self.connection, table, self.loaded[table], len(self._now[table]), releases)
            self.seen[table] = [self._now[table]]
            self.figures.faults += [f"day {day}: {one}" for one in found]
        self.figures.entries = sum(len(self.ledger.entries(table)) for table in self.tables)

    def _releases(self, table: str) -> list[Release]:
        return [one for one in self.application.releases if one.collection == table]

    def _documents(self, table: str) -> list[str]:
        """Every document is in bronze as it is at the source, or in rejects; what is gone has its last values there."""
        faults = []
        bronze = reconstruction.documents(self.connection, f"app__{table}", ARRAYS)
        rejects = reconstruction.rejects(self.connection, table, ARRAYS)
        last, source = self.last[table], set()
        self.loaded[table] = {}
        for document in self._now[table].values():
            key, form = reconstruction.expected(document, ARRAYS)
            source.add(key)
            self.figures.compared += 1
            found = list(reconstruction.differences(form, bronze.living.get(key)))
            if not found:
                last[key] = [form]
                self.loaded[table][bronze.keys[key]] = document
            elif key in rejects and not list(reconstruction.differences(form, rejects[key])):
                self.figures.rejected += 1
                # A replay may bring it in once it is gone at the source.
                last.setdefault(key, []).append(form)
            else:
                faults += found
        faults += [f"{key}: in bronze and not at the source" for key in bronze.living.keys() - source]
        for key in last.keys() - source:
            self.figures.compared += 1
            # Which one it was, of those that a run which was killed may have read, nobody knows.
            found = [list(reconstruction.differences(form, bronze.gone.get(key))) for form in last[key]]
            if key in bronze.gone or key not in rejects:
                faults += [f"{key}, deleted: {one}" for one in found[0] if all(found)]
        self.ledger.take_in(table, self.loaded[table].values(), surely=True)
        faults += self._versions(table)
        return [f"{table} {one}" for one in faults]

    def _versions(self, table: str) -> list[str]:
        """Where a history is kept, it has each version that a run left, and the last one is the valid one."""
        if "history" not in MODES[COLLECTIONS[table]]:
            return []
        faults = []
        kept = reconstruction.history(self.connection, f"app__{table}", ARRAYS)
        for document in self.loaded[table].values():
            # A history has no child rows.
            plain = {name: value for name, value in document.items() if name not in ARRAYS}
            key, form = reconstruction.expected(plain, ())
            versions = self.versions.setdefault(key, [])
            if not versions or list(reconstruction.differences(versions[-1], form)):
                versions.append(form)
            valid = [tree for tree, is_valid in kept.get(key, []) if is_valid]
            if len(valid) != 1 or list(reconstruction.differences(form, valid[0])):
                faults.append(f"{key}: valid in its history are {valid}, and not {form}")
        for key, versions in self.versions.items():
            for form in versions:
                if all(list(reconstruction.differences(form, tree)) for tree, _ in kept.get(key, [])):
                    faults.append(f"{key}: its history lacks {form}")
        return faults
