//! What a store shares with the daemon of its mount, and the one thread that makes it, keeps it and destroys it.
//!
//! The daemon keeps a link below `3fs-virt/iovs` for each iov and each ring, and notes which *thread* made it. When that thread's
//! open of the directory ends, by a close or the end of the process, it removes them. So one thread makes them all and holds the
//! directory open, without handing it on to what the engine executes, and the memory has no name any more once it is made: a
//! process that is killed leaves nothing behind.
//!
//! A call to a daemon that does not answer does not come back. Whoever asks the thread for something therefore waits for a while
//! and not for ever.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::thread::JoinHandle;
use std::time::Duration;

use super::library::{self, Library};
use super::mount::{Mount, gone, is_disconnected};
use super::types::{Guarded, MadeIov, MadeRing, RawIor, RawIov};
use crate::error::{Error, Status};
use crate::sync::{Mutex, lock};
use crate::sys::file::{available_bytes, file_system_answers};
use crate::sys::{fork, thread};

/// How long the daemon may take to answer before that is an error of the open. It registers memory with the network's card meanwhile.
const MAKING_TIME_MAX: Duration = Duration::from_secs(60);
/// How long a close waits for it.
const CLOSING_TIME_MAX: Duration = Duration::from_secs(10);
/// Entries that the daemon takes from a ring at a time, at most; 3FS's own figures for many small reads are with 4. Fewer go at
/// once, as long as no time is given for them to become more.
const BATCH_ENTRIES_MAX: i32 = 4;
/// Any NUMA node.
const ANY_NODE: i32 = -1;

/// The client of one mount.
pub struct Client {
    library: &'static Library,
    mount: Mount,
    /// `None` once it is told to end.
    commands: Option<Sender<Command>>,
    /// The thread, and what ends with it.
    thread: Mutex<Option<(JoinHandle<()>, Receiver<()>)>>,
    health: Arc<Health>,
    epoch: u64,
}

/// What is known of the daemon.
#[derive(Default)]
struct Health {
    is_dead: AtomicBool,
    /// Somebody asked, and the answer is not there yet.
    is_asked: AtomicBool,
}

enum Command {
    MakeIov { bytes: usize, block_bytes: usize, reply: SyncSender<Result<MadeIov, String>> },
    MakeRing { entries: i32, for_read: bool, reply: SyncSender<Result<MadeRing, String>> },
    DestroyIov(MadeIov),
    DestroyRing(MadeRing),
    LookAfter,
}

/// What the thread has.
struct Keeper {
    library: &'static Library,
    mount: Mount,
    /// The open directory of iovs and rings.
    directory: File,
    /// The directory said that it is 3FS's.
    has_answered: bool,
    health: Arc<Health>,
}

impl Client {
    /// Loads the library, if the process has not yet, and starts the thread.
    ///
    /// # Errors
    /// What is missing, in words.
    pub fn open(library: Option<&Path>, mount: Mount) -> Result<Arc<Client>, String> {
        fork::install().map_err(|error| error.to_string())?;
        let library = library::load(library)?;
        let (commands, orders) = mpsc::channel();
        let (opened, answer) = mpsc::sync_channel(1);
        let (end, ended) = mpsc::sync_channel(0);
        let health = Arc::new(Health::default());
        let (place, its_health) = (mount.clone(), Arc::clone(&health));
        let thread = thread::spawn("nixl-hf3fs", move || {
            let _end: SyncSender<()> = end;
            match Keeper::open(library, place, its_health) {
                Ok(keeper) => {
                    drop(opened.send(Ok(())));
                    orders.iter().for_each(|command| keeper.obey(command));
                }
                Err(why) => drop(opened.send(Err(why))),
            }
        })
        .map_err(|error| format!("no thread for what is shared with the daemon: {error}"))?;
        wait_for(&answer, &mount)??;
        let (commands, thread) = (Some(commands), Mutex::new(Some((thread, ended))));
        Ok(Arc::new(Client { library, mount, commands, thread, health, epoch: fork::epoch() }))
    }

