//! Memory of the store's own: page-aligned buffers and the mapping behind the staging buffer.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::io;
use std::ptr::NonNull;

use super::segment::{HostPtr, HostSlice};

/// Alignment of everything allocated here, in bytes: a page, enough for any O_DIRECT device.
pub const PAGE_BYTES: usize = 4096;
/// Size of the huge pages asked for, in bytes (x86-64's and AArch64's usual one).
const HUGE_PAGE_BYTES: usize = 2 << 20;

#[repr(align(4096))]
struct Page([u8; PAGE_BYTES]);

const _: () = assert!(align_of::<Page>() == PAGE_BYTES);

static ZERO_PAGE: Page = Page([0; PAGE_BYTES]);

/// A page of zeros, aligned as O_DIRECT wants it.
pub fn zero_page() -> &'static [u8; PAGE_BYTES] {
    &ZERO_PAGE.0
}

/// A zeroed, page-aligned buffer.
#[derive(Debug)]
pub struct AlignedBuffer {
    pointer: NonNull<u8>,
    layout: Layout,
}

// SAFETY: the buffer owns its memory like a Box<[u8]>.
unsafe impl Send for AlignedBuffer {}
// SAFETY: shared access is read-only through `as_slice`.
unsafe impl Sync for AlignedBuffer {}

impl AlignedBuffer {
    /// A zeroed buffer of `bytes`, rounded up to whole pages.
    ///
    /// # Errors
    /// `OutOfMemory`, also for sizes that no allocation can have.
    pub fn new(bytes: usize) -> io::Result<AlignedBuffer> {
        let out_of_memory = || io::Error::from(io::ErrorKind::OutOfMemory);
        let bytes = bytes.max(1).checked_next_multiple_of(PAGE_BYTES).ok_or_else(out_of_memory)?;
        let layout = Layout::from_size_align(bytes, PAGE_BYTES).map_err(|_| out_of_memory())?;
        // SAFETY: the layout's size is not zero.
        let pointer = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or_else(out_of_memory)?;
        Ok(AlignedBuffer { pointer, layout })
    }

    /// Bytes.
    pub fn len(&self) -> usize {
        self.layout.size()
    }

    /// Never: there is at least one page.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Its bytes. No transfer may be under way into them.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: the allocation is that long, initialised, and borrowed with `self`.
        unsafe { std::slice::from_raw_parts(self.pointer.as_ptr(), self.len()) }
    }

    /// Its bytes, to write. No transfer may be under way.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.pointer.as_ptr(), self.len()) }
    }

    /// The stretch `from..to` as a target or source of a transfer. The owner keeps the buffer and
    /// leaves those bytes alone until the transfer has completed.
    pub fn host_slice(&self, from: usize, to: usize) -> HostSlice {
        let to = to.min(self.len());
        let from = from.min(to);
        // SAFETY: the memory is ours; jobs hold their buffer until their transfers are done.
        let pointer = unsafe { HostPtr::new(self.pointer.as_ptr().wrapping_add(from)) };
        HostSlice { pointer, length: to - from }
    }
}

impl Drop for AlignedBuffer {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout, freed once.
        unsafe { dealloc(self.pointer.as_ptr(), self.layout) };
    }
}

/// An anonymous private mapping.
#[derive(Debug)]
pub struct Mapping {
    pointer: NonNull<u8>,
    bytes: usize,
    huge: bool,
}

// SAFETY: the mapping is plain memory that lives as long as this value.
unsafe impl Send for Mapping {}
// SAFETY: it hands out addresses only; who may use which part is the staging buffer's business.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `bytes` (a multiple of the page size), in huge pages if asked for and to be had.
    ///
    /// # Errors
    /// What `mmap(2)` answers.
    pub fn new(bytes: usize, huge_pages: bool) -> io::Result<Mapping> {
        if huge_pages
            && let Some(rounded) = bytes.checked_next_multiple_of(HUGE_PAGE_BYTES)
            && let Ok(pointer) = map(rounded, libc::MAP_HUGETLB)
        {
            return Ok(Mapping { pointer, bytes: rounded, huge: true });
        }
        let mapping = Mapping { pointer: map(bytes, 0)?, bytes, huge: false };
        // Without reserved huge pages the kernel may still find some: a device is faster the fewer pieces a transfer's
        // memory has (a virtual disk three times), and pinning it is cheaper. Only a wish, so a refusal changes nothing.
        // SAFETY: the mapping is ours and as long; the advice changes no content.
        unsafe { libc::madvise(mapping.pointer.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE) };
        Ok(mapping)
    }

    /// Whether it lies in huge pages.
    pub fn is_huge(&self) -> bool {
        self.huge
    }

    /// Bytes mapped.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Never: mappings have at least a page.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// All of it.
    pub fn host_slice(&self) -> HostSlice {
        // SAFETY: the mapping is ours and outlives the transfers through it: the store unmaps after
        // its lanes have ended.
        HostSlice { pointer: unsafe { HostPtr::new(self.pointer.as_ptr()) }, length: self.bytes }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped in `new` with this length, unmapped once.
        unsafe { libc::munmap(self.pointer.as_ptr().cast(), self.bytes) };
    }
}

fn map(bytes: usize, flags: libc::c_int) -> io::Result<NonNull<u8>> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags;
    // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches nothing of ours.
    let address =
        unsafe { libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(address.cast()).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
}
