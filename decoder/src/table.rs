//! One table: its tree of paths, the columns of the batch being built, and its statistics.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, Field, Schema};
use hashbrown::HashTable;

use crate::check::*;
use crate::column::{Column, Form};
use crate::text;

/// A table of more columns than this cannot be loaded anywhere as such; the bound keeps memory in check.
const MAX_PATHS: usize = 10_000;
/// Column names are repeated in every part and manifest.
const MAX_PATH_BYTES: usize = 1_024;
/// Bytes a row takes in a dense column of views: the view, and its share of the validity bitmap rounded up.
pub const VIEW: usize = 17;
const WORD: usize = 9;
const BIT: usize = 1;
const HASH: usize = VIEW + 16;

const NONE: u32 = u32::MAX;
const ROOT: u32 = 0;
/// The root table's first node: made at once, so that no limit on paths can ever leave it out.
const KEY: u32 = 1;

pub const KINDS: [&str; 10] = [
    "int", "double", "decimal", "string", "bool", "date", "objectid", "uuid", "binary", "json",
];

/// A column of a path, in the order of `KINDS`.
#[derive(Clone, Copy)]
enum Kind {
    Int,
    Double,
    Decimal,
    String,
    Bool,
    Date,
    ObjectId,
    Uuid,
    Binary,
    Json,
}

impl Kind {
    fn form(self) -> Form {
        match self {
            Kind::Int => Form::Int,
            Kind::Double => Form::Double,
            Kind::Date => Form::Date,
            Kind::Bool => Form::Bool,
            Kind::Binary => Form::Bytes,
            _ => Form::Text,
        }
    }
}

fn width(form: Form) -> usize {
    match form {
        Form::Int | Form::Double | Form::Date => WORD,
        Form::Bool => BIT,
        Form::Text | Form::Bytes => VIEW,
    }
}

/// Type names in the order of the statistics.
pub const TYPES: [&str; 24] = [
    "double",
    "string",
    "string_invalid",
    "document",
    "array",
    "binary",
    "uuid",
    "binary_other",
    "undefined",
    "objectid",
    "bool",
    "date",
    "null",
    "regex",
    "dbpointer",
    "code",
    "symbol",
    "code_with_scope",
    "int32",
    "timestamp",
    "int64",
    "decimal",
    "minkey",
    "maxkey",
];
const STRING_INVALID: usize = 2;
const UUID: usize = 6;
const BINARY_OTHER: usize = 7;

/// Returns the statistics' index of a type, as far as the BSON type alone tells.
fn type_index(kind: u8) -> usize {
    match kind {
        DOUBLE => 0,
        STRING => 1,
        DOCUMENT => 3,
        ARRAY => 4,
        BINARY => 5,
        UNDEFINED..=CODE_WITH_SCOPE => usize::from(kind) + 2,
        INT32..=DECIMAL => usize::from(kind) + 2,
        MINKEY => 22,
        _ => 23,
    }
}

struct Node {
    key: Box<[u8]>,
    parent: u32,
    /// The node that followed this one, and the first below it, when last seen: uniform documents need no look-up.
    next: u32,
    first: u32,
    depth: u32,
    /// Index of the child table that takes this path's arrays.
    child: u32,
    /// The last row that had this path.
    row: u64,
    columns: [u32; KINDS.len()],
    empty: u64,
    types: [u64; TYPES.len()],
    path: String,
}

/// What all tables of a decoder know.
pub struct Shared {
    pub max_depth: u32,
    pub child_limit: usize,
    pub children: HashMap<String, u32>,
}

/// An array found that becomes rows of a child table.
pub struct Found {
    pub table: u32,
    pub start: usize,
}

/// Statistics of one path.
pub struct FieldStats<'a> {
    pub path: &'a str,
    pub types: &'a [u64; TYPES.len()],
    pub empty: u64,
}

