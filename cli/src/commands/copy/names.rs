//! Under which key something is in the other store. A static pool is one rank's, and its keys do not name the rank; in a dynamic
//! store, which all ranks share, it stands at the end of the namespace.

use nixl_store::config::{Config, Layout};
use nixl_store::layout::record::{EffectiveKey, parts};

use crate::args::Global;

/// From keys of one store to keys of another.
#[derive(Debug)]
pub struct Naming {
    /// Taken off the end of namespaces; what does not have it is another rank's.
    from_rank: Option<Vec<u8>>,
    /// Put there.
    to_rank: Option<Vec<u8>>,
    has_no_namespaces: bool,
}

/// What a key is in the other store.
#[derive(Debug)]
pub enum Named {
    /// This.
    As(Box<EffectiveKey>),
    /// It is another rank's.
    OtherRank,
    /// The other store has no place for it.
    Impossible(String),
}

impl Naming {
    /// Between the stores of these configurations, for the worker of the command line.
    pub fn new(from: &Config, to: &Config, global: &Global) -> Naming {
        let rank = (global.world_size > 1)
            .then(|| format!("\0w{}of{}", global.worker_id, global.world_size).into_bytes());
        let names_rank = |config: &Config| config.pool_size == 0 && config.store.layout == Layout::Sharded;
        let has_rank = (names_rank(from), names_rank(to));
        Naming {
            from_rank: rank.clone().filter(|_| has_rank == (true, false)),
            to_rank: rank.filter(|_| has_rank == (false, true)),
            has_no_namespaces: to.pool_size == 0 && to.store.layout == Layout::Lmcache,
        }
    }

    /// The key in the other store.
    pub fn name(&self, effective: &[u8]) -> Named {
        let Some((namespace, key)) = parts(effective) else {
            return Named::Impossible("it has no key".to_owned());
        };
        let mut namespace = namespace.to_vec();
        if let Some(rank) = &self.from_rank {
            match namespace.strip_suffix(rank.as_slice()) {
                Some(rest) => namespace = rest.to_vec(),
                None => return Named::OtherRank,
            }
        }
        if let Some(rank) = &self.to_rank {
            namespace.extend_from_slice(rank);
        }
        if self.has_no_namespaces && !namespace.is_empty() {
            return Named::Impossible("the layout lmcache has no place for a namespace".to_owned());
        }
        match EffectiveKey::new(&namespace, key) {
            Ok(key) => Named::As(Box::new(key)),
            Err(error) => Named::Impossible(error.message().to_owned()),
        }
    }
}
