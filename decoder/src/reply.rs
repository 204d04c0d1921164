//! A server's reply to `find` or `getMore`, taken apart without an object for each document.

use crate::check::{ARRAY, DOCUMENT, Elements, SMALLEST_DOCUMENT, Value, part, size};

const EMPTY: [u8; SMALLEST_DOCUMENT] = [5, 0, 0, 0, 0];

/// Where in a reply its batch of documents is.
pub struct Batch<'a> {
    reply: &'a [u8],
    cursor: Value,
    pub field: &'static str,
    array: Value,
    /// Bytes of its documents.
    pub bytes: usize,
}

impl<'a> Batch<'a> {
    /// Finds the batch; None where there is none, or one that is not sound enough to be cut out.
    pub fn find(reply: &'a [u8]) -> Option<Self> {
        if size(reply, 0) != reply.len() {
            return None;
        }
        let (_, cursor) = Elements::new(reply, 0).find(|(key, _)| *key == b"cursor")?;
        let (field, array) = Elements::new(reply, cursor.start).find_map(|(key, value)| {
            let field = ["firstBatch", "nextBatch"]
                .into_iter()
                .find(|name| name.as_bytes() == key)?;
            Some((field, value))
        })?;
        let inside = array.end < cursor.end && cursor.end < reply.len();
        if (cursor.kind, array.kind) != (DOCUMENT, ARRAY)
            || !inside
            || size(reply, array.start) < SMALLEST_DOCUMENT
        {
            return None;
        }
        let mut batch = Batch {
            reply,
            cursor,
            field,
            array,
            bytes: 0,
        };
        let mut end = array.start + 4;
        for (key, value) in Elements::new(reply, array.start) {
            let whole =
                value.end == value.start + size(reply, value.start) && value.end < array.end;
            if value.kind != DOCUMENT || !whole || value.start != end + key.len() + 2 {
                return None;
            }
            batch.bytes += value.end - value.start;
            end = value.end;
        }
        (end + 1 == array.end).then_some(batch)
    }

    /// Writes the documents one after the other into `out`, which has room for `bytes`.
    pub fn copy(&self, out: &mut [u8]) {
        let mut at = 0;
        for (_, value) in Elements::new(self.reply, self.array.start) {
            let document = part(self.reply, value.start, value.end);
            if let Some(room) = out.get_mut(at..at + document.len()) {
                room.copy_from_slice(document);
            }
            at += document.len();
        }
    }

    /// Returns the reply with an empty batch.
    pub fn rest(&self) -> Vec<u8> {
        let removed = self.array.end - self.array.start - EMPTY.len();
        let mut rest = part(self.reply, 0, self.array.start).to_vec();
        rest.extend_from_slice(&EMPTY);
        rest.extend_from_slice(part(self.reply, self.array.end, self.reply.len()));
        for start in [0, self.cursor.start] {
            let shorter = (size(self.reply, start) - removed) as u32;
            if let Some(prefix) = rest.get_mut(start..start + 4) {
                prefix.copy_from_slice(&shorter.to_le_bytes());
            }
        }
        rest
    }
}
