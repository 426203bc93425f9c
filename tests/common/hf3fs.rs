//! The stand-in for 3FS's client library (`tests/standin_hf3fs/`): built, loaded into this process, and told how to behave.
//!
//! Every directory of the tests passes for a mount of 3FS, which it is once it has `3fs-virt/iovs`.
//!
//! A test binary that was written for files through system calls runs a second time over HF3FS ([`once_more`]): in that process,
//! and in those that it starts, what would be `POSIX` is `HF3FS`.

use std::ffi::{CStr, CString, c_int, c_void};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// What a mount of 3FS has, and the client makes its links in.
pub const IOVS: &str = "3fs-virt/iovs";
/// The link there that leads to the daemon's semaphore.
const SEMAPHORE: &str = "submit-ios";

/// Names the backend that stores have in place of `POSIX`.
const BACKEND: &str = "NIXL_STORE_TEST_BACKEND";
/// Workers of the daemon of such a process: a file system that stands still must not keep all of them.
const WORKERS: &str = "64";

/// What the stand-in counts, by the numbers of `standin.h`.
#[derive(Clone, Copy, Debug)]
#[repr(i32)]
pub enum What {
    IovsMade = 0,
    IovsLive = 1,
    RingsMade = 2,
    RingsLive = 3,
    FilesRegistered = 4,
    FilesLive = 5,
    UnderWay = 9,
    BytesRead = 11,
    BytesWritten = 12,
    Eagains = 13,
    Reads = 14,
    Writes = 15,
    Faults = 16,
    Held = 17,
}

/// How an entry is spoilt.
#[derive(Clone, Copy, Debug)]
#[repr(i32)]
pub enum Spoilt {
    Short = 0,
    Error = 1,
    Zero = 2,
    Long = 3,
}

/// Which entries.
#[derive(Clone, Copy, Debug)]
#[repr(i32)]
pub enum Which {
    Reads = 1,
    Writes = 2,
    Both = 3,
}

/// A call that is to fail.
#[derive(Clone, Copy, Debug)]
#[repr(i32)]
pub enum Call {
    MakeIov = 0,
    MakeRing = 1,
    Register = 2,
}

/// The order in which what is done is told.
#[derive(Clone, Copy, Debug)]
#[repr(i32)]
pub enum Order {
    AsDone = 0,
    Reversed = 1,
    Random = 2,
}

macro_rules! functions {
    ($($name:ident = $symbol:literal: ($($argument:ident: $kind:ty),*) $(-> $answer:ty)?;)*) => {
        /// The stand-in. All that is told it holds for the whole process.
        pub struct Standin {
            $($name: unsafe extern "C" fn($($kind),*) $(-> $answer)?,)*
        }

        impl Standin {
            fn of(handle: *mut c_void) -> Standin {
                // SAFETY: a handle of dlopen, names with a NUL, and functions with these signatures (standin.h).
                unsafe {
                    Standin { $($name: std::mem::transmute::<
                        *mut c_void,
                        unsafe extern "C" fn($($kind),*) $(-> $answer)?,
                    >(symbol(handle, $symbol)),)* }
                }
            }
        }
    };
}

functions! {
    count = c"standin_hf3fs_count": (what: c_int) -> u64;
    reset = c"standin_hf3fs_reset": ();
    mount = c"standin_hf3fs_mount": (directories: *const libc::c_char) -> c_int;
    hold = c"standin_hf3fs_hold": (hold: bool);
    release = c"standin_hf3fs_release": (batches: u64) -> u64;
    delay = c"standin_hf3fs_delay": (delay_us: u64);
    order = c"standin_hf3fs_order": (order: c_int);
    fault = c"standin_hf3fs_fault": (kind: c_int, direction: c_int, every: u64, code: c_int);
    eagain = c"standin_hf3fs_eagain": (every: u64);
    entries_max = c"standin_hf3fs_entries_max": (entries: u64);
    fail = c"standin_hf3fs_fail": (call: c_int, nth: u64, code: c_int);
    kill = c"standin_hf3fs_kill": ();
    restart = c"standin_hf3fs_restart": ();
    journal = c"standin_hf3fs_journal": (path: *const libc::c_char) -> c_int;
    replay = c"standin_hf3fs_replay": (path: *const libc::c_char, entries: u64) -> i64;
}

/// Where the stand-in is built, for all test binaries.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("standin-hf3fs")
}

/// The library that stores load.
pub fn library() -> PathBuf {
    folder().join("libhf3fs_api_shared.so")
}

/// The stand-in, built and loaded.
pub fn standin() -> &'static Standin {
    static LOADED: OnceLock<Standin> = OnceLock::new();
    LOADED.get_or_init(|| {
        build();
        let path = CString::new(library().as_os_str().as_bytes()).unwrap();
        // SAFETY: a path with a NUL.
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        assert!(!handle.is_null(), "{} cannot be loaded", library().display());
        let standin = Standin::of(handle);
        standin.mount_all();
        standin
    })
}

/// Builds it, if it is older than its sources.
fn build() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/standin_hf3fs");
    let changed = |path: &Path| fs::metadata(path).and_then(|found| found.modified()).ok();
    let newest = fs::read_dir(&sources).unwrap().filter_map(|entry| changed(&entry.unwrap().path())).max();
    if changed(&library()) > newest {
        return;
    }
    let built = Command::new("sh").arg(sources.join("build.sh")).arg(folder()).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
}

fn symbol(handle: *mut c_void, name: &CStr) -> *mut c_void {
    // SAFETY: a handle of dlopen and a name with a NUL.
    let address = unsafe { libc::dlsym(handle, name.as_ptr()) };
    assert!(!address.is_null(), "the stand-in has no {}", name.to_string_lossy());
    address
}

