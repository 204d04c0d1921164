"""Commands of monitoring: `warehouse incidents`, `anomalies`, `metrics`, `log`."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tasks.errors import ConfigError

if TYPE_CHECKING:
    import psycopg

incidents_app = typer.Typer(help="What is wrong now, and who takes care of it.", no_args_is_help=True)
anomalies_app = typer.Typer(help="Odd days that the rules found.", no_args_is_help=True)
Days = Annotated[int, typer.Option(min=1, help="How far back.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.add_typer(incidents_app, name="incidents")
    app.add_typer(anomalies_app, name="anomalies")
    app.command()(metrics)
    app.command("rebuild-log")(rebuild_log)


@incidents_app.command("list")
def incidents_list(days: Days = 14) -> None:
    """List incidents, open ones first."""
    from flows.console import say, table
    from monitoring import queries

    with _opened() as connection:
        found = queries.incidents(connection, days)
    if not found:
        say("no incident")
        return
    headers = ("id", "severity", "what", "first seen", "state", "who acts", "message")
    table(headers, [(one.id, one.severity, one.title, f"{one.first_seen:%Y-%m-%d %H:%M}", _state(one), one.owner,
                     one.message) for one in found])  # fmt: skip


def _state(one: Any) -> str:
    if one.resolved_at is not None:
        return f"well since {one.resolved_at:%Y-%m-%d %H:%M}"
    return f"taken by {one.acknowledged_by}" if one.acknowledged_at is not None else "open"


@incidents_app.command("acknowledge")
def incidents_acknowledge(
    number: Annotated[int, typer.Argument(metavar="ID", help="From `incidents list`.")],
    by: Annotated[str | None, typer.Option(help="Who takes care; default is the user.")] = None,
) -> None:
    """Say that somebody takes care of an incident: it is not escalated."""
    from flows.console import say
    from monitoring import incidents

    who = by or getpass.getuser()
    with _opened() as connection:
        if not incidents.acknowledge(connection, number, who, datetime.now(UTC)):
            raise ConfigError(f"no open incident {number} waits for somebody", "", "see `warehouse incidents list`")
    say(f"incident {number} is taken by {who}")


@anomalies_app.command("list")
def anomalies_list(days: Days = 14) -> None:
    """List odd days, newest first."""
    from flows.console import say, table
    from monitoring import queries

    with _opened() as connection:
        found = queries.anomalies(connection, days)
    if not found:
        say("no anomaly")
        return
    lines = []
    for one in found:
        where = " ".join(
            part for part in (f"{one.source}.{one.table_name}", one.platform, one.account, one.field) if part
        )
        lines.append((one.id, str(one.day), one.measure, where, one.rule, one.message, one.status))
    table(("id", "day", "measure", "of", "rule", "message", "status"), lines)


@anomalies_app.command("judge")
def anomalies_judge(
    number: Annotated[str, typer.Argument(metavar="ID", help="From `anomalies list`; its beginning will do.")],
    status: Annotated[Literal["confirmed", "dismissed", "open"], typer.Argument(help="confirmed, dismissed or open")],
) -> None:
    """Say what an anomaly was: a confirmed one is an incident, and no longer part of what days are compared with."""
    from flows.console import say

    with _opened() as connection:
        rows = connection.execute(
            "update monitoring.anomalies set status = %s where starts_with(id::text, %s) and "
            "(select count(*) from monitoring.anomalies where starts_with(id::text, %s)) = 1 returning message",
            [status, number, number],
        ).fetchall()
    if not rows:
        raise ConfigError(f"not one anomaly begins with {number!r}", "", "see `warehouse anomalies list`")
    say(f"{status}: {rows[0][0]}")


def metrics() -> None:
    """Print Prometheus metrics of the last runs, for a text file collector or a push gateway."""
    from monitoring import prometheus

    with _opened() as connection:
        typer.echo(prometheus.text(connection), nl=False)


def rebuild_log(days: Days = 30) -> None:
    """Write the logging table again from Prefect's history."""
    from flows.console import say
    from infra.embedded import services
    from tasks.settings import get_settings

    home = get_settings().home
    services.use(home)
    if not services.prefect_is_known(home):
        raise ConfigError("no Prefect server is known", "PREFECT_API_URL", "set it, or run `warehouse up`")
    from monitoring import history

    with _opened() as connection, history.prefect_client() as client:
        say(f"{history.look(client, connection, timedelta(days=days))} row(s) written")


def _opened() -> psycopg.Connection[Any]:
    from tasks.database import connect
    from tasks.ops.migrations import migrate
    from tasks.settings import get_settings

    connection = connect(get_settings().database_url(), autocommit=True)
    migrate(connection)
    return connection
