//! Memory of the store's own: page-aligned buffers, and the arena that the staging buffer is cut from.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::io;
use std::ptr::NonNull;

use super::stretch::{HostPtr, HostSlice, Stretch};
use crate::sys::room::out_of_memory;

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

/// The same page as the source of a transfer; nothing may be read into it.
pub fn zero_slice() -> HostSlice {
    // SAFETY: the page lives as long as the process, nobody writes it, and its only users are writes to storage, which
    // read it.
    HostSlice { pointer: unsafe { HostPtr::new(ZERO_PAGE.0.as_ptr().cast_mut()) }, length: PAGE_BYTES }
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
    /// `ENOMEM`, also for sizes that no allocation can have.
    pub fn new(bytes: usize) -> io::Result<AlignedBuffer> {
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

/// Memory for the staging buffer: an anonymous private mapping, or what somebody else keeps: a device's, or shared with a daemon.
pub struct Arena {
    memory: Stretch,
    backing: Backing,
}

/// What keeps an arena's memory.
enum Backing {
    /// A mapping of its own.
    Mapping { huge: bool },
    /// Whoever is kept here.
    Owner { _keeps: Box<dyn Send + Sync> },
}

impl Arena {
    /// Maps `bytes` (a multiple of the page size), in huge pages if asked for and to be had.
    ///
    /// # Errors
    /// What `mmap(2)` answers.
    pub fn new(bytes: usize, huge_pages: bool) -> io::Result<Arena> {
        if huge_pages
            && let Some(rounded) = bytes.checked_next_multiple_of(HUGE_PAGE_BYTES)
            && let Ok(pointer) = map(rounded, libc::MAP_HUGETLB)
        {
            return Ok(Arena::of_mapping(pointer, rounded, true));
        }
        let pointer = map(bytes, 0)?;
        // Without reserved huge pages the kernel may still find some: a device is faster the fewer pieces a transfer's
        // memory has (a virtual disk three times), and pinning it is cheaper. Only a wish, so a refusal changes nothing.
        // SAFETY: the mapping is ours and as long; the advice changes no content.
        unsafe { libc::madvise(pointer.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE) };
        Ok(Arena::of_mapping(pointer, bytes, false))
    }

    fn of_mapping(pointer: NonNull<u8>, length: usize, huge: bool) -> Arena {
        // SAFETY: the mapping is ours and outlives the transfers through it: the store unmaps after its lanes have ended.
        let pointer = unsafe { HostPtr::new(pointer.as_ptr()) };
        Arena { memory: HostSlice { pointer, length }.into(), backing: Backing::Mapping { huge } }
    }

    /// Memory that `owner` keeps, and frees when dropped.
    pub fn of_others(memory: Stretch, owner: Box<dyn Send + Sync>) -> Arena {
        Arena { memory, backing: Backing::Owner { _keeps: owner } }
    }

    /// Whether it lies in huge pages.
    pub fn is_huge(&self) -> bool {
        matches!(self.backing, Backing::Mapping { huge: true })
    }

    /// All of it.
    pub fn memory(&self) -> Stretch {
        self.memory
    }
}

impl std::fmt::Debug for Arena {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Arena").field("memory", &self.memory).finish_non_exhaustive()
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        if let (Stretch::Host(slice), Backing::Mapping { .. }) = (self.memory, &self.backing) {
            // SAFETY: mapped in `new` with this length, unmapped once.
            unsafe { libc::munmap(slice.pointer.as_ptr().cast(), slice.length) };
        }
    }
}

fn map(bytes: usize, flags: libc::c_int) -> io::Result<NonNull<u8>> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags;
    // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches nothing of ours.
    let address =
        unsafe { libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
    if address == libc::MAP_FAILED {
        let error = io::Error::last_os_error();
        // The process locks all of its memory (mlockall with MCL_FUTURE) and may not lock so much.
        return Err(if error.raw_os_error() == Some(libc::EAGAIN) { out_of_memory() } else { error });
    }
    NonNull::new(address.cast()).ok_or_else(out_of_memory)
}
