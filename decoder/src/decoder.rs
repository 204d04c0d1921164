//! The decoder: documents in, record batches, rejects and statistics out.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, Field, Schema};
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::check::*;
use crate::column::{Column, Form};
use crate::table::{Found, Shared, Table, VIEW};
use crate::text;

/// Before a document that might bring so many new columns that pending rows would take this many times `max_bytes`,
/// stop.
const OVERSHOOT: usize = 4;
/// Arrow's views address 4 GiB, and extended JSON can be ten times the size of its BSON.
const MAX_DOCUMENT_BYTES: usize = 256 << 20;
/// Child rows of a single document cannot be cut; past this, columns new to the batch are set aside.
const CHILD_LIMIT: usize = 256 << 20;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Upsert,
    Delete,
}

const REJECT_COLUMNS: [(&str, Form); 5] = [
    ("_id", Form::Text),
    ("reason", Form::Text),
    ("path", Form::Text),
    ("document", Form::Text),
    ("bytes", Form::Bytes),
];

struct Rejects {
    columns: [Column; 5],
    rows: usize,
    bytes: usize,
}

impl Rejects {
    fn new() -> Self {
        Rejects {
            columns: REJECT_COLUMNS.map(|(_, form)| Column::new(form)),
            rows: 0,
            bytes: 0,
        }
    }

    fn push(&mut self, values: [Option<&[u8]>; 5]) {
        self.rows += 1;
        self.bytes += 5 * VIEW;
        for (column, value) in self.columns.iter_mut().zip(values) {
            self.bytes += column.push_optional(value);
        }
    }

    fn flush(&mut self) -> Result<RecordBatch, ArrowError> {
        let rejects = std::mem::replace(self, Rejects::new());
        let fields: Vec<Field> = REJECT_COLUMNS
            .iter()
            .map(|(name, form)| Field::new(*name, form.data_type(), true))
            .collect();
        let arrays = rejects
            .columns
            .map(|column| column.finish(rejects.rows))
            .to_vec();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
    }
}

/// An array whose elements become rows of a child table.
struct Task {
    found: Found,
    parent: Arc<[u8]>,
    positions: Arc<[u8]>,
}

pub struct Core {
    tables: Vec<Table>,
    shared: Shared,
    rejects: Rejects,
    seed: u64,
    max_bytes: usize,
    key: Vec<u8>,
    found: Vec<Found>,
}

impl Core {
    pub fn new(
        children: &[String],
        max_depth: u32,
        seed: u64,
        max_bytes: usize,
        with_op: bool,
    ) -> Self {
        let mut shared = Shared {
            max_depth,
            child_limit: CHILD_LIMIT.max(OVERSHOOT.saturating_mul(max_bytes)),
            children: HashMap::new(),
        };
        let mut paths = vec![String::new()];
        for path in children {
            if !shared.children.contains_key(path) {
                shared.children.insert(path.clone(), paths.len() as u32);
                paths.push(path.clone());
            }
        }
        let tables = paths
            .iter()
            .map(|path| Table::new(path, with_op, &shared))
            .collect();
        Core {
            tables,
            shared,
            rejects: Rejects::new(),
            seed,
            max_bytes,
            key: Vec::new(),
            found: Vec::new(),
        }
    }

    pub fn tables(&self) -> &[Table] {
        &self.tables
    }

    pub fn pending_bytes(&self) -> usize {
        let rows: usize = self.tables.iter().map(Table::pending_bytes).sum();
        rows + self.rejects.bytes
    }

    pub fn pending_rows(&self) -> usize {
        self.tables.first().map_or(0, |table| table.rows)
    }

    /// Decodes documents from `start` on; returns the offset reached.
    pub fn push(&mut self, raw: &[u8], start: usize, op: Op) -> usize {
        let mut at = start;
        while at < raw.len() && self.pending_bytes() < self.max_bytes {
            let Some(end) = document_end(raw, at) else {
                self.reject_rest(part(raw, at, raw.len()));
                return raw.len();
            };
            if !self.take(raw, at, end, op, true) {
                break;
            }
            at = end;
        }
        at
    }

    /// Adds a delete, whatever is pending.
    pub fn push_delete(&mut self, raw: &[u8]) {
        if document_end(raw, 0) == Some(raw.len()) {
            self.take(raw, 0, raw.len(), Op::Delete, false);
        } else {
            self.reject_rest(raw);
        }
    }

