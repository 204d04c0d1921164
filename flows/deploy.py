"""`warehouse deploy`: brings a Prefect server to what the files say, shows what changes, and changes nothing twice."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from flows.launch import DBT_LIMIT
from tasks import shipped
from tasks.errors import ConfigError

if TYPE_CHECKING:
    from uuid import UUID

    from prefect import Flow
    from prefect.blocks.core import Block
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import WorkPool
    from prefect.client.schemas.responses import DeploymentResponse

ROOT = Path(__file__).resolve().parent.parent
CONCURRENCY_LIMITS = {DBT_LIMIT: 1}
"""Global concurrency limits by name."""
ALERT_BLOCK = "warehouse-alert"
"""Name of the notification block that alerts go to, of any type."""

_VARIABLE = re.compile(r"\{\{\s*\$([A-Z_]+)\s*\}\}")
# Where the image holds the code.
_CODE_IN_IMAGE = "/app"


@dataclass(frozen=True)
class ServerChange:
    """One thing on the server against the files.

    Attributes:
        kind: `work pool`, `block type`, `deployment`, `concurrency limit` or `automation`.
        name: Its name.
        action: What has to be done, or was.
        details: What differs, one line each.
    """

    kind: str
    name: str
    action: Literal["create", "update", "unchanged", "delete"]
    details: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.action:<9} {self.kind} {self.name}", *(f"            {line}" for line in self.details)]
        return "\n".join(lines)


def deploy(
    dry_run: bool = False,
    say: Callable[[str], None] = print,
    environment: Mapping[str, str] | None = None,
) -> list[ServerChange]:
    """Apply work pool, block types, concurrency limits, deployments and automations.

    Args:
        dry_run: Only find out what would change.
        say: Told each change.
        environment: Variables; `WAREHOUSE_WORK_POOL` (default `local`) names the pool, `WAREHOUSE_CODE` the folder of
            the code where runs execute. Default is the process's environment.

    Returns:
        Every thing looked at, unchanged ones included.

    Raises:
        ConfigError: prefect.yaml is wrong, or the Prefect API does not answer.
    """
    variables = deploy_variables(os.environ if environment is None else environment)
    done: list[ServerChange] = []

    def note(change: ServerChange) -> None:
        done.append(change)
        if change.action != "unchanged":
            say(str(change))

    with _client() as client:
        note(_apply_pool(client, variables, dry_run))
        for kind in _block_types():
            note(_apply_block_type(client, kind, dry_run))
        for name, limit in CONCURRENCY_LIMITS.items():
            note(_apply_limit(client, name, limit, dry_run))
        for wanted in read_deployments(shipped.path("prefect.yaml"), variables):
            note(_apply_deployment(client, wanted, dry_run))
        for change in _apply_automations(client, dry_run):
            note(change)
    changed = sum(change.action != "unchanged" for change in done)
    say(f"{len(done)} things, {changed} {'would change' if dry_run else 'changed'}")
    return done


def deploy_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment with defaults for what prefect.yaml refers to."""
    pool = environment.get("WAREHOUSE_WORK_POOL") or "local"
    code = environment.get("WAREHOUSE_CODE") or (_CODE_IN_IMAGE if _pool_type(pool) == "kubernetes" else str(ROOT))
    return {**environment, "WAREHOUSE_WORK_POOL": pool, "WAREHOUSE_CODE": code}


def _pool_type(pool: str) -> str:
    return "kubernetes" if pool.startswith("kubernetes") else "process"


@contextmanager
def _client() -> Iterator[SyncPrefectClient]:
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL

    if not PREFECT_API_URL.value():
        raise ConfigError("no Prefect server is configured", "PREFECT_API_URL", "set it, or run `warehouse up`")
    try:
        with get_client(sync_client=True) as client:
            yield client
    except httpx.TransportError as error:
        raise ConfigError(
            f"the Prefect API does not answer: {error}", PREFECT_API_URL.value() or "", "start the server or correct it"
        ) from None


# -- work pool, block type, limits ----------------------------------------------------------------------------------


def _apply_pool(client: SyncPrefectClient, variables: Mapping[str, str], dry_run: bool) -> ServerChange:
    from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
    from prefect.exceptions import ObjectNotFound

    name = variables["WAREHOUSE_WORK_POOL"]
    kind = _pool_type(name)
    template = _job_template(kind, variables)
    try:
        existing: WorkPool = client.read_work_pool(name)
    except ObjectNotFound:
        if not dry_run:
            client.create_work_pool(
                WorkPoolCreate(name=name, type=kind, base_job_template=template or _process_template())
            )
        return ServerChange("work pool", name, "create", (f"type {kind}",))
    if template is None or existing.base_job_template == template:
        return ServerChange("work pool", name, "unchanged")
    if not dry_run:
        client.update_work_pool(name, WorkPoolUpdate(base_job_template=template))
    return ServerChange("work pool", name, "update", tuple(differences(existing.base_job_template, template)))


