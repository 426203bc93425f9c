// The launch of a kernel in a stand-in for the CUDA driver: the kernel's own source runs on this CPU, on memory that
// the stand-in translates.
#pragma once

enum standin_kernel_status {
    STANDIN_KERNEL_OK = 0,
    /// No kernel has this name.
    STANDIN_KERNEL_UNKNOWN = 1,
    /// A shape that the kernels are not made for, and a GPU would refuse: none, more than one dimension, too many
    /// threads, or threads that are no whole warps.
    STANDIN_KERNEL_SHAPE = 2,
    /// An address of a parameter or a descriptor is not what it has to be: `to_host` refused it, it is not aligned,
    /// or an offset runs over. Nothing was read or written.
    STANDIN_KERNEL_ADDRESS = 3,
    /// The kernel did what a GPU would not have let pass; standard error says what. It ended there.
    STANDIN_KERNEL_FAULT = 4,
};

/// Runs a kernel to its end on the calling thread. `params` are those of cuLaunchKernel. `to_host` says where the
/// `bytes` at a device's address lie in this process, NULL if they are not all there; it is asked about everything
/// that the kernel is told to touch before the kernel begins, and the kernel can touch nothing else. Threads may
/// launch side by side if `to_host` bears it.
extern "C" int standin_kernel_launch(const char *name, const unsigned grid[3], const unsigned block[3], void **params,
                                     void *(*to_host)(unsigned long long device_address, unsigned long long bytes));
