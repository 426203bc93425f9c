//! Raw memory that belongs to the caller between submit and completion.

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

/// One stretch of host memory of one transfer; may be empty.
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

/// Visits the stretches of `segments` that make up the bytes `from..to` of their concatenation.
pub fn for_each_slice(segments: &[Segment], from: usize, to: usize, mut visit: impl FnMut(HostSlice)) {
    let mut start = 0usize;
    for segment in segments {
        let end = start.saturating_add(segment.length);
        let (low, high) = (from.max(start), to.min(end));
        if low < high {
            visit(HostSlice { pointer: segment.pointer.offset(low - start), length: high - low });
        }
        if end >= to {
            break;
        }
        start = end;
    }
}
