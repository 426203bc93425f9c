//! The primary contexts that a store uses, and its staging buffer pinned for them.

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;

use cudarc::driver::sys::{CUcontext, CUdevice};

use super::code::{ALREADY_REGISTERED, Code, SUCCESS};
use super::library::Library;
use crate::error::{Error, Result, Status};
use crate::log::Logger;
use crate::memory::HostSlice;
use crate::sync::{Mutex, lock};

/// Pinned for all contexts, not only the current one (`CU_MEMHOSTREGISTER_PORTABLE`).
const PORTABLE: u32 = 1;
/// `CU_STREAM_CAPTURE_MODE_RELAXED`.
const CAPTURE_RELAXED: u32 = 2;

/// A context as a value; the driver's are used from any thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context(pub(super) CUcontext);

// SAFETY: contexts belong to no thread; each call makes one current where it is needed.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

impl Context {
    /// Makes it current for this thread of the library's own from here on.
    ///
    /// # Errors
    /// What the driver answers.
    pub(super) fn enter(self, library: &Library) -> Result<()> {
        // A stream that the engine captures in mode global forbids some calls to every thread that did not say it has no part
        // in that, and is spoilt by them.
        let mut mode = CAPTURE_RELAXED;
        // SAFETY: the driver reads the mode and writes the one before.
        unsafe { (library.capture_mode)(&raw mut mode) };
        // SAFETY: the context is retained as long as the store lives.
        let code = unsafe { (library.context_set)(self.0) };
        match code {
            SUCCESS => Ok(()),
            code => Err(library.error("making a context current", code)),
        }
    }

    /// Does something with this context current, and leaves the thread's stack of contexts as it was.
    ///
    /// # Errors
    /// The context cannot be made current.
    pub(super) fn with<T>(self, library: &Library, work: impl FnOnce() -> T) -> Result<T> {
        // SAFETY: the context is retained as long as the store lives.
        let code = unsafe { (library.context_push)(self.0) };
        if code != SUCCESS {
            return Err(library.error("making a context current", code));
        }
        let outcome = work();
        let mut popped = null_mut();
        // SAFETY: takes off what was pushed above.
        unsafe { (library.context_pop)(&raw mut popped) };
        Ok(outcome)
    }
}

/// Does something with the primary context of the first device, which is retained for just that long.
pub(super) fn with_any_context(library: &Library, mut work: impl FnMut() -> Code) -> Result<Code> {
    let primary = Primary::retain(library, 0)?;
    let code = primary.context.with(library, &mut work);
    primary.release(library);
    code
}

/// A primary context that is retained.
#[derive(Debug)]
struct Primary {
    device: CUdevice,
    context: Context,
}

impl Primary {
    fn retain(library: &Library, ordinal: u16) -> Result<Primary> {
        let (mut device, mut context) = (0, null_mut());
        // SAFETY: the driver writes the device's number.
        let mut code = unsafe { (library.device)(&raw mut device, c_int::from(ordinal)) };
        if code == SUCCESS {
            // SAFETY: the driver writes the context's address.
            code = unsafe { (library.primary_retain)(&raw mut context, device) };
        }
        if code != SUCCESS {
            return Err(library.error(format_args!("using device {ordinal}"), code));
        }
        Ok(Primary { device, context: Context(context) })
    }

    fn release(self, library: &Library) {
        // SAFETY: retained once, released once.
        unsafe { (library.primary_release)(self.device) };
    }
}

/// What is known of the driver once somebody needs it.
#[derive(Debug)]
struct Ready {
    library: &'static Library,
    /// By ordinal; retained when a device is first met, as a context takes memory of its device.
    primaries: Vec<Option<Primary>>,
    /// The device for whose context the staging buffer is pinned, and with it for all.
    pinned_by: Option<u16>,
}

/// What the copiers of a store share. Nothing is loaded before the first context is asked for.
#[derive(Debug)]
pub(super) struct Contexts {
    /// Outlives this.
    staging: HostSlice,
    logger: Logger,
    ready: Mutex<Option<Ready>>,
}

impl Contexts {
    /// For a store with this staging buffer, which outlives all copiers.
    pub(super) fn new(staging: HostSlice, logger: &Logger) -> Contexts {
        Contexts { staging, logger: logger.clone(), ready: Mutex::new(None) }
    }

    /// The driver, and the context of a device.
    ///
    /// # Errors
    /// [`Status::Unsupported`], naming what is missing; [`Status::InvalidArgument`] for a device that is not there.
    pub(super) fn context(&self, device: u16) -> Result<(&'static Library, Context)> {
        let mut ready = lock(&self.ready);
        if ready.is_none() {
            let library = Library::load()?;
            let primaries = (0..library.device_count()?).map(|_| None).collect();
            *ready = Some(Ready { library, primaries, pinned_by: None });
        }
        let Some(Ready { library, primaries, pinned_by }) = ready.as_mut() else {
            return Err(Error::new(Status::Internal, "CUDA: the devices are gone"));
        };
        let count = primaries.len();
        let Some(primary) = primaries.get_mut(usize::from(device)) else {
            return Err(Error::new(
                Status::InvalidArgument,
                format!("CUDA: there is no device {device}, of {count}"),
            ));
        };
        let context = match primary {
            Some(primary) => primary.context,
            None => primary.insert(Primary::retain(library, device)?).context,
        };
        if pinned_by.is_none() {
            *pinned_by = Some(device);
            self.pin(library, context)?;
        }
        Ok((library, context))
    }

    fn pin(&self, library: &Library, context: Context) -> Result<()> {
        let (address, bytes) = (self.staging.pointer.as_ptr().cast::<c_void>(), self.staging.length);
        // SAFETY: the staging buffer is mapped for longer than any copier lives.
        let code = context.with(library, || unsafe { (library.host_register)(address, bytes, PORTABLE) })?;
        if code != SUCCESS && code != ALREADY_REGISTERED {
            let error = library.error(format_args!("pinning the staging buffer of {bytes} bytes"), code);
            self.logger.warn(format_args!("{error}; copies from and to devices go on without, slower"));
        }
        Ok(())
    }
}

impl Drop for Contexts {
    fn drop(&mut self) {
        let Some(Ready { library, primaries, pinned_by }) = lock(&self.ready).take() else { return };
        let pinned_by =
            pinned_by.and_then(|device| primaries.get(usize::from(device))).and_then(Option::as_ref);
        if let Some(primary) = pinned_by {
            let address = self.staging.pointer.as_ptr().cast::<c_void>();
            // SAFETY: no copier is left that would use it. Where it could not be pinned the driver knows of nothing to undo.
            let _ = primary.context.with(library, || unsafe { (library.host_unregister)(address) });
        }
        primaries.into_iter().flatten().for_each(|primary| primary.release(library));
    }
}
