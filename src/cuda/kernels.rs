//! The kernels in a device's context: the module that they come in, and launches.
//!
//! What they do and ask for is in `kernels/README.md`. Each is launched once with nothing to do when a device is first used: the
//! driver may load a kernel when it is first launched, and may wait for the device then, and so for a stream that waits for this
//! library. The launch loads it; nobody waits for the run, as a device that hangs must not hold up who asks for another.

use std::ffi::{CStr, c_void};
use std::ptr::null_mut;

use cudarc::driver::sys::{CUfunction, CUmodule, CUstream};

use super::code::{Code, SUCCESS};
use super::launch_set::LaunchSet;
use super::library::{KernelCalls, Library, NON_BLOCKING};
use crate::error::Result;
use crate::memory::CopyDirection;

/// For the driver's compiler, which reads up to a NUL.
const PTX: &str = concat!(include_str!("kernels/kernels.ptx"), "\0");

/// Threads of a CUDA block that computes sums: one warp, so that the driver spreads warps over all processors of the device.
const SUM_THREADS: u32 = 32;
/// Threads of a CUDA block that copies: as many as the kernels take.
const COPY_THREADS: u32 = 128;
/// Bytes that such a block has under way: 4 warps of 32 lanes with 4 loads of 16 bytes each.
const COPY_BLOCK_BYTES: u64 = 8 << 10;
/// Blocks that copy at most. 256 KiB under way are enough for any link to the host, and leave processors to the engine.
const COPY_BLOCKS_MAX: u64 = 32;

/// The kernels, loaded for one context.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kernels {
    pub(super) calls: &'static KernelCalls,
    module: CUmodule,
    checksum: CUfunction,
    gather: CUfunction,
    scatter: CUfunction,
    /// Has the first launches.
    first: CUstream,
}

// SAFETY: modules, functions and streams belong to a context, and no thread.
unsafe impl Send for Kernels {}
// SAFETY: as above.
unsafe impl Sync for Kernels {}

impl Kernels {
    /// Loads them for the current context, and launches each once.
    ///
    /// # Errors
    /// The driver lacks a function, or cannot use the kernels; its word for it.
    pub(super) fn load(library: &'static Library) -> Result<Kernels> {
        let calls = KernelCalls::load()?;
        let mut module = null_mut();
        // SAFETY: the driver reads the text up to its NUL, and writes the module's handle.
        let code = unsafe { (calls.module_load)(&raw mut module, PTX.as_ptr().cast()) };
        if code != SUCCESS {
            return Err(
                library.error("loading the kernels (PTX 8.0, for drivers of CUDA 12.0 or newer)", code)
            );
        }
        let loaded = Kernels::of(library, calls, module);
        if loaded.is_err() {
            // SAFETY: loaded above, and nothing of it is under way.
            unsafe { (calls.module_unload)(module) };
        }
        loaded
    }

    fn of(library: &Library, calls: &'static KernelCalls, module: CUmodule) -> Result<Kernels> {
        let function = |name: &CStr| {
            let mut function = null_mut();
            // SAFETY: a live module and a string; the driver writes the function's handle.
            let code = unsafe { (calls.module_function)(&raw mut function, module, name.as_ptr()) };
            match code {
                SUCCESS => Ok(function),
                code => {
                    Err(library.error(format_args!("finding the kernel {}", name.to_string_lossy()), code))
                }
            }
        };
        let checksum = function(c"nixl_store_checksum")?;
        let gather = function(c"nixl_store_gather")?;
        let scatter = function(c"nixl_store_scatter")?;
        let mut first = null_mut();
        // SAFETY: the driver writes the stream's handle.
        let mut code = unsafe { (library.stream_create)(&raw mut first, NON_BLOCKING) };
        if code != SUCCESS {
            return Err(library.error("making a stream for the kernels", code));
        }
        let kernels = Kernels { calls, module, checksum, gather, scatter, first };
        for function in [checksum, gather, scatter] {
            if code == SUCCESS {
                code = kernels.launch(first, function, (1, SUM_THREADS), (0, 0, 0));
            }
        }
        if code != SUCCESS {
            kernels.end_first(library);
            return Err(library.error("launching the kernels for the first time", code));
        }
        Ok(kernels)
    }

    /// Waits for the first launches.
    fn end_first(&self, library: &Library) {
        // SAFETY: a live stream, which nobody uses after this.
        unsafe {
            (library.stream_synchronize)(self.first);
            (library.stream_destroy)(self.first);
        }
    }

    /// Launches the sums of the blocks that a set has.
    pub(super) fn sum(&self, stream: CUstream, set: &LaunchSet) -> Code {
        let shape = (set.count(), SUM_THREADS);
        self.launch(stream, self.checksum, shape, (set.address(), set.count(), set.sums_address()))
    }

    /// Launches the copies of the pieces that a set has.
    pub(super) fn copy(&self, stream: CUstream, direction: CopyDirection, set: &LaunchSet) -> Code {
        let function = match direction {
            CopyDirection::IntoStaging => self.gather,
            CopyDirection::OutOfStaging => self.scatter,
        };
        let blocks = set.bytes().div_ceil(COPY_BLOCK_BYTES).clamp(1, COPY_BLOCKS_MAX) as u32;
        // The buffer begins at address 0, so that offsets are addresses.
        self.launch(stream, function, (blocks, COPY_THREADS), (set.address(), set.count(), 0))
    }

    /// Launches a kernel over `count` descriptors; the driver copies the arguments.
    fn launch(
        &self,
        stream: CUstream,
        function: CUfunction,
        (blocks, threads): (u32, u32),
        (mut descriptors, mut count, mut third): (u64, u32, u64),
    ) -> Code {
        let mut arguments: [*mut c_void; 3] =
            [(&raw mut descriptors).cast(), (&raw mut count).cast(), (&raw mut third).cast()];
        let (arguments, extra) = (arguments.as_mut_ptr(), null_mut());
        // SAFETY: a live function with three parameters of these sizes, and a live stream of its context. What the kernel reads
        // and writes is the launcher's until the stream has come past it.
        unsafe { (self.calls.launch)(function, blocks, 1, 1, threads, 1, 1, 0, stream, arguments, extra) }
    }

    /// Unloads them; their context is current, and nothing of them but the first launches is under way.
    pub(super) fn unload(self, library: &Library) {
        self.end_first(library);
        // SAFETY: loaded once, unloaded once.
        unsafe { (self.calls.module_unload)(self.module) };
    }
}
