"""`kind: rest`: a channel whose requests stand in sources.yaml."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from tasks.errors import SourceError
from tasks.marketing.rest import auth as auths
from tasks.marketing.rest import config, decode, paging, template
from tasks.marketing.rest.channel import ACCOUNT, Account, ApiChannel, Ask, Ending, Layout
from tasks.marketing.rest.client import Client, Request
from tasks.marketing.rest.common import Common
from tasks.marketing.rest.errors import Rule, Wait, at, every
from tasks.marketing.rest.jobs import Look, Patience, run_job

_UNITS: Mapping[str, Any] = {"seconds": 1.0, "minutes": 60.0, "milliseconds": 0.001, "unix": "unix"}


def make_auth(found: config.AnyAuth | None, where: str, common: Common) -> auths.Auth:
    """Return how requests are signed, from what sources.yaml says."""
    match found:
        case None:
            return auths.NoAuth()
        case config.Bearer():
            token = found.token.get_secret_value()
            return auths.HeaderAuth("Authorization", f"Bearer {token}", token)
        case config.Header():
            value = found.value.get_secret_value()
            return auths.HeaderAuth(found.name, found.prefix + value, value)
        case config.Query():
            return auths.QueryAuth(found.name, found.value.get_secret_value())
        case config.Basic():
            return auths.BasicAuth(found.user, found.password.get_secret_value())
        case config.Google():
            return auths.ServiceAccount(
                found.key.get_secret_value(), found.scope, where=where, clock=common.clock, subject=found.subject
            )
    secret = found.client_secret.get_secret_value()
    if found.refresh_token is None:
        return auths.ClientCredentials(
            found.token_url, found.client_id, secret, where=where, clock=common.clock, scope=found.scope
        )
    return auths.OAuthRefresh(
        found.token_url,
        found.client_id,
        secret,
        found.refresh_token.get_secret_value(),
        where=where,
        clock=common.clock,
        tokens=common.tokens,
        extra={"scope": found.scope} if found.scope else None,
    )


def make_rule(found: config.ErrorRule) -> Rule:
    """Return a rule of the table of errors, from what sources.yaml says."""
    wait = Wait(found.wait.header, found.wait.body, _UNITS[found.wait.unit], found.wait.seconds)
    when = found.when
    return Rule(
        found.action, when.status, dict(when.body), dict(when.unless), when.contains, wait, found.say, found.advice
    )


def make_paging(found: config.Paging | None) -> tuple[paging.Paging, int]:
    """Return how pages follow each other, and their size, from what sources.yaml says."""
    if found is None or found.type == "none":
        return paging.Single(), 1
    parameter = paging.Parameter(found.param, found.in_)
    size = paging.Parameter(found.size_param, found.in_) if found.size_param else None
    if found.type == "cursor":
        return paging.Token(parameter, found.next, found.header, size, found.more), found.size
    if found.type == "link":
        return paging.Link(found.next, size), found.size
    offset = found.type == "offset"
    start = found.start if found.start is not None else (0 if offset else 1)
    numbered = paging.Numbered(parameter, size, start, offset, found.total, found.pages, found.more)
    return numbered, found.size


class _Unknown(dict[str, Any]):
    """What is given; a name that nobody knows before an answer stands for itself."""

    def __missing__(self, name: str) -> str:
        return f"{{{name}}}"


def _behind(cursor: str, lag: timedelta | None, where: str) -> str:
    """Return a cursor less the lag, in the form that it came in."""
    if lag is None:
        return cursor
    try:
        return (datetime.fromisoformat(cursor) - lag).isoformat()
    except ValueError:
        raise SourceError(
            f"the cursor {cursor!r} is no time, so nothing lags behind it", where, "leave out `lag`"
        ) from None


def _lifted(record: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a record with the fields of one of its own beside its own; one of a name that is taken keeps its path."""
    inner = record.get(name)
    if not isinstance(inner, Mapping):
        return dict(record)
    outer = {key: value for key, value in record.items() if key != name}
    return outer | {f"{name}_{key}" if key in outer else key: value for key, value in inner.items()}


def _chunks(table: config.RestTable) -> list[Sequence[str]]:
    """Return the fields of each request; one empty chunk where none are named."""
    if table.fields is None:
        return [()]
    names, most = table.fields.names, table.fields.most
    return [names[start : start + most] for start in range(0, len(names), most)]


