"""The services: each answers what its connector asks for, with some records that can be restated, and can refuse."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any, ClassVar

from infra.sample.channels.server import Answer, Asked, Fake

SECRET = "secret-of-the-fake"  # noqa: S105  of no service
Record = dict[str, Any]
_TOKEN = {"access_token": f"{SECRET}-access", "expires_in": 3_600, "token_type": "bearer", "scope": "all"}


class Service(Fake):
    """A service as one connector knows it.

    Args:
        today: Its last day.

    Attributes:
        hosts: Where it answers.
        config: What the connector is configured with.
        tables: As sources.yaml names them.
        source: What sources.yaml says of the connector beside its name; with a manifest, in place of that.
        records: By table what it holds.
        refuses: Whether it refuses every request from now on.
    """

    hosts: ClassVar[Sequence[str]]
    config: ClassVar[Mapping[str, Any]]
    tables: ClassVar[Mapping[str, Mapping[str, Any]]]
    source: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, today: date) -> None:
        super().__init__()
        self.today = today
        self.records: dict[str, list[Record]] = {name: self.make(name) for name in self.tables}
        self.refuses = False

    @abstractmethod
    def make(self, table: str) -> list[Record]:
        """Return the records of a table, three at least, as rows are to be: the first is restated, the second goes."""

    @abstractmethod
    def give(self, asked: Asked) -> Any:
        """Return the answer's body, or an answer."""

    def answer(self, asked: Asked) -> Answer:
        """See `Fake`."""
        if self.refuses:
            return Answer({"message": f"refused: {asked.headers.get('authorization')}"}, 401)
        found = self.give(asked)
        if found is None:
            return Answer({"message": f"no such address: {asked.path}"}, 404)
        return found if isinstance(found, Answer) else Answer(found)

    def restate(self) -> None:
        """Change the first record of each table, and take the second away."""
        for records in self.records.values():
            changed = next(
                name for name in ("name", "first_name", "email", "spend", "SPEND_IN_DOLLAR") if name in records[0]
            )
            records[0][changed] = 17 if isinstance(records[0][changed], int | float) else "another"
            del records[1]

    def at(self, days: int) -> str:
        """Return midnight so many days ago."""
        return f"{self.today - timedelta(days=days)}T00:00:00Z"


def page(records: Sequence[Record], asked: Asked, size: str, start: str, most: int = 2) -> list[Record]:
    """Return the page of records that is asked for, by offset."""
    begin = int(asked.query.get(start, 0))
    return list(records[begin : begin + min(int(asked.query.get(size, most)), 10_000)])


class Woocommerce(Service):
    """A shop's customers and orders, in pages by offset."""

    hosts = ("shop.example.com",)
    config: ClassVar = {
        "api_key": f"{SECRET}-key",
        "api_secret": f"{SECRET}-secret",
        "shop": "shop.example.com",
        "start_date": "2020-01-01",
    }
    tables: ClassVar = {"customers": {"mode": "full"}, "orders": {"mode": "full"}}

    def make(self, table: str) -> list[Record]:
        """See `Service`."""
        if table == "customers":
            return [
                {"id": number, "first_name": f"Name {number}", "email": f"{number}@example.com"}
                for number in range(1, 151)
            ]
        return [
            {
                "id": 9_007_199_254_740_993 + number,
                "email": "x",
                "total": "12.30",
                "date_modified_gmt": self.at(number)[:19],
            }
            for number in range(3)
        ]

    def give(self, asked: Asked) -> Any:
        """See `Service`."""
        table = asked.path.removeprefix("wp-json/wc/v3/")
        found = self.records.get(table)
        if found is None:
            return None
        if table == "orders":
            first, last = asked.query["modified_after"], asked.query["modified_before"]
            found = [one for one in found if first < one["date_modified_gmt"] <= last]
        return page(found, asked, "per_page", "offset")


