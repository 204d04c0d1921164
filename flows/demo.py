"""`warehouse demo`: embedded servers, a sample shop, the whole job, drift, the job again, and what came of it.

Safe to run again: the sample is seeded once, every further demo changes it once more. It only ever touches the embedded
servers, whatever the environment names, because seeding replaces collections.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks import shipped
from tasks.errors import ConfigError, WarehouseError

if TYPE_CHECKING:
    import psycopg

    from flows.runs import RunOutcome
    from infra.sample import Change, Shop, Size
    from tasks.settings import Settings
    from tasks.sources import Sources

# Settings of the user's own servers and runs, which the demo must not touch.
_OTHER_SERVERS = (
    *("WAREHOUSE_URL", "WAREHOUSE_LANDING", "WAREHOUSE_EXECUTION"),
    *("MONGODB_URI", "SAMPLE_CHANNELS_URL", "PREFECT_API_URL", "PREFECT_API_KEY"),
)
_CHANNELS = ("google_ads", "meta_ads", "ga4")
_SOURCES = ("shop", *_CHANNELS, "ads", "rates")
_DATABASE = "shop"
# Where bronze has the money of each platform, and gold that of all.
_SPEND = {
    "google_ads": ("google_ads", "ads", "cost_micros * 0.000001"),
    "meta_ads": ("meta_ads", "ads", "spend"),
    "tiktok_ads": ("ads", "tiktok_ads", "spend"),
    "linkedin_ads": ("ads", "linkedin_ads", '"costInLocalCurrency"'),
}
_GOLD_SPEND = "select sum(original_spend) from gold.fct_ad_spend_daily where platform = {}"
_GOLD_REVENUE = "select sum(original_purchase_revenue) from gold.fct_web_analytics_daily"
# What people are shown to try: a question of marketing, one of sales, and what became of values that did not fit.
_BY_CHANNEL = (
    "select channel_group, sum(sessions) as sessions, round(sum(orders)) as orders, sum(revenue) as revenue, "
    "round(sum(spend), 2) as spend from gold.rpt_channel_performance_daily group by 1 order by revenue desc"
)
_BY_SEGMENT = (
    "select segment, count(*) as customers, sum(net_revenue) as revenue from gold.rpt_rfm group by 1 "
    "order by revenue desc"
)
_RESCUED = "select _id, total, _rescued from bronze.shop__orders where _rescued is not null"


@dataclass(frozen=True)
class Check:
    """One comparison that must hold after a run.

    Attributes:
        subject: What is compared.
        expected: Value at the source.
        found: Values further down, by layer.
    """

    subject: str
    expected: Any
    found: dict[str, Any]

    @property
    def ok(self) -> bool:
        """Whether all agree."""
        return all(value == self.expected for value in self.found.values())


def run_demo(settings: Settings, customers: int | None = None) -> int:
    """Run the demo and return the exit code.

    Args:
        settings: Where the demo lives.
        customers: Size of the sample; the default is the generator's.

    Raises:
        WarehouseError: A server does not start, or sources.yaml is not the sample's.
    """
    from flows import views
    from flows.console import Steps, say
    from infra.embedded import prefect

    steps = Steps()
    settings = _only_embedded(steps)
    sources = _start(settings, steps)
    seeded = _seed(settings, sources, steps, customers)
    _start_prefect(settings, steps)
    first = _run("first run", steps, full=seeded)
    last_batch = views.last_batch(settings.database_url())
    changes = _drift(settings, sources, steps, customers)
    second = _run("second run", steps, full=False)
    checks = compare(settings, sources)
    # The demo runs in this process; the worker is for what people deploy afterwards, and would only slow it down.
    prefect.up(settings.home, steps)
    say()
    _print_runs(settings, (("First run", first), ("Second run, after the drift", second)))
    _print_drift(settings, changes, last_batch)
    _print_checks(checks)
    _print_places(settings)
    return 0 if first.ok and second.ok and all(check.ok for check in checks) else 1


# -- steps ----------------------------------------------------------------------------------------------------


def _only_embedded(steps: Callable[[str], None]) -> Settings:
    from tasks.settings import get_settings

    for name in _OTHER_SERVERS:
        if os.environ.pop(name, None):
            steps(f"{name} is set aside: the demo uses its own servers")
    if "WAREHOUSE_SOURCES" not in os.environ and not Path("sources.yaml").exists():
        os.environ["WAREHOUSE_SOURCES"] = str(shipped.path("sources.yaml"))
    get_settings.cache_clear()
    settings = get_settings()
    # Prefect's own profile could name a server too; the variable, set below, has precedence over it.
    os.environ["PREFECT_HOME"] = str((settings.home / "prefect").resolve())
    return settings


def _start(settings: Settings, steps: Callable[[str], None]) -> Sources:
    """Start the servers; Prefect, which takes longest, comes up while the sample is written."""
    from infra.embedded import channels, mongodb, postgres, prefect
    from tasks.sources import load_sources

    prefect.begin(settings.home, steps)
    postgres.up(settings.home, steps)
    os.environ["MONGODB_URI"] = mongodb.up(settings.home, steps)
    os.environ["SAMPLE_CHANNELS_URL"] = channels.up(settings.home, steps)
    sources = load_sources(settings.sources)
    ads_folder(settings, sources)
    return sources


def _start_prefect(settings: Settings, steps: Callable[[str], None]) -> None:
    from infra.embedded import prefect

    os.environ["PREFECT_API_URL"] = prefect.up(settings.home, steps, worker=False)


def ads_folder(settings: Settings, sources: Sources) -> Path:
    """Return the folder that the source `ads` reads, where the demo writes its files.

    Raises:
        ConfigError: sources.yaml has been changed: its sources are not the sample's, or point elsewhere.
    """
    ads: Any = sources.sources.get("ads")
    shop: Any = sources.sources.get("shop")
    fakes = {kind: f"{os.environ['SAMPLE_CHANNELS_URL']}/{kind}" for kind in _CHANNELS}
    found = {kind: getattr(sources.sources.get(kind), "base_url", None) for kind in _CHANNELS}
    if getattr(shop, "database", None) == _DATABASE and getattr(ads, "kind", None) == "files" and found == fakes:
        folder = Path(ads.path).resolve()
        if folder.is_relative_to(settings.home.resolve()):
            return folder
    raise ConfigError(
        "the demo needs the sample's sources.yaml",
        str(settings.sources),
        f"it has a source `shop` (database shop), sources {', '.join(_CHANNELS)} (at ${{SAMPLE_CHANNELS_URL}}) and a "
        f"source `ads` (files below {settings.home}): set WAREHOUSE_SOURCES to the file as it was delivered",
    )


def _seed(settings: Settings, sources: Sources, steps: Callable[[str], None], customers: int | None) -> bool:
    """Write the sample unless it is there; True when it was written."""
    from infra.embedded import channels
    from infra.sample import seed_mongodb, write_rates, write_visits
    from infra.sample.shop import end_of

    state = read_state(settings)
    if state.get("seeded") and _has_orders() and channels.data(settings.home).exists():
        steps("the sample is there already: this demo goes on from it")
        return False
    until = end_of(None)
    size = _size(customers, until)
    steps(f"writing the sample: {size.customers} customers, {size.days} days")
    counts = seed_mongodb(os.environ["MONGODB_URI"], _DATABASE, size)
    shop = size.shop()
    files = _write_spend(settings, sources, shop, final=False)
    write_visits(channels.data(settings.home), shop)
    write_rates(ads_folder(settings, sources).parent / "rates", shop)
    documents = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    steps(f"written: {documents}, {files} ad spend files, and what {', '.join(_CHANNELS)} tell")
    _write_state(settings, {"seeded": True, "rounds": 0, "until": until.isoformat()})
    return True


def _write_spend(settings: Settings, sources: Sources, shop: Shop, *, final: bool) -> int:
    """Write the spend of all platforms, for their fakes or as files; return the number of files."""
    from infra.embedded import channels
    from infra.sample import ad_spend, write_ad_spend, write_spend

    rows = list(ad_spend(shop, final=final))
    write_spend(channels.data(settings.home), rows)
    return len(write_ad_spend(ads_folder(settings, sources), rows, sources.sources["ads"].tables))


def _size(customers: int | None, until: datetime) -> Size:
    from infra.sample import Size

    size = Size(end_date=until, incidents=True)
    return replace(size, customers=customers) if customers else size


def _drift(settings: Settings, sources: Sources, steps: Callable[[str], None], customers: int | None) -> list[Change]:
    from infra.sample import drift

    state = read_state(settings)
    number = int(state.get("rounds", 0)) + 1
    steps(f"changing the source, round {number}: new, renamed and retyped fields, updates, deletes, a new product")
    changes = drift(os.environ["MONGODB_URI"], _DATABASE, number)
    if number == 1 and "until" in state:
        # The platforms restate the last three days of spend.
        shop = _size(customers, datetime.fromisoformat(state["until"])).shop()
        _write_spend(settings, sources, shop, final=True)
    _write_state(settings, {**state, "rounds": number})
    return changes


def _run(title: str, steps: Callable[[str], None], *, full: bool) -> RunOutcome:
    from flows.plans import How
    from flows.runs import run_pipeline

    steps(f"{title}: source to landing, bronze, silver, gold and the report")
    outcome = run_pipeline(_SOURCES, How(full), models=True, progress=steps)
    steps(f"{title}: {'done' if outcome.ok else 'FAILED: ' + outcome.message}")
    return outcome


def read_state(settings: Settings) -> dict[str, Any]:
    """Return what earlier demos left: whether the sample is written, and how often it was changed."""
    try:
        return dict(json.loads((settings.home / "demo.json").read_text()))
    except (OSError, ValueError):
        return {}


def _write_state(settings: Settings, state: dict[str, Any]) -> None:
    (settings.home / "demo.json").write_text(json.dumps(state))


def _has_orders() -> bool:
    from pymongo import MongoClient

    client: MongoClient[dict[str, Any]]
    with MongoClient(os.environ["MONGODB_URI"]) as client:
        return client[_DATABASE]["orders"].find_one({}, {"_id": 1}) is not None


# -- checks ---------------------------------------------------------------------------------------------------


def compare(settings: Settings, sources: Sources) -> list[Check]:
    """Compare source, bronze and gold: rows of every table, and money to the cent."""
    from pymongo import MongoClient

    from tasks.database import connect

    mongodb: MongoClient[dict[str, Any]] = MongoClient(os.environ["MONGODB_URI"])
    with (
        mongodb as client,
        connect(settings.database_url(), autocommit=True) as connection,
    ):
        checks = [
            Check(
                f"rows of shop.{name}",
                client[_DATABASE][name].count_documents({}),
                _bronze_rows(connection, "shop", name),
            )
            for name in sources.sources["shop"].tables
        ]
        checks += _compare_channels(connection, _told(settings, sources))
        orders = client[_DATABASE]["orders"].find({}, {"total": 1})
        ordered = sum((Decimal(str(order["total"])) for order in orders), Decimal(0))
        checks.append(Check("sum of orders' totals", ordered, _money(connection)))
    return checks


def _told(settings: Settings, sources: Sources) -> dict[str, tuple[int, Decimal]]:
    """Return by platform its rows and their money, as the sample wrote them: no reader of ours has a part in it."""
    from infra.embedded import channels
    from infra.sample import told

    found = told.totals(channels.data(settings.home))
    for name in sources.sources["ads"].tables:
        _, _, column = _SPEND[name]
        paths = (ads_folder(settings, sources) / name).glob("*.csv")
        amounts = [Decimal(row[column.strip('"')]) for path in paths for row in _csv_rows(path)]
        found[name] = len(amounts), sum(amounts, Decimal(0))
    return found


def _csv_rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        yield from csv.DictReader(file)


def _compare_channels(connection: psycopg.Connection[Any], told: Mapping[str, tuple[int, Decimal]]) -> Iterator[Check]:
    """Yield rows and money of each advertising platform and of Analytics."""
    from psycopg import sql

    for name, (rows, money) in told.items():
        source, table, column = _SPEND.get(name, ("ga4", "sessions", "purchase_revenue"))
        yield Check(f"rows of {source}.{table}", rows, _bronze_rows(connection, source, table))
        bronze = sql.SQL("select sum({}) from bronze.{} where _deleted_at is null")
        gold = sql.SQL(_GOLD_SPEND).format(name) if name in _SPEND else sql.SQL(_GOLD_REVENUE)
        found = {
            "bronze": _one(connection, bronze.format(sql.SQL(column), sql.Identifier(f"{source}__{table}"))),
            "gold": _one(connection, gold),
        }
        yield Check(f"{'spend of' if name in _SPEND else 'revenue in'} {name}", money, found)


def _bronze_rows(connection: psycopg.Connection[Any], source: str, table: str) -> dict[str, Any]:
    from psycopg import sql

    query = sql.SQL("select count(*) from bronze.{} where _deleted_at is null")
    return {"bronze": _one(connection, query.format(sql.Identifier(f"{source}__{table}")))}


def _money(connection: psycopg.Connection[Any]) -> dict[str, Any]:
    """Return the sum of orders in bronze, where some totals came as text and were rescued, and in gold."""
    from psycopg import sql

    bronze = (
        "select sum(coalesce(total, (_rescued ->> 'total')::numeric)) "
        "from bronze.shop__orders where _deleted_at is null"
    )
    return {
        "bronze": _one(connection, sql.SQL(bronze)),
        "gold": _one(connection, sql.SQL("select sum(total) from gold.fct_order")),
    }


def _one(connection: psycopg.Connection[Any], query: Any) -> Any:
    import psycopg

    try:
        row = connection.execute(query).fetchone()
    except psycopg.Error as error:
        return f"not readable: {str(error).splitlines()[0]}"
    return row[0] if row else None


# -- the summary ----------------------------------------------------------------------------------------------


def _print_runs(settings: Settings, outcomes: Sequence[tuple[str, RunOutcome]]) -> None:
    from flows.console import say, table
    from flows.runs import read_report

    for title, outcome in outcomes:
        report = read_report(settings, outcome.flow_run_id)
        if report is None:
            say(f"{title}: {outcome.message}")
            continue
        names = ("rows_read", "rows_loaded", "rows_unchanged", "rows_deleted", "rows_rescued", "rows_rejected")
        lines = [(line.name, *(line.counts[name] for name in names), line.seconds) for line in report.tables]
        headers = ("table", "read", "loaded", "unchanged", "deleted", "rescued", "rejected", "seconds")
        table(headers, lines, title=f"{title}: {report.headline}")


def _print_drift(settings: Settings, changes: Sequence[Change], since_batch: str) -> None:
    from flows import views
    from flows.console import say, table

    say("What the source changed before the second run:")
    for change in changes:
        if change.ids:
            say(f"  {change}")
    say()
    found = [row[1:7] for row in views.schema_changes(settings.database_url(), [], since_batch)]
    headers = ("table", "field", "change", "was", "is", "what was done")
    table(headers, reversed(found), title="Drift that the warehouse noticed in the second run")


def _print_checks(checks: Sequence[Check]) -> None:
    from flows.console import table

    lines = []
    for check in checks:
        found = ", ".join(f"{layer} {_figure(value)}" for layer, value in check.found.items())
        lines.append((check.subject, _figure(check.expected), found, "equal" if check.ok else "DIFFERENT"))
    table(("check", "source", "warehouse", "result"), lines, title="Source against warehouse")


def _figure(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int | Decimal) else str(value)


def _print_places(settings: Settings) -> None:
    from flows.console import say
    from flows.runs import write_report
    from infra.embedded import prefect

    try:
        report: object = write_report(settings, "", settings.home / "run-report.html")
    except WarehouseError as error:
        report = error.what
    say("Where to look")
    say(f"  Prefect      {prefect.ui_url(settings.home)}")
    say(f"  Run report   {report}")
    say("  Dashboard    .venv/bin/warehouse dashboard   (pages for operations, sales and marketing)")
    say("  Servers      .venv/bin/warehouse status      (stop them: .venv/bin/warehouse down)")
    say("  Drift        .venv/bin/warehouse drift")
    for title, query in (("SQL", _BY_CHANNEL), ("", _BY_SEGMENT), ("", _RESCUED)):
        say(f'  {title:12} .venv/bin/warehouse sql "{query}"')
