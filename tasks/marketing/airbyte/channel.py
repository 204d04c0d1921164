"""A connector as a channel: one process for each account and window, whose records count only when all have come."""

from __future__ import annotations

import copy
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

from tasks.connectors import environments, manifest
from tasks.connectors.process import Limits
from tasks.errors import ConfigError, SourceError
from tasks.marketing.airbyte.config import AirbyteSource, AirbyteTable
from tasks.marketing.airbyte.protocol import SURE_DIGITS, Program, Reading
from tasks.marketing.rest.channel import ACCOUNT, Account, Ask, Channel, Ending, Layout
from tasks.marketing.rest.clock import Clock
from tasks.marketing.rest.common import Common
from tasks.marketing.rest.rows import iso_day
from tasks.marketing.rest.secrets import Secrets
from tasks.marketing.rest.windows import today
from tasks.resources import quantity
from tasks.sources.connector import Finding
from tasks.sources.window import Window

# A connector takes seconds to start, so a window is read at once unless it is a very long one.
_LOOKBACK, _STEP, _ALL = 3, 90, 3_650
# A check is made by a person who waits.
_CHECK = Limits(seconds=300, silence=300)
# Fields with names that rows have of their own get this before theirs.
_OWN = "record"
_LEAST_SECRET = 6


class AirbyteChannel(Channel):
    """A source that another one's connector reads.

    Args:
        name: The source's name.
        source: Its configuration.
        common: What it shares with other processes, and the time it goes by.
    """

    def __init__(self, name: str, source: AirbyteSource, common: Common) -> None:
        self._name, self._source, self._tokens, self._clock = name, source, common.tokens, common.clock
        self._config = source.config.get_secret_value()
        self._secrets = Secrets(*_secret_texts(self._config, source.keys.account))
        self._bytes = 0
        self._streams: dict[str, dict[str, Any]] | None = None
        self._state: dict[tuple[str, str], str] = {}
        self._unsure: Counter[str] = Counter()

    # -- what the engine asks -----------------------------------------------------------------------------------

    @property
    def clock(self) -> Clock:
        """See `Channel`."""
        return self._clock

    @property
    def bytes(self) -> int:
        """See `Channel`."""
        return self._bytes

    def accounts(self) -> list[Account]:
        """See `Channel`."""
        key = self._source.keys.account
        found = _at(self._config, key) if key else None
        if found is None:
            return [Account(self._name, self._source.timezone)]
        listed = found if isinstance(found, list) else [found]
        return [Account(str(one), self._source.timezone, fields={"value": one}) for one in listed]

    def layout(self, table: str) -> Layout:
        """See `Channel`."""
        found = self._source.tables[table]
        key = found.key or self._primary_key(table, found)
        if found.mode != "window":
            return Layout(key=key, state=found.mode == "incremental", empty=found.empty)
        step = _ALL if self._source.keys.reads_all else _STEP
        oldest = self._source.entry.oldest if self._source.entry else None
        return Layout.of(found, key=key, day=found.day, lookback=_LOOKBACK, step=step, oldest=oldest)

    def read(self, ask: Ask) -> Iterator[dict[str, Any]]:
        """See `Channel`."""
        table = self._source.tables[ask.table]
        given = json.loads(ask.cursor or "[]") if table.mode == "incremental" else None
        config = self._config_of(ask.account, ask.window)
        reading = Reading(self._program(self._limits), config, self._stream(ask.table, table), given)
        before = self._bytes
        try:
            for record in reading.records():
                self._bytes = before + reading.bytes
                if not self._is_outside(record, table, ask.window):
                    yield self._row(record, ask)
        finally:
            self._keep(ask.account, config, reading.rewritten)
        if reading.state is not None:
            self._state[ask.table, ask.account.id] = json.dumps(reading.state, sort_keys=True)
        self._unsure += reading.unsure

    def position(self, ask: Ask) -> str | None:
        """See `Channel`."""
        if self._source.tables[ask.table].mode != "incremental":
            return None
        return self._state.get((ask.table, ask.account.id), ask.cursor)

    def warnings(self) -> Iterator[str]:
        """See `Channel`."""
        entry = self._source.entry
        if entry is not None and entry.grade != "verified":
            yield f"the connector {self._source.connector} is not verified ({entry.grade}): compare with the service"
        if self._unsure:
            told = ", ".join(f"{name} {count:,}" for name, count in sorted(self._unsure.items()))
            yield (
                f"numbers with more than {SURE_DIGITS} digits, which the connector may have rounded as it reads numbers"
                f" as floats: {told}"
            )

    def endings(self) -> Sequence[Ending]:
        """See `Channel`."""
        entry = self._source.entry
        if entry is None or not entry.api:
            return ()
        what = f"{entry.api}, the version of the API that the connector {self._source.connector} speaks,"
        return [Ending(what, entry.ends, "install a newer version of the connector")]

    def lacking(self) -> Iterator[Finding]:
        """See `Channel`."""
        subject = f"source {self._name}"
        for account in self.accounts():
            reason = self._program(_CHECK).check(self._config_of(account, self._yesterday(account)))
            if reason:
                yield Finding("wrong", subject, f"account {account}: {reason}", "correct `config`")
            else:
                yield Finding("ok", subject, f"account {account}: the connector can read it")
        for warning in self.warnings():
            yield Finding("warning", subject, warning)

    def close(self) -> None:
        """See `Channel`; a process ends with the reading of its records."""

    def streams(self) -> dict[str, dict[str, Any]]:
        """Return what the connector can read, by name, as it describes it; it is asked once.

        Raises:
            ConnectorFailed: It does not tell.
        """
        if self._streams is None:
            account = self.accounts()[0]
            self._streams = self._program(self._limits).discover(self._config_of(account, self._yesterday(account)))
        return self._streams

    # -- the connector ------------------------------------------------------------------------------------------

    @property
    def _limits(self) -> Limits:
        found = self._source.limits
        return Limits(found.time.total_seconds(), found.silence.total_seconds(), round(quantity(found.memory)))

    def _program(self, limits: Limits) -> Program:
        command: Sequence[str] = self._source.program
        if name := manifest.ENGINE if self._source.manifest else self._source.connector:
            command = [str(environments.program(name))]
        return Program(command, limits, self._secrets, self._name)

    def _stream(self, name: str, table: AirbyteTable) -> dict[str, Any]:
        stream = table.stream or name
        if stream not in self.streams():
            raise ConfigError(
                f"the connector has no stream {stream!r}; there are: {', '.join(sorted(self.streams()))}",
                f"{self._name}.{name}",
                "correct `stream`",
            )
        found = self.streams()[stream]
        if table.mode == "incremental" and "incremental" not in found.get("supported_sync_modes", ()):
            raise ConfigError(
                f"the connector cannot tell what is new in {stream}", f"{self._name}.{name}", "use mode full or window"
            )
        return found

    def _primary_key(self, name: str, table: AirbyteTable) -> tuple[str, ...]:
        found = self._stream(name, table).get("source_defined_primary_key") or []
        if not found or any(len(path) != 1 for path in found):
            raise ConfigError(
                "the connector names no fields that identify a row", f"{self._name}.{name}", "name them in `key`"
            )
        return tuple(path[0] for path in found)

    def _config_of(self, account: Account, window: Window | None) -> dict[str, Any]:
        """Return the configuration for one account, and for the days of a window where that is given."""
        keys = self._source.keys
        config = copy.deepcopy(self._config)
        if "value" in account.fields and keys.account:
            listed = isinstance(_at(self._config, keys.account), list)
            _put(config, keys.account, [account.fields["value"]] if listed else account.fields["value"])
        if window is not None and keys.first and not keys.reads_all:
            _put(config, keys.first, window.first.strftime(keys.form))
        if window is not None and keys.last:
            past = min(window.end, self._clock.now().date())
            _put(config, keys.last, (past if keys.last_is_past else window.last).strftime(keys.form))
        for key, value in keys.fixed.items():
            _put(config, key, value)
        for key, text in self._kept(account).items():
            _put(config, key, self._secrets.add(text))
        if self._source.manifest:
            config[manifest.KEY] = manifest.read(self._source.manifest)
        return config

    def _yesterday(self, account: Account) -> Window | None:
        """Return a window for commands that read nothing, where the configuration names no first day."""
        first = self._source.keys.first
        if first is None or _at(self._config, first) is not None:
            return None
        yesterday = today(account.timezone, self._clock.now()) - timedelta(days=1)
        return Window(yesterday, yesterday)

    # -- rows ---------------------------------------------------------------------------------------------------

    def _is_outside(self, record: Mapping[str, Any], table: AirbyteTable, window: Window | None) -> bool:
        """Return whether a row is of a day that was not asked for, of a connector that could not be told so."""
        keys = self._source.keys
        if window is None or table.day is None or (keys.last and not keys.reads_all):
            return False
        day = iso_day(str(record.get(table.day)))
        # A row without a day is refused later, not left out.
        return bool(day) and (
            (not keys.last and day > window.last.isoformat()) or (keys.reads_all and day < window.first.isoformat())
        )

    def _row(self, record: Mapping[str, Any], ask: Ask) -> dict[str, Any]:
        """Return a record whose fields do not take the place of a row's own."""
        taken = {"_id"} if "value" in ask.account.fields else {"_id", ACCOUNT}
        if not taken & record.keys():
            return dict(record)
        named = {f"{_OWN}_{name.lstrip('_')}" if name in taken else name: value for name, value in record.items()}
        if len(named) < len(record):
            raise SourceError(
                f"a record has fields of the names {_OWN}_id or {_OWN}_{ACCOUNT} already", f"{self._name}.{ask.table}"
            )
        return named

    # -- what a connector rewrites ------------------------------------------------------------------------------

    def _token_key(self, account: Account) -> str:
        """Return the name of what is kept: another one once other credentials are configured."""
        digest = hashlib.sha256(json.dumps(self._config, sort_keys=True, default=str).encode()).hexdigest()[:12]
        return f"{self._name} {account.id} {digest}"

    def _kept(self, account: Account) -> dict[str, str]:
        with suppress(ValueError):
            return dict(json.loads(self._tokens.get(self._token_key(account)) or "{}"))
        return {}

    def _keep(self, account: Account, given: Mapping[str, Any], rewritten: Sequence[Mapping[str, Any]]) -> None:
        """Keep the texts that a connector changed in its configuration: an old refresh token is worth nothing more."""
        if not rewritten:
            return
        before, after = dict(_leaves(given)), dict(_leaves(rewritten[-1]))
        changed = {key: text for key, text in after.items() if key in before and before[key] != text}
        if changed:
            kept = {key: self._secrets.add(text) for key, text in changed.items()}
            self._tokens.put(self._token_key(account), json.dumps(self._kept(account) | kept))


def _secret_texts(config: Mapping[str, Any], account: str | None) -> Iterator[str]:
    """Yield the texts of a configuration that may be secret, whatever the connector calls them.

    Those are all but short words, days and accounts: a connector's own marks of what is secret are not complete.
    """
    for key, text in _leaves(config):
        if len(text) >= _LEAST_SECRET and not iso_day(text) and not f"{key}.".startswith(f"{account}."):
            yield text


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield the texts of a configuration with their keys, dots between them."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _leaves(inner, f"{path}.{number}")
    elif isinstance(value, str):
        yield path, value


def _at(config: Any, key: str) -> Any:
    for part in key.split("."):
        config = config.get(part) if isinstance(config, Mapping) else None
    return config


def _put(config: dict[str, Any], key: str, value: Any) -> None:
    *above, last = key.split(".")
    node: Any = config
    for part in above:
        node = node[int(part)] if isinstance(node, list) else node.setdefault(part, {})
    node[int(last) if isinstance(node, list) else last] = value
