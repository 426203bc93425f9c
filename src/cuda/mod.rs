//! CUDA's driver: found and loaded when a store needs it and never before; what an address is; copies between host and device.
//!
//! Nothing here can panic into a caller: the driver is asked through a table of its functions (`library.rs`), whose answers
//! are numbers. Contexts of the engine's threads are left as they were.
//!
//! | file | owns |
//! | --- | --- |
//! | `library.rs`, `code.rs` | the table of functions; loading; whether a process has the driver at all; its errors |
//! | `pointer.rs` | what an address is: ordinary, pinned, managed, a device's, and whose |
//! | `contexts.rs` | primary contexts, and pinning the staging buffer for them |
//! | `devices.rs`, `copier.rs` | the copies of one lane, on streams of its own |
//! | `caller.rs`, `point.rs`, `known.rs` | streams of the caller's: made to wait, or waited for; what their contexts need for that |

mod caller;
mod code;
mod contexts;
mod copier;
mod devices;
mod known;
mod library;
mod point;
mod pointer;

pub use caller::{CallersStream, StreamHandle, stand_aside};
pub use devices::Devices;
pub use library::{Library, is_in_process};
pub use point::Point;
pub use pointer::{Detector, Found};
