//! The part of USRBIO's C interface that is used: layouts and numbers, all of them part of its ABI.
//!
//! source: `src/lib/api/hf3fs_usrbio.h` of 3FS. It has no version to ask for, so the library is held against these layouts before
//! it is used (see [`Guarded`]).

use std::ffi::{c_char, c_int, c_void};

/// Bytes of a mount's path with its NUL.
pub(super) const MOUNT_POINT_BYTES: usize = 256;

/// `struct hf3fs_iov`: memory that the daemon shares.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct RawIov {
    pub(super) base: *mut u8,
    pub(super) handle: *mut c_void,
    pub(super) id: [u8; 16],
    pub(super) mount_point: [c_char; MOUNT_POINT_BYTES],
    pub(super) size: usize,
    pub(super) block_size: usize,
    pub(super) numa: c_int,
}

/// `struct hf3fs_ior`: a ring of requests and results.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct RawIor {
    pub(super) iov: RawIov,
    pub(super) handle: *mut c_void,
    pub(super) mount_point: [c_char; MOUNT_POINT_BYTES],
    pub(super) for_read: bool,
    pub(super) io_depth: c_int,
    pub(super) priority: c_int,
    pub(super) timeout: c_int,
    pub(super) flags: u64,
}

/// `struct hf3fs_cqe`: a result.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct RawCqe {
    pub(super) index: i32,
    pub(super) reserved: i32,
    pub(super) result: i64,
    pub(super) userdata: *const c_void,
}

impl RawCqe {
    pub(super) const EMPTY: RawCqe = RawCqe { index: 0, reserved: 0, result: 0, userdata: std::ptr::null() };
}

const _: () = {
    assert!(size_of::<RawIov>() == 312 && size_of::<RawIor>() == 600 && size_of::<RawCqe>() == 24);
    assert!(std::mem::offset_of!(RawIov, size) == 288 && std::mem::offset_of!(RawIov, numa) == 304);
    assert!(std::mem::offset_of!(RawIor, handle) == 312 && std::mem::offset_of!(RawIor, for_read) == 576);
    assert!(std::mem::offset_of!(RawIor, timeout) == 588 && std::mem::offset_of!(RawIor, flags) == 592);
    assert!(std::mem::offset_of!(RawCqe, result) == 8 && std::mem::offset_of!(RawCqe, userdata) == 16);
};

/// What `hf3fs_ior_size(256)` is for these layouts and those in the ring's memory.
pub(super) const IOR_BYTES_OF_256: usize = 28_816;

/// Bytes behind a structure that the library must not touch: a later version's would be longer.
const GUARD_BYTES: usize = 256;
/// What they hold.
const GUARD: u8 = 0xa5;

/// A structure for the library to fill in, with a guard behind it.
#[repr(C)]
pub(super) struct Guarded<T> {
    pub(super) raw: T,
    guard: [u8; GUARD_BYTES],
}

impl<T> Guarded<T> {
    pub(super) fn new(raw: T) -> Guarded<T> {
        Guarded { raw, guard: [GUARD; GUARD_BYTES] }
    }

    /// Whether the library stayed within the structure.
    pub(super) fn is_intact(&self) -> bool {
        self.guard == [GUARD; GUARD_BYTES]
    }
}

impl RawIov {
    pub(super) const EMPTY: RawIov = RawIov {
        base: std::ptr::null_mut(),
        handle: std::ptr::null_mut(),
        id: [0; 16],
        mount_point: [0; MOUNT_POINT_BYTES],
        size: 0,
        block_size: 0,
        numa: 0,
    };
}

impl RawIor {
    pub(super) const EMPTY: RawIor = RawIor {
        iov: RawIov::EMPTY,
        handle: std::ptr::null_mut(),
        mount_point: [0; MOUNT_POINT_BYTES],
        for_read: false,
        io_depth: 0,
        priority: 0,
        timeout: 0,
        flags: 0,
    };
}

/// An iov that was made, boxed: it keeps its address.
pub(super) struct MadeIov(pub(super) Box<Guarded<RawIov>>);

// SAFETY: the structure is written when it is made and when it is destroyed, by one thread, with none that reads it at the time.
unsafe impl Send for MadeIov {}
// SAFETY: as above; in between it is only read.
unsafe impl Sync for MadeIov {}

/// A ring that was made, boxed: it keeps its address.
pub(super) struct MadeRing(pub(super) Box<Guarded<RawIor>>);

// SAFETY: preparing is not safe from two threads at a time, and whoever has a ring has it alone; a ring may go from one thread to
// another (`UsrbIo.md` of 3FS, `hf3fs_wait_for_ios`).
unsafe impl Send for MadeRing {}
