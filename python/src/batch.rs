//! Batches: what Python gives, made ready for the library; tickets; and how the items ended.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nixl_store::capi::{
    NIXL_STORE_DEADLINE_DEFAULT, NIXL_STORE_DEADLINE_NONE, NIXL_STORE_ERROR_INVALID_HANDLE,
    NIXL_STORE_ITEM_ADMIT, NIXL_STORE_ITEM_EXACT, NIXL_STORE_ITEM_KEEP, NIXL_STORE_OK,
    NIXL_STORE_SUBMIT_CHAIN, nixl_store_result_t, nixl_store_status_t,
};
use pyo3::exceptions::{PyIndexError, PyTimeoutError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};

use crate::abi::{self, Failure, Keys, Objects, Question, Submit};
use crate::buffer::{self, Held};
use crate::errors;
use crate::store::Shared;

/// How long a wait goes on before it looks whether a signal has come.
const SIGNAL_CHECK: Duration = Duration::from_millis(100);

/// Puts or gets made ready: what the library is given, and what keeps the memory where it is.
pub struct Transfer {
    /// For the library.
    pub objects: Objects,
    /// To be dropped when the batch has completed.
    pub held: Vec<Held>,
}

/// What an item asks for beside the plain transfer.
#[derive(Clone, Copy, Default)]
pub struct Flags {
    /// `NIXL_STORE_ITEM_KEEP`.
    pub keep: bool,
    /// `NIXL_STORE_ITEM_EXACT`.
    pub exact: bool,
    /// `NIXL_STORE_ITEM_ADMIT`.
    pub admit: bool,
}

impl Transfer {
    /// Takes keys and memory from Python.
    ///
    /// # Errors
    /// `TypeError`, `ValueError`, `BufferError`.
    pub fn new(
        keys: &Bound<'_, PyAny>,
        memory: &Bound<'_, PyAny>,
        to_write: bool,
        flags: Flags,
    ) -> PyResult<Transfer> {
        let keys = keys_of(keys)?;
        let mut transfer = Transfer {
            objects: Objects {
                segments: Vec::with_capacity(keys.len()),
                counts: Vec::with_capacity(keys.len()),
                flags: if flags.keep { NIXL_STORE_ITEM_KEEP } else { 0 }
                    | if flags.exact { NIXL_STORE_ITEM_EXACT } else { 0 }
                    | if flags.admit { NIXL_STORE_ITEM_ADMIT } else { 0 },
                keys,
            },
            held: Vec::new(),
        };
        transfer.held.reserve(transfer.objects.keys.len());
        for_each(memory, "memory", |one| transfer.add(&one, to_write))?;
        let (keys, memory) = (transfer.objects.keys.len(), transfer.objects.counts.len());
        if keys != memory {
            return Err(PyValueError::new_err(format!("{keys} keys and {memory} pieces of memory")));
        }
        Ok(transfer)
    }

    /// The same for one object.
    ///
    /// # Errors
    /// As [`Transfer::new`].
    pub fn one(
        key: &Bound<'_, PyAny>,
        memory: &Bound<'_, PyAny>,
        to_write: bool,
        flags: Flags,
    ) -> PyResult<Transfer> {
        let list = PyList::new(key.py(), [key])?;
        Transfer::new(&list, PyList::new(key.py(), [memory])?.as_any(), to_write, flags)
    }

    fn add(&mut self, memory: &Bound<'_, PyAny>, to_write: bool) -> PyResult<()> {
        let before = self.objects.segments.len();
        buffer::add_segments(memory, to_write, &mut self.objects.segments, &mut self.held)?;
        self.objects.counts.push(self.objects.segments.len() - before);
        Ok(())
    }

    /// Submits it.
    ///
    /// # Errors
    /// The library's.
    pub fn submit(
        &self,
        py: Python<'_>,
        shared: &Shared,
        is_put: bool,
        submit: Submit,
    ) -> Result<u64, Failure> {
        let objects = Sendable(&self.objects);
        let handle = shared.handle();
        // SAFETY: `held` keeps the memory where it is, and whoever has it drops it after the batch has completed. That
        // nobody uses the memory meanwhile is what every document of this module asks of its caller.
        py.detach(move || unsafe { handle.transfer(is_put, objects.get(), submit) })
    }
}

/// Addresses that another thread than the one that took them may hand to the library.
struct Sendable<'a>(&'a Objects);

// SAFETY: the thread is the same; only the interpreter is let go of meanwhile. The addresses are not followed here.
unsafe impl Send for Sendable<'_> {}

impl Sendable<'_> {
    // A closure would capture the field alone, without its promise.
    fn get(&self) -> &Objects {
        self.0
    }
}

