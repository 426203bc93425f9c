//! For how long a batch has been the store's to work on.

use std::time::Instant;

use crate::sync::{AtomicU64, Ordering};

/// Time since a batch was submitted, without that for which it was held because a stream had not come to it.
#[derive(Debug, Default)]
pub struct Age {
    submitted: Option<Instant>,
    held_nanoseconds: AtomicU64,
}

impl Age {
    /// Counts from that moment on.
    pub fn since(submitted: Instant) -> Age {
        Age { submitted: Some(submitted), ..Age::default() }
    }

    /// Notes that the batch was held until now.
    pub fn let_go(&self) {
        self.held_nanoseconds.store(self.nanoseconds(), Ordering::Relaxed);
    }

    /// Nanoseconds up to now; 0 for what was not submitted.
    pub fn nanoseconds(&self) -> u64 {
        let age = self.submitted.map(|submitted| submitted.elapsed().as_nanos() as u64);
        age.unwrap_or_default().saturating_sub(self.held_nanoseconds.load(Ordering::Relaxed))
    }
}
