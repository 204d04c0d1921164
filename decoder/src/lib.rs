//! The warehouse's native module: BSON to Arrow, and Arrow to Postgres binary COPY.

mod check;
mod column;
mod copy;
mod decoder;
mod jsonb;
mod nul;
mod numeric;
mod reply;
mod table;
mod text;

use arrow_array::ffi_stream::{FFI_ArrowArrayStream, RecordBatchStreamReader};
use arrow_array::{RecordBatch, RecordBatchIterator};
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyCapsule, PyCapsuleMethods, PyDict};

use decoder::{Core, Op};
use table::TYPES;

/// A record batch that Python takes over by the Arrow C data interface, once.
#[pyclass]
struct ArrowTable {
    batch: Option<RecordBatch>,
}

#[pymethods]
impl ArrowTable {
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &mut self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let _ = requested_schema;
        let batch = self
            .batch
            .take()
            .ok_or_else(|| PyRuntimeError::new_err("this table has been handed over already"))?;
        let schema = batch.schema();
        let reader = RecordBatchIterator::new([Ok(batch)], schema);
        let stream = FFI_ArrowArrayStream::new(Box::new(reader));
        PyCapsule::new_with_value(py, stream, c"arrow_array_stream")
    }
}

/// See `tasks.landing.decoder.Decoder`.
#[pyclass]
struct Decoder {
    core: Core,
    with_op: bool,
}

/// Arrow's views address 4 GiB; a batch of a server has 16 MiB.
const MAX_RAW_BYTES: usize = (1 << 31) - 1;

fn parse_op(op: &str, with_op: bool) -> PyResult<Op> {
    match op {
        "u" => Ok(Op::Upsert),
        "d" if with_op => Ok(Op::Delete),
        _ => Err(PyValueError::new_err("op must be 'u', or 'd' with with_op")),
    }
}

/// Calls `work` with the bytes of a bytes-like object and without the GIL; only immutable bytes are read in place.
fn with_bytes<R: Send>(
    raw: &Bound<'_, PyAny>,
    work: impl FnOnce(&[u8]) -> R + Send,
) -> PyResult<R> {
    let py = raw.py();
    if raw.len()? > MAX_RAW_BYTES {
        return Err(PyValueError::new_err("raw must be smaller than 2 GiB"));
    }
    if let Ok(bytes) = raw.cast::<PyBytes>() {
        let bytes = bytes.as_bytes();
        return Ok(py.detach(|| work(bytes)));
    }
    let copy = py.get_type::<PyBytes>().call1((raw,))?;
    let bytes = copy.cast::<PyBytes>()?.as_bytes();
    Ok(py.detach(|| work(bytes)))
}

#[pymethods]
impl Decoder {
    #[new]
    #[pyo3(signature = (*, children=Vec::new(), max_depth=8, seed=0, max_bytes=64 << 20, with_op=false))]
    fn new(
        children: Vec<String>,
        max_depth: i64,
        seed: u64,
        max_bytes: i64,
        with_op: bool,
    ) -> PyResult<Self> {
        if !(1..=64).contains(&max_depth) {
            return Err(PyValueError::new_err("max_depth must be between 1 and 64"));
        }
        if max_bytes < 1 {
            return Err(PyValueError::new_err("max_bytes must be at least 1"));
        }
        if children.iter().any(String::is_empty) {
            return Err(PyValueError::new_err("a child table needs a path"));
        }
        let core = Core::new(
            &children,
            max_depth as u32,
            seed,
            max_bytes as usize,
            with_op,
        );
        Ok(Decoder { core, with_op })
    }

    #[getter]
    fn pending_bytes(&self) -> usize {
        self.core.pending_bytes()
    }

    #[getter]
    fn pending_rows(&self) -> usize {
        self.core.pending_rows()
    }

    #[pyo3(signature = (raw, start=0, op="u"))]
    fn push(&mut self, raw: &Bound<'_, PyAny>, start: i64, op: &str) -> PyResult<usize> {
        let op = parse_op(op, self.with_op)?;
        let core = &mut self.core;
        with_bytes(raw, |bytes| {
            let start = usize::try_from(start)
                .ok()
                .filter(|&start| start <= bytes.len())?;
            Some(core.push(bytes, start, op))
        })?
        .ok_or_else(|| PyValueError::new_err("start lies outside of raw"))
    }

    fn push_delete(&mut self, id_document: &Bound<'_, PyAny>) -> PyResult<()> {
        parse_op("d", self.with_op)?;
        let core = &mut self.core;
        with_bytes(id_document, |bytes| core.push_delete(bytes))
    }

