//! One transfer: its progress through short reads and retries, the batch it belongs to, and how its
//! end is made known.

pub mod batch;
pub mod completion;
#[cfg(all(test, feature = "shuttle"))]
mod model_tests;
pub mod op;
pub mod ticket;