class DeclaredChannel(ApiChannel):
    """An API as sources.yaml describes it.

    Args:
        name: The source's name.
        source: Its configuration.
        common: What it shares with other processes, and the time it goes by.
        endings: When versions end, where that is known beside `ends`.
    """

    def __init__(
        self,
        name: str,
        source: config.RestSource,
        common: Common,
        endings: Sequence[Ending] = (),
    ) -> None:
        self._name, self._source, self._endings = name, source, endings
        budget = source.budget
        self.client = Client(
            source.base_url,
            name,
            auth=make_auth(source.auth, name, common),
            rules=[make_rule(rule) for rule in source.errors],
            headers=source.headers,
            budget=common.budget(name, budget.requests, budget.per.total_seconds(), budget.concurrent)
            if budget
            else None,
            clock=common.clock,
            upgrade=next((ending.upgrade for ending in endings), None),
        )

    def accounts(self) -> list[Account]:
        """See `Channel`."""
        found = self._source.accounts
        zone = self._source.timezone
        if found is None:
            return [Account(self._name, zone)]
        if not isinstance(found, config.Accounts):
            return [Account(name, zone) for name in found]
        pages, size = make_paging(found.paging or self._source.paging)
        accounts = []
        for _, records in paging.read_pages(self.client, Request(found.path), pages, found.records, size):
            for record in records:
                name = at(record, found.id)
                if name is None:
                    raise SourceError(f"an account has no {found.id}", self._name, "correct `accounts.id`")
                told = {
                    key: at(record, path) for key, path in (("name", found.name), ("currency", found.currency)) if path
                }
                accounts.append(
                    Account(
                        str(name),
                        str(at(record, found.timezone) or zone) if found.timezone else zone,
                        **{key: str(value) for key, value in told.items() if value is not None},
                        fields=record if isinstance(record, dict) else {},
                    )
                )
        return accounts

    def layout(self, table: str) -> Layout:
        """See `Channel`."""
        found = self._source.tables[table]
        return Layout.of(
            found,
            key=found.key,
            day=found.day,
            cursor=found.cursor,
            types=found.types,
            nulls=frozenset(found.nulls),
            lookback=3,
            step=30,
            oldest=found.oldest.days if found.oldest else None,
        )

    def endings(self) -> Sequence[Ending]:
        """See `Channel`."""
        ends = self._source.ends
        told = [Ending(f"the API of {self._name}", ends, "ask its owner for the next version")] if ends else []
        return [*self._endings, *told]

    def read(self, ask: Ask) -> Iterator[dict[str, Any]]:
        """See `Channel`."""
        table = self._source.tables[ask.table]
        given = self._given(ask, table)
        if table.parent is None:
            yield from self._records(table, given)
            return
        pages, size = make_paging(table.parent.paging or self._source.paging)
        path = template.render(table.parent.path, given, in_path=True)
        request = Request(path, params=template.render(table.parent.params, given))
        for _, parents in paging.read_pages(self.client, request, pages, table.parent.records, size):
            for parent in parents:
                kept = {f"parent_{name}": parent.get(name) for name in table.parent.keep}
                named = {f"parent.{name}": value for name, value in parent.items()}
                for record in self._records(table, given | named):
                    yield {**record, **kept}

    @property
    def timezone(self) -> str:
        """The zone of accounts that tell none."""
        return self._source.timezone

    def known_accounts(self) -> list[Account] | None:
        """Return the accounts where sources.yaml alone tells them, else None."""
        return None if isinstance(self._source.accounts, config.Accounts) else self.accounts()

    def account_requests(self) -> Iterator[Request]:
        """Yield the request that lists the accounts, where there is one."""
        if isinstance(self._source.accounts, config.Accounts):
            yield self._first(Request(self._source.accounts.path), self._source.accounts.paging)

    def requests(self, ask: Ask) -> Iterator[Request]:
        """Yield the first request of each kind that reading would send; what an answer tells stays a name in braces."""
        table = self._source.tables[ask.table]
        given = _Unknown(self._given(ask, table))
        if table.parent is not None:
            path = template.render(table.parent.path, given, in_path=True)
            yield self._first(Request(path, params=template.render(table.parent.params, given)), table.parent.paging)
        for chunk in _chunks(table):
            request = self._request(table, _Unknown({**given, **({"fields": ",".join(chunk)} if chunk else {})}))
            yield request if table.job or table.format != "json" else self._first(request, table.paging)
        if table.job is not None:
            yield self._poll(table.job, given)
            if table.job.download:
                yield Request(template.render(table.job.download, given, in_path=True))

    def _first(self, request: Request, found: config.Paging | None) -> Request:
        pages, size = make_paging(found or self._source.paging)
        return pages.first(request, size)

    def _given(self, ask: Ask, table: config.RestTable) -> dict[str, Any]:
        account = ask.account
        given: dict[str, Any] = {f"account.{name}": value for name, value in account.fields.items()}
        given |= {
            "account": account.id,
            "account.name": account.name,
            "account.currency": account.currency,
            "account.timezone": account.timezone,
            "cursor": table.first
            if ask.cursor is None
            else _behind(ask.cursor, table.lag, f"{self._name}.{ask.table}"),
        }
        if ask.window is not None:
            window = ask.window
            given |= {"window.first": window.first, "window.last": window.last, "window.end": window.end}
        return given

    def _records(self, table: config.RestTable, given: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        where = f"{self._name}, {table.path}"
        if table.fields is None:
            found = self._answers(table, given)
        else:
            keys = [name for name in table.key if name != ACCOUNT]
            answers = [self._answers(table, {**given, "fields": ",".join(chunk)}) for chunk in _chunks(table)]
            found = decode.merge(answers, keys, where)
        for record in found:
            if not isinstance(record, dict):
                raise SourceError("a record is no object", where, "correct `records`, or name `columns`")
            if table.lift:
                record = _lifted(record, table.lift)
            yield {table.rename.get(name, name): value for name, value in record.items()} if table.rename else record

    def _request(self, table: config.RestTable, given: Mapping[str, Any]) -> Request:
        return Request(
            template.render(table.path, given, in_path=True),
            table.method,
            template.render(table.params, given),
            template.render(table.headers, given),
            template.render(table.json_, given),
            template.render(table.form, given),
        )

    def _poll(self, job: config.Job, given: Mapping[str, Any]) -> Request:
        path = template.render(job.poll, given, in_path=True)
        return Request(path, job.method, json=template.render(job.json_, given))

    def _answers(self, table: config.RestTable, given: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        request = self._request(table, given)
        if table.job is not None:
            yield from self._report(table, table.job, request, given)
        elif table.format != "json":
            with self.client.download(request) as file:
                yield from decode.lines(file, table.format, self.client.endpoint(request))
        else:
            pages, size = make_paging(table.paging or self._source.paging)
            for reply, records in paging.read_pages(self.client, request, pages, table.records, size):
                yield from self._named(table, reply.body, records, reply.where)

    def _named(
        self, table: config.RestTable, body: Any, records: Sequence[Any], where: str
    ) -> Iterator[dict[str, Any]]:
        """Return records under their columns' names: each page tells its own order."""
        if not table.columns:
            return iter(records)
        columns = every(body, table.columns)
        if len(columns) == 1 and isinstance(columns[0], list):
            columns = columns[0]
        return decode.positional([str(name) for name in columns], records, where)

    def _report(
        self, table: config.RestTable, job: config.Job, order: Request, given: Mapping[str, Any]
    ) -> Iterator[dict[str, Any]]:
        where = self.client.endpoint(order)

        def ordered() -> str:
            found = at(self.client.send(order).body, job.id)
            if found is None:
                raise SourceError(f"the order's answer has no {job.id}", where, "correct `job.id`")
            return str(found)

        def look(name: str) -> Look:
            named = {**given, "job": name}
            body = self.client.send(self._poll(job, named)).body
            said = str(at(body, job.status))
            percent = at(body, job.percent) if job.percent else None
            told = int(percent) if isinstance(percent, int) else None
            if said in job.failed:
                return Look("failed", told, said=said)
            if said not in job.done:
                return Look("running", told, said=said)
            return self._fetched(job, body, named, said)

        patience = Patience(first=job.every.total_seconds(), limit=job.limit.total_seconds())
        result = run_job(self.client, ordered, look, patience, where)
        if result is None:
            return
        fetch, signed = result
        if table.format == "json":
            pages, size = make_paging(table.paging or self._source.paging)
            for reply, records in paging.read_pages(self.client, fetch, pages, table.records, size):
                yield from self._named(table, reply.body, records, reply.where)
            return
        with self.client.download(fetch, signed=signed) as file:
            yield from decode.lines(file, table.format, where)

    def _fetched(self, job: config.Job, body: Any, named: Mapping[str, Any], said: str) -> Look:
        if job.download:
            return Look("done", result=(Request(template.render(job.download, named, in_path=True)), True), said=said)
        address = at(body, job.result)
        if address:
            return Look("done", result=(Request(str(address)), self.client.is_own(str(address))), said=said)
        return Look("done" if job.empty else "failed", said=f"{said}, without a report")