    pub(super) fn library(&self) -> &'static Library {
        self.library
    }

    /// The mount.
    pub fn mount(&self) -> &Mount {
        &self.mount
    }

    /// Whether this is the process that opened it, and not a child of its.
    pub(super) fn is_here(&self) -> bool {
        self.epoch == fork::epoch()
    }

    /// Has somebody look whether the daemon is still there, without waiting for the answer.
    pub fn look_after(&self) {
        if !self.health.is_asked.swap(true, Ordering::AcqRel) {
            self.tell(Command::LookAfter);
        }
    }

    /// Whether the daemon was found to be gone. Nothing that it was given will end, and it touches no memory any more.
    pub fn is_dead(&self) -> bool {
        self.health.is_dead.load(Ordering::Acquire)
    }

    pub(super) fn make_iov(&self, bytes: usize, block_bytes: usize) -> io::Result<MadeIov> {
        let (reply, answer) = mpsc::sync_channel(1);
        self.tell(Command::MakeIov { bytes, block_bytes, reply });
        self.answer(&answer)
    }

    pub(super) fn make_ring(&self, entries: u32, for_read: bool) -> io::Result<MadeRing> {
        let entries = i32::try_from(entries).map_err(|_| io::ErrorKind::InvalidInput)?;
        let (reply, answer) = mpsc::sync_channel(1);
        self.tell(Command::MakeRing { entries, for_read, reply });
        self.answer(&answer)
    }

    pub(super) fn destroy_iov(&self, made: MadeIov) {
        self.tell_or_keep(Command::DestroyIov(made));
    }

    pub(super) fn destroy_ring(&self, made: MadeRing) {
        self.tell_or_keep(Command::DestroyRing(made));
    }

    fn tell(&self, command: Command) {
        if let Some(commands) = &self.commands {
            // Its end is noticed by whoever waits for the answer.
            drop(commands.send(command));
        }
    }

    /// In a forked child, where the thread is not, the parent's things are let be.
    fn tell_or_keep(&self, command: Command) {
        if self.is_here() {
            self.tell(command);
        } else {
            std::mem::forget(command);
        }
    }

    fn answer<T>(&self, answer: &Receiver<Result<T, String>>) -> io::Result<T> {
        let told = wait_for(answer, &self.mount).and_then(|told| told);
        told.map_err(|why| io::Error::other(Error::new(Status::Unsupported, why)))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.commands = None;
        let Some((thread, ended)) = lock(&self.thread).take() else { return };
        // A daemon that does not answer keeps the thread and nobody else.
        if self.is_here() && ended.recv_timeout(CLOSING_TIME_MAX) == Err(RecvTimeoutError::Disconnected) {
            drop(thread.join());
        }
    }
}

fn wait_for<T>(answer: &Receiver<T>, mount: &Mount) -> Result<T, String> {
    answer.recv_timeout(MAKING_TIME_MAX).map_err(|error| match error {
        RecvTimeoutError::Timeout => format!(
            "the daemon of 3FS at {} did not answer within {} s",
            mount.path().display(),
            MAKING_TIME_MAX.as_secs()
        ),
        RecvTimeoutError::Disconnected => String::from("the thread that speaks to 3FS's daemon has ended"),
    })
}

impl Keeper {
    fn open(library: &'static Library, mount: Mount, health: Arc<Health>) -> Result<Keeper, String> {
        let iovs = mount.iovs();
        let directory = File::open(&iovs).map_err(|error| match is_disconnected(&error) {
            // Finding the mount may have been answered by what the kernel believed.
            true => gone(mount.path()),
            false => format!("opening {}: {error}", iovs.display()),
        })?;
        // SAFETY: the descriptor is open.
        let has_answered = unsafe { (library.is_hf3fs)(directory.as_raw_fd()) };
        if !has_answered && !mount.is_typed() {
            return Err(format!("{}, and it does not answer as 3FS does", mount.describe()));
        }
        Ok(Keeper { library, mount, directory, has_answered, health })
    }

    fn obey(&self, command: Command) {
        match command {
            // Whoever does not wait any more has the thing destroyed.
            Command::MakeIov { bytes, block_bytes, reply } => {
                if let Err(mpsc::SendError(Ok(made))) = reply.send(self.make_iov(bytes, block_bytes)) {
                    self.destroy_iov(made);
                }
            }
            Command::MakeRing { entries, for_read, reply } => {
                if let Err(mpsc::SendError(Ok(made))) = reply.send(self.make_ring(entries, for_read)) {
                    self.destroy_ring(made);
                }
            }
            Command::DestroyIov(made) => self.destroy_iov(made),
            Command::DestroyRing(made) => self.destroy_ring(made),
            Command::LookAfter => {
                if !self.is_alive() {
                    self.health.is_dead.store(true, Ordering::Release);
                }
                self.health.is_asked.store(false, Ordering::Release);
            }
        }
    }

    /// Whether the daemon still answers for the directory that was opened, whatever is mounted there by now.
    fn is_alive(&self) -> bool {
        if let Err(error) = file_system_answers(&self.directory)
            && is_disconnected(&error)
        {
            return false;
        }
        // SAFETY: the descriptor is open.
        !self.has_answered || unsafe { (self.library.is_hf3fs)(self.directory.as_raw_fd()) }
    }