/// Keys of a batch: a sequence of `str` (its UTF-8), `bytes`, or anything with the buffer protocol.
///
/// # Errors
/// `TypeError`.
pub fn keys_of(keys: &Bound<'_, PyAny>) -> PyResult<Keys> {
    let mut taken = Keys::with_capacity(keys.len().unwrap_or(0));
    for_each(keys, "keys", |key| with_key(&key, |key| taken.push(key)))?;
    Ok(taken)
}

/// The bytes of one key.
///
/// # Errors
/// `TypeError`.
pub fn with_key<T>(key: &Bound<'_, PyAny>, then: impl FnOnce(&[u8]) -> T) -> PyResult<T> {
    if let Ok(text) = key.cast::<PyString>() {
        return Ok(then(text.to_cow()?.as_bytes()));
    }
    if let Ok(bytes) = key.cast::<PyBytes>() {
        return Ok(then(bytes.as_bytes()));
    }
    if !buffer::has_buffer(key) {
        let name = key.get_type().name()?;
        return Err(PyTypeError::new_err(format!("a key is {name}; wanted is str, bytes or a buffer")));
    }
    let view = buffer::view(key)?;
    // SAFETY: copied before the interpreter is let go of; who writes to it from outside Python breaks his own key only.
    Ok(then(unsafe { view.bytes() }))
}

fn for_each<'py>(
    sequence: &Bound<'py, PyAny>,
    name: &str,
    mut then: impl FnMut(Bound<'py, PyAny>) -> PyResult<()>,
) -> PyResult<()> {
    if let Ok(list) = sequence.cast::<PyList>() {
        return list.iter().try_for_each(then);
    }
    if let Ok(tuple) = sequence.cast::<PyTuple>() {
        return tuple.iter().try_for_each(then);
    }
    if sequence.is_instance_of::<PyString>() || buffer::has_buffer(sequence) {
        return Err(PyTypeError::new_err(format!("{name} is one; wanted is a list of them")));
    }
    sequence.try_iter()?.try_for_each(|one| then(one?))
}

/// A deadline in seconds, as the library takes it: `None` is the store's own, infinity is none.
///
/// # Errors
/// `ValueError`.
pub fn deadline_ms(seconds: Option<f64>) -> PyResult<u64> {
    match seconds {
        None => Ok(NIXL_STORE_DEADLINE_DEFAULT),
        Some(seconds) if seconds == f64::INFINITY => Ok(NIXL_STORE_DEADLINE_NONE),
        // 0 has another meaning to the library; a float that is too large becomes the largest number.
        Some(seconds) if seconds >= 0.0 => Ok(((seconds * 1e3).ceil() as u64).max(1)),
        Some(_) => Err(PyValueError::new_err("a deadline is a number of seconds, 0 or more")),
    }
}

/// Options of a submit without a queue.
///
/// # Errors
/// `ValueError`.
pub fn submit(deadline: Option<f64>, chain: bool, request: u64) -> PyResult<Submit> {
    Ok(Submit {
        deadline_ms: deadline_ms(deadline)?,
        queue: None,
        flags: if chain { NIXL_STORE_SUBMIT_CHAIN } else { 0 },
        request,
    })
}

/// How a batch and its items ended.
pub struct Ended {
    status: nixl_store_status_t,
    message: String,
    items: Vec<nixl_store_result_t>,
}

impl Ended {
    /// What `abi::Handle::wait` gave.
    pub fn new((status, message, items): (nixl_store_status_t, String, Vec<nixl_store_result_t>)) -> Ended {
        Ended { status, message, items }
    }

    /// A batch of which nobody can say any more how it ended, because the store is closed.
    pub fn untold(items: usize) -> Ended {
        let status = NIXL_STORE_ERROR_INVALID_HANDLE;
        let item = nixl_store_result_t { status, os_error: 0, bytes: 0, object_length: 0, reserved: [0; 3] };
        let message = "the store was closed before it was asked how this batch ended".to_owned();
        Ended { status, message, items: vec![item; items] }
    }
}

/// How the items of a batch ended, in their order.
#[pyclass(frozen, module = "nixl_store")]
pub struct Results(Arc<Ended>);

impl Results {
    /// Results of a batch that ended so.
    pub fn new(ended: Arc<Ended>) -> Results {
        Results(ended)
    }

    /// The length of the only object, if it was found.
    pub fn only_length(&self) -> Option<u64> {
        self.0.items.first().filter(|item| item.status == NIXL_STORE_OK).map(|item| item.object_length)
    }

    /// Whether every item ended well.
    pub fn is_ok(&self) -> bool {
        self.0.status == NIXL_STORE_OK
    }

