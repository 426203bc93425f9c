//! Marks the moments between two steps on disk, at which the process may die or a step may fail.
//!
//! In a release these marks are nothing. Tests stop at each in turn and look at what is left.

/// A step on disk is done.
#[cfg(not(test))]
pub(super) fn done() -> std::io::Result<()> {
    Ok(())
}

/// The lock file is open and about to be locked.
#[cfg(not(test))]
pub(super) fn before_lock() {}

/// Makes durable what was written to a slot file.
#[cfg(not(test))]
pub(super) fn sync(file: &std::fs::File) -> std::io::Result<()> {
    file.sync_data()
}

/// Reads a trailer. The slot files are as long as they are to be, so where they seem to end nothing was ever written.
#[cfg(not(test))]
pub(super) fn read(file: &std::fs::File, out: &mut [u8], offset: u64) -> std::io::Result<()> {
    crate::sys::file::read_or_zeros(file, out, offset)
}

/// The lock file is about to be opened, and made if it is not there.
#[cfg(not(test))]
pub(super) fn before_lock_file() -> std::io::Result<()> {
    Ok(())
}

#[cfg(not(test))]
pub(super) use crate::sys::xattr::{get as attribute, set as set_attribute};

#[cfg(test)]
pub(super) use under_test::{attribute, before_lock, before_lock_file, done, read, set_attribute, sync};

#[cfg(test)]
pub(super) mod under_test {
    use std::cell::{Cell, RefCell};
    use std::ffi::CStr;
    use std::io;

    use crate::sys::dir::Dir;
    use crate::sys::file::read_or_zeros;
    use crate::sys::xattr;

    /// Stands in for the attribute of a directory: is told a value, or asked for it (`None`).
    pub type Attribute = Box<dyn FnMut(Option<&[u8]>) -> io::Result<Vec<u8>>>;

    /// What happens at the chosen step.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Event {
        /// The process dies: nothing after it runs. A panic unwinds to the test; no code of the pool
        /// tidies up while unwinding, and the kernel's part (closing files, dropping locks) happens.
        Crash,
        /// The step reports this OS error number.
        Error(i32),
    }

    thread_local! {
        static PLAN: Cell<Option<(u32, Event)>> = const { Cell::new(None) };
        static READS_TO_FAIL: Cell<u32> = const { Cell::new(0) };
        static SYNC_ERROR: Cell<Option<i32>> = const { Cell::new(None) };
        static MEANWHILE: Cell<Option<Box<dyn FnOnce()>>> = const { Cell::new(None) };
        static LOCK_FILE_ERROR: Cell<Option<i32>> = const { Cell::new(None) };
        static ATTRIBUTE: RefCell<Option<Attribute>> = const { RefCell::new(None) };
    }

    /// Lets `event` happen at the step number `at`, counted from 0, while `run` runs.
    /// Returns `None` if it crashed.
    pub fn with<T>(at: u32, event: Event, run: impl FnOnce() -> T) -> Option<T> {
        PLAN.set(Some((at, event)));
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
        PLAN.set(None);
        match outcome {
            Ok(value) => Some(value),
            Err(payload) if payload.is::<Crashed>() => None,
            Err(payload) => std::panic::resume_unwind(payload),
        }
    }

    /// Lets `other` happen between this thread's next opening of a lock file and its locking.
    pub fn meanwhile(other: impl FnOnce() + 'static) {
        MEANWHILE.set(Some(Box::new(other)));
    }

    /// Lets this thread's next sync of a slot file fail.
    pub fn fail_sync(number: i32) {
        SYNC_ERROR.set(Some(number));
    }

    /// Lets as many reads of trailers by this thread fail.
    pub fn fail_reads(count: u32) {
        READS_TO_FAIL.set(count);
    }

    pub(in crate::layout::pool) fn read(file: &std::fs::File, out: &mut [u8], offset: u64) -> io::Result<()> {
        match READS_TO_FAIL.get().checked_sub(1) {
            Some(left) => {
                READS_TO_FAIL.set(left);
                Err(io::Error::from_raw_os_error(libc::EIO))
            }
            None => read_or_zeros(file, out, offset),
        }
    }

    /// Lets this thread's next opening of a lock file fail.
    pub fn fail_lock_file(number: i32) {
        LOCK_FILE_ERROR.set(Some(number));
    }

    pub(in crate::layout::pool) fn before_lock_file() -> io::Result<()> {
        LOCK_FILE_ERROR.take().map_or(Ok(()), |number| Err(io::Error::from_raw_os_error(number)))
    }

    /// Lets `attribute` stand in for the attributes that this thread sets and reads; `None`: nothing does any more.
    pub fn answer_attributes(attribute: Option<Attribute>) {
        ATTRIBUTE.set(attribute);
    }

    pub(in crate::layout::pool) fn set_attribute(
        directory: &Dir,
        name: &CStr,
        value: &[u8],
    ) -> io::Result<()> {
        ATTRIBUTE.with_borrow_mut(|attribute| match attribute {
            Some(attribute) => attribute(Some(value)).map(drop),
            None => xattr::set(directory, name, value),
        })
    }

    pub(in crate::layout::pool) fn attribute(
        directory: &Dir,
        name: &CStr,
        value: &mut [u8],
    ) -> io::Result<usize> {
        ATTRIBUTE.with_borrow_mut(|attribute| match attribute {
            Some(attribute) => {
                let answer = attribute(None)?;
                let Some(place) = value.get_mut(..answer.len()) else {
                    return Err(io::Error::from_raw_os_error(libc::ERANGE));
                };
                place.copy_from_slice(&answer);
                Ok(answer.len())
            }
            None => xattr::get(directory, name, value),
        })
    }

    pub(in crate::layout::pool) fn sync(file: &std::fs::File) -> io::Result<()> {
        match SYNC_ERROR.take() {
            Some(number) => Err(io::Error::from_raw_os_error(number)),
            None => file.sync_data(),
        }
    }

    pub(in crate::layout::pool) fn before_lock() {
        if let Some(other) = MEANWHILE.take() {
            other();
        }
    }

    /// What a simulated crash unwinds with.
    struct Crashed;

    pub(in crate::layout::pool) fn done() -> io::Result<()> {
        match PLAN.get() {
            Some((0, event)) => {
                PLAN.set(None);
                match event {
                    Event::Crash => std::panic::resume_unwind(Box::new(Crashed)),
                    Event::Error(number) => Err(io::Error::from_raw_os_error(number)),
                }
            }
            Some((left, event)) => {
                PLAN.set(Some((left - 1, event)));
                Ok(())
            }
            None => Ok(()),
        }
    }
}
