"""From one page to the next: by number, offset, token or address, in the query or in the body."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from tasks.errors import SourceError
from tasks.marketing.rest.client import Client, Reply, Request
from tasks.marketing.rest.errors import ReducePage, at, every

# No table has more pages than this; a service that always has one more would never end.
MOST_PAGES = 1_000_000
_LINK = re.compile(r'<([^>]+)>\s*;[^,]*\brel="?next"?')


@dataclass(frozen=True)
class Parameter:
    """Where a value of paging stands in a request: a query parameter, or a path in the JSON body."""

    name: str
    where: Literal["query", "body"] = "query"

    def put(self, request: Request, value: Any) -> Request:
        """Return the request with the value."""
        return (
            request.with_params(**{self.name: value}) if self.where == "query" else request.with_body(self.name, value)
        )


class Paging(Protocol):
    """Makes requests for pages."""

    def first(self, request: Request, size: int) -> Request:
        """Return the request for the first page."""
        ...

    def following(self, request: Request, reply: Reply, before: int, count: int, size: int) -> Request | None:
        """Return the request for the next page, None after the last.

        Args:
            request: That of the page that was read.
            reply: Its answer.
            before: Records read before that page.
            count: Records of that page.
            size: Records that were asked for.
        """
        ...


@dataclass(frozen=True)
class Single:
    """All is in one answer."""

    def first(self, request: Request, size: int) -> Request:
        """See `Paging`."""
        return request

    def following(self, request: Request, reply: Reply, before: int, count: int, size: int) -> Request | None:
        """See `Paging`."""
        return None


@dataclass(frozen=True)
class Numbered:
    """Pages by number, or records by offset.

    Attributes:
        parameter: Where the number stands.
        size: Where the page's size stands; None where it cannot be chosen.
        start: Number of the first page.
        offset: Whether the number counts records instead of pages.
        total: Path to the number of records; `pages` to that of pages; `more` to whether there is one. Without any
            of them, a page that is not full is the last.
    """

    parameter: Parameter
    size: Parameter | None = None
    start: int = 1
    offset: bool = False
    total: str = ""
    pages: str = ""
    more: str = ""

    def first(self, request: Request, size: int) -> Request:
        """See `Paging`."""
        return self._with(request, self.start, size)

    def following(self, request: Request, reply: Reply, before: int, count: int, size: int) -> Request | None:
        """See `Paging`."""
        read = before + count
        number = self._number(request)
        if self.total:
            done = read >= _count(reply, self.total)
        elif self.pages:
            done = number - self.start + 1 >= _count(reply, self.pages)
        elif self.more:
            done = at(reply.body, self.more) is not True
        else:
            done = count < size
        if done:
            return None
        if not count:
            raise SourceError(f"an empty page came after {read} records, though there are said to be more", reply.where)
        return self._with(request, self.start + read if self.offset else number + 1, size)

    def _number(self, request: Request) -> int:
        found = (
            request.params.get(self.parameter.name)
            if self.parameter.where == "query"
            else at(request.json, self.parameter.name)
        )
        return int(str(found))

    def _with(self, request: Request, number: int, size: int) -> Request:
        request = self.parameter.put(request, number)
        return self.size.put(request, size) if self.size else request


def _count(reply: Reply, path: str) -> int:
    found = at(reply.body, path)
    try:
        return int(str(found))
    except ValueError:
        raise SourceError(f"the answer has no count at {path}", reply.where, "correct the path in `paging`") from None


@dataclass(frozen=True)
class Token:
    """A token of the next page, from the body or a header.

    Attributes:
        parameter: Where the token stands in the next request.
        token: Path to it in the body.
        header: Or the header that has it.
        size: Where the page's size stands.
        more: Path to whether there is a next page, where a token alone does not say.
    """

    parameter: Parameter
    token: str = ""
    header: str = ""
    size: Parameter | None = None
    more: str = ""

    def first(self, request: Request, size: int) -> Request:
        """See `Paging`."""
        return self.size.put(request, size) if self.size else request

    def following(self, request: Request, reply: Reply, before: int, count: int, size: int) -> Request | None:
        """See `Paging`."""
        if self.more and at(reply.body, self.more) is not True:
            return None
        found = reply.headers.get(self.header) if self.header else at(reply.body, self.token)
        if found is None or found in ("", False):
            return None
        return self.parameter.put(self.first(request, size), found)


@dataclass(frozen=True)
class Link:
    """The address of the next page, from the body or the header `Link`.

    Attributes:
        link: Path to it in the body; empty means the header.
        size: Where the page's size stands in the first request.
    """

    link: str = ""
    size: Parameter | None = None

    def first(self, request: Request, size: int) -> Request:
        """See `Paging`."""
        return self.size.put(request, size) if self.size else request

    def following(self, request: Request, reply: Reply, before: int, count: int, size: int) -> Request | None:
        """See `Paging`."""
        if self.link:
            found = at(reply.body, self.link)
        else:
            match = _LINK.search(reply.headers.get("link", ""))
            found = match[1] if match else None
        if not found:
            return None
        return Request(str(found), request.method, headers=request.headers, json=request.json, form=request.form)


def read_pages(
    client: Client, request: Request, paging: Paging, records: str, size: int
) -> Iterator[tuple[Reply, list[Any]]]:
    """Yield the pages of a request, each with its records.

    Where the service asks for smaller pages the same position is read again with half of the size.

    Args:
        client: Sends.
        request: The request without its paging.
        paging: How pages follow each other.
        records: Path to the list of records; empty means that the answer is the list.
        size: Records of a page.

    Raises:
        SourceError: Pages go in a circle, or never end; or one cannot be read.
    """
    following: Request | None = paging.first(request, size)
    seen: set[str] = set()
    before = 0
    while following is not None:
        asked = repr((following.path, sorted(following.params.items()), following.json))
        if asked in seen or len(seen) >= MOST_PAGES:
            raise SourceError(
                f"the pages go in a circle: page {len(seen) + 1} was read before",
                client.endpoint(following),
                "correct `paging`",
            )
        try:
            reply = client.send(following)
        except ReducePage as error:
            if size <= 1 or not isinstance(paging, Token | Numbered | Link):
                raise SourceError(
                    f"the service wants pages below {size} records: {error}", client.endpoint(following)
                ) from None
            size = max(size // 2, 1)
            following = _smaller(paging, request, following, size, before)
            continue
        seen.add(asked)
        found = listed(reply, records)
        yield reply, found
        following = paging.following(following, reply, before, len(found), size)
        before += len(found)


def _smaller(paging: Paging, request: Request, at_request: Request, size: int, before: int) -> Request:
    """Return the request for the same position with smaller pages."""
    parameter = getattr(paging, "size", None)
    if parameter is None:
        raise SourceError("the service wants smaller pages, and their size cannot be chosen", request.path)
    if isinstance(paging, Numbered) and not paging.offset:
        if before % size:
            raise SourceError("the service wants smaller pages in the middle of numbered ones", request.path)
        return paging.parameter.put(parameter.put(at_request, size), paging.start + before // size)
    found: Request = parameter.put(at_request, size)
    return found


def listed(reply: Reply, path: str) -> list[Any]:
    """Return the records of an answer.

    Raises:
        SourceError: Nothing, or no list, stands at the path. An empty list is an answer; a missing one is not.
    """
    found = every(reply.body, path)
    if "*" in path.split("."):
        return found
    if len(found) == 1 and isinstance(found[0], list):
        return found[0]
    if len(found) == 1 and isinstance(found[0], dict):
        return found
    raise SourceError(f"the answer has no list at {path or 'its top'}", reply.where, "correct `records`")
