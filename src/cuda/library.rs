//! The driver's functions, found at run time.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use cudarc::driver::sys::{CUcontext, CUdevice, CUdeviceptr, CUevent, CUfunction, CUmodule, CUstream};

use super::code::{Code, NO_DEVICE, OUT_OF_MEMORY, SUCCESS};
use crate::error::{Error, Result, Status};

/// The library's name since CUDA 4; a toolkit's `libcuda.so` is a stub to link against, and no driver.
const NAME: &CStr = c"libcuda.so.1";

/// Of streams that do not wait for the legacy default stream, nor the other way round (`CU_STREAM_NON_BLOCKING`).
pub(super) const NON_BLOCKING: u32 = 1;

macro_rules! functions {
    ($(#[$doc:meta])* $table:ident, since $version:literal: $($field:ident = $symbol:literal: $kind:ty;)*) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $table {
            $(pub(super) $field: $kind,)*
        }

        impl $table {
            fn of(handle: *mut c_void) -> Result<$table> {
                $(let $field = symbol(handle, $symbol, $version)?;)*
                // SAFETY: the addresses are those of functions with these signatures, which cuda.h gives for the versions
                // that the symbols name, in a library that is never unloaded.
                unsafe { Ok($table { $($field: std::mem::transmute::<*mut c_void, $kind>($field),)* }) }
            }
        }
    };
}

functions! {
    /// The functions that are used, each under the name of the version that its signature is of.
    Library, since "11.4":
    init = c"cuInit": unsafe extern "C" fn(c_uint) -> Code;
    error_name = c"cuGetErrorName": unsafe extern "C" fn(Code, *mut *const c_char) -> Code;
    device_count = c"cuDeviceGetCount": unsafe extern "C" fn(*mut c_int) -> Code;
    device = c"cuDeviceGet": unsafe extern "C" fn(*mut CUdevice, c_int) -> Code;
    primary_retain = c"cuDevicePrimaryCtxRetain": unsafe extern "C" fn(*mut CUcontext, CUdevice) -> Code;
    primary_release = c"cuDevicePrimaryCtxRelease_v2": unsafe extern "C" fn(CUdevice) -> Code;
    context_device = c"cuCtxGetDevice": unsafe extern "C" fn(*mut CUdevice) -> Code;
    context_set = c"cuCtxSetCurrent": unsafe extern "C" fn(CUcontext) -> Code;
    context_push = c"cuCtxPushCurrent_v2": unsafe extern "C" fn(CUcontext) -> Code;
    context_pop = c"cuCtxPopCurrent_v2": unsafe extern "C" fn(*mut CUcontext) -> Code;
    capture_mode = c"cuThreadExchangeStreamCaptureMode": unsafe extern "C" fn(*mut c_uint) -> Code;
    pointer_attributes = c"cuPointerGetAttributes":
        unsafe extern "C" fn(c_uint, *mut c_uint, *mut *mut c_void, CUdeviceptr) -> Code;
    host_register = c"cuMemHostRegister_v2": unsafe extern "C" fn(*mut c_void, usize, c_uint) -> Code;
    host_unregister = c"cuMemHostUnregister": unsafe extern "C" fn(*mut c_void) -> Code;
    stream_create = c"cuStreamCreate": unsafe extern "C" fn(*mut CUstream, c_uint) -> Code;
    stream_destroy = c"cuStreamDestroy_v2": unsafe extern "C" fn(CUstream) -> Code;
    stream_synchronize = c"cuStreamSynchronize": unsafe extern "C" fn(CUstream) -> Code;
    wait_event = c"cuStreamWaitEvent": unsafe extern "C" fn(CUstream, CUevent, c_uint) -> Code;
    event_create = c"cuEventCreate": unsafe extern "C" fn(*mut CUevent, c_uint) -> Code;
    event_record = c"cuEventRecord": unsafe extern "C" fn(CUevent, CUstream) -> Code;
    event_query = c"cuEventQuery": unsafe extern "C" fn(CUevent) -> Code;
    event_destroy = c"cuEventDestroy_v2": unsafe extern "C" fn(CUevent) -> Code;
    allocate = c"cuMemAlloc_v2": unsafe extern "C" fn(*mut CUdeviceptr, usize) -> Code;
    free = c"cuMemFree_v2": unsafe extern "C" fn(CUdeviceptr) -> Code;
    copy = c"cuMemcpyAsync": unsafe extern "C" fn(CUdeviceptr, CUdeviceptr, usize, CUstream) -> Code;
    launch_host = c"cuLaunchHostFunc":
        unsafe extern "C" fn(CUstream, unsafe extern "C" fn(*mut c_void), *mut c_void) -> Code;
}

