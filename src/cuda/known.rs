//! The contexts whose streams the library has been given: what each of them needs so that a stream can be made to wait, or
//! waited for, without asking the driver for more.
//!
//! Nobody but the engine knows how long a context lives, and what belonged to one that was destroyed must not be touched. So all
//! of this is the process's and stays: the driver frees it with its context. A context is told from a later one at the same
//! address by its number, which the driver gives once.

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

use crossbeam_queue::ArrayQueue;
use cudarc::driver::sys::{CUdevice, CUdeviceptr, CUevent, CUstream};

use super::code::{ALREADY_REGISTERED, Code, SUCCESS};
use super::contexts::Context;
use super::library::{Library, NON_BLOCKING, StreamCalls};
use crate::error::{Error, Result, Status};
use crate::memory::Words;
use crate::sys::fork::{self, Turn};

/// Contexts that the streams of one process may be of.
pub const CONTEXTS_MAX: usize = 64;
/// Streams of a context on which the library waits for events. A driver has few channels to a device, eight unless
/// CUDA_DEVICE_MAX_CONNECTIONS says otherwise, and a stream that waits may hold up another one in its channel.
const SIDES: usize = 4;
/// Events of a context that are made when it is met, and that are kept.
const EVENTS_FIRST: usize = 32;
const EVENTS_KEPT: usize = 1024;

/// The device reaches memory that was registered so (`CU_MEMHOSTREGISTER_DEVICEMAP`).
const DEVICE_MAP: u32 = 2;
/// `CU_EVENT_DISABLE_TIMING`.
const DISABLE_TIMING: u32 = 2;
/// `CU_DEVICE_ATTRIBUTE_CAN_FLUSH_REMOTE_WRITES`.
const CAN_FLUSH_REMOTE_WRITES: u32 = 98;
/// `CU_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS`.
const CAN_WAIT_FOR_VALUES: u32 = 122;
/// `CU_STREAM_WAIT_VALUE_GEQ`.
const AT_LEAST: u32 = 0;
/// `CU_STREAM_WAIT_VALUE_FLUSH`: what others than the device wrote to its memory before the word is seen by what comes after.
const FLUSH: u32 = 1 << 30;

/// A table of words as the device sees it.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) words: &'static Words,
    pub(super) address: CUdeviceptr,
    /// How to wait on one of them.
    pub(super) flags: u32,
}

/// A context that is known.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) context: Context,
    id: u64,
    /// The device whose primary context it is.
    primary_of: Option<CUdevice>,
    /// `None`: the device cannot wait for values.
    pub(super) shown: Option<Shown>,
    events: ArrayQueue<CUevent>,
    sides: ArrayQueue<CUstream>,
}

// SAFETY: streams and events belong to contexts, not to threads.
unsafe impl Send for Known {}
// SAFETY: as above.
unsafe impl Sync for Known {}

/// Filled from the first place on. What a place held is not freed when another context takes it: somebody may be using it.
static KNOWN: [AtomicPtr<Known>; CONTEXTS_MAX] = [const { AtomicPtr::new(null_mut()) }; CONTEXTS_MAX];
/// The words of each place, whichever context has it.
static WORDS: [AtomicPtr<Words>; CONTEXTS_MAX] = [const { AtomicPtr::new(null_mut()) }; CONTEXTS_MAX];

fn all() -> impl Iterator<Item = &'static Known> {
    // SAFETY: null, or never freed.
    KNOWN.iter().map_while(|place| unsafe { place.load(Ordering::Acquire).as_ref() })
}

impl Known {
    /// What is known of a context, which is current, and all that there is to know if it was not met before. That may wait for
    /// the device.
    ///
    /// # Errors
    /// What the driver answers; [`Status::Busy`] for one context too many.
    pub(super) fn of(library: &Library, calls: &StreamCalls, context: Context) -> Result<&'static Known> {
        let mut id = 0;
        // SAFETY: the driver writes the number.
        let code = unsafe { (calls.context_id)(context.0, &raw mut id) };
        if code != SUCCESS {
            return Err(library.error("asking which context a stream is of", code));
        }
        match all().find(|known| known.id == id) {
            Some(known) => Ok(known),
            None => meet(library, calls, context, id),
        }
    }

    /// An event, which is to be given back.
    pub(super) fn event(&self, library: &Library) -> Result<CUevent> {
        match self.events.pop() {
            Some(event) => Ok(event),
            None => new_event(library),
        }
    }

    /// Takes an event back.
    pub(super) fn keep_event(&self, library: &Library, event: CUevent) {
        if let Err(event) = self.events.push(event) {
            // SAFETY: the event is alive, and this library uses it no more.
            let _ = self.context.with(library, || unsafe { (library.event_destroy)(event) });
        }
    }

    /// A stream with nothing on it, if there is one; to be given back whatever is on it then.
    pub(super) fn side(&self, calls: &StreamCalls) -> Option<CUstream> {
        let side = self.sides.pop()?;
        // SAFETY: the stream is alive, and its context current.
        if unsafe { (calls.stream_query)(side) } == SUCCESS {
            return Some(side);
        }
        self.keep_side(side);
        None
    }

    /// Takes such a stream back.
    pub(super) fn keep_side(&self, side: CUstream) {
        // It came from there, so there is room.
        let _ = self.sides.push(side);
    }
}

fn check(library: &Library, doing: &str, code: Code) -> Result<()> {
    if code == SUCCESS { Ok(()) } else { Err(library.error(doing, code)) }
}

fn new_event(library: &Library) -> Result<CUevent> {
    let mut event = null_mut();
    // SAFETY: the driver writes the event's handle.
    let code = unsafe { (library.event_create)(&raw mut event, DISABLE_TIMING) };
    check(library, "making an event", code).map(|()| event)
}