def _job_template(kind: str, variables: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the base job template that is in git, or None for Prefect's own."""
    if kind != "kubernetes":
        return None
    from infra.kubernetes.template import base_job_template

    return base_job_template(variables)


def _process_template() -> dict[str, Any]:
    """Return Prefect's own template of process work pools."""
    from prefect.workers.process import ProcessWorker

    template: dict[str, Any] = ProcessWorker.get_default_base_job_template()
    return template


def _block_types() -> tuple[type[Block], ...]:
    """Return the product's own block types."""
    from monitoring.alerts import MailAlert
    from tasks.checkpoint_block import TableCheckpoint

    return TableCheckpoint, MailAlert


def _apply_block_type(client: SyncPrefectClient, kind: type[Block], dry_run: bool) -> ServerChange:
    from prefect.exceptions import ObjectNotFound

    action: Literal["create", "unchanged"] = "unchanged"
    try:
        client.read_block_schema_by_checksum(kind._calculate_schema_checksum())
    except ObjectNotFound:
        action = "create"
        if not dry_run:
            kind.register_type_and_schema()
    return ServerChange("block type", kind.get_block_type_slug(), action)


def _apply_limit(client: SyncPrefectClient, name: str, limit: int, dry_run: bool) -> ServerChange:
    from prefect.exceptions import ObjectNotFound

    try:
        existing = client.read_global_concurrency_limit_by_name(name)
    except ObjectNotFound:
        if not dry_run:
            client.upsert_global_concurrency_limit_by_name(name, limit)
        return ServerChange("concurrency limit", name, "create", (f"limit {limit}",))
    if existing.limit == limit:
        return ServerChange("concurrency limit", name, "unchanged")
    if not dry_run:
        client.upsert_global_concurrency_limit_by_name(name, limit)
    return ServerChange("concurrency limit", name, "update", (f"limit: {existing.limit} -> {limit}",))


# -- deployments ----------------------------------------------------------------------------------------------------


def read_deployments(path: Path, variables: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the deployments of prefect.yaml in one comparable form.

    Raises:
        ConfigError: A variable that the file refers to is not given.
    """
    from ruamel.yaml import YAML

    def fill(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: fill(value) for key, value in node.items()}
        if isinstance(node, list):
            return [fill(value) for value in node]
        return _VARIABLE.sub(replace, node) if isinstance(node, str) else node

    def replace(match: re.Match[str]) -> str:
        if not variables.get(match[1]):
            raise ConfigError(f"the environment variable {match[1]} is not set", str(path), "set it")
        return variables[match[1]]

    document = fill(YAML(typ="safe").load(path.read_text(encoding="utf-8")))
    return [_wanted(item, document.get("pull", [])) for item in document["deployments"]]


def _wanted(item: Mapping[str, Any], pull: list[Any]) -> dict[str, Any]:
    limit = item.get("concurrency_limit") or {}
    return {
        "name": item["name"],
        "description": item.get("description", ""),
        "tags": sorted(item.get("tags", [])),
        "entrypoint": item["entrypoint"],
        "work_pool": item["work_pool"]["name"],
        "job_variables": item["work_pool"].get("job_variables", {}),
        "parameters": item.get("parameters", {}),
        "concurrency": [limit.get("limit"), limit.get("collision_strategy")],
        "pull": item.get("pull", pull),
        "schedules": {schedule["slug"]: _schedule(schedule) for schedule in item.get("schedules", [])},
    }


def _schedule(schedule: Mapping[str, Any]) -> list[Any]:
    active = bool(schedule.get("active", True))
    return [schedule["cron"], schedule.get("timezone", "UTC"), active, dict(schedule.get("parameters", {}))]


def load_flow(entrypoint: str) -> Flow[..., Any]:
    """Return the flow that an entrypoint such as `flows/extract.py:extract` names."""
    path, _, attribute = entrypoint.partition(":")
    flow: Flow[..., Any] = getattr(import_module(path.removesuffix(".py").replace("/", ".")), attribute)
    return flow


def _apply_deployment(client: SyncPrefectClient, wanted: Mapping[str, Any], dry_run: bool) -> ServerChange:
    from prefect.exceptions import ObjectNotFound
    from prefect.utilities.callables import parameter_schema

    flow = load_flow(wanted["entrypoint"])
    name = f"{flow.name}/{wanted['name']}"
    # `prefect deploy` leaves an empty section out; so do we, or the two would undo each other.
    schema = parameter_schema(flow).model_dump_for_openapi()
    if not schema.get("definitions"):
        schema.pop("definitions", None)
    try:
        existing = _existing(client.read_deployment_by_name(name))
    except ObjectNotFound:
        change = ServerChange("deployment", name, "create", tuple(_schedule_lines(wanted)))
    else:
        found = tuple(differences(existing, {**wanted, "schema": schema}))
        change = ServerChange("deployment", name, "update" if found else "unchanged", found)
    if not dry_run and change.action != "unchanged":
        _write_deployment(client, flow, wanted, schema)
    return change


def _existing(deployment: DeploymentResponse) -> dict[str, Any]:
    """Return a deployment of the server in the form of `read_deployments`."""
    limit = deployment.global_concurrency_limit
    options = deployment.concurrency_options
    schedules: dict[str, Any] = {}
    for number, found in enumerate(deployment.schedules or []):
        cron = getattr(found.schedule, "cron", str(found.schedule))
        timezone = getattr(found.schedule, "timezone", None) or "UTC"
        schedules[found.slug or f"without a slug {number}"] = [cron, timezone, found.active, found.parameters]
    strategy = options.collision_strategy if options is not None else None
    return {
        "name": deployment.name,
        "description": deployment.description or "",
        "tags": sorted(deployment.tags),
        "entrypoint": deployment.entrypoint,
        "work_pool": deployment.work_pool_name,
        "job_variables": deployment.job_variables,
        "parameters": deployment.parameters,
        "concurrency": [limit.limit if limit is not None else None, getattr(strategy, "value", strategy)],
        "pull": deployment.pull_steps,
        "schedules": schedules,
        "schema": deployment.parameter_openapi_schema,
    }


def _schedule_lines(wanted: Mapping[str, Any]) -> Iterator[str]:
    for slug, (cron, timezone, active, parameters) in wanted["schedules"].items():
        given = f" with {parameters}" if parameters else ""
        yield f"schedule {slug}: {cron} {timezone}{given}{'' if active else ', not active'}"


def _write_deployment(
    client: SyncPrefectClient, flow: Flow[..., Any], wanted: Mapping[str, Any], schema: dict[str, Any]
) -> UUID:
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions
    from prefect.client.schemas.schedules import CronSchedule

    limit, strategy = wanted["concurrency"]
    schedules = [
        DeploymentScheduleCreate(
            slug=slug, schedule=CronSchedule(cron=cron, timezone=timezone), active=active, parameters=parameters
        )
        for slug, (cron, timezone, active, parameters) in wanted["schedules"].items()
    ]
    return client.create_deployment(
        flow_id=client.create_flow_from_name(flow.name),
        name=wanted["name"],
        description=wanted["description"],
        tags=wanted["tags"],
        entrypoint=wanted["entrypoint"],
        work_pool_name=wanted["work_pool"],
        job_variables=dict(wanted["job_variables"]),
        parameters=dict(wanted["parameters"]),
        concurrency_limit=limit,
        concurrency_options=ConcurrencyOptions(collision_strategy=ConcurrencyLimitStrategy(strategy))
        if strategy
        else None,
        pull_steps=wanted["pull"],
        schedules=schedules,
        parameter_openapi_schema=schema,
        enforce_parameter_schema=True,
    )


# -- automations ----------------------------------------------------------------------------------------------------


def _apply_automations(client: SyncPrefectClient, dry_run: bool) -> Iterator[ServerChange]:
    from prefect.events.schemas.automations import AutomationCore

    from infra.automations.rules import PREFIX, automations

    existing = {found.name: found for found in client.read_automations() if found.name.startswith(PREFIX)}
    wanted = automations(_reaper(client), _alert_block(client))
    for automation in wanted:
        current = existing.pop(automation.name, None)
        if current is None:
            if not dry_run:
                client.create_automation(automation)
            yield ServerChange("automation", automation.name, "create")
            continue
        fields = set(AutomationCore.model_fields)
        before = _plain(current.model_dump(mode="json", include=fields))
        after = _plain(automation.model_dump(mode="json", include=fields))
        found = tuple(differences(before, after))
        if found and not dry_run:
            # The client sends the fields that were set; the server wants all of them, but no owner.
            whole = automation.model_dump(mode="json", exclude={"owner_resource"})
            client.update_automation(current.id, AutomationCore.model_validate(whole))
        yield ServerChange("automation", automation.name, "update" if found else "unchanged", found)
    for name, stale in existing.items():
        if not dry_run:
            client.delete_automation(stale.id)
        yield ServerChange("automation", name, "delete")


def _plain(node: Any) -> Any:
    """Return data in which the order of sets does not count."""
    if isinstance(node, dict):
        return {key: _plain(value) for key, value in node.items()}
    if isinstance(node, list) and all(isinstance(item, str) for item in node):
        return sorted(node)
    return [_plain(item) for item in node] if isinstance(node, list) else node


def _reaper(client: SyncPrefectClient) -> UUID | None:
    from prefect.exceptions import ObjectNotFound

    try:
        return client.read_deployment_by_name("reaper/tiny").id
    except ObjectNotFound:
        return None


def _alert_block(client: SyncPrefectClient) -> UUID | None:
    """Return the block of any notification type that is named for alerts."""
    for block_type in client.read_block_types():
        for block in client.read_block_documents_by_type(block_type.slug):
            if block.name == ALERT_BLOCK:
                return block.id
    return None


def differences(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """Yield one line per value that differs between two plain structures."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted({*before, *after}, key=str):
            yield from differences(before.get(key), after.get(key), f"{path}.{key}" if path else str(key))
    elif before != after:
        yield f"{path}: {_short(before)} -> {_short(after)}"


# Characters of a value that a difference shows.
_LONGEST = 80


def _short(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