functions! {
    /// What the kernels need besides. A driver that lacks one of these copies, and computes no checksums.
    KernelCalls, since "12.0":
    module_load = c"cuModuleLoadData": unsafe extern "C" fn(*mut CUmodule, *const c_void) -> Code;
    module_unload = c"cuModuleUnload": unsafe extern "C" fn(CUmodule) -> Code;
    module_function = c"cuModuleGetFunction":
        unsafe extern "C" fn(*mut CUfunction, CUmodule, *const c_char) -> Code;
    launch = c"cuLaunchKernel":
        unsafe extern "C" fn(
            CUfunction, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, CUstream, *mut *mut c_void,
            *mut *mut c_void,
        ) -> Code;
    host_allocate = c"cuMemHostAlloc": unsafe extern "C" fn(*mut *mut c_void, usize, c_uint) -> Code;
    host_free = c"cuMemFreeHost": unsafe extern "C" fn(*mut c_void) -> Code;
    host_device_pointer = c"cuMemHostGetDevicePointer_v2":
        unsafe extern "C" fn(*mut CUdeviceptr, *mut c_void, c_uint) -> Code;
}

functions! {
    /// The functions that streams of the caller's need, and nothing else does.
    StreamCalls, since "12.0":
    stream_context = c"cuStreamGetCtx": unsafe extern "C" fn(CUstream, *mut CUcontext) -> Code;
    is_capturing = c"cuStreamIsCapturing": unsafe extern "C" fn(CUstream, *mut c_uint) -> Code;
    wait_value = c"cuStreamWaitValue64_v2": unsafe extern "C" fn(CUstream, CUdeviceptr, u64, c_uint) -> Code;
    stream_query = c"cuStreamQuery": unsafe extern "C" fn(CUstream) -> Code;
    context_id = c"cuCtxGetId": unsafe extern "C" fn(CUcontext, *mut u64) -> Code;
    device_attribute = c"cuDeviceGetAttribute": unsafe extern "C" fn(*mut c_int, c_uint, CUdevice) -> Code;
    primary_state = c"cuDevicePrimaryCtxGetState":
        unsafe extern "C" fn(CUdevice, *mut c_uint, *mut c_int) -> Code;
    host_device_pointer = c"cuMemHostGetDevicePointer_v2":
        unsafe extern "C" fn(*mut CUdeviceptr, *mut c_void, c_uint) -> Code;
}

fn symbol(handle: *mut c_void, name: &CStr, version: &str) -> Result<*mut c_void> {
    // SAFETY: the handle is one of dlopen's, never closed.
    let address = unsafe { libc::dlsym(handle, name.as_ptr()) };
    if address.is_null() {
        let name = name.to_string_lossy();
        let message = format!(
            "{} has no {name}; a driver of CUDA {version} or newer is needed",
            NAME.to_string_lossy()
        );
        return Err(Error::new(Status::Unsupported, message));
    }
    Ok(address)
}

/// The tables, once they were made; they stay.
static LOADED: AtomicPtr<Library> = AtomicPtr::new(std::ptr::null_mut());
static KERNEL_CALLS: AtomicPtr<KernelCalls> = AtomicPtr::new(std::ptr::null_mut());
static STREAM_CALLS: AtomicPtr<StreamCalls> = AtomicPtr::new(std::ptr::null_mut());

