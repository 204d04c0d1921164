//! Arrow to Postgres binary COPY. What Postgres cannot hold is written as NULL and reported, never sent.

use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, TimeUnit};

use crate::jsonb;
use crate::numeric;

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const TRAILER: i16 = -1;
const NULL: i32 = -1;
/// A field is one allocation of the server, which takes less than 1 GiB with its own overhead.
const LARGEST_FIELD: usize = (1 << 30) - 64;
const LARGEST_JSONB: usize = (1 << 28) - 64;

/// Postgres counts days and microseconds from 2000-01-01.
const DAYS_TO_2000: i64 = 10_957;
const MICROS_A_DAY: i64 = 86_400_000_000;
/// Julian day 0, and the day after the last one, in days since 2000.
const FIRST_DAY: i64 = -2_451_545;
const END_DAY: i64 = 2_145_031_949;
/// The same for timestamptz, in microseconds since 2000.
const FIRST_MICRO: i64 = -211_813_488_000_000_000;
const END_MICRO: i64 = 9_223_371_331_200_000_000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    Bool,
    BigInt,
    Double,
    Numeric,
    Text,
    TimestampTz,
    Date,
    Uuid,
    Bytea,
    Jsonb,
}

impl Target {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "bool" | "boolean" => Target::Bool,
            "bigint" => Target::BigInt,
            "double precision" => Target::Double,
            "numeric" => Target::Numeric,
            "text" => Target::Text,
            "timestamptz" | "timestamp with time zone" => Target::TimestampTz,
            "date" => Target::Date,
            "uuid" => Target::Uuid,
            "bytea" => Target::Bytea,
            "jsonb" => Target::Jsonb,
            _ => return None,
        })
    }
}

/// How a column's values are read and written. Encoders write length and bytes, or return false and write nothing.
type Encoder<'a> = Box<dyn Fn(usize, &mut Vec<u8>) -> bool + 'a>;

struct Writer<'a, 'b> {
    name: &'a str,
    array: &'b ArrayRef,
    encode: Encoder<'b>,
}

/// COPY data, and the (row, column) of values that could not be encoded.
pub struct Encoded<'a> {
    pub bytes: Vec<u8>,
    pub misfits: Vec<(usize, &'a str)>,
}

/// Encodes batches.
pub fn encode<'a>(
    batches: &[RecordBatch],
    columns: &'a [(String, String)],
    header: bool,
    trailer: bool,
) -> Result<Encoded<'a>, String> {
    let mut bytes = Vec::new();
    let mut misfits = Vec::new();
    if header {
        bytes.extend_from_slice(SIGNATURE);
    }
    let count = i16::try_from(columns.len()).map_err(|_| "too many columns".to_owned())?;
    let mut first_row = 0;
    for batch in batches {
        let writers = columns
            .iter()
            .map(|(name, target)| writer(batch, name, target))
            .collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            bytes.extend_from_slice(&count.to_be_bytes());
            for writer in &writers {
                if writer.array.is_null(row) {
                    bytes.extend_from_slice(&NULL.to_be_bytes());
                } else if !(writer.encode)(row, &mut bytes) {
                    bytes.extend_from_slice(&NULL.to_be_bytes());
                    misfits.push((first_row + row, writer.name));
                }
            }
        }
        first_row += batch.num_rows();
    }
    if trailer {
        bytes.extend_from_slice(&TRAILER.to_be_bytes());
    }
    Ok(Encoded { bytes, misfits })
}

fn writer<'a, 'b>(
    batch: &'b RecordBatch,
    name: &'a str,
    target: &str,
) -> Result<Writer<'a, 'b>, String> {
    let array = batch
        .column_by_name(name)
        .ok_or_else(|| format!("the frame has no column {name:?}"))?;
    let parsed = Target::parse(target)
        .ok_or_else(|| format!("unknown type {target:?} of column {name:?}"))?;
    let encode = encoder(array, parsed).ok_or_else(|| {
        format!(
            "column {name:?} of type {} cannot be encoded as {target}",
            array.data_type()
        )
    })?;
    Ok(Writer {
        name,
        array,
        encode,
    })
}

