//! Checking a document against the BSON specification before anything of it is used.

use std::borrow::Cow;

pub const DOUBLE: u8 = 0x01;
pub const STRING: u8 = 0x02;
pub const DOCUMENT: u8 = 0x03;
pub const ARRAY: u8 = 0x04;
pub const BINARY: u8 = 0x05;
pub const UNDEFINED: u8 = 0x06;
pub const OBJECTID: u8 = 0x07;
pub const BOOL: u8 = 0x08;
pub const DATE: u8 = 0x09;
pub const NULL: u8 = 0x0a;
pub const REGEX: u8 = 0x0b;
pub const DBPOINTER: u8 = 0x0c;
pub const CODE: u8 = 0x0d;
pub const SYMBOL: u8 = 0x0e;
pub const CODE_WITH_SCOPE: u8 = 0x0f;
pub const INT32: u8 = 0x10;
pub const TIMESTAMP: u8 = 0x11;
pub const INT64: u8 = 0x12;
pub const DECIMAL: u8 = 0x13;
pub const MAXKEY: u8 = 0x7f;
pub const MINKEY: u8 = 0xff;

pub const SMALLEST_DOCUMENT: usize = 5;
/// What a MongoDB server itself stores at most; clients may send 100.
pub const MAX_NESTING: usize = 200;
pub const NO_ID: &str = "no _id";

/// A value in a raw document: its type, and where it starts and ends.
#[derive(Clone, Copy)]
pub struct Value {
    pub kind: u8,
    pub start: usize,
    pub end: usize,
}

/// Why a document is rejected; `segments` lead to the place, innermost first.
pub struct Malformed {
    pub reason: Cow<'static, str>,
    pub segments: Vec<String>,
}

impl Malformed {
    pub fn new(reason: impl Into<Cow<'static, str>>) -> Box<Self> {
        Box::new(Malformed {
            reason: reason.into(),
            segments: Vec::new(),
        })
    }
}

type Checked = Result<usize, Box<Malformed>>;

fn fail(reason: impl Into<Cow<'static, str>>) -> Checked {
    Err(Malformed::new(reason))
}

/// Returns the little-endian int32 at `at`, 0 where there is none.
#[inline]
pub fn int32(raw: &[u8], at: usize) -> i32 {
    match raw.get(at..).and_then(<[u8]>::first_chunk::<4>) {
        Some(bytes) => i32::from_le_bytes(*bytes),
        None => 0,
    }
}

/// Returns the little-endian int64 at `at`, 0 where there is none.
#[inline]
pub fn int64(raw: &[u8], at: usize) -> i64 {
    match raw.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        Some(bytes) => i64::from_le_bytes(*bytes),
        None => 0,
    }
}

/// Returns a length prefix as a size; negative ones are far too large for any buffer.
#[inline]
pub fn size(raw: &[u8], at: usize) -> usize {
    int32(raw, at) as u32 as usize
}

/// Returns the part of `raw` from `start` to `end`, nothing where that lies outside.
#[inline]
pub fn part(raw: &[u8], start: usize, end: usize) -> &[u8] {
    raw.get(start..end).unwrap_or(&[])
}

/// Returns up to 12 bytes as a number, the first one lowest; overlapping loads instead of a loop.
#[inline]
pub fn short(bytes: &[u8]) -> u128 {
    let size = bytes.len();
    if size >= 8 {
        let rest = int64(bytes, size - 8) as u64;
        return u128::from(int64(bytes, 0) as u64) | u128::from(rest) << (8 * (size - 8));
    }
    if size >= 4 {
        let rest = int32(bytes, size - 4) as u32;
        return u128::from(int32(bytes, 0) as u32) | u128::from(rest) << (8 * (size - 4));
    }
    bytes
        .iter()
        .rev()
        .fold(0, |number, &byte| number << 8 | u128::from(byte))
}

/// Tells whether keys are equal; most are too short for a call to be worth it.
#[inline]
pub fn same(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    if left.len() <= 12 {
        return short(left) == short(right);
    }
    left == right
}

/// Returns where the first zero byte in `start..end` is, and whether all before it is ASCII.
#[inline]
fn find_zero(raw: &[u8], start: usize, end: usize) -> Option<(usize, bool)> {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let mut at = start;
    let mut seen = 0u64;
    while at + 8 <= end {
        let word = int64(raw, at) as u64;
        let zeros = word.wrapping_sub(LOW) & !word & HIGH;
        if zeros != 0 {
            let before = zeros.trailing_zeros() - 7;
            seen |= word & ((1u64 << before) - 1);
            return Some((at + (before / 8) as usize, seen & HIGH == 0));
        }
        seen |= word;
        at += 8;
    }
    let tail = part(raw, at, end);
    let found = tail.iter().position(|&byte| byte == 0)?;
    let ascii = seen & HIGH == 0 && tail.iter().take(found).all(u8::is_ascii);
    Some((at + found, ascii))
}

