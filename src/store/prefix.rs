//! The longest stored prefix of a chain, and what puts would do with the rest.

use super::{PREFIX_GROUP_KEYS, Store};
use crate::catalog::{Asked, Chain};
use crate::error::{Error, Result};
use crate::layout::record::{self, EffectiveKey};
use crate::placement::Key;

/// A chain that is being looked up, group by group.
pub struct PrefixMatch<'a> {
    store: &'a Store,
    /// Where the chain is written down, so that its gets and puts are known to be one request.
    chain: Option<Chain<'a>>,
    matched: usize,
    /// A key was not stored: what follows does not count.
    is_over: bool,
    /// The keys behind, by their numbers, for whoever wants to know of them.
    missing: Option<Vec<u128>>,
}

impl Store {
    /// Begins to look a chain up of `count` keys, which ends with `last`. `request`: the caller's number for the request that it
    /// belongs to. `with_rest`: for [`PrefixMatch::plan`].
    ///
    /// # Errors
    /// [`Status::Closing`](crate::error::Status::Closing), [`Status::Poisoned`](crate::error::Status::Poisoned), and as for
    /// [`Store::contains`].
    pub fn prefix_match(
        &self,
        request: Option<u64>,
        with_rest: bool,
        count: usize,
        last: &[u8],
    ) -> Result<PrefixMatch<'_>> {
        self.check_open()?;
        let asked = if with_rest { Asked::Planned } else { Asked::Stored };
        let chain = match &self.chains {
            None => None,
            Some(chains) => Some(EffectiveKey::lend(&self.namespace, last, |effective| {
                let id = self.keys.chain_id(&Key { effective, digest: record::digest(effective) });
                chains.ask(request, asked, count, id)
            })?),
        };
        let missing = with_rest.then(Vec::new);
        Ok(PrefixMatch { store: self, chain, matched: 0, is_over: false, missing })
    }
}

impl PrefixMatch<'_> {
    /// Adds the next keys, at most [`PREFIX_GROUP_KEYS`].
    ///
    /// All digests are computed before the first is looked up, so that the memory that lookups wait for is fetched for
    /// all of them at a time.
    ///
    /// # Errors
    /// As for [`Store::contains`].
    pub fn add(&mut self, keys: &[&[u8]]) -> Result<()> {
        if self.is_over && self.chain.is_none() && self.missing.is_none() {
            return Ok(());
        }
        let Store { namespace, keys: stored, .. } = self.store;
        let mut digests = [0; PREFIX_GROUP_KEYS];
        for (key, digest) in keys.iter().zip(&mut digests) {
            *digest = EffectiveKey::lend(namespace, key, record::digest)?;
            if !self.is_over {
                stored.expect(*digest);
            }
        }
        for (key, &digest) in keys.iter().zip(&digests) {
            EffectiveKey::lend(namespace, key, |effective| {
                let key = Key { effective, digest };
                if let Some(chain) = &mut self.chain {
                    chain.add(stored.chain_id(&key));
                }
                if !self.is_over {
                    self.is_over = !stored.contains(&key)?;
                    self.matched += usize::from(!self.is_over);
                }
                if self.is_over
                    && let Some(missing) = &mut self.missing
                {
                    missing.push(stored.chain_id(&key));
                }
                Ok::<(), Error>(())
            })??;
        }
        Ok(())
    }

    /// How many keys are stored before the first that is not.
    pub fn matched(&self) -> usize {
        self.matched
    }

    /// How many of the keys behind those puts would store now, at most [`FORESEEN_MAX`](crate::catalog::FORESEEN_MAX); the others
    /// are declined herewith. Objects are `length` bytes long (0: as long as what is stored, on average).
    pub fn plan(self, length: u64) -> usize {
        let PrefixMatch { store, chain, missing, .. } = self;
        // It has to be written down whole before it is asked about.
        drop(chain);
        missing.map_or(0, |missing| store.keys.plan(&missing, length))
    }
}
