//! What one lane has on one device: a stream for each direction, and events and descriptors to be used again.

use std::ffi::c_void;
use std::fmt::Display;
use std::ptr::null_mut;

use cudarc::driver::sys::{CUevent, CUstream};

use super::code::{Code, NOT_READY, SUCCESS};
use super::contexts::Device;
use super::kernels::Kernels;
use super::launch_set::{LaunchSet, SetPool};
use super::library::{Library, NON_BLOCKING};
use crate::error::Result;
use crate::memory::CopyDirection;
use crate::sync::Arc;
use crate::sys::event::Event;

/// An event without a time, which costs less (`CU_EVENT_DISABLE_TIMING`).
const DISABLE_TIMING: u32 = 2;

/// The streams of one device. Its context is the thread's whenever something is asked of them.
pub(super) struct Streams {
    library: &'static Library,
    pub(super) device: Device,
    into_staging: CUstream,
    out_of_staging: CUstream,
    events: Vec<CUevent>,
    sets: SetPool,
}

/// Signals an event; run by the driver.
unsafe extern "C" fn ring(event: *mut c_void) {
    // SAFETY: the address of an `Event` that the copier keeps until its streams are empty.
    unsafe { &*event.cast::<Event>() }.signal();
}

impl Streams {
    /// Makes them.
    ///
    /// # Errors
    /// What the driver answers.
    pub(super) fn new(library: &'static Library, device: Device) -> Result<Streams> {
        let (into_staging, out_of_staging) = (null_mut(), null_mut());
        let (events, sets) = (Vec::new(), SetPool::default());
        let mut streams = Streams { library, device, into_staging, out_of_staging, events, sets };
        streams.into_staging = streams.new_stream()?;
        streams.out_of_staging = streams.new_stream().inspect_err(|_| {
            // SAFETY: made just now, and nothing is on it.
            unsafe { (library.stream_destroy)(streams.into_staging) };
        })?;
        if let Some(kernels) = &device.kernels {
            // Now rather than when streams wait for this library. Copies do without, and a launch tries again.
            let _ = streams.sets.grow(library, kernels.calls);
        }
        Ok(streams)
    }

    fn new_stream(&self) -> Result<CUstream> {
        let mut stream = null_mut();
        // SAFETY: the driver writes the stream's handle.
        let code = unsafe { (self.library.stream_create)(&raw mut stream, NON_BLOCKING) };
        self.check("making a stream", code).map(|()| stream)
    }

    fn check(&self, doing: impl Display, code: Code) -> Result<()> {
        match code {
            SUCCESS => Ok(()),
            code => Err(self.library.error(format_args!("{doing} on device {}", self.device.ordinal), code)),
        }
    }

    fn of(&self, direction: CopyDirection) -> CUstream {
        match direction {
            CopyDirection::IntoStaging => self.into_staging,
            CopyDirection::OutOfStaging => self.out_of_staging,
        }
    }

    /// Begins a copy between an item's memory and the staging buffer, which both stay until the stream has come past it.
    ///
    /// # Errors
    /// What the driver answers; it may have been begun.
    pub(super) fn copy(
        &self,
        direction: CopyDirection,
        memory: u64,
        staging: u64,
        bytes: usize,
    ) -> Result<()> {
        let (target, source, way) = match direction {
            CopyDirection::IntoStaging => (staging, memory, "from"),
            CopyDirection::OutOfStaging => (memory, staging, "to"),
        };
        // SAFETY: both sides are the copier's until the copy was handed back, as `Copier::push` asks; the driver checks those
        // that are a device's.
        let code = unsafe { (self.library.copy)(target, source, bytes, self.of(direction)) };
        self.check(format_args!("copying {bytes} bytes {way} {memory:#x}"), code)
    }

    /// Begins to copy the pieces of a set, which all stay until the stream has come past it.
    ///
    /// # Errors
    /// What the driver answers; it may have been begun.
    pub(super) fn copy_set(
        &self,
        kernels: &Kernels,
        direction: CopyDirection,
        set: &LaunchSet,
    ) -> Result<()> {
        let code = kernels.copy(self.of(direction), direction, set);
        let (count, bytes) = (set.count(), set.bytes());
        self.check(format_args!("launching a kernel that copies {bytes} bytes in {count} pieces"), code)
    }

