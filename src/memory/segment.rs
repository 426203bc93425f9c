//! Raw memory that belongs to the caller between submit and completion.

/// A raw host address that may cross threads.
///
/// Holding one gives no right to touch the memory: that right comes from the operation it
/// belongs to, between submit and completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostPtr(*mut u8);

// SAFETY: an address is only a number here; every dereference happens in the byte movers, which
// argue for themselves that the operation owning the memory is still under way.
unsafe impl Send for HostPtr {}
// SAFETY: as above; sharing the number shares no access.
unsafe impl Sync for HostPtr {}

impl HostPtr {
    /// Wraps an address.
    pub fn new(address: *mut u8) -> HostPtr {
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

    /// The address `bytes` further on; it is only computed, not touched.
    pub fn offset(self, bytes: usize) -> HostPtr {
        HostPtr(self.0.wrapping_add(bytes))
    }
}

/// What kind of memory an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryKind {
    /// Ordinary host memory.
    Host,
    /// CUDA device memory.
    Cuda,
}

/// One stretch of the caller's memory, `length` bytes at `pointer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First byte.
    pub pointer: HostPtr,
    /// Bytes; never 0.
    pub length: usize,
    /// Stated or detected kind.
    pub kind: MemoryKind,
}
