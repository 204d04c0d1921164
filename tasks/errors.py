"""Errors that people meet: each says what happened, where, and what to do."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks.table_metrics import TableMetrics

# Up to the last @ of the word: an unescaped password may hold a slash, or another @.
_CREDENTIALS = re.compile(r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]*://)[^\s'\"]*@")
_PASSWORD_WORDS = re.compile(
    r"(?i)\b(password|passwd|pwd|token|secret|api[_-]?key)\b(['\"]?\s*[=:]\s*)('[^']*'|\"[^\"]*\"|\S+)"
)


_RESERVED = re.compile(r"[\[\]:/?#@]|%(?![0-9a-fA-F]{2})")
ESCAPE = "percent-encode user and password in it: @ is %40, : is %3A, / is %2F, ? is %3F, # is %23, % is %25"
"""What to do where `credentials_are_escaped` is false."""


def credentials_are_escaped(url: str) -> bool:
    """Return whether user and password of a URL are percent-encoded, so that no part of them is taken for the host."""
    rest = url.partition("://")[2]
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    after = rest[len(authority) :]
    # An @ behind the first slash belongs to a password, unless it is the value of a parameter.
    if "@" in after and "=" not in after.rpartition("@")[0]:
        return False
    user, _, password = authority.rpartition("@")[0].partition(":")
    return not (_RESERVED.search(user) or _RESERVED.search(password))


def redact(text: str) -> str:
    """Return `text` with credentials in URLs and `password=...` pairs hidden."""
    hidden = _CREDENTIALS.sub(lambda match: f"{match['scheme']}***@", text)
    return _PASSWORD_WORDS.sub(r"\1\2***", hidden)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text without secrets, its type where it has no text."""
    text = redact(str(error)).strip()
    return text.splitlines()[0] if text else type(error).__name__


class WarehouseError(Exception):
    """An error with its place and its remedy.

    Args:
        what: What happened, in one sentence.
        where: The table, file, line or server it happened at.
        action: What the reader should do about it.

    Attributes:
        done: What was done nevertheless; None where nothing was, or nobody knows.
    """

    def __init__(self, what: str, where: str = "", action: str = "") -> None:
        self.done: TableMetrics | None = None
        self.what = redact(what)
        self.where = redact(where)
        self.action = redact(action)
        super().__init__(self.what, self.where, self.action)

    def __str__(self) -> str:
        return " | ".join(part for part in (self.what, self.where, self.action) if part)


class ConfigError(WarehouseError):
    """Settings or sources.yaml are wrong; `problems` lists every mistake found."""

    def __init__(self, what: str, where: str = "", action: str = "", problems: tuple[str, ...] = ()) -> None:
        super().__init__(what, where, action)
        self.problems = tuple(redact(problem) for problem in problems)

    def __str__(self) -> str:
        return "\n  - ".join((super().__str__(), *self.problems))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[object, ...]]:
        return type(self), (self.what, self.where, self.action, self.problems)


class SourceError(WarehouseError):
    """Reading a source failed."""


class SourceUnreachable(SourceError):
    """The source did not answer; trying again later may help."""


class SourceAuthError(SourceError):
    """The source refused the credentials or the privilege."""


class QuotaExhausted(SourceError):
    """The service gives no more for now; what was read is kept.

    Attributes:
        until: When it may go on, in UTC.
    """

    def __init__(self, what: str, where: str, until: datetime) -> None:
        super().__init__(what, where, f"nothing: what was read is kept, and reading goes on after {until:%F %H:%M} UTC")
        self.until = until


class MissingCollection(SourceError):
    """The collection, view or file pattern named in sources.yaml does not exist."""


class CursorError(SourceError):
    """An incremental cursor is missing, or of another type than the checkpoint's."""


class ResumeTokenLost(SourceError):
    """The change stream cannot be resumed: the oplog no longer holds the stored position."""


class LandingError(WarehouseError):
    """The landing store cannot be written or read, or holds a damaged batch."""


class WarehouseUnreachable(WarehouseError):
    """Postgres did not answer or refused the credentials."""


class LoadError(WarehouseError):
    """Loading a landed batch into bronze failed; nothing of it was committed."""


class RejectLimitExceeded(LoadError):
    """More documents were rejected than the table's `reject_limit` allows."""


class DbtError(WarehouseError):
    """dbt could not run, or one of its nodes failed."""


TRANSIENT = (SourceUnreachable, WarehouseUnreachable, LandingError)
"""Errors that a retry may cure by itself."""
