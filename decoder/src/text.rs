//! Relaxed extended JSON and key texts, written straight from raw BSON.

use std::io::Write;

use crate::check::*;

const YEAR_10000: i64 = 253_402_300_800_000;
const DAY: i64 = 86_400_000;
const EXPONENT_BIAS: i32 = 6176;
const COEFFICIENT_LIMIT: u128 = 10u128.pow(34);
const HEX: &[u8; 16] = b"0123456789abcdef";
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

pub fn hex(out: &mut Vec<u8>, bytes: &[u8]) {
    for &byte in bytes {
        out.push(HEX[usize::from(byte >> 4)]);
        out.push(HEX[usize::from(byte & 15)]);
    }
}

pub fn uuid(out: &mut Vec<u8>, bytes: &[u8]) {
    for (start, end) in [(0, 4), (4, 6), (6, 8), (8, 10), (10, 16)] {
        if start > 0 {
            out.push(b'-');
        }
        hex(out, part(bytes, start, end));
    }
}

fn base64(out: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.chunks(3) {
        let word = chunk
            .iter()
            .fold(0u32, |word, &byte| word << 8 | u32::from(byte))
            << (8 * (3 - chunk.len()));
        for index in 0..4 {
            if index <= chunk.len() {
                out.push(BASE64[(word >> (18 - 6 * index) & 63) as usize]);
            } else {
                out.push(b'=');
            }
        }
    }
}

/// Writes a number or the like; writing to a vector cannot fail.
fn put(out: &mut Vec<u8>, arguments: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(arguments);
}

/// Writes UTF-8 as a JSON string.
pub fn quote(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    let mut clean = 0;
    for (at, &byte) in text.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(part(text, clean, at));
        clean = at + 1;
        out.push(b'\\');
        if byte < 0x20 {
            out.extend_from_slice(b"u00");
            hex(out, &[byte]);
        } else {
            out.push(byte);
        }
    }
    out.extend_from_slice(part(text, clean, text.len()));
    out.push(b'"');
}

/// Writes what should be UTF-8.
fn text_or_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    if std::str::from_utf8(bytes).is_ok() {
        return quote(out, bytes);
    }
    out.extend_from_slice(b"{\"$text\":{\"base64\":\"");
    base64(out, bytes);
    out.extend_from_slice(b"\"}}");
}

