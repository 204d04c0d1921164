"""Secrets of one source: what must never be read in a log, an error, a table or an address."""

from __future__ import annotations

from urllib.parse import quote, quote_plus

HIDDEN = "***"
"""What is shown in place of a secret."""
# Shorter ones would blot out ordinary words; no service gives out keys like that.
_LEAST = 4


class Secrets:
    """The secret texts that have been seen; it grows when a token is refreshed."""

    def __init__(self, *texts: str) -> None:
        self._texts: set[str] = set()
        for text in texts:
            self.add(text)

    def add(self, text: str) -> str:
        """Remember a secret, and return it."""
        if len(text) >= _LEAST:
            self._texts |= {text, quote(text, safe=""), quote_plus(text)}
        return text

    def hide(self, text: str) -> str:
        """Return the text with every secret replaced, the longest first."""
        for secret in sorted(self._texts, key=len, reverse=True):
            text = text.replace(secret, HIDDEN)
        return text
