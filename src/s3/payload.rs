//! Memory that the client sends from or lands in, and the lease that says when it is done with it.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::memory::HostSlice;

/// A share in the right to use some memory. The client keeps clones for as long as it may touch the memory; what was
/// handed to [`Lease::new`] is dropped with the last of them.
#[derive(Clone)]
pub struct Lease(Arc<dyn Any + Send + Sync>);

impl Lease {
    /// A lease whose end is the drop of `owner`, on whichever thread that falls.
    pub fn new(owner: impl Send + Sync + 'static) -> Lease {
        Lease(Arc::new(owner))
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("shares", &Arc::strong_count(&self.0)).finish()
    }
}

/// Bytes to send: the slices one after the other.
#[derive(Clone, Debug)]
pub struct Payload {
    /// Where they lie; valid for reading while the lease lasts.
    pub slices: Vec<HostSlice>,
    /// The lease on them.
    pub lease: Lease,
}

impl Payload {
    /// Bytes of all slices.
    pub fn length(&self) -> usize {
        self.slices.iter().map(|slice| slice.length).sum()
    }
}

/// Where bytes are to land: in the slices one after the other.
#[derive(Clone, Debug)]
pub struct Landing {
    /// Where; valid for writing while the lease lasts.
    pub slices: Vec<HostSlice>,
    /// The lease on them.
    pub lease: Lease,
    /// Bytes of a checksum block; `None`: no sums are wanted. The last block may be shorter.
    pub sum_block_bytes: Option<usize>,
}

impl Landing {
    /// Bytes that all slices hold.
    pub fn capacity(&self) -> usize {
        self.slices.iter().map(|slice| slice.length).sum()
    }
}
