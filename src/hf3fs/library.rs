//! The functions of 3FS's client library, found at run time.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::types::{IOR_BYTES_OF_256, RawCqe, RawIor, RawIov};
use crate::sys::fork::{self, Turn};
use crate::sys::loader::{self, Loaded};
use crate::sys::{descriptor_limit_hard, room};

/// Where it is looked for unless the configuration says: as the loader does (`LD_LIBRARY_PATH`, `ld.so.cache`), then where 3FS's
/// packages put it. It has no soname.
const NAMES: &[&CStr] = &[
    c"libhf3fs_api_shared.so",
    c"/usr/lib/libhf3fs_api_shared.so",
    c"/usr/local/lib/libhf3fs_api_shared.so",
];

/// Bytes that the library takes for each descriptor that the process may ever have, by the hard limit, while it is loaded. Where
/// there is no memory for them it ends the process.
const BYTES_PER_DESCRIPTOR: u64 = 16;
/// Most bytes that it may take so: a limit of 64 million.
const LIBRARY_BYTES_MAX: u64 = 1 << 30;

macro_rules! functions {
    ($($(#[$doc:meta])* $field:ident = $symbol:literal: $kind:ty;)*) => {
        /// The functions, each with its name in the library.
        pub(super) struct Library {
            $($(#[$doc])* pub(super) $field: $kind,)*
        }

        impl Library {
            fn of(loaded: Loaded) -> Result<Library, String> {
                $(let $field = loaded.symbol($symbol)
                    .ok_or_else(|| format!("it has no {}", $symbol.to_string_lossy()))?;)*
                // SAFETY: the addresses are those of functions with these signatures (see `types`), in a library that is
                // never unloaded.
                unsafe { Ok(Library { $($field: std::mem::transmute::<*mut c_void, $kind>($field),)* }) }
            }
        }
    };
}

functions! {
    is_hf3fs = c"hf3fs_is_hf3fs": unsafe extern "C" fn(c_int) -> bool;
    /// 0 or a negative error number.
    iov_create = c"hf3fs_iovcreate": unsafe extern "C" fn(*mut RawIov, *const c_char, usize, usize, c_int) -> c_int;
    iov_unlink = c"hf3fs_iovunlink": unsafe extern "C" fn(*mut RawIov);
    iov_destroy = c"hf3fs_iovdestroy": unsafe extern "C" fn(*mut RawIov);
    ior_size = c"hf3fs_ior_size": unsafe extern "C" fn(c_int) -> usize;
    /// Entries, for reading, batch, timeout in ms, NUMA node, flags. 0 or a negative error number.
    ior_create = c"hf3fs_iorcreate4":
        unsafe extern "C" fn(*mut RawIor, *const c_char, c_int, bool, c_int, c_int, c_int, u64) -> c_int;
    ior_destroy = c"hf3fs_iordestroy": unsafe extern "C" fn(*mut RawIor);
    ior_entries = c"hf3fs_io_entries": unsafe extern "C" fn(*const RawIor) -> c_int;
    /// At most 0, or a positive error number.
    register_fd = c"hf3fs_reg_fd": unsafe extern "C" fn(c_int, u64) -> c_int;
    deregister_fd = c"hf3fs_dereg_fd": unsafe extern "C" fn(c_int);
    /// An index, or a negative error number.
    prepare = c"hf3fs_prep_io":
        unsafe extern "C" fn(
            *const RawIor, *const RawIov, bool, *mut c_void, c_int, usize, u64, *const c_void,
        ) -> c_int;
    submit = c"hf3fs_submit_ios": unsafe extern "C" fn(*const RawIor) -> c_int;
    /// A number of results, or a negative error number.
    wait = c"hf3fs_wait_for_ios":
        unsafe extern "C" fn(*const RawIor, *mut RawCqe, c_int, c_int, *const libc::timespec) -> c_int;
}

/// The library, once it is loaded.
static LOADED: AtomicPtr<Library> = AtomicPtr::new(std::ptr::null_mut());

/// Loads the library, if this process has not yet, from `path` if that is given. It stays loaded: it has state of the whole process.
///
/// # Errors
/// What is missing, in words.
pub(super) fn load(path: Option<&Path>) -> Result<&'static Library, String> {
    let _turn = fork::wait_for(Turn::Hf3fs).map_err(|error| error.to_string())?;
    // SAFETY: null, or what was leaked below.
    if let Some(library) = unsafe { LOADED.load(Ordering::Acquire).as_ref() } {
        return Ok(library);
    }
    check_limit()?;
    let library = find(path)?;
    // SAFETY: takes a number.
    let bytes = unsafe { (library.ior_size)(256) };
    if bytes != IOR_BYTES_OF_256 {
        return Err(format!(
            "libhf3fs_api_shared.so is of another version: a ring of 256 entries has {bytes} bytes with it, {IOR_BYTES_OF_256} \
             here"
        ));
    }
    let library = Box::leak(Box::new(library));
    LOADED.store(library, Ordering::Release);
    Ok(library)
}

/// Whether the library can be loaded without ending the process.
fn check_limit() -> Result<(), String> {
    let limit = descriptor_limit_hard();
    let bytes = limit.saturating_mul(BYTES_PER_DESCRIPTOR);
    if bytes <= LIBRARY_BYTES_MAX && room::take(bytes as usize, || Ok(())).is_ok() {
        return Ok(());
    }
    Err(format!(
        "the hard limit of open files is {limit}, and 3FS's library takes {BYTES_PER_DESCRIPTOR} bytes for each of them when it is \
         loaded, or ends the process; lower it (ulimit -Hn 1048576; of a container: --ulimit nofile=1048576)"
    ))
}

fn find(path: Option<&Path>) -> Result<Library, String> {
    if let Some(path) = path {
        let shown = path.display();
        let name = CString::new(path.as_os_str().as_bytes()).map_err(|_| format!("{shown} has a NUL"))?;
        let loaded = Loaded::open(&name).ok_or_else(why_not)?;
        return Library::of(loaded).map_err(|why| format!("{shown} is not 3FS's library: {why}"));
    }
    let mut first = None;
    for name in NAMES {
        if let Some(loaded) = Loaded::open(name) {
            return Library::of(loaded)
                .map_err(|why| format!("{} is not one that this can use: {why}", name.to_string_lossy()));
        }
        first.get_or_insert_with(why_not);
    }
    // The engine may be linked with it, under whatever name.
    let linked = Loaded::program().and_then(|program| Library::of(program).ok());
    linked.ok_or_else(|| first.unwrap_or_default())
}

fn why_not() -> String {
    loader::message().unwrap_or_else(|| String::from("libhf3fs_api_shared.so cannot be loaded"))
}
