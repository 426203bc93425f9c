//! A stream of the caller's: made to wait for a word, or waited for. Nothing here waits for a device itself, once the stream's
//! context is known.

use std::ffi::c_void;
use std::ptr::null_mut;

use cudarc::driver::sys::{CUcontext, CUstream};

use super::code::{
    CAPTURE_IMPLICIT, CONTEXT_IS_DESTROYED, Code, INVALID_CONTEXT, INVALID_HANDLE, NOT_SUPPORTED, SUCCESS,
};
use super::contexts::Context;
use super::known::Known;
use super::library::{Library, StreamCalls};
use super::point::Point;
use crate::error::{Error, Result, Status};
use crate::memory::{Mark, Words};

/// `CU_STREAM_CAPTURE_MODE_RELAXED`.
const CAPTURE_RELAXED: u32 = 2;
/// `CU_STREAM_CAPTURE_STATUS_NONE`.
const NOT_CAPTURING: u32 = 0;

/// A stream as the caller names it; it is the driver's to say what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamHandle(usize);

impl StreamHandle {
    /// For a `CUstream` or `cudaStream_t`, which is alive for as long as this is used.
    pub fn new(stream: *mut c_void) -> StreamHandle {
        StreamHandle(stream.expose_provenance())
    }

    fn stream(self) -> CUstream {
        std::ptr::with_exposed_provenance_mut(self.0)
    }

    /// Does something with the stream. Meanwhile its context is current for this thread, whose contexts are afterwards what they
    /// were; and no capture, of this stream or another, is spoilt.
    ///
    /// # Errors
    /// [`Status::Unsupported`], naming what is missing; [`Status::InvalidArgument`] for a stream that is captured, or is none;
    /// what the driver answers, and `work`.
    pub fn with<T>(self, work: impl FnOnce(&CallersStream) -> Result<T>) -> Result<T> {
        let library = Library::load()?;
        let calls = StreamCalls::load()?;
        let _aside = Aside::step(library);
        let mut context: CUcontext = null_mut();
        // SAFETY: the driver writes the context's handle. That the stream is alive is the caller's promise.
        let code = unsafe { (calls.stream_context)(self.stream(), &raw mut context) };
        told(library, "asking for the context of a stream", code)?;
        let context = Context(context);
        let _entered = Entered::enter(library, context)?;
        let mut status = NOT_CAPTURING;
        // SAFETY: the driver writes the status.
        let code = unsafe { (calls.is_capturing)(self.stream(), &raw mut status) };
        told(library, "asking whether a stream is captured", code)?;
        if status != NOT_CAPTURING {
            return Err(Error::new(
                Status::InvalidArgument,
                "the stream is being captured: its graph would repeat the wait and not the transfer; call this outside of the \
                 capture, on the stream that the graph is launched in",
            ));
        }
        let known = Known::of(library, calls, context)?;
        work(&CallersStream { library, calls, known, stream: self.stream() })
    }
}

/// A stream whose context is current.
pub struct CallersStream {
    library: &'static Library,
    calls: &'static StreamCalls,
    known: &'static Known,
    stream: CUstream,
}

impl CallersStream {
    /// The words that the stream can be made to wait for.
    ///
    /// # Errors
    /// [`Status::Unsupported`].
    pub fn words(&self) -> Result<&'static Words> {
        self.known.shown.as_ref().map(|shown| shown.words).ok_or_else(|| {
            Error::new(
                Status::Unsupported,
                "CUDA: the device cannot wait for 64-bit values in memory \
                 (CU_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS is 0), so no stream of its can wait for a transfer; \
                 wait with nixl_store_ticket_wait()",
            )
        })
    }

    /// Makes what is put on the stream later wait for one of those words.
    ///
    /// # Errors
    /// What the driver answers; nothing was put on the stream.
    pub fn wait(&self, mark: Mark) -> Result<()> {
        let Some(shown) = &self.known.shown else { return self.words().map(drop) };
        // SAFETY: the word lies in a table that this context has registered, and stays.
        let code = unsafe {
            (self.calls.wait_value)(self.stream, shown.address + mark.offset as u64, mark.value, shown.flags)
        };
        told(self.library, "making a stream wait", code)
    }

    /// The point that the stream has come to when all that is on it now is done.
    ///
    /// # Errors
    /// What the driver answers.
    pub fn point(&self) -> Result<Point> {
        let event = self.known.event(self.library)?;
        // From here on the event goes back by itself.
        let point = Point::new(self.library, self.calls, self.known, event);
        // SAFETY: event and stream are of the context that is current, and alive.
        let code = unsafe { (self.library.event_record)(event, self.stream) };
        told(self.library, "recording an event on a stream", code).map(|()| point)
    }
}

/// Makes a device's primary context known, so that the first use of its streams does not have to.
pub(super) fn get_ready(library: &'static Library, context: Context) -> Result<()> {
    let calls = StreamCalls::load()?;
    let _aside = Aside::step(library);
    let _entered = Entered::enter(library, context)?;
    Known::of(library, calls, context).map(drop)
}

/// Tells the driver for good that this thread, which is the library's own, has no part in anybody's capture.
pub fn stand_aside() {
    if let Some(library) = Library::loaded() {
        std::mem::forget(Aside::step(library));
    }
}

/// The thread takes no part in captures, until this is dropped: calls that a capture forbids would spoil it.
struct Aside {
    library: &'static Library,
    mode: u32,
}

impl Aside {
    fn step(library: &'static Library) -> Aside {
        let mut mode = CAPTURE_RELAXED;
        // SAFETY: the driver reads the mode and writes the one before.
        unsafe { (library.capture_mode)(&raw mut mode) };
        Aside { library, mode }
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { (self.library.capture_mode)(&raw mut self.mode) };
    }
}

/// A context is current, until this is dropped.
struct Entered(&'static Library);

impl Entered {
    fn enter(library: &'static Library, context: Context) -> Result<Entered> {
        // SAFETY: the driver has just named the context.
        let code = unsafe { (library.context_push)(context.0) };
        told(library, "making the context of a stream current", code).map(|()| Entered(library))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut popped = null_mut();
        // SAFETY: takes off what was pushed.
        unsafe { (self.0.context_pop)(&raw mut popped) };
    }
}

/// What the driver answered about a stream of the caller's.
fn told(library: &Library, doing: &str, code: Code) -> Result<()> {
    let (status, why) = match code {
        SUCCESS => return Ok(()),
        INVALID_CONTEXT => (
            Status::InvalidArgument,
            "; no context is current in this thread, and a default stream is one of the current context",
        ),
        INVALID_HANDLE | CONTEXT_IS_DESTROYED => {
            (Status::InvalidArgument, "; cuda_stream is no stream, or its context is gone")
        }
        CAPTURE_IMPLICIT => (
            Status::InvalidArgument,
            "; the default stream cannot be used while a stream of its context is captured that it would wait for",
        ),
        NOT_SUPPORTED => (Status::Unsupported, ""),
        code => return Err(library.error(doing, code)),
    };
    let error = library.error(doing, code);
    Err(Error::new(status, format!("{}{why}", error.message())))
}
