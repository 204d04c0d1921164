"""What a connector says: one JSON message a line, with exact numbers, and no secret in what is kept of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from bson import Decimal128

from tasks.connectors.process import ConnectorFailed, Limits, Process
from tasks.errors import SourceError
from tasks.marketing.rest.decode import parse
from tasks.marketing.rest.secrets import Secrets

# Connectors read numbers as floats of 64 bits, which hold so many digits for certain.
SURE_DIGITS = 15
_SHOWN = 300
_KNOWN = {"RECORD", "STATE", "LOG", "TRACE", "CONTROL", "SPEC", "CATALOG", "CONNECTION_STATUS"}


@dataclass(frozen=True)
class Program:
    """How a connector is started, and what its messages must not show.

    Attributes:
        command: Program and first arguments.
        limits: What one command may use.
        secrets: Texts of its configuration.
        where: The source, for messages.
    """

    command: Sequence[str]
    limits: Limits
    secrets: Secrets
    where: str

    def spec(self) -> dict[str, Any]:
        """Return what the connector says of its configuration.

        Raises:
            ConnectorFailed: It says nothing.
        """
        return self._one("SPEC", ["spec"], {})

    def check(self, config: Mapping[str, Any]) -> str:
        """Return why the connector cannot read with this configuration, "" where it can.

        Raises:
            ConnectorFailed: It does not say.
        """
        told = self._one("CONNECTION_STATUS", ["check", "--config", "config.json"], {"config.json": config})
        if told.get("status") == "SUCCEEDED":
            return ""
        return self.shown(str(told.get("message") or "it gives no reason"))

    def discover(self, config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Return the streams that can be read, by name, as the connector describes them.

        Raises:
            ConnectorFailed: It does not say.
        """
        told = self._one("CATALOG", ["discover", "--config", "config.json"], {"config.json": config})
        return {str(stream["name"]): stream for stream in told.get("streams", ())}

    def read(
        self, config: Mapping[str, Any], stream: Mapping[str, Any], state: Sequence[Any] | dict[str, Any] | None
    ) -> Reading:
        """Return the reading of one stream, which begins when its records are asked for.

        Args:
            config: The connector's configuration.
            stream: As `discover` gave it.
            state: What the last reading told; an empty list is the beginning, None reads all.
        """
        return Reading(self, config, stream, state)

    def run(self, arguments: Sequence[str], files: Mapping[str, Any]) -> Process:
        """Start a command; files hold JSON."""
        texts = {name: json.dumps(content, default=_day) for name, content in files.items()}
        return Process([*self.command, *arguments], texts, self.limits, self.where)

    def messages(self, process: Process) -> Iterator[tuple[str, dict[str, Any], bytes]]:
        """Yield type, content and line of each message.

        Raises:
            ConnectorFailed: A line is no message: it may be a record that was torn.
        """
        for line in process.lines():
            try:
                found = parse(line, self.where)
            except SourceError as error:
                raise ConnectorFailed(
                    f"{error.what}: {self.shown(line.decode(errors='replace'))}",
                    self.where,
                    "see the connector's issues",
                ) from None
            kind = found.get("type") if isinstance(found, dict) else None
            # Any name in small letters: `connectionStatus` is the only one of two words.
            content = (
                found.get("connectionStatus" if kind == "CONNECTION_STATUS" else str(kind).lower()) if kind else None
            )
            if kind not in _KNOWN or not isinstance(content, dict):
                raise ConnectorFailed(
                    f"the connector wrote what is no message: {self.shown(line.decode(errors='replace'))}",
                    self.where,
                    "see the connector's issues",
                )
            yield str(kind), content, line

    def shown(self, text: str) -> str:
        """Return the beginning of a text, in one line and without secrets."""
        hidden = " ".join(self.secrets.hide(text).split())
        return hidden if len(hidden) <= _SHOWN else f"{hidden[:_SHOWN]} …"

    def _one(self, wanted: str, arguments: Sequence[str], files: Mapping[str, Any]) -> dict[str, Any]:
        """Run a command that answers with one message, and return it."""
        told: dict[str, Any] | None = None
        reasons = Reasons()
        with self.run(arguments, files) as process:
            for kind, content, _ in self.messages(process):
                if kind == wanted:
                    told = content
                elif kind == "TRACE":
                    reasons.note(content)
            code = process.end()
            said = process.said
        if told is None:
            reason = reasons.last or said[-_SHOWN:] or "it says nothing"
            raise ConnectorFailed(
                f"`{arguments[0]}` ended with {code} and no answer: {self.shown(reason)}",
                self.where,
                "correct `config`, then `warehouse check`",
            )
        return told


