"""Tells people: through Prefect's notification blocks, one message a look and channel, once for each incident.

The blocks are found by their names: `warehouse-alert` and any `warehouse-alert-...` hear of everything, those of
`warehouse-escalation...` of what nobody has acknowledged. Slack, Teams, webhooks and what else Prefect has are its own
block types; `MailAlert` is ours, as Prefect's only mail block is that of one company.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from prefect.blocks.notifications import AbstractAppriseNotificationBlock
from pydantic import Field, SecretStr

from monitoring import incidents
from monitoring.masking import mask

if TYPE_CHECKING:
    import psycopg
    from prefect.blocks.abstract import NotificationBlock
    from prefect.client.orchestration import SyncPrefectClient

    from monitoring.queries import Incident

ALERT, ESCALATION = "warehouse-alert", "warehouse-escalation"
# Chat services cut longer messages.
_MOST = 20


class MailAlert(AbstractAppriseNotificationBlock):
    """Mail by SMTP."""

    _block_type_name = "Mail alert"
    _block_type_slug = "mail-alert"

    host: str = Field(default="localhost", description="SMTP server.")
    port: int = Field(default=587, description="Its port.")
    security: Literal["starttls", "ssl", "none"] = Field(default="starttls", description="How the way is encrypted.")
    username: str = Field(default="", description="User at the SMTP server; empty means no login.")
    password: SecretStr = Field(default=SecretStr(""), description="The user's password.")
    sender: str = Field(default="", description="Address that the mail comes from.")
    recipients: list[str] = Field(default_factory=list, description="Addresses that the mail goes to.")

    def block_initialization(self) -> None:
        """Make the client that sends."""
        login = f"{quote(self.username, safe='')}:{quote(self.password.get_secret_value(), safe='')}@"
        scheme = "mailto" if self.security == "none" else "mailtos"
        mode = "" if self.security == "none" else f"&mode={self.security}"
        self._start_apprise_client(
            SecretStr(
                f"{scheme}://{login if self.username else ''}{self.host}:{self.port}"
                f"?from={quote(self.sender)}&to={quote(','.join(self.recipients))}&format=text{mode}"
            )
        )


def channels(client: SyncPrefectClient, prefix: str) -> list[tuple[str, NotificationBlock]]:
    """Return the notification blocks whose name begins so, as `type/name` with the block."""
    from prefect.blocks.abstract import NotificationBlock
    from prefect.blocks.core import Block
    from prefect.client.schemas.objects import BlockDocument

    found: list[tuple[str, NotificationBlock]] = []
    offset = 0
    while documents := client.read_block_documents(offset=offset, limit=200, include_secrets=True):
        for document in documents:
            if isinstance(document, BlockDocument) and (document.name or "").startswith(prefix):
                block = Block._from_block_document(document)
                if isinstance(block, NotificationBlock):
                    found.append((f"{block.get_block_type_slug()}/{document.name}", block))
        offset += len(documents)
        if len(documents) < 200:
            break
    return found


def tell(
    connection: psycopg.Connection[Any], client: SyncPrefectClient, policy: incidents.Policy, now: datetime
) -> list[str]:
    """Send what people have not been told of yet; return the channels that failed, which are tried in the next look.

    Args:
        connection: A connection to the warehouse.
        client: A client of the Prefect API, which knows the blocks.
        policy: Quiet hours and escalation.
        now: The time.
    """
    made = incidents.news(connection, policy, now)
    failed: list[str] = []
    everybody = channels(client, ALERT) if made.new or made.recovered else []
    if everybody and (made.new or made.recovered):
        subject, body = message(made.new, made.recovered)
        failed += _send(everybody, subject, body)
        if len(failed) < len(everybody):
            incidents.note_told(connection, "told_at", [one.id for one in made.new], now)
            incidents.note_told(connection, "recovery_told_at", [one.id for one in made.recovered], now)
    if made.escalated and (second := channels(client, ESCALATION)):
        subject, body = message(made.escalated, [], escalation=True)
        wrong = _send(second, subject, body)
        failed += wrong
        if len(wrong) < len(second):
            incidents.note_told(connection, "escalated_at", [one.id for one in made.escalated], now)
    return failed


def _send(blocks: Sequence[tuple[str, NotificationBlock]], subject: str, body: str) -> list[str]:
    failed = []
    for name, block in blocks:
        try:
            # Prefect's type says that it is to be awaited, which is so in async code alone.
            sender: Any = block
            with block.raise_on_failure():
                sender.notify(body, subject)
        except Exception as error:
            # The error may quote the address of a webhook, which is its secret.
            failed.append(f"{name}: {mask(type(error).__name__)}")
    return failed


def message(new: Sequence[Incident], recovered: Sequence[Incident], escalation: bool = False) -> tuple[str, str]:
    """Return subject and body of one message: what is new by severity, then what is well again."""
    parts = [
        f"{len(new)} {'not acknowledged' if escalation else 'new'}" if new else "",
        f"{len(recovered)} well again" if recovered else "",
    ]
    subject = f"Warehouse: {', '.join(part for part in parts if part)}"
    lines = []
    for one in sorted(new, key=lambda one: (one.severity != "high", one.owner, one.subject))[:_MOST]:
        lines += [
            f"[{one.severity}] {one.title}",
            f"  {one.message}",
            f"  Who acts: {one.owner}. {one.first_step}",
            f"  Runbook: {one.runbook}",
            f"  First seen {one.first_seen:%Y-%m-%d %H:%M} UTC. To take it: warehouse incidents acknowledge {one.id}",
            "",
        ]
    if len(new) > _MOST:
        lines += [f"... and {len(new) - _MOST} more: warehouse incidents list", ""]
    lines += [f"Well again: {one.title} (since {one.resolved_at:%Y-%m-%d %H:%M} UTC)" for one in recovered[:_MOST]]
    return subject, "\n".join(lines).strip()
