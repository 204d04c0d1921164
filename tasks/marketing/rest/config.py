"""sources.yaml of channels: what all of them share, and `kind: rest`, an API described in some twenty lines."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, PrivateAttr, SecretStr, model_validator

from tasks.marketing.rest import template
from tasks.marketing.rest.errors import Action
from tasks.sources.config import Duration, Name, NamedPath, Source, Strict, Table, TableRef

_LOCAL = re.compile(r"^(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?$")
_WHOLE_DAYS = "must be whole days, such as 7d"


def _address(value: str) -> str:
    address = urlsplit(value)
    if address.scheme not in ("http", "https") or not address.netloc:
        raise ValueError("must be an address, such as https://api.example.com/v1")
    # Within a cluster names have no dot.
    if address.scheme == "http" and "." in (address.hostname or "") and not _LOCAL.match(address.netloc):
        raise ValueError("must begin with https://, since the credentials go with each request")
    if address.query or address.username:
        raise ValueError("must have no query and no credentials; those belong to `auth`")
    return value


def _days(value: timedelta) -> timedelta:
    if value % timedelta(days=1):
        raise ValueError(_WHOLE_DAYS)
    return value


def _time_zone(name: str) -> str:
    from zoneinfo import available_timezones

    if name not in available_timezones():
        raise ValueError("no time zone is called so; use an IANA name, such as Europe/Berlin")
    return name


Address = Annotated[str, AfterValidator(_address)]
Days = Annotated[Duration, AfterValidator(_days)]
TimeZone = Annotated[str, AfterValidator(_time_zone)]


class ChannelTable(Table):
    """What a table of any channel can be told.

    Attributes:
        history: Keep every version of each row in `<table>__history`, for services change what they said.
        lookback: How long the service changes a day; each run reads the days within it again.
        start: First day that is wanted; without it reading begins with the lookback.
        step: Days that one request asks for.
        current_day: Whether today is read, though it is not over.
        empty: An account that had rows and suddenly answers none: `fail`, or `accept` it.
    """

    history: bool = True
    lookback: Days | None = None
    start: date | None = None
    step: Days | None = None
    current_day: bool = True
    empty: Literal["fail", "accept"] = "fail"


class ChannelSource(Source):
    """A source that is read by accounts and days."""

    tables: Mapping[Name, ChannelTable] = Field(min_length=1)


class ApiSource(ChannelSource):
    """What every channel over HTTP can be told.

    Attributes:
        base_url: Where the service answers; default its own address.
    """

    base_url: Address | None = None


# -- kind: rest -----------------------------------------------------------------------------------------------------


class Bearer(Strict):
    """A token in the header Authorization."""

    type: Literal["bearer"]
    token: SecretStr


class Header(Strict):
    """A key in a header of one's own."""

    type: Literal["header"]
    name: str
    value: SecretStr
    prefix: str = ""


class Query(Strict):
    """A key in the query; prefer a header where the service takes one."""

    type: Literal["query"]
    name: str
    value: SecretStr


class Basic(Strict):
    """User and password."""

    type: Literal["basic"]
    user: str
    password: SecretStr


class OAuth2(Strict):
    """OAuth2: with a refresh token for a user, without one for a program."""

    type: Literal["oauth2"]
    token_url: Address
    client_id: str
    client_secret: SecretStr
    refresh_token: SecretStr | None = None
    scope: str = ""


class Google(Strict):
    """A Google service account."""

    type: Literal["google"]
    key: SecretStr
    scope: str
    subject: str = ""


AnyAuth = Annotated[Bearer | Header | Query | Basic | OAuth2 | Google, Field(discriminator="type")]