pub struct Table {
    pub path: String,
    pub rows: usize,
    pub total_rows: u64,
    pub deletes: u64,
    pub overflow: u64,
    nodes: Vec<Node>,
    lookup: HashTable<u32>,
    columns: Vec<Column>,
    meta: Vec<(&'static str, Column)>,
    meta_width: usize,
    width: usize,
    variable: usize,
    row: u64,
    /// What the row sets aside: by path the first value, and by path the later values of a key that occurs again.
    set_aside: SetAside,
    /// Makes look-ups proof against keys chosen to collide.
    seed: u64,
    scratch: Vec<u8>,
}

/// Mixes a key and its parent.
fn hash(seed: u64, parent: u32, key: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut state = (seed ^ u64::from(parent)).wrapping_mul(FACTOR) ^ key.len() as u64;
    let mut mix = |word: u64| {
        let product = u128::from(state ^ word) * u128::from(seed | 1);
        state = (product >> 64) as u64 ^ product as u64;
    };
    let mut chunks = key.chunks_exact(8);
    for chunk in &mut chunks {
        mix(int64(chunk, 0) as u64);
    }
    let rest = chunks.remainder();
    mix(short(rest) as u64);
    state
}

/// What one row sets aside, in the order of its fields.
#[derive(Default)]
struct SetAside {
    entries: Vec<(String, Vec<Vec<u8>>, bool)>,
    /// Where in `entries` a path is, first and later values apart: a document may set aside any number.
    index: HashMap<(String, bool), usize>,
}

impl SetAside {
    /// Returns whether a path's first value is set aside.
    fn contains(&self, path: &str) -> bool {
        !self.entries.is_empty() && self.index.contains_key(&(path.to_owned(), false))
    }

    fn add(&mut self, path: String, json: Vec<u8>, repeated: bool) {
        let place = (path, repeated);
        match self
            .index
            .get(&place)
            .and_then(|&at| self.entries.get_mut(at))
        {
            Some((_, values, _)) => values.push(json),
            None => {
                self.index.insert(place.clone(), self.entries.len());
                self.entries.push((place.0, vec![json], repeated));
            }
        }
    }

    /// Returns everything as one JSON object. No path ends in a bare `|`, so no field can pass for repeated values.
    fn take(&mut self) -> Option<Vec<u8>> {
        if self.entries.is_empty() {
            return None;
        }
        self.index.clear();
        let mut out = vec![b'{'];
        for (index, (mut path, values, repeated)) in self.entries.drain(..).enumerate() {
            if index > 0 {
                out.push(b',');
            }
            if repeated {
                path.push_str("|duplicates");
            }
            text::quote(&mut out, path.as_bytes());
            out.push(b':');
            if repeated {
                out.push(b'[');
            }
            out.extend_from_slice(&values.join(&b','));
            if repeated {
                out.push(b']');
            }
        }
        out.push(b'}');
        Some(out)
    }
}

impl Table {
    pub fn new(path: &str, with_op: bool, shared: &Shared) -> Self {
        let names: &[(&'static str, Form)] = match (path.is_empty(), with_op) {
            (true, true) => &[
                ("_id", Form::Text),
                ("_hash", Form::Bytes),
                ("_op", Form::Text),
                ("_rescued", Form::Text),
            ],
            (true, false) => &[
                ("_id", Form::Text),
                ("_hash", Form::Bytes),
                ("_rescued", Form::Text),
            ],
            (false, _) => &[
                ("_id", Form::Text),
                ("_root_id", Form::Text),
                ("_parent_id", Form::Text),
                ("_position", Form::Int),
                ("_rescued", Form::Text),
            ],
        };
        let meta_width = names
            .iter()
            .map(|&(name, form)| if name == "_hash" { HASH } else { width(form) })
            .sum();
        let mut table = Table {
            path: path.to_owned(),
            rows: 0,
            total_rows: 0,
            deletes: 0,
            overflow: 0,
            nodes: Vec::new(),
            lookup: HashTable::new(),
            columns: Vec::new(),
            meta: names
                .iter()
                .map(|&(name, form)| (name, Column::new(form)))
                .collect(),
            meta_width,
            width: meta_width,
            variable: 0,
            row: 0,
            set_aside: SetAside::default(),
            seed: RandomState::new().hash_one(0),
            scratch: Vec::new(),
        };
        table
            .nodes
            .push(node(Box::default(), NONE, 0, NONE, String::new()));
        if path.is_empty() {
            table.add_node(shared, ROOT, b"_id", "_id".to_owned());
        }
        table
    }

    pub fn pending_bytes(&self) -> usize {
        self.rows * self.width + self.variable
    }

    pub fn begin(&mut self) {
        self.rows += 1;
        self.row += 1;
    }

    /// Finishes a row of the root table.
    pub fn end_row(&mut self, key: &[u8], hash: Option<&[u8]>, op: &[u8]) {
        self.end(|name| match name {
            "_id" => Some(key),
            "_hash" => hash,
            _ => Some(op),
        });
    }

    /// Finishes a row of a child table.
    pub fn end_child(&mut self, key: &[u8], root: &[u8], parent: &[u8], position: usize) {
        if let Some((_, column)) = self.meta.get_mut(3) {
            column.push_word(position as i64);
        }
        self.end(|name| match name {
            "_id" => Some(key),
            "_root_id" => Some(root),
            _ => Some(parent),
        });
    }

    fn end<'a>(&mut self, texts: impl Fn(&str) -> Option<&'a [u8]>) {
        let rescued = self.set_aside.take();
        for (name, column) in &mut self.meta {
            if *name == "_rescued" {
                self.variable += column.push_optional(rescued.as_deref());
            } else if column.form() != Form::Int {
                self.variable += column.push_optional(texts(name));
            }
        }
    }

