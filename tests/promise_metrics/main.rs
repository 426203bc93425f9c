//! Promise: what a store tells of itself is right. Every item that moved its bytes is in one histogram, once, whatever way it
//! took; the text is OpenMetrics to the letter and says what the stats say; and whoever reads it, well or badly, disturbs
//! nothing.

// Helpers may unwrap as tests do.
#![cfg(test)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../cufile_common/mod.rs"]
mod cufile_common;

mod counting;
mod socket;
mod telling;
mod text;

use std::ffi::c_char;

use common::Store;
use common::status::{BUFFER_TOO_SMALL, OK, Status, message};
use nixl_store::capi::*;
use text::Text;

const KIB: usize = 1 << 10;

/// What the library writes, into a buffer of this capacity, and the length that it tells.
fn write(handle: *mut nixl_store_t, capacity: usize) -> (Status, Vec<u8>, usize) {
    let (mut buffer, mut length) = (vec![b'#'; capacity], usize::MAX);
    let start = if capacity == 0 { std::ptr::null_mut() } else { buffer.as_mut_ptr().cast::<c_char>() };
    // SAFETY: a buffer of that capacity, and a place for the length.
    let status = Status(unsafe { nixl_store_metrics_text(handle, start, capacity, &raw mut length) });
    (status, buffer, length)
}

/// The text of a store, or of all with NULL, read strictly.
#[track_caller]
fn text_of(handle: *mut nixl_store_t) -> Text {
    let (status, _, needed) = write(handle, 0);
    assert_eq!(status, BUFFER_TOO_SMALL);
    let (status, mut buffer, length) = write(handle, needed);
    assert_eq!(status, OK, "{}", message());
    assert_eq!(buffer[length], 0);
    buffer.truncate(length);
    Text::read(std::str::from_utf8(&buffer).unwrap())
}

/// The text of one store.
#[track_caller]
fn text(store: &Store) -> Text {
    text_of(store.handle())
}
