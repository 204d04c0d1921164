"""Reading Microsoft Ads: reports and lists are ordered for an account, waited for, and downloaded as zipped CSV."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Any

from tasks.errors import SourceError
from tasks.marketing import versions
from tasks.marketing.microsoft_ads.config import ENTITIES, METRICS, REPORTS, ZONES, Entity, MicrosoftAdsSource
from tasks.marketing.rest import decode
from tasks.marketing.rest.auth import OAuthRefresh
from tasks.marketing.rest.channel import Account, ApiChannel, Ask, Ending, Layout
from tasks.marketing.rest.client import Client, Request
from tasks.marketing.rest.common import Common
from tasks.marketing.rest.errors import Action, Rule, Wait, at
from tasks.marketing.rest.jobs import Look, Orders, Patience, run_job

_URLS = {
    "Reporting": "https://reporting.api.bingads.microsoft.com",
    "Bulk": "https://bulk.api.bingads.microsoft.com",
    "CustomerManagement": "https://clientcenter.api.bingads.microsoft.com",
}
_SCOPE = "https://ads.microsoft.com/msads.manage offline_access"


def _rules(action: Action, codes: Sequence[str], **more: Any) -> Iterator[Rule]:
    """Yield the rules for an error's name, which stands in one of two lists."""
    for path in ("Errors.*.ErrorCode", "OperationErrors.*.ErrorCode"):
        yield Rule(action, body={path: codes}, **more)


_RULES = (
    *_rules("wait", ("CallRateExceeded", "ConcurrentRequestOverLimit"), wait=Wait(seconds=60)),
    *_rules("refresh", ("AuthenticationTokenExpired",)),
    *_rules(
        "fail",
        ("InvalidCredentials",),
        say="the developer token or the user is not valid",
        advice="see the developer token in the developer portal, and let a user of the customer grant access again",
    ),
    *_rules(
        "skip_account",
        ("UserIsNotAuthorized", "AccountIsNotAuthorized", "InvalidAccountId"),
        say="the account may not be read",
        advice="give the user access to the account, see `customer`, or take the account out",
    ),
)
# Conversions are counted on the day of the click, up to 30 days later by default.
_LOOKBACK = 30
_STEP = 30
# 36 months of days.
_OLDEST = 1_095
_PATIENCE = Patience(first=0.25, most=30.0, limit=3_600.0, stuck=3_600.0, orders=2)
_NULLS = frozenset({"", "--"})


@dataclass(frozen=True)
class _Service:
    """How one of the services makes files: what is asked where, and where its answers tell what.

    Attributes:
        name: The service.
        order, look: Where a file is ordered and asked after.
        id_ordered, id_asked: What the number of an order is called in the answer, and in the question after it.
        state, address: Where the answer tells how the order stands, and where the file is.
        states: What its states mean; any other is still running.
    """

    name: str
    order: str
    look: str
    id_ordered: str
    id_asked: str
    state: str
    address: str
    states: dict[str, Any]


_REPORTING = _Service(
    "Reporting",
    *("GenerateReport/Submit", "GenerateReport/Poll"),
    *("ReportRequestId", "ReportRequestId"),
    *("ReportRequestStatus.Status", "ReportRequestStatus.ReportDownloadUrl"),
    {"Success": "done", "Error": "failed"},
)
_BULK = _Service(
    "Bulk",
    *("Campaigns/DownloadByAccountIds", "BulkDownloadStatus/Query"),
    *("DownloadRequestId", "RequestId"),
    *("RequestStatus", "ResultFileUrl"),
    {"Completed": "done", "Failed": "failed", "FailedFullSyncRequired": "failed"},
)