fn encoder(array: &ArrayRef, target: Target) -> Option<Encoder<'_>> {
    match target {
        Target::Bool => {
            let values = array.as_boolean_opt()?;
            Some(Box::new(move |row, out| {
                field(out, &[u8::from(values.value(row))])
            }))
        }
        Target::BigInt => {
            let read = integers(array)?;
            Some(Box::new(move |row, out| {
                field(out, &read(row).to_be_bytes())
            }))
        }
        Target::Double => doubles(array),
        Target::Numeric => numerics(array),
        Target::Text => {
            let read = texts(array)?;
            Some(Box::new(move |row, out| text(out, read(row))))
        }
        Target::Jsonb => {
            let read = texts(array)?;
            Some(Box::new(move |row, out| json(out, read(row))))
        }
        Target::TimestampTz => timestamps(array),
        Target::Date => {
            let values = array.as_primitive_opt::<Date32Type>()?;
            Some(Box::new(move |row, out| {
                let day = i64::from(values.value(row)) - DAYS_TO_2000;
                (FIRST_DAY..END_DAY).contains(&day) && field(out, &(day as i32).to_be_bytes())
            }))
        }
        Target::Uuid => uuids(array),
        Target::Bytea => {
            let read = binaries(array)?;
            Some(Box::new(move |row, out| field(out, read(row))))
        }
    }
}

/// Writes a field with its length; false if it is too long.
fn field(out: &mut Vec<u8>, bytes: &[u8]) -> bool {
    if bytes.len() > LARGEST_FIELD {
        return false;
    }
    out.extend_from_slice(&(bytes.len() as i32).to_be_bytes());
    out.extend_from_slice(bytes);
    true
}

fn text(out: &mut Vec<u8>, value: &str) -> bool {
    !value.as_bytes().contains(&0) && field(out, value.as_bytes())
}

fn json(out: &mut Vec<u8>, value: &str) -> bool {
    if value.len() > LARGEST_JSONB || !jsonb::is_valid(value.as_bytes()) {
        return false;
    }
    out.extend_from_slice(&(value.len() as i32 + 1).to_be_bytes());
    // The version of jsonb's binary form.
    out.push(1);
    out.extend_from_slice(value.as_bytes());
    true
}

/// Returns how a row of an array of texts is read, None for other arrays.
pub fn texts<'b>(array: &'b ArrayRef) -> Option<Box<dyn Fn(usize) -> &'b str + 'b>> {
    Some(match array.data_type() {
        DataType::Utf8View => {
            let values = array.as_string_view();
            Box::new(move |row| values.value(row))
        }
        DataType::LargeUtf8 => {
            let values = array.as_string::<i64>();
            Box::new(move |row| values.value(row))
        }
        DataType::Utf8 => {
            let values = array.as_string::<i32>();
            Box::new(move |row| values.value(row))
        }
        _ => return None,
    })
}

fn binaries<'b>(array: &'b ArrayRef) -> Option<Box<dyn Fn(usize) -> &'b [u8] + 'b>> {
    Some(match array.data_type() {
        DataType::BinaryView => {
            let values = array.as_binary_view();
            Box::new(move |row| values.value(row))
        }
        DataType::LargeBinary => {
            let values = array.as_binary::<i64>();
            Box::new(move |row| values.value(row))
        }
        DataType::Binary => {
            let values = array.as_binary::<i32>();
            Box::new(move |row| values.value(row))
        }
        _ => return None,
    })
}

fn integers(array: &ArrayRef) -> Option<Box<dyn Fn(usize) -> i64 + '_>> {
    macro_rules! read {
        ($type:ty) => {{
            let values = array.as_primitive::<$type>();
            Box::new(move |row| i64::from(values.value(row)))
        }};
    }
    Some(match array.data_type() {
        DataType::Int64 => read!(Int64Type),
        DataType::Int32 => read!(Int32Type),
        DataType::Int16 => read!(Int16Type),
        DataType::Int8 => read!(Int8Type),
        DataType::UInt32 => read!(UInt32Type),
        DataType::UInt16 => read!(UInt16Type),
        DataType::UInt8 => read!(UInt8Type),
        _ => return None,
    })
}

