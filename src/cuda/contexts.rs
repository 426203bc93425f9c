//! The devices that a store uses: their primary contexts, with the kernels in them and the staging buffer pinned for them.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::ptr::null_mut;

use cudarc::driver::sys::{CUcontext, CUdevice};

use super::code::{ALREADY_REGISTERED, Code, SUCCESS};
use super::kernels::Kernels;
use super::library::Library;
use crate::error::{Error, Result, Status};
use crate::log::Logger;
use crate::memory::{HostSlice, Stretch};
use crate::sync::{AtomicU64, Mutex, Ordering, lock};

/// Pinned for all contexts, not only the current one (`CU_MEMHOSTREGISTER_PORTABLE`).
const PORTABLE: u32 = 1;
/// `CU_STREAM_CAPTURE_MODE_RELAXED`.
const CAPTURE_RELAXED: u32 = 2;

/// Sets how this thread takes part in captures, and gives what was set before. A stream that the engine captures in mode global
/// forbids some calls to every thread that did not say it has no part in that, and is spoilt by them.
fn relax(library: &Library, mut mode: u32) -> u32 {
    // SAFETY: the driver reads the mode and writes the one before.
    unsafe { (library.capture_mode)(&raw mut mode) };
    mode
}

/// A context as a value; the driver's are used from any thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context(CUcontext);

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
        relax(library, CAPTURE_RELAXED);
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
pub(super) struct Primary {
    device: CUdevice,
    context: Context,
}

impl Primary {
    /// Retains the context of the device of this ordinal.
    ///
    /// # Errors
    /// What the driver answers.
    pub(super) fn retain(library: &Library, ordinal: u16) -> Result<Primary> {
        let failed = |code| library.error(format_args!("using device {ordinal}"), code);
        let device = library.device_at(ordinal).map_err(failed)?;
        let mut context = null_mut();
        // SAFETY: the driver writes the context's address.
        match unsafe { (library.primary_retain)(&raw mut context, device) } {
            SUCCESS => {}
            code => return Err(failed(code)),
        }
        Ok(Primary { device, context: Context(context) })
    }

    /// Its context.
    pub(super) fn context(&self) -> Context {
        self.context
    }

    /// Gives it back.
    pub(super) fn release(self, library: &Library) {
        // SAFETY: retained once, released once.
        unsafe { (library.primary_release)(self.device) };
    }
}

/// A device as copiers use it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Device {
    pub(super) ordinal: u16,
    pub(super) context: Context,
    /// `None`: they cannot be had, and copies do without.
    pub(super) kernels: Option<Kernels>,
    /// The pinned staging buffer, and its address on this device.
    staging: Option<(HostSlice, u64)>,
}

impl Device {
    /// Where this device's kernels find a part of the staging buffer; `None`: they do not reach it.
    pub(super) fn address_of(&self, part: HostSlice) -> Option<u64> {
        let (staging, address) = self.staging?;
        let offset = part.pointer.addr().checked_sub(staging.pointer.addr())?;
        (offset <= staging.length && part.length <= staging.length - offset).then(|| address + offset as u64)
    }
}

/// What is known of the driver once somebody needs it.
#[derive(Debug)]
struct Ready {
    library: &'static Library,
    /// By ordinal; made when a device is first met, as a context takes memory of its device.
    devices: Vec<Option<(Primary, Device)>>,
    /// The device in whose context it was tried to pin the staging buffer, which is for all, and whether that is done.
    pinned: Option<(u16, bool)>,
}

#[derive(Debug, Default)]
struct State {
    ready: Option<Ready>,
    /// Why devices compute no checksums.
    no_sums: BTreeMap<u16, String>,
}

/// What the copiers of a store share. Nothing is loaded before the first device is asked for.
#[derive(Debug)]
pub(super) struct Contexts {
    /// Outlives this.
    staging: Stretch,
    logger: Logger,
    state: Mutex<State>,
    /// The devices that are known to compute checksums and those that are known not to, a bit each: an answer without a lock.
    can_sum: AtomicU64,
    cannot_sum: AtomicU64,
}

impl Contexts {
    /// For a store with this staging buffer, which outlives all copiers.
    pub(super) fn new(staging: Stretch, logger: &Logger) -> Contexts {
        let (can_sum, cannot_sum) = (AtomicU64::new(0), AtomicU64::new(0));
        Contexts { staging, logger: logger.clone(), state: Mutex::default(), can_sum, cannot_sum }
    }

    /// For the same store with another staging buffer. What was said of a device is not said again.
    pub(super) fn with_staging(&self, staging: Stretch) -> Contexts {
        let contexts = Contexts::new(staging, &self.logger);
        lock(&contexts.state).no_sums.clone_from(&lock(&self.state).no_sums);
        contexts
    }

    /// A device, made ready by the first who asks.
    ///
    /// # Errors
    /// [`Status::Unsupported`], naming what is missing; [`Status::InvalidArgument`] for a device that is not there.
    pub(super) fn device(&self, ordinal: u16) -> Result<Device> {
        let mut state = lock(&self.state);
        let found = self.find(&mut state, ordinal);
        if let Err(error) = &found {
            state.no_sums.insert(ordinal, error.message().to_owned());
        }
        found
    }

