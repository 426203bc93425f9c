//! A point in a stream of the caller's, and how it is told that the stream has come there.

use std::ffi::c_void;

use cudarc::driver::sys::{CUevent, CUstream};

use super::code::{NOT_READY, SUCCESS};
use super::known::Known;
use super::library::{Library, StreamCalls};
use crate::error::Result;
use crate::sync::Arc;
use crate::sys::event::Event;

/// A point in a stream. The event that stands for it is used again when this is dropped, whether it was met or not: what waits
/// for it then waits for the point all the same.
#[derive(Debug)]
pub struct Point {
    library: &'static Library,
    calls: &'static StreamCalls,
    known: &'static Known,
    event: CUevent,
    /// The stream that rings when the event is met.
    side: Option<CUstream>,
}

// SAFETY: streams and events belong to contexts, not to threads.
unsafe impl Send for Point {}

/// Rings; run by the driver.
unsafe extern "C" fn ring(waker: *mut c_void) {
    // SAFETY: the address that `ring_when_met` made of an `Arc`, once.
    unsafe { Arc::from_raw(waker.cast_const().cast::<Event>()) }.signal();
}

impl Point {
    /// With an event that is about to be recorded.
    pub(super) fn new(
        library: &'static Library,
        calls: &'static StreamCalls,
        known: &'static Known,
        event: CUevent,
    ) -> Point {
        Point { library, calls, known, event, side: None }
    }

    /// Has `waker` signalled when the stream has come here, by a stream of the library's own: the caller's would stand still
    /// while the driver calls. The context is current. Where this cannot be had, [`Point::rings`] says so, and whoever waits
    /// looks by himself; a device that broke does not ring either.
    pub fn ring_when_met(&mut self, waker: &Arc<Event>) {
        let Some(side) = self.known.side(self.calls) else { return };
        // SAFETY: both are alive, and of the context that is current.
        let code = unsafe { (self.library.wait_event)(side, self.event, 0) };
        if code != SUCCESS {
            return self.known.keep_side(side);
        }
        self.side = Some(side);
        let waker = Arc::into_raw(Arc::clone(waker)).cast_mut().cast::<c_void>();
        // SAFETY: `ring` is called once, with an `Arc` of its own.
        if unsafe { (self.library.launch_host)(side, ring, waker) } != SUCCESS {
            // SAFETY: made above, and given to nobody.
            drop(unsafe { Arc::from_raw(waker.cast_const().cast::<Event>()) });
            self.known.keep_side(side);
            self.side = None;
        }
    }

    /// Whether a waker will be signalled.
    pub fn rings(&self) -> bool {
        self.side.is_some()
    }

    /// Whether the stream has come here.
    ///
    /// # Errors
    /// The device broke, or whatever else the driver answers: it is not known then.
    pub fn is_met(&self) -> Result<bool> {
        // SAFETY: the event is alive as long as its context, whose end before this the header forbids.
        let code =
            self.known.context.with(self.library, || unsafe { (self.library.event_query)(self.event) })?;
        match code {
            SUCCESS => Ok(true),
            NOT_READY => Ok(false),
            code => Err(self.library.error("waiting for the work on a stream", code)),
        }
    }
}

impl Drop for Point {
    fn drop(&mut self) {
        if let Some(side) = self.side.take() {
            self.known.keep_side(side);
        }
        self.known.keep_event(self.library, self.event);
    }
}