    fn list<'py, T: IntoPyObject<'py>>(
        &self,
        py: Python<'py>,
        of: impl Fn(&nixl_store_result_t) -> T,
    ) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, self.0.items.iter().map(of))
    }
}

#[pymethods]
impl Results {
    /// Status of the batch: 0 if every item ended well, positive if one was not found, declined or pinned, else the first
    /// error.
    #[getter]
    fn status(&self) -> i32 {
        self.0.status
    }

    /// Whether every item ended well.
    #[getter]
    fn ok(&self) -> bool {
        self.is_ok()
    }

    /// What the library says of the first error; empty if there was none.
    #[getter]
    fn message(&self) -> &str {
        &self.0.message
    }

    /// For each item, whether it ended well: stored, found, removed, pinned. A put that was declined is not stored.
    #[getter]
    fn found<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        self.list(py, |item| item.status == NIXL_STORE_OK)
    }

    /// The places of the items that ended well, in ascending order.
    #[getter]
    fn found_indices<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let found = self.0.items.iter().enumerate().filter(|(_, item)| item.status == NIXL_STORE_OK);
        PyList::new(py, found.map(|(index, _)| index).collect::<Vec<_>>())
    }

    /// For each item, its status.
    #[getter]
    fn statuses<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        self.list(py, |item| item.status)
    }

    /// For each item, the length of the stored object in bytes, or None if it is not found. 0: not known without asking.
    #[getter]
    fn lengths<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        self.list(py, |item| (item.status == NIXL_STORE_OK).then_some(item.object_length))
    }

    /// For each item, the bytes moved to or from memory, or None if it did not end well.
    #[getter]
    fn sizes_moved<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        self.list(py, |item| (item.status == NIXL_STORE_OK).then_some(item.bytes))
    }

    /// Bytes moved to or from memory, of all items that ended well.
    #[getter]
    fn bytes_moved(&self) -> u64 {
        self.0.items.iter().filter(|item| item.status == NIXL_STORE_OK).map(|item| item.bytes).sum()
    }

    /// Items at the start that ended well: of a chain, the prefix that is stored.
    #[getter]
    fn prefix(&self) -> usize {
        self.0.items.iter().take_while(|item| item.status == NIXL_STORE_OK).count()
    }

    /// Raises the first error, with these results as its attribute `results`; does nothing if there was none. What is not
    /// found, declined or pinned is no error.
    pub fn raise_for_error(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, ended) = (slf.py(), &slf.get().0);
        if ended.status >= NIXL_STORE_OK {
            return Ok(());
        }
        let failure = Failure { status: ended.status, message: ended.message.clone() };
        let error = errors::exception(py, &failure);
        error.value(py).setattr("results", slf)?;
        Err(error)
    }

    fn __len__(&self) -> usize {
        self.0.items.len()
    }

    /// One item's end.
    fn __getitem__(&self, index: isize) -> PyResult<ItemResult> {
        let at = if index < 0 { index + self.0.items.len() as isize } else { index };
        usize::try_from(at)
            .ok()
            .and_then(|at| self.0.items.get(at))
            .map(|&item| ItemResult(item))
            .ok_or_else(|| PyIndexError::new_err(format!("item {index} of {}", self.0.items.len())))
    }

    fn __repr__(&self) -> String {
        let well = self.0.items.iter().filter(|item| item.status == NIXL_STORE_OK).count();
        format!("Results({well} of {} ok, {})", self.0.items.len(), abi::status_name(self.0.status))
    }
}

/// How one item of a batch ended.
#[pyclass(frozen, module = "nixl_store")]
pub struct ItemResult(nixl_store_result_t);

#[pymethods]
impl ItemResult {
    /// 0: well; positive: an answer that is no error; negative: an error.
    #[getter]
    fn status(&self) -> i32 {
        self.0.status
    }

    /// The errno behind it; 0: none.
    #[getter]
    fn os_error(&self) -> i32 {
        self.0.os_error
    }

    /// Bytes moved to or from memory.
    #[getter]
    fn bytes(&self) -> u64 {
        self.0.bytes
    }

    /// Bytes of the stored object where that is known, else 0.
    #[getter]
    fn object_length(&self) -> u64 {
        self.0.object_length
    }

    fn __repr__(&self) -> String {
        format!("ItemResult({}, bytes={})", abi::status_name(self.0.status), self.0.bytes)
    }
}

/// A batch that was submitted. Its memory is in use until it has completed, which `wait()` says.
///
/// A ticket that is dropped cancels nothing: the batch goes on, and its memory is kept until it has completed.
#[pyclass(frozen, module = "nixl_store")]
pub struct Ticket {
    shared: Arc<Shared>,
    ticket: u64,
    items: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    held: Vec<Held>,
    ended: Option<Arc<Ended>>,
}

