"""How a request shows who sends it."""

from __future__ import annotations

import base64
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from tasks.errors import ConfigError, SourceAuthError
from tasks.marketing.rest.clock import Clock
from tasks.marketing.rest.secrets import HIDDEN, Secrets

# A token is renewed this long before it ends, so that it does not end on its way.
_EARLY = timedelta(seconds=60)
_ASSERTION_SECONDS = 3_600

# Sends one form to an address and returns status and body; the client lends its own connection for it.
Post = Callable[[str, Mapping[str, str]], tuple[int, Any]]


class Auth(Protocol):
    """Adds credentials to a request."""

    secrets: Secrets
    shown: Mapping[str, str]
    """Query parameters that it adds, as people may see them."""

    def apply(self, headers: dict[str, str], params: dict[str, Any], post: Post) -> None:
        """Add the credentials; `post` is there to get a token with."""
        ...

    def refresh(self, post: Post) -> bool:
        """Renew what can be renewed after a refusal; False where nothing can."""
        ...


@dataclass
class NoAuth:
    """An API that asks nobody."""

    secrets: Secrets = field(default_factory=Secrets)
    shown: Mapping[str, str] = field(default_factory=dict)

    def apply(self, headers: dict[str, str], params: dict[str, Any], post: Post) -> None:
        """See `Auth`."""

    def refresh(self, post: Post) -> bool:
        """See `Auth`."""
        return False


class HeaderAuth(NoAuth):
    """A key in a header: bearer tokens and API keys.

    Args:
        header: Name of the header.
        value: Its value.
        secret: The part of it that is secret; default the whole.
    """

    def __init__(self, header: str, value: str, secret: str | None = None) -> None:
        super().__init__(Secrets(secret or value))
        self._header, self._value = header, value

    def apply(self, headers: dict[str, str], params: dict[str, Any], post: Post) -> None:
        """See `Auth`."""
        headers[self._header] = self._value


class BasicAuth(HeaderAuth):
    """A user and a password."""

    def __init__(self, user: str, password: str) -> None:
        encoded = base64.b64encode(f"{user}:{password}".encode()).decode()
        super().__init__("Authorization", f"Basic {encoded}", encoded)
        self.secrets.add(password)


class QueryAuth(NoAuth):
    """A key in the query, for an API that takes it nowhere else; messages never show a query's values."""

    def __init__(self, param: str, value: str) -> None:
        super().__init__(Secrets(value), {param: HIDDEN})
        self._param, self._value = param, value

    def apply(self, headers: dict[str, str], params: dict[str, Any], post: Post) -> None:
        """See `Auth`."""
        params[self._param] = self._value


class TokenStore(Protocol):
    """Keeps refresh tokens that the service has replaced: the old one is worth nothing any more."""

    def get(self, key: str) -> str | None:
        """Return the newest refresh token of a key, None when it was never replaced."""
        ...

    def put(self, key: str, token: str) -> None:
        """Keep a new refresh token; durable when this returns."""
        ...

    def alone(self, key: str) -> AbstractContextManager[object]:
        """Return what holds up others that would use the token of a key, until it is replaced.

        Who shows a replaced token may end the new one, too (RFC 9700, 4.14.2).
        """
        ...


@dataclass
class MemoryTokens:
    """Keeps tokens as long as the process lives."""

    tokens: dict[str, str] = field(default_factory=dict)

    def get(self, key: str) -> str | None:
        """See `TokenStore`."""
        return self.tokens.get(key)

    def put(self, key: str, token: str) -> None:
        """See `TokenStore`."""
        self.tokens[key] = token

    def alone(self, key: str) -> AbstractContextManager[object]:
        """See `TokenStore`."""
        return nullcontext()


class _Token(NoAuth, ABC):
    """An access token that ends and is fetched anew."""

    def __init__(self, where: str, clock: Clock, secrets: Secrets) -> None:
        super().__init__(secrets)
        self._where, self._clock = where, clock
        self._access = ""
        self._ends: datetime | None = None

    def apply(self, headers: dict[str, str], params: dict[str, Any], post: Post) -> None:
        """See `Auth`."""
        if not self._access or (self._ends is not None and self._clock.now() >= self._ends - _EARLY):
            self.refresh(post)
        headers["Authorization"] = f"Bearer {self._access}"

    def refresh(self, post: Post) -> bool:
        """See `Auth`."""
        status, body = self._fetch(post)
        token = body.get("access_token") if isinstance(body, dict) else None
        if status != 200 or not isinstance(token, str):
            said = body.get("error_description") or body.get("error") if isinstance(body, dict) else None
            raise SourceAuthError(
                self.secrets.hide(f"no access token was given: {said or f'HTTP {status}'}"),
                self._where,
                "renew the credentials: grant access again and put what is given into the environment",
            )
        self._access = self.secrets.add(token)
        seconds = body.get("expires_in")
        self._ends = self._clock.now() + timedelta(seconds=float(seconds)) if seconds else None
        self._took(body)
        return True

    def _fetch(self, post: Post) -> tuple[int, Any]:
        """Ask for a token, and return status and body of the answer."""
        return post(*self._form())

    @abstractmethod
    def _form(self) -> tuple[str, Mapping[str, str]]:
        """Return the address that gives tokens, and the form that it is sent."""

    def _took(self, body: Mapping[str, Any]) -> None:
        """Look at what else came with a token."""