    fn find(&self, State { ready, no_sums }: &mut State, ordinal: u16) -> Result<Device> {
        let Ready { library, devices, pinned } = match ready {
            Some(ready) => ready,
            none => {
                let library = Library::load()?;
                let devices = (0..library.device_count()?).map(|_| None).collect();
                none.insert(Ready { library, devices, pinned: None })
            }
        };
        let count = devices.len();
        let Some(place) = devices.get_mut(usize::from(ordinal)) else {
            return Err(Error::new(
                Status::InvalidArgument,
                format!("CUDA: there is no device {ordinal}, of {count}"),
            ));
        };
        if let Some((_, device)) = place {
            return Ok(*device);
        }
        let primary = Primary::retain(library, ordinal)?;
        let made = primary.context.with(library, || {
            let before = relax(library, CAPTURE_RELAXED);
            let made = (self.pin(library, ordinal, pinned), Kernels::load(library));
            relax(library, before);
            made
        });
        let (staging, kernels) = match made {
            Ok(made) => made,
            Err(error) => {
                primary.release(library);
                return Err(error);
            }
        };
        match &kernels {
            Ok(_) => _ = no_sums.remove(&ordinal),
            Err(error) => {
                let told = no_sums.insert(ordinal, error.message().to_owned());
                if told.as_deref() != Some(error.message()) {
                    self.logger.warn(format_args!(
                        "device {ordinal} computes no checksums, and copies small segments one by one: {error}"
                    ));
                }
            }
        }
        let device = Device { ordinal, context: primary.context, kernels: kernels.ok(), staging };
        *place = Some((primary, device));
        Ok(device)
    }

    /// Pins the staging buffer, once and for all devices, and finds it on this one, whose context is current.
    fn pin(
        &self,
        library: &Library,
        ordinal: u16,
        pinned: &mut Option<(u16, bool)>,
    ) -> Option<(HostSlice, u64)> {
        let staging = self.staging.host()?;
        let (start, bytes) = (staging.pointer.as_ptr().cast::<c_void>(), staging.length);
        let (_, is_pinned) = *pinned.get_or_insert_with(|| {
            // SAFETY: the staging buffer is mapped for longer than any copier lives.
            let code = unsafe { (library.host_register)(start, bytes, PORTABLE) };
            if code != SUCCESS && code != ALREADY_REGISTERED {
                let error = library.error(format_args!("pinning the staging buffer of {bytes} bytes"), code);
                self.logger.warn(format_args!("{error}; copies from and to devices go on without, slower"));
            }
            // What somebody else pinned, and may unpin, is left alone and to copies.
            (ordinal, code == SUCCESS)
        });
        let calls = library.kernels.as_ref().ok().filter(|_| is_pinned)?;
        let mut address = 0;
        // SAFETY: pinned memory; the driver writes its address on the device of the current context.
        let code = unsafe { (calls.host_device_pointer)(&raw mut address, start, 0) };
        if code != SUCCESS {
            let error = library.error(format_args!("finding the staging buffer on device {ordinal}"), code);
            self.logger.warn(format_args!("{error}; small segments are copied one by one"));
        }
        (code == SUCCESS).then_some((staging, address))
    }

    /// Whether checksums can be computed on a device, which is made ready for that by the first who asks.
    pub(super) fn can_sum(&self, ordinal: u16) -> bool {
        // Of devices beyond the bits nothing is kept.
        let bit = 1u64.checked_shl(u32::from(ordinal)).unwrap_or(0);
        if self.can_sum.load(Ordering::Relaxed) & bit != 0 {
            return true;
        }
        if self.cannot_sum.load(Ordering::Relaxed) & bit != 0 {
            return false;
        }
        // A device that cannot be used now may be used later.
        let Ok(device) = self.device(ordinal) else { return false };
        let can = device.kernels.is_some();
        if can { &self.can_sum } else { &self.cannot_sum }.fetch_or(bit, Ordering::Relaxed);
        can
    }

    /// Why a device that was asked for computes no checksums; `None`: none is known that does not.
    pub(super) fn why_no_sums(&self) -> Option<String> {
        let state = lock(&self.state);
        state.no_sums.iter().next().map(|(ordinal, why)| format!("device {ordinal}: {why}"))
    }
}

impl Drop for Contexts {
    fn drop(&mut self) {
        let Some(Ready { library, devices, pinned }) = lock(&self.state).ready.take() else { return };
        // No copier is left: nothing that is given back here is used.
        for (_, device) in devices.iter().flatten() {
            let _ = device.context.with(library, || {
                if let Some(kernels) = device.kernels {
                    kernels.unload(library);
                }
                if pinned == Some((device.ordinal, true))
                    && let Some(staging) = self.staging.host()
                {
                    // SAFETY: pinned once, by this, in this context.
                    unsafe { (library.host_unregister)(staging.pointer.as_ptr().cast::<c_void>()) };
                }
            });
        }
        devices.into_iter().flatten().for_each(|(primary, _)| primary.release(library));
    }
}
