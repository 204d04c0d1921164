"""The connectors that were tried, with what they are, how they are told days, and how far each was seen to work."""

from __future__ import annotations

from datetime import date
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

FILE = Path(__file__).with_name("catalogue.yaml")
LOCKS = Path(__file__).with_name("locks")

Grade = Literal["verified", "starts", "refused"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Keys(_Model):
    """The keys of a connector's configuration that differ from run to run; dots stand between keys within keys.

    Attributes:
        account: A list of accounts, or one.
        first: The first day of a window.
        last: The last day of a window; None where the connector cannot be told.
        form: How it wants days, in the words of `strftime`.
        reads_all: Whether the first day is not told, as the connector would pass over what was not changed since, such
            as old campaigns with new clicks: it reads from the first day of its configuration, we take the window's.
        last_is_past: Whether the last day is the first one that is not read; today, at most.
        fixed: Keys that always have these values, such as a lookback of the connector's own of no days.
    """

    account: str | None = None
    first: str | None = None
    last: str | None = None
    form: str = "%Y-%m-%d"
    last_is_past: bool = False
    reads_all: bool = False
    fixed: dict[str, str | int | bool] = Field(default_factory=dict)


class Entry(_Model):
    """One connector.

    Attributes:
        package: Its name on PyPI.
        version: The one that is locked.
        program: What it installs to be started.
        licence: As it says; what is ELv2 is installed by whoever uses it, and is part of no image.
        python: Versions of Python that it was made for.
        api: Version of the API that it speaks, where it names one.
        ends: Last day of that version, as far as it is known.
        keys: Of its configuration.
        oldest: Days before today of which it reads rows at most; None where nothing is known.
        grade: `verified`: what landed was what a fake of its service holds. `starts`: it was started, no more.
            `refused`: see `reason`.
        reason: Why it is refused, or what is known to be amiss.
    """

    package: str
    version: str
    program: str
    licence: str
    python: str
    api: str = ""
    ends: date | None = None
    keys: Keys = Keys()
    oldest: int | None = None
    grade: Grade
    reason: str = ""


@cache
def entries() -> dict[str, Entry]:
    """Return the catalogue by name."""
    from ruamel.yaml import YAML

    found = YAML(typ="safe").load(FILE.read_text(encoding="utf-8"))
    return {name: Entry.model_validate(body) for name, body in found.items()}


def lock(name: str) -> Path:
    """Return the file of all packages of a connector with their hashes."""
    return LOCKS / f"{name}.lock"
