//! Memory that the client sends from or lands in, and the lease that says when it is done with it.

use std::any::Any;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::memory::HostSlice;

/// Bytes of one frame of a body that the SDK reads itself, for its checksums.
const FRAME_BYTES_MAX: usize = 256 << 10;

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

    /// Adds what follows the first `from` bytes to `buffers`, up to `count_max` of them in all.
    pub(super) fn push_slices<'a>(
        &'a self,
        mut from: usize,
        count_max: usize,
        buffers: &mut Vec<IoSlice<'a>>,
    ) {
        for slice in &self.slices {
            let skipped = from.min(slice.length);
            from -= skipped;
            if skipped < slice.length && buffers.len() < count_max {
                buffers.push(IoSlice::new(bytes_of(&slice.skip(skipped), &self.lease)));
            }
        }
    }
}

/// The bytes of a slice while its lease is held.
fn bytes_of<'a>(slice: &HostSlice, _lease: &'a Lease) -> &'a [u8] {
    // SAFETY: the memory is valid for reading, and written by nobody, while the lease lasts, as the maker of the HostPtr
    // vouched; the lease is borrowed for as long as the bytes are.
    unsafe { std::slice::from_raw_parts(slice.pointer.as_ptr(), slice.length) }
}

/// A stretch of the memory and a share in its lease, as the owner of a frame.
struct Leased {
    slice: HostSlice,
    lease: Lease,
}

impl AsRef<[u8]> for Leased {
    fn as_ref(&self) -> &[u8] {
        bytes_of(&self.slice, &self.lease)
    }
}

/// Gives a payload while its call lasts.
type Source = Arc<dyn Fn() -> Option<Payload> + Send + Sync>;

/// The memory as a body for the SDK: it knows its length, and gives its bytes in frames that hold the lease. The connector
/// leaves it alone and takes the slices, unless the SDK has to see every byte; so the lease is taken with the first frame.
pub(super) struct PayloadBody {
    source: Option<Source>,
    lease: Option<Lease>,
    slices: VecDeque<HostSlice>,
    left: u64,
}

impl PayloadBody {
    /// The body of the `length` bytes that `source` gives. The SDK can make it anew for each attempt.
    pub(super) fn of(length: usize, source: impl Fn() -> Option<Payload> + Send + Sync + 'static) -> SdkBody {
        let source: Source = Arc::new(source);
        SdkBody::retryable(move || {
            SdkBody::from_body_1_x(PayloadBody {
                source: Some(Arc::clone(&source)),
                lease: None,
                slices: VecDeque::new(),
                left: length as u64,
            })
        })
    }

    /// The first `bytes` that landed.
    pub(super) fn of_landing(landing: &Landing, bytes: usize) -> SdkBody {
        let mut left = bytes;
        let mut slices = VecDeque::new();
        for slice in &landing.slices {
            let length = slice.length.min(left);
            left -= length;
            slices.push_back(HostSlice { pointer: slice.pointer, length });
        }
        let lease = Some(landing.lease.clone());
        SdkBody::from_body_1_x(PayloadBody { source: None, lease, slices, left: bytes as u64 })
    }
}

impl Body for PayloadBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let body = &mut *self;
        if let Some(payload) = body.source.take().and_then(|source| source()) {
            (body.slices, body.lease) = (payload.slices.into(), Some(payload.lease));
        }
        let Some(lease) = &body.lease else { return Poll::Ready(None) };
        while let Some(slice) = body.slices.front_mut() {
            if slice.length == 0 {
                body.slices.pop_front();
                continue;
            }
            let length = slice.length.min(FRAME_BYTES_MAX);
            let part = HostSlice { pointer: slice.pointer, length };
            *slice = slice.skip(length);
            body.left = body.left.saturating_sub(length as u64);
            let bytes = Bytes::from_owner(Leased { slice: part, lease: lease.clone() });
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        body.lease = None;
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
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
