//! Memory that Python lends: what supports the buffer protocol, and raw addresses with their owner.
//!
//! The stable interface has the buffer protocol from 3.11 on only, but every CPython from 3.9 on exports these three
//! functions, and `Py_buffer` has had this layout since 3.3: it could be taken into the stable interface as it was
//! (PEP 688 and bpo-45459). `nixl_store/__init__.py` refuses other interpreters than CPython.

use std::ffi::{c_char, c_int, c_void};
use std::ptr;

use nixl_store::capi::{
    NIXL_STORE_MEMORY_AUTO, NIXL_STORE_MEMORY_CUDA, NIXL_STORE_MEMORY_HOST, nixl_store_segment_t,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::ffi::PyObject;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

/// CPython's `Py_buffer`.
#[repr(C)]
struct RawBuffer {
    buf: *mut c_void,
    obj: *mut PyObject,
    len: isize,
    itemsize: isize,
    readonly: c_int,
    ndim: c_int,
    format: *mut c_char,
    shape: *mut isize,
    strides: *mut isize,
    suboffsets: *mut isize,
    internal: *mut c_void,
}

/// `PyBUF_SIMPLE`: contiguous bytes; `PyBUF_WRITABLE`: that may be written.
const SIMPLE: c_int = 0;
const WRITABLE: c_int = 1;

unsafe extern "C" {
    fn PyObject_CheckBuffer(object: *mut PyObject) -> c_int;
    fn PyObject_GetBuffer(object: *mut PyObject, view: *mut RawBuffer, flags: c_int) -> c_int;
    fn PyBuffer_Release(view: *mut RawBuffer);
}

/// A buffer that is held: its memory stays where it is until this is dropped, with the interpreter attached.
///
/// Boxed, because an exporter may keep the address of the view until it is released.
pub struct View(Box<RawBuffer>);

// SAFETY: the view is only looked at and released by a thread that is attached to the interpreter.
unsafe impl Send for View {}
// SAFETY: as above; nothing is changed through a shared reference.
unsafe impl Sync for View {}

impl View {
    fn of(object: &Bound<'_, PyAny>, to_write: bool) -> PyResult<View> {
        let mut raw = Box::new(RawBuffer {
            buf: ptr::null_mut(),
            obj: ptr::null_mut(),
            len: 0,
            itemsize: 0,
            readonly: 0,
            ndim: 0,
            format: ptr::null_mut(),
            shape: ptr::null_mut(),
            strides: ptr::null_mut(),
            suboffsets: ptr::null_mut(),
            internal: ptr::null_mut(),
        });
        let flags = if to_write { WRITABLE } else { SIMPLE };
        // SAFETY: attached (there is a `Bound`), a live object, and a view with CPython's layout.
        if unsafe { PyObject_GetBuffer(object.as_ptr(), &raw mut *raw, flags) } != 0 {
            return Err(PyErr::fetch(object.py()));
        }
        Ok(View(raw))
    }

    /// The bytes, as long as the view is held and no one writes to them.
    ///
    /// # Safety
    /// Nobody writes to the memory while the slice is used.
    pub unsafe fn bytes(&self) -> &[u8] {
        if self.0.len <= 0 {
            return &[];
        }
        // SAFETY: the exporter keeps `len` bytes there until the view is released; the rest is the caller's promise.
        unsafe { std::slice::from_raw_parts(self.0.buf.cast(), self.0.len.unsigned_abs()) }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // Where the interpreter is gone, so is what the view held.
        Python::try_attach(|_| {
            // SAFETY: attached; filled by PyObject_GetBuffer and not released yet.
            unsafe { PyBuffer_Release(&raw mut *self.0) };
        });
    }
}

/// Whether an object supports the buffer protocol.
pub fn has_buffer(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: attached, and a live object.
    unsafe { PyObject_CheckBuffer(object.as_ptr()) == 1 }
}

/// A view of an object's bytes for reading.
///
/// # Errors
/// The exporter's.
pub fn view(object: &Bound<'_, PyAny>) -> PyResult<View> {
    View::of(object, false)
}

/// Memory by its address, for what has no buffer protocol: CUDA device memory, tensors of types that Python does not know.
///
/// address: of the first byte. length: bytes. owner: any object; it is kept until the batch has completed, so that the
/// memory is. cuda_device: the ordinal of the device whose memory it is. host: it is host memory. Without either the
/// library finds out what it is.
///
/// The address is trusted: a wrong one ends the process as any stray pointer does.
#[pyclass(frozen, module = "nixl_store")]
pub struct Region {
    address: usize,
    length: u64,
    cuda_device: Option<u32>,
    is_host: bool,
    owner: Option<Py<PyAny>>,
}

#[pymethods]
impl Region {
    #[new]
    #[pyo3(signature = (address, length, owner=None, *, cuda_device=None, host=false))]
    fn new(
        address: usize,
        length: u64,
        owner: Option<Py<PyAny>>,
        cuda_device: Option<u32>,
        host: bool,
    ) -> PyResult<Region> {
        if cuda_device == Some(u32::MAX) {
            return Err(PyValueError::new_err("cuda_device is the ordinal of no device"));
        }
        if host && cuda_device.is_some() {
            return Err(PyValueError::new_err("memory is of the host or of a cuda_device, not of both"));
        }
        Ok(Region { address, length, cuda_device, is_host: host, owner })
    }

    /// Address of the first byte.
    #[getter]
    fn address(&self) -> usize {
        self.address
    }

    /// Bytes.
    #[getter]
    fn length(&self) -> u64 {
        self.length
    }

    /// The ordinal of the CUDA device, where one was named.
    #[getter]
    fn cuda_device(&self) -> Option<u32> {
        self.cuda_device
    }

    fn __repr__(&self) -> String {
        let owned = if self.owner.is_some() { ", owned" } else { "" };
        format!("Region(0x{:x}, {}{owned})", self.address, self.length)
    }
}

/// What keeps one segment's memory where it is.
pub enum Held {
    /// A view of a buffer.
    View(View),
    /// An address, with its owner.
    Region(Py<PyAny>),
}

/// Adds the segments of one object to `segments`, and what keeps them to `held`.
///
/// `memory` is anything with the buffer protocol, a [`Region`], or a list or tuple of these.
///
/// # Errors
/// `TypeError` for anything else, and the exporter's (`BufferError` for memory that is not contiguous or, for a get, not
/// writable).
pub fn add_segments(
    memory: &Bound<'_, PyAny>,
    to_write: bool,
    segments: &mut Vec<nixl_store_segment_t>,
    held: &mut Vec<Held>,
) -> PyResult<()> {
    if let Ok(parts) = memory.cast::<PyList>() {
        return parts.iter().try_for_each(|part| add_segment(&part, to_write, segments, held));
    }
    if let Ok(parts) = memory.cast::<PyTuple>() {
        return parts.iter().try_for_each(|part| add_segment(&part, to_write, segments, held));
    }
    add_segment(memory, to_write, segments, held)
}

fn add_segment(
    memory: &Bound<'_, PyAny>,
    to_write: bool,
    segments: &mut Vec<nixl_store_segment_t>,
    held: &mut Vec<Held>,
) -> PyResult<()> {
    if let Ok(region) = memory.cast::<Region>() {
        held.push(Held::Region(memory.clone().unbind()));
        let region = region.get();
        segments.push(nixl_store_segment_t {
            address: ptr::with_exposed_provenance_mut(region.address),
            length: region.length,
            memory_kind: match region.cuda_device {
                Some(_) => NIXL_STORE_MEMORY_CUDA,
                None if region.is_host => NIXL_STORE_MEMORY_HOST,
                None => NIXL_STORE_MEMORY_AUTO,
            },
            cuda_device: region.cuda_device.map_or(0, |device| device + 1),
            reserved: [0; 2],
        });
        return Ok(());
    }
    if !has_buffer(memory) {
        let kind = memory.get_type();
        let name = kind.name()?;
        return Err(PyTypeError::new_err(format!(
            "memory is {name}; wanted is an object with the buffer protocol, a nixl_store.Region, or a list of these"
        )));
    }
    let view = View::of(memory, to_write)?;
    segments.push(nixl_store_segment_t {
        address: view.0.buf,
        length: view.0.len.unsigned_abs() as u64,
        memory_kind: NIXL_STORE_MEMORY_HOST,
        cuda_device: 0,
        reserved: [0; 2],
    });
    held.push(Held::View(view));
    Ok(())
}
