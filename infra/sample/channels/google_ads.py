"""A fake of Google Ads' REST interface: GAQL of the form that reports have, streamed as a list of batches."""

from __future__ import annotations

import re
from datetime import date
from typing import Any

from infra.sample.channels.facts import AdAccount, AdDay, Facts, Level, summed
from infra.sample.channels.server import Answer, Asked, Fake

_QUERY = re.compile(
    r"^SELECT (?P<fields>.+?) FROM (?P<resource>\w+)"
    r"(?: WHERE segments\.date BETWEEN '(?P<first>[\d-]+)' AND '(?P<last>[\d-]+)')?$"
)
_PATH = re.compile(r"^(?P<version>v\d+)/customers/(?P<customer>\d+)/googleAds:searchStream$")
_BATCH = 1_000
# By name what is counted: whether it is among `conversions`, or among `all_conversions` alone.
_ACTIONS = {"Purchase": True, "Add to cart": False}
_LEVELS: dict[str, Level] = {
    "customer": "account",
    "campaign": "campaign",
    "ad_group": "ad_group",
    "ad_group_ad": "ad",
    "keyword_view": "keyword",
}


class GoogleAdsFake(Fake):
    """Accounts below one manager.

    Args:
        facts: What the accounts did.
        manager: Number of the manager.
        versions: Versions of the API that are answered.
        token: The developer token.
    """

    def __init__(
        self,
        facts: Facts,
        manager: str = "1000000001",
        versions: tuple[str, ...] = ("v26",),
        token: str = "developer-token",
    ) -> None:
        super().__init__()
        self.facts, self.manager, self.versions, self._token = facts, manager, versions, token

    def answer(self, asked: Asked) -> Answer:
        """See `Fake`."""
        if asked.path == "token":
            return Answer({"access_token": "google-access", "expires_in": 3600, "token_type": "Bearer"})
        if asked.headers.get("authorization") != "Bearer google-access":
            return Answer(
                [{"error": {"code": 401, "message": "Request had invalid credentials.", "status": "UNAUTHENTICATED"}}],
                401,
            )
        if asked.headers.get("developer-token") != self._token:
            return refused(
                403, "authorizationError", "DEVELOPER_TOKEN_PROHIBITED", "The developer token is not allowed."
            )
        version = asked.path.partition("/")[0]
        if version not in self.versions:
            return refused(400, "requestError", "UNSUPPORTED_VERSION", f"Version {version} is deprecated.")
        if asked.path.endswith("customers:listAccessibleCustomers"):
            return Answer({"resourceNames": [f"customers/{self.manager}"]})
        match = _PATH.match(asked.path)
        query = _QUERY.match(asked.json["query"]) if match else None
        if match is None or query is None or query["resource"] not in (*_LEVELS, "customer_client"):
            return refused(400, "queryError", "UNEXPECTED_INPUT", "Error in query.")
        customer, fields = match["customer"], [name.strip() for name in query["fields"].split(",")]
        if customer == self.manager:
            return self._of_manager(query["resource"], fields)
        if asked.headers.get("login-customer-id") not in (self.manager, None):
            return refused(403, "authorizationError", "USER_PERMISSION_DENIED", "User doesn't have permission.")
        account = self.facts.account(customer)
        if account is None:
            return refused(403, "authorizationError", "CUSTOMER_NOT_ENABLED", "The customer account can't be accessed.")
        return _of_account(account, query, fields)

    def _of_manager(self, resource: str, fields: list[str]) -> Answer:
        if resource != "customer_client":
            return refused(
                400, "queryError", "REQUESTED_METRICS_FOR_MANAGER", "Metrics cannot be requested for a manager account."
            )
        found = [(self.manager, "Manager", "Etc/UTC", "EUR", True)]
        found += [(one.id, one.name, one.timezone, one.currency, False) for one in self.facts.accounts.values()]
        rows = []
        for name, title, zone, currency, manager in found:
            values = {
                "customer_client.id": name,
                "customer_client.descriptive_name": title,
                "customer_client.time_zone": zone,
                "customer_client.currency_code": currency,
                "customer_client.manager": manager,
                "customer_client.status": "ENABLED",
            }
            rows.append(
                _nested({field: values[field] for field in fields}, f"customers/{self.manager}/customerClients/{name}")
            )
        return Answer([{"results": rows, "requestId": "r0"}])