@dataclass
class Reasons:
    """Why a connector failed, in its own words."""

    last: str = ""

    def note(self, trace: Mapping[str, Any]) -> None:
        """Keep what an error message of the connector tells; its stack may hold anything, so that is left out."""
        if trace.get("type") == "ERROR" and isinstance(error := trace.get("error"), dict):
            inner, message = error.get("internal_message"), error.get("message")
            self.last = ": ".join(str(one) for one in (message, inner) if one)


@dataclass
class Reading:
    """The reading of one stream: its records, and once all have passed, whether they are all.

    Attributes:
        program: The connector.
        config: Its configuration.
        stream: As `discover` gave it.
        given: What the last reading told of how far it came; None reads all.
        bytes: What came.
        state: What this reading tells, once it has ended.
        rewritten: Configurations that the connector wants to be given from now on, such as with a new token.
        unsure: By field how many numbers have more digits than a float holds.
    """

    program: Program
    config: Mapping[str, Any]
    stream: Mapping[str, Any]
    given: Sequence[Any] | dict[str, Any] | None = None
    bytes: int = 0
    state: list[Any] | dict[str, Any] | None = None
    rewritten: list[dict[str, Any]] = field(default_factory=list)
    unsure: Counter[str] = field(default_factory=Counter)
    _status: str = ""
    _reasons: Reasons = field(default_factory=Reasons)

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield the records as they come. Only where this ends without an error they are all.

        Raises:
            ConnectorFailed: The connector failed or was stopped, or does not say that it has read all.
        """
        files: dict[str, Any] = {"config.json": self.config, "catalog.json": {"streams": [self._configured()]}}
        arguments = ["read", "--config", "config.json", "--catalog", "catalog.json"]
        if self.given:
            files["state.json"] = self.given
            arguments += ["--state", "state.json"]
        with self.program.run(arguments, files) as process:
            for kind, content, line in self.program.messages(process):
                self.bytes = process.bytes
                if kind == "RECORD":
                    yield self._record(content)
                elif kind == "STATE":
                    self._note_state(json.loads(line)["state"])
                elif kind == "TRACE":
                    self._trace(content)
                elif kind == "CONTROL" and content.get("type") == "CONNECTOR_CONFIG":
                    self.rewritten.append(json.loads(line)["control"]["connectorConfig"]["config"])
            self._judge(process.end(), process.said)

    def _configured(self) -> dict[str, Any]:
        mode = "full_refresh" if self.given is None else "incremental"
        return {
            "stream": self.stream,
            "sync_mode": mode,
            "destination_sync_mode": "append",
            "cursor_field": self.stream.get("default_cursor_field") or [],
            "primary_key": self.stream.get("source_defined_primary_key") or [],
        }

    def _record(self, content: Mapping[str, Any]) -> dict[str, Any]:
        data = content.get("data")
        if content.get("stream") != self.stream["name"] or not isinstance(data, dict):
            raise self._failed(f"a record of the stream {content.get('stream')!r} came")
        for name, value in data.items():
            if _is_unsure(value):
                self.unsure[name] += 1
        return data

    def _note_state(self, state: dict[str, Any]) -> None:
        """Keep the newest state, in the form in which `read` takes it."""
        self.state = [state] if state.get("type") in ("STREAM", "GLOBAL") else state.get("data") or {}

    def _trace(self, content: Mapping[str, Any]) -> None:
        told = content.get("stream_status")
        if content.get("type") == "STREAM_STATUS" and isinstance(told, dict):
            if told.get("stream_descriptor", {}).get("name") == self.stream["name"]:
                self._status = str(told.get("status"))
        else:
            self._reasons.note(content)

    def _judge(self, code: int, said: str) -> None:
        """Raise unless the connector ended well and says that the stream is complete."""
        if code == 0 and self._status == "COMPLETE":
            return
        ended = f"was ended by signal {-code}" if code < 0 else f"ended with {code}"
        status = f"the stream is {self._status}" if self._status else "the stream has no status"
        reason = self._reasons.last or (said[-_SHOWN:] if code else "")
        raise self._failed(f"the connector {ended}, {status}{': ' if reason else ''}{reason}")

    def _failed(self, what: str) -> ConnectorFailed:
        return ConnectorFailed(
            self.program.shown(what),
            f"{self.program.where}, stream {self.stream['name']}",
            "nothing of it counts; run again",
        )


def _day(value: Any) -> str:
    """Return a day of a configuration as YAML reads it, as JSON writes it."""
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is no JSON")


def _is_unsure(value: Any) -> bool:
    """Return whether a number, or one within, has more digits than a float holds for certain."""
    if isinstance(value, Decimal128):
        return len(value.to_decimal().as_tuple().digits) > SURE_DIGITS
    if isinstance(value, dict):
        return any(map(_is_unsure, value.values()))
    return isinstance(value, list) and any(map(_is_unsure, value))
