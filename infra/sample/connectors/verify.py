"""Whether a connector reads the fake of its service truly: rows, a restated one, one that is gone, and a refusal."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from infra.sample.connectors.proxy import Internet
from infra.sample.connectors.services import SECRET, SERVICES, Service
from tasks.errors import ConfigError, SourceError, WarehouseError
from tasks.extract import ExtractContext, extract_table
from tasks.landing import Landing, Manifest
from tasks.sources import Sources, load_sources

SOURCE = "fake"


class NotVerified(WarehouseError):
    """A connector read something else than the fake of its service gave."""


class Trial:
    """A source that a connector reads from the fake of its service.

    Args:
        connector: Its name in the catalogue.
        folder: For the landing and the certificates.
    """

    def __init__(self, connector: str, folder: Path) -> None:
        self.service: Service = SERVICES[connector](datetime.now(UTC).date())
        self._internet = Internet(dict.fromkeys(self.service.hosts, self.service), folder)
        self.landing = Landing.open(str(folder / "landing"))
        body = {
            "kind": "airbyte",
            **({} if "manifest" in self.service.source else {"connector": connector}),
            **self.service.source,
            "config": self.service.config,
            "limits": {"time": "10m", "silence": "5m"},
            "tables": self.service.tables,
        }
        file = folder / "sources.yaml"
        file.write_text(json.dumps({"sources": {SOURCE: body}}))
        self.sources: Sources = load_sources(file, {})
        self._states: dict[str, dict[str, Any]] = {}

    @contextmanager
    def open(self) -> Iterator[None]:
        """Serve the fake, and let this process's connectors see no other host."""
        before = dict(os.environ)
        with self._internet:
            os.environ.update(self._internet.environment)
            try:
                yield
            finally:
                os.environ.clear()
                os.environ.update(before)

    @property
    def refused(self) -> set[str]:
        """Other hosts that were asked for."""
        return self._internet.refused

    def pull(self, table: str) -> Manifest | None:
        """Read a table as a run does, and return what has landed."""
        ref = self.sources.table(f"{SOURCE}.{table}")
        found = extract_table(ref, ExtractContext(self.landing, state=self._states.get(table, {}))).manifest
        if found is not None:
            self._states[table] = found.moved(self._states.get(table, {}))
        return found

    def compare(self, table: str, when: str = "") -> int:
        """Read a table, and return the number of its rows.

        Args:
            table: The table.
            when: What has happened before, as a message begins with it.

        Raises:
            NotVerified: They are not what the fake holds.
            SourceError: It cannot be read.
        """
        manifest = self.pull(table)
        # The day is the one of the service's own zone, without a time.
        day = self.service.tables[table].get("day")
        records = [_flat(one | {day: one[day][:10]} if day else one) for one in self.service.records[table]]
        served = sorted(map(_text, records))
        names = {name for record in records for name in record}
        landed = sorted(_text({name: row.get(name) for name in names}) for row in self.rows(manifest))
        if landed != served:
            lacking = [f"lacks {one}" for one in served if one not in landed]
            odd = [f"has {one}" for one in landed if one not in served]
            raise NotVerified(
                f"{when}{len(served)} rows were served and {len(landed)} landed: {'; '.join([*lacking[:2], *odd[:2]])}",
                f"{SOURCE}.{table}",
            )
        return len(landed)

    def rows(self, manifest: Manifest | None) -> Iterator[dict[str, Any]]:
        """Yield the landed rows under their plain names."""
        if manifest is None:
            return
        for part in manifest.of_kind("rows"):
            for row in self.landing.read(manifest, part).iter_rows(named=True):
                found = {}
                for column, value in row.items():
                    name, bar, kind = column.rpartition("|")
                    if bar and value is not None:
                        found[name] = Decimal(value) if kind == "decimal" else value
                yield found


def verify(connector: str, folder: Path) -> Iterator[str]:
    """Yield what was seen to be true, in sentences.

    Args:
        connector: Its name in the catalogue; it is installed.
        folder: An empty one.

    Raises:
        ConfigError: No fake is there for it.
        NotVerified: Something is not true.
        SourceError: The connector cannot read.
    """
    if connector not in SERVICES:
        raise ConfigError(
            f"there is no fake of the service of {connector!r}", connector, f"there are: {', '.join(SERVICES)}"
        )
    trial = Trial(connector, folder)
    with trial.open():
        for table in trial.service.tables:
            yield f"{table}: {trial.compare(table)} rows are those of the fake"
        trial.service.restate()
        for table in trial.service.tables:
            changed = "after a change, "
            yield f"{table}: {changed}{trial.compare(table, changed)} rows are those of the fake"
        trial.service.refuses = True
        table = next(iter(trial.service.tables))
        known = set(trial.landing.batches(SOURCE, table))
        try:
            trial.pull(table)
        except SourceError as error:
            if SECRET in str(error):
                raise NotVerified("the error shows a secret", f"{SOURCE}.{table}") from None
        else:
            raise NotVerified("the service refused, and the connector called the stream complete", f"{SOURCE}.{table}")
        if set(trial.landing.batches(SOURCE, table)) != known:
            raise NotVerified("the service refused, and something landed", f"{SOURCE}.{table}")
        yield f"{table}: a refusal lands nothing, and its message shows no secret"
        if trial.refused:
            raise NotVerified(f"it asked other hosts: {', '.join(sorted(trial.refused))}", SOURCE)
        yield "no other host was asked"


def _flat(record: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Return a record with the fields of those within as landed: under their paths."""
    found: dict[str, Any] = {}
    for name, value in record.items():
        found |= _flat(value, f"{above}{name}.") if isinstance(value, dict) else {f"{above}{name}": value}
    return found


def _text(record: Mapping[str, Any]) -> str:
    """Return a record in a form in which 10.1 and its exact decimal are the same."""
    return json.dumps(
        record, sort_keys=True, default=lambda value: float(value) if isinstance(value, Decimal) else str(value)
    )