class Paging(Strict):
    """How one page follows another.

    Attributes:
        type: `none`; `page` by number; `offset` by records; `cursor` by a token; `link` by an address.
        param: Query parameter, or path in the JSON body with `in: body`, of the page's number, offset or token.
        size_param: The same of the page's size.
        size: Records of a page.
        start: Number of the first page.
        total: Path to the number of records.
        pages: Path to the number of pages.
        more: Path to whether there is another page.
        next: Path to the token or address of the next page.
        header: Header with the token of the next page; for `link` it is the header Link.
    """

    type: Literal["none", "page", "offset", "cursor", "link"]
    param: str = ""
    in_: Literal["query", "body"] = Field(default="query", alias="in")
    size_param: str = ""
    size: int = Field(default=100, ge=1)
    start: int | None = None
    total: str = ""
    pages: str = ""
    more: str = ""
    next: str = ""
    header: str = ""

    @model_validator(mode="after")
    def _complete(self) -> Paging:
        if self.type in ("page", "offset", "cursor") and not self.param:
            raise ValueError(f"paging by {self.type} needs `param`: the parameter that tells the position")
        if self.type == "cursor" and not (self.next or self.header):
            raise ValueError("paging by cursor needs `next` or `header`: where the next page's token stands")
        if self.type in ("page", "offset") and not (self.size_param or self.total or self.pages or self.more):
            raise ValueError(
                f"paging by {self.type} needs one of size_param, total, pages and more, "
                "or nobody knows which page is the last"
            )
        return self


class When(Strict):
    """Which answers are meant; all that is given has to fit."""

    status: tuple[int, ...] = ()
    body: dict[str, tuple[str | int | bool, ...]] = Field(default_factory=dict)
    unless: dict[str, tuple[str | int | bool, ...]] = Field(default_factory=dict)
    contains: str = ""

    @model_validator(mode="after")
    def _something(self) -> When:
        if not (self.status or self.body or self.unless or self.contains):
            raise ValueError("give one of status, body, unless and contains")
        return self


class WaitFor(Strict):
    """How long to wait: what a header or the body says, else `seconds`."""

    header: str = ""
    body: str = ""
    unit: Literal["seconds", "minutes", "milliseconds", "unix"] = "seconds"
    seconds: float = Field(default=0.0, ge=0)


class ErrorRule(Strict):
    """What an answer means, before what HTTP says itself; see `tasks.marketing.rest.errors.Rule`."""

    when: When
    action: Action
    wait: WaitFor = WaitFor()
    say: str = ""
    advice: str = ""


class RequestBudget(Strict):
    """How often the service is asked: so many requests in a time, so many at once."""

    requests: int = Field(ge=1)
    per: Duration = timedelta(seconds=1)
    concurrent: int = Field(default=4, ge=1)


class Accounts(Strict):
    """A request that lists the accounts; the values are paths in its records."""

    path: str
    records: str = ""
    id: str = "id"
    name: str = ""
    timezone: str = ""
    currency: str = ""
    paging: Paging | None = None


class Parent(Strict):
    """Records of another request; the table's own request is made once for each.

    Attributes:
        path: Path of that request.
        params: Its query.
        records: Path to its records.
        keep: Fields of the parent that go into each row, as `parent_<field>`.
    """

    path: str
    params: dict[str, Any] = Field(default_factory=dict)
    records: str = ""
    keep: tuple[str, ...] = ()
    paging: Paging | None = None


class FieldChunks(Strict):
    """Fields of which only so many may be asked for at once: several requests, whose rows are joined by the key."""

    names: tuple[str, ...] = Field(min_length=1)
    most: int = Field(ge=1)


class Job(Strict):
    """A report that is ordered, asked after and downloaded; the table's own request orders it.

    Attributes:
        id: Path to the job's id in the answer to the order.
        poll: Path of the request that asks after it; `{job}` is the id.
        method: Its method; `json` its body.
        status: Path to its state.
        done: Words for a job that is ready; `failed` for one that failed; any other means that it runs.
        percent: Path to how far it is.
        result: Path to the report's address in that answer.
        download: Or the path of the request that fetches it.
        empty: A job that is done without an address has no rows; else it failed.
    """

    id: str
    poll: str
    method: Literal["GET", "POST"] = "GET"
    json_: Any = Field(default=None, alias="json")
    status: str
    done: tuple[str, ...]
    failed: tuple[str, ...] = ()
    percent: str = ""
    result: str = ""
    download: str = ""
    empty: bool = False
    every: Duration = timedelta(seconds=5)
    limit: Duration = timedelta(hours=1)

    @model_validator(mode="after")
    def _one_way(self) -> Job:
        if bool(self.result) == bool(self.download):
            raise ValueError("give result or download, one of them")
        return self


_NAMES = {"account", "account.name", "account.currency", "account.timezone", "cursor", "fields"}
_WINDOW_NAMES = {"window.first", "window.last", "window.end"}