/// Returns the end of a value's cstring that starts at `start`, the byte behind its zero.
#[inline]
fn after_zero(raw: &[u8], start: usize) -> usize {
    find_zero(raw, start, raw.len()).map_or(raw.len(), |(zero, _)| zero + 1)
}

/// Returns how many bytes values of a type take, where that is fixed.
#[inline]
fn fixed(kind: u8) -> Option<usize> {
    Some(match kind {
        DOUBLE | DATE | TIMESTAMP | INT64 => 8,
        INT32 => 4,
        BOOL => 1,
        OBJECTID => 12,
        DECIMAL => 16,
        UNDEFINED | NULL | MAXKEY | MINKEY => 0,
        _ => return None,
    })
}

/// Returns where a sound value ends.
#[inline]
fn end_of(raw: &[u8], kind: u8, start: usize) -> usize {
    if let Some(width) = fixed(kind) {
        return start + width;
    }
    match kind {
        STRING | CODE | SYMBOL => start + 4 + size(raw, start),
        BINARY => start + 5 + size(raw, start),
        REGEX => after_zero(raw, after_zero(raw, start)),
        DBPOINTER => start + 16 + size(raw, start),
        _ => start + size(raw, start),
    }
}

/// Walks the elements of a document or array that `Check` has found sound.
pub struct Elements<'a> {
    raw: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Elements<'a> {
    pub fn new(raw: &'a [u8], start: usize) -> Self {
        let end = (start + size(raw, start)).min(raw.len()).saturating_sub(1);
        Elements {
            raw,
            at: start + 4,
            end,
        }
    }

    /// Returns the value of the next element if its key is `expected`.
    #[inline]
    pub fn next_if(&mut self, expected: &[u8]) -> Option<Value> {
        if self.at >= self.end {
            return None;
        }
        let key_end = self.at + 1 + expected.len();
        if self.raw.get(key_end) == Some(&0) && same(part(self.raw, self.at + 1, key_end), expected)
        {
            return Some(self.value(key_end));
        }
        None
    }

    #[inline]
    fn value(&mut self, key_end: usize) -> Value {
        let kind = self.raw.get(self.at).copied().unwrap_or(NULL);
        let start = key_end + 1;
        let end = end_of(self.raw, kind, start);
        self.at = end;
        Value { kind, start, end }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = (&'a [u8], Value);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.end {
            return None;
        }
        let key_start = self.at + 1;
        let (key_end, _) = find_zero(self.raw, key_start, self.end)?;
        let key = part(self.raw, key_start, key_end);
        Some((key, self.value(key_end)))
    }
}

/// Appends a key to a path as one segment.
pub fn escape_key(path: &mut String, key: &str) {
    for character in key.chars() {
        if matches!(character, '\\' | '.' | '|') {
            path.push('\\');
        }
        path.push(character);
    }
}

/// One document's check.
pub struct Check<'a> {
    raw: &'a [u8],
    unit: usize,
    /// Elements of the widest document, its own documents included, arrays' documents each by themselves.
    pub width: usize,
    /// The first sound top-level `_id`.
    pub id: Option<Value>,
}

impl<'a> Check<'a> {
    pub fn new(raw: &'a [u8]) -> Self {
        Check {
            raw,
            unit: 0,
            width: 0,
            id: None,
        }
    }

    /// Fails unless the document from `start` to `end` is sound and has an `_id`.
    pub fn run(&mut self, start: usize, end: usize) -> Result<(), Box<Malformed>> {
        self.document(start, end, 0, false)?;
        self.width = self.width.max(self.unit);
        if self.id.is_none() {
            fail(NO_ID)?;
        }
        Ok(())
    }

    fn document(&mut self, start: usize, limit: usize, level: usize, is_array: bool) -> Checked {
        if level > MAX_NESTING {
            return fail(format!("nested deeper than {MAX_NESTING} levels"));
        }
        if limit.saturating_sub(start) < SMALLEST_DOCUMENT {
            return fail("document is cut off");
        }
        let size = size(self.raw, start);
        if size < SMALLEST_DOCUMENT || size > limit - start {
            return fail("document length is wrong");
        }
        let end = start + size - 1;
        if self.raw.get(end) != Some(&0) {
            return fail("document does not end with a zero byte");
        }
        let (mut at, mut index) = (start + 4, 0);
        while at < end {
            at = if is_array {
                self.item(at, end, level, index)?
            } else {
                self.field(at, end, level)?
            };
            index += 1;
        }
        Ok(end + 1)
    }