class Sendgrid(Service):
    """Addresses that bounced, and templates."""

    hosts = ("api.sendgrid.com",)
    config: ClassVar = {"api_key": f"{SECRET}-key", "start_date": "2020-01-01T00:00:00Z"}
    tables: ClassVar = {"bounces": {"mode": "full", "key": ["email", "created"]}, "lists": {"mode": "full"}}

    def make(self, table: str) -> list[Record]:
        """See `Service`."""
        if table == "lists":
            return [{"id": f"list-{number}", "name": f"List {number}", "contact_count": number} for number in range(3)]
        seconds = 1_700_000_000
        return [
            {"email": f"{number}@example.com", "created": seconds + number, "reason": "550", "status": "5.1.1"}
            for number in range(3)
        ]

    def restate(self) -> None:
        """See `Service`."""
        del self.records["bounces"][1]
        self.records["lists"][0]["name"] = "another"

    def give(self, asked: Asked) -> Any:
        """See `Service`."""
        if asked.path == "v3/suppression/bounces":
            return page(self.records["bounces"], asked, "limit", "offset")
        if asked.path == "v3/marketing/lists":
            return {"result": self.records["lists"], "_metadata": {}}
        return None


class Hubspot(Service):
    """Owners and contacts, in pages by a token."""

    hosts = ("api.hubapi.com",)
    config: ClassVar = {
        "credentials": {"credentials_title": "Private App Credentials", "access_token": f"{SECRET}-access"},
        "start_date": "2020-01-01T00:00:00Z",
    }
    tables: ClassVar = {"owners": {"mode": "full"}, "contacts": {"mode": "full"}}

    def make(self, table: str) -> list[Record]:
        """See `Service`."""
        made: list[Record] = [
            {
                "id": str(number + 1),
                "email": f"{number}@example.com",
                "createdAt": self.at(9),
                "updatedAt": self.at(number),
            }
            for number in range(3)
        ]
        if table == "contacts":
            for record in made:
                record["properties"] = {"email": record["email"], "hs_object_id": record["id"]}
        return made

    def give(self, asked: Asked) -> Any:
        """See `Service`."""
        if re.fullmatch(r"properties/v2/\w+/properties", asked.path):
            return [{"name": name, "type": "string"} for name in ("email", "hs_object_id", "lastmodifieddate")]
        if asked.path == "crm/v3/schemas":
            return {"results": []}
        if asked.path == "crm/v3/owners":
            return {"results": self.records["owners"] if asked.query.get("archived") != "true" else []}
        if asked.path == "crm/v3/objects/contact":
            return self.after(self.records["contacts"], asked.query)
        if asked.path == "crm/v3/objects/contact/search":
            return {**self.after(self.records["contacts"], asked.json), "total": len(self.records["contacts"])}
        if asked.path.startswith("crm/v4/associations/") or asked.path.startswith("crm/v3/associations/"):
            return {"results": []}
        return None

    def after(self, records: Sequence[Record], asked: Mapping[str, Any]) -> dict[str, Any]:
        """Return two records after a token, with the next one."""
        begin = int(asked.get("after") or 0)
        found: dict[str, Any] = {"results": records[begin : begin + 2]}
        if begin + 2 < len(records):
            found["paging"] = {"next": {"after": str(begin + 2)}}
        return found