class MicrosoftAdsChannel(ApiChannel):
    """Accounts of Microsoft Advertising.

    Attributes:
        ahead: Reports that are made at once.

    Args:
        name: The source's name.
        source: Its configuration.
        common: What it shares with other processes, and the time it goes by.
    """

    ahead = 4

    def __init__(self, name: str, source: MicrosoftAdsSource, common: Common) -> None:
        self._name, self._source = name, source
        self._orders = Orders()
        auth = OAuthRefresh(
            source.token_url,
            source.client_id,
            source.client_secret.get_secret_value(),
            source.refresh_token.get_secret_value(),
            where=name,
            clock=common.clock,
            tokens=common.tokens,
            extra={"scope": _SCOPE},
        )
        token = auth.secrets.add(source.developer_token.get_secret_value())
        self.client = Client(
            source.base_url or _URLS["Reporting"],
            name,
            auth=auth,
            rules=_RULES,
            headers={"DeveloperToken": token, "CustomerId": source.customer},
            budget=common.budget(name, 10, 1, concurrent=4),
            clock=common.clock,
            also=() if source.base_url else _URLS.values(),
        )

    def accounts(self) -> list[Account]:
        """See `Channel`."""
        return [Account(name, self._source.timezone) for name in self._source.accounts]

    def layout(self, table: str) -> Layout:
        """See `Channel`."""
        found = self._source.tables[table]
        report = found.report or table
        if report in ENTITIES:
            # A campaign may be called "--": in a list nothing alone is nothing.
            nulls = frozenset({""})
            return Layout(key=ENTITIES[report].key, types={"budget": "decimal"}, nulls=nulls, empty=found.empty)
        _, _, key = REPORTS[report]
        return Layout.of(
            found,
            key=("date", *key, *found.columns),
            day="date",
            types={name: "int" if name in ("impressions", "clicks") else "decimal" for name in METRICS},
            nulls=_NULLS,
            lookback=_LOOKBACK,
            step=_STEP,
            oldest=_OLDEST,
        )

    def endings(self) -> Sequence[Ending]:
        """See `Channel`."""
        return [versions.ending("microsoft_ads", self._source.version)]

    def prepare(self, asks: Sequence[Ask]) -> None:
        """See `Channel`: the service makes several reports at once."""
        files = [ask for ask in asks if self._entity(ask) != ENTITIES["account_list"]]
        self._orders.ahead({_name(ask): partial(self._order, ask) for ask in files})

    def read(self, ask: Ask) -> Iterator[dict[str, Any]]:
        """See `Channel`."""
        entity, columns = self._entity(ask), self._columns(ask)
        if entity == ENTITIES["account_list"]:
            asked = self._post("CustomerManagement", "Account/Query", ask, {"AccountId": ask.account.id})
            body = self.client.send(asked).body
            yield {ours: at(body, f"Account.{theirs}") for ours, theirs in columns.items()}
            return
        where = f"{self._name}.{ask.table} account {ask.account}"
        ordered = self._orders.take(_name(ask))
        address = run_job(self.client, partial(self._order, ask), partial(self._look, ask), _PATIENCE, where, ordered)
        if not address:
            # A report without a row has no file.
            return
        # The file is at another host, and its address holds its own signature.
        with self.client.download(Request(str(address)), signed=False) as file:
            for record in decode.lines(file, "csv", where):
                missing = [name for name in columns.values() if name not in record]
                if missing:
                    raise SourceError(f"the report has no column {', '.join(missing)}", where, "run again")
                if entity is not None and not str(record["Type"]).endswith(entity.kind):
                    continue
                yield {ours: record[theirs] for ours, theirs in columns.items()}

    # -- requests ---------------------------------------------------------------------------------------------

    def _columns(self, ask: Ask) -> dict[str, str]:
        entity, more = self._entity(ask), self._source.tables[ask.table].columns
        if entity is not None:
            return {**entity.columns, **more}
        return {**REPORTS[self._report(ask)][1], **more, **METRICS}

    def _report(self, ask: Ask) -> str:
        return self._source.tables[ask.table].report or ask.table

    def _entity(self, ask: Ask) -> Entity | None:
        return ENTITIES.get(self._report(ask))

    def _service(self, ask: Ask) -> _Service:
        return _REPORTING if self._entity(ask) is None else _BULK

    def _order(self, ask: Ask) -> str:
        service, entity = self._service(ask), self._entity(ask)
        wanted = _download(ask, entity) if entity else {"ReportRequest": self._report_of(ask)}
        reply = self.client.send(self._post(service.name, service.order, ask, wanted))
        found = at(reply.body, service.id_ordered)
        if not found:
            raise SourceError("the order's answer has no id", reply.where, "run again")
        return str(found)

    def _report_of(self, ask: Ask) -> dict[str, Any]:
        assert ask.window is not None  # noqa: S101  every report has a day
        return {
            "Type": REPORTS[self._report(ask)][0],
            "ReportName": ask.table,
            "Format": "Csv",
            "FormatVersion": "2.0",
            "ExcludeReportHeader": True,
            "ExcludeReportFooter": True,
            "ReturnOnlyCompleteData": False,
            "Aggregation": "Daily",
            "Columns": list(self._columns(ask).values()),
            "Scope": {"AccountIds": [int(ask.account.id)]},
            "Time": {
                "CustomDateRangeStart": _day(ask.window.first),
                "CustomDateRangeEnd": _day(ask.window.last),
                # Without it the days are those of the Pacific coast.
                "ReportTimeZone": ZONES[self._source.timezone],
            },
        }

    def _look(self, ask: Ask, job: str) -> Look:
        service = self._service(ask)
        body = self.client.send(self._post(service.name, service.look, ask, {service.id_asked: job})).body
        said = str(at(body, service.state))
        return Look(service.states.get(said, "running"), result=at(body, service.address) or "", said=said)

    def _post(self, service: str, verb: str, ask: Ask, body: dict[str, Any]) -> Request:
        host = self._source.base_url or _URLS[service]
        path = f"{host.rstrip('/')}/{service}/{self._source.version}/{verb}"
        return Request(path, "POST", headers={"CustomerAccountId": ask.account.id}, json=body)


def _download(ask: Ask, entity: Entity) -> dict[str, Any]:
    return {
        "AccountIds": [int(ask.account.id)],
        "DownloadEntities": [entity.download],
        "DataScope": "EntityData",
        "DownloadFileType": "Csv",
        "CompressionType": "Zip",
        "FormatVersion": "6.0",
    }


def _name(ask: Ask) -> Hashable:
    return ask.table, ask.account.id, ask.window


def _day(day: date) -> dict[str, int]:
    return {"Day": day.day, "Month": day.month, "Year": day.year}
