//! One io_uring ring per lane.
//!
//! The ring belongs to its thread (`IORING_SETUP_SINGLE_ISSUER`, `DEFER_TASKRUN` where the kernel has
//! them). A read of the lane's eventfd is always under way, so that a sleep in `io_uring_enter` ends
//! when somebody has work for the lane.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use io_uring::{IoUring, opcode, squeue, types};

use crate::backend::queue::{
    IoCompletion, IoDirection, IoQueue, IoRequest, REGION_BYTES_MAX, REGIONS_MAX, Wait,
};
use crate::backend::reach::IO_SLICES_MAX;
use crate::memory::HostSlice;
use crate::sys::event::{Event, wait_readable};
use crate::sys::room;

/// Token of the eventfd read; requests carry 32-bit tokens, so it cannot collide.
const WAKE: u64 = u64::MAX;

/// One entry of an I/O vector.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct IoVec(libc::iovec);

// SAFETY: an address and a length; the memory behind is vouched for by whoever pushed (see `HostPtr`).
unsafe impl Send for IoVec {}

/// A ring and the requests in it.
pub struct UringQueue {
    ring: IoUring,
    waker: Arc<Event>,
    /// Target of the eventfd read; boxed so that its address stays while the kernel may write it.
    wake_count: Box<u64>,
    wake_armed: bool,
    depth: usize,
    in_flight: usize,
    /// I/O vectors of requests that are pushed but not submitted: the kernel copies them during
    /// submission (`IORING_FEAT_SUBMIT_STABLE`) and not later. Each has room for the longest.
    vectors: Vec<Vec<IoVec>>,
    vectors_used: usize,
    /// Whether the sparse buffer table could be registered.
    has_buffer_table: bool,
    registered: Vec<bool>,
}

/// Whether this kernel's rings do what is asked of them: once found, a fact for the process's life. A
/// failure is not kept, as it may be a limit that is lifted.
static OPCODES_FOUND: AtomicBool = AtomicBool::new(false);

fn check_opcodes(ring: &IoUring) -> io::Result<()> {
    let mut probe = io_uring::Probe::new();
    ring.submitter().register_probe(&mut probe)?;
    let needed = [opcode::Readv::CODE, opcode::Writev::CODE, opcode::Read::CODE, opcode::Write::CODE];
    if needed.iter().all(|&code| probe.is_supported(code)) {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "the kernel's io_uring lacks read and write (before Linux 5.6)",
    ))
}

fn build(depth: u32) -> io::Result<IoUring> {
    let mut tuned = IoUring::builder();
    tuned.setup_clamp().setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag();
    tuned.build(depth).or_else(|_| IoUring::builder().setup_clamp().build(depth))
}

/// A ring for the calling thread.
///
/// # Errors
/// What `io_uring_setup(2)` answers; `Unsupported` for a kernel whose rings do too little.
pub fn open_ring(depth: u32) -> io::Result<IoUring> {
    let ring = build(depth)?;
    // Two lanes may both look. Neither waits for the other, which a forked child might not have.
    if !OPCODES_FOUND.load(Ordering::Relaxed) {
        check_opcodes(&ring)?;
        OPCODES_FOUND.store(true, Ordering::Relaxed);
    }
    if !ring.params().is_feature_submit_stable() {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "io_uring before Linux 5.5"));
    }
    Ok(ring)
}

impl UringQueue {
    /// The queue around a ring of [`open_ring`].
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new(ring: IoUring, waker: Arc<Event>) -> io::Result<UringQueue> {
        let has_buffer_table = ring.submitter().register_buffers_sparse(REGIONS_MAX).is_ok();
        // One entry is the eventfd read's.
        let depth = (ring.params().sq_entries() as usize).saturating_sub(1).max(1);
        let vectors = room::take(depth * IO_SLICES_MAX * size_of::<IoVec>(), || {
            (0..depth).map(|_| room::list(IO_SLICES_MAX)).collect::<io::Result<_>>()
        })?;
        Ok(UringQueue {
            ring,
            waker,
            wake_count: Box::new(0),
            wake_armed: false,
            depth,
            in_flight: 0,
            vectors,
            vectors_used: 0,
            has_buffer_table,
            registered: vec![false; REGIONS_MAX as usize],
        })
    }

