//! Failures of the library as exceptions, and its log in Python's `logging`.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::prelude::*;

use crate::abi::{Failure, Log};

/// Messages that wait for a thread of Python's to come by; older ones give way and are counted.
const LOG_LINES_MAX: usize = 256;

/// The exception that stands for a failure: an instance of `nixl_store.Error`.
pub fn exception(py: Python<'_>, failure: &Failure) -> PyErr {
    let made = py
        .import("nixl_store.errors")
        .and_then(|errors| errors.getattr("from_status"))
        .and_then(|make| make.call1((failure.status, failure.message.as_str())));
    match made {
        Ok(value) => PyErr::from_value(value),
        Err(error) => error,
    }
}

/// Messages of the library on their way to `logging`.
///
/// The library calls from threads of its own, and may hold locks that a thread of Python's waits for with the interpreter
/// held. So nothing of Python's is called from there: messages wait until the next call of this module.
pub struct LogLines {
    lines: Mutex<VecDeque<(u64, u32, String)>>,
    count: AtomicUsize,
    lost: AtomicUsize,
}

/// Those of all stores of the process.
pub static LOG: LogLines =
    LogLines { lines: Mutex::new(VecDeque::new()), count: AtomicUsize::new(0), lost: AtomicUsize::new(0) };

impl Log for LogLines {
    fn message(&self, time_unix_ns: u64, level: u32, text: &str) {
        let mut lines = self.lines.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if lines.len() == LOG_LINES_MAX {
            lines.pop_front();
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        lines.push_back((time_unix_ns, level, text.to_owned()));
        self.count.store(lines.len(), Ordering::Release);
    }
}

/// Hands the messages that wait to the logger `nixl_store`.
///
/// Nothing that a handler raises reaches the caller, whose call has succeeded or failed by itself.
pub fn pass_log_on(py: Python<'_>) {
    if LOG.count.load(Ordering::Acquire) == 0 {
        return;
    }
    let lines = {
        let mut lines = LOG.lines.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        LOG.count.store(0, Ordering::Release);
        std::mem::take(&mut *lines)
    };
    let lost = LOG.lost.swap(0, Ordering::Relaxed);
    let logged = py.import("nixl_store.errors").and_then(|errors| {
        let log = errors.getattr("log_message")?;
        if lost > 0 {
            log.call1((
                2,
                format!("{lost} messages of the log were lost, because no call came by to take them"),
            ))?;
        }
        lines.iter().try_for_each(|(time, level, text)| log.call1((*level, text.as_str(), *time)).map(|_| ()))
    });
    if let Err(error) = logged {
        error.write_unraisable(py, None);
    }
}
