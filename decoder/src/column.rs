//! Columns while they grow, and as Arrow arrays.

use std::sync::Arc;

use arrow_array::types::{Float64Type, Int64Type, TimestampMillisecondType};
use arrow_array::{ArrayRef, BinaryViewArray, BooleanArray, PrimitiveArray, StringViewArray};
use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder, Buffer, NullBuffer, ScalarBuffer};
use arrow_schema::{DataType, TimeUnit};

use crate::check::short;

/// Views hold texts up to this many bytes themselves.
pub const INLINE: usize = 12;
const FIRST_BLOCK: usize = 1 << 10;
const LARGEST_BLOCK: usize = 1 << 20;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Int,
    Double,
    Date,
    Bool,
    Text,
    Bytes,
}

impl Form {
    pub fn data_type(self) -> DataType {
        match self {
            Form::Int => DataType::Int64,
            Form::Double => DataType::Float64,
            Form::Date => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
            Form::Bool => DataType::Boolean,
            Form::Text => DataType::Utf8View,
            Form::Bytes => DataType::BinaryView,
        }
    }
}

/// Variable-size values: 16-byte views, and blocks of bytes that grow without being copied.
#[derive(Default)]
struct Views {
    views: Vec<u128>,
    block: Vec<u8>,
    full: Vec<Buffer>,
}

impl Views {
    fn push(&mut self, bytes: &[u8]) {
        let size = bytes.len() as u128;
        if bytes.len() <= INLINE {
            return self.views.push(size | short(bytes) << 32);
        }
        if self.block.capacity() - self.block.len() < bytes.len() {
            self.new_block(bytes.len());
        }
        let (index, offset) = (self.full.len() as u128, self.block.len() as u128);
        self.block.extend_from_slice(bytes);
        let prefix = bytes
            .first_chunk::<4>()
            .map_or(0, |head| u32::from_le_bytes(*head));
        self.views
            .push(size | u128::from(prefix) << 32 | index << 64 | offset << 96);
    }

    fn new_block(&mut self, least: usize) {
        let next = (2 * self.block.capacity()).clamp(FIRST_BLOCK, LARGEST_BLOCK);
        let block = std::mem::replace(&mut self.block, Vec::with_capacity(next.max(least)));
        if !block.is_empty() {
            self.full.push(Buffer::from_vec(block));
        }
    }

    fn finish(mut self) -> (ScalarBuffer<u128>, Vec<Buffer>) {
        if !self.block.is_empty() {
            self.full.push(Buffer::from_vec(self.block));
        }
        (ScalarBuffer::from(self.views), self.full)
    }
}

/// Which rows have a value: no bits while all have, and none are written for nulls.
#[derive(Default)]
struct Validity {
    rows: usize,
    bits: Option<Vec<u8>>,
}

impl Validity {
    #[inline]
    fn append_valid(&mut self) {
        if let Some(bits) = &mut self.bits {
            let byte = self.rows / 8;
            if bits.len() <= byte {
                bits.resize(byte + 1, 0);
            }
            if let Some(byte) = bits.get_mut(byte) {
                *byte |= 1 << (self.rows % 8);
            }
        }
        self.rows += 1;
    }

    fn append_nulls(&mut self, count: usize) {
        if self.bits.is_none() {
            let mut bits = vec![0xff; self.rows / 8];
            bits.push((1 << (self.rows % 8)) - 1);
            self.bits = Some(bits);
        }
        self.rows += count;
    }

    fn finish(self) -> Option<NullBuffer> {
        let mut bits = self.bits?;
        bits.resize(self.rows.div_ceil(8), 0);
        Some(NullBuffer::new(BooleanBuffer::new(
            Buffer::from_vec(bits),
            0,
            self.rows,
        )))
    }
}

enum Data {
    Words(Vec<i64>),
    Bits(BooleanBufferBuilder),
    Views(Views),
}

/// A column; rows at its end that it has not seen count as null.
pub struct Column {
    form: Form,
    data: Data,
    validity: Validity,
}

impl Column {
    pub fn new(form: Form) -> Self {
        let data = match form {
            Form::Int | Form::Double | Form::Date => Data::Words(Vec::new()),
            Form::Bool => Data::Bits(BooleanBufferBuilder::new(0)),
            Form::Text | Form::Bytes => Data::Views(Views::default()),
        };
        Column {
            form,
            data,
            validity: Validity::default(),
        }
    }

    pub fn form(&self) -> Form {
        self.form
    }

    /// Fills up with nulls to `rows` rows.
    #[inline]
    pub fn pad(&mut self, rows: usize) {
        let missing = rows - self.validity.rows.min(rows);
        if missing > 0 {
            self.append_nulls(missing);
        }
    }

    fn append_nulls(&mut self, count: usize) {
        match &mut self.data {
            Data::Words(words) => words.resize(words.len() + count, 0),
            Data::Bits(bits) => bits.append_n(count, false),
            Data::Views(views) => views.views.resize(views.views.len() + count, 0),
        }
        self.validity.append_nulls(count);
    }

    /// Appends a value to a column of numbers or dates.
    #[inline]
    pub fn push_word(&mut self, value: i64) {
        if let Data::Words(words) = &mut self.data {
            words.push(value);
            self.validity.append_valid();
        }
    }

    #[inline]
    pub fn push_bool(&mut self, value: bool) {
        if let Data::Bits(bits) = &mut self.data {
            bits.append(value);
            self.validity.append_valid();
        }
    }

    /// Appends a value to a column of texts (valid UTF-8 then) or bytes; returns the bytes it takes beside its view.
    #[inline]
    pub fn push_bytes(&mut self, value: &[u8]) -> usize {
        if let Data::Views(views) = &mut self.data {
            views.push(value);
            self.validity.append_valid();
        }
        if value.len() > INLINE { value.len() } else { 0 }
    }

    pub fn push_optional(&mut self, value: Option<&[u8]>) -> usize {
        match value {
            Some(value) => self.push_bytes(value),
            None => {
                self.append_nulls(1);
                0
            }
        }
    }

    /// Returns the column as an Arrow array of `rows` rows.
    pub fn finish(mut self, rows: usize) -> ArrayRef {
        self.pad(rows);
        let nulls = self.validity.finish();
        match (self.data, self.form) {
            (Data::Words(words), form) => {
                let buffer = Buffer::from_vec(words);
                match form {
                    Form::Double => Arc::new(PrimitiveArray::<Float64Type>::new(
                        ScalarBuffer::new(buffer, 0, rows),
                        nulls,
                    )),
                    Form::Date => Arc::new(
                        PrimitiveArray::<TimestampMillisecondType>::new(
                            ScalarBuffer::new(buffer, 0, rows),
                            nulls,
                        )
                        .with_timezone("UTC"),
                    ),
                    _ => Arc::new(PrimitiveArray::<Int64Type>::new(
                        ScalarBuffer::new(buffer, 0, rows),
                        nulls,
                    )),
                }
            }
            (Data::Bits(mut bits), _) => Arc::new(BooleanArray::new(bits.finish(), nulls)),
            (Data::Views(views), form) => {
                let (views, buffers) = views.finish();
                // SAFETY: `Views` writes every view itself, in bounds of the block it names and with its prefix; texts
                // are checked to be UTF-8 before they are pushed.
                unsafe {
                    if form == Form::Bytes {
                        Arc::new(BinaryViewArray::new_unchecked(views, buffers.into(), nulls))
                    } else {
                        Arc::new(StringViewArray::new_unchecked(views, buffers.into(), nulls))
                    }
                }
            }
        }
    }
}
