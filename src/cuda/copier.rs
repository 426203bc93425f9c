//! The copies of one lane: for each device it meets, a stream for each direction.
//!
//! The end of a copy is told by an event behind it. A host function behind that wakes the lane, and does nothing else: it must
//! not block, nor call the driver. A device that broke may not run it; who waits looks now and then.

use std::ffi::c_void;
use std::io;
use std::ptr::null_mut;

use cudarc::driver::sys::{CUevent, CUstream};

use super::code::{Code, NOT_READY, SUCCESS};
use super::contexts::Contexts;
use super::library::Library;
use crate::error::{Error, Result, Status};
use crate::memory::{Copier, CopyDirection, CopyDone, CopyPart, DeviceSlice};
use crate::sync::Arc;
use crate::sys::event::Event;

/// A stream that does not wait for the legacy default stream, nor the other way round (`CU_STREAM_NON_BLOCKING`).
const NON_BLOCKING: u32 = 1;
/// An event without a time, which costs less (`CU_EVENT_DISABLE_TIMING`).
const DISABLE_TIMING: u32 = 2;

/// The streams of one device, and events to be used again.
struct Streams {
    into_staging: CUstream,
    out_of_staging: CUstream,
    events: Vec<CUevent>,
}

/// A copy that was begun.
struct Pending {
    token: u32,
    direction: CopyDirection,
    /// The events behind its parts, one for each device; those that were met are taken out.
    first: Option<(u16, CUevent)>,
    more: Vec<(u16, CUevent)>,
    failure: Option<Error>,
}

/// The copies of one lane, made and used on its thread.
pub(super) struct CudaCopier {
    library: &'static Library,
    devices: Arc<Contexts>,
    /// By ordinal; made when a device is first met.
    streams: Vec<Option<Streams>>,
    /// The device whose context is the thread's.
    current: Option<u16>,
    /// Devices of the copy that is being begun.
    touched: Vec<u16>,
    pending: Vec<Pending>,
    /// What the host functions signal. They have its address, so it stays until the streams are empty.
    waker: Arc<Event>,
}

// SAFETY: streams and events belong to contexts, not to threads.
unsafe impl Send for CudaCopier {}

/// Signals an event; run by the driver.
unsafe extern "C" fn ring(event: *mut c_void) {
    // SAFETY: the address of an `Event` that the copier keeps until its streams are empty.
    unsafe { &*event.cast::<Event>() }.signal();
}

impl CudaCopier {
    pub(super) fn new(library: &'static Library, devices: Arc<Contexts>, waker: Arc<Event>) -> CudaCopier {
        let (streams, touched, pending) = (Vec::new(), Vec::new(), Vec::new());
        CudaCopier { library, devices, streams, current: None, touched, pending, waker }
    }

    fn enter(&mut self, device: u16) -> Result<()> {
        if self.current == Some(device) {
            return Ok(());
        }
        let (library, context) = self.devices.context(device)?;
        context.enter(library)?;
        self.current = Some(device);
        Ok(())
    }

    fn check(&self, doing: &str, device: u16, code: Code) -> Result<()> {
        match code {
            SUCCESS => Ok(()),
            code => Err(self.library.error(format_args!("{doing} on device {device}"), code)),
        }
    }

    /// The device's stream for this direction; its context is current afterwards.
    fn stream(&mut self, device: u16, direction: CopyDirection) -> Result<CUstream> {
        self.enter(device)?;
        if self.streams.len() <= usize::from(device) {
            self.streams.resize_with(usize::from(device) + 1, || None);
        }
        if self.streams[usize::from(device)].is_none() {
            let into_staging = self.new_stream(device)?;
            let out_of_staging = self.new_stream(device).inspect_err(|_| {
                // SAFETY: made just now, and nothing is on it.
                unsafe { (self.library.stream_destroy)(into_staging) };
            })?;
            self.streams[usize::from(device)] =
                Some(Streams { into_staging, out_of_staging, events: Vec::new() });
        }
        match (&self.streams[usize::from(device)], direction) {
            (Some(streams), CopyDirection::IntoStaging) => Ok(streams.into_staging),
            (Some(streams), CopyDirection::OutOfStaging) => Ok(streams.out_of_staging),
            (None, _) => Err(Error::new(Status::Internal, "a device without streams")),
        }
    }

    fn new_stream(&self, device: u16) -> Result<CUstream> {
        let mut stream = null_mut();
        // SAFETY: the driver writes the stream's handle.
        let code = unsafe { (self.library.stream_create)(&raw mut stream, NON_BLOCKING) };
        self.check("making a stream", device, code).map(|()| stream)
    }

    fn begin(&mut self, direction: CopyDirection, part: &CopyPart) -> Result<()> {
        let device =
            part.device().ok_or_else(|| Error::new(Status::Internal, "a copy without a device's side"))?;
        let stream = self.stream(device, direction)?;
        let (staging, memory) = (part.staging.addr() as u64, part.memory.addr() as u64);
        let (target, source) = match direction {
            CopyDirection::IntoStaging => (staging, memory),
            CopyDirection::OutOfStaging => (memory, staging),
        };
        // Before the call: also a copy that was refused may have been begun.
        if !self.touched.contains(&device) {
            self.touched.push(device);
        }
        let bytes = part.memory.length();
        // SAFETY: both sides are the copier's until the copy was handed back, as `Copier::push` asks; the driver checks those
        // that are a device's.
        let code = unsafe { (self.library.copy)(target, source, bytes, stream) };
        match code {
            SUCCESS => Ok(()),
            code => Err(self.library.error(
                format_args!("copying {bytes} bytes {} {memory:#x} on device {device}", way(direction)),
                code,
            )),
        }
    }

