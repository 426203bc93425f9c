//! The copies of one lane, and checksums of device memory.
//!
//! A part runs on a stream of the device that the item's memory is of, or else of the staging buffer's. Where a block holds what
//! another device's stream copies to it, the stream that sums it waits for that one.
//!
//! The end of the work is told by an event behind it. A host function behind that wakes the lane, and does nothing else: it must
//! not block, nor call the driver. A device that broke may not run it; who waits looks now and then.

use std::io;

use cudarc::driver::sys::CUevent;

use super::contexts::Contexts;
use super::launch_set::{LaunchSet, Piece};
use super::library::Library;
use super::streams::Streams;
use crate::error::{Error, Result, Status};
use crate::memory::{Copier, CopyDirection, CopyDone, CopyPart, DeviceSlice, Stretch};
use crate::sync::Arc;
use crate::sys::event::Event;

/// Parts of one device that are copied by a kernel, if there are so many in a row: fewer cost less as copies, since a launch
/// with its descriptors is about as much for the driver as two of them.
const KERNEL_PARTS_MIN: usize = 4;
/// A part of so many bytes is a copy of its own: a copy costs the driver 2.3 us whatever its length, in which a link carries
/// about as much.
const COPY_BYTES_MIN: usize = 64 << 10;

/// What one push began.
struct Work {
    token: u32,
    direction: CopyDirection,
    /// The events behind it, one for each device; those that were met are taken out.
    events: Vec<(u16, CUevent)>,
    /// What its launches use.
    sets: Vec<(u16, LaunchSet)>,
    sums: Vec<u64>,
    failure: Option<Error>,
}

impl Work {
    fn new(token: u32, direction: CopyDirection) -> Work {
        let (events, sets, sums) = (Vec::new(), Vec::new(), Vec::new());
        Work { token, direction, events, sets, sums, failure: None }
    }
}

/// The copies of one lane, made and used on its thread.
pub(super) struct CudaCopier {
    library: &'static Library,
    devices: Arc<Contexts>,
    /// By ordinal; made when a device is first met.
    streams: Vec<Option<Streams>>,
    /// The device whose context is the thread's.
    current: Option<u16>,
    /// Devices of the work that is being begun.
    touched: Vec<u16>,
    /// Small parts of one device that lie behind each other in what is being begun.
    run: Vec<Piece>,
    pending: Vec<Work>,
    /// Room of work that has ended, and of sums that were looked at, to be used again.
    spare: Vec<Work>,
    spare_sums: Vec<Vec<u64>>,
    /// What the host functions signal. They have its address, so it stays until the streams are empty.
    waker: Arc<Event>,
}

// SAFETY: streams, events and pinned memory belong to contexts, not to threads.
unsafe impl Send for CudaCopier {}

impl CudaCopier {
    pub(super) fn new(library: &'static Library, devices: Arc<Contexts>, waker: Arc<Event>) -> CudaCopier {
        CudaCopier {
            library,
            devices,
            streams: Vec::new(),
            current: None,
            touched: Vec::new(),
            run: Vec::new(),
            pending: Vec::new(),
            spare: Vec::new(),
            spare_sums: Vec::new(),
            waker,
        }
    }

    /// What this lane has on a device, whose context is the thread's afterwards.
    fn on(&mut self, ordinal: u16) -> Result<&mut Streams> {
        let at = usize::from(ordinal);
        if self.streams.len() <= at {
            self.streams.resize_with(at + 1, || None);
        }
        let device = match &self.streams[at] {
            Some(streams) => streams.device,
            None => self.devices.device(ordinal)?,
        };
        if self.current != Some(ordinal) {
            device.context.enter(self.library)?;
            self.current = Some(ordinal);
        }
        match &mut self.streams[at] {
            Some(streams) => Ok(streams),
            none => Ok(none.insert(Streams::new(self.library, device)?)),
        }
    }

    /// The same for work that is being begun. Noted before the call that begins it: what was refused may have been begun.
    fn begin_on(&mut self, ordinal: u16) -> Result<&mut Streams> {
        self.on(ordinal)?;
        if !self.touched.contains(&ordinal) {
            self.touched.push(ordinal);
        }
        self.on(ordinal)
    }