    #[inline]
    fn field(&mut self, at: usize, end: usize, level: usize) -> Checked {
        let kind = self.raw.get(at).copied().unwrap_or(0);
        if kind == 0 {
            return fail("document ends before its length");
        }
        let Some((key_end, ascii)) = find_zero(self.raw, at + 1, end) else {
            return fail("key has no end");
        };
        self.unit += 1;
        let key = part(self.raw, at + 1, key_end);
        if !ascii && std::str::from_utf8(key).is_err() {
            return fail("key is not valid UTF-8");
        }
        let start = key_end + 1;
        let value_end = match self.value(kind, start, end, level) {
            Ok(value_end) => value_end,
            Err(mut malformed) => {
                let mut segment = String::new();
                escape_key(&mut segment, &String::from_utf8_lossy(key));
                malformed.segments.push(segment);
                return Err(malformed);
            }
        };
        if level == 0 && self.id.is_none() && key == b"_id" {
            self.id = Some(Value {
                kind,
                start,
                end: value_end,
            });
        }
        Ok(value_end)
    }

    fn item(&mut self, at: usize, end: usize, level: usize, index: usize) -> Checked {
        let kind = self.raw.get(at).copied().unwrap_or(0);
        if kind == 0 {
            return fail("document ends before its length");
        }
        let Some((key_end, _)) = find_zero(self.raw, at + 1, end) else {
            return fail("key has no end");
        };
        let outer = std::mem::take(&mut self.unit);
        let checked = self.value(kind, key_end + 1, end, level);
        self.width = self.width.max(self.unit);
        self.unit = outer;
        checked.map_err(|mut malformed| {
            malformed.segments.push(index.to_string());
            malformed
        })
    }

    #[inline]
    fn value(&mut self, kind: u8, start: usize, end: usize, level: usize) -> Checked {
        if let Some(width) = fixed(kind) {
            if width > end - start {
                return fail("value is cut off");
            }
            if kind == BOOL && self.raw.get(start).is_none_or(|&byte| byte > 1) {
                return fail("boolean is neither 0 nor 1");
            }
            return Ok(start + width);
        }
        match kind {
            STRING | CODE | SYMBOL => self.text(start, end),
            DOCUMENT | ARRAY => self.document(start, end, level + 1, kind == ARRAY),
            BINARY => self.binary(start, end),
            REGEX => {
                let options = self.cstring(start, end)?;
                self.cstring(options, end)
            }
            DBPOINTER => {
                let id = self.text(start, end)?;
                if end - id < 12 {
                    return fail("value is cut off");
                }
                Ok(id + 12)
            }
            CODE_WITH_SCOPE => self.code_with_scope(start, end, level),
            _ => fail(format!("unknown type 0x{kind:02x}")),
        }
    }

    fn length(&self, start: usize, end: usize) -> Checked {
        if end.saturating_sub(start) < 4 {
            return fail("value is cut off");
        }
        Ok(size(self.raw, start))
    }

    #[inline]
    fn text(&self, start: usize, end: usize) -> Checked {
        let size = self.length(start, end)?;
        if size < 1 || size > end - start - 4 {
            return fail("string length is wrong");
        }
        if self.raw.get(start + 3 + size) != Some(&0) {
            return fail("string does not end with a zero byte");
        }
        Ok(start + 4 + size)
    }

    fn cstring(&self, start: usize, end: usize) -> Checked {
        match find_zero(self.raw, start, end) {
            Some((zero, _)) => Ok(zero + 1),
            None => fail("value is cut off"),
        }
    }

    fn binary(&self, start: usize, end: usize) -> Checked {
        let size = self.length(start, end)?;
        if size > (end - start).saturating_sub(5) || end - start < 5 {
            return fail("binary length is wrong");
        }
        let is_old = self.raw.get(start + 4) == Some(&2);
        if is_old && (size < 4 || self.length(start + 5, end)? != size - 4) {
            return fail("binary length is wrong");
        }
        Ok(start + 5 + size)
    }

    fn code_with_scope(&mut self, start: usize, end: usize, level: usize) -> Checked {
        let size = self.length(start, end)?;
        if size < 4 || size > end - start {
            return fail("code length is wrong");
        }
        let scope = self.text(start + 4, start + size)?;
        if self.document(scope, start + size, level + 1, false)? != start + size {
            return fail("code length is wrong");
        }
        Ok(start + size)
    }
}