    /// Adds the fields of a document under a node.
    pub fn document(
        &mut self,
        shared: &Shared,
        raw: &[u8],
        start: usize,
        parent: u32,
        found: &mut Vec<Found>,
    ) {
        let mut elements = Elements::new(raw, start);
        let mut previous = NONE;
        loop {
            let guess = match self.nodes.get(previous as usize) {
                Some(node) => node.next,
                None => self
                    .nodes
                    .get(parent as usize)
                    .map_or(NONE, |node| node.first),
            };
            if let Some(node) = self.nodes.get(guess as usize)
                && node.parent == parent
                && let Some(value) = elements.next_if(&node.key)
            {
                self.value(shared, raw, guess, value, found);
                previous = guess;
                continue;
            }
            let Some((key, value)) = elements.next() else {
                return;
            };
            let Some(id) = self.field(shared, raw, parent, key, value, found) else {
                continue;
            };
            match self.nodes.get_mut(previous as usize) {
                Some(node) => node.next = id,
                None => {
                    if let Some(node) = self.nodes.get_mut(parent as usize) {
                        node.first = id;
                    }
                }
            }
            previous = id;
        }
    }

    /// Adds an array's element to a child table's row.
    pub fn element(&mut self, shared: &Shared, raw: &[u8], value: Value, found: &mut Vec<Found>) {
        if value.kind == DOCUMENT && value.end - value.start > SMALLEST_DOCUMENT {
            self.document(shared, raw, value.start, ROOT, found);
        } else {
            self.field(shared, raw, ROOT, b"value", value, found);
        }
    }

    /// Adds one field by its key; returns its node unless it is past the limits on paths.
    fn field(
        &mut self,
        shared: &Shared,
        raw: &[u8],
        parent: u32,
        key: &[u8],
        value: Value,
        found: &mut Vec<Found>,
    ) -> Option<u32> {
        let known = self
            .lookup
            .find(hash(self.seed, parent, key), |&id| {
                is_node(&self.nodes, id, parent, key)
            })
            .copied();
        let id = match known {
            Some(id) => id,
            None => match self.new_node(shared, parent, key) {
                Ok(id) => id,
                Err(path) => {
                    self.overflow += 1;
                    let repeated = self.set_aside.contains(&path);
                    self.rescue(path, raw, value, repeated);
                    return None;
                }
            },
        };
        self.value(shared, raw, id, value, found);
        Some(id)
    }

    /// Makes the node of a key, or returns its path if that is past the limits.
    fn new_node(&mut self, shared: &Shared, parent: u32, key: &[u8]) -> Result<u32, String> {
        let mut path = String::new();
        if let Some(node) = self.nodes.get(parent as usize)
            && parent != ROOT
        {
            path.push_str(&node.path);
            path.push('.');
        }
        escape_key(&mut path, &String::from_utf8_lossy(key));
        if self.nodes.len() > MAX_PATHS || path.len() > MAX_PATH_BYTES {
            return Err(path);
        }
        Ok(self.add_node(shared, parent, key, path))
    }

    fn add_node(&mut self, shared: &Shared, parent: u32, key: &[u8], path: String) -> u32 {
        let child = if self.path.is_empty() {
            shared.children.get(&path)
        } else {
            shared.children.get(&format!("{}.{path}", self.path))
        };
        let depth = self.nodes.get(parent as usize).map_or(0, |node| node.depth) + 1;
        let id = self.nodes.len() as u32;
        self.nodes.push(node(
            key.into(),
            parent,
            depth,
            child.copied().unwrap_or(NONE),
            path,
        ));
        let (nodes, seed) = (&self.nodes, self.seed);
        self.lookup
            .insert_unique(hash(self.seed, parent, key), id, |&id| {
                nodes
                    .get(id as usize)
                    .map_or(0, |node| hash(seed, node.parent, &node.key))
            });
        id
    }

