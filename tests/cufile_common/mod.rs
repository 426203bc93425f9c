//! What the tests of GDS and GDS_MT share: NVIDIA's own libcufile on a machine without GPU, kernel module and udev.
//!
//! `scripts/setup.sh` installs the library into `.venv`. It is loaded here by its path, before the library under test asks
//! the loader for `libcufile.so.0` and so gets the same. cuFile reads two things of the system through `fopen`, which this
//! binary has a function of its own for: `/proc/modules`, without which it looks for its kernel module for ever, and udev's
//! entry for the block device under a file, without which it refuses the file. Both are made up where the machine lacks them.

#![allow(dead_code, reason = "each test file uses a part of this")]

use std::ffi::{CStr, c_char, c_void};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Set where the tests with the real library cannot run: they say so and pass.
const WITHOUT: &str = "NIXL_STORE_TEST_WITHOUT_CUFILE";

/// Names another libcufile to test than that of `.venv`, a machine's own for instance.
const OTHER: &str = "NIXL_STORE_TEST_LIBCUFILE";

/// What udev says of a block device with a file system that cuFile serves.
const UDEV_ENTRY: &[u8] = b"E:ID_FS_USAGE=filesystem\nE:ID_FS_TYPE=ext4\n";

type Fopen = unsafe extern "C" fn(*const c_char, *const c_char) -> *mut libc::FILE;

/// In the place of the C library's own for every library of this process.
///
/// # Safety
/// As for `fopen(3)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fopen(path: *const c_char, mode: *const c_char) -> *mut libc::FILE {
    // SAFETY: as the caller says.
    unsafe { open(&NEXT_FOPEN, c"fopen", path, mode) }
}

/// The same under the name that C++'s streams call it by.
///
/// # Safety
/// As for `fopen(3)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fopen64(path: *const c_char, mode: *const c_char) -> *mut libc::FILE {
    // SAFETY: as the caller says.
    unsafe { open(&NEXT_FOPEN64, c"fopen64", path, mode) }
}

/// The C library's own. Found once, before cuFile is loaded: that writes to its log between a dlopen that failed and the dlerror
/// that says why, may open the log for that, and throws with its locks held if a dlsym in here has dlerror answer NULL.
static NEXT_FOPEN: OnceLock<Fopen> = OnceLock::new();
static NEXT_FOPEN64: OnceLock<Fopen> = OnceLock::new();

fn next(place: &OnceLock<Fopen>, name: &CStr) -> Fopen {
    // SAFETY: the next function of this name is the C library's, with that signature.
    *place.get_or_init(|| unsafe {
        std::mem::transmute::<*mut c_void, Fopen>(libc::dlsym(libc::RTLD_NEXT, name.as_ptr()))
    })
}

unsafe fn open(
    place: &OnceLock<Fopen>,
    name: &CStr,
    path: *const c_char,
    mode: *const c_char,
) -> *mut libc::FILE {
    // SAFETY: the arguments are handed on.
    unsafe {
        let stream = next(place, name)(path, mode);
        if !stream.is_null() {
            return stream;
        }
        match CStr::from_ptr(path).to_bytes() {
            b"/proc/modules" => stream_of(b""),
            path if path.starts_with(b"/run/udev/data/b") => stream_of(UDEV_ENTRY),
            _ => stream,
        }
    }
}

fn stream_of(text: &[u8]) -> *mut libc::FILE {
    // SAFETY: a descriptor of our own, handed over to the stream; `text` is readable.
    unsafe {
        let descriptor = libc::memfd_create(c"made-up".as_ptr(), libc::MFD_CLOEXEC);
        assert_eq!(libc::write(descriptor, text.as_ptr().cast(), text.len()), text.len() as isize);
        libc::lseek(descriptor, 0, libc::SEEK_SET);
        libc::fdopen(descriptor, c"r".as_ptr())
    }
}

/// Set to 12, it is CUDA 12's library that is loaded, which works with a CUDA driver alone.
pub const VERSION: &str = "NIXL_STORE_TEST_CUFILE_OF_CUDA";

/// The library of the package that `scripts/setup.sh` installs, unless another one is named.
fn installed() -> Option<PathBuf> {
    if let Some(other) = std::env::var_os(OTHER) {
        return Some(other.into());
    }
    let package = match std::env::var(VERSION).as_deref() {
        Ok("12") => "cufile",
        _ => "cu13",
    };
    let versions = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/lib");
    let entries = std::fs::read_dir(versions).ok()?.flatten();
    entries
        .map(|version| version.path().join("site-packages/nvidia").join(package).join("lib/libcufile.so.0"))
        .find(|path| path.exists())
}

/// Loads NVIDIA's library. False: this machine is told to do without, which is said.
///
/// # Panics
/// If it is not installed.
pub fn is_real() -> bool {
    static LOADED: OnceLock<bool> = OnceLock::new();
    let loaded = *LOADED.get_or_init(|| {
        if std::env::var_os(WITHOUT).is_some() {
            return false;
        }
        let path = installed().unwrap_or_else(|| {
            panic!("no libcufile.so.0 in .venv: run scripts/setup.sh, or set {WITHOUT}=1 to leave the tests with it out")
        });
        load(&path);
        true
    });
    if !loaded {
        eprintln!("SKIPPED: GDS and GDS_MT with NVIDIA's libcufile ({WITHOUT} is set)");
    }
    loaded
}

/// Loads a library under its soname.
pub fn load(path: &Path) {
    next(&NEXT_FOPEN, c"fopen");
    next(&NEXT_FOPEN64, c"fopen64");
    let name = std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).unwrap();
    // SAFETY: a NUL-terminated path.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    assert!(!handle.is_null(), "{} cannot be loaded", path.display());
}

/// Runs tests of this binary, those that the arguments name, in a process that loads CUDA 12's library, and asserts that so many
/// ran at least and all of them passed. In such a process it does nothing.
#[track_caller]
pub fn once_more_of_cuda_12(arguments: &[&str], tests_min: usize) {
    if std::env::var_os(VERSION).is_some() || std::env::var_os(WITHOUT).is_some() {
        eprintln!("SKIPPED: the tests with the libcufile of CUDA 12 ({VERSION} or {WITHOUT} is set)");
        return;
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    let ended = child.args(arguments).env(VERSION, "12").output().unwrap();
    let told = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success(), "{told}\n{}", String::from_utf8_lossy(&ended.stderr));
    let passed = told.lines().filter(|line| line.starts_with("test ") && line.ends_with(" ... ok")).count();
    assert!(passed >= tests_min, "{passed} tests ran:\n{told}");
}
