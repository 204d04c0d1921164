"""Credentials of Google's services: a service account, or a user's consent."""

from __future__ import annotations

from pydantic import SecretStr, model_validator

from tasks.marketing.rest.auth import Auth, OAuthRefresh, ServiceAccount
from tasks.marketing.rest.common import Common
from tasks.marketing.rest.config import Address
from tasks.marketing.rest.errors import Rule
from tasks.sources.config import Strict


def refusals(scope: str, api: str) -> tuple[Rule, ...]:
    """Return the rules for what Google's gateway refuses before the service is asked.

    Args:
        scope: The scope that is needed.
        api: The API's name, as Google's console has it.
    """
    return (
        Rule(
            "refresh",
            status=(403,),
            contains="ACCESS_TOKEN_SCOPE_INSUFFICIENT",
            say="the token lacks a scope",
            advice=f"grant access again, with the scope {scope}",
        ),
        Rule(
            "fail",
            status=(403,),
            contains="SERVICE_DISABLED",
            say=f"the {api} is not enabled",
            advice=f"enable the {api} in the Google Cloud project of the credentials, and wait a few minutes",
        ),
    )


class GoogleCredentials(Strict):
    """Either `key`, or the other three.

    Attributes:
        key: JSON key of a service account, whole.
        client_id, client_secret: Of an OAuth client.
        refresh_token: What a user's consent gave for that client.
        token_url: Where tokens are given for a refresh token.
    """

    key: SecretStr | None = None
    client_id: str | None = None
    client_secret: SecretStr | None = None
    refresh_token: SecretStr | None = None
    token_url: Address = "https://oauth2.googleapis.com/token"  # noqa: S105  an address

    @model_validator(mode="after")
    def _one_way(self) -> GoogleCredentials:
        user = (self.client_id, self.client_secret, self.refresh_token)
        if (self.key is None) == (None in user) or (self.key is not None and any(user)):
            raise ValueError("give key, or client_id, client_secret and refresh_token")
        return self

    def auth(self, scope: str, where: str, common: Common) -> Auth:
        """Return how requests are signed."""
        if self.key is not None:
            return ServiceAccount(self.key.get_secret_value(), scope, where=where, clock=common.clock)
        assert self.client_id and self.client_secret and self.refresh_token  # noqa: S101  the validator has seen to it
        return OAuthRefresh(
            self.token_url,
            self.client_id,
            self.client_secret.get_secret_value(),
            self.refresh_token.get_secret_value(),
            where=where,
            clock=common.clock,
            tokens=common.tokens,
        )