    /// Adds a value at its node: to a column, or to what is set aside.
    #[inline]
    fn value(
        &mut self,
        shared: &Shared,
        raw: &[u8],
        id: u32,
        value: Value,
        found: &mut Vec<Found>,
    ) {
        let Some(node) = self.nodes.get_mut(id as usize) else {
            return;
        };
        if node.row == self.row {
            let path = node.path.clone();
            return self.rescue(path, raw, value, true);
        }
        node.row = self.row;
        let mut type_index = type_index(value.kind);
        let mut empty = false;
        let Value { kind, start, end } = value;
        let kept = if id == KEY && self.path.is_empty() {
            (type_index, empty) = classify(raw, value);
            true
        } else {
            match kind {
                INT32 => self.put_word(shared, id, Kind::Int, i64::from(int32(raw, start))),
                INT64 => self.put_word(shared, id, Kind::Int, int64(raw, start)),
                DOUBLE => self.put_word(shared, id, Kind::Double, int64(raw, start)),
                DATE => self.put_word(shared, id, Kind::Date, int64(raw, start)),
                BOOL => match self.column(shared, id, Kind::Bool) {
                    Some(column) => {
                        column.push_bool(raw.get(start) == Some(&1));
                        true
                    }
                    None => false,
                },
                NULL => true,
                DOCUMENT if end - start == SMALLEST_DOCUMENT => {
                    empty = true;
                    self.put_json(shared, id, raw, value)
                }
                DOCUMENT if node.depth < shared.max_depth => {
                    self.document(shared, raw, start, id, found);
                    true
                }
                ARRAY => {
                    empty = end - start == SMALLEST_DOCUMENT;
                    if node.child == NONE {
                        self.put_json(shared, id, raw, value)
                    } else {
                        found.push(Found {
                            table: node.child,
                            start,
                        });
                        true
                    }
                }
                STRING => {
                    let bytes = part(raw, start + 4, end - 1);
                    empty = bytes.is_empty();
                    if std::str::from_utf8(bytes).is_ok() {
                        self.put_bytes(shared, id, Kind::String, bytes)
                    } else {
                        type_index = STRING_INVALID;
                        self.put_json(shared, id, raw, value)
                    }
                }
                OBJECTID => self.put_text(shared, id, Kind::ObjectId, |out| {
                    text::hex(out, part(raw, start, end));
                }),
                DECIMAL => self.put_text(shared, id, Kind::Decimal, |out| {
                    text::decimal(out, part(raw, start, end));
                }),
                BINARY => {
                    (type_index, empty) = classify(raw, value);
                    self.put_binary(shared, id, raw, value, type_index)
                }
                _ => self.put_json(shared, id, raw, value),
            }
        };
        if !kept {
            self.overflow += 1;
            let path = self
                .nodes
                .get(id as usize)
                .map(|node| node.path.clone())
                .unwrap_or_default();
            return self.rescue(path, raw, value, false);
        }
        if let Some(node) = self.nodes.get_mut(id as usize) {
            node.empty += u64::from(empty);
            if let Some(count) = node.types.get_mut(type_index) {
                *count += 1;
            }
        }
    }

    fn put_binary(
        &mut self,
        shared: &Shared,
        id: u32,
        raw: &[u8],
        value: Value,
        type_index: usize,
    ) -> bool {
        let payload = part(raw, value.start + 5, value.end);
        match type_index {
            UUID => self.put_text(shared, id, Kind::Uuid, |out| text::uuid(out, payload)),
            BINARY_OTHER => self.put_json(shared, id, raw, value),
            _ => self.put_bytes(shared, id, Kind::Binary, payload),
        }
    }

    #[inline]
    fn put_word(&mut self, shared: &Shared, id: u32, kind: Kind, word: i64) -> bool {
        match self.column(shared, id, kind) {
            Some(column) => {
                column.push_word(word);
                true
            }
            None => false,
        }
    }

