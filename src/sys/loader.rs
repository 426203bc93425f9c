//! Shared libraries that are loaded at run time, and never unloaded: they have threads, handlers and state of the whole process.

use std::ffi::{CStr, c_char, c_void};

/// A loaded library.
#[derive(Clone, Copy, Debug)]
pub struct Loaded(*mut c_void);

impl Loaded {
    /// Loads a library by name or path, for its own symbols alone. Its constructors run: who names it vouches for it. `None`:
    /// [`message`] says why.
    pub fn open(name: &CStr) -> Option<Loaded> {
        // SAFETY: a NUL-terminated name.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        (!handle.is_null()).then_some(Loaded(handle))
    }

    /// The program itself, with all that it was linked with.
    pub fn program() -> Option<Loaded> {
        // SAFETY: no name.
        let handle = unsafe { libc::dlopen(std::ptr::null(), libc::RTLD_NOW) };
        (!handle.is_null()).then_some(Loaded(handle))
    }

    /// The address of a symbol.
    pub fn symbol(self, name: &CStr) -> Option<*mut c_void> {
        // SAFETY: a handle of `dlopen`, never closed, and a NUL-terminated name.
        let address = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        (!address.is_null()).then_some(address)
    }
}

/// What the loader says of this thread's last call of it that failed, if nothing else called it since.
pub fn message() -> Option<String> {
    // SAFETY: NULL, or text that is good until the next call of this thread to the loader.
    unsafe {
        let text: *mut c_char = libc::dlerror();
        (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
    }
}
