//! The stand-in for libcufile: built, loaded, set, asked.

use std::ffi::{CStr, CString, c_char, c_int};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::cufile_common;

/// The library for as long as a test has it alone. At the end of a test that did not fail, no rule of cuFile's was broken
/// and nothing was left behind in it.
pub struct Standin {
    _turn: MutexGuard<'static, ()>,
}

/// Builds the library, with these arguments for the compiler; the path of what came out.
pub fn build(name: &str, arguments: &[&str]) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/standin_cufile/standin.c");
    let folder =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("standin-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let library = folder.join("libcufile.so.0");
    let compiler = std::env::var("CC").unwrap_or_else(|_| String::from("cc"));
    let built = Command::new(compiler)
        .args([
            "-std=c11",
            "-Wall",
            "-Wextra",
            "-Wpedantic",
            "-Werror",
            "-O1",
            "-g",
            "-shared",
            "-fPIC",
            "-pthread",
        ])
        .args(["-Wl,-soname,libcufile.so.0", "-o"])
        .arg(&library)
        .arg(source)
        .args(arguments)
        .status()
        .expect("a C compiler");
    assert!(built.success());
    library
}

impl Standin {
    /// Waits until no other test has it, and sets everything back.
    pub fn alone() -> Standin {
        static TURN: Mutex<()> = Mutex::new(());
        static LOADED: OnceLock<()> = OnceLock::new();
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        LOADED.get_or_init(|| {
            let library = build("main", &[]);
            cufile_common::load(&library);
            // Loaded, it needs no name any more.
            std::fs::remove_dir_all(library.parent().unwrap()).unwrap();
        });
        // SAFETY: no arguments.
        unsafe { function::<unsafe extern "C" fn()>(c"standin_reset")() };
        Standin { _turn: turn }
    }

    pub fn set(&self, knob: &str, value: i32) {
        let name = CString::new(knob).unwrap();
        // SAFETY: a string.
        let set = unsafe {
            function::<unsafe extern "C" fn(*const c_char, c_int) -> c_int>(c"standin_set")(
                name.as_ptr(),
                value,
            )
        };
        assert_eq!(set, 0, "the stand-in has no {knob}");
    }

    pub fn count(&self, what: &str) -> i32 {
        let name = CString::new(what).unwrap();
        // SAFETY: a string.
        unsafe { function::<unsafe extern "C" fn(*const c_char) -> c_int>(c"standin_count")(name.as_ptr()) }
    }

    /// What an engine does that uses cuFile by itself: opens the driver, or closes it.
    pub fn engine(&self, opens: bool) {
        let name = if opens { c"cuFileDriverOpen" } else { c"cuFileDriverClose_v2" };
        // SAFETY: no arguments; the answer is two numbers in one register.
        assert_eq!(unsafe { function::<unsafe extern "C" fn() -> u64>(name)() }, 0);
    }

    fn broken_rule(&self) -> String {
        // SAFETY: a string that stays.
        unsafe {
            CStr::from_ptr(function::<unsafe extern "C" fn() -> *const c_char>(c"standin_broken_rule")())
                .to_string_lossy()
                .into_owned()
        }
    }
}

impl Drop for Standin {
    fn drop(&mut self) {
        self.set("gate_closed", 0);
        if std::thread::panicking() {
            return;
        }
        assert_eq!(self.count("broken"), 0, "a rule of cuFile's was broken: {}", self.broken_rule());
        let left = ["files", "batches", "regions", "users"].map(|what| (what, self.count(what)));
        assert_eq!(left, [("files", 0), ("batches", 0), ("regions", 0), ("users", 0)], "left behind");
    }
}

/// A function of the library that is loaded.
///
/// # Safety
/// It has that type.
unsafe fn function<F: Copy>(name: &CStr) -> F {
    assert_eq!(size_of::<F>(), size_of::<*mut ()>());
    // SAFETY: strings; the library is loaded already and stays.
    unsafe {
        let library = libc::dlopen(c"libcufile.so.0".as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD);
        let address = libc::dlsym(library, name.as_ptr());
        assert!(!address.is_null(), "{name:?}");
        std::mem::transmute_copy(&address)
    }
}