    /// Begins the copies.
    fn copy(&mut self, direction: CopyDirection, parts: &[CopyPart], work: &mut Work) -> Result<()> {
        // What failed may have left some.
        self.run.clear();
        let mut run_on = 0;
        for part in parts {
            let device = part
                .device()
                .ok_or_else(|| Error::new(Status::Internal, "a copy without a device's side"))?;
            if let Some(piece) = self.piece(device, part)? {
                if run_on != device {
                    self.end_run(run_on, direction, work)?;
                    run_on = device;
                }
                self.run.push(piece);
                continue;
            }
            let (memory, staging) = (part.memory.addr() as u64, part.staging.addr() as u64);
            self.begin_on(device)?.copy(direction, memory, staging, part.memory.length())?;
        }
        self.end_run(run_on, direction, work)
    }

    /// The part as one of a kernel's pieces, if it is small and this device reaches both sides.
    fn piece(&mut self, device: u16, part: &CopyPart) -> Result<Option<Piece>> {
        let bytes = part.memory.length();
        if bytes >= COPY_BYTES_MIN || part.memory.device() != Some(device) {
            return Ok(None);
        }
        let on = &self.on(device)?.device;
        let staging = match part.staging {
            Stretch::Host(slice) => on.address_of(slice),
            Stretch::Device(slice) => (slice.device == device).then(|| slice.pointer.addr()),
        };
        let memory = part.memory.addr() as u64;
        Ok(on.kernels.and(staging).map(|staging| Piece { memory, staging, bytes }))
    }

    /// Begins the copies of the run: launches, or one by one where they are few.
    fn end_run(&mut self, device: u16, direction: CopyDirection, work: &mut Work) -> Result<()> {
        let run = std::mem::take(&mut self.run);
        let begun = self.copy_run(device, direction, &run, work);
        self.run = run;
        self.run.clear();
        begun
    }

    fn copy_run(
        &mut self,
        device: u16,
        direction: CopyDirection,
        run: &[Piece],
        work: &mut Work,
    ) -> Result<()> {
        if run.is_empty() {
            return Ok(());
        }
        let on = self.begin_on(device)?;
        let Some(kernels) = on.device.kernels.filter(|_| run.len() >= KERNEL_PARTS_MIN) else {
            return run
                .iter()
                .try_for_each(|piece| on.copy(direction, piece.memory, piece.staging, piece.bytes));
        };
        let mut left = run.iter().copied().peekable();
        while left.peek().is_some() {
            let mut set = on.take_set(&kernels)?;
            while !set.is_full()
                && let Some(piece) = left.next()
            {
                set.push_piece(piece);
            }
            let begun = on.copy_set(&kernels, direction, &set);
            work.sets.push((device, set));
            begun?;
        }
        Ok(())
    }

    /// Begins the sums: launches for each device.
    fn sum(&mut self, direction: CopyDirection, blocks: &[DeviceSlice], work: &mut Work) -> Result<()> {
        // The devices that copy.
        let copied = self.touched.len();
        for (at, block) in blocks.iter().enumerate() {
            if blocks[..at].iter().any(|before| before.device == block.device) {
                continue;
            }
            let device = block.device;
            let of_device = |(_, block): &(usize, &DeviceSlice)| block.device == device;
            let mut left = blocks.iter().enumerate().skip(at).filter(of_device).peekable();
            let Some(kernels) = self.on(device)?.device.kernels else {
                return Err(self.devices.no_sums(device));
            };
            self.wait_for_others(device, copied, direction, work)?;
            let on = self.begin_on(device)?;
            while left.peek().is_some() {
                let mut set = on.take_set(&kernels)?;
                while !set.is_full()
                    && let Some((number, block)) = left.next()
                {
                    set.push_block(number, block);
                }
                let begun = on.sum_set(&kernels, direction, &set);
                work.sets.push((device, set));
                begun?;
            }
        }
        if !blocks.is_empty() {
            work.sums = self.spare_sums.pop().unwrap_or_default();
            work.sums.resize(blocks.len(), 0);
        }
        Ok(())
    }

    /// Has a device's stream wait for what was begun on others: it may be copied to what is summed here.
    fn wait_for_others(
        &mut self,
        device: u16,
        copied: usize,
        direction: CopyDirection,
        work: &mut Work,
    ) -> Result<()> {
        for at in 0..copied {
            let other = self.touched[at];
            if other != device {
                let event = self.on(other)?.record(direction)?;
                work.events.push((other, event));
                self.begin_on(device)?.wait(direction, event)?;
            }
        }
        Ok(())
    }