fn doubles(array: &ArrayRef) -> Option<Encoder<'_>> {
    if let Some(values) = array.as_primitive_opt::<Float64Type>() {
        return Some(Box::new(move |row, out| {
            field(out, &values.value(row).to_be_bytes())
        }));
    }
    let read = integers(array)?;
    Some(Box::new(move |row, out| {
        let whole = read(row);
        let double = whole as f64;
        // Beyond 2^53 not every integer is a double.
        double as i128 == i128::from(whole) && field(out, &double.to_be_bytes())
    }))
}

fn numerics(array: &ArrayRef) -> Option<Encoder<'_>> {
    if let Some(values) = array.as_primitive_opt::<Float64Type>() {
        return Some(Box::new(move |row, out| {
            numeric::from_double(out, values.value(row))
        }));
    }
    if let Some(read) = integers(array) {
        return Some(Box::new(move |row, out| {
            numeric::from_text(out, &read(row).to_string())
        }));
    }
    let read = texts(array)?;
    Some(Box::new(move |row, out| numeric::from_text(out, read(row))))
}

fn timestamps(array: &ArrayRef) -> Option<Encoder<'_>> {
    macro_rules! read {
        ($type:ty, $convert:expr) => {{
            let values = array.as_primitive::<$type>();
            let convert = $convert;
            Box::new(move |row, out: &mut Vec<u8>| timestamp(out, convert(values.value(row))))
        }};
    }
    Some(match array.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => {
            read!(TimestampSecondType, |value: i64| value
                .checked_mul(1_000_000))
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            read!(TimestampMillisecondType, |value: i64| value
                .checked_mul(1_000))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => read!(TimestampMicrosecondType, Some),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            read!(TimestampNanosecondType, |value: i64| (value % 1_000 == 0)
                .then_some(value / 1_000))
        }
        DataType::Date32 => {
            read!(Date32Type, |value: i32| i64::from(value)
                .checked_mul(MICROS_A_DAY))
        }
        _ => return None,
    })
}

/// Writes microseconds since 1970.
fn timestamp(out: &mut Vec<u8>, micros: Option<i64>) -> bool {
    micros
        .and_then(|micros| micros.checked_sub(DAYS_TO_2000 * MICROS_A_DAY))
        .is_some_and(|micros| {
            (FIRST_MICRO..END_MICRO).contains(&micros) && field(out, &micros.to_be_bytes())
        })
}

fn uuids(array: &ArrayRef) -> Option<Encoder<'_>> {
    if let Some(values) = array.as_fixed_size_binary_opt() {
        return Some(Box::new(move |row, out| uuid(out, values.value(row))));
    }
    if let Some(read) = binaries(array) {
        return Some(Box::new(move |row, out| uuid(out, read(row))));
    }
    let read = texts(array)?;
    Some(Box::new(move |row, out| {
        parse_uuid(read(row).as_bytes()).is_some_and(|bytes| uuid(out, &bytes))
    }))
}

fn uuid(out: &mut Vec<u8>, bytes: &[u8]) -> bool {
    bytes.len() == 16 && field(out, bytes)
}

/// Reads 8-4-4-4-12 hex digits.
fn parse_uuid(text: &[u8]) -> Option<[u8; 16]> {
    let mut digits = Vec::with_capacity(32);
    for (at, &byte) in text.iter().enumerate() {
        if matches!(at, 8 | 13 | 18 | 23) {
            if byte != b'-' {
                return None;
            }
        } else {
            digits.push(char::from(byte).to_digit(16)? as u8);
        }
    }
    let bytes: Vec<u8> = digits
        .chunks_exact(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect();
    if text.len() == 36 {
        bytes.try_into().ok()
    } else {
        None
    }
}
