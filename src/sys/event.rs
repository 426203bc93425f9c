//! An eventfd: a wake-up that a ring, an epoll loop or a thread can wait for.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Instant;

use super::check;

/// A non-blocking eventfd; readable while it was signalled and not yet cleared.
#[derive(Debug)]
pub struct Event(OwnedFd);

impl Event {
    /// A fresh one, not signalled.
    ///
    /// # Errors
    /// What `eventfd(2)` answers.
    pub fn new() -> io::Result<Event> {
        // SAFETY: eventfd takes no pointers.
        let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        // SAFETY: eventfd returned a descriptor that nobody else owns.
        Ok(Event(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Makes it readable. Never blocks: a counter about to overflow is readable already.
    pub fn signal(&self) {
        let one = 1u64;
        // SAFETY: writes 8 bytes from a live u64 to an open descriptor.
        unsafe { libc::write(self.0.as_raw_fd(), (&raw const one).cast(), size_of::<u64>()) };
    }

    /// Makes it not readable.
    pub fn clear(&self) {
        let mut count = 0u64;
        // SAFETY: reads 8 bytes into a live u64 from an open, non-blocking descriptor.
        unsafe { libc::read(self.0.as_raw_fd(), (&raw mut count).cast(), size_of::<u64>()) };
    }

    /// Waits until it is readable, or `timeout_ms` (-1: for ever).
    ///
    /// # Errors
    /// What `poll(2)` answers.
    pub fn wait(&self, timeout_ms: i32) -> io::Result<bool> {
        poll_readable(&self.0, || timeout_ms)
    }

    /// Waits until it is readable, or that moment comes; `None` never comes.
    ///
    /// # Errors
    /// What `poll(2)` answers.
    pub fn wait_until(&self, moment: Option<Instant>) -> io::Result<bool> {
        wait_readable(&self.0, moment)
    }

    /// Waits until `descriptor` is ready for what is to be done with it, or this is signalled, or that moment comes; `None`
    /// never comes. What is broken or was closed on its other side is ready: doing it tells.
    ///
    /// # Errors
    /// What `poll(2)` answers.
    pub fn wait_beside(
        &self,
        descriptor: &impl AsRawFd,
        interest: Interest,
        moment: Option<Instant>,
    ) -> io::Result<Woken> {
        let events = match interest {
            Interest::Read => libc::POLLIN,
            Interest::Write => libc::POLLOUT,
        };
        let mut both = [
            libc::pollfd { fd: self.0.as_raw_fd(), events: libc::POLLIN, revents: 0 },
            libc::pollfd { fd: descriptor.as_raw_fd(), events, revents: 0 },
        ];
        poll(&mut both, || milliseconds_until(moment))?;
        Ok(match both.map(|polled| polled.revents != 0) {
            [true, _] => Woken::Signalled,
            [false, true] => Woken::Ready,
            [false, false] => Woken::Late,
        })
    }
}

/// What a descriptor is waited for to do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Reading, or taking a connection.
    Read,
    /// Writing.
    Write,
}

/// Why [`Event::wait_beside`] is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// The event was signalled, whatever else there is.
    Signalled,
    /// The descriptor is ready.
    Ready,
    /// The moment has come.
    Late,
}

/// Waits until a descriptor is readable, or that moment comes; `None` never comes.
///
/// # Errors
/// What `poll(2)` answers.
pub fn wait_readable(descriptor: &impl AsRawFd, moment: Option<Instant>) -> io::Result<bool> {
    poll_readable(descriptor, || milliseconds_until(moment))
}

fn milliseconds_until(moment: Option<Instant>) -> i32 {
    let Some(moment) = moment else { return -1 };
    // Rounded up, so that the moment has come when the wait is over.
    let left = moment.saturating_duration_since(Instant::now()).as_nanos().div_ceil(1_000_000);
    i32::try_from(left).unwrap_or(i32::MAX)
}

fn poll_readable(descriptor: &impl AsRawFd, timeout_ms: impl Fn() -> i32) -> io::Result<bool> {
    poll(&mut [libc::pollfd { fd: descriptor.as_raw_fd(), events: libc::POLLIN, revents: 0 }], timeout_ms)
}

/// Whether any of them is ready in that time.
fn poll(polled: &mut [libc::pollfd], timeout_ms: impl Fn() -> i32) -> io::Result<bool> {
    loop {
        // SAFETY: valid pollfds, and their number.
        match check(unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, timeout_ms()) }) {
            // As often as it takes: a sleep ends with the event or in time.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other.map(|ready| ready > 0),
        }
    }
}

impl AsFd for Event {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Event {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
