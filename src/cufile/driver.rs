//! cuFile's driver: opened once in a process, by whoever needs it first, and closed after the last.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::errors::check;
use super::library::{self, Library};
use super::log_file::{self, Elsewhere};
use super::types::{
    DRIVER_ALREADY_OPEN, DRIVER_NOT_INITIALIZED, DriverProperties, PARAMETER_ALLOW_COMPAT_MODE,
};
use crate::sys::fork::{self, Turn};
use crate::sys::thread;

/// How long opening the driver may take: it makes contexts on all GPUs that it sees, which takes seconds on a large machine.
/// Longer, and something keeps it for ever. Shorter where tests make it hang.
const OPEN_TIME_MAX: Duration = Duration::from_secs(if cfg!(feature = "fault-injection") { 10 } else { 60 });
/// Bytes of one transfer where the driver names no limit: the least that any version takes.
const REQUEST_BYTES_DEFAULT: usize = 1 << 20;
/// Entries of one batch where the driver names no limit (`properties.io_batchsize` of cufile.json).
const BATCH_ENTRIES_DEFAULT: usize = 128;

/// The open driver. Closed when the last of its users lets go.
pub struct Driver {
    pub(super) library: &'static Library,
    properties: Properties,
    /// Somebody else in this process has it open and has to close it.
    is_others: bool,
    epoch: u64,
    in_context: InContext,
}

/// Does something with a CUDA context current, if there is CUDA at all.
pub type InContext = fn(&mut dyn FnMut());

/// What the driver says of itself.
#[derive(Clone, Debug)]
pub struct Properties {
    /// Bytes of the largest transfer.
    pub request_bytes_max: usize,
    /// Entries of the largest batch.
    pub batch_entries_max: usize,
    /// Why transfers go through the processor (compatibility mode); `None`: the direct path is there.
    pub compatible: Option<String>,
}

/// What a process knows of the driver.
struct State {
    open: Weak<Driver>,
    /// Opening it did not come back once: the thread that tried is lost.
    is_hung: bool,
    /// The fork after which the library was loaded.
    loaded_epoch: Option<u64>,
}

/// Reached by whoever has [`Turn::CuFile`] alone.
struct OfProcess(UnsafeCell<State>);

// SAFETY: see above; one thread at a time has the turn, and a forked child begins with none that has it.
unsafe impl Sync for OfProcess {}

static STATE: OfProcess =
    OfProcess(UnsafeCell::new(State { open: Weak::new(), is_hung: false, loaded_epoch: None }));

impl Driver {
    /// The driver, opened if it is not.
    ///
    /// cuFile pins buffers of its own for CUDA, and lets go of them when it is closed, if a context is current then. Else they are
    /// freed as pinned memory, and who is given the same addresses cannot pin them: transfers fail after the next open. So it is
    /// closed by `in_context`.
    ///
    /// # Errors
    /// What is missing, in words.
    pub fn open(in_context: InContext) -> Result<Arc<Driver>, String> {
        let _turn = fork::wait_for(Turn::CuFile).map_err(|error| error.to_string())?;
        // SAFETY: this thread has the turn.
        let state = unsafe { &mut *STATE.0.get() };
        if *state.loaded_epoch.get_or_insert(fork::epoch()) != fork::epoch() {
            // source: cuFile API Reference Guide, "The fork system call should not be used after the library is initialized".
            return Err(String::from(
                "cuFile was used in this process's parent before the fork, and cannot be used after it; open the store before, \
                 or start the process with exec",
            ));
        }
        if let Some(driver) = state.open.upgrade() {
            return Ok(driver);
        }
        let hung = || format!("cuFileDriverOpen did not come back within {} s", OPEN_TIME_MAX.as_secs());
        if state.is_hung {
            return Err(hung());
        }
        // Gone at the end of this, however that comes.
        let elsewhere = Elsewhere::new();
        let directory = match &elsewhere {
            Ok(None) => LogGoes::WhereTheUserSays,
            Ok(Some(elsewhere)) => LogGoes::Into(elsewhere.path().to_owned()),
            Err(_) => LogGoes::ToTheWorkingDirectory,
        };
        let (answer, answered) = mpsc::sync_channel(1);
        let opener =
            thread::spawn("nixl-cufile", move || drop(answer.send(open_here(&directory, in_context))));
        let opener = opener.map_err(|error| format!("no thread to open cuFile's driver: {error}"))?;
        match answered.recv_timeout(OPEN_TIME_MAX) {
            Ok(opened) => {
                drop(opener.join());
                let driver = Arc::new(opened?);
                state.open = Arc::downgrade(&driver);
                Ok(driver)
            }
            Err(RecvTimeoutError::Timeout) => {
                state.is_hung = true;
                Err(hung())
            }
            Err(RecvTimeoutError::Disconnected) => Err(String::from("opening cuFile's driver panicked")),
        }
    }

