//! Looks that end in time, whatever a file system, a driver or a server does.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// A look under way, on a thread of its own. One that never ends is left behind, and ends with the process.
pub struct Look<T> {
    answer: Result<Receiver<T>, String>,
    limit: Duration,
    until: Instant,
}

impl<T: Send + 'static> Look<T> {
    /// Begins to look.
    pub fn begin(limit: Duration, look: impl FnOnce() -> T + Send + 'static) -> Look<T> {
        let (tell, told) = mpsc::channel();
        let thread = nixl_store::sys::thread::spawn("doctor", move || {
            // Nobody waits any more if it took too long.
            let _ = tell.send(look());
        });
        let answer = thread.map(|_| told).map_err(|error| format!("no thread to look with: {error}"));
        Look { answer, limit, until: Instant::now() + limit }
    }

    /// What was found.
    ///
    /// # Errors
    /// Why nothing was, in words.
    pub fn end(self) -> Result<T, String> {
        let left = self.until.saturating_duration_since(Instant::now());
        self.answer?.recv_timeout(left).map_err(|error| match error {
            RecvTimeoutError::Timeout => format!("no answer within {} s", self.limit.as_secs()),
            RecvTimeoutError::Disconnected => "the look itself failed".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What hangs is told, and what fails, and neither keeps the caller.
    #[test]
    fn a_look_ends_in_time() {
        let (keep, kept) = mpsc::channel::<()>();
        let hanging = Look::begin(Duration::from_millis(1), move || kept.recv().is_ok());
        assert_eq!(hanging.end().unwrap_err(), "no answer within 0 s");
        drop(keep);
        assert_eq!(Look::begin(Duration::from_secs(60), || 7).end(), Ok(7));
    }
}
