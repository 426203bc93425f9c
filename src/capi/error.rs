//! The message for the last failed call of each thread.
//!
//! The text lives in a fixed buffer of the thread, so that handing out its address can neither fail
//! nor dangle. A call that succeeds clears it by writing one byte. The buffer needs no destructor, so a call from the
//! destructor of another thread-local still finds it.

use std::cell::UnsafeCell;
use std::ffi::c_char;
use std::fmt::{self, Write};

use super::constants::status_name;
use super::text::{bytes_for_c, fitting};
use super::types::nixl_store_status_t;
use crate::error::{Result, Status};

/// Room for a message with its NUL, in bytes; a longer one is cut off.
const MESSAGE_BYTES_MAX: usize = 2048;

struct LastMessage(UnsafeCell<[u8; MESSAGE_BYTES_MAX]>);

thread_local! {
    static LAST: LastMessage = const { LastMessage(UnsafeCell::new([0; MESSAGE_BYTES_MAX])) };
}

/// Turns the outcome of `operation` into what C gets, and sets or clears the thread's message.
pub(super) fn finish(operation: &str, outcome: Result<Status>) -> nixl_store_status_t {
    match outcome {
        Ok(status) if !status.is_error() => {
            clear();
            status.code()
        }
        Ok(status) => {
            let name = status_name(status.code()).unwrap_or(c"").to_string_lossy();
            set(format_args!("{operation}: ended with {name}"));
            status.code()
        }
        Err(error) => {
            set(format_args!("{operation}: {error}"));
            error.status().code()
        }
    }
}

/// The thread's message; never NULL.
pub(super) fn message() -> *const c_char {
    LAST.with(|last| last.0.get().cast_const().cast())
}

fn clear() {
    // SAFETY: the buffer belongs to this thread, and no reference into it outlives a statement here
    // or in `set`. C reads it through `message`, whose answer holds until this thread's next call.
    LAST.with(|last| unsafe { last.0.get().cast::<u8>().write(0) });
}

fn set(text: fmt::Arguments<'_>) {
    // Formatted on the stack first: a `Display` that itself made a call of the library would otherwise write into the
    // buffer while it is being written.
    let mut buffer = Buffer { bytes: [0; MESSAGE_BYTES_MAX], used: 0 };
    // An error only means that the text did not fit; what fits is kept.
    let _ = buffer.write_fmt(text);
    // SAFETY: as in `clear`; both arrays have the same length.
    LAST.with(|last| unsafe { last.0.get().write(buffer.bytes) });
}

/// A C string in the making; its last byte stays 0.
struct Buffer {
    bytes: [u8; MESSAGE_BYTES_MAX],
    used: usize,
}

impl Write for Buffer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MESSAGE_BYTES_MAX - 1 - self.used;
        let fits = fitting(text, room);
        let target = self.bytes.iter_mut().skip(self.used);
        for (to, from) in target.zip(bytes_for_c(text).take(fits)) {
            *to = from;
        }
        self.used += fits;
        if fits == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

/// What a C caller reads after a failed call.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use std::ffi::CStr;

    fn current() -> String {
        // SAFETY: `message` answers a NUL-terminated buffer of this thread; no call runs meanwhile.
        unsafe { CStr::from_ptr(message()) }.to_str().unwrap().to_owned()
    }

    /// An engine prints the message next to the status; after a call that worked there must be none
    /// left over, or it would blame the wrong call.
    #[test]
    fn message_is_of_the_last_call_and_empty_after_success() {
        assert_eq!(current(), "");
        assert_eq!(finish("put", Err(Error::new(Status::Busy, "queue is full"))), -11);
        assert_eq!(current(), "put: queue is full");
        assert_eq!(finish("get", Ok(Status::NotFound)), 1);
        assert_eq!(current(), "");
        assert_eq!(finish("wait", Ok(Status::Io)), -5);
        assert_eq!(current(), "wait: ended with NIXL_STORE_ERROR_IO");
    }

    /// Messages carry paths and keys of any length and content; the buffer must end in a NUL and hold
    /// whole characters, or C reads past it.
    #[test]
    fn a_message_too_long_is_cut_at_a_character() {
        finish("open", Err(Error::new(Status::Config, format!("nul\0{}", "é".repeat(MESSAGE_BYTES_MAX)))));
        let text = current();
        assert!(text.starts_with("open: nul é"));
        assert!(text.len() >= MESSAGE_BYTES_MAX - 2 && text.len() < MESSAGE_BYTES_MAX);
    }

    /// One thread's failure is none of another's business.
    #[test]
    fn each_thread_has_its_own_message() {
        finish("put", Err(Error::new(Status::Io, "mine")));
        std::thread::spawn(|| assert_eq!(current(), "")).join().unwrap();
        assert_eq!(current(), "put: mine");
    }
}
