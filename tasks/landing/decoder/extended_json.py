"""Relaxed extended JSON (version 2) and key texts, straight from raw BSON.

Compact, keys in their order, duplicates kept, non-ASCII as it is. Beyond the specification: -0.0 is
`{"$numberDouble":"-0.0"}`, binaries of subtype 4 with 16 bytes are `{"$uuid":"..."}`, and text that is not valid UTF-8
is `{"$text":{"base64":"..."}}` wherever a string would stand.
"""

from __future__ import annotations

import base64
import math
import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from tasks.landing.decoder import bson_walk as walk

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_YEAR_10000 = 253_402_300_800_000
_CONTROLS = re.compile(r'["\\\x00-\x1f]')
# A string that matches could be taken for the key text of another type, or cannot be held as text (NUL).
_AMBIGUOUS = re.compile(
    r'[0-9a-f]{24}|-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?|true|false|null|[{\["].*|.*\x00.*', re.DOTALL
)
_INT64 = range(-(1 << 63), 1 << 63)
_EXPONENT_BIAS = 6176
_COEFFICIENT_LIMIT = 10**34


def quote(text: str) -> str:
    """Return `text` as a JSON string."""
    return '"' + _CONTROLS.sub(_escape, text) + '"'


def _escape(found: re.Match[str]) -> str:
    character = found.group()
    return "\\" + character if character in '"\\' else f"\\u{ord(character):04x}"


def double_text(value: float) -> str:
    """Return a double: Python's `repr` where JSON can hold it, which always has a `.` or an `e`."""
    if math.isnan(value):
        return '{"$numberDouble":"NaN"}'
    if math.isinf(value):
        return '{"$numberDouble":"Infinity"}' if value > 0 else '{"$numberDouble":"-Infinity"}'
    if value == 0 and math.copysign(1, value) < 0:
        return '{"$numberDouble":"-0.0"}'
    return repr(value)


def date_text(milliseconds: int) -> str:
    """Return a date: ISO 8601 from 1970 to 9999, else its milliseconds."""
    if not 0 <= milliseconds < _YEAR_10000:
        return f'{{"$date":{{"$numberLong":"{milliseconds}"}}}}'
    moment = (_EPOCH + timedelta(milliseconds=milliseconds)).replace(tzinfo=None)
    spec = "milliseconds" if milliseconds % 1000 else "seconds"
    return f'{{"$date":"{moment.isoformat(timespec=spec)}Z"}}'


def decimal_parts(raw: bytes) -> tuple[bool, int, int] | str:
    """Return sign, coefficient and exponent of a Decimal128, or `NaN`, `Infinity`, `-Infinity`."""
    bits = int.from_bytes(raw, "little")
    negative = bool(bits >> 127)
    combination = bits >> 122 & 0b11111
    if combination == 0b11111:
        return "NaN"
    if combination == 0b11110:
        return "-Infinity" if negative else "Infinity"
    if combination >> 3 == 0b11:
        # The large form can only hold coefficients of more than 34 digits, which count as zero.
        return negative, 0, (bits >> 111 & 0x3FFF) - _EXPONENT_BIAS
    coefficient = bits & (1 << 113) - 1
    exponent = (bits >> 113 & 0x3FFF) - _EXPONENT_BIAS
    return negative, coefficient if coefficient < _COEFFICIENT_LIMIT else 0, exponent


def decimal_text(raw: bytes) -> str:
    """Return the canonical text of a Decimal128 from its 16 bytes."""
    parts = decimal_parts(raw)
    if isinstance(parts, str):
        return parts
    negative, coefficient, exponent = parts
    digits = str(coefficient)
    sign = "-" if negative else ""
    adjusted = exponent + len(digits) - 1
    if exponent > 0 or adjusted < -6:
        fraction = f".{digits[1:]}" if len(digits) > 1 else ""
        return f"{sign}{digits[0]}{fraction}E{adjusted:+d}"
    if exponent == 0:
        return sign + digits
    padded = digits.rjust(1 - exponent, "0")
    return f"{sign}{padded[:exponent]}.{padded[exponent:]}"


def text_or_bytes(raw: bytes) -> str:
    """Return JSON of what should be UTF-8."""
    try:
        return quote(raw.decode())
    except UnicodeDecodeError:
        return f'{{"$text":{{"base64":"{base64.b64encode(raw).decode()}"}}}}'


def string_bytes(raw: bytes, start: int) -> bytes:
    """Return the bytes of a BSON string without length and final zero."""
    size = walk.INT32_FORMAT.unpack_from(raw, start)[0]
    return raw[start + 4 : start + 3 + size]


def document_text(raw: bytes, start: int, is_array: bool = False) -> str:
    """Return a checked document or array as extended JSON."""
    if is_array:
        return "[" + ",".join([value_text(raw, kind, at, end) for kind, _, at, end in walk.elements(raw, start)]) + "]"
    parts = [
        quote(key.decode()) + ":" + value_text(raw, kind, at, end) for kind, key, at, end in walk.elements(raw, start)
    ]
    return "{" + ",".join(parts) + "}"


