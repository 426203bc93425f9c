//! Completion queues: batches that a descriptor tells of, for event loops and for LMCache.

use std::collections::HashMap;
use std::ffi::c_int;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::abi::{self, Failure, Question, QueueHandle, Submit};
use crate::batch::{self, Ended, Flags, Results, Transfer};
use crate::buffer::Held;
use crate::errors;
use crate::store::Shared;

/// Tells by a descriptor which batches have completed, so that one thread can wait for many things at once.
///
/// The submit methods are those of Store, and give a number instead of a Ticket; drain() gives the number of each batch that
/// has completed, the tag it was submitted with, which may be any object, and its results. Any thread may use it.
#[pyclass(frozen, module = "nixl_store")]
pub struct Queue {
    shared: Arc<Shared>,
    queue: QueueHandle,
    descriptor: c_int,
    next: AtomicU64,
    pending: Mutex<HashMap<u64, Pending>>,
}

/// A batch that was submitted and whose completion was not drained.
struct Pending {
    items: usize,
    /// 0 until the submit has returned.
    ticket: u64,
    held: Vec<Held>,
    tag: Option<Py<PyAny>>,
}

/// How a batch is submitted, as Python says it.
struct How {
    deadline: Option<f64>,
    chain: bool,
    request: u64,
    tag: Option<Py<PyAny>>,
}

impl Queue {
    /// A queue of that store.
    pub fn new(shared: Arc<Shared>, queue: QueueHandle, descriptor: c_int) -> Queue {
        Queue { shared, queue, descriptor, next: AtomicU64::new(1), pending: Mutex::new(HashMap::new()) }
    }

    fn pending(&self) -> MutexGuard<'_, HashMap<u64, Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Submits a batch under a number of its own.
    ///
    /// The number is known here before the library has it: the completion may be drained by another thread before the
    /// submit has returned.
    fn submit(
        &self,
        py: Python<'_>,
        items: usize,
        held: Vec<Held>,
        how: How,
        submit: impl FnOnce(Submit) -> Result<u64, Failure>,
    ) -> PyResult<u64> {
        let options = batch::submit(how.deadline, how.chain, how.request)?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.pending().insert(number, Pending { items, ticket: 0, held, tag: how.tag });
        let submitted = submit(Submit { queue: Some((self.queue, number)), ..options });
        errors::pass_log_on(py);
        match submitted {
            Ok(ticket) => {
                if let Some(pending) = self.pending().get_mut(&number) {
                    pending.ticket = ticket;
                }
                Ok(number)
            }
            Err(failure) => {
                let refused = self.pending().remove(&number);
                drop(refused);
                Err(self.shared.exception(py, &failure))
            }
        }
    }

    fn transfer(&self, py: Python<'_>, mut transfer: Transfer, is_put: bool, how: How) -> PyResult<u64> {
        let (items, held) = (transfer.objects.keys.len(), std::mem::take(&mut transfer.held));
        self.submit(py, items, held, how, |submit| transfer.submit(py, &self.shared, is_put, submit))
    }

    fn ask(&self, py: Python<'_>, question: Question, keys: &Bound<'_, PyAny>, how: How) -> PyResult<u64> {
        let (keys, handle) = (batch::keys_of(keys)?, self.shared.handle());
        self.submit(py, keys.len(), Vec::new(), how, |submit| {
            py.detach(|| handle.ask(question, &keys, submit))
        })
    }
}

#[pymethods]
impl Queue {
    /// The descriptor: it polls readable while completions wait to be drained. It may be read; it must not be closed, nor used
    /// once the store is closed.
    fn fileno(&self) -> c_int {
        self.descriptor
    }

    /// Makes the descriptor readable until the next drain(), whether completions wait or not.
    fn wake(&self) {
        if !self.shared.is_closed() {
            abi::wake(self.descriptor);
        }
    }