class OAuthRefresh(_Token):
    """OAuth2 with a refresh token, which the service may replace each time.

    Args:
        token_url: Where tokens are given.
        client_id: Of the application.
        client_secret: Of the application.
        refresh_token: The first one; one that replaced it is in `tokens`.
        where: The source, for messages.
        clock: Tells when a token ends.
        tokens: Where replaced refresh tokens are kept.
        extra: More fields of the form, such as a scope.
    """

    def __init__(
        self,
        token_url: str,
        client_id: str,
        client_secret: str,
        refresh_token: str,
        *,
        where: str,
        clock: Clock,
        tokens: TokenStore,
        extra: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(where, clock, Secrets(client_secret, refresh_token))
        self._url, self._client = token_url, (client_id, client_secret)
        self._first, self._tokens = refresh_token, tokens
        # What replaced one refresh token must not stand in the way of another, which somebody granted since.
        self._key = f"{where} {hashlib.sha256(refresh_token.encode()).hexdigest()[:12]}"
        self._extra = dict(extra or {})

    def refresh(self, post: Post) -> bool:
        """See `Auth`."""
        with self._tokens.alone(self._key):
            return super().refresh(post)

    def _form(self) -> tuple[str, Mapping[str, str]]:
        client, secret = self._client
        refresh = self.secrets.add(self._tokens.get(self._key) or self._first)
        form = {"grant_type": "refresh_token", "client_id": client, "client_secret": secret, "refresh_token": refresh}
        return self._url, form | self._extra

    def _took(self, body: Mapping[str, Any]) -> None:
        new = body.get("refresh_token")
        if isinstance(new, str) and new != (self._tokens.get(self._key) or self._first):
            self._tokens.put(self._key, self.secrets.add(new))


class ClientCredentials(_Token):
    """OAuth2 for a program that acts for itself."""

    def __init__(
        self, token_url: str, client_id: str, client_secret: str, *, where: str, clock: Clock, scope: str = ""
    ) -> None:
        super().__init__(where, clock, Secrets(client_secret))
        self._url = token_url
        self._fields = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": client_secret}
        if scope:
            self._fields["scope"] = scope

    def _form(self) -> tuple[str, Mapping[str, str]]:
        return self._url, self._fields


class ServiceAccount(_Token):
    """A Google service account: a signed assertion is changed for a token.

    Args:
        key: The JSON key, as text.
        scope: What is asked for.
        where: The source, for messages.
        clock: Tells when a token ends.
        subject: User to act for, where the whole domain was delegated.

    Raises:
        ConfigError: The key is none.
    """

    def __init__(self, key: str, scope: str, *, where: str, clock: Clock, subject: str = "") -> None:
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            found = json.loads(key)
            self._email, self._url = found["client_email"], found["token_uri"]
            private = load_pem_private_key(found["private_key"].encode(), password=None)
            assert isinstance(private, RSAPrivateKey)  # noqa: S101  Google gives out nothing else; said below if not
        except (ValueError, KeyError, TypeError, AttributeError, AssertionError):
            # The parser's own message would show a piece of the key.
            raise ConfigError(
                "the service account key cannot be used", where, "give the JSON key as Google gave it, whole"
            ) from None
        super().__init__(where, clock, Secrets(found["private_key"], found.get("private_key_id", "")))
        self._private, self._scope, self._subject = private, scope, subject

    def _form(self) -> tuple[str, Mapping[str, str]]:
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
        from cryptography.hazmat.primitives.hashes import SHA256

        now = int(self._clock.now().timestamp())
        claims = {
            "iss": self._email,
            "scope": self._scope,
            "aud": self._url,
            "iat": now,
            "exp": now + _ASSERTION_SECONDS,
        }
        if self._subject:
            claims["sub"] = self._subject
        signed = b".".join(_base64(json.dumps(part).encode()) for part in ({"alg": "RS256", "typ": "JWT"}, claims))
        assertion = b".".join((signed, _base64(self._private.sign(signed, PKCS1v15(), SHA256())))).decode()
        return self._url, {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}


def _base64(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")