class Shopify(Service):
    """Customers and locations of a shop, in pages by links."""

    hosts = ("a-shop.myshopify.com",)
    config: ClassVar = {
        "shop": "a-shop",
        "credentials": {"auth_method": "api_password", "api_password": f"{SECRET}-password"},
        "start_date": "2020-01-01",
    }
    tables: ClassVar = {"customers": {"mode": "full"}, "locations": {"mode": "full"}}

    def make(self, table: str) -> list[Record]:
        """See `Service`."""
        return [
            {
                "id": 7_000_000_000_000_000_001 + number,
                "first_name" if table == "customers" else "name": f"Name {number}",
                "created_at": self.at(9),
                "updated_at": self.at(number),
                "admin_graphql_api_id": f"gid://shopify/{table}/{number}",
            }
            for number in range(3)
        ]

    def give(self, asked: Asked) -> Any:
        """See `Service`."""
        if asked.path == "admin/oauth/access_scopes.json":
            names = ("customers", "locations", "orders", "products")
            return {"access_scopes": [{"handle": f"read_{name}"} for name in names]}
        found = re.fullmatch(r"admin/api/[\d-]+/(\w+)\.json", asked.path)
        table = found[1] if found else ""
        if table == "shop":
            return {"shop": {"id": 1, "name": "a-shop"}}
        if table not in self.records:
            return None
        begin = int(asked.query.get("page_info", 0))
        records = self.records[table]
        more = f'<https://{self.hosts[0]}/{asked.path}?limit=2&page_info={begin + 2}>; rel="next"'
        headers = {"link": more} if begin + 2 < len(records) else {}
        return Answer({table: records[begin : begin + 2]}, headers={**headers, "X-Shopify-Shop-Api-Call-Limit": "1/40"})


class Pinterest(Service):
    """An ad account's campaigns, in pages by a bookmark, and their days."""

    hosts = ("api.pinterest.com",)
    config: ClassVar = {
        "credentials": {
            "auth_method": "oauth2.0",
            "client_id": f"{SECRET}-client",
            "client_secret": f"{SECRET}-secret",
            "refresh_token": f"{SECRET}-refresh",
        },
        "account_id": "549755885175",
        "start_date": "2020-01-01",
    }
    tables: ClassVar = {
        "campaigns": {"mode": "full"},
        "campaign_analytics": {"mode": "window", "day": "DATE", "key": ["CAMPAIGN_ID", "DATE"]},
    }

    def make(self, table: str) -> list[Record]:
        """See `Service`."""
        account = self.config["account_id"]
        if table == "campaigns":
            # The second one has no days and will go; the last one was not changed for years, and has days nevertheless.
            changed = {0: 1_760_000_000, 9: 1_760_000_000, 1: 1_760_000_000, 2: 1_590_000_000}
            return [
                {"id": f"62673552301{number}", "ad_account_id": account, "name": f"Name {number}", "updated_time": when}
                for number, when in changed.items()
            ]
        return [
            {
                "CAMPAIGN_ID": f"62673552301{number % 3}",
                "DATE": f"{self.today - timedelta(days=number // 3)}",
                "SPEND_IN_DOLLAR": 10.1 + number,
                "SPEND_IN_MICRO_DOLLAR": 10_100_000 + number,
            }
            for number in range(9)
        ]

    def give(self, asked: Asked) -> Any:
        """See `Service`."""
        if asked.path == "v5/oauth/token":
            return _TOKEN
        account = f"v5/ad_accounts/{self.config['account_id']}"
        if asked.path == account:
            return {"id": self.config["account_id"], "name": "Ours", "currency": "USD"}
        if asked.path == f"{account}/campaigns":
            begin = int(asked.query.get("bookmark") or 0)
            records = self.records["campaigns"]
            return {
                "items": records[begin : begin + 2],
                "bookmark": str(begin + 2) if begin + 2 < len(records) else None,
            }
        if asked.path == f"{account}/campaigns/analytics":
            first, last, wanted = (asked.query[name] for name in ("start_date", "end_date", "campaign_ids"))
            days = self.records["campaign_analytics"]
            return [one for one in days if one["CAMPAIGN_ID"] == wanted and first <= one["DATE"] <= last]
        if asked.path == "v5/boards":
            return {"items": [], "bookmark": None}
        return None


