//! Wraps a backend's queues so that transfers come back short or with an error, on a fixed schedule.
//!
//! Built only with feature `fault-injection`; without it [`wrap`] hands the backend through. The
//! schedule is `nixl_backend_params.fault`: entries `kind:n`, comma-separated, where every n-th request of
//! the store meets `kind`: `short` (half the bytes), `eintr`, `eagain`, `eio`, `enospc`, `eio_read`, `eio_write`; `broken` ends the queue that it meets. With
//! `torn`, `torn_end` and `torn_after` the process dies at it, if it is a write: half of its pages are written, all but the
//! last, or all, and of earlier requests what the queue had passed on.

use super::queue::Backend;
use crate::config::Config;
use crate::error::Result;

/// The backend itself: this build injects nothing.
///
/// # Errors
/// None; the signature is shared with the injecting build.
#[cfg(not(feature = "fault-injection"))]
pub fn wrap(backend: Box<dyn Backend>, _config: &Config) -> Result<Box<dyn Backend>> {
    Ok(backend)
}

#[cfg(feature = "fault-injection")]
pub use injecting::wrap;

#[cfg(feature = "fault-injection")]
mod injecting {
    use std::fs::File;
    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::{Backend, Config, Result};
    use crate::backend::positioned::transfer;
    use crate::backend::queue::{
        IoCompletion, IoDirection, IoPath, IoQueue, IoRequest, Known, Medium, Stores, Wait,
    };
    use crate::backend::{Reach, Target};
    use crate::config::FAULT_PARAMETER;
    use crate::error::{Error, Status};
    use crate::memory::{Arena, DeviceSlice, HostSlice, Stretch};
    use crate::sys::event::Event;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Fault {
        Short,
        /// The queue is broken from here on.
        Broken,
        Torn(Part),
        Errno(i32, Option<IoDirection>),
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Part {
        Half,
        AllButLastPage,
        All,
    }

    impl Fault {
        fn only(self) -> Option<IoDirection> {
            match self {
                Fault::Short | Fault::Broken => None,
                Fault::Torn(_) => Some(IoDirection::Write),
                Fault::Errno(_, only) => only,
            }
        }
    }

    /// The first bytes of a request that a fault lets through.
    fn cut(slices: &[Stretch], part: Part) -> Vec<Stretch> {
        let pages = slices.iter().map(Stretch::length).sum::<usize>() / SHORT_GRANULE_BYTES;
        let mut left = SHORT_GRANULE_BYTES
            * match part {
                Part::Half => pages / 2,
                Part::AllButLastPage => pages.saturating_sub(1),
                Part::All => pages,
            };
        let mut shorter = Vec::new();
        for slice in slices {
            let length = slice.length().min(left);
            if length > 0 {
                shorter.push(slice.part(0, length));
            }
            left -= length;
        }
        shorter
    }

    struct Injecting {
        inner: Box<dyn Backend>,
        schedule: Vec<(Fault, u64)>,
        /// Of all queues.
        requests: Arc<AtomicU64>,
    }

    /// Wraps the backend if the configuration has a schedule.
    ///
    /// # Errors
    /// [`Status::Config`] for a schedule that cannot be read.
    pub fn wrap(backend: Box<dyn Backend>, config: &Config) -> Result<Box<dyn Backend>> {
        let Some(text) = config.backend_params.0.get(FAULT_PARAMETER) else {
            return Ok(backend);
        };
        let unreadable =
            || Error::new(Status::Config, format!("nixl_backend_params.{FAULT_PARAMETER}: '{text}'"));
        let mut schedule = Vec::new();
        for entry in text.split(',') {
            let (kind, every) = entry.trim().split_once(':').ok_or_else(unreadable)?;
            let fault = match kind {
                "short" => Fault::Short,
                "broken" => Fault::Broken,
                "torn" => Fault::Torn(Part::Half),
                "torn_end" => Fault::Torn(Part::AllButLastPage),
                "torn_after" => Fault::Torn(Part::All),
                "eintr" => Fault::Errno(libc::EINTR, None),
                "eagain" => Fault::Errno(libc::EAGAIN, None),
                "eio" => Fault::Errno(libc::EIO, None),
                "enospc" => Fault::Errno(libc::ENOSPC, Some(IoDirection::Write)),
                "eio_read" => Fault::Errno(libc::EIO, Some(IoDirection::Read)),
                "eio_write" => Fault::Errno(libc::EIO, Some(IoDirection::Write)),
                _ => return Err(unreadable()),
            };
            schedule.push((fault, every.parse::<u64>().ok().filter(|&n| n > 0).ok_or_else(unreadable)?));
        }
        Ok(Box::new(Injecting { inner: backend, schedule, requests: Arc::default() }))
    }

    impl Injecting {
        fn queue(&self, inner: Box<dyn IoQueue>, waker: Option<Arc<Event>>) -> InjectingQueue {
            let (schedule, requests) = (self.schedule.clone(), Arc::clone(&self.requests));
            InjectingQueue { inner, waker, schedule, requests, failed: Vec::new(), is_broken: false }
        }
    }

    impl Backend for Injecting {
        fn path(&self) -> IoPath {
            self.inner.path()
        }
        fn reach(&self) -> Reach {
            self.inner.reach()
        }
        #[cfg(feature = "obj")]
        fn bucket(&self) -> Option<&crate::backend::obj::Bucket> {
            self.inner.bucket()
        }

        fn stores(&self) -> Stores {
            self.inner.stores()
        }
        fn attach(&self, file: Arc<File>) -> io::Result<Target> {
            self.inner.attach(file)
        }
        fn may_refuse_files(&self) -> bool {
            self.inner.may_refuse_files()
        }
        fn habits(&self) -> crate::sys::habits::Habits {
            self.inner.habits()
        }
        fn staging(&self, bytes: usize, huge_pages: bool) -> io::Result<Arena> {
            self.inner.staging(bytes, huge_pages)
        }
        fn know(&self, memory: DeviceSlice) -> std::result::Result<Option<Known>, String> {
            self.inner.know(memory)
        }
        fn medium(&self, found: Medium) -> Medium {
            self.inner.medium(found)
        }
        fn lanes_default(&self, medium: Medium) -> u32 {
            self.inner.lanes_default(medium)
        }
        fn supports_direct_io(&self) -> bool {
            self.inner.supports_direct_io()
        }
        fn open_queue(&self, waker: Arc<Event>, medium: Medium) -> io::Result<Box<dyn IoQueue>> {
            let inner = self.inner.open_queue(Arc::clone(&waker), medium)?;
            Ok(Box::new(self.queue(inner, Some(waker))))
        }
        fn reads_mappings(&self, medium: Medium) -> bool {
            self.inner.reads_mappings(medium)
        }
        fn blocking_queue(&self) -> Option<Box<dyn IoQueue>> {
            let inner = self.inner.blocking_queue()?;
            Some(Box::new(self.queue(inner, None)))
        }
    }

    struct InjectingQueue {
        inner: Box<dyn IoQueue>,
        waker: Option<Arc<Event>>,
        schedule: Vec<(Fault, u64)>,
        requests: Arc<AtomicU64>,
        failed: Vec<IoCompletion>,
        is_broken: bool,
    }

    /// Granule in which a transfer is cut short: O_DIRECT cuts at blocks, never inside one.
    const SHORT_GRANULE_BYTES: usize = 4096;

    impl IoQueue for InjectingQueue {
        fn room(&self) -> usize {
            // What failed here may be pushed again while the inner queue is full of others.
            self.inner.room().saturating_sub(self.failed.len())
        }
        fn in_flight(&self) -> usize {
            self.inner.in_flight() + self.failed.len()
        }
        fn has_completed(&mut self) -> bool {
            !self.failed.is_empty() || self.inner.has_completed()
        }
        fn push(&mut self, request: &IoRequest<'_>) -> io::Result<()> {
            let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
            let due = self.schedule.iter().find(|(fault, every)| {
                number.is_multiple_of(*every) && fault.only().is_none_or(|only| only == request.direction)
            });
            match due {
                Some((Fault::Errno(errno, _), _)) => {
                    let result = Err(io::Error::from_raw_os_error(*errno));
                    self.failed.push(IoCompletion::new(request.token, result));
                    self.waker.iter().for_each(|waker| waker.signal());
                    Ok(())
                }
                Some((Fault::Short, _)) => {
                    let shorter = cut(request.slices, Part::Half);
                    if shorter.is_empty() {
                        return self.inner.push(request);
                    }
                    self.inner.push(&IoRequest { slices: &shorter, ..*request })
                }
                Some((Fault::Broken, _)) => {
                    self.is_broken = true;
                    self.inner.push(request)
                }
                Some((Fault::Torn(part), _)) => {
                    let written = cut(request.slices, *part);
                    if !written.is_empty() {
                        transfer(request.direction, request.target, request.offset, &written)?;
                    }
                    // As a kill: nothing is unwound, nothing is closed.
                    std::process::abort()
                }
                None => self.inner.push(request),
            }
        }
        fn submit(&mut self) -> io::Result<()> {
            self.inner.submit()
        }
        fn wait(&mut self, wait: Wait, completions: &mut Vec<IoCompletion>) -> io::Result<()> {
            if self.is_broken {
                return Err(io::Error::other("injected: the queue is broken"));
            }
            let wait = if self.failed.is_empty() { wait } else { Wait::Poll };
            completions.append(&mut self.failed);
            self.inner.wait(wait, completions)
        }
        fn register(&mut self, index: u16, region: HostSlice) -> io::Result<bool> {
            self.inner.register(index, region)
        }
        fn unregister(&mut self, index: u16) {
            self.inner.unregister(index);
        }
    }
}