    /// Decodes one document; false if a flush must come first.
    fn take(&mut self, raw: &[u8], start: usize, end: usize, op: Op, bounded: bool) -> bool {
        let mut check = Check::new(raw);
        let checked = if end - start > MAX_DOCUMENT_BYTES {
            Err(Malformed::new("document is larger than 256 MiB"))
        } else {
            check.run(start, end)
        };
        let id = match (checked, check.id) {
            (Ok(()), Some(id)) => id,
            (Ok(()), None) => return true,
            (Err(malformed), id) => {
                self.reject(raw, start, end, id, &malformed);
                return true;
            }
        };
        if bounded && self.would_burst(check.width) {
            return false;
        }
        let mut key = std::mem::take(&mut self.key);
        key.clear();
        text::key(&mut key, raw, id);
        match op {
            Op::Upsert => self.row(raw, start, end, &key),
            Op::Delete => {
                if let Some(table) = self.tables.first_mut() {
                    table.deletes += 1;
                    table.begin();
                    table.end_row(&key, None, b"d");
                }
            }
        }
        self.key = key;
        true
    }

    fn would_burst(&self, width: usize) -> bool {
        let rows = self
            .tables
            .iter()
            .map(|table| table.rows)
            .max()
            .unwrap_or(0);
        let pending = self.pending_bytes();
        pending > 0 && pending + rows * width * VIEW > self.max_bytes.saturating_mul(OVERSHOOT)
    }

    fn row(&mut self, raw: &[u8], start: usize, end: usize, key: &[u8]) {
        let Some(table) = self.tables.first_mut() else {
            return;
        };
        table.begin();
        table.total_rows += 1;
        table.document(&self.shared, raw, start, 0, &mut self.found);
        let hash = xxh3_128_with_seed(part(raw, start, end), self.seed).to_be_bytes();
        table.end_row(key, Some(&hash), b"u");
        if !self.found.is_empty() {
            self.children(raw, key);
        }
    }

    fn children(&mut self, raw: &[u8], root: &[u8]) {
        let mut found = std::mem::take(&mut self.found);
        let parent: Arc<[u8]> = root.into();
        let positions: Arc<[u8]> = Arc::default();
        let mut tasks: VecDeque<Task> = VecDeque::new();
        let mut key = Vec::new();
        tasks.extend(found.drain(..).map(|found| Task {
            found,
            parent: parent.clone(),
            positions: positions.clone(),
        }));
        while let Some(task) = tasks.pop_front() {
            let Some(table) = self.tables.get_mut(task.found.table as usize) else {
                continue;
            };
            for (position, (_, value)) in Elements::new(raw, task.found.start).enumerate() {
                key.clear();
                key.extend_from_slice(root);
                key.push(b':');
                key.extend_from_slice(&task.positions);
                if !task.positions.is_empty() {
                    key.push(b'.');
                }
                key.extend_from_slice(position.to_string().as_bytes());
                table.begin();
                table.total_rows += 1;
                table.element(&self.shared, raw, value, &mut found);
                table.end_child(&key, root, &task.parent, position);
                if !found.is_empty() {
                    let parent: Arc<[u8]> = key.as_slice().into();
                    let positions: Arc<[u8]> = part(&key, root.len() + 1, key.len()).into();
                    tasks.extend(found.drain(..).map(|found| Task {
                        found,
                        parent: parent.clone(),
                        positions: positions.clone(),
                    }));
                }
            }
        }
        self.found = found;
    }

    fn reject_rest(&mut self, rest: &[u8]) {
        let reason: &[u8] = b"length prefix is unusable";
        self.rejects
            .push([None, Some(reason), None, None, Some(rest)]);
    }

    fn reject(
        &mut self,
        raw: &[u8],
        start: usize,
        end: usize,
        id: Option<Value>,
        malformed: &Malformed,
    ) {
        let key = id.map(|id| {
            let mut key = Vec::new();
            text::key(&mut key, raw, id);
            key
        });
        let mut document = None;
        if malformed.reason == NO_ID {
            let mut json = Vec::new();
            text::document(&mut json, raw, start);
            document = Some(json);
        }
        let segments: Vec<&str> = malformed
            .segments
            .iter()
            .rev()
            .map(String::as_str)
            .collect();
        let path = (!segments.is_empty()).then(|| segments.join("."));
        self.rejects.push([
            key.as_deref(),
            Some(malformed.reason.as_bytes()),
            path.as_deref().map(str::as_bytes),
            document.as_deref(),
            Some(part(raw, start, end)),
        ]);
    }

    /// Hands over all tables that have rows (the first in any case) and the rejects.
    pub fn flush(&mut self) -> Result<(Vec<(String, RecordBatch)>, RecordBatch), ArrowError> {
        let mut batches = Vec::new();
        for (index, table) in self.tables.iter_mut().enumerate() {
            if index == 0 || table.rows > 0 {
                batches.push((table.path.clone(), table.flush()?));
            }
        }
        Ok((batches, self.rejects.flush()?))
    }
}

/// Returns where the document at `at` ends, None if its length prefix cannot be right.
fn document_end(raw: &[u8], at: usize) -> Option<usize> {
    let left = raw.len() - at;
    let size = size(raw, at);
    (left >= SMALLEST_DOCUMENT && (SMALLEST_DOCUMENT..=left).contains(&size)).then_some(at + size)
}
