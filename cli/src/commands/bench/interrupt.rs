//! Ctrl-C and its like: what is under way ends, what was made is removed, and a second one ends the process at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use crate::output::Failure;

/// Exit status of a process that a second signal ends (128 and SIGINT's number).
const EXIT_INTERRUPTED: i32 = 130;

/// Whether a signal came.
#[derive(Clone, Debug)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Takes the signals from now on.
    ///
    /// # Errors
    /// What `sigaction(2)` answers.
    pub fn new() -> Result<Interrupt, Failure> {
        let came = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // In this order: the first one finds the flag down.
            flag::register_conditional_shutdown(signal, EXIT_INTERRUPTED, Arc::clone(&came))
                .and_then(|_| flag::register(signal, Arc::clone(&came)))
                .map_err(|error| Failure::os("taking signals", &error))?;
        }
        Ok(Interrupt(came))
    }

    /// Whether to stop.
    pub fn came(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Stops if a signal came.
    ///
    /// # Errors
    /// It did.
    pub fn check(&self) -> Result<(), Failure> {
        if self.came() {
            return Err(Failure::new("interrupted; what the measurement had made is removed"));
        }
        Ok(())
    }
}
