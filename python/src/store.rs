//! The store as Python sees it.

use std::ffi::CString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use nixl_store::capi::{
    NIXL_STORE_ERROR_CLOSING, NIXL_STORE_ERROR_INVALID_HANDLE, NIXL_STORE_NOT_FOUND, NIXL_STORE_OK,
    nixl_store_key_contains, nixl_store_key_pin, nixl_store_key_remove, nixl_store_key_unpin,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use crate::abi::{self, Failure, Got, Handle, KeyCall, Opening, Question};
use crate::batch::{self, Flags, Ticket, Transfer};
use crate::buffer::{self, Held};
use crate::errors::{self, LOG, exception};
use crate::queue::Queue;

/// Gets of one object that are repeated because it was replaced by a longer one meanwhile.
const LONGER_MAX: u32 = 8;

/// An open store, shared by everything that was made from it. Closed when the last of it is dropped.
pub struct Shared {
    handle: Handle,
    is_closed: AtomicBool,
    /// Batches whose tickets were dropped: their memory is kept until they have completed.
    orphans: Mutex<Vec<Orphan>>,
}

struct Orphan {
    ticket: u64,
    items: usize,
    #[expect(dead_code, reason = "held for its drop")]
    held: Vec<Held>,
}

impl Shared {
    /// The library's handle, stale once the store is closed.
    pub fn handle(&self) -> Handle {
        self.handle
    }

    /// Keeps the memory of a batch that nobody waits for.
    pub fn adopt(&self, ticket: u64, items: usize, held: Vec<Held>) {
        if !self.is_closed() {
            self.lock().push(Orphan { ticket, items, held });
        }
    }

    /// Lets go of what batches without a ticket used, where they have completed.
    pub fn sweep(&self) {
        let mut orphans = self.lock();
        if orphans.is_empty() {
            return;
        }
        let ended: Vec<Orphan> = orphans
            .extract_if(.., |one| !matches!(self.handle.wait(one.ticket, 0, one.items), Ok(None)))
            .collect();
        drop(orphans);
        drop(ended);
    }

    /// What went wrong, in words for Python: the library names a handle, which nobody has seen here.
    pub fn exception(&self, py: Python<'_>, failure: &Failure) -> PyErr {
        if failure.status == NIXL_STORE_ERROR_INVALID_HANDLE && self.is_closed() {
            let message = "the store is closed".to_owned();
            return errors::exception(py, &Failure { status: failure.status, message });
        }
        errors::exception(py, failure)
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Orphan>> {
        self.orphans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the store, once.
    ///
    /// # Errors
    /// The library's, of the one call that closed it.
    fn close(&self, py: Python<'_>) -> Result<(), Failure> {
        if self.is_closed() {
            return Ok(());
        }
        let closed = py.detach(|| self.handle.close());
        match &closed {
            // Another thread is at it, or a child of fork() tried: what was submitted may still be under way.
            Err(failure) if failure.status == NIXL_STORE_ERROR_CLOSING => {}
            _ => {
                self.is_closed.store(true, Ordering::Release);
                // Not under the lock: a buffer that is released may run code of Python's.
                let orphans = std::mem::take(&mut *self.lock());
                drop(orphans);
            }
        }
        closed.map(|_| ())
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Nobody is left to hear of a failure; the next open recovers as after a crash.
        Python::try_attach(|py| {
            let _ = self.close(py);
            errors::pass_log_on(py);
        });
    }
}

/// The native half of `nixl_store.Store`.
#[pyclass(frozen, subclass, module = "nixl_store._native", name = "Store")]
pub struct NativeStore {
    shared: Arc<Shared>,
}

impl NativeStore {
    fn key(&self, py: Python<'_>, call: KeyCall, key: &Bound<'_, PyAny>) -> PyResult<i32> {
        let key = batch::with_key(key, <[u8]>::to_vec)?;
        self.call(py, |handle| handle.key(call, &key))
    }

    /// Calls the library with the interpreter let go of.
    fn call<T: Send>(
        &self,
        py: Python<'_>,
        call: impl FnOnce(Handle) -> Result<T, Failure> + Send,
    ) -> PyResult<T> {
        let handle = self.shared.handle;
        let done = py.detach(move || call(handle));
        errors::pass_log_on(py);
        done.map_err(|failure| self.shared.exception(py, &failure))
    }

    fn transfer(
        &self,
        py: Python<'_>,
        transfer: Transfer,
        is_put: bool,
        request: u64,
        deadline: Option<f64>,
    ) -> PyResult<Ticket> {
        let submit = batch::submit(deadline, false, request)?;
        self.shared.sweep();
        let submitted = transfer.submit(py, &self.shared, is_put, submit);
        errors::pass_log_on(py);
        let ticket = submitted.map_err(|failure| self.shared.exception(py, &failure))?;
        Ok(Ticket::new(Arc::clone(&self.shared), ticket, transfer.objects.keys.len(), transfer.held))
    }
}

/// Text for the library, which ends it with a NUL.
fn c_text(name: &str, text: Option<String>) -> PyResult<Option<CString>> {
    text.map(CString::new)
        .transpose()
        .map_err(|_| PyValueError::new_err(format!("{name} has a NUL character in it")))
}

#[pymethods]
impl NativeStore {
    #[new]
    #[pyo3(signature = (config=None, *, text=None, chunk_bytes=0, worker_id=0, world_size=1, cuda_device=None,
                        cache_namespace=None))]
    #[expect(clippy::too_many_arguments, reason = "named ones in Python")]
    fn new(
        py: Python<'_>,
        config: Option<PathBuf>,
        text: Option<String>,
        chunk_bytes: u64,
        worker_id: u32,
        world_size: u32,
        cuda_device: Option<u32>,
        cache_namespace: Option<String>,
    ) -> PyResult<NativeStore> {
        let config_path = config
            .map(|path| CString::new(path.into_os_string().into_encoded_bytes()))
            .transpose()
            .map_err(|_| PyValueError::new_err("config has a NUL character in it"))?;
        let opening = Opening {
            config_path,
            config_text: c_text("text", text)?,
            chunk_bytes,
            worker_id,
            world_size,
            cuda_device,
            cache_namespace: c_text("cache_namespace", cache_namespace)?,
        };
        let opened = py.detach(|| Handle::open(&opening, &LOG));
        errors::pass_log_on(py);
        let handle = opened.map_err(|failure| exception(py, &failure))?;
        let shared = Shared { handle, is_closed: AtomicBool::new(false), orphans: Mutex::new(Vec::new()) };
        Ok(NativeStore { shared: Arc::new(shared) })
    }

    /// Closes the store: what is under way is completed, the index is kept. Closing it again does nothing.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let closed = self.shared.close(py);
        errors::pass_log_on(py);
        closed.map_err(|failure| exception(py, &failure))
    }

    /// Whether close() was called.
    #[getter]
    fn closed(&self) -> bool {
        self.shared.is_closed()
    }

    /// Stores one object and waits until it is visible, replacing what the key had: whether it is stored now. False only with
    /// the cache_policy REUSE, which declines what is not worth displacing anything for; nothing was written then.
    ///
    /// memory: a buffer, a Region, or a list of these, whose bytes are the object, one after the other. keep: leave what is
    /// stored under the key, if anything is. exact, with keep: unless it has another length. admit: store it whatever REUSE
    /// finds.
    #[pyo3(signature = (key, memory, *, keep=false, exact=false, admit=false, deadline=None))]
    #[expect(clippy::too_many_arguments, reason = "named ones in Python")]
    fn put(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        memory: &Bound<'_, PyAny>,
        keep: bool,
        exact: bool,
        admit: bool,
        deadline: Option<f64>,
    ) -> PyResult<bool> {
        if !keep && !exact && !admit && deadline.is_none() && buffer::has_buffer(memory) {
            let (key, view) = (batch::with_key(key, <[u8]>::to_vec)?, buffer::view(memory)?);
            let view = &view;
            // SAFETY: that nobody writes to the memory meanwhile is what every document of this module asks of its caller.
            let status = self.call(py, move |handle| handle.put(&key, unsafe { view.bytes() }))?;
            return Ok(status == NIXL_STORE_OK);
        }
        let transfer = Transfer::one(key, memory, false, Flags { keep, exact, admit })?;
        let ticket = self.transfer(py, transfer, true, 0, deadline)?;
        let Some(results) = ticket.wait_until(py, None)? else { return Ok(false) };
        let is_stored = results.is_ok();
        batch::Results::raise_for_error(&Bound::new(py, results)?)?;
        Ok(is_stored)
    }

    /// Fetches one object: its bytes, or None if it is not stored or cannot be proven right.
    ///
    /// Copies into a new bytes object. get_into() fills memory of the caller's without a copy.
    fn get<'py>(&self, py: Python<'py>, key: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let key = batch::with_key(key, <[u8]>::to_vec)?;
        let Some(length) = self.call(py, |handle| handle.key_length(&key))? else { return Ok(None) };
        // A length that is not known is 0; the first get then tells.
        let mut capacity = usize::try_from(length).unwrap_or(usize::MAX).max(1);
        let mut tries = 0;
        loop {
            let mut got = Ok(Got::Missing);
            let bytes = PyBytes::new_with(py, capacity, |memory| {
                let (handle, key, address) =
                    (self.shared.handle, &key, memory.as_mut_ptr().expose_provenance());
                got = py.detach(move || {
                    let address = std::ptr::with_exposed_provenance_mut(address);
                    // SAFETY: `capacity` bytes of an object that nobody else has yet.
                    unsafe { handle.get(key, address, capacity) }
                });
                Ok(())
            })?;
            errors::pass_log_on(py);
            match got.map_err(|failure| exception(py, &failure))? {
                Got::Found(length) if length == capacity => return Ok(Some(bytes)),
                Got::Found(length) => {
                    return Ok(Some(PyBytes::new(py, bytes.as_bytes().get(..length).unwrap_or_default())));
                }
                Got::Missing => return Ok(None),
                Got::TooSmall(_, failure) if tries == LONGER_MAX => return Err(exception(py, &failure)),
                Got::TooSmall(length, _) => capacity = length,
            }
            tries += 1;
        }
    }

    /// Fetches one object into memory: its length in bytes, or None if it is not stored or cannot be proven right.
    ///
    /// memory: a writable buffer, a Region, or a list of these, which the object fills one after the other. exact: an object
    /// of any other length than theirs is not found. Without a hit what the memory holds is undefined.
    #[pyo3(signature = (key, memory, *, exact=false, deadline=None))]
    fn get_into(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        memory: &Bound<'_, PyAny>,
        exact: bool,
        deadline: Option<f64>,
    ) -> PyResult<Option<u64>> {
        let transfer = Transfer::one(key, memory, true, Flags { exact, ..Flags::default() })?;
        let ticket = self.transfer(py, transfer, false, 0, deadline)?;
        let Some(results) = ticket.wait_until(py, None)? else { return Ok(None) };
        let length = results.only_length();
        batch::Results::raise_for_error(&Bound::new(py, results)?)?;
        Ok(length)
    }

    /// Submits puts of many objects and returns at once with a Ticket.
    ///
    /// keys: a list of str or bytes. memory: a list, for each key a buffer, a Region, or a list of these; it must not change
    /// until the batch has completed. keep, exact, admit: see put(). Give the keys of a prompt in the order of its chain.
    /// request: any number for the request that the batch belongs to, where the keys of one come in several batches and no
    /// lookup of them all came before; 0: none. deadline: seconds within which an item must have been started; None: the
    /// store's, infinity: none.
    #[pyo3(signature = (keys, memory, *, keep=false, exact=false, admit=false, request=0, deadline=None))]
    #[expect(clippy::too_many_arguments, reason = "named ones in Python")]
    fn submit_put(
        &self,
        py: Python<'_>,
        keys: &Bound<'_, PyAny>,
        memory: &Bound<'_, PyAny>,
        keep: bool,
        exact: bool,
        admit: bool,
        request: u64,
        deadline: Option<f64>,
    ) -> PyResult<Ticket> {
        let transfer = Transfer::new(keys, memory, false, Flags { keep, exact, admit })?;
        self.transfer(py, transfer, true, request, deadline)
    }

    /// Submits gets of many objects and returns at once with a Ticket.
    ///
    /// keys, request, deadline: see submit_put(). memory: a list, for each key a writable buffer, a Region, or a list of
    /// these; nobody may look at it until the batch has completed, and then only where the item was found. exact: see
    /// get_into().
    #[pyo3(signature = (keys, memory, *, exact=false, request=0, deadline=None))]
    fn submit_get(
        &self,
        py: Python<'_>,
        keys: &Bound<'_, PyAny>,
        memory: &Bound<'_, PyAny>,
        exact: bool,
        request: u64,
        deadline: Option<f64>,
    ) -> PyResult<Ticket> {
        let transfer = Transfer::new(keys, memory, true, Flags { exact, ..Flags::default() })?;
        self.transfer(py, transfer, false, request, deadline)
    }

    /// Submits lookups of many keys. chain: the keys are a chain; behind the first that is missing none is looked up. request:
    /// see submit_put().
    #[pyo3(signature = (keys, *, chain=false, request=0, deadline=None))]
    fn submit_lookup(
        &self,
        py: Python<'_>,
        keys: &Bound<'_, PyAny>,
        chain: bool,
        request: u64,
        deadline: Option<f64>,
    ) -> PyResult<Ticket> {
        batch::ask(py, &self.shared, Question::Lookup, keys, batch::submit(deadline, chain, request)?)
    }

    /// Submits removals of many keys.
    #[pyo3(signature = (keys, *, deadline=None))]
    fn submit_remove(
        &self,
        py: Python<'_>,
        keys: &Bound<'_, PyAny>,
        deadline: Option<f64>,
    ) -> PyResult<Ticket> {
        batch::ask(py, &self.shared, Question::Remove, keys, batch::submit(deadline, false, 0)?)
    }

    /// Submits pins of many keys. Only those that ended well are pinned, and are to be unpinned.
    #[pyo3(signature = (keys, *, deadline=None))]
    fn submit_pin(&self, py: Python<'_>, keys: &Bound<'_, PyAny>, deadline: Option<f64>) -> PyResult<Ticket> {
        batch::ask(py, &self.shared, Question::Pin, keys, batch::submit(deadline, false, 0)?)
    }

    /// Submits unpins of many keys.
    #[pyo3(signature = (keys, *, deadline=None))]
    fn submit_unpin(
        &self,
        py: Python<'_>,
        keys: &Bound<'_, PyAny>,
        deadline: Option<f64>,
    ) -> PyResult<Ticket> {
        batch::ask(py, &self.shared, Question::Unpin, keys, batch::submit(deadline, false, 0)?)
    }

    /// Makes a completion queue: batches submitted through it are told of by its descriptor.
    fn queue(&self, py: Python<'_>) -> PyResult<Queue> {
        let (queue, descriptor) = self.call(py, |handle| handle.queue())?;
        Ok(Queue::new(Arc::clone(&self.shared), queue, descriptor))
    }

    /// Whether a key is stored. It may be gone a moment later, unless it is pinned.
    fn contains(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(self.key(py, nixl_store_key_contains, key)? == NIXL_STORE_OK)
    }

    /// The length of a stored object in bytes, or None if it is not stored.
    fn length(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<Option<u64>> {
        let key = batch::with_key(key, <[u8]>::to_vec)?;
        self.call(py, move |handle| handle.key_length(&key))
    }

    /// How many keys at the start of a chain are stored.
    fn prefix_match(&self, py: Python<'_>, keys: &Bound<'_, PyAny>) -> PyResult<usize> {
        let keys = batch::keys_of(keys)?;
        self.call(py, move |handle| handle.prefix_match(&keys))
    }

    /// How many keys at the start of a chain are stored, and how many of those right behind them puts would store now. The others
    /// are declined herewith, as if they had been put, so that they need not be.
    ///
    /// For engines that copy a chunk before they put it: call it once for a request, or give the request's number. object_bytes: of each object; 0: as many as the stored ones have on
    /// average. Looks at some 4000 keys behind the prefix. Without the cache_policy REUSE all of them would be stored. Nothing
    /// is reserved.
    #[pyo3(signature = (keys, object_bytes=0, *, request=0))]
    fn prefix_plan(
        &self,
        py: Python<'_>,
        keys: &Bound<'_, PyAny>,
        object_bytes: u64,
        request: u64,
    ) -> PyResult<(usize, usize)> {
        let keys = batch::keys_of(keys)?;
        self.call(py, move |handle| handle.prefix_plan(&keys, object_bytes, request))
    }

    /// Removes a key: whether it was stored. Raises PinnedError if it is pinned.
    fn remove(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        match self.key(py, nixl_store_key_remove, key)? {
            NIXL_STORE_OK => Ok(true),
            NIXL_STORE_NOT_FOUND => Ok(false),
            status => Err(exception(py, &Failure { status, message: "the key is pinned".to_owned() })),
        }
    }

    /// Pins a key, so that it is neither evicted nor removed: whether it is stored, and pinned now.
    fn pin(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(self.key(py, nixl_store_key_pin, key)? == NIXL_STORE_OK)
    }

    /// Takes back one pin: whether this store held one.
    fn unpin(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(self.key(py, nixl_store_key_unpin, key)? == NIXL_STORE_OK)
    }

    /// Removes every key that is not pinned, and tells how many.
    fn clear(&self, py: Python<'_>) -> PyResult<u64> {
        self.call(py, |handle| handle.clear())
    }

    /// Makes what was put survive a loss of power.
    fn flush(&self, py: Python<'_>) -> PyResult<()> {
        self.call(py, |handle| handle.flush()).map(|_| ())
    }

    fn _register(&self, py: Python<'_>, address: usize, length: usize) -> PyResult<()> {
        // SAFETY: `memory.py` says that the memory has to stay mapped until it is unregistered, and keeps its owner.
        self.call(py, move |handle| unsafe { handle.register(address, length) }).map(|_| ())
    }

    fn _unregister(&self, py: Python<'_>, address: usize) -> PyResult<()> {
        self.call(py, move |handle| handle.unregister(address)).map(|_| ())
    }

    fn _allocate(&self, py: Python<'_>, length: usize) -> PyResult<usize> {
        self.call(py, move |handle| handle.allocate(length))
    }

    fn _free(&self, py: Python<'_>, address: usize) -> PyResult<()> {
        self.call(py, move |handle| handle.free(address)).map(|_| ())
    }

    fn _stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let s = self.call(py, |handle| handle.stats())?;
        PyTuple::new(
            py,
            [
                s.keys,
                s.bytes_stored,
                s.slots,
                s.slots_free,
                s.capacity_bytes,
                s.keys_pinned,
                s.items_in_flight,
                s.puts_ok,
                s.puts_failed,
                s.gets_hit,
                s.gets_missed,
                s.gets_failed,
                s.bytes_put,
                s.bytes_got,
                s.bytes_direct,
                s.bytes_staged,
                s.evictions,
                s.corruptions,
                s.quarantined_slots,
                s.gets_unverified,
                s.short_transfers,
                s.retries,
                s.timed_out,
                s.cancelled,
                s.puts_declined,
            ],
        )
    }

    /// All that is measured, in the form of OpenMetrics; docs/METRICS.md lists it. For several stores of a process see
    /// `nixl_store.metrics_text()`.
    fn metrics_text(&self, py: Python<'_>) -> PyResult<String> {
        self.call(py, |handle| handle.metrics_text())
    }

    fn _capabilities<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let c = self.call(py, |handle| handle.capabilities())?;
        let text = |characters| abi::text(characters);
        let path = (
            c.object_bytes_max,
            c.direct_alignment,
            c.io_threads,
            c.direct_io == 1,
            c.registered_buffers == 1,
        );
        let words = (
            text(&c.backend[..]),
            text(&c.io_path),
            text(&c.layout),
            text(&c.reason),
            text(&c.buffer_device),
            text(&c.device_path),
            text(&c.device_checksums),
            text(&c.device_reason),
        );
        path.into_pyobject(py)?.add(words.into_pyobject(py)?)?.cast_into::<PyTuple>().map_err(PyErr::from)
    }
}