    /// An event behind what was begun on a device, and the wake-up behind that.
    fn mark(&mut self, device: u16, direction: CopyDirection) -> Result<CUevent> {
        let stream = self.stream(device, direction)?;
        let spare = self.streams[usize::from(device)].as_mut().and_then(|streams| streams.events.pop());
        let event = match spare {
            Some(event) => event,
            None => {
                let mut event = null_mut();
                // SAFETY: the driver writes the event's handle.
                let code = unsafe { (self.library.event_create)(&raw mut event, DISABLE_TIMING) };
                self.check("making an event", device, code)?;
                event
            }
        };
        // SAFETY: event and stream are of this device and alive.
        let code = unsafe { (self.library.event_record)(event, stream) };
        if let Err(error) = self.check("recording an event", device, code) {
            self.keep(device, event);
            return Err(error);
        }
        let waker = Arc::as_ptr(&self.waker).cast_mut().cast::<c_void>();
        // SAFETY: `ring` takes the address of an event that lives until the stream is empty. Without it the lane looks by itself.
        unsafe { (self.library.launch_host)(stream, ring, waker) };
        Ok(event)
    }

    fn keep(&mut self, device: u16, event: CUevent) {
        if let Some(Some(streams)) = self.streams.get_mut(usize::from(device)) {
            streams.events.push(event);
        }
    }

    /// Waits until nothing is under way on a stream; whether that went well does not matter then.
    fn settle(&mut self, device: u16, direction: CopyDirection) {
        if let Ok(stream) = self.stream(device, direction) {
            // SAFETY: the stream is alive.
            unsafe { (self.library.stream_synchronize)(stream) };
        }
    }

    /// Whether an event was met.
    fn is_met(&mut self, device: u16, event: CUevent) -> Result<bool> {
        self.enter(device)?;
        // SAFETY: the event is alive.
        match unsafe { (self.library.event_query)(event) } {
            NOT_READY => Ok(false),
            code => self.check("copying", device, code).map(|()| true),
        }
    }
}

fn way(direction: CopyDirection) -> &'static str {
    match direction {
        CopyDirection::IntoStaging => "from",
        CopyDirection::OutOfStaging => "to",
    }
}

impl Copier for CudaCopier {
    fn push(
        &mut self,
        token: u32,
        direction: CopyDirection,
        parts: &[CopyPart],
        blocks: &[DeviceSlice],
    ) -> io::Result<()> {
        if !blocks.is_empty() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.touched.clear();
        let begun = parts.iter().try_for_each(|part| self.begin(direction, part));
        let mut pending = Pending { token, direction, first: None, more: Vec::new(), failure: begun.err() };
        for at in 0..self.touched.len() {
            let device = self.touched[at];
            match self.mark(device, direction) {
                Ok(event) if pending.first.is_none() => pending.first = Some((device, event)),
                Ok(event) => pending.more.push((device, event)),
                Err(error) => {
                    self.settle(device, direction);
                    pending.failure.get_or_insert(error);
                }
            }
        }
        match (pending.first, &mut pending.failure) {
            (None, failure) => {
                Err(failure.take().map_or_else(|| io::ErrorKind::InvalidInput.into(), io::Error::other))
            }
            (Some(_), _) => {
                self.pending.push(pending);
                Ok(())
            }
        }
    }

    fn reap(&mut self, done: &mut Vec<CopyDone>) {
        let mut at = 0;
        while at < self.pending.len() {
            while let Some((device, event)) = self.pending[at].first {
                let met = match self.is_met(device, event) {
                    Ok(met) => met,
                    Err(error) => {
                        // The question failed, or the device did: whichever, the memory is not given back before it is done.
                        self.settle(device, self.pending[at].direction);
                        self.pending[at].failure.get_or_insert(error);
                        true
                    }
                };
                if !met {
                    break;
                }
                self.keep(device, event);
                let pending = &mut self.pending[at];
                pending.first = pending.more.pop();
            }
            if self.pending[at].first.is_some() {
                at += 1;
                continue;
            }
            let Pending { token, failure, .. } = self.pending.remove(at);
            done.push(CopyDone {
                token,
                result: failure.map_or(Ok(()), |error| Err(io::Error::other(error))),
                sums: Vec::new(),
            });
        }
    }
}

impl Drop for CudaCopier {
    fn drop(&mut self) {
        for pending in std::mem::take(&mut self.pending) {
            pending
                .first
                .into_iter()
                .chain(pending.more)
                .for_each(|(device, event)| self.keep(device, event));
        }
        for device in 0..self.streams.len() {
            let ordinal = u16::try_from(device).unwrap_or(u16::MAX);
            let Some(streams) = self.streams[device].take() else { continue };
            // Without its context nothing of the device can be used any more.
            let _ = self.enter(ordinal);
            for stream in [streams.into_staging, streams.out_of_staging] {
                // SAFETY: the stream is alive, and used by nobody after this; what is under way on it is waited for.
                unsafe {
                    (self.library.stream_synchronize)(stream);
                    (self.library.stream_destroy)(stream);
                }
            }
            for event in streams.events {
                // SAFETY: the event is alive, and nothing waits for it.
                unsafe { (self.library.event_destroy)(event) };
            }
        }
    }
}