    /// What it says of itself.
    pub fn properties(&self) -> &Properties {
        &self.properties
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if self.is_others || self.epoch != fork::epoch() {
            return;
        }
        let _turn = fork::wait_for(Turn::CuFile);
        // A thread that opens it in between has it counted twice by cuFile, and this takes one away.
        (self.in_context)(&mut || {
            // SAFETY: opened, and all files and batches of it are gone, as each holds it.
            let _ = unsafe { (self.library.driver_close)() };
        });
    }
}

/// Where cuFile's log goes.
enum LogGoes {
    WhereTheUserSays,
    Into(PathBuf),
    ToTheWorkingDirectory,
}

/// Opens the driver on a thread that does nothing else.
fn open_here(log: &LogGoes, in_context: InContext) -> Result<Driver, String> {
    let is_sent = match log {
        LogGoes::WhereTheUserSays => true,
        LogGoes::Into(directory) => log_file::enter(directory).is_ok(),
        LogGoes::ToTheWorkingDirectory => false,
    };
    let is_to_be_removed = !is_sent && log_file::is_absent();
    let driver = load_and_open(in_context);
    log_file::remove(is_to_be_removed);
    driver
}

fn load_and_open(in_context: InContext) -> Result<Driver, String> {
    if !modules_can_be_listed() {
        return Err(String::from(
            "/proc/modules cannot be read, without which cuFileDriverOpen does not come back (a kernel without modules, or a \
             container without /proc)",
        ));
    }
    let library = library::load()?;
    // SAFETY: takes no arguments.
    let open = || check(unsafe { (library.driver_open)() });
    let close = || {
        let mut closed = Ok(());
        // SAFETY: opened just now, and nobody uses it yet.
        in_context(&mut || closed = check(unsafe { (library.driver_close)() }));
        closed
    };
    // Without leave to do otherwise the driver opens on the direct path or not at all. What is set counts for one attempt;
    // the next is as cufile.json has it.
    let direct = library.set_switch.map(|set| {
        // SAFETY: takes numbers.
        check(unsafe { set(PARAMETER_ALLOW_COMPAT_MODE, false) })?;
        open()?;
        close()
    });
    let is_others = match open() {
        Ok(()) => false,
        Err(code) if code.code == DRIVER_ALREADY_OPEN => true,
        Err(code) => return Err(format!("cuFileDriverOpen: {code}")),
    };
    let mut properties = MaybeUninit::<DriverProperties>::zeroed();
    // SAFETY: the place is longer than any version's structure, and all zeros is valid for it.
    let properties = unsafe {
        let read = check((library.driver_properties)(properties.as_mut_ptr()));
        read.map(|()| properties.assume_init())
    };
    let Ok(properties) = properties else {
        // There is something to say already.
        let _ = close();
        return Err(String::from("cuFileDriverGetProperties: it does not say what the driver can"));
    };
    let no_module = || Some(String::from("the kernel module nvidia-fs is not loaded"));
    let compatible = match direct {
        Some(Ok(())) => None,
        Some(Err(code)) if code.code == DRIVER_NOT_INITIALIZED => no_module(),
        Some(Err(code)) if code.code != DRIVER_ALREADY_OPEN => Some(code.to_string()),
        // It could not be tried: somebody else in this process has the driver open, or the library is too old.
        _ if properties.nvfs_major == 0 => no_module(),
        _ => None,
    };
    let or = |given: usize, default: usize| if given > 0 { given } else { default };
    let properties = Properties {
        request_bytes_max: or(properties.max_direct_io_size.saturating_mul(1024), REQUEST_BYTES_DEFAULT),
        batch_entries_max: or(properties.max_batch_io_size as usize, BATCH_ENTRIES_DEFAULT),
        compatible,
    };
    Ok(Driver { library, properties, is_others, epoch: fork::epoch(), in_context })
}

/// Whether /proc/modules can be opened, in the way in which cuFile does it: it tries again for ever.
fn modules_can_be_listed() -> bool {
    // SAFETY: NUL-terminated names; the stream is closed once.
    unsafe {
        let stream = libc::fopen(c"/proc/modules".as_ptr(), c"r".as_ptr());
        !stream.is_null() && libc::fclose(stream) == 0
    }
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").field("properties", &self.properties).finish_non_exhaustive()
    }
}