    /// Puts events behind all that was begun. A stream that takes none is waited for.
    fn mark(&mut self, direction: CopyDirection, work: &mut Work) {
        for at in 0..self.touched.len() {
            let device = self.touched[at];
            let waker = Arc::clone(&self.waker);
            match self.on(device).and_then(|on| on.mark(direction, &waker)) {
                Ok(event) => work.events.push((device, event)),
                Err(error) => {
                    self.settle(device, direction);
                    work.failure.get_or_insert(error);
                }
            }
        }
    }

    /// Whether all events of the work under way at this place were met.
    fn is_over(&mut self, at: usize) -> bool {
        while let Some(&(device, event)) = self.pending[at].events.last() {
            match self.on(device).and_then(|on| on.is_met(event)) {
                Ok(false) => return false,
                Ok(true) => {}
                Err(error) => {
                    // The question failed, or the device did: whichever, the memory is not given back before it is done.
                    self.settle(device, self.pending[at].direction);
                    self.pending[at].failure.get_or_insert(error);
                }
            }
            self.keep_event(device, event);
            self.pending[at].events.pop();
        }
        true
    }

    /// Waits for a stream, whatever context is current.
    fn settle(&self, device: u16, direction: CopyDirection) {
        if let Some(Some(streams)) = self.streams.get(usize::from(device)) {
            streams.settle(direction);
        }
    }

    fn keep_event(&mut self, device: u16, event: CUevent) {
        if let Some(Some(streams)) = self.streams.get_mut(usize::from(device)) {
            streams.keep_event(event);
        }
    }

    /// Takes back what work that has ended used, and tells how it ended.
    fn end(&mut self, mut work: Work) -> CopyDone {
        let mut sums = std::mem::take(&mut work.sums);
        for (device, set) in work.sets.drain(..) {
            for (number, sum) in set.sums() {
                if let Some(place) = sums.get_mut(number) {
                    *place = sum;
                }
            }
            if let Some(Some(streams)) = self.streams.get_mut(usize::from(device)) {
                streams.keep_set(set);
            }
        }
        let token = work.token;
        let result = match work.failure.take() {
            None => Ok(()),
            Some(error) => {
                self.recycle(std::mem::take(&mut sums));
                Err(io::Error::other(error))
            }
        };
        self.spare.push(work);
        CopyDone { token, result, sums }
    }
}

impl Copier for CudaCopier {
    fn prepare(&mut self, device: u16) -> io::Result<()> {
        self.on(device).map(drop).map_err(io::Error::other)
    }

    fn push(
        &mut self,
        token: u32,
        direction: CopyDirection,
        parts: &[CopyPart],
        blocks: &[DeviceSlice],
    ) -> io::Result<()> {
        self.touched.clear();
        let mut work = match self.spare.pop() {
            Some(spare) => Work { token, direction, ..spare },
            None => Work::new(token, direction),
        };
        let begun = self.copy(direction, parts, &mut work);
        work.failure = begun.and_then(|()| self.sum(direction, blocks, &mut work)).err();
        self.mark(direction, &mut work);
        if work.events.is_empty() {
            // Nothing was begun, or all of it was waited for.
            return self.end(work).result.and(Err(io::ErrorKind::InvalidInput.into()));
        }
        self.pending.push(work);
        Ok(())
    }

    fn reap(&mut self, done: &mut Vec<CopyDone>) {
        let mut at = 0;
        while at < self.pending.len() {
            if self.is_over(at) {
                let work = self.pending.remove(at);
                done.push(self.end(work));
            } else {
                at += 1;
            }
        }
    }

    fn settle_all(&mut self) {
        for streams in self.streams.iter().flatten() {
            // Without its context nothing of the device can be used any more.
            let _ = streams.device.context.enter(self.library);
            streams.settle(CopyDirection::IntoStaging);
            streams.settle(CopyDirection::OutOfStaging);
        }
        self.current = None;
    }

    fn recycle(&mut self, mut sums: Vec<u64>) {
        if sums.capacity() > 0 {
            sums.clear();
            self.spare_sums.push(sums);
        }
    }
}

impl Drop for CudaCopier {
    fn drop(&mut self) {
        self.settle_all();
        for work in std::mem::take(&mut self.pending) {
            for &(device, event) in &work.events {
                self.keep_event(device, event);
            }
            self.end(work);
        }
        for streams in std::mem::take(&mut self.streams).into_iter().flatten() {
            let _ = streams.device.context.enter(self.library);
            streams.destroy();
        }
    }
}