    /// `None`: memory that the processor cannot reach, which a ring cannot either, or a target that is no file.
    fn entry(&mut self, request: &IoRequest<'_>) -> Option<squeue::Entry> {
        let fd = types::Fd(request.target.open_file().ok()?.descriptor());
        let fixed = request.region.filter(|&index| self.registered.get(usize::from(index)) == Some(&true));
        if let [stretch] = request.slices
            && let Ok(length) = u32::try_from(stretch.length())
        {
            let address = stretch.host()?.pointer.as_ptr();
            return Some(match (request.direction, fixed) {
                (IoDirection::Read, None) => {
                    opcode::Read::new(fd, address, length).offset(request.offset).build()
                }
                (IoDirection::Write, None) => {
                    opcode::Write::new(fd, address, length).offset(request.offset).build()
                }
                (IoDirection::Read, Some(region)) => {
                    opcode::ReadFixed::new(fd, address, length, region).offset(request.offset).build()
                }
                (IoDirection::Write, Some(region)) => {
                    opcode::WriteFixed::new(fd, address, length, region).offset(request.offset).build()
                }
            });
        }
        let vector = &mut self.vectors[self.vectors_used];
        vector.clear();
        for stretch in request.slices {
            let slice = stretch.host()?;
            vector
                .push(IoVec(libc::iovec { iov_base: slice.pointer.as_ptr().cast(), iov_len: slice.length }));
        }
        self.vectors_used += 1;
        let (address, count) = (vector.as_ptr().cast(), vector.len() as u32);
        Some(match request.direction {
            IoDirection::Read => opcode::Readv::new(fd, address, count).offset(request.offset).build(),
            IoDirection::Write => opcode::Writev::new(fd, address, count).offset(request.offset).build(),
        })
    }

    fn arm_wake(&mut self) -> io::Result<()> {
        if self.wake_armed {
            return Ok(());
        }
        let target: *mut u64 = &mut *self.wake_count;
        let entry =
            opcode::Read::new(types::Fd(self.waker.as_raw_fd()), target.cast(), size_of::<u64>() as u32)
                .build()
                .user_data(WAKE);
        // SAFETY: the target is boxed and the eventfd is held by `self.waker`; both live until the
        // read has completed, which `drop` waits for.
        unsafe { self.ring.submission().push(&entry) }
            .map_err(|_| io::Error::from(io::ErrorKind::WouldBlock))?;
        self.wake_armed = true;
        Ok(())
    }

    /// Enters the kernel and waits there for `want` completions, at most until that moment.
    fn enter(&mut self, want: usize, moment: Option<Instant>) -> io::Result<()> {
        let result = match moment {
            Some(moment) if want > 0 => self.enter_until(want, moment),
            _ => self.ring.submitter().submit_and_wait(want),
        };
        match result {
            Ok(_) => {}
            Err(error) => match error.raw_os_error() {
                // A signal, completions to be reaped before more can be submitted, or the moment has come.
                Some(libc::EINTR | libc::EBUSY | libc::EAGAIN | libc::ETIME) => {}
                _ => return Err(error),
            },
        }
        if self.ring.submission().is_empty() {
            self.vectors_used = 0;
        }
        Ok(())
    }

    fn enter_until(&mut self, want: usize, moment: Instant) -> io::Result<usize> {
        if self.ring.params().is_feature_ext_arg() {
            let left = types::Timespec::from(moment.saturating_duration_since(Instant::now()));
            return self.ring.submitter().submit_with_args(want, &types::SubmitArgs::new().timespec(&left));
        }
        // Before Linux 5.11 the system call knows no time. The ring is readable when it has completions, the read of
        // the waker among them.
        let submitted = self.ring.submitter().submit()?;
        wait_readable(&self.ring, Some(moment))?;
        Ok(submitted)
    }

    fn reap(&mut self, completions: &mut Vec<IoCompletion>) {
        for entry in self.ring.completion() {
            if entry.user_data() == WAKE {
                self.wake_armed = false;
                continue;
            }
            self.in_flight -= 1;
            let result = match entry.result() {
                bytes @ 0.. => Ok(bytes as usize),
                error => Err(io::Error::from_raw_os_error(-error)),
            };
            completions.push(IoCompletion::new(entry.user_data() as u32, result));
        }
    }
}

impl IoQueue for UringQueue {
    fn room(&self) -> usize {
        // Vectors are recycled only once everything pushed has been submitted, so they bound it too.
        (self.depth - self.in_flight).min(self.vectors.len() - self.vectors_used)
    }

    fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn has_completed(&mut self) -> bool {
        !self.ring.completion().is_empty()
    }

