//! CUDA's driver: found and loaded when a store needs it and never before; what an address is; copies between host and device,
//! and checksums of device memory.
//!
//! Nothing here can panic into a caller: the driver is asked through a table of its functions (`library.rs`), whose answers
//! are numbers. Contexts of the engine's threads are left as they were.
//!
//! | file | owns |
//! | --- | --- |
//! | `library.rs`, `code.rs` | the table of functions; loading; whether a process has the driver at all; its errors |
//! | `pointer.rs` | what an address is: ordinary, pinned, managed, a device's, and whose |
//! | `contexts.rs` | the devices of a store: primary contexts, the staging buffer pinned for them, the kernels loaded into them |
//! | `memory.rs` | a device's memory for a staging buffer; contexts for calls of cuFile |
//! | `kernels.rs`, `kernels/`, `launch_set.rs` | the kernels, their launches, and the descriptors of those |
//! | `devices.rs`, `copier.rs`, `streams.rs` | the copies and checksums of one lane, on streams of its own |

mod code;
mod contexts;
mod copier;
mod devices;
mod kernels;
mod launch_set;
mod library;
mod memory;
mod pointer;
mod streams;

pub use devices::Devices;
pub use library::{Library, is_in_process};
pub use memory::{DeviceMemory, KeptContext, ThreadContext, current_device, in_any_context};
pub use pointer::{Detector, Found};
