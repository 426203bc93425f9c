//! The part of cuFile's C interface that is used: layouts and numbers, all of them part of its ABI.
//!
//! source: `cufile.h` of libcufile 1.20 (package nvidia-cufile), compared with that of 1.14; cuFile API Reference Guide,
//! <https://docs.nvidia.com/gpudirect-storage/api-reference-guide/>.

use std::ffi::{c_int, c_long, c_uint, c_void};

/// `CU_FILE_SUCCESS`.
pub(super) const SUCCESS: c_int = 0;
/// `CU_FILE_DRIVER_NOT_INITIALIZED`: no nvidia-fs, and no leave to do without.
pub(super) const DRIVER_NOT_INITIALIZED: c_int = 5001;
/// `CU_FILE_DRIVER_ALREADY_OPEN`.
pub(super) const DRIVER_ALREADY_OPEN: c_int = 5026;
/// `CU_FILE_IO_NOT_SUPPORTED`: not this file.
pub(super) const IO_NOT_SUPPORTED: c_int = 5008;
/// `CU_FILE_GETNEWFD_FAILED`: the file could not be opened a second time, by the name that it had.
pub(super) const GETNEWFD_FAILED: c_int = 5031;

/// `CUfileError_t`, returned by value. A CUDA error goes with `CU_FILE_CUDA_DRIVER_ERROR`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Outcome {
    pub(super) code: c_int,
    pub(super) cuda: c_int,
}

/// `CUfileDrvProps_t`, with room for what later versions put behind it.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct DriverProperties {
    pub(super) nvfs_major: c_uint,
    pub(super) nvfs_minor: c_uint,
    pub(super) poll_threshold: usize,
    /// KiB.
    pub(super) max_direct_io_size: usize,
    pub(super) status_flags: c_uint,
    pub(super) control_flags: c_uint,
    pub(super) feature_flags: c_uint,
    pub(super) max_device_cache_size: c_uint,
    pub(super) per_buffer_cache_size: c_uint,
    pub(super) max_device_pinned_mem_size: c_uint,
    pub(super) max_batch_io_size: c_uint,
    pub(super) max_batch_io_timeout_ms: c_uint,
    pub(super) later: [u64; 16],
}

/// `CU_FILE_HANDLE_TYPE_OPAQUE_FD`.
pub(super) const HANDLE_TYPE_FD: c_int = 1;

/// `CUfileDescr_t` of a descriptor; the union is as large as a pointer.
#[repr(C)]
pub(super) struct Description {
    pub(super) kind: c_int,
    pub(super) descriptor: FdOrPointer,
    pub(super) operations: *const c_void,
}

/// The union in [`Description`].
#[repr(C)]
pub(super) union FdOrPointer {
    pub(super) fd: c_int,
    pub(super) pointer: *mut c_void,
}

/// `CUfileHandle_t`.
pub(super) type FileHandle = *mut c_void;
/// `CUfileBatchHandle_t`.
pub(super) type BatchHandle = *mut c_void;

/// `CUFILE_BATCH`.
pub(super) const MODE_BATCH: c_int = 1;
/// `CUFILE_READ`.
pub(super) const OPCODE_READ: c_int = 0;
/// `CUFILE_WRITE`.
pub(super) const OPCODE_WRITE: c_int = 1;
/// `CUFILE_COMPLETE`.
pub(super) const STATUS_COMPLETE: c_int = 0x10;

/// `CUfileIOParams_t`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct IoParams {
    pub(super) mode: c_int,
    pub(super) buffer: *mut c_void,
    pub(super) file_offset: c_long,
    /// Always 0 here, see `address_of`.
    pub(super) buffer_offset: c_long,
    pub(super) size: usize,
    pub(super) handle: FileHandle,
    pub(super) opcode: c_int,
    pub(super) cookie: *mut c_void,
}

/// `CUfileIOEvents_t`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct IoEvent {
    pub(super) cookie: *mut c_void,
    pub(super) status: c_int,
    /// Bytes moved, or a negative error.
    pub(super) moved: isize,
}

/// Index of `CUFILE_PARAM_PROPERTIES_ALLOW_COMPAT_MODE` in `CUFileBoolConfigParameter_t`.
pub(super) const PARAMETER_ALLOW_COMPAT_MODE: c_int = 1;

const _: () = {
    assert!(size_of::<Outcome>() == 8);
    assert!(std::mem::offset_of!(DriverProperties, max_direct_io_size) == 16);
    assert!(std::mem::offset_of!(DriverProperties, feature_flags) == 32);
    assert!(std::mem::offset_of!(DriverProperties, max_batch_io_size) == 48);
    assert!(size_of::<Description>() == 24);
    assert!(size_of::<IoParams>() == 64);
    assert!(std::mem::offset_of!(IoParams, cookie) == 56);
    assert!(size_of::<IoEvent>() == 24);
};
