//! What an address is: ordinary memory, or a device's.

use std::ffi::{c_int, c_uint, c_void};

use cudarc::driver::sys::{CUmemorytype, CUpointer_attribute as Attribute};

use super::code::{INVALID_CONTEXT, SUCCESS};
use super::contexts::with_any_context;
use super::library::{Library, is_in_process};
use crate::error::{Error, Result, Status};

/// What an address was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Memory that the processor reaches: ordinary or pinned.
    Host,
    /// Memory of the device of this ordinal, managed memory among it: the processor may fault on that while the device uses it.
    Device(u16),
}

/// One allocation that the driver knows.
#[derive(Clone, Copy, Debug)]
struct Allocation {
    start: u64,
    end: u64,
    device: u16,
}

/// Tells what addresses are, for as long as nobody frees any: while one batch is filled. What was learnt of one allocation
/// serves all segments in it.
#[derive(Debug, Default)]
pub struct Detector {
    library: Option<&'static Library>,
    /// The process was found to be without the driver.
    is_without: bool,
    last: Option<Allocation>,
}

impl Detector {
    /// For one batch, whose memory may be a device's only if anybody in the process has loaded the driver.
    pub fn new() -> Detector {
        Detector::default()
    }

    /// What the memory at `address` is.
    ///
    /// # Errors
    /// [`Status::InvalidArgument`] for memory that ends before it should; what the driver answers.
    pub fn find(&mut self, address: u64, length: usize) -> Result<Found> {
        if self.is_without {
            return Ok(Found::Host);
        }
        let library = match self.library {
            Some(library) => library,
            None if !is_in_process() => {
                self.is_without = true;
                return Ok(Found::Host);
            }
            None => *self.library.insert(Library::load()?),
        };
        self.look(library, address, length)
    }

    /// The same for memory that is said to be a device's.
    ///
    /// # Errors
    /// As for [`Detector::find`]; [`Status::Unsupported`] if there is no driver, [`Status::InvalidArgument`] for an address
    /// that it does not know.
    pub fn find_device(&mut self, address: u64, length: usize) -> Result<u16> {
        let library = match self.library {
            Some(library) => library,
            None => *self.library.insert(Library::load()?),
        };
        match self.look(library, address, length)? {
            Found::Device(device) => Ok(device),
            Found::Host => Err(Error::new(
                Status::InvalidArgument,
                format!(
                    "the address {address:#x} is said to be CUDA device memory, and the driver knows no such memory"
                ),
            )),
        }
    }

    fn look(&mut self, library: &'static Library, address: u64, length: usize) -> Result<Found> {
        let Some(first) = self.allocation(library, address)? else { return Ok(Found::Host) };
        let device = first.device;
        let wanted_end = address.saturating_add(length as u64);
        let mut end = first.end;
        // What was mapped in pieces may be told piece by piece, and is one stretch of memory all the same.
        while end < wanted_end {
            match self.allocation(library, end)?.filter(|next| next.device == device && next.end > end) {
                Some(next) => end = next.end,
                None => {
                    let there = end - address;
                    let message = format!(
                        "{length} bytes at {address:#x} of device {device}, where {there} are allocated"
                    );
                    return Err(Error::new(Status::InvalidArgument, message));
                }
            }
        }
        Ok(Found::Device(device))
    }

    /// The allocation that an address lies in: the one that was met last, or what the driver says.
    fn allocation(&mut self, library: &'static Library, address: u64) -> Result<Option<Allocation>> {
        if let Some(last) = self.last.filter(|last| (last.start..last.end).contains(&address)) {
            return Ok(Some(last));
        }
        let found = allocation(library, address)?;
        self.last = found.or(self.last);
        Ok(found)
    }
}

/// The device's allocation that an address lies in; `None`: it is host memory.
fn allocation(library: &'static Library, address: u64) -> Result<Option<Allocation>> {
    let mut kind: c_uint = 0;
    let mut device: c_int = -1;
    let mut is_managed: c_uint = 0;
    let (mut start, mut bytes) = (0u64, 0usize);
    let mut attributes = [
        Attribute::CU_POINTER_ATTRIBUTE_MEMORY_TYPE as c_uint,
        Attribute::CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL as c_uint,
        Attribute::CU_POINTER_ATTRIBUTE_IS_MANAGED as c_uint,
        Attribute::CU_POINTER_ATTRIBUTE_RANGE_START_ADDR as c_uint,
        Attribute::CU_POINTER_ATTRIBUTE_RANGE_SIZE as c_uint,
    ];
    let mut values: [*mut c_void; 5] = [
        (&raw mut kind).cast(),
        (&raw mut device).cast(),
        (&raw mut is_managed).cast(),
        (&raw mut start).cast(),
        (&raw mut bytes).cast(),
    ];
    let mut ask = || {
        let count = attributes.len() as c_uint;
        // SAFETY: as many attributes as values, each value of the size that cuda.h gives for its attribute; an address that the
        // driver does not know is no error.
        unsafe { (library.pointer_attributes)(count, attributes.as_mut_ptr(), values.as_mut_ptr(), address) }
    };
    let mut code = ask();
    if code == INVALID_CONTEXT {
        code = with_any_context(library, ask)?;
    }
    if code != SUCCESS {
        return Err(library.error(format_args!("asking what {address:#x} is"), code));
    }
    let is_device = kind == CUmemorytype::CU_MEMORYTYPE_DEVICE as c_uint;
    if !is_device && is_managed == 0 {
        return Ok(None);
    }
    // Memory without a device of its own is reached through any.
    let device = u16::try_from(device).unwrap_or(0);
    let end = start.saturating_add(bytes as u64);
    if !(start..end).contains(&address) {
        // The driver does not say how far it goes; a copy that goes too far is refused then.
        return Ok(Some(Allocation { start: address, end: u64::MAX, device }));
    }
    Ok(Some(Allocation { start, end, device }))
}