    /// Returns the tables by child path, and the rejects.
    fn flush<'py>(&mut self, py: Python<'py>) -> PyResult<(Bound<'py, PyDict>, ArrowTable)> {
        let core = &mut self.core;
        let (batches, rejects) = py
            .detach(|| core.flush())
            .map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
        let tables = PyDict::new(py);
        for (path, batch) in batches {
            tables.set_item(path, Bound::new(py, ArrowTable { batch: Some(batch) })?)?;
        }
        let rejects = ArrowTable {
            batch: Some(rejects),
        };
        Ok((tables, rejects))
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let all = PyDict::new(py);
        for table in self.core.tables() {
            let fields = PyDict::new(py);
            for field in table.statistics() {
                let types = PyDict::new(py);
                for (name, &count) in TYPES.iter().zip(field.types) {
                    if count > 0 {
                        types.set_item(name, count)?;
                    }
                }
                let entry = PyDict::new(py);
                entry.set_item("present", field.types.iter().sum::<u64>())?;
                entry.set_item("types", types)?;
                entry.set_item("empty", field.empty)?;
                fields.set_item(field.path, entry)?;
            }
            let entry = PyDict::new(py);
            entry.set_item("rows", table.total_rows)?;
            entry.set_item("overflow", table.overflow)?;
            entry.set_item("fields", fields)?;
            if table.path.is_empty() {
                entry.set_item("deletes", table.deletes)?;
            }
            all.set_item(&table.path, entry)?;
        }
        Ok(all)
    }
}

/// Takes over the batches of an object with `__arrow_c_stream__`.
fn import_stream(frame: &Bound<'_, PyAny>) -> PyResult<RecordBatchStreamReader> {
    let capsule = frame.call_method0("__arrow_c_stream__")?;
    let pointer = capsule
        .cast::<PyCapsule>()?
        .pointer_checked(Some(c"arrow_array_stream"))?;
    // SAFETY: a capsule of this name holds an ArrowArrayStream; taking it leaves a released one behind, as the
    // interface asks.
    unsafe { RecordBatchStreamReader::from_raw(pointer.as_ptr().cast::<FFI_ArrowArrayStream>()) }
        .map_err(|error| PyValueError::new_err(error.to_string()))
}

type Misfits = Vec<(usize, String)>;

/// Encodes a frame as Postgres binary COPY data.
///
/// Takes `(column, Postgres type)` pairs in the order of the COPY. Returns the data and the `(row, column)` of values
/// that Postgres cannot hold, which are NULL in the data.
#[pyfunction]
#[pyo3(signature = (frame, columns, *, header=true, trailer=true))]
fn encode_copy<'py>(
    frame: &Bound<'py, PyAny>,
    columns: Vec<(String, String)>,
    header: bool,
    trailer: bool,
) -> PyResult<(Bound<'py, PyBytes>, Misfits)> {
    let py = frame.py();
    let reader = import_stream(frame)?;
    let encoded = py
        .detach(|| {
            let batches = reader
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| error.to_string())?;
            copy::encode(&batches, &columns, header, trailer)
        })
        .map_err(PyValueError::new_err)?;
    let misfits = encoded
        .misfits
        .into_iter()
        .map(|(row, name)| (row, name.to_owned()))
        .collect();
    Ok((PyBytes::new(py, &encoded.bytes), misfits))
}

/// Returns those of a frame's columns of texts in which one may hold a NUL, or the JSON escape of one in `json`.
#[pyfunction]
fn columns_with_nul(
    frame: &Bound<'_, PyAny>,
    text: Vec<String>,
    json: Vec<String>,
) -> PyResult<Vec<String>> {
    let reader = import_stream(frame)?;
    frame
        .py()
        .detach(|| {
            let batches = reader
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| error.to_string())?;
            nul::columns(&batches, &text, &json)
        })
        .map_err(PyValueError::new_err)
}

type Parts<'py> = (Bound<'py, PyBytes>, &'static str, Bound<'py, PyBytes>);

/// Takes a server's reply apart: the reply with an empty batch, the batch's field, and its documents one after the other.
///
/// Returns None for a reply without a batch, such as an error, and for one that is not sound.
#[pyfunction]
fn split_reply<'py>(reply: &Bound<'py, PyAny>) -> PyResult<Option<Parts<'py>>> {
    let py = reply.py();
    let buffer = PyBuffer::<u8>::get(reply)?;
    let Some(slice) = buffer.as_slice_ptr() else {
        return Err(PyValueError::new_err("the reply is not contiguous"));
    };
    // SAFETY: the buffer is held until the end, and the GIL, which nothing below releases: nobody changes the bytes.
    let bytes = unsafe { slice.as_ref() };
    let Some(batch) = reply::Batch::find(bytes) else {
        return Ok(None);
    };
    let documents = PyBytes::new_with(py, batch.bytes, |out| {
        batch.copy(out);
        Ok(())
    })?;
    Ok(Some((
        PyBytes::new(py, &batch.rest()),
        batch.field,
        documents,
    )))
}

#[pymodule]
mod warehouse_native {
    #[pymodule_export]
    use super::{ArrowTable, Decoder, columns_with_nul, encode_copy, split_reply};
}