class RestTable(ChannelTable):
    """One table of an API.

    Attributes:
        path: Path of its request below the source's base_url.
        params, headers, json, form: The request; texts may hold names in braces, such as `{window.first}`.
        format: What the answer is.
        records: Path to the records; `*` stands for all elements.
        columns: Path to the columns' names, where records are lists of values.
        lift: Field whose own fields become the record's, such as `attributes` of JSON:API.
        rename: By field the name that it is to have.
        key: Fields that identify a row within its account.
        day: Field with the day; the table is then read by windows, which replace whole days.
        cursor: Field that grows with every change; `{cursor}` is its greatest value so far.
        first: What `{cursor}` is at the first time.
        lag: How far behind the greatest value `{cursor}` is, where that is a time: for what is told late.
        nulls: Texts that mean nothing, such as `-`.
    """

    path: str
    method: Literal["GET", "POST"] = "GET"
    params: dict[str, Any] = Field(default_factory=dict)
    headers: dict[str, str] = Field(default_factory=dict)
    json_: Any = Field(default=None, alias="json")
    form: dict[str, str] | None = None
    format: Literal["json", "jsonl", "csv"] = "json"
    records: str = ""
    columns: str = ""
    lift: str = ""
    rename: dict[str, str] = Field(default_factory=dict)
    key: tuple[str, ...] = Field(min_length=1)
    day: str | None = None
    cursor: str | None = None
    first: str = ""
    lag: Duration | None = None
    nulls: tuple[str, ...] = ()
    paging: Paging | None = None
    parent: Parent | None = None
    fields: FieldChunks | None = None
    job: Job | None = None
    oldest: Days | None = None

    _fingerprinted: tuple[str, ...] = PrivateAttr(default=("arrays", "transforms", "key", "lift", "rename"))

    @model_validator(mode="after")
    def _fits(self) -> RestTable:
        if self.day and self.cursor:
            raise ValueError("give day or cursor, not both: a table is read by days, or by what is new")
        used = set(template.names([self.path, self.params, self.headers, self.json_, self.form]))
        known = _NAMES | (_WINDOW_NAMES if self.day else set())
        template.check(
            list(f"{{{name}}}" for name in sorted(used)), known, ("account.",) + (("parent.",) if self.parent else ())
        )
        if self.day and not used & _WINDOW_NAMES:
            raise ValueError(f"a table with `day` has to ask for days: use one of {', '.join(sorted(_WINDOW_NAMES))}")
        if self.cursor and "cursor" not in used:
            raise ValueError("a table with `cursor` has to ask for what is new: use {cursor}")
        if self.cursor and not self.first:
            raise ValueError("give `first`: what {cursor} is at the first time")
        if self.lag and not self.cursor:
            raise ValueError("`lag` is for tables with `cursor`")
        if self.fields and "fields" not in used:
            raise ValueError("`fields` are asked for with {fields}")
        if self.job and self.fields:
            raise ValueError("a job is ordered with all of its fields: leave out `fields`")
        if not self.day and (self.lookback or self.start or self.step):
            raise ValueError("lookback, start and step are for tables with `day`")
        if self.format != "json" and (self.columns or self.paging or self.records):
            raise ValueError("columns, paging and records are for format json")
        return self

    @property
    def named_paths(self) -> tuple[NamedPath, ...]:
        """See `Table`."""
        return (
            *(NamedPath("rename", path, becomes=new) for path, new in self.rename.items()),
            *super().named_paths,
        )


class RestSource(ApiSource):
    """An API that is described here.

    Attributes:
        headers: Of every request.
        timezone: Of the accounts' days, where `accounts` does not tell it.
        accounts: Their ids, or the request that lists them; without it the whole API is one account.
        paging: Of the tables that have none of their own.
        errors: What answers mean; the first rule that fits decides.
        ends: Last day of the API's version, as far as it is known.
    """

    kind: Literal["rest"]
    base_url: Address
    auth: AnyAuth | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    timezone: TimeZone = "UTC"
    accounts: tuple[str, ...] | Accounts | None = None
    paging: Paging | None = None
    errors: tuple[ErrorRule, ...] = ()
    budget: RequestBudget | None = None
    ends: date | None = None
    tables: dict[Name, RestTable] = Field(min_length=1)


RestRef = TableRef[RestSource, RestTable]
"""A table of an API with its source."""