def value_text(raw: bytes, kind: int, start: int, end: int) -> str:
    """Return one checked value as extended JSON."""
    if kind in (walk.DOCUMENT, walk.ARRAY):
        return document_text(raw, start, kind == walk.ARRAY)
    return _TEXTS[kind](raw, start, end)


def _binary(raw: bytes, start: int, end: int) -> str:
    subtype, payload = raw[start + 4], raw[start + 5 : end]
    if subtype == 4 and len(payload) == 16:
        return f'{{"$uuid":"{uuid.UUID(bytes=payload)}"}}'
    if subtype == 2:
        payload = payload[4:]
    return f'{{"$binary":{{"base64":"{base64.b64encode(payload).decode()}","subType":"{subtype:02x}"}}}}'


def _regex(raw: bytes, start: int, end: int) -> str:
    pattern, options = raw[start : end - 1].split(b"\0")
    return f'{{"$regularExpression":{{"pattern":{text_or_bytes(pattern)},"options":{text_or_bytes(options)}}}}}'


def _dbpointer(raw: bytes, start: int, end: int) -> str:
    name = text_or_bytes(raw[start + 4 : end - 13])
    return f'{{"$dbPointer":{{"$ref":{name},"$id":{{"$oid":"{raw[end - 12 : end].hex()}"}}}}}}'


def _code_with_scope(raw: bytes, start: int, end: int) -> str:
    code = string_bytes(raw, start + 4)
    return f'{{"$code":{text_or_bytes(code)},"$scope":{document_text(raw, start + 9 + len(code))}}}'


def _timestamp(raw: bytes, start: int, end: int) -> str:
    increment = int.from_bytes(raw[start : start + 4], "little")
    seconds = int.from_bytes(raw[start + 4 : end], "little")
    return f'{{"$timestamp":{{"t":{seconds},"i":{increment}}}}}'


_TEXTS: dict[int, Callable[[bytes, int, int], str]] = {
    walk.DOUBLE: lambda raw, start, end: double_text(walk.DOUBLE_FORMAT.unpack_from(raw, start)[0]),
    walk.STRING: lambda raw, start, end: text_or_bytes(raw[start + 4 : end - 1]),
    walk.BINARY: _binary,
    walk.UNDEFINED: lambda raw, start, end: '{"$undefined":true}',
    walk.OBJECTID: lambda raw, start, end: f'{{"$oid":"{raw[start:end].hex()}"}}',
    walk.BOOL: lambda raw, start, end: "true" if raw[start] else "false",
    walk.DATE: lambda raw, start, end: date_text(walk.INT64_FORMAT.unpack_from(raw, start)[0]),
    walk.NULL: lambda raw, start, end: "null",
    walk.REGEX: _regex,
    walk.DBPOINTER: _dbpointer,
    walk.CODE: lambda raw, start, end: f'{{"$code":{text_or_bytes(raw[start + 4 : end - 1])}}}',
    walk.SYMBOL: lambda raw, start, end: f'{{"$symbol":{text_or_bytes(raw[start + 4 : end - 1])}}}',
    walk.CODE_WITH_SCOPE: _code_with_scope,
    walk.INT32: lambda raw, start, end: str(walk.INT32_FORMAT.unpack_from(raw, start)[0]),
    walk.TIMESTAMP: _timestamp,
    walk.INT64: lambda raw, start, end: str(walk.INT64_FORMAT.unpack_from(raw, start)[0]),
    walk.DECIMAL: lambda raw, start, end: f'{{"$numberDecimal":"{decimal_text(raw[start:end])}"}}',
    walk.MAXKEY: lambda raw, start, end: '{"$maxKey":1}',
    walk.MINKEY: lambda raw, start, end: '{"$minKey":1}',
}


def key_text(raw: bytes, kind: int, start: int, end: int) -> str:
    """Return an `_id` as text; keys that differ for MongoDB never give the same.

    This rests on MongoDB refusing `_id` documents with keys that start with `$`. Equal numbers of different types give
    the same text while they are integral and within int64; beyond, each type has its own.
    """
    if kind == walk.OBJECTID:
        return raw[start:end].hex()
    if kind == walk.STRING:
        return _string_key(raw[start + 4 : end - 1])
    number: int | None = None
    if kind == walk.DOUBLE:
        number = _integral_double(walk.DOUBLE_FORMAT.unpack_from(raw, start)[0])
    elif kind == walk.DECIMAL:
        number = _integral_decimal(raw[start:end])
    if number is not None and number in _INT64:
        return str(number)
    return value_text(raw, kind, start, end)


def _string_key(raw: bytes) -> str:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return text_or_bytes(raw)
    return quote(text) if _AMBIGUOUS.fullmatch(text) else text


def _integral_double(value: float) -> int | None:
    return int(value) if math.isfinite(value) and value.is_integer() else None


def _integral_decimal(raw: bytes) -> int | None:
    parts = decimal_parts(raw)
    if isinstance(parts, str):
        return None
    negative, coefficient, exponent = parts
    if coefficient == 0:
        return 0
    if exponent > 19:
        return None
    if exponent < 0:
        # At most 34 digits can be taken away; more leave a fraction.
        coefficient, rest = divmod(coefficient, 10 ** min(-exponent, 35))
        if rest:
            return None
        exponent = 0
    number: int = coefficient * 10**exponent
    return -number if negative else number