    /// Takes the batches that have completed: a list of (number, tag, Results). Does not wait.
    ///
    /// Once the store is closed, all that was not taken before has completed, and nobody can say any more how: it is told of with
    /// the status of a closed store, so that whoever waits for it goes on.
    fn drain<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let handle = self.shared.handle();
        let drained = PyList::empty(py);
        let completed = match handle.drain(self.queue) {
            Ok(completed) => completed,
            Err(_) if self.shared.is_closed() => {
                let left = std::mem::take(&mut *self.pending());
                for (number, pending) in left {
                    let ended = Ended::untold(pending.items);
                    drained.append((number, pending.tag, Results::new(Arc::new(ended))))?;
                }
                return Ok(drained);
            }
            Err(failure) => return Err(self.shared.exception(py, &failure)),
        };
        for one in completed {
            let Some(pending) = self.pending().remove(&one.user_data) else { continue };
            // Completed, so it does not wait.
            let ended = handle.wait(one.ticket, 0, pending.items);
            let ended = match ended {
                Ok(Some(ended)) => Ended::new(ended),
                Ok(None) => {
                    self.pending().insert(one.user_data, pending);
                    continue;
                }
                // The store was closed between the two calls.
                Err(_) => Ended::untold(pending.items),
            };
            drop(pending.held);
            drained.append((one.user_data, pending.tag, Results::new(Arc::new(ended))))?;
        }
        errors::pass_log_on(py);
        Ok(drained)
    }

    /// Batches that were submitted and not drained.
    fn __len__(&self) -> usize {
        self.pending().len()
    }

    /// Asks for a batch to end early, by its number. Its completion comes as ever; nothing happens if it has been drained.
    fn cancel(&self, py: Python<'_>, number: u64) -> PyResult<()> {
        let ticket = self.pending().get(&number).map_or(0, |pending| pending.ticket);
        if ticket == 0 {
            return Ok(());
        }
        match self.shared.handle().cancel(ticket) {
            // Drained by another thread meanwhile.
            Err(failure) if failure.status == nixl_store::capi::NIXL_STORE_ERROR_INVALID_HANDLE => Ok(()),
            other => other.map(|_| ()).map_err(|failure| self.shared.exception(py, &failure)),
        }
    }

    /// As Store.submit_put(), with a number instead of a Ticket.
    #[pyo3(signature = (keys, memory, *, keep=false, exact=false, admit=false, request=0, deadline=None, tag=None))]
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
        tag: Option<Py<PyAny>>,
    ) -> PyResult<u64> {
        let transfer = Transfer::new(keys, memory, false, Flags { keep, exact, admit })?;
        self.transfer(py, transfer, true, How { deadline, chain: false, request, tag })
    }

    /// As Store.submit_get(), with a number instead of a Ticket.
    #[pyo3(signature = (keys, memory, *, exact=false, request=0, deadline=None, tag=None))]
    #[expect(clippy::too_many_arguments, reason = "named ones in Python")]
    fn submit_get(
        &self,
        py: Python<'_>,
        keys: &Bound<'_, PyAny>,
        memory: &Bound<'_, PyAny>,
        exact: bool,
        request: u64,
        deadline: Option<f64>,
        tag: Option<Py<PyAny>>,
    ) -> PyResult<u64> {
        let transfer = Transfer::new(keys, memory, true, Flags { exact, ..Flags::default() })?;
        self.transfer(py, transfer, false, How { deadline, chain: false, request, tag })
    }

    /// As Store.submit_lookup(), with a number instead of a Ticket.
    #[pyo3(signature = (keys, *, chain=false, request=0, deadline=None, tag=None))]
    fn submit_lookup(
        &self,
        py: Python<'_>,
        keys: &Bound<'_, PyAny>,
        chain: bool,
        request: u64,
        deadline: Option<f64>,
        tag: Option<Py<PyAny>>,
    ) -> PyResult<u64> {
        self.ask(py, Question::Lookup, keys, How { deadline, chain, request, tag })
    }

    /// As Store.submit_remove(), with a number instead of a Ticket.
    #[pyo3(signature = (keys, *, deadline=None, tag=None))]
    fn submit_remove(
        &self,
        py: Python<'_>,
        keys: &Bound<'_, PyAny>,
        deadline: Option<f64>,
        tag: Option<Py<PyAny>>,
    ) -> PyResult<u64> {
        self.ask(py, Question::Remove, keys, How { deadline, chain: false, request: 0, tag })
    }

    /// As Store.submit_pin(), with a number instead of a Ticket.
    #[pyo3(signature = (keys, *, deadline=None, tag=None))]
    fn submit_pin(
        &self,
        py: Python<'_>,
        keys: &Bound<'_, PyAny>,
        deadline: Option<f64>,
        tag: Option<Py<PyAny>>,
    ) -> PyResult<u64> {
        self.ask(py, Question::Pin, keys, How { deadline, chain: false, request: 0, tag })
    }

    /// As Store.submit_unpin(), with a number instead of a Ticket.
    #[pyo3(signature = (keys, *, deadline=None, tag=None))]
    fn submit_unpin(
        &self,
        py: Python<'_>,
        keys: &Bound<'_, PyAny>,
        deadline: Option<f64>,
        tag: Option<Py<PyAny>>,
    ) -> PyResult<u64> {
        self.ask(py, Question::Unpin, keys, How { deadline, chain: false, request: 0, tag })
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        if self.shared.is_closed() {
            return;
        }
        // What is under way goes on; its memory is kept until it has completed.
        let pending = std::mem::take(self.pending.get_mut().unwrap_or_else(PoisonError::into_inner));
        for one in pending.into_values() {
            self.shared.adopt(one.ticket, one.items, one.held);
        }
        self.shared.handle().destroy_queue(self.queue);
    }
}
