"""Where things are: settings from the environment (prefix `WAREHOUSE_`)."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Literal
from urllib.parse import quote
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from tasks.errors import ESCAPE, ConfigError, WarehouseUnreachable, credentials_are_escaped

_LANDING_SCHEMES = ("s3://", "gs://", "az://", "file://")
PREFIX = "WAREHOUSE_"
EMBEDDED_NAME = "warehouse"
"""User and database of the embedded Postgres."""
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


class Settings(BaseSettings):
    """Every setting of the product that is not Prefect's own.

    Attributes:
        url: Postgres URL of the warehouse; unset means the embedded server under `home`.
        reader_url: Postgres URL of the read-only role, for dashboards; unset means that of the embedded server.
        pages: Folder of a company's own dashboard pages.
        landing: Landing root, a folder or `s3://`, `gs://`, `az://`; unset means `<home>/landing`.
        sources: Path of sources.yaml.
        home: Folder of everything embedded or local.
        connectors: Folder of installed connectors; unset means `<home>/connectors`.
        execution: How the pipeline starts its steps: as function calls, or as runs of their own deployments.
        memory_bytes: Memory budget of one process in bytes; unset means the cgroup's limit, else 2 GiB.
        dbt: Folder of the dbt project to build; unset means the product's own, which is that of the demo.
        alert_quiet_hours: Hours in which only what is severe disturbs, such as `22:00-07:00`.
        alert_timezone: Time zone of these hours.
        alert_escalate_minutes: After so long without an acknowledgement the escalation is told too.
        heartbeat_url: Address that is asked after each look, so that a service outside notices when monitoring is dead.
        docs_url: Address of the documentation's pages (`make site`), for links of reports; unset means the checkout's.
        dashboard_url: Address of the dashboard, for the links of reports.
        pod_patience: Seconds that a pod may wait for its image or a node that fits, before its step is given up.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore")

    url: SecretStr | None = None
    reader_url: SecretStr | None = None
    pages: Path | None = None
    landing: str | None = None
    sources: Path = Path("sources.yaml")
    home: Path = Path(".warehouse")
    connectors: Path | None = None
    execution: Literal["in_process", "deployments"] = "in_process"
    memory_bytes: int | None = Field(default=None, ge=64 << 20)
    dbt: Path | None = None
    alert_quiet_hours: str | None = Field(default=None, pattern=r"^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$")
    alert_timezone: str = "UTC"
    alert_escalate_minutes: float = Field(default=120.0, gt=0)
    heartbeat_url: SecretStr | None = None
    docs_url: str | None = Field(default=None, pattern="^https?://")
    dashboard_url: str | None = Field(default=None, pattern="^https?://")
    # Autoscalers bring a node within some five minutes, a registry is seldom away for longer.
    pod_patience: float = Field(default=900.0, gt=0)

    @field_validator("url", "reader_url")
    @classmethod
    def _postgres_only(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or value.get_secret_value() == "":
            return None
        if not value.get_secret_value().startswith(("postgresql://", "postgres://")):
            raise ValueError("must start with postgresql://")
        if not credentials_are_escaped(value.get_secret_value()):
            raise ValueError(ESCAPE)
        return value

    @field_validator("alert_timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError("must be a time zone such as Europe/Berlin") from None
        return value

    @field_validator("landing")
    @classmethod
    def _known_scheme(cls, value: str | None) -> str | None:
        if value and "://" in value and not value.startswith(_LANDING_SCHEMES):
            raise ValueError(f"must be a folder or one of {', '.join(_LANDING_SCHEMES)}")
        return value or None

    def database_url(self) -> str:
        """Return the Postgres URL of the warehouse (secret: never log it)."""
        if self.url is not None:
            return self.url.get_secret_value()
        return embedded_url(self.home)

    def landing_root(self) -> str:
        """Return the landing root: an absolute folder or an object store URL."""
        root = self.landing or str(self.home / "landing")
        return root if "://" in root else str(Path(root).resolve())

    def connectors_folder(self) -> Path:
        """Return the folder of installed connectors, absolute."""
        return (self.connectors or self.home / "connectors").resolve()

    def memory_budget(self) -> int:
        """Return the memory in bytes that this process may use."""
        if self.memory_bytes is not None:
            return self.memory_bytes
        try:
            return int(_CGROUP_LIMIT.read_text())
        except (OSError, ValueError):
            return 2 << 30


def embedded_url(home: Path) -> str:
    """Return the URL of the embedded Postgres, with its password (secret: never log it).

    Args:
        home: Folder in which `warehouse up` keeps its servers.

    Raises:
        WarehouseUnreachable: The embedded server has never been started here.
    """
    folder = home.resolve() / "postgres"
    try:
        port = json.loads((folder / "server.json").read_text())["port"]
        password = (folder / "password").read_text()
    except (OSError, ValueError, KeyError, TypeError):
        port, password = 0, ""
    if not port or not password:
        raise WarehouseUnreachable(
            "no warehouse is configured and the embedded Postgres has not been started",
            f"WAREHOUSE_URL, {folder}",
            "set WAREHOUSE_URL to your Postgres, or run `warehouse up` first",
        )
    return f"postgresql://{EMBEDDED_NAME}:{quote(password, safe='')}@127.0.0.1:{port}/{EMBEDDED_NAME}"


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Return the settings of this process, read once.

    Raises:
        ConfigError: Listing every setting that is wrong.
    """
    try:
        return Settings()
    except ValidationError as error:
        problems = tuple(map(_said, error.errors()))
        raise ConfigError(
            f"{len(problems)} setting(s) are wrong", "environment", "correct the variables below", problems
        ) from None


def _said(item: ErrorDetails) -> str:
    variable = PREFIX + "_".join(str(part) for part in item["loc"]).upper()
    return f"{variable}: {item['msg'].removeprefix('Value error, ')}"