    /// Begins to sum the blocks of a set, behind what was begun in this direction before.
    ///
    /// # Errors
    /// What the driver answers; it may have been begun.
    pub(super) fn sum_set(&self, kernels: &Kernels, direction: CopyDirection, set: &LaunchSet) -> Result<()> {
        let code = kernels.sum(self.of(direction), set);
        self.check(format_args!("launching a kernel that sums {} blocks", set.count()), code)
    }

    /// An event behind what was begun, and a call behind that which signals `waker`, which lives until the streams are empty.
    ///
    /// # Errors
    /// What the driver answers.
    pub(super) fn mark(&mut self, direction: CopyDirection, waker: &Arc<Event>) -> Result<CUevent> {
        let event = self.record(direction)?;
        let waker = Arc::as_ptr(waker).cast_mut().cast::<c_void>();
        // SAFETY: `ring` takes the address of an event that lives until the stream is empty. Without it the lane looks by itself.
        unsafe { (self.library.launch_host)(self.of(direction), ring, waker) };
        Ok(event)
    }

    /// An event behind what was begun.
    ///
    /// # Errors
    /// What the driver answers.
    pub(super) fn record(&mut self, direction: CopyDirection) -> Result<CUevent> {
        let event = match self.events.pop() {
            Some(event) => event,
            None => {
                let mut event = null_mut();
                // SAFETY: the driver writes the event's handle.
                let code = unsafe { (self.library.event_create)(&raw mut event, DISABLE_TIMING) };
                self.check("making an event", code)?;
                event
            }
        };
        // SAFETY: event and stream are of this device and alive.
        let code = unsafe { (self.library.event_record)(event, self.of(direction)) };
        if let Err(error) = self.check("recording an event", code) {
            self.events.push(event);
            return Err(error);
        }
        Ok(event)
    }

    /// Has what is begun from here on wait for an event, which may be another device's.
    ///
    /// # Errors
    /// What the driver answers.
    pub(super) fn wait(&self, direction: CopyDirection, event: CUevent) -> Result<()> {
        // SAFETY: event and stream are alive.
        let code = unsafe { (self.library.wait_event)(self.of(direction), event, 0) };
        self.check("waiting for another device", code)
    }

    /// Whether an event was met.
    ///
    /// # Errors
    /// The question failed, or what is before the event did.
    pub(super) fn is_met(&self, event: CUevent) -> Result<bool> {
        // SAFETY: the event is alive.
        match unsafe { (self.library.event_query)(event) } {
            NOT_READY => Ok(false),
            code => self.check("copying", code).map(|()| true),
        }
    }

    /// Waits until nothing is under way in this direction; whether that went well does not matter then.
    pub(super) fn settle(&self, direction: CopyDirection) {
        // SAFETY: the stream is alive.
        unsafe { (self.library.stream_synchronize)(self.of(direction)) };
    }

    /// Takes an event back.
    pub(super) fn keep_event(&mut self, event: CUevent) {
        self.events.push(event);
    }

    /// An empty set for a launch.
    ///
    /// # Errors
    /// What the driver answers.
    pub(super) fn take_set(&mut self, kernels: &Kernels) -> Result<LaunchSet> {
        self.sets.take(self.library, kernels.calls)
    }

    /// Takes a set back that no launch uses any more.
    pub(super) fn keep_set(&mut self, set: LaunchSet) {
        self.sets.keep(set);
    }

    /// Gives all back, when nothing is under way; events and sets that others have were taken back before.
    pub(super) fn destroy(self) {
        for stream in [self.into_staging, self.out_of_staging] {
            // SAFETY: the stream is alive and empty, and used by nobody after this.
            unsafe { (self.library.stream_destroy)(stream) };
        }
        for event in self.events {
            // SAFETY: the event is alive, and nothing waits for it.
            unsafe { (self.library.event_destroy)(event) };
        }
        if let Some(kernels) = &self.device.kernels {
            self.sets.free(kernels.calls);
        }
    }
}