    fn push(&mut self, request: &IoRequest<'_>) -> io::Result<()> {
        if self.room() == 0 || request.slices.len() > IO_SLICES_MAX {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let entry =
            self.entry(request).ok_or(io::ErrorKind::InvalidInput)?.user_data(u64::from(request.token));
        // SAFETY: the memory behind the slices is valid until the completion (HostPtr's contract, and
        // requests own the buffers of their jobs), the file is kept open as long, and the I/O vector is not
        // reused before the kernel has copied it.
        unsafe { self.ring.submission().push(&entry) }
            .map_err(|_| io::Error::from(io::ErrorKind::WouldBlock))?;
        self.in_flight += 1;
        Ok(())
    }

    fn submit(&mut self) -> io::Result<()> {
        self.enter(0, None)
    }

    fn wait(&mut self, wait: Wait, completions: &mut Vec<IoCompletion>) -> io::Result<()> {
        let (before, was_armed) = (completions.len(), self.wake_armed);
        self.reap(completions);
        // A signal that was heard since the caller's last look for work is not given again, so there is no waiting now. Rings
        // without `DEFER_TASKRUN` (before Linux 6.1) hear it at any moment.
        let was_woken = was_armed && !self.wake_armed;
        self.arm_wake()?;
        let (want, moment) = match wait {
            Wait::Until(moment) if completions.len() == before && !was_woken => (1, moment),
            _ => (0, None),
        };
        self.enter(want, moment)?;
        self.reap(completions);
        Ok(())
    }

    fn register(&mut self, index: u16, region: HostSlice) -> io::Result<bool> {
        let Some(registered) = self.registered.get_mut(usize::from(index)) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        if !self.has_buffer_table || region.length > REGION_BYTES_MAX {
            return Ok(false);
        }
        let vector = libc::iovec { iov_base: region.pointer.as_ptr().cast(), iov_len: region.length };
        // SAFETY: the region's memory is valid while it is registered: the staging buffer outlives the
        // lanes, and an engine's memory is unregistered before the engine frees it.
        unsafe { self.ring.submitter().register_buffers_update(u32::from(index), &[vector], None) }?;
        *registered = true;
        Ok(true)
    }

    fn unregister(&mut self, index: u16) {
        if self.registered.get(usize::from(index)) != Some(&true) {
            return;
        }
        self.registered[usize::from(index)] = false;
        let nothing = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        // SAFETY: an empty entry clears the slot; the kernel keeps the pages of requests under way.
        // A failure leaves them pinned until the ring goes, which harms nobody's bytes.
        let _ = unsafe { self.ring.submitter().register_buffers_update(u32::from(index), &[nothing], None) };
    }
}

impl Drop for UringQueue {
    /// Waits for the kernel to let go of all memory. An error from `io_uring_enter` other than those
    /// that pass is impossible on a valid ring; were it to come, leaking beats freeing under a DMA.
    fn drop(&mut self) {
        let mut finished = Vec::new();
        self.waker.signal();
        while self.in_flight > 0 || self.wake_armed {
            if self.enter(1, None).is_err() {
                std::process::abort();
            }
            self.reap(&mut finished);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// How long a wait lasts that nobody ends.
    const WAIT_MAX: Duration = Duration::from_secs(20);

    /// A lane looks for work, is signalled, and then waits. On a ring that hears the signal in between, the wait must not begin,
    /// and the next one must hear the next signal.
    #[test]
    fn a_signal_that_comes_just_before_a_wait_ends_it() {
        let ring = match IoUring::builder().build(8) {
            Ok(ring) => ring,
            Err(error) => return eprintln!("skipped: io_uring is refused here: {error}"),
        };
        let waker = Arc::new(Event::new().expect("an eventfd"));
        let mut queue = UringQueue::new(ring, Arc::clone(&waker)).expect("a queue");
        let mut completions = Vec::new();
        queue.wait(Wait::Poll, &mut completions).expect("arms the read of the eventfd");
        for round in 0..3 {
            waker.signal();
            // The kernel completes the read on the way out of some system call of this thread.
            let heard = Instant::now() + WAIT_MAX;
            while !queue.has_completed() && Instant::now() < heard {
                std::thread::yield_now();
            }
            assert!(queue.has_completed());
            let begun = Instant::now();
            queue.wait(Wait::Until(begun.checked_add(WAIT_MAX)), &mut completions).expect("waits");
            assert!(begun.elapsed() < WAIT_MAX, "the signal of round {round} was lost");
        }
        assert!(completions.is_empty());
    }
}
