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
MODES = {
    "cdc": "{mode: cdc, arrays: {items: table}}",
    "incremental": "{mode: incremental, cursor: updated_at, lag: 10m, deletes: sweep, arrays: {items: table}}",
    "full": "{mode: full, arrays: {items: table}}",
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
    values: int = 0
    entries: int = 0
    green: int = 0
    explained: int = 0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        kinds = ", ".join(f"{kind} {count}" for kind, count in self.releases.most_common())
        return (
            f"{self.days} days, {self.changes:,} changes of documents, {self.releases.total()} of their shape "
            f"({kinds}); {self.runs} runs, {self.kills} of them killed; {self.compared:,} documents compared; "
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
        # What a run saw last, and what those saw that were killed since.
        self.seen: dict[str, list[dict[Any, Document]]] = {table: [{}] for table in tables}
        sources = home / "sources.yaml"
        lines = "".join(f"      {table}: {MODES[COLLECTIONS[table]]}\n" for table in tables)
        sources.write_text(
            f"sources:\n  app:\n    kind: mongodb\n    uri: {mongodb_uri}\n    database: {database}\n"
            f"    tables:\n{lines}"
        )
        self.project = gold.Project(home / "company")
        (home / "said").mkdir()
        self.commands = Commands(
            home / "said",
            {
                "WAREHOUSE_URL": url,
                "WAREHOUSE_SOURCES": str(sources),
                "WAREHOUSE_HOME": str(home),
                "WAREHOUSE_DBT": str(self.project.folder),
            },
        )
        self.connection = psycopg.connect(url, autocommit=True)
        self.ledger = Ledger(self.connection, ARRAYS)
        self.events, self.is_green = 0, True
        self.keys: dict[str, dict[str, str]] = {}

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
            self._run_a_day()
            self._hold()
            self._keep_models()
            if self.figures.faults:
                break
        self.figures.changes = self.application.changes
        self.figures.releases = Counter(one.kind for one in self.application.releases)
        return self.figures

    # -- a day's run

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
        now = self.application.snapshot()
        self.ledger.take_in({table: documents.values() for table, documents in now.items()}, surely=not killed)
        self._now = now
        if killed:
            for table, documents in now.items():
                self.seen[table].append(documents)

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
            found = [*self._documents(table), *self.ledger.faults(table, self._releases(table), day, self._now[table])]
            if self.is_green and self.project.exists:
                found += gold.faults(self.connection, table, self._by_key(table), self._releases(table))
            self.figures.faults += [f"day {day}: {one}" for one in found]
        self.figures.entries = sum(len(self.ledger.entries(table)) for table in self.tables)

    def _by_key(self, table: str) -> dict[str, Document]:
        """Return a table's documents by their key in bronze."""
        return {self.keys[table][repr(reconstruction.of_source(one["_id"]))]: one for one in self._now[table].values()}

    def _releases(self, table: str) -> list[Release]:
        return [one for one in self.application.releases if one.collection == table]

    def _documents(self, table: str) -> list[str]:
        """Every document is in bronze as it is at the source, and what is gone is marked so with its last values."""
        faults = []
        bronze = reconstruction.documents(self.connection, f"app__{table}", ARRAYS)
        source = dict(reconstruction.expected(one, ARRAYS) for one in self._now[table].values())
        faults += [f"{table} {key}: not in bronze" for key in source.keys() - bronze.living.keys()]
        faults += [f"{table} {key}: in bronze and not at the source" for key in bronze.living.keys() - source.keys()]
        for key in source.keys() & bronze.living.keys():
            self.figures.compared += 1
            faults += [f"{table} {key}: {one}" for one in reconstruction.differences(source[key], bronze.living[key])]
        self.keys[table] = bronze.keys
        last: dict[str, list[reconstruction.Tree]] = {}
        surely: set[str] = set()
        for number, seen in enumerate(self.seen[table]):
            for key, form in (reconstruction.expected(one, ARRAYS) for one in seen.values()):
                last.setdefault(key, []).append(form)
            surely = surely if number else set(last)
        for key in last.keys() - source.keys():
            self.figures.compared += 1
            if key in bronze.gone:
                # Which one it was, of those that a run which was killed may have read, nobody knows.
                found = [list(reconstruction.differences(form, bronze.gone[key])) for form in last[key]]
                faults += [f"{table} {key}, deleted: {one}" for one in (found[0] if all(found) else ())]
            elif key in surely:
                faults.append(f"{table} {key}: deleted, and not kept")
        self.seen[table] = [self._now[table]]
        return faults