/// Keeps a table for as long as the process lives. Two threads may make one at a time; the second's is not needed.
fn keep<T>(place: &'static AtomicPtr<T>, table: T) -> &'static T {
    let made = Box::into_raw(Box::new(table));
    match place.compare_exchange(std::ptr::null_mut(), made, Ordering::AcqRel, Ordering::Acquire) {
        // SAFETY: never freed from here on.
        Ok(_) => unsafe { &*made },
        Err(first) => {
            // SAFETY: nobody else has seen it.
            drop(unsafe { Box::from_raw(made) });
            // SAFETY: never freed.
            unsafe { &*first }
        }
    }
}

fn open() -> Result<*mut c_void> {
    // SAFETY: loading runs the library's constructors, which is what is asked for.
    let handle = unsafe { libc::dlopen(NAME.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    if handle.is_null() {
        let name = NAME.to_string_lossy();
        let message = format!("{name}, NVIDIA's driver, could not be loaded: {}", last_error());
        return Err(Error::new(Status::Unsupported, message));
    }
    Ok(handle)
}

/// A table, its functions found by the first who asks.
fn found<T>(place: &'static AtomicPtr<T>, find: impl FnOnce(*mut c_void) -> Result<T>) -> Result<&'static T> {
    // SAFETY: null, or never freed.
    match unsafe { place.load(Ordering::Acquire).as_ref() } {
        Some(table) => Ok(table),
        None => Ok(keep(place, find(open()?)?)),
    }
}

impl KernelCalls {
    /// The functions.
    ///
    /// # Errors
    /// As for [`Library::load`].
    pub fn load() -> Result<&'static KernelCalls> {
        found(&KERNEL_CALLS, KernelCalls::of)
    }
}

impl StreamCalls {
    /// The functions.
    ///
    /// # Errors
    /// As for [`Library::load`].
    pub fn load() -> Result<&'static StreamCalls> {
        found(&STREAM_CALLS, StreamCalls::of)
    }
}

impl Library {
    /// The driver, loaded and initialised by the first who asks.
    ///
    /// # Errors
    /// [`Status::Unsupported`], naming what is missing: the library, one of its functions, a device.
    pub fn load() -> Result<&'static Library> {
        if let Some(library) = Library::loaded() {
            return Ok(library);
        }
        let library = Library::of(open()?)?;
        // SAFETY: cuInit may be called any number of times, from any thread.
        let code = unsafe { (library.init)(0) };
        if code != SUCCESS {
            return Err(library.error("starting the driver", code).with_status(Status::Unsupported));
        }
        Ok(keep(&LOADED, library))
    }

    /// The driver, if it was loaded here before.
    pub fn loaded() -> Option<&'static Library> {
        // SAFETY: null, or never freed.
        unsafe { LOADED.load(Ordering::Acquire).as_ref() }
    }

    /// A failure of `doing`, with the driver's name for it.
    pub fn error(&self, doing: impl std::fmt::Display, code: Code) -> Error {
        let status = match code {
            OUT_OF_MEMORY => Status::OutOfMemory,
            NO_DEVICE => Status::Unsupported,
            _ => Status::Io,
        };
        Error::new(status, format!("CUDA: {doing}: {}", self.name(code)))
    }

    fn name(&self, code: Code) -> String {
        let mut text: *const c_char = std::ptr::null();
        // SAFETY: the driver writes the address of a string of its own, or null for a code that it does not know.
        let answer = unsafe { (self.error_name)(code, &raw mut text) };
        if answer != SUCCESS || text.is_null() {
            return format!("error {code}");
        }
        // SAFETY: as above; the string lasts as long as the driver, which is never unloaded.
        let text = unsafe { CStr::from_ptr(text) };
        format!("{} ({code})", text.to_string_lossy())
    }

    /// The device of an ordinal.
    ///
    /// # Errors
    /// What the driver answers.
    pub(super) fn device_at(&self, ordinal: u16) -> std::result::Result<CUdevice, Code> {
        let mut device = 0;
        // SAFETY: the driver writes the device's number.
        match unsafe { (self.device)(&raw mut device, c_int::from(ordinal)) } {
            SUCCESS => Ok(device),
            code => Err(code),
        }
    }

    /// Devices that the process sees.
    ///
    /// # Errors
    /// What the driver answers.
    pub fn device_count(&self) -> Result<u16> {
        let mut count = 0;
        // SAFETY: the driver writes the number.
        let code = unsafe { (self.device_count)(&raw mut count) };
        if code != SUCCESS {
            return Err(self.error("counting the devices", code));
        }
        Ok(u16::try_from(count).unwrap_or(0))
    }
}

fn last_error() -> String {
    // SAFETY: dlerror answers null or a string of its own, which lasts until this thread's next call of the kind.
    let text = unsafe { libc::dlerror() };
    if text.is_null() {
        return "the loader does not say why".to_owned();
    }
    // SAFETY: as above.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// How long it is believed that a process is without the driver: 2 to this many nanoseconds, 34 ms.
const BELIEVED_NS_BITS: u32 = 25;

/// The stretch of time in which the process was last found to be without the driver; 0: it was not looked at.
static LOOKED_AT: AtomicU64 = AtomicU64::new(0);

/// Whether anybody in this process has loaded the driver: without it no address is a device's.
///
/// Cheap enough for every call: the loader, which has one lock for the process, is asked once in 34 ms. Between loading the
/// driver and having memory from it a process starts it and makes a context, which takes longer than that.
pub fn is_in_process() -> bool {
    if Library::loaded().is_some() {
        return true;
    }
    let now = coarse_ns() >> BELIEVED_NS_BITS;
    if LOOKED_AT.load(Ordering::Relaxed) == now {
        return false;
    }
    // SAFETY: asks for a handle of what is there, and loads nothing.
    let handle = unsafe { libc::dlopen(NAME.as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD) };
    if handle.is_null() {
        LOOKED_AT.store(now, Ordering::Relaxed);
        return false;
    }
    // SAFETY: gives back the handle that was just had.
    unsafe { libc::dlclose(handle) };
    true
}

/// The coarse clock, which stands still for a tick.
fn coarse_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock is one of Linux's, the time is written into a live structure.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut now) };
    (now.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A driver that lacks a function which the kernels alone need is told apart: what is missing is named, for whoever asks for
    /// sums, and copies are not concerned.
    #[test]
    fn a_function_that_is_missing_is_named() {
        // SAFETY: asks for a handle of this program, which is no driver.
        let handle = unsafe { libc::dlopen(std::ptr::null(), libc::RTLD_NOW) };
        let missing = KernelCalls::of(handle).unwrap_err();
        assert_eq!(missing.status(), Status::Unsupported);
        assert!(missing.message().contains("libcuda.so.1 has no cuModuleLoadData"), "{missing}");
    }
}