def _of_account(account: AdAccount, query: re.Match[str], fields: list[str]) -> Answer:
    if _by_action(fields) and not {"metrics.cost_micros", "metrics.clicks", "metrics.impressions"}.isdisjoint(fields):
        # Each action would tell the whole spend again.
        return refused(
            400, "queryError", "PROHIBITED_SEGMENT_WITH_METRIC_IN_SELECT_OR_WHERE_CLAUSE", "Cannot select both."
        )
    results = _results(account, query, fields)
    batches = [results[start : start + _BATCH] for start in range(0, len(results), _BATCH)]
    mask = ",".join(map(_camel, fields))
    return Answer([{"results": batch, "fieldMask": mask, "requestId": "r1"} for batch in batches])


def _results(account: AdAccount, query: re.Match[str], fields: list[str]) -> list[dict[str, Any]]:
    level = _LEVELS[query["resource"]]
    if query["first"] is not None:
        first, last = date.fromisoformat(query["first"]), date.fromisoformat(query["last"])
        rows = summed(account.between(first, last), level)
    else:
        rows = [AdDay(date.min)] if level == "account" else account.members(level)
    actions: list[str | None] = [*_ACTIONS] if _by_action(fields) else [None]
    return [_row(account, row, fields, action) for row in rows for action in actions]


def _by_action(fields: list[str]) -> bool:
    return any(field.startswith("segments.conversion_action") for field in fields)


def _row(account: AdAccount, row: AdDay, fields: list[str], action: str | None) -> dict[str, Any]:
    counted = action is None or _ACTIONS[action]
    # Each purchase was put into the cart once.
    times = len(_ACTIONS) if action is None else 1
    number = 0 if action is None else list(_ACTIONS).index(action)
    values: dict[str, Any] = {
        "segments.date": row.day.isoformat(),
        # Numbers of 64 bits travel as text, doubles as numbers.
        "customer.id": account.id,
        "customer.descriptive_name": account.name,
        "customer.currency_code": account.currency,
        "customer.time_zone": account.timezone,
        "customer.status": "ENABLED",
        "campaign.id": row.campaign_id,
        "campaign.name": row.campaign_name,
        "campaign.status": "ENABLED",
        "campaign.advertising_channel_type": row.objective,
        "campaign.bidding_strategy_type": "MAXIMIZE_CONVERSIONS",
        "campaign_budget.amount_micros": "50000000",
        "ad_group.id": row.ad_group_id,
        "ad_group.name": row.ad_group_name,
        "ad_group_ad.status": "ENABLED",
        "ad_group_ad.ad.id": row.ad_id,
        "ad_group_ad.ad.name": row.ad_name,
        "ad_group_ad.ad.type": "RESPONSIVE_SEARCH_AD",
        "ad_group_ad.ad.final_urls": ["https://shop.example/"],
        "ad_group_criterion.criterion_id": row.keyword_id,
        "ad_group_criterion.keyword.text": row.keyword,
        "ad_group_criterion.keyword.match_type": "EXACT",
        "metrics.impressions": str(row.impressions),
        "metrics.clicks": str(row.clicks),
        "metrics.cost_micros": str(int(row.spend * 1_000_000)),
        "metrics.conversions": float(row.conversions) if counted else 0.0,
        "metrics.conversions_value": float(row.value) if counted else 0.0,
        "metrics.all_conversions": times * float(row.conversions),
        "metrics.view_through_conversions": "0",
        "segments.conversion_action": f"customers/{account.id}/conversionActions/{number}",
        "segments.conversion_action_name": action,
        "segments.conversion_action_category": "PURCHASE" if action == "Purchase" else "ADD_TO_CART",
    }
    return _nested(
        {field: values[field] for field in fields if field in values},
        f"customers/{account.id}/campaigns/{row.campaign_id}",
    )


def _nested(values: dict[str, Any], resource: str) -> dict[str, Any]:
    """Return fields of GAQL as the JSON of a row, each resource with its name."""
    made: dict[str, Any] = {}
    for field, value in values.items():
        node = made
        *parents, name = (_camel(part) for part in field.split("."))
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = value
    for name, node in made.items():
        if name not in ("metrics", "segments"):
            node.setdefault("resourceName", resource)
    return made


def _camel(name: str) -> str:
    return re.sub(r"_(\w)", lambda match: match[1].upper(), name)


def refused(status: int, kind: str, code: str, message: str, **details: Any) -> Answer:
    """Return an error in the form that the service gives it."""
    error = {"errorCode": {kind: code}, "message": message, **({"details": details} if details else {})}
    failure = {"@type": "type.googleapis.com/google.ads.googleads.v26.errors.GoogleAdsFailure", "errors": [error]}
    return Answer([{"error": {"code": status, "message": message, "details": [failure]}}], status)