    #[inline]
    fn put_bytes(&mut self, shared: &Shared, id: u32, kind: Kind, bytes: &[u8]) -> bool {
        match self.column(shared, id, kind) {
            Some(column) => {
                let variable = column.push_bytes(bytes);
                self.variable += variable;
                true
            }
            None => false,
        }
    }

    fn put_text(
        &mut self,
        shared: &Shared,
        id: u32,
        kind: Kind,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> bool {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        write(&mut scratch);
        let kept = self.put_bytes(shared, id, kind, &scratch);
        self.scratch = scratch;
        kept
    }

    fn put_json(&mut self, shared: &Shared, id: u32, raw: &[u8], value: Value) -> bool {
        self.put_text(shared, id, Kind::Json, |out| text::json(out, raw, value))
    }

    /// Returns the column of a path and kind, filled up to the row before this one; None if it would burst the memory.
    #[inline]
    fn column(&mut self, shared: &Shared, id: u32, kind: Kind) -> Option<&mut Column> {
        let slot = self
            .nodes
            .get_mut(id as usize)?
            .columns
            .get_mut(kind as usize)?;
        if *slot == NONE {
            let form = kind.form();
            let width = self.width + width(form);
            if !self.path.is_empty() && self.rows * width > shared.child_limit {
                return None;
            }
            self.width = width;
            *slot = self.columns.len() as u32;
            self.columns.push(Column::new(form));
        }
        let column = self.columns.get_mut(*slot as usize)?;
        column.pad(self.rows - 1);
        Some(column)
    }

    fn rescue(&mut self, path: String, raw: &[u8], value: Value, repeated: bool) {
        let mut json = Vec::new();
        text::json(&mut json, raw, value);
        self.set_aside.add(path, json, repeated);
    }

    /// Hands the batch over and starts a new one.
    pub fn flush(&mut self) -> Result<RecordBatch, ArrowError> {
        let rows = self.rows;
        let mut fields = Vec::new();
        let mut arrays = Vec::new();
        for (name, column) in &mut self.meta {
            let form = column.form();
            fields.push(Field::new(*name, form.data_type(), true));
            arrays.push(std::mem::replace(column, Column::new(form)).finish(rows));
        }
        let mut columns: Vec<Option<Column>> = self.columns.drain(..).map(Some).collect();
        for node in &mut self.nodes {
            for (slot, kind) in node.columns.iter_mut().zip(KINDS) {
                if let Some(column) = columns.get_mut(*slot as usize).and_then(Option::take) {
                    let name = format!("{}|{kind}", node.path);
                    fields.push(Field::new(name, column.form().data_type(), true));
                    arrays.push(column.finish(rows));
                }
                *slot = NONE;
            }
        }
        self.rows = 0;
        self.variable = 0;
        self.width = self.meta_width;
        RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
    }

    pub fn statistics(&self) -> impl Iterator<Item = FieldStats<'_>> {
        self.nodes
            .iter()
            .filter(|node| node.types.iter().any(|&count| count > 0))
            .map(|node| FieldStats {
                path: &node.path,
                types: &node.types,
                empty: node.empty,
            })
    }
}

fn node(key: Box<[u8]>, parent: u32, depth: u32, child: u32, path: String) -> Node {
    Node {
        key,
        parent,
        next: NONE,
        first: NONE,
        depth,
        child,
        row: 0,
        columns: [NONE; KINDS.len()],
        empty: 0,
        types: [0; TYPES.len()],
        path,
    }
}

fn is_node(nodes: &[Node], id: u32, parent: u32, key: &[u8]) -> bool {
    nodes
        .get(id as usize)
        .is_some_and(|node| node.parent == parent && same(&node.key, key))
}

/// Returns a value's type in the statistics, and whether it is empty.
fn classify(raw: &[u8], value: Value) -> (usize, bool) {
    let Value { kind, start, end } = value;
    let size = end - start;
    match kind {
        STRING if std::str::from_utf8(part(raw, start + 4, end - 1)).is_err() => {
            (STRING_INVALID, false)
        }
        STRING | DOCUMENT | ARRAY => (type_index(kind), size == 5),
        BINARY => match raw.get(start + 4) {
            Some(0) => (type_index(kind), size == 5),
            Some(4) if size == 21 => (UUID, false),
            Some(2) => (BINARY_OTHER, size == 9),
            _ => (BINARY_OTHER, size == 5),
        },
        _ => (type_index(kind), false),
    }
}
