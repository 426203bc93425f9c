//! What lies in a bucket and under which names. `docs/FORMAT.md` describes it for other programs.
//!
//! ```text
//! <prefix>nixl_store_objects/<2 hex>/<32 hex>                    an object, sharded layout
//! <prefix><LMCache's name>                                       an object, lmcache layout
//! <prefix>nixl_store_pool/nixl_store_objects/<2 hex>/<32 hex>    an object of a static pool
//! <prefix>nixl_store_pool/{manifest,lease}                       what the pool was made with, who owns it
//! ```
//!
//! | file | owns |
//! | --- | --- |
//! | `name.rs` | the names of objects |
//! | `listing.rs` | which of them are there |
//! | `manifest.rs` | what a static pool was made with |
//! | `lease.rs`, `owner.rs` | who owns it: what the lease says; taking, renewing, giving it back |
//! | `look.rs` | both, from outside |

pub mod lease;
pub mod listing;
mod look;
pub mod manifest;
mod name;
mod owner;

pub use look::{Look, look};
pub use name::{Names, SHARDS};
pub use owner::PoolOwner;
