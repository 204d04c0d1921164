"""Sending requests: credentials, budget, the table of errors, and answers whose size is bounded."""

from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import IO, Any
from urllib.parse import unquote, urlsplit

import httpx

from tasks.errors import QuotaExhausted, SourceAuthError, SourceError
from tasks.marketing.rest import decode
from tasks.marketing.rest.auth import Auth, NoAuth
from tasks.marketing.rest.budget import Budget
from tasks.marketing.rest.clock import Clock
from tasks.marketing.rest.errors import (
    MOST_WAIT_SECONDS,
    ReducePage,
    Rule,
    SkipAccount,
    SplitWindow,
    VersionEnded,
    at,
    decide,
    unreachable,
)

# They log the whole address of each request, and some services want their token in it.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)

_TIMEOUT = httpx.Timeout(120.0, connect=15.0)
_ATTEMPTS = 6
_FIRST_PAUSE, _MOST_PAUSE = 1.0, 60.0
# A page of JSON is held whole; longer answers are reports, which are read from a file.
_MOST_PAGE_BYTES = 256 << 20
_SPOOL_BYTES = 16 << 20
_CHUNK = 1 << 20
_LONG_SECONDS = 60.0
_SAID = (
    "error.message",
    "error.error_user_msg",
    "Errors.0.Message",
    "OperationErrors.0.Message",
    "message",
    "error_description",
    "errors.0.detail",
    "detail",
    "title",
    "0.error.message",
    "error",
)


@dataclass(frozen=True)
class Request:
    """One request.

    Attributes:
        path: Below the base URL, or a whole address on a host of the service.
        method: HTTP method.
        params: Query; None values are left out.
        headers: Beside those of the source.
        json: Body as JSON.
        form: Body as a form.
    """

    path: str
    method: str = "GET"
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    form: Mapping[str, str] | None = None

    def with_params(self, **params: Any) -> Request:
        """Return the request with more, or other, query parameters."""
        return replace(self, params={**self.params, **params})

    def with_body(self, path: str, value: Any) -> Request:
        """Return the request with a value at a path of its JSON body."""
        return replace(self, json=_put(self.json or {}, path.split("."), value))


def _put(body: Any, path: Sequence[str], value: Any) -> dict[str, Any]:
    name, *rest = path
    return {**body, name: _put(body.get(name) or {}, rest, value) if rest else value}


@dataclass
class Reply:
    """An answer that was read whole."""

    status: int
    headers: httpx.Headers
    raw: bytes
    where: str
    _body: Any = None
    _parsed: bool = False

    @property
    def body(self) -> Any:
        """The JSON of the answer, with exact numbers."""
        if not self._parsed:
            self._body, self._parsed = decode.parse(self.raw, self.where), True
        return self._body