impl Ticket {
    /// Of a batch that was submitted.
    pub fn new(shared: Arc<Shared>, ticket: u64, items: usize, held: Vec<Held>) -> Ticket {
        Ticket { shared, ticket, items, state: Mutex::new(State { held, ended: None }) }
    }

    /// What the library said of the ticket, or `ended` if it does not know it any more because a wait consumed it.
    fn unless_ended<T>(&self, said: Result<T, Failure>, ended: T) -> Result<T, Failure> {
        match said {
            Err(failure) if failure.status == NIXL_STORE_ERROR_INVALID_HANDLE => {
                let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                if state.ended.is_some() { Ok(ended) } else { Err(failure) }
            }
            said => said,
        }
    }

    /// Waits until the batch has completed, or that moment comes.
    ///
    /// # Errors
    /// The library's; what a signal's handler raises.
    pub fn wait_until(&self, py: Python<'_>, moment: Option<Instant>) -> PyResult<Option<Results>> {
        loop {
            let slice = moment.map_or(SIGNAL_CHECK, |moment| {
                moment.saturating_duration_since(Instant::now()).min(SIGNAL_CHECK)
            });
            // Rounded up, so that the moment has come when the last wait is over.
            let slice_ms = slice.as_nanos().div_ceil(1_000_000) as u64;
            // Several threads that wait take turns here; whoever is first to see the end tells the others.
            let (ended, held) = py
                .detach(|| {
                    let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                    if state.ended.is_none() {
                        let end = self.shared.handle().wait(self.ticket, slice_ms, self.items);
                        state.ended = end?.map(|end| Arc::new(Ended::new(end)));
                    }
                    let ended = state.ended.clone();
                    let held = if ended.is_some() { std::mem::take(&mut state.held) } else { Vec::new() };
                    Ok::<_, Failure>((ended, held))
                })
                .map_err(|failure| self.shared.exception(py, &failure))?;
            drop(held);
            errors::pass_log_on(py);
            if let Some(ended) = ended {
                return Ok(Some(Results(ended)));
            }
            py.check_signals()?;
            if moment.is_some_and(|moment| moment <= Instant::now()) {
                return Ok(None);
            }
        }
    }
}

#[pymethods]
impl Ticket {
    /// Waits until the batch has completed, and tells how its items ended.
    ///
    /// timeout: seconds; None waits as long as it takes. Raises TimeoutError if the batch goes on; its memory is then still in
    /// use. Errors of items are not raised: see Results.raise_for_error().
    #[pyo3(signature = (timeout=None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Results> {
        let moment = match timeout {
            None => None,
            Some(seconds) => {
                let wait = Duration::try_from_secs_f64(seconds);
                // What no clock can hold is for ever.
                if seconds < 0.0 {
                    return Err(PyValueError::new_err("a timeout is a number of seconds, 0 or more"));
                }
                wait.ok().and_then(|wait| Instant::now().checked_add(wait))
            }
        };
        self.wait_until(py, moment)?
            .ok_or_else(|| PyTimeoutError::new_err("the batch has not completed; its memory is still in use"))
    }

    /// Whether the batch has completed. Does not wait.
    fn done(&self, py: Python<'_>) -> PyResult<bool> {
        let done = py.detach(|| self.unless_ended(self.shared.handle().is_complete(self.ticket), true));
        done.map_err(|failure| self.shared.exception(py, &failure))
    }

    /// Asks for the batch to end early: items that were not started end as cancelled. wait() says when it has completed.
    fn cancel(&self, py: Python<'_>) -> PyResult<()> {
        let asked = py.detach(|| self.unless_ended(self.shared.handle().cancel(self.ticket), 0));
        asked.map(|_| ()).map_err(|failure| self.shared.exception(py, &failure))
    }

    fn __len__(&self) -> usize {
        self.items
    }

    fn __repr__(&self) -> String {
        format!("Ticket({} items)", self.items)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if state.ended.is_none() {
            self.shared.adopt(self.ticket, self.items, std::mem::take(&mut state.held));
        }
    }
}

/// Submits a question and gives its ticket.
///
/// # Errors
/// The library's.
pub fn ask(
    py: Python<'_>,
    shared: &Arc<Shared>,
    question: Question,
    keys: &Bound<'_, PyAny>,
    submit: Submit,
) -> PyResult<Ticket> {
    let keys = keys_of(keys)?;
    let handle = shared.handle();
    let asked = py.detach(|| handle.ask(question, &keys, submit));
    errors::pass_log_on(py);
    let ticket = asked.map_err(|failure| shared.exception(py, &failure))?;
    Ok(Ticket::new(Arc::clone(shared), ticket, keys.len(), Vec::new()))
}
