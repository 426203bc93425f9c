//! Memory of a device for the store's own use, and the context of a thread that hands such memory to others.

use super::code::SUCCESS;
use super::contexts::{Primary, with_any_context};
use super::library::Library;
use crate::error::{Error, Result, Status};
use crate::memory::{DevicePtr, DeviceSlice};

/// Alignment of what is allocated here, in bytes: that of a checksum block, so that each block of a staging buffer lies as
/// kernels and cuFile like it.
const ALIGNMENT: u64 = 64 << 10;

/// A stretch of a device's memory, freed when dropped.
#[derive(Debug)]
pub struct DeviceMemory {
    /// What was allocated; the slice begins at the first aligned address in it.
    address: u64,
    slice: DeviceSlice,
    context: KeptContext,
}

impl DeviceMemory {
    /// Allocates `bytes` on the device of this ordinal.
    ///
    /// # Errors
    /// [`Status::Unsupported`] if there is no driver or no such device; [`Status::OutOfMemory`]; what the driver answers.
    pub fn allocate(ordinal: u16, bytes: usize) -> Result<DeviceMemory> {
        let library = Library::load()?;
        let count = library.device_count()?;
        if ordinal >= count {
            return Err(Error::new(
                Status::Unsupported,
                format!("CUDA: there is no device {ordinal}; this process sees {count}"),
            ));
        }
        let context = KeptContext::of(ordinal)?;
        let mut address = 0;
        let whole = bytes.saturating_add(ALIGNMENT as usize);
        // SAFETY: the driver writes the address.
        match context.with(|| unsafe { (library.allocate)(&raw mut address, whole) })? {
            SUCCESS => {}
            code => {
                return Err(library.error(format_args!("allocating {whole} bytes on device {ordinal}"), code));
            }
        }
        let pointer = DevicePtr::new(address.next_multiple_of(ALIGNMENT));
        let slice = DeviceSlice { pointer, length: bytes, device: ordinal };
        Ok(DeviceMemory { address, slice, context })
    }

    /// The memory.
    pub fn slice(&self) -> DeviceSlice {
        self.slice
    }
}

impl Drop for DeviceMemory {
    fn drop(&mut self) {
        let (library, address) = (self.context.library, self.address);
        // SAFETY: allocated in this context, freed once, and used by nobody any more: its lanes have ended.
        let _ = self.context.with(|| unsafe { (library.free)(address) });
    }
}

/// The primary context of a device, kept for what is known to others by it.
#[derive(Debug)]
pub struct KeptContext {
    library: &'static Library,
    /// `None` once it was released.
    primary: Option<Primary>,
}

impl KeptContext {
    /// Retains it.
    ///
    /// # Errors
    /// What the driver answers.
    pub fn of(ordinal: u16) -> Result<KeptContext> {
        let library = Library::load()?;
        Ok(KeptContext { library, primary: Some(Primary::retain(library, ordinal)?) })
    }

    /// Does something with it current, and leaves the thread's stack of contexts as it was.
    ///
    /// # Errors
    /// It cannot be made current.
    pub fn with<T>(&self, work: impl FnOnce() -> T) -> Result<T> {
        match &self.primary {
            Some(primary) => primary.context().with(self.library, work),
            None => Ok(work()),
        }
    }
}

impl Drop for KeptContext {
    fn drop(&mut self) {
        if let Some(primary) = self.primary.take() {
            primary.release(self.library);
        }
    }
}

/// Ordinal of the device whose context is current on this thread, if the driver is loaded and one is.
pub fn current_device() -> Option<u16> {
    let library = Library::loaded()?;
    let mut current = 0;
    // SAFETY: the driver writes the device's number.
    if unsafe { (library.context_device)(&raw mut current) } != SUCCESS {
        return None;
    }
    (0..library.device_count().ok()?).find(|&ordinal| library.device_at(ordinal) == Ok(current))
}

/// Does something with the context of some device current; where there is none, without. Once, whatever the driver answers.
pub fn in_any_context(work: &mut dyn FnMut()) {
    let mut is_done = false;
    if let Some(library) = Library::loaded() {
        // Without a context there is only the work to do.
        let _ = with_any_context(library, || {
            work();
            is_done = true;
            SUCCESS
        });
    }
    if !is_done {
        work();
    }
}

/// The context of one thread of the library's own, for libraries that look for one there.
#[derive(Debug, Default)]
pub struct ThreadContext {
    /// Retained, each once, by ordinal.
    primaries: Vec<(u16, Primary)>,
    current: Option<u16>,
}

impl ThreadContext {
    /// Makes the primary context of a device current.
    ///
    /// # Errors
    /// What the driver answers.
    pub fn enter(&mut self, ordinal: u16) -> Result<()> {
        if self.current == Some(ordinal) {
            return Ok(());
        }
        let library = Library::load()?;
        let context = match self.primaries.iter().find(|(device, _)| *device == ordinal) {
            Some((_, primary)) => primary.context(),
            None => {
                let primary = Primary::retain(library, ordinal)?;
                let context = primary.context();
                self.primaries.push((ordinal, primary));
                context
            }
        };
        context.enter(library)?;
        self.current = Some(ordinal);
        Ok(())
    }
}

impl Drop for ThreadContext {
    fn drop(&mut self) {
        if let Some(library) = Library::loaded() {
            self.primaries.drain(..).for_each(|(_, primary)| primary.release(library));
        }
    }
}
