//! Statuses and errors. The numbers are the C API's and are never reused.

use std::fmt;
use std::io;

/// Outcome of an operation, as the C API numbers it: 0 ok, positive an answer, negative an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Status {
    /// Success.
    Ok = 0,
    /// The key is not stored (or its bytes could not be proven right, which is the same answer).
    NotFound = 1,
    /// Not finished yet.
    InProgress = 2,
    /// A removal was refused because the key is pinned.
    Pinned = 3,
    /// A put was declined by the eviction policy; nothing was written.
    NotAdmitted = 4,
    /// An argument cannot be accepted; nothing was done.
    InvalidArgument = -1,
    /// NULL, closed, or never a handle or ticket of this store.
    InvalidHandle = -2,
    /// The configuration cannot be used.
    Config = -3,
    /// Backend not built in, device missing, or combination not served.
    Unsupported = -4,
    /// The operating system reported an error.
    Io = -5,
    /// The device is full and eviction could not help.
    NoSpace = -6,
    /// Every slot is pinned or quarantined.
    PoolFull = -7,
    /// The get's buffer is smaller than the object.
    BufferTooSmall = -8,
    /// The object is larger than a slot or the capacity.
    TooLarge = -9,
    /// A range get reaches past the end of the object.
    OutOfRange = -10,
    /// A bounded queue or table is full; try later.
    Busy = -11,
    /// The deadline passed before the item was started, or, where requests can be called back, before it was done.
    TimedOut = -12,
    /// Cancelled before it was started.
    Cancelled = -13,
    /// The store is being closed.
    Closing = -14,
    /// Another process owns the static pool.
    Locked = -15,
    /// What is on storage was made with other parameters.
    Format = -16,
    /// The operating system denied access.
    Permission = -17,
    /// Memory, or a thread, could not be had.
    OutOfMemory = -18,
    /// A panic was caught inside the library; the store refuses further work.
    Poisoned = -19,
    /// The process forked after open; the child may only close.
    Forked = -20,
    /// A bug in the library.
    Internal = -21,
    /// An entry of an array of answers that was not filled.
    NoResult = -22,
}

impl Status {
    /// The number in the C API.
    pub const fn code(self) -> i32 {
        self as i32
    }

    /// Every status.
    pub const ALL: [Status; 27] = [
        Status::Ok,
        Status::NotFound,
        Status::InProgress,
        Status::Pinned,
        Status::NotAdmitted,
        Status::InvalidArgument,
        Status::InvalidHandle,
        Status::Config,
        Status::Unsupported,
        Status::Io,
        Status::NoSpace,
        Status::PoolFull,
        Status::BufferTooSmall,
        Status::TooLarge,
        Status::OutOfRange,
        Status::Busy,
        Status::TimedOut,
        Status::Cancelled,
        Status::Closing,
        Status::Locked,
        Status::Format,
        Status::Permission,
        Status::OutOfMemory,
        Status::Poisoned,
        Status::Forked,
        Status::Internal,
        Status::NoResult,
    ];

    /// The status with this number.
    pub fn from_code(code: i32) -> Option<Status> {
        Status::ALL.into_iter().find(|status| status.code() == code)
    }

    /// Whether this is an error rather than success or an answer.
    pub const fn is_error(self) -> bool {
        self.code() < 0
    }

    /// The status behind an operating system error number.
    pub fn from_os_error(os_error: i32) -> Status {
        match os_error {
            libc::ENOSPC | libc::EDQUOT => Status::NoSpace,
            libc::EACCES | libc::EPERM | libc::EROFS => Status::Permission,
            libc::ENOMEM => Status::OutOfMemory,
            _ => Status::Io,
        }
    }
}

/// A failed operation: its status, a message that says what to do, and the OS error if there was one.
#[derive(Clone, Debug)]
pub struct Error {
    status: Status,
    os_error: i32,
    message: String,
}

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error without an OS error number.
    pub fn new(status: Status, message: impl Into<String>) -> Error {
        Error { status, os_error: 0, message: message.into() }
    }

    /// An error from the operating system; `context` names operation and path.
    pub fn os(context: impl fmt::Display, source: &io::Error) -> Error {
        let os_error = source.raw_os_error().unwrap_or(0);
        let status = match source.kind() {
            // Said by this library, of what no system call was asked for.
            io::ErrorKind::Unsupported if os_error == 0 => Status::Unsupported,
            _ => Status::from_os_error(os_error),
        };
        Error { status, os_error, message: format!("{context}: {source}") }
    }

    /// This crate's own error, if `source` wraps one: it knows more than the number.
    pub fn told(source: &io::Error) -> Option<&Error> {
        source.get_ref().and_then(|inner| inner.downcast_ref::<Error>())
    }

    /// A thread that could not be started; `context` says what for. The system answers EAGAIN alike for want of memory,
    /// of address space, and of a place among the user's threads.
    pub fn no_thread(context: impl fmt::Display, source: &io::Error) -> Error {
        Error::os(context, source).with_status(Status::OutOfMemory)
    }

    /// An error with the number of an operating system's error that is told otherwise.
    pub fn with_os_error(status: Status, os_error: i32, message: impl Into<String>) -> Error {
        Error { status, os_error, message: message.into() }
    }

    /// The same error under another status.
    pub fn with_status(mut self, status: Status) -> Error {
        self.status = status;
        self
    }

    /// The status a caller sees.
    pub fn status(&self) -> Status {
        self.status
    }

    /// The OS error number, 0 if there was none.
    pub fn os_error(&self) -> i32 {
        self.os_error
    }

    /// The message for a person.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// The text of a caught panic.
pub fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "unknown panic".to_owned())
}