class Snapchat(Service):
    """An organization's campaigns, in pages by links, and their days."""

    hosts = ("adsapi.snapchat.com", "accounts.snapchat.com")
    config: ClassVar = {
        "client_id": f"{SECRET}-client",
        "client_secret": f"{SECRET}-secret",
        "refresh_token": f"{SECRET}-refresh",
        "start_date": "2020-01-01",
    }
    tables: ClassVar = {
        "campaigns": {"mode": "full"},
        "campaigns_stats_daily": {"mode": "window", "day": "start_time", "key": ["id", "start_time"]},
    }

    def make(self, table: str) -> list[Record]:
        """See `Service`."""
        if table == "campaigns":
            # The second one has no days and will go; the last one was not changed for years, and has days nevertheless.
            changed = {0: self.at(1), 9: self.at(1), 1: self.at(1), 2: "2020-05-01T00:00:00Z"}
            return [
                {"id": f"campaign-{number}", "name": f"Name {number}", "updated_at": when.replace("Z", ".000Z")}
                for number, when in changed.items()
            ]
        return [
            {
                "id": f"campaign-{number % 3}",
                "start_time": f"{self.today - timedelta(days=1 + number // 3)}T00:00:00.000-08:00",
                "spend": 10_100_000 + number,
                "impressions": number,
            }
            for number in range(6)
        ]

    def give(self, asked: Asked) -> Any:
        """See `Service`."""
        changed = {"updated_at": self.at(1).replace("Z", ".000Z")}
        if asked.path == "login/oauth2/access_token":
            return _TOKEN
        if asked.path == "v1/me/organizations":
            return {"organizations": [{"organization": {"id": "ours", "name": "Ours", **changed}}]}
        if asked.path == "v1/organizations/ours/adaccounts":
            return {"adaccounts": [{"adaccount": {"id": "account", "name": "Ours", **changed}}]}
        if asked.path == "v1/adaccounts/account/campaigns":
            begin = int(asked.query.get("cursor", 0))
            records = self.records["campaigns"]
            more = {"next_link": f"https://{self.hosts[0]}/{asked.path}?cursor={begin + 2}"}
            return {
                "campaigns": [{"campaign": one} for one in records[begin : begin + 2]],
                "paging": more if begin + 2 < len(records) else {},
            }
        found = re.fullmatch(r"v1/campaigns/([\w-]+)/stats", asked.path)
        if not found:
            return None
        first, last = asked.query["start_time"][:10], asked.query["end_time"][:10]
        days = [
            {
                "start_time": one["start_time"],
                "end_time": one["start_time"],
                "stats": {name: one[name] for name in ("spend", "impressions")},
            }
            for one in self.records["campaigns_stats_daily"]
            if one["id"] == found[1] and first <= one["start_time"][:10] < last
        ]
        return {"timeseries_stats": [{"timeseries_stat": {"id": found[1], "timeseries": days}}]}


class Described(Service):
    """A service that has no connector but a manifest: its campaigns, and what they spent by day."""

    hosts = ("api.example.com",)
    config: ClassVar = {"token": f"{SECRET}-token", "start_date": "2026-01-01"}
    tables: ClassVar = {
        "campaigns": {"mode": "full"},
        "spend": {"mode": "window", "day": "day", "lookback": "5d"},
    }
    source: ClassVar = {
        "manifest": str(Path(__file__).with_name("manifest.yaml")),
        "first_day": "start_date",
        "last_day": "end_date",
    }

    def make(self, table: str) -> list[Record]:
        """See `Service`."""
        if table == "campaigns":
            return [{"id": 9_007_199_254_740_993 + number, "name": f"Campaign {number}"} for number in range(5)]
        return [{"day": self.at(number)[:10], "campaign_id": number, "spend": 19.99} for number in range(1, 4)]

    def give(self, asked: Asked) -> Any:
        """See `Service`."""
        found = self.records.get(asked.path.removeprefix("v1/"))
        if found is None or asked.headers.get("authorization") != f"Bearer {SECRET}-token":
            return None
        if "from" in asked.query:
            found = [one for one in found if asked.query["from"] <= one["day"] <= asked.query["to"]]
        return {"data": page(found, asked, "limit", "offset")}


SERVICES: Mapping[str, type[Service]] = {
    "hubspot": Hubspot,
    "manifest": Described,
    "pinterest": Pinterest,
    "sendgrid": Sendgrid,
    "shopify": Shopify,
    "snapchat-marketing": Snapchat,
    "woocommerce": Woocommerce,
}
"""By connector the service that it reads."""