/// Writes a finite double the way Python's `repr` does: shortest digits, always a `.` or an `e`.
fn finite_double(out: &mut Vec<u8>, value: f64) {
    let mut buffer = ryu::Buffer::new();
    let shortest = buffer.format_finite(value.abs());
    let (mantissa, power) = shortest.split_once('e').unwrap_or((shortest, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = [whole, fraction].concat();
    let digits = all.trim_start_matches('0');
    let leading = all.len() - digits.len();
    let digits = digits.trim_end_matches('0');
    // Of the first digit; zero itself has none.
    let exponent = match digits {
        "" => 0,
        _ => whole.len() as i32 - leading as i32 - 1 + power.parse::<i32>().unwrap_or(0),
    };
    if value.is_sign_negative() {
        out.push(b'-');
    }
    if (-4..16).contains(&exponent) {
        positional(out, digits.as_bytes(), exponent);
    } else {
        let (first, rest) = digits.split_at(digits.len().min(1));
        let point = if rest.is_empty() { "" } else { "." };
        let sign = if exponent < 0 { '-' } else { '+' };
        let exponent = exponent.unsigned_abs();
        put(
            out,
            format_args!("{first}{point}{rest}e{sign}{exponent:02}"),
        );
    }
}

/// Writes digits whose first stands for 10 to the power of `exponent`.
fn positional(out: &mut Vec<u8>, digits: &[u8], exponent: i32) {
    let zeros = |out: &mut Vec<u8>, count: usize| out.resize(out.len() + count, b'0');
    if exponent < 0 {
        out.extend_from_slice(b"0.");
        zeros(out, exponent.unsigned_abs() as usize - 1);
        return out.extend_from_slice(digits);
    }
    let whole = exponent.unsigned_abs() as usize + 1;
    let (before, after) = digits.split_at(whole.min(digits.len()));
    out.extend_from_slice(before);
    zeros(out, whole - before.len());
    out.push(b'.');
    out.extend_from_slice(if after.is_empty() { b"0" } else { after });
}

fn double(out: &mut Vec<u8>, value: f64) {
    let special = if value.is_nan() {
        "NaN"
    } else if value == f64::INFINITY {
        "Infinity"
    } else if value == f64::NEG_INFINITY {
        "-Infinity"
    } else if value == 0.0 && value.is_sign_negative() {
        "-0.0"
    } else {
        return finite_double(out, value);
    };
    put(out, format_args!("{{\"$numberDouble\":\"{special}\"}}"));
}

/// Returns year, month and day of a day since 1970, in the proleptic Gregorian calendar.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 {
        month_index + 3
    } else {
        month_index - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn date(out: &mut Vec<u8>, milliseconds: i64) {
    if !(0..YEAR_10000).contains(&milliseconds) {
        return put(
            out,
            format_args!("{{\"$date\":{{\"$numberLong\":\"{milliseconds}\"}}}}"),
        );
    }
    let (year, month, day) = civil(milliseconds / DAY);
    let (seconds, rest) = (milliseconds % DAY / 1000, milliseconds % 1000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    put(
        out,
        format_args!(
            "{{\"$date\":\"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
        ),
    );
    if rest > 0 {
        put(out, format_args!(".{rest:03}"));
    }
    out.extend_from_slice(b"Z\"}");
}

/// A Decimal128 taken apart.
pub enum Decimal {
    Special(&'static str),
    Finite {
        negative: bool,
        coefficient: u128,
        exponent: i32,
    },
}

pub fn decimal_parts(bytes: &[u8]) -> Decimal {
    let bits = bytes
        .first_chunk::<16>()
        .map_or(0, |all| u128::from_le_bytes(*all));
    let negative = bits >> 127 == 1;
    let combination = (bits >> 122) as u32 & 0b11111;
    if combination == 0b11111 {
        return Decimal::Special("NaN");
    }
    if combination == 0b11110 {
        return Decimal::Special(if negative { "-Infinity" } else { "Infinity" });
    }
    // The large form can only hold coefficients of more than 34 digits, which count as zero.
    let is_large = combination >> 3 == 0b11;
    let shift = if is_large { 111 } else { 113 };
    let coefficient = bits & ((1 << 113) - 1);
    Decimal::Finite {
        negative,
        coefficient: if is_large || coefficient >= COEFFICIENT_LIMIT {
            0
        } else {
            coefficient
        },
        exponent: (bits >> shift) as i32 & 0x3fff,
    }
    .unbiased()
}

impl Decimal {
    fn unbiased(self) -> Self {
        match self {
            Decimal::Finite {
                negative,
                coefficient,
                exponent,
            } => Decimal::Finite {
                negative,
                coefficient,
                exponent: exponent - EXPONENT_BIAS,
            },
            special => special,
        }
    }

    /// Returns the value if it is a whole number within int64.
    fn integral(&self) -> Option<i64> {
        let Decimal::Finite {
            negative,
            mut coefficient,
            exponent,
        } = *self
        else {
            return None;
        };
        if coefficient == 0 {
            return Some(0);
        }
        if exponent < 0 {
            // At most 34 digits can be taken away; more leave a fraction.
            let divisor = 10u128.pow(exponent.unsigned_abs().min(35));
            if coefficient % divisor != 0 {
                return None;
            }
            coefficient /= divisor;
        } else if exponent <= 19 {
            coefficient = coefficient.checked_mul(10u128.pow(exponent.unsigned_abs()))?;
        } else {
            return None;
        }
        let number = i128::try_from(coefficient).ok()?;
        i64::try_from(if negative { -number } else { number }).ok()
    }
}

/// Writes the canonical text of a Decimal128 from its 16 bytes.
pub fn decimal(out: &mut Vec<u8>, bytes: &[u8]) {
    let (negative, coefficient, exponent) = match decimal_parts(bytes) {
        Decimal::Special(name) => return out.extend_from_slice(name.as_bytes()),
        Decimal::Finite {
            negative,
            coefficient,
            exponent,
        } => (negative, coefficient, exponent),
    };
    let digits = coefficient.to_string();
    let count = digits.len() as i32;
    if negative {
        out.push(b'-');
    }
    let adjusted = exponent + count - 1;
    if exponent > 0 || adjusted < -6 {
        let (first, rest) = digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        return put(out, format_args!("{first}{point}{rest}E{adjusted:+}"));
    }
    let whole = count + exponent;
    if exponent == 0 {
        out.extend_from_slice(digits.as_bytes());
    } else if whole > 0 {
        let (before, after) = digits.split_at(whole as usize);
        put(out, format_args!("{before}.{after}"));
    } else {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + whole.unsigned_abs() as usize, b'0');
        out.extend_from_slice(digits.as_bytes());
    }
}

/// Writes a checked document as extended JSON.
pub fn document(out: &mut Vec<u8>, raw: &[u8], start: usize) {
    out.push(b'{');
    for (index, (key, value)) in Elements::new(raw, start).enumerate() {
        if index > 0 {
            out.push(b',');
        }
        quote(out, key);
        out.push(b':');
        json(out, raw, value);
    }
    out.push(b'}');
}

fn array(out: &mut Vec<u8>, raw: &[u8], start: usize) {
    out.push(b'[');
    for (index, (_, value)) in Elements::new(raw, start).enumerate() {
        if index > 0 {
            out.push(b',');
        }
        json(out, raw, value);
    }
    out.push(b']');
}

/// Writes one checked value as extended JSON.
pub fn json(out: &mut Vec<u8>, raw: &[u8], value: Value) {
    let Value { kind, start, end } = value;
    match kind {
        DOCUMENT => document(out, raw, start),
        ARRAY => array(out, raw, start),
        STRING => text_or_bytes(out, part(raw, start + 4, end - 1)),
        INT32 => put(out, format_args!("{}", int32(raw, start))),
        INT64 => put(out, format_args!("{}", int64(raw, start))),
        DOUBLE => double(out, f64::from_bits(int64(raw, start) as u64)),
        BOOL if raw.get(start) == Some(&0) => out.extend_from_slice(b"false"),
        BOOL => out.extend_from_slice(b"true"),
        DATE => date(out, int64(raw, start)),
        NULL => out.extend_from_slice(b"null"),
        _ => rare(out, raw, value),
    }
}

fn rare(out: &mut Vec<u8>, raw: &[u8], Value { kind, start, end }: Value) {
    match kind {
        OBJECTID => {
            out.extend_from_slice(b"{\"$oid\":\"");
            hex(out, part(raw, start, end));
            out.extend_from_slice(b"\"}");
        }
        DECIMAL => {
            out.extend_from_slice(b"{\"$numberDecimal\":\"");
            decimal(out, part(raw, start, end));
            out.extend_from_slice(b"\"}");
        }
        BINARY => binary(out, part(raw, start, end)),
        TIMESTAMP => {
            let (increment, seconds) = (int32(raw, start) as u32, int32(raw, start + 4) as u32);
            put(
                out,
                format_args!("{{\"$timestamp\":{{\"t\":{seconds},\"i\":{increment}}}}}"),
            );
        }
        REGEX => regex(out, part(raw, start, end - 1)),
        CODE | SYMBOL => {
            let name = if kind == CODE { "code" } else { "symbol" };
            put(out, format_args!("{{\"${name}\":"));
            text_or_bytes(out, part(raw, start + 4, end - 1));
            out.push(b'}');
        }
        CODE_WITH_SCOPE => {
            let scope = start + 8 + size(raw, start + 4);
            out.extend_from_slice(b"{\"$code\":");
            text_or_bytes(out, part(raw, start + 8, scope - 1));
            out.extend_from_slice(b",\"$scope\":");
            document(out, raw, scope);
            out.push(b'}');
        }
        DBPOINTER => {
            out.extend_from_slice(b"{\"$dbPointer\":{\"$ref\":");
            text_or_bytes(out, part(raw, start + 4, end - 13));
            out.extend_from_slice(b",\"$id\":{\"$oid\":\"");
            hex(out, part(raw, end - 12, end));
            out.extend_from_slice(b"\"}}}");
        }
        UNDEFINED => out.extend_from_slice(b"{\"$undefined\":true}"),
        MAXKEY => out.extend_from_slice(b"{\"$maxKey\":1}"),
        _ => out.extend_from_slice(b"{\"$minKey\":1}"),
    }
}

fn binary(out: &mut Vec<u8>, value: &[u8]) {
    let subtype = value.get(4).copied().unwrap_or(0);
    let mut payload = part(value, 5, value.len());
    if subtype == 4 && payload.len() == 16 {
        out.extend_from_slice(b"{\"$uuid\":\"");
        uuid(out, payload);
        return out.extend_from_slice(b"\"}");
    }
    if subtype == 2 {
        payload = part(payload, 4, payload.len());
    }
    out.extend_from_slice(b"{\"$binary\":{\"base64\":\"");
    base64(out, payload);
    put(out, format_args!("\",\"subType\":\"{subtype:02x}\"}}}}"));
}

fn regex(out: &mut Vec<u8>, value: &[u8]) {
    let mut parts = value.splitn(2, |&byte| byte == 0);
    out.extend_from_slice(b"{\"$regularExpression\":{\"pattern\":");
    text_or_bytes(out, parts.next().unwrap_or(&[]));
    out.extend_from_slice(b",\"options\":");
    text_or_bytes(out, parts.next().unwrap_or(&[]));
    out.extend_from_slice(b"}}");
}

/// Writes an `_id` as text.
pub fn key(out: &mut Vec<u8>, raw: &[u8], value: Value) {
    let Value { kind, start, end } = value;
    let number = match kind {
        OBJECTID => return hex(out, part(raw, start, end)),
        STRING => return string_key(out, part(raw, start + 4, end - 1)),
        DOUBLE => integral(f64::from_bits(int64(raw, start) as u64)),
        DECIMAL => decimal_parts(part(raw, start, end)).integral(),
        _ => None,
    };
    match number {
        Some(number) => put(out, format_args!("{number}")),
        None => json(out, raw, value),
    }
}

fn integral(value: f64) -> Option<i64> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    (value.fract() == 0.0 && (-LIMIT..LIMIT).contains(&value)).then_some(value as i64)
}

fn string_key(out: &mut Vec<u8>, text: &[u8]) {
    if std::str::from_utf8(text).is_err() {
        text_or_bytes(out, text);
    } else if is_ambiguous(text) {
        quote(out, text);
    } else {
        out.extend_from_slice(text);
    }
}

/// Tells whether a string could be taken for the key text of another type, or cannot be held as text (NUL).
fn is_ambiguous(text: &[u8]) -> bool {
    let is_hex = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
    matches!(text.first(), Some(b'{' | b'[' | b'"'))
        || matches!(text, b"true" | b"false" | b"null")
        || (text.len() == 24 && text.iter().all(is_hex))
        || text.contains(&0)
        || is_number(text)
}

/// Splits leading digits off; None where there are none.
fn digits(text: &[u8]) -> Option<&[u8]> {
    let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (count > 0).then(|| part(text, count, text.len()))
}

fn is_number(text: &[u8]) -> bool {
    let Some(mut rest) = digits(text.strip_prefix(b"-").unwrap_or(text)) else {
        return false;
    };
    if let [b'.', fraction @ ..] = rest {
        match digits(fraction) {
            Some(after) => rest = after,
            None => return false,
        }
    }
    let [b'e' | b'E', exponent @ ..] = rest else {
        return rest.is_empty();
    };
    let unsigned = match exponent {
        [b'+' | b'-', unsigned @ ..] => unsigned,
        unsigned => unsigned,
    };
    digits(unsigned).is_some_and(<[u8]>::is_empty)
}