class Client:
    """Talks to one service.

    Args:
        base_url: Where its paths begin.
        where: The source, for messages.
        auth: How requests are signed.
        rules: What answers mean, before what HTTP itself says.
        headers: Of every request.
        budget: Whose turn it is; None means no limit.
        clock: What waits go by.
        pace: Returns from an answer's headers the seconds that nobody should ask in, as usage nears its limit.
        also: Base URLs of the service's other hosts, where credentials may go too.
        upgrade: What to do when the service says that its version has ended.
    """

    def __init__(
        self,
        base_url: str,
        where: str,
        *,
        auth: Auth | None = None,
        rules: Sequence[Rule] = (),
        headers: Mapping[str, str] | None = None,
        budget: Budget | None = None,
        clock: Clock | None = None,
        pace: Callable[[Mapping[str, str]], float] | None = None,
        also: Iterable[str] = (),
        upgrade: str | None = None,
    ) -> None:
        self._base = base_url.rstrip("/") + "/"
        self._own = {urlsplit(address)[:2] for address in (base_url, *also)}
        self.where = where
        self._auth = auth or NoAuth()
        self._rules = tuple(rules)
        self._headers = dict(headers or {})
        self._budget, self._pace = budget, pace
        self._upgrade = upgrade or "upgrade to a release that knows a later version"
        self.clock = clock or Clock()
        self._http = httpx.Client(timeout=_TIMEOUT, follow_redirects=False)
        self._refreshing = threading.Lock()
        self._requests = 0
        self._waited = self._queued = 0.0
        self.bytes = 0

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def long_waits(self) -> Iterator[str]:
        """Yield why reading took long, where waiting was a part of it."""
        if self._waited >= _LONG_SECONDS:
            yield f"waited {self._waited:,.0f} s in {self._requests:,} request(s), as the service was busy or told to"
        if self._budget and self._queued >= _LONG_SECONDS:
            yield (
                f"{self._requests:,} request(s) waited {self._queued:,.0f} s for their turn: the budget is"
                f" {self._budget.limit} for all that read the source"
            )

    def hide(self, text: str) -> str:
        """Return a text without any secret of the source."""
        return self._auth.secrets.hide(text)

    # -- requests ---------------------------------------------------------------------------------------------

    def send(self, request: Request) -> Reply:
        """Send a request until it is answered with a success, and return the answer.

        Raises:
            SourceError: It will not be answered; the class says what that means.
            ReducePage, SplitWindow: The service asks for less.
        """
        with self._answered(request) as (response, reply):
            if reply is None:
                raw = b"".join(self._limited(response))
                reply = Reply(response.status_code, response.headers, raw, self.endpoint(request))
            return reply

    @contextmanager
    def stream(self, request: Request) -> Iterator[Iterator[bytes]]:
        """Send a request and yield the answer's bytes as they arrive, for answers that are too long to be held.

        Rules that look into the body of a success do not see it.
        """
        with self._answered(request, look_inside=False) as (response, _):
            yield self._chunks(response)

    @contextmanager
    def download(self, request: Request, *, signed: bool = True) -> Iterator[IO[bytes]]:
        """Send a request and yield the answer as a file.

        Args:
            request: The request; its address may be on another host when it is not signed.
            signed: Whether credentials go with it: an address that a service hands out for a download has its own.
        """
        with tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES) as file:
            with self._answered(request, look_inside=False, signed=signed) as (response, _):
                for chunk in self._chunks(response):
                    file.write(chunk)
            file.seek(0)
            yield file

    def endpoint(self, request: Request) -> str:
        """Return where a request goes, as messages say it: without its query, whose values may be secret."""
        address = urlsplit(self._address(request))
        return self.hide(f"{self.where} {request.method} {address.netloc}{address.path}")

    def shown(self, request: Request) -> str:
        """Return method and address of a request as people may see them: secrets replaced, names in braces readable."""
        params = {name: value for name, value in request.params.items() if value is not None} | dict(self._auth.shown)
        url = str(httpx.URL(self._address(request)).copy_merge_params(params) if params else self._address(request))
        return self.hide(f"{request.method} {unquote(url)}")

    # -- attempts ---------------------------------------------------------------------------------------------

    @contextmanager
    def _answered(
        self, request: Request, *, look_inside: bool = True, signed: bool = True
    ) -> Iterator[tuple[httpx.Response, Reply | None]]:
        """Yield the first answer that is a success; its body has been read already where rules look inside."""
        refreshed = False
        for attempt in range(1, _ATTEMPTS + 1):
            last = attempt == _ATTEMPTS
            try:
                response = self._send(request, signed)
            except httpx.HTTPError as error:
                if last:
                    said = self.hide(f"{type(error).__name__}: {error}")
                    raise unreachable(f"the service did not answer: {said}", self.endpoint(request)) from None
                self._pause(_FIRST_PAUSE * 2 ** (attempt - 1))
                continue
            try:
                try:
                    reply = self._whole(response, request) if look_inside or response.status_code != 200 else None
                except httpx.HTTPError as error:
                    if last:
                        raise unreachable(f"the answer broke off: {error}", self.endpoint(request)) from None
                    self._pause(_FIRST_PAUSE * 2 ** (attempt - 1))
                    continue
                rule = self._rule(response, reply)
                if rule is None:
                    try:
                        yield response, reply
                    except httpx.HTTPError as error:
                        # Half of it was handed on already: only the caller can begin again.
                        raise unreachable(f"the answer broke off: {error}", self.endpoint(request)) from None
                    return
                assert reply is not None  # noqa: S101  every answer with a rule was read
                if rule.action == "refresh":
                    if refreshed or not self._refresh():
                        raise self._refused(rule, reply)
                    refreshed = True
                    continue
                self._act(rule, reply, attempt, last)
            finally:
                response.close()
        raise AssertionError("the last attempt returns or raises")

    def _send(self, request: Request, signed: bool) -> httpx.Response:
        headers = {**self._headers, **request.headers} if signed else dict(request.headers)
        params = {name: value for name, value in request.params.items() if value is not None}
        address = self._address(request, elsewhere=not signed)
        if signed:
            with self._refreshing:
                self._auth.apply(headers, params, self._post)
        # An address that carries its own query keeps it as it is: some services want brackets and colons as such.
        url = httpx.URL(address).copy_merge_params(params) if params else httpx.URL(address)
        found = self._http.build_request(request.method, url, headers=headers, json=request.json, data=request.form)
        self._requests += 1
        with self._budget.request() if self._budget else nullcontext(0.0) as queued:
            self._queued += queued
            response = self._http.send(found, stream=True)
        if self._pace is not None and (seconds := self._pace(response.headers)) > 0:
            self._pause(seconds, most=MOST_WAIT_SECONDS)
        return response

    def _address(self, request: Request, *, elsewhere: bool = False) -> str:
        # Not urljoin: it takes what stands before the colon of `customers:list` for a scheme.
        whole = request.path.startswith(("http://", "https://"))
        address = request.path if whole else self._base + request.path.lstrip("/")
        if not elsewhere and not self.is_own(address):
            # Credentials go with it, and a page must not be able to say where to.
            raise SourceError(
                f"the service points to another host: {urlsplit(address).netloc}",
                self.where,
                "set base_url to that host, if it is the service's own",
            )
        return address

    def is_own(self, address: str) -> bool:
        """Return whether an address is on a host of the service, where credentials may go."""
        return urlsplit(address)[:2] in self._own

    def _post(self, address: str, form: Mapping[str, str]) -> tuple[int, Any]:
        try:
            response = self._http.post(address, data=dict(form))
        except httpx.HTTPError as error:
            said = self.hide(f"{type(error).__name__}: {error}")
            raise unreachable(f"no token could be fetched: {said}", self.where) from None
        try:
            return response.status_code, response.json()
        except ValueError:
            return response.status_code, None

    def _refresh(self) -> bool:
        with self._refreshing:
            return self._auth.refresh(self._post)

    def _whole(self, response: httpx.Response, request: Request) -> Reply:
        raw = b"".join(self._limited(response))
        return Reply(response.status_code, response.headers, raw, self.endpoint(request))

    def _limited(self, response: httpx.Response) -> Iterator[bytes]:
        size = 0
        for chunk in self._chunks(response):
            size += len(chunk)
            if size > _MOST_PAGE_BYTES:
                raise ReducePage
            yield chunk

    def _chunks(self, response: httpx.Response) -> Iterator[bytes]:
        for chunk in response.iter_bytes(_CHUNK):
            self.bytes += len(chunk)
            yield chunk

    # -- what answers mean ------------------------------------------------------------------------------------

    def _rule(self, response: httpx.Response, reply: Reply | None) -> Rule | None:
        if reply is None:
            return None
        if response.status_code == 200 and not any(rule.looks_inside for rule in self._rules):
            return None
        try:
            body = reply.body
        except SourceError:
            body = None
        text = reply.raw[:100_000].decode(errors="replace")
        return decide(self._rules, response.status_code, body, text)

    def _act(self, rule: Rule, reply: Reply, attempt: int, last: bool) -> None:
        """Do what a rule says; return where the request is to be sent again.

        Raises:
            SourceError, ReducePage, SplitWindow: What the rule says instead.
        """
        said = self._said(rule, reply)
        if rule.action == "reduce_page":
            raise ReducePage(said)
        if rule.action == "split":
            raise SplitWindow(said)
        now = self.clock.now()
        told = rule.wait.told(reply.headers, _quietly(reply), now)
        if rule.action == "quota" or (rule.action == "wait" and (told or 0) > MOST_WAIT_SECONDS):
            raise QuotaExhausted(said, reply.where, now + timedelta(seconds=told or 3_600))
        if rule.action == "wait" and last:
            raise QuotaExhausted(said, reply.where, now + timedelta(seconds=max(told or 0, MOST_WAIT_SECONDS)))
        if rule.action == "retry" and last:
            raise unreachable(said, reply.where)
        if rule.action in ("wait", "retry"):
            seconds = told if told is not None else _FIRST_PAUSE * 2 ** (attempt - 1)
            if self._budget is not None and rule.action == "wait":
                self._budget.pause(seconds)
            self._pause(seconds, most=MOST_WAIT_SECONDS)
            return
        raise self._refused(rule, reply)

    def _refused(self, rule: Rule, reply: Reply) -> SourceError:
        said = self._said(rule, reply)
        if rule.action == "skip_account":
            return SkipAccount(said, reply.where, rule.advice or "grant the user the account, or take it out")
        if rule.action == "version":
            return VersionEnded(said, reply.where, rule.advice or self._upgrade)
        if rule.action == "refresh":
            return SourceAuthError(said, reply.where, rule.advice or "renew the credentials")
        return SourceError(
            said, reply.where, rule.advice or "see what the service says; `warehouse check` may tell more"
        )

    def _said(self, rule: Rule, reply: Reply) -> str:
        body = _quietly(reply)
        text = next((str(found) for path in _SAID if (found := at(body, path))), "")
        return self.hide(
            f"{rule.say or 'the service refused the request'} (HTTP {reply.status}): {text[:500]}".rstrip(": ")
        )

    def _pause(self, seconds: float, most: float = _MOST_PAUSE) -> None:
        seconds = min(seconds, most)
        self._waited += seconds
        self.clock.sleep(seconds)


def _quietly(reply: Reply) -> Any:
    try:
        return reply.body
    except SourceError:
        return None