    fn make_iov(&self, bytes: usize, block_bytes: usize) -> Result<MadeIov, String> {
        if bytes == 0 || block_bytes > bytes {
            // The library would end the process.
            return Err(format!("no memory of {bytes} bytes in blocks of {block_bytes} can be shared"));
        }
        let mut made = MadeIov(Box::new(Guarded::new(RawIov::EMPTY)));
        let (raw, mount) = (&raw mut made.0.raw, self.mount.name().as_ptr());
        // SAFETY: the structure is writable and stays where it is, the name is NUL-terminated.
        let answer = unsafe { (self.library.iov_create)(raw, mount, bytes, block_bytes, ANY_NODE) };
        if answer < 0 {
            return Err(self.refused(&format!("sharing {bytes} bytes of memory"), -answer));
        }
        let RawIov { base, size, .. } = made.0.raw;
        if !made.0.is_intact() || base.is_null() || size != bytes {
            // What it is cannot be told, so it is left.
            std::mem::forget(made);
            return Err(other_version("iov"));
        }
        // First of all: a process that is killed leaves what has a name in /dev/shm, and the rest takes a while.
        // SAFETY: made just now. The daemon has it mapped, so that it needs no name any more.
        unsafe { (self.library.iov_unlink)(&raw mut made.0.raw) };
        // SAFETY: `bytes` bytes are mapped there, and nobody uses them yet.
        let populated = unsafe { populate(base, bytes) };
        match populated {
            Ok(()) => Ok(made),
            Err(error) => {
                self.destroy_iov(made);
                Err(format!(
                    "/dev/shm has no room for {bytes} bytes of memory that is shared with 3FS's daemon ({error}); give it more \
                     (mount -o remount,size=…; of a container: --shm-size), or set a smaller nixl_buffer_size"
                ))
            }
        }
    }

    fn make_ring(&self, entries: i32, for_read: bool) -> Result<MadeRing, String> {
        let mut made = MadeRing(Box::new(Guarded::new(RawIor::EMPTY)));
        let (raw, mount) = (&raw mut made.0.raw, self.mount.name().as_ptr());
        // Without a time a batch that is not full goes at once; without flags holes read as what they are.
        let (batch, timeout, flags) = (-BATCH_ENTRIES_MAX, 0, 0);
        // SAFETY: as for an iov.
        let answer = unsafe {
            (self.library.ior_create)(raw, mount, entries, for_read, batch, timeout, ANY_NODE, flags)
        };
        if answer < 0 {
            return Err(self.refused(&format!("making a ring of {entries} entries"), -answer));
        }
        let RawIor { handle, for_read: its_direction, io_depth, .. } = made.0.raw;
        // SAFETY: made just now.
        let its_entries = unsafe { (self.library.ior_entries)(&raw const made.0.raw) };
        if !made.0.is_intact()
            || handle.is_null()
            || (its_direction, io_depth) != (for_read, batch)
            || its_entries < entries
        {
            std::mem::forget(made);
            return Err(other_version("ring"));
        }
        Ok(made)
    }

    fn destroy_iov(&self, mut made: MadeIov) {
        // SAFETY: made by this thread, and whoever had it let go of it.
        unsafe { (self.library.iov_destroy)(&raw mut made.0.raw) };
    }

    fn destroy_ring(&self, mut made: MadeRing) {
        // SAFETY: as for an iov; nothing is under way in it, or the daemon is gone.
        unsafe { (self.library.ior_destroy)(&raw mut made.0.raw) };
    }

    fn refused(&self, what: &str, errno: i32) -> String {
        let hint = match errno {
            libc::ENOENT | libc::EINVAL => {
                "; mostly that is a /dev/shm that is not the daemon's: give the container the host's (--ipc=host, or \
                 -v /dev/shm:/dev/shm)"
            }
            libc::EIO => "; mostly /dev/shm is full, or not writable",
            libc::EMFILE => "; the daemon has as many as it takes",
            _ => "",
        };
        let error = io::Error::from_raw_os_error(errno);
        format!("{what} with the daemon of 3FS at {}: {error}{hint}", self.mount.path().display())
    }
}

fn other_version(what: &str) -> String {
    format!(
        "libhf3fs_api_shared.so is of another version: what it calls an {what} is laid out otherwise than hf3fs_usrbio.h has it"
    )
}

/// Has all pages there. Shared memory is taken from /dev/shm when it is touched, and who touches what is not to be had any more
/// is ended by SIGBUS.
///
/// # Safety
/// The bytes are mapped, for reading and writing, and nobody else's.
unsafe fn populate(base: *mut u8, bytes: usize) -> io::Result<()> {
    // Larger pages are a wish.
    // SAFETY: as the caller says; neither call changes what is there.
    let answer = unsafe {
        libc::madvise(base.cast(), bytes, libc::MADV_HUGEPAGE);
        libc::madvise(base.cast(), bytes, libc::MADV_POPULATE_WRITE)
    };
    match io::Error::last_os_error() {
        _ if answer == 0 => Ok(()),
        // A kernel before 5.14 does not have it.
        error if error.raw_os_error() == Some(libc::EINVAL) => {
            let available = File::open("/dev/shm").ok().and_then(|directory| available_bytes(&directory));
            match available {
                Some(available) if available < bytes as u64 => {
                    Err(io::Error::from_raw_os_error(libc::ENOSPC))
                }
                _ => Ok(()),
            }
        }
        // The pages could not be had: the access would have raised SIGBUS.
        error if error.raw_os_error() == Some(libc::EFAULT) => {
            Err(io::Error::from_raw_os_error(libc::ENOSPC))
        }
        error => Err(error),
    }
}