/// All functions may be called from any thread.
impl Standin {
    pub fn count(&self, what: What) -> u64 {
        // SAFETY: takes a number.
        unsafe { (self.count)(what as c_int) }
    }

    /// Takes every directory of the tests for 3FS's.
    pub fn mount_all(&self) {
        let root = CString::new(env!("CARGO_TARGET_TMPDIR")).unwrap();
        // SAFETY: a path with a NUL.
        assert_eq!(unsafe { (self.mount)(root.as_ptr()) }, 0);
    }

    /// Takes none.
    pub fn mount_none(&self) {
        // SAFETY: a path with a NUL.
        assert_eq!(unsafe { (self.mount)(c"/nowhere".as_ptr()) }, 0);
    }

    /// As it was at first, but for what lives.
    pub fn reset(&self) {
        // SAFETY: takes nothing.
        unsafe { (self.reset)() }
    }

    /// Takes what is put in and ends none of it, until this is undone.
    pub fn hold(&self, hold: bool) {
        // SAFETY: takes a truth.
        unsafe { (self.hold)(hold) }
    }

    pub fn release(&self, batches: u64) -> u64 {
        // SAFETY: takes a number.
        unsafe { (self.release)(batches) }
    }

    pub fn delay_us(&self, delay_us: u64) {
        // SAFETY: takes a number.
        unsafe { (self.delay)(delay_us) }
    }

    pub fn order(&self, order: Order) {
        // SAFETY: takes a number.
        unsafe { (self.order)(order as c_int) }
    }

    /// Spoils every so-manieth entry; 0: none.
    pub fn spoil(&self, spoilt: Spoilt, which: Which, every: u64, errno: c_int) {
        // SAFETY: takes numbers.
        unsafe { (self.fault)(spoilt as c_int, which as c_int, every, errno) }
    }

    /// Says "full" to every so-manieth entry.
    pub fn say_full(&self, every: u64) {
        // SAFETY: takes a number.
        unsafe { (self.eagain)(every) }
    }

    /// Takes so many entries of a ring at a time; 0: as many as it was made for.
    pub fn entries_max(&self, entries: u64) {
        // SAFETY: takes a number.
        unsafe { (self.entries_max)(entries) }
    }

    /// Fails the n-th call from now on.
    pub fn fail(&self, call: Call, nth: u64, errno: c_int) {
        // SAFETY: takes numbers.
        unsafe { (self.fail)(call as c_int, nth, errno) }
    }

    /// The daemon is dead.
    pub fn kill(&self) {
        // SAFETY: takes nothing.
        unsafe { (self.kill)() }
    }

    /// There is a new daemon, which knows nothing of before.
    pub fn restart(&self) {
        // SAFETY: takes nothing.
        unsafe { (self.restart)() }
    }

    /// Keeps a list of the writes that are held.
    pub fn journal(&self, path: &Path) {
        let path = CString::new(path.as_os_str().as_bytes()).unwrap();
        // SAFETY: a path with a NUL.
        assert_eq!(unsafe { (self.journal)(path.as_ptr()) }, 0);
    }

    /// Carries out the first writes of such a list.
    pub fn replay(&self, path: &Path, entries: u64) -> i64 {
        let path = CString::new(path.as_os_str().as_bytes()).unwrap();
        // SAFETY: a path with a NUL.
        unsafe { (self.replay)(path.as_ptr(), entries) }
    }
}

/// Whether this process was started by [`once_more`].
pub fn is_once_more() -> bool {
    std::env::var_os(BACKEND).is_some()
}

/// The backend of a store for which a test names this one.
pub fn backend_for(named: &'static str) -> &'static str {
    if named == "POSIX" && is_once_more() { "HF3FS" } else { named }
}

/// Runs the tests of this binary in a process whose stores are HF3FS's where they would be POSIX's, without those whose names hold
/// one of these texts, and asserts that so many ran at least and all of them passed. In such a process it does nothing.
#[track_caller]
pub fn once_more(left_out: &[&str], tests_min: usize) {
    if is_once_more() {
        return;
    }
    build();
    let mut child = Command::new(std::env::current_exe().unwrap());
    left_out.iter().for_each(|name| {
        child.args(["--skip", name]);
    });
    child.env(BACKEND, "HF3FS").env("STANDIN_HF3FS_MOUNT", "/").env("STANDIN_HF3FS_WORKERS", WORKERS);
    let ended = child.output().unwrap();
    let told = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success(), "{told}\n{}", String::from_utf8_lossy(&ended.stderr));
    let passed = told.lines().filter(|line| line.starts_with("test ") && line.ends_with(" ... ok")).count();
    assert!(passed >= tests_min, "{passed} tests ran:\n{told}");
}

/// Makes a directory what a mount of 3FS looks like, to every user.
pub fn make_mount(path: &Path) {
    fs::create_dir_all(path.join(IOVS)).unwrap();
    fs::set_permissions(path.join(IOVS), fs::Permissions::from_mode(0o777)).unwrap();
    // Of the daemon's semaphore, whose name the client reads.
    let made = std::os::unix::fs::symlink("/dev/shm/sem.standin", path.join(IOVS).join(SEMAPHORE));
    assert!(made.is_ok() || made.is_err_and(|error| error.kind() == std::io::ErrorKind::AlreadyExists));
}

/// Links that the client has on a mount.
pub fn links(mount: &Path) -> usize {
    let names = fs::read_dir(mount.join(IOVS)).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| !name.to_string_lossy().starts_with(SEMAPHORE)).count()
}