fn new_side(library: &Library) -> Result<CUstream> {
    let mut stream = null_mut();
    // SAFETY: the driver writes the stream's handle.
    let code = unsafe { (library.stream_create)(&raw mut stream, NON_BLOCKING) };
    check(library, "making a stream", code).map(|()| stream)
}

/// Gets to know a context, which is current.
fn meet(library: &Library, calls: &StreamCalls, context: Context, id: u64) -> Result<&'static Known> {
    let _turn = fork::wait_for(Turn::CudaContext)
        .map_err(|error| Error::os("waiting to get to know a CUDA context", &error))?;
    if let Some(known) = all().find(|known| known.id == id) {
        return Ok(known);
    }
    let mut device = 0;
    // SAFETY: the driver writes the device's number.
    check(library, "asking for the device of a context", unsafe {
        (library.context_device)(&raw mut device)
    })?;
    let primary_of = is_primary(library, calls, context, device).then_some(device);
    // A context at the address of another, and one that is a device's primary context after another, tell that the other is gone.
    let is_free = |known: &Known| {
        known.context.0 == context.0 || (primary_of.is_some() && known.primary_of == primary_of)
    };
    let place = all().position(is_free).unwrap_or_else(|| all().count());
    let Some((known, words)) = KNOWN.get(place).zip(WORDS.get(place)) else {
        let message = format!(
            "the process has given streams of {CONTEXTS_MAX} CUDA contexts, the most that are served; use streams of fewer"
        );
        return Err(Error::new(Status::Busy, message));
    };
    let mut made = Known {
        context,
        id,
        primary_of,
        shown: None,
        events: ArrayQueue::new(EVENTS_KEPT),
        sides: ArrayQueue::new(SIDES),
    };
    let outcome = fill(library, calls, words, device, &mut made);
    if let Err(error) = outcome {
        undo(library, &made);
        return Err(error);
    }
    let made = Box::into_raw(Box::new(made));
    known.store(made, Ordering::Release);
    // SAFETY: never freed from here on.
    Ok(unsafe { &*made })
}

fn fill(
    library: &Library,
    calls: &StreamCalls,
    words: &'static AtomicPtr<Words>,
    device: CUdevice,
    known: &mut Known,
) -> Result<()> {
    if attribute(library, calls, CAN_WAIT_FOR_VALUES, device)? != 0 {
        let flush = attribute(library, calls, CAN_FLUSH_REMOTE_WRITES, device)? != 0;
        let flags = if flush { AT_LEAST | FLUSH } else { AT_LEAST };
        let words = words_of(words)?;
        let start = words.address().cast::<c_void>();
        // SAFETY: the words are mapped for as long as the process lives.
        let code = unsafe { (library.host_register)(start, Words::BYTES, DEVICE_MAP) };
        if code != ALREADY_REGISTERED {
            check(library, "registering the words that streams wait for", code)?;
        }
        let shown = known.shown.insert(Shown { words, address: 0, flags });
        // SAFETY: the driver writes the address.
        let code = unsafe { (calls.host_device_pointer)(&raw mut shown.address, start, 0) };
        check(library, "asking where the device sees the words that streams wait for", code)?;
    }
    for _ in 0..EVENTS_FIRST {
        // There is room for so many.
        let _ = known.events.push(new_event(library)?);
    }
    for _ in 0..SIDES {
        let _ = known.sides.push(new_side(library)?);
    }
    Ok(())
}

/// Gives the driver back what a context got before something failed.
fn undo(library: &Library, made: &Known) {
    while let Some(event) = made.events.pop() {
        // SAFETY: made just now, and never used.
        unsafe { (library.event_destroy)(event) };
    }
    while let Some(side) = made.sides.pop() {
        // SAFETY: as above.
        unsafe { (library.stream_destroy)(side) };
    }
    if let Some(shown) = &made.shown {
        // SAFETY: registered just now, and no stream waits for any of the words through this context.
        unsafe { (library.host_unregister)(shown.words.address().cast()) };
    }
}

/// The words of a place, made for the first context that has it. For whoever has the turn.
fn words_of(place: &'static AtomicPtr<Words>) -> Result<&'static Words> {
    // SAFETY: null, or never freed.
    if let Some(words) = unsafe { place.load(Ordering::Acquire).as_ref() } {
        return Ok(words);
    }
    let words = Words::new().map_err(|error| Error::os("mapping the words that streams wait for", &error))?;
    place.store(std::ptr::from_ref(words).cast_mut(), Ordering::Release);
    Ok(words)
}

fn attribute(library: &Library, calls: &StreamCalls, number: u32, device: CUdevice) -> Result<c_int> {
    let mut value = 0;
    // SAFETY: the driver writes the value.
    let code = unsafe { (calls.device_attribute)(&raw mut value, number, device) };
    check(library, "asking what a device can do", code).map(|()| value)
}

/// Whether a context is its device's primary one. Where the driver does not say, it is taken for another, which costs a place.
fn is_primary(library: &Library, calls: &StreamCalls, context: Context, device: CUdevice) -> bool {
    let (mut flags, mut is_active) = (0, 0);
    // SAFETY: the driver writes both numbers.
    let code = unsafe { (calls.primary_state)(device, &raw mut flags, &raw mut is_active) };
    if code != SUCCESS || is_active == 0 {
        return false;
    }
    let mut primary = null_mut();
    // SAFETY: the driver writes the handle of a context that is there anyway.
    if unsafe { (library.primary_retain)(&raw mut primary, device) } != SUCCESS {
        return false;
    }
    // SAFETY: retained once, released once.
    unsafe { (library.primary_release)(device) };
    primary == context.0
}
