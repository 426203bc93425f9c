//! What lies in a bucket and under which names. `docs/FORMAT.md` describes it for other programs.
//!
//! | file | owns |
//! | --- | --- |
//! | `name.rs` | the names of objects |

mod name;

pub use name::{Names, SHARDS};
