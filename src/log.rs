//! Where messages for the operator go: the engine's log function, else standard error.

use std::fmt;
use std::io::Write;
use std::os::fd::AsFd;
use std::sync::Arc;

/// Severity of a message, as the C API numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Level {
    /// Something failed.
    Error = 1,
    /// Something works, but not as asked for.
    Warn = 2,
    /// A fact about how the store runs.
    Info = 3,
    /// Detail for the developers.
    Debug = 4,
}

/// Receives every message at or above the logger's level.
pub type Sink = dyn Fn(Level, &str) + Send + Sync;

/// A cheap handle on the store's log.
#[derive(Clone)]
pub struct Logger {
    sink: Arc<Sink>,
    level_max: Option<Level>,
}

/// Environment variable that names the level: `off`, `error`, `warn`, `info`, `debug`.
pub const LEVEL_VARIABLE: &str = "NIXL_STORE_LOG";

impl Logger {
    /// Messages to `sink`, up to `level_max` (`None`: nothing).
    pub fn new(sink: Arc<Sink>, level_max: Option<Level>) -> Logger {
        Logger { sink, level_max }
    }

    /// Messages to standard error, at the level that [`LEVEL_VARIABLE`] names, else warnings and errors.
    pub fn to_stderr() -> Logger {
        Logger::new(
            Arc::new(|level, message| write_to_stderr(&format!("nixl_store {level:?}: {message}\n"))),
            level_from_environment(Some(Level::Warn)),
        )
    }

    /// Messages to the engine's own sink: everything up to info unless the environment says otherwise.
    pub fn to_sink(sink: Arc<Sink>) -> Logger {
        Logger::new(sink, level_from_environment(Some(Level::Info)))
    }

    /// Sends one message; formatting is skipped when nobody listens.
    pub fn log(&self, level: Level, message: fmt::Arguments<'_>) {
        if self.level_max.is_some_and(|max| level <= max) {
            (self.sink)(level, &message.to_string());
        }
    }

    /// Sends an error.
    pub fn error(&self, message: fmt::Arguments<'_>) {
        self.log(Level::Error, message);
    }

    /// Sends a warning.
    pub fn warn(&self, message: fmt::Arguments<'_>) {
        self.log(Level::Warn, message);
    }

    /// Sends a fact.
    pub fn info(&self, message: fmt::Arguments<'_>) {
        self.log(Level::Info, message);
    }
}

impl fmt::Debug for Logger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logger").field("level_max", &self.level_max).finish_non_exhaustive()
    }
}

/// Writes a line past std's lock of standard error: a child that is forked while another thread has it has it for ever, and
/// may open a store of its own, with something to say.
fn write_to_stderr(line: &str) {
    // Nobody is left to hear of an error.
    let _ = match std::io::stderr().as_fd().try_clone_to_owned() {
        Ok(descriptor) => std::fs::File::from(descriptor).write_all(line.as_bytes()),
        // No descriptor to spare.
        Err(_) => std::io::stderr().write_all(line.as_bytes()),
    };
}

fn level_from_environment(default: Option<Level>) -> Option<Level> {
    match std::env::var(LEVEL_VARIABLE).ok().as_deref() {
        Some("off") => None,
        Some("error") => Some(Level::Error),
        Some("warn") => Some(Level::Warn),
        Some("info") => Some(Level::Info),
        Some("debug") => Some(Level::Debug),
        _ => default,
    }
}
