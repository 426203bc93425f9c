//! What becomes of a read through a mapping whose file was cut: SIGBUS, turned into an answer.
//!
//! Reading mapped bytes that a file no longer has raises SIGBUS (`mmap(2)`), which ends a process. Whoever reads a mapping
//! declares its addresses here first. A handler, installed when the first are declared, puts zeros in place of what is
//! missing and marks the addresses as cut; the read goes on and its reader asks [`Guarded::is_cut`]. Every other SIGBUS is
//! passed on to the handler that was there before. (The same is done by libwayland-server, `wl_shm_buffer_begin_access`,
//! and by systemd's journal, `sigbus.c`, for the same reason.)
//!
//! The handler takes no lock and allocates nothing: it reads atomics and calls `mmap` and `sigaction`.

use std::io;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

use super::check;
use super::fork::{self, Turn};

/// Most ranges of addresses that are declared at a time in the whole process. One pool has 8 files, so this serves 128 pools.
pub const GUARDED_MAX: usize = 1024;

/// What `Range::start` is where no mapping can be: the entry is free, or somebody is filling it in.
const FREE: usize = 0;
const TAKEN: usize = 1;

struct Range {
    start: AtomicUsize,
    /// Written only while `start` is [`TAKEN`], so that the handler never pairs it with another range's start.
    length: AtomicUsize,
    is_cut: AtomicBool,
}

static RANGES: [Range; GUARDED_MAX] = [const {
    Range { start: AtomicUsize::new(FREE), length: AtomicUsize::new(0), is_cut: AtomicBool::new(false) }
}; GUARDED_MAX];

/// What the handler needs to know, fixed before it is installed.
struct Previous {
    action: libc::sigaction,
    page_bytes: usize,
}

/// NULL until it is known.
static PREVIOUS: AtomicPtr<Previous> = AtomicPtr::new(std::ptr::null_mut());
/// Whether the handler is installed.
static HANDLING: AtomicBool = AtomicBool::new(false);

/// A declared range of addresses. While this lives, a missing page in the range is replaced and does not end the process.
pub struct Guarded(&'static Range);

impl Guarded {
    /// Declares `length` bytes at `start`, which are whole pages. `None`: [`GUARDED_MAX`] others are declared already.
    ///
    /// # Safety
    /// They are a mapping of the caller's that nobody writes through. It stays until this is dropped, and only the
    /// caller unmaps it, after that.
    ///
    /// # Errors
    /// What `sigaction(2)` answers.
    pub unsafe fn new(start: usize, length: usize) -> io::Result<Option<Guarded>> {
        install()?;
        let free = RANGES.iter().find(|range| {
            range.start.compare_exchange(FREE, TAKEN, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        });
        let Some(range) = free else { return Ok(None) };
        range.length.store(length, Ordering::Relaxed);
        range.is_cut.store(false, Ordering::Relaxed);
        range.start.store(start, Ordering::Release);
        Ok(Some(Guarded(range)))
    }

    /// Whether some of the bytes were found missing. It stays so.
    pub fn is_cut(&self) -> bool {
        self.0.is_cut.load(Ordering::Acquire)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.0.start.store(FREE, Ordering::Release);
    }
}

/// The calling thread accepts SIGBUS while this lives. A thread that blocks it is ended, and its process with it, by a fault
/// that the handler could have dealt with.
pub struct Unblocked {
    /// The mask to go back to; `None`: SIGBUS was not blocked.
    before: Option<libc::sigset_t>,
}

impl Unblocked {
    /// Unblocks SIGBUS on the calling thread; the drop restores the mask.
    pub fn here() -> Unblocked {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        let mut before = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigemptyset writes the set, which is then valid for the other two; pthread_sigmask writes `before`
        // and cannot fail with these arguments.
        let (before, was_blocked) = unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            libc::sigaddset(set.as_mut_ptr(), libc::SIGBUS);
            libc::pthread_sigmask(libc::SIG_UNBLOCK, set.as_ptr(), before.as_mut_ptr());
            let before = before.assume_init();
            (before, libc::sigismember(&raw const before, libc::SIGBUS) == 1)
        };
        Unblocked { before: was_blocked.then_some(before) }
    }

    /// Keeps SIGBUS unblocked: the drop changes nothing any more.
    pub fn for_good(mut self) {
        self.before = None;
    }
}

impl Drop for Unblocked {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // SAFETY: the mask was this thread's own.
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before, std::ptr::null_mut()) };
        }
    }
}

