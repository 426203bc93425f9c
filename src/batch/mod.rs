//! What was asked for: the items of a batch, the ticket that stands for it, and how its end is made known.

mod age;
pub mod completion;
mod items;
#[cfg(all(test, feature = "shuttle"))]
mod model_tests;
mod question;
pub mod ticket;
mod watch;

pub use age::Age;
pub use items::{BATCH_ITEMS_MAX, Batch, DEVICE_MAX, Direction, Item, ItemGuard, ItemResult, Notice, Wish};
pub use question::Question;
