//! The functions of libcufile, found at run time.

use std::ffi::{CStr, c_int, c_long, c_uint, c_void};
use std::sync::atomic::{AtomicPtr, Ordering};

use super::types::{BatchHandle, Description, DriverProperties, FileHandle, IoEvent, IoParams, Outcome};
use crate::sys::loader::{self, Loaded};

/// Where it is looked for: first as the loader does (`LD_LIBRARY_PATH`, `ld.so.cache`), then where CUDA's installers for
/// 12 and 13 put it. The soname has been `libcufile.so.0` since CUDA 11.4.
const NAMES: &[&CStr] = &[
    c"libcufile.so.0",
    c"/usr/local/cuda/lib64/libcufile.so.0",
    c"/usr/local/cuda-13/lib64/libcufile.so.0",
    c"/usr/local/cuda-12/lib64/libcufile.so.0",
];

type SetSwitch = unsafe extern "C" fn(c_int, bool) -> Outcome;
type RegisterMemory = unsafe extern "C" fn(*const c_void, usize, c_int) -> Outcome;
type DeregisterMemory = unsafe extern "C" fn(*const c_void) -> Outcome;

macro_rules! functions {
    ($($(#[$doc:meta])* $field:ident = $symbol:literal: $kind:ty;)*) => {
        /// The functions, each with its name in the library.
        pub(super) struct Library {
            $($(#[$doc])* pub(super) $field: $kind,)*
            /// Sets a switch of the driver that is not open yet. Libraries before CUDA 12.9 do not have it.
            pub(super) set_switch: Option<SetSwitch>,
            /// Makes memory known, and the other way round. Transfers do without.
            pub(super) register_memory: Option<RegisterMemory>,
            pub(super) deregister_memory: Option<DeregisterMemory>,
        }

        impl Library {
            fn of(loaded: Loaded) -> Result<Library, String> {
                $(let $field = loaded.symbol($symbol)
                    .ok_or_else(|| format!("it has no {}", $symbol.to_string_lossy()))?;)*
                let set_switch = loaded.symbol(c"cuFileSetParameterBool");
                let register_memory = loaded.symbol(c"cuFileBufRegister");
                let deregister_memory = loaded.symbol(c"cuFileBufDeregister");
                // SAFETY: the addresses are those of functions with these signatures (see `types`), in a library that is
                // never unloaded.
                unsafe {
                    Ok(Library {
                        $($field: std::mem::transmute::<*mut c_void, $kind>($field),)*
                        set_switch: set_switch.map(|address| std::mem::transmute::<*mut c_void, SetSwitch>(address)),
                        register_memory: register_memory
                            .map(|address| std::mem::transmute::<*mut c_void, RegisterMemory>(address)),
                        deregister_memory: deregister_memory
                            .map(|address| std::mem::transmute::<*mut c_void, DeregisterMemory>(address)),
                    })
                }
            }
        }
    };
}

functions! {
    driver_open = c"cuFileDriverOpen": unsafe extern "C" fn() -> Outcome;
    /// The header calls it `cuFileDriverClose`, and has since CUDA 12.0.
    driver_close = c"cuFileDriverClose_v2": unsafe extern "C" fn() -> Outcome;
    driver_properties = c"cuFileDriverGetProperties": unsafe extern "C" fn(*mut DriverProperties) -> Outcome;
    register = c"cuFileHandleRegister": unsafe extern "C" fn(*mut FileHandle, *mut Description) -> Outcome;
    deregister = c"cuFileHandleDeregister": unsafe extern "C" fn(FileHandle);
    /// -1 with `errno`, or a negative `CUfileOpError`.
    read = c"cuFileRead": unsafe extern "C" fn(FileHandle, *mut c_void, usize, c_long, c_long) -> isize;
    /// As `read`.
    write = c"cuFileWrite": unsafe extern "C" fn(FileHandle, *const c_void, usize, c_long, c_long) -> isize;
    batch_set_up = c"cuFileBatchIOSetUp": unsafe extern "C" fn(*mut BatchHandle, c_uint) -> Outcome;
    batch_submit = c"cuFileBatchIOSubmit":
        unsafe extern "C" fn(BatchHandle, c_uint, *mut IoParams, c_uint) -> Outcome;
    batch_status = c"cuFileBatchIOGetStatus":
        unsafe extern "C" fn(BatchHandle, c_uint, *mut c_uint, *mut IoEvent, *mut libc::timespec) -> Outcome;
    batch_destroy = c"cuFileBatchIODestroy": unsafe extern "C" fn(BatchHandle);
}

/// The library, once it is loaded.
static LOADED: AtomicPtr<Library> = AtomicPtr::new(std::ptr::null_mut());

/// Loads the library, if this process has not yet. It stays loaded: it has threads and handlers of its own, and nobody
/// could tell when the last of them has left its code. One thread at a time calls this.
///
/// # Errors
/// What is missing, in words.
pub(super) fn load() -> Result<&'static Library, String> {
    // SAFETY: null, or what was leaked below.
    if let Some(library) = unsafe { LOADED.load(Ordering::Acquire).as_ref() } {
        return Ok(library);
    }
    let library = Box::leak(Box::new(find()?));
    LOADED.store(library, Ordering::Release);
    Ok(library)
}

fn find() -> Result<Library, String> {
    let mut first = None;
    for name in NAMES {
        if let Some(loaded) = Loaded::open(name) {
            return Library::of(loaded)
                .map_err(|why| format!("libcufile.so.0 is not one that this can use: {why}"));
        }
        let why = loader::message().unwrap_or_else(|| String::from("libcufile.so.0 cannot be loaded"));
        first.get_or_insert(why);
    }
    Err(first.unwrap_or_default())
}
