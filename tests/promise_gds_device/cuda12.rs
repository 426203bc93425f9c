//! All of it once more with the libcufile of CUDA 12: one cuFile serves a process, so this is a process of its own.

use crate::cufile_common;

/// The tests of this binary, in a process that loads the older library.
#[test]
fn all_of_it_holds_with_cufile_of_cuda_12() {
    cufile_common::once_more_of_cuda_12(&["--skip", "with_cufile_of_cuda_12"], 25);
}
