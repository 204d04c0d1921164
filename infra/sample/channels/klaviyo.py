"""A fake of Klaviyo: JSON:API records, filtered, sorted, and paged by whole addresses."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode

from infra.sample.channels.server import Answer, Asked, Fake

_FILTER = re.compile(r"^(greater-than|greater-or-equal)\((\w+),([^)]+)\)$")
_MOST = {"profiles": 100, "events": 1_000, "campaigns": 100, "flows": 50, "lists": 10, "metrics": 200, "accounts": 1}
# By list the fields that it can be filtered by, and how.
_FILTERS: dict[str, dict[str, tuple[str, ...]]] = {
    "profiles": {"updated": ("greater-than",), "created": ("greater-than",)},
    "events": {"datetime": ("greater-than", "greater-or-equal")},
}


class KlaviyoFake(Fake):
    """One account.

    Args:
        key: Its private key.
        revisions: Revisions of the API that are answered.
        scopes: Lists that the key may read.
    """

    def __init__(
        self,
        key: str = "pk_secret",
        revisions: tuple[str, ...] = ("2026-10-15",),
        scopes: tuple[str, ...] = tuple(_MOST),
    ) -> None:
        super().__init__()
        self._key, self._revisions, self.scopes = key, revisions, scopes
        # By list and id the attributes of each record.
        self.records: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in _MOST}
        self.records["accounts"]["AbC123"] = {
            "test_account": False,
            "timezone": "Europe/Berlin",
            "preferred_currency": "EUR",
            "public_api_key": "AbC123",
            "locale": "de-DE",
            "contact_information": {
                "organization_name": "The shop",
                "default_sender_name": "The shop",
                "default_sender_email": "shop@example.com",
                "street_address": {"country": "DE"},
            },
        }
        self.page_size = 0

    def answer(self, asked: Asked) -> Answer:
        """See `Fake`."""
        if asked.headers.get("authorization") != f"Klaviyo-API-Key {self._key}":
            return refused(401, "authentication_failed", "Incorrect authentication credentials.")
        if asked.headers.get("revision") not in self._revisions:
            return refused(410, "gone", "This revision has been retired.")
        name = asked.path.removeprefix("api/").rstrip("/")
        if name not in self.records:
            return refused(404, "not_found", "A resource was not found.")
        if name not in self.scopes:
            return refused(403, "permission_denied", f"Your key is missing the required scopes: {name}:read")
        size = int(asked.query.get("page[size]") or _MOST[name])
        if size > _MOST[name] or (name == "metrics" and "page[size]" in asked.query):
            return refused(400, "invalid", f"page[size] must be at most {_MOST[name]}.")
        found = self._filtered(name, asked.query.get("filter"), asked.query.get("sort", ""))
        return found if isinstance(found, Answer) else self._page(asked, name, found, self.page_size or size)

    def _filtered(self, name: str, text: str | None, sort: str) -> list[tuple[str, dict[str, Any]]] | Answer:
        rows = list(self.records[name].items())
        if text is not None:
            match = _FILTER.match(text)
            if match is None or match[1] not in _FILTERS.get(name, {}).get(match[2], ()):
                return refused(400, "invalid", f"filter {text} is not allowed here.")
            least = match[3] if match[1] == "greater-or-equal" else f"{match[3]} "
            rows = [row for row in rows if row[1][match[2]] >= least]
        return sorted(rows, key=lambda row: str(row[1][sort])) if sort else rows

    def _page(self, asked: Asked, name: str, rows: list[tuple[str, dict[str, Any]]], size: int) -> Answer:
        start = int(asked.query.get("page[cursor]") or 0)
        data = [
            {
                "type": name.removesuffix("s"),
                "id": one,
                "attributes": attributes,
                "links": {"self": f"/api/{name}/{one}"},
            }
            for one, attributes in rows[start : start + size]
        ]
        here = f"http://{asked.headers['host']}/klaviyo/api/{name}"
        query = urlencode({**asked.query, "page[cursor]": start + size})
        following = f"{here}?{query}" if start + size < len(rows) else None
        return Answer({"data": data, "links": {"self": here, "next": following, "prev": None}})


def refused(status: int, code: str, detail: str) -> Answer:
    """Return an error in the form that the service gives it."""
    error = {"id": "e1", "status": status, "code": code, "title": code.replace("_", " "), "detail": detail}
    return Answer({"errors": [error]}, status)
