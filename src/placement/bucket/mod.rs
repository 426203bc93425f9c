//! Stores in a bucket as lanes see them: an object for each key, in a bucket that other processes share, or in a static
//! pool of one owner.
//!
//! | file | owns |
//! | --- | --- |
//! | `transfer.rs`, `get.rs`, `put.rs` | what a lane asks around a transfer, and how that is done |
//! | `open.rs` | the open: names, manifest, lease |
//! | `keys.rs`, `asking.rs`, `chain.rs` | questions about keys, one at a time and many side by side |
//! | `look.rs` | one question to the server: is it there, how long is it, whose is it |
//! | `evict.rs` | objects that go |
//! | `recover.rs`, `fleet.rs`, `census.rs` | what is there: at open, and what others put since |
//! | `undo.rs` | puts of which nobody knows how they ended |
//! | `keeper.rs` | the thread for what nobody waits for |
//! | `sizes.rs`, `in_use.rs` | sizes met and guessed; who is at which object |
//!
//! In a dynamic store the bucket is the truth about what is stored, and the catalog knows sizes and recency. In a static
//! pool, which has one owner, the catalog is the truth: a key that it does not know is not asked for.

mod asking;
mod census;
mod chain;
mod evict;
mod fleet;
mod get;
mod in_use;
mod keeper;
mod keys;
mod look;
mod open;
mod put;
mod recover;
mod sizes;
mod transfer;
mod undo;

use crate::backend::obj::Bucket;
use crate::catalog::ObjectCatalog;
use crate::config::{Config, Layout};
use crate::error::Result;
use crate::layout::bucket::{Names, PoolOwner};
use crate::layout::files::ObjectName;
use crate::layout::record;
use crate::log::Logger;
use crate::metrics::Counter;
use crate::placement::Key;
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex};

use self::census::Census;
use self::in_use::InUse;
use self::keeper::{Bell, Keeper};
use self::sizes::Sizes;
use self::undo::Undo;

pub use self::get::Reading;
pub use self::in_use::{Reader, Turn};
pub use self::open::Pool;
pub use self::put::Draft;

/// A store in a bucket.
pub struct Buckets {
    core: Arc<Core>,
    keeper: Keeper,
}

/// All of it but the thread, which has a share in it.
struct Core {
    bucket: Bucket,
    names: Names,
    kind: Kind,
    catalog: ObjectCatalog,
    in_use: Arc<InUse>,
    sizes: Sizes,
    undo: Undo,
    census: Mutex<Census>,
    rules: Rules,
    generation: AtomicU64,
    evictions: Counter,
    /// Objects that no lane ever saw: of no possible length.
    damaged: Counter,
    /// Objects that this process removed, so that who was at one meanwhile does not take it for known.
    removals: AtomicU64,
    /// Bytes put since the fleet's bucket was looked at.
    bytes_put: AtomicU64,
    /// Whether the listing at open left something out.
    is_listing_due: AtomicBool,
    /// Whether there was more in the bucket than there should be when it was looked at last.
    is_over: AtomicBool,
    /// Wakes the thread.
    bell: Bell,
    /// Set when the store closes: what nobody waits for ends.
    stopping: Arc<AtomicBool>,
    logger: Logger,
}

/// What the configuration says about keys and capacity.
struct Rules {
    namespace_bytes: usize,
    serve_unverified: bool,
    /// Bytes that an object without a proof must have to be served; `None`: any number.
    unverified_bytes: Option<u64>,
    presence_cache: bool,
    presence_cache_only: bool,
    /// Of a dynamic store.
    capacity_bytes: Option<u64>,
}

/// Which kind of store.
enum Kind {
    /// Any number of processes share it.
    Dynamic,
    /// This process owns it.
    Pool { owner: Box<PoolOwner>, pool_id: u128, object_count: u32, chunk_bytes: u64 },
}

impl Rules {
    fn new(config: &Config, namespace_bytes: usize) -> Rules {
        let is_dynamic = config.pool_size == 0;
        Rules {
            namespace_bytes,
            serve_unverified: is_dynamic && config.store.serve_unverified,
            unverified_bytes: config.store.unverified_bytes,
            presence_cache: config.presence_cache,
            presence_cache_only: config.presence_cache_only,
            capacity_bytes: config.store.capacity_bytes.filter(|_| is_dynamic),
        }
    }
}

impl Buckets {
    /// How capabilities call the layout.
    pub fn layout(&self) -> &'static str {
        match &self.core.kind {
            Kind::Pool { .. } => "static",
            Kind::Dynamic => self.core.names.layout().dynamic_name(),
        }
    }
}

impl Core {
    fn name(&self, key: &Key<'_>) -> Result<ObjectName> {
        self.names
            .name_of(key.digest, key.effective.get(1 + self.rules.namespace_bytes..).unwrap_or_default())
    }

    fn is_pool(&self) -> bool {
        matches!(self.kind, Kind::Pool { .. })
    }

    /// Identity in the records of this store.
    fn pool_id(&self) -> u128 {
        match self.kind {
            Kind::Dynamic => record::NO_POOL,
            Kind::Pool { pool_id, .. } => pool_id,
        }
    }

    /// Whether another program's object of this length is served without a proof.
    fn serves_unproven(&self, bytes: u64) -> bool {
        self.rules.serve_unverified
            && self.names.layout() == Layout::Lmcache
            && bytes > 0
            && self.rules.unverified_bytes.is_none_or(|expected| bytes == expected)
    }

    /// Takes an object into the catalog, or corrects what is known of it.
    fn observe(&self, name: &ObjectName, bytes: u64) {
        self.catalog.observe(self.names.id_of(name), self.names.flat(name).as_deref(), counted(bytes));
    }

    /// Nothing is known of an object any more: it is gone.
    fn forget(&self, id: u128) {
        self.catalog.forget(id);
        self.sizes.forget(id);
    }
}

/// The bytes that an object counts against the capacity. One of a length that no put made is damaged: if it counted, a
/// claim of terabytes would have every other object evicted.
fn counted(bytes: u64) -> u64 {
    sizes::RecordBytes::split(bytes).map_or(0, |_| bytes)
}

/// The shard of a digest.
fn shard_of(id: u128) -> u8 {
    (id >> 120) as u8
}
