//! Raw memory that belongs to the caller between submit and completion: on the host, or on a device.

/// A raw host address that may cross threads.
///
/// Whoever makes one vouches for the memory behind it (see [`HostPtr::new`]); on that word the byte
/// movers read and write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPtr(*mut u8);

// SAFETY: an address is only a number; the right to use it from any thread is part of what the maker
// of a HostPtr vouches for.
unsafe impl Send for HostPtr {}
// SAFETY: as above; sharing the number shares no access beyond that.
unsafe impl Sync for HostPtr {}

impl HostPtr {
    /// Wraps an address.
    ///
    /// # Safety
    /// The bytes that an operation is told to move through this address must stay valid for the
    /// operation's direction, from any thread, until that operation has completed, and nobody else
    /// may write them (put) or touch them (get) in that time.
    pub unsafe fn new(address: *mut u8) -> HostPtr {
        HostPtr(address)
    }

    /// The address.
    pub fn as_ptr(self) -> *mut u8 {
        self.0
    }

    /// The address as a number, for alignment checks and messages.
    pub fn addr(self) -> usize {
        self.0 as usize
    }

    /// The address `bytes` further on, inside the same memory.
    #[must_use]
    pub fn offset(self, bytes: usize) -> HostPtr {
        HostPtr(self.0.wrapping_add(bytes))
    }
}

/// An address in a GPU's memory, as the driver's unified addressing numbers it.
///
/// A number and nothing more: no code of this process can read or write through it, so it has no pointer to give. Only a
/// backend or a copier that speaks to the device can use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DevicePtr(u64);

impl DevicePtr {
    /// Wraps an address (a `CUdeviceptr`).
    pub fn new(address: u64) -> DevicePtr {
        DevicePtr(address)
    }

    /// The address as a number.
    pub fn addr(self) -> u64 {
        self.0
    }

    /// The address `bytes` further on, inside the same memory.
    #[must_use]
    pub fn offset(self, bytes: usize) -> DevicePtr {
        DevicePtr(self.0.wrapping_add(bytes as u64))
    }
}

/// One stretch of host memory; may be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostSlice {
    /// First byte.
    pub pointer: HostPtr,
    /// Bytes.
    pub length: usize,
}

impl HostSlice {
    /// The part of this slice from `from` on.
    #[must_use]
    pub fn skip(self, from: usize) -> HostSlice {
        let from = from.min(self.length);
        HostSlice { pointer: self.pointer.offset(from), length: self.length - from }
    }
}

/// One stretch of a device's memory; may be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceSlice {
    /// First byte.
    pub pointer: DevicePtr,
    /// Bytes.
    pub length: usize,
    /// Ordinal of the device.
    pub device: u16,
}

/// One stretch of memory, which says where it lies: an address alone does not tell, and a device's must never meet a
/// copy of the processor's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stretch {
    /// Ordinary host memory.
    Host(HostSlice),
    /// A GPU's memory.
    Device(DeviceSlice),
}

impl Stretch {
    /// Bytes.
    pub fn length(&self) -> usize {
        match self {
            Stretch::Host(slice) => slice.length,
            Stretch::Device(slice) => slice.length,
        }
    }

    /// The address as a number, for alignment checks, comparisons and messages.
    pub fn addr(&self) -> usize {
        match self {
            Stretch::Host(slice) => slice.pointer.addr(),
            Stretch::Device(slice) => slice.pointer.addr() as usize,
        }
    }

    /// The address as the interfaces of others take it. Of a device's memory no code of this process can follow it.
    pub fn as_ptr(&self) -> *mut u8 {
        match self {
            Stretch::Host(slice) => slice.pointer.as_ptr(),
            Stretch::Device(slice) => std::ptr::without_provenance_mut(slice.pointer.addr() as usize),
        }
    }

    /// The stretch, if the processor can reach it.
    pub fn host(&self) -> Option<HostSlice> {
        match self {
            Stretch::Host(slice) => Some(*slice),
            Stretch::Device(_) => None,
        }
    }

    /// The device whose memory it is.
    pub fn device(&self) -> Option<u16> {
        match self {
            Stretch::Host(_) => None,
            Stretch::Device(slice) => Some(slice.device),
        }
    }

    /// Both as one stretch, if `next` lies right behind this one in the same memory.
    pub fn joined(self, next: Stretch) -> Option<Stretch> {
        match (self, next) {
            (Stretch::Host(one), Stretch::Host(two)) if one.pointer.offset(one.length) == two.pointer => {
                Some(HostSlice { length: one.length + two.length, ..one }.into())
            }
            (Stretch::Device(one), Stretch::Device(two))
                if one.device == two.device && one.pointer.offset(one.length) == two.pointer =>
            {
                Some(Stretch::Device(DeviceSlice { length: one.length + two.length, ..one }))
            }
            _ => None,
        }
    }

    /// The bytes `from..to` of this stretch; `to` is not beyond its end.
    #[must_use]
    pub fn part(self, from: usize, to: usize) -> Stretch {
        let length = to - from;
        match self {
            Stretch::Host(slice) => Stretch::Host(HostSlice { pointer: slice.pointer.offset(from), length }),
            Stretch::Device(slice) => {
                Stretch::Device(DeviceSlice { pointer: slice.pointer.offset(from), length, ..slice })
            }
        }
    }

    /// The part of this stretch from `from` on.
    #[must_use]
    pub fn skip(self, from: usize) -> Stretch {
        let length = self.length();
        self.part(from.min(length), length)
    }
}

impl From<DeviceSlice> for Stretch {
    fn from(slice: DeviceSlice) -> Stretch {
        Stretch::Device(slice)
    }
}

impl From<HostSlice> for Stretch {
    fn from(slice: HostSlice) -> Stretch {
        Stretch::Host(slice)
    }
}

/// Visits what of `stretches` makes up the bytes `from..to` of their concatenation.
pub fn for_each_part(stretches: &[Stretch], from: usize, to: usize, mut visit: impl FnMut(Stretch)) {
    let mut start = 0usize;
    for stretch in stretches {
        let end = start.saturating_add(stretch.length());
        let (low, high) = (from.max(start), to.min(end));
        if low < high {
            visit(stretch.part(low - start, high - start));
        }
        if end >= to {
            break;
        }
        start = end;
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::HostPtr;

    /// The address of a test's own memory, which the test keeps, and leaves alone, until what it started has ended.
    #[cfg_attr(feature = "shuttle", allow(dead_code, reason = "the model-checked tests move no bytes"))]
    pub(crate) fn pointer_to(memory: &mut [u8]) -> HostPtr {
        // SAFETY: as the test that calls keeps it.
        unsafe { HostPtr::new(memory.as_mut_ptr()) }
    }
}
