"""What no log, report or alert may show: secrets, and personal data that an error message quotes."""

from __future__ import annotations

import re

from tasks.errors import redact

_SECRETS = (
    # Authorization headers, JSON web tokens, keys of AWS and Google, webhooks whose path is the secret.
    (re.compile(r"(?i)\b(bearer|basic)\s+[a-z0-9._~+/=-]{8,}"), r"\1 ***"),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]{4,}\.[\w-]*"), "***"),
    (re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bAIza[\w-]{30,}|\bya29\.[\w-]+"), "***"),
    (
        re.compile(r"(https://(?:hooks\.slack(?:-gov)?\.com/services|[\w.-]*logic\.azure\.com\S*?/workflows)/)\S+"),
        r"\1***",
    ),
    (re.compile(r"(?i)([?&](?:sig|signature|access_token|x-amz-signature|key)=)[^&\s]+"), r"\1***"),
)
_EMAIL = re.compile(r"[\w.+-]+@(?:[\w-]+\.)+[a-zA-Z]{2,}")
_PHONE = re.compile(r"(?<![\w+])\+\d(?:[ ()./-]{0,3}\d){7,14}(?!\d)")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b")
_CARD = re.compile(r"(?<!\d)[3-6]\d{3}(?:[ -]?\d{4}){2}[ -]?\d{1,7}(?!\d)")


def mask(text: str) -> str:
    """Return a text without secrets, mail addresses, telephone, card and bank account numbers.

    Ids of documents stay, because they lead to the row; so do addresses of servers.
    """
    text = redact(text)
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    text = _EMAIL.sub("<e-mail>", text)
    text = _IBAN.sub("<account>", text)
    text = _CARD.sub(lambda found: "<card>" if _is_card(found[0]) else found[0], text)
    return _PHONE.sub("<telephone>", text)


def _is_card(text: str) -> bool:
    """Return whether digits pass the check that card numbers pass (Luhn), which one other number in ten does."""
    digits = [int(character) for character in text if character.isdigit()]
    doubled = [digit if index % 2 == 0 else sum(divmod(2 * digit, 10)) for index, digit in enumerate(reversed(digits))]
    return 13 <= len(digits) <= 19 and sum(doubled) % 10 == 0