/// Installs the handler, once in a process: a second time might chain it to itself.
fn install() -> io::Result<()> {
    if HANDLING.load(Ordering::Acquire) {
        return Ok(());
    }
    let _alone = fork::wait_for(Turn::BusError)?;
    // In two steps, because the handler may run as soon as it is there, and has to know who was there before. Each is one
    // store, so a child that is forked in between finds it done or does it itself.
    if PREVIOUS.load(Ordering::Acquire).is_null() {
        let mut previous = MaybeUninit::<libc::sigaction>::uninit();
        // SAFETY: sigaction writes the struct that it is given, or fails.
        let previous = unsafe {
            check(libc::sigaction(libc::SIGBUS, std::ptr::null(), previous.as_mut_ptr()))?;
            previous.assume_init()
        };
        // SAFETY: sysconf takes no pointers.
        let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        let page_bytes = usize::try_from(page_bytes).unwrap_or(4096);
        // For the process's life, as the handler is.
        PREVIOUS.store(Box::into_raw(Box::new(Previous { action: previous, page_bytes })), Ordering::Release);
    }
    if !HANDLING.load(Ordering::Acquire) {
        // SAFETY: all zeros is a valid sigaction: no flags, an empty mask, the default action.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = on_bus_error as *const () as usize;
        // On the alternate stack where a thread has one: runtimes with small stacks (Go) ask for that of everybody.
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
        // SAFETY: the action is whole, and its handler lives as long as the process: the library is linked so that
        // it is never unloaded.
        check(unsafe { libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut()) })?;
        HANDLING.store(true, Ordering::Release);
    }
    Ok(())
}

extern "C" fn on_bus_error(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: what was stored there is never changed and never freed.
    let Some(previous) = (unsafe { PREVIOUS.load(Ordering::Acquire).as_ref() }) else { return };
    // SAFETY: the kernel hands a valid siginfo to a handler with SA_SIGINFO; si_addr is set for a fault, and checked to
    // be one here: codes of signals that were sent are not positive.
    let fault = unsafe { ((*info).si_code > 0).then(|| (*info).si_addr() as usize) };
    if fault.is_some_and(|address| replace_missing(address, previous.page_bytes)) {
        return;
    }
    pass_on(&previous.action, signal, info, context, fault.is_some());
}

/// Puts zeros from the page of `address` to the end of its range. False: it is in none, or that failed.
fn replace_missing(address: usize, page_bytes: usize) -> bool {
    for range in &RANGES {
        let start = range.start.load(Ordering::Acquire);
        let length = range.length.load(Ordering::Acquire);
        // The start is read again after the length: if the entry was given to another mapping in between, the two do not
        // belong together.
        let is_whole = start > TAKEN && range.start.load(Ordering::Relaxed) == start;
        if !is_whole || address.wrapping_sub(start) >= length {
            continue;
        }
        // The mark is set before the zeros are there, so that whoever reads a zero finds the mark afterwards.
        range.is_cut.store(true, Ordering::SeqCst);
        let page = address / page_bytes * page_bytes;
        let flags = libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: the pages are part of a mapping that is declared here, which `Guarded::new`'s caller owns and only reads.
        // errno belongs to what was interrupted and is put back.
        return unsafe {
            let errno = *libc::__errno_location();
            let length = start + length - page;
            let mapped = libc::mmap(page as *mut libc::c_void, length, libc::PROT_READ, flags, -1, 0);
            *libc::__errno_location() = errno;
            mapped != libc::MAP_FAILED
        };
    }
    false
}

/// Does what would have been done without this handler.
fn pass_on(
    previous: &libc::sigaction,
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
    is_fault: bool,
) {
    match previous.sa_sigaction {
        libc::SIG_IGN if !is_fault => {}
        libc::SIG_DFL | libc::SIG_IGN => {
            // The default action, as the kernel takes it for a fault that is ignored. The signal is blocked until
            // this handler returns and ends the process then.
            // SAFETY: all zeros is the default action; raise takes no pointers.
            unsafe {
                let default: libc::sigaction = std::mem::zeroed();
                libc::sigaction(signal, &raw const default, std::ptr::null_mut());
                libc::raise(signal);
            }
        }
        handler if previous.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: with SA_SIGINFO the kernel would have called it with these arguments, so it has this type.
            let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
                unsafe { std::mem::transmute(handler) };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: without SA_SIGINFO the kernel would have called it with the number alone.
            let handler: extern "C" fn(libc::c_int) = unsafe { std::mem::transmute(handler) };
            handler(signal);
        }
    }
}
