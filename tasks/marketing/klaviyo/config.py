"""sources.yaml of kind `klaviyo`; what is read stands in `spec.yaml`, as a source of kind `rest`."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, model_validator

from tasks.marketing import versions
from tasks.marketing.rest.config import ApiSource, ChannelTable, RestSource
from tasks.sources.config import Name


class KlaviyoSource(ApiSource):
    """One account of Klaviyo.

    Attributes:
        api_key: A private key with the read scopes of the tables, and accounts:read.
        version: Revision of the API.
    """

    kind: Literal["klaviyo"]
    api_key: SecretStr
    version: str = versions.CURRENT["klaviyo"]
    tables: dict[Name, ChannelTable] = Field(min_length=1)

    @model_validator(mode="after")
    def _known(self) -> KlaviyoSource:
        for name in self.tables:
            if name not in _spec()["tables"]:
                raise ValueError(f"tables.{name} is not known; there are: {', '.join(_spec()['tables'])}")
        return self

    def declared(self) -> RestSource:
        """Return the same as a source of kind `rest`."""
        spec = _spec()
        tables = {name: {**spec["tables"][name], "empty": table.empty} for name, table in self.tables.items()}
        key = {"type": "header", "name": "Authorization", "prefix": "Klaviyo-API-Key ", "value": self.api_key}
        given = {"base_url": self.base_url} if self.base_url else {}
        headers = {"revision": self.version}
        return RestSource.model_validate(
            {**spec, **given, "kind": "rest", "auth": key, "headers": headers, "tables": tables}
        )


@cache
def _spec() -> dict[str, Any]:
    from ruamel.yaml import YAML

    found: dict[str, Any] = YAML(typ="safe").load(Path(__file__).with_name("spec.yaml").read_text(encoding="utf-8"))
    return found
