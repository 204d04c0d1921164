//! Finding the columns that Postgres refuses for a NUL: most frames have none, and are spared a search by row.

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};

use crate::copy::texts;

const ESCAPE: &[u8] = b"u0000";

/// Returns those of `text` that hold a NUL, and those of `json` that hold the escape of one or what looks like it.
pub fn columns(
    batches: &[RecordBatch],
    text: &[String],
    json: &[String],
) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    for (names, has) in [
        (text, has_nul as fn(&[u8]) -> bool),
        (json, has_escape as fn(&[u8]) -> bool),
    ] {
        for name in names {
            for batch in batches {
                if any(batch, name, has)? {
                    found.push(name.clone());
                    break;
                }
            }
        }
    }
    Ok(found)
}

fn any(batch: &RecordBatch, name: &str, has: fn(&[u8]) -> bool) -> Result<bool, String> {
    let array = batch
        .column_by_name(name)
        .ok_or_else(|| format!("the frame has no column {name:?}"))?;
    // Usual frames: no call through a pointer for each row.
    if let Some(views) = array.as_string_view_opt() {
        return Ok(
            (0..views.len()).any(|row| views.is_valid(row) && has(views.value(row).as_bytes()))
        );
    }
    let read = texts(array).ok_or_else(|| format!("column {name:?} is not of texts"))?;
    Ok((0..array.len()).any(|row| array.is_valid(row) && has(read(row).as_bytes())))
}

fn has_nul(text: &[u8]) -> bool {
    text.contains(&0)
}

fn has_escape(text: &[u8]) -> bool {
    text.split(|&byte| byte == b'\\')
        .skip(1)
        .any(|rest| rest.starts_with(ESCAPE))
}
