"""sources.yaml of kind `airbyte`."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PrivateAttr, Secret, field_validator, model_validator

from tasks.connectors import catalogue
from tasks.connectors import manifest as manifests
from tasks.marketing.rest.config import ChannelSource, ChannelTable, TimeZone
from tasks.resources import quantity
from tasks.sources.config import Duration, Name, Strict


def _memory(value: str) -> str:
    quantity(value)
    return value


Memory = Annotated[str, AfterValidator(_memory)]


class ConnectorLimits(Strict):
    """What one command of a connector may use; it is ended when it takes more.

    Attributes:
        time: From its start to its end.
        silence: Time in which it says nothing at all.
        memory: Such as `512Mi`, of the memory of the pod that reads.
    """

    time: Duration = timedelta(hours=2)
    silence: Duration = timedelta(minutes=15)
    memory: Memory = "1Gi"


class AirbyteTable(ChannelTable):
    """One stream of a connector.

    Attributes:
        stream: Its name; default the table's.
        mode: `window` reads days again and replaces them whole, `full` all rows of an account, `incremental` what is
            new, from where the connector says that it came.
        day: Field with the day, for `window`.
        key: Fields that identify a row within its account; default the stream's own primary key.
    """

    stream: str | None = None
    mode: Literal["window", "full", "incremental"]
    day: str | None = None
    key: tuple[str, ...] = ()

    _fingerprinted: tuple[str, ...] = PrivateAttr(default=("arrays", "transforms", "stream", "key"))

    @model_validator(mode="after")
    def _fits(self) -> AirbyteTable:
        if (self.mode == "window") != bool(self.day):
            raise ValueError("`day` names the field with the day of mode window, and is for that mode alone")
        if self.mode != "window" and (self.lookback or self.start or self.step):
            raise ValueError("lookback, start and step are for mode window")
        return self


class AirbyteSource(ChannelSource):
    """A connector and what it is given.

    Attributes:
        connector: Its name in the catalogue: see `warehouse connectors list`.
        program: Or a program of one's own that speaks the Airbyte protocol, with its first arguments.
        manifest: Or a file that describes a connector (`type: DeclarativeSource`); the catalogue's `manifest` runs it.
        config: The connector's own configuration, as its `spec` describes it.
        account: Key of `config` with the accounts, dots between keys: the connector is started once for each; default
            the catalogue's. Without it all that the connector reads is one account, called as the source.
        timezone: Of the accounts' days.
        first_day: Key of `config` with the first day of a window; default the catalogue's.
        last_day: Key of `config` with the last day of a window; default the catalogue's. Without it rows of later days
            are read and left out.
        limits: What one command of it may use.
    """

    kind: Literal["airbyte"]
    connector: str | None = None
    program: tuple[str, ...] = ()
    manifest: Path | None = None
    config: Secret[dict[str, Any]] = Field(default_factory=lambda: Secret({}))
    account: str | None = None
    timezone: TimeZone = "UTC"
    first_day: str | None = None
    last_day: str | None = None
    limits: ConnectorLimits = ConnectorLimits()
    tables: dict[Name, AirbyteTable] = Field(min_length=1)

    @field_validator("connector")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        if name is not None and name not in catalogue.entries():
            raise ValueError(f"the catalogue has no connector {name!r}: see `warehouse connectors list`")
        if name == manifests.ENGINE:
            raise ValueError("it runs manifests: name yours in `manifest` in place of `connector`")
        return name

    @field_validator("manifest")
    @classmethod
    def _described(cls, path: Path | None) -> Path | None:
        if path is not None:
            manifests.read(path)
        return path

    @model_validator(mode="after")
    def _complete(self) -> AirbyteSource:
        if [bool(self.connector), bool(self.program), bool(self.manifest)].count(True) != 1:
            raise ValueError("give connector, program or manifest, one of them")
        windows = [name for name, table in self.tables.items() if table.mode == "window"]
        if windows and not self.keys.first:
            raise ValueError(
                f"tables.{windows[0]}: mode window needs `first_day`: the key of `config` with the first day"
            )
        return self

    @property
    def entry(self) -> catalogue.Entry | None:
        """What the catalogue says of the connector."""
        return catalogue.entries()[self.connector] if self.connector else None

    @property
    def keys(self) -> catalogue.Keys:
        """The keys of `config` that differ from run to run."""
        known = self.entry.keys if self.entry else catalogue.Keys()
        told = {"account": self.account, "first": self.first_day, "last": self.last_day}
        return known.model_copy(update={name: key for name, key in told.items() if key})
