"""Alerts over real HTTP and SMTP: told once, grouped, recovered, escalated, and not at night."""

from __future__ import annotations

import html
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from email import message_from_bytes
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from monitoring import alerts, history, incidents, queries
from monitoring.incidents import Policy, Problem
from tests.integration.monitoring.chat import Chat

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
NO_REST = Policy()
REFUSED = Problem("failure", "extract shop.orders", "auth", "refused: password=hunter2 of a@b.example")
REJECTED = Problem("failure", "load ads.meta", "data_quality", "12 rejected", severity="low")


class Hook:
    """A webhook server that keeps what it is sent."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self.status = 200
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if hook.status == 200:
                    hook.received.append(json.loads(body))
                self.send_response(hook.status)
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def bodies(self) -> list[str]:
        return [one["text"] for one in self.received]


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()
    yield made
    made.server.shutdown()


def save(name: str, url: str) -> None:
    from prefect.blocks.notifications import CustomWebhookNotificationBlock

    CustomWebhookNotificationBlock(
        name=name, url=url, method="POST", json_data={"subject": "{{subject}}", "text": "{{body}}"}
    ).save(name, overwrite=True)


@pytest.fixture
def channel(hook: Hook, prefect_server: str) -> Iterator[Hook]:
    """A webhook that is the channel for everything, and one for escalation."""
    from prefect.blocks.notifications import CustomWebhookNotificationBlock

    save("warehouse-alert", hook.url)
    yield hook
    CustomWebhookNotificationBlock.delete("warehouse-alert")


def look(
    connection: psycopg.Connection[Any], found: list[Problem], hours: float = 0, policy: Policy = NO_REST
) -> list[str]:
    now = NOW + timedelta(hours=hours)
    incidents.record(connection, found, now)
    with history.prefect_client() as client:
        return alerts.tell(connection, client, policy, now)


def test_told_once_in_one_message_and_well_again(connection: psycopg.Connection[Any], channel: Hook) -> None:
    assert look(connection, [REFUSED, REJECTED]) == []
    (body,) = channel.bodies()
    assert body.index("[high] extract shop.orders: credentials or rights") < body.index("[low] load ads.meta")
    for part in (
        "Who acts: owner of the credentials.",
        "docs/runbooks/classes/auth.md",
        "First seen 2026-11-24 12:00 UTC",
    ):
        assert part in body
    assert "hunter2" not in body and "a@b.example" not in body
    assert "Warehouse: 2 new" in channel.received[0]["subject"]
    look(connection, [REFUSED, REJECTED], 1)
    assert len(channel.received) == 1, "the same is no news"
    look(connection, [REJECTED], 1.5)
    assert "Well again: extract shop.orders" in channel.bodies()[1] and "ads.meta" not in channel.bodies()[1]
    look(connection, [REJECTED], 1.6)
    assert len(channel.received) == 2


def test_a_killed_run_is_told_when_another_look_finds_nothing_after_it(
    connection: psycopg.Connection[Any], channel: Hook
) -> None:
    killed = Problem("failure", "pipeline pipeline", "resource", "its process is gone", killed=True)
    look(connection, [killed])
    assert channel.received == [], "it is started again as a rule"
    assert [one.subject for one in queries.incidents(connection, open_only=True)] == ["pipeline pipeline"]
    look(connection, [killed], 1)
    assert "its process is gone" in channel.bodies()[0]
    look(connection, [], 2)
    assert "Well again: pipeline pipeline" in channel.bodies()[1]
    # Healed between two looks, it never disturbed anybody.
    look(connection, [replace(killed, subject="extract extract")], 3)
    look(connection, [], 4)
    assert len(channel.received) == 2


def test_a_channel_that_fails_is_tried_again(connection: psycopg.Connection[Any], channel: Hook) -> None:
    channel.status = 500
    (failed,) = look(connection, [REFUSED])
    assert failed.startswith("custom-webhook/warehouse-alert") and channel.url not in failed
    channel.status = 200
    assert look(connection, [REFUSED], 0.1) == []
    assert len(channel.received) == 1


def test_quiet_hours_hold_back_what_is_not_severe(connection: psycopg.Connection[Any], channel: Hook) -> None:
    night = Policy(time(11), time(13))
    look(connection, [REFUSED, REJECTED], policy=night)
    assert "shop.orders" in channel.bodies()[0] and "ads.meta" not in channel.bodies()[0]
    look(connection, [REFUSED, REJECTED], 1.5, policy=night)
    assert "ads.meta" in channel.bodies()[1]


def test_what_nobody_acknowledges_is_escalated_once(connection: psycopg.Connection[Any], channel: Hook) -> None:
    second = Hook()
    save("warehouse-escalation", second.url)
    look(connection, [REFUSED, REJECTED])
    look(connection, [REFUSED, REJECTED], 1)
    assert second.received == []
    look(connection, [REFUSED, REJECTED], 3)
    look(connection, [REFUSED, REJECTED], 4)
    (body,) = second.bodies()
    assert "shop.orders" in body and "ads.meta" not in body
    second.server.shutdown()


def test_what_somebody_took_is_not_escalated(connection: psycopg.Connection[Any], channel: Hook) -> None:
    second = Hook()
    save("warehouse-escalation", second.url)
    look(connection, [REFUSED])
    ((number,),) = connection.execute("select id from monitoring.incidents").fetchall()
    assert incidents.acknowledge(connection, number, "ana", NOW) and not incidents.acknowledge(
        connection, number, "bob", NOW
    )
    look(connection, [REFUSED], 5)
    assert second.received == []
    second.server.shutdown()


SLACK, TEAMS = "hooks.slack.com", "prod-00.westeurope.logic.azure.com"
TOKENS = "/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7"
FLOW = "/workflows/3e8e/triggers/manual/paths/invoke?api-version=2016-06-01&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=S"


@pytest.fixture
def chat(tmp_path: Path, prefect_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Chat]:
    """Slack and Teams as channels, at their own addresses."""
    from prefect.blocks.notifications import MicrosoftTeamsWebhook, SlackWebhook

    made = Chat(tmp_path, SLACK, TEAMS)
    monkeypatch.setenv("HTTPS_PROXY", made.url)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(made.authority))
    SlackWebhook(url=SecretStr(f"https://{SLACK}{TOKENS}")).save("warehouse-alert-slack", overwrite=True)
    MicrosoftTeamsWebhook(url=SecretStr(f"https://{TEAMS}:443{FLOW}")).save("warehouse-alert-teams", overwrite=True)
    yield made
    SlackWebhook.delete("warehouse-alert-slack")
    MicrosoftTeamsWebhook.delete("warehouse-alert-teams")
    made.close()


def said(post: dict[str, Any], host: str) -> tuple[str, str]:
    """Return title and text of a post, each where the service looks for it."""
    if host == SLACK:
        (attachment,) = post["attachments"]
        return attachment["title"], html.unescape(attachment["text"])
    (card,) = post["attachments"]
    assert (post["type"], card["contentType"]) == ("message", "application/vnd.microsoft.card.adaptive")
    blocks = {block["id"]: block["text"] for block in card["content"]["body"] if block["type"] == "TextBlock"}
    return blocks["title"], blocks["body"]


def test_slack_and_teams_get_the_message_in_their_own_form(connection: psycopg.Connection[Any], chat: Chat) -> None:
    assert look(connection, [REFUSED, REJECTED]) == []
    assert sorted(chat.paths) == sorted([TOKENS, FLOW])
    for host, (post,) in chat.received.items():
        title, text = said(post, host)
        assert title == "Warehouse: 2 new"
        assert text.splitlines()[0] == "[high] extract shop.orders: credentials or rights"
        assert "Runbook: docs/runbooks/classes/auth.md" in text and "warehouse incidents acknowledge" in text
        assert "[low] load ads.meta" in text and "hunter2" not in json.dumps(post)
    assert look(connection, [REFUSED, REJECTED], 1) == []
    assert look(connection, [REJECTED], 2) == []
    for host, posts in chat.received.items():
        title, text = said(posts[-1], host)
        assert (len(posts), title) == (2, "Warehouse: 1 well again")
        assert text.startswith("Well again: extract shop.orders")


def test_a_webhook_that_was_taken_back_is_told_without_its_address(
    connection: psycopg.Connection[Any], chat: Chat
) -> None:
    chat.status = 404
    failed = look(connection, [REFUSED])
    assert sorted(failed) == [
        "ms-teams-webhook/warehouse-alert-teams: NotificationError",
        "slack-webhook/warehouse-alert-slack: NotificationError",
    ]
    assert connection.execute("select told_at from monitoring.incidents").fetchall() == [(None,)]


class Mailbox:
    """An SMTP server that keeps its mail."""

    def __init__(self) -> None:
        from aiosmtpd.controller import Controller

        self.mails: list[Message] = []
        self.recipients: list[str] = []
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self.controller = Controller(self, hostname="127.0.0.1", port=self.port)
        self.controller.start()

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.mails.append(message_from_bytes(envelope.content))
        self.recipients += envelope.rcpt_tos
        return "250 OK"


def test_mail_by_smtp(connection: psycopg.Connection[Any], prefect_server: str) -> None:
    mailbox = Mailbox()
    try:
        alerts.MailAlert(
            host="127.0.0.1",
            port=mailbox.port,
            security="none",
            sender="warehouse@example.com",
            recipients=["ana@example.com", "bob@example.com"],
        ).save("warehouse-alert", overwrite=True)
        assert look(connection, [REFUSED]) == []
    finally:
        mailbox.controller.stop()
        alerts.MailAlert.delete("warehouse-alert")
    mail = mailbox.mails[0]
    assert {*mailbox.recipients} == {"ana@example.com", "bob@example.com"}
    assert "Warehouse: 1 new" in str(mail["Subject"])
    parts = [part.get_payload(decode=True) for part in mail.walk() if not part.is_multipart()]
    text = b"".join(part for part in parts if isinstance(part, bytes)).decode()
    assert "extract shop.orders: credentials or rights" in text


def test_without_a_channel_nothing_is_lost(connection: psycopg.Connection[Any], prefect_server: str) -> None:
    assert look(connection, [REFUSED]) == []
    assert connection.execute("select told_at from monitoring.incidents").fetchall() == [(None,)]
