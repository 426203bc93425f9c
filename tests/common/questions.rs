//! Questions about keys in batches, as safe methods of a store.

use std::ptr;

use nixl_store::capi::*;

use super::batch::{Pending, Submit};
use super::status::{OK, Status};
use super::store::{Store, keys_to_c};

/// What is asked about each key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    Lookup,
    /// A lookup of a chain, of which a prefix is wanted.
    Chain,
    Remove,
    Pin,
    Unpin,
}

impl Store {
    pub fn submit_question<K: AsRef<[u8]>>(
        &self,
        ask: Ask,
        keys: &[K],
        options: Submit<'_>,
    ) -> Result<Pending<'_, 'static>, Status> {
        let keys = keys_to_c(keys);
        let options = nixl_store_submit_options_t {
            flags: if ask == Ask::Chain { NIXL_STORE_SUBMIT_CHAIN } else { 0 },
            ..options.to_c()
        };
        let submit = match ask {
            Ask::Lookup | Ask::Chain => nixl_store_batch_lookup,
            Ask::Remove => nixl_store_batch_remove,
            Ask::Pin => nixl_store_batch_pin,
            Ask::Unpin => nixl_store_batch_unpin,
        };
        let mut ticket = 0;
        let (handle, out) = (self.handle(), ptr::from_mut(&mut ticket));
        // SAFETY: the keys are readable and copied by the call.
        let status = Status(unsafe { submit(handle, keys.as_ptr(), keys.len(), &raw const options, out) });
        if status != OK {
            return Err(status);
        }
        Ok(Pending::new(self, ticket, keys.len()))
    }

    /// Asks and waits for the answers.
    #[track_caller]
    pub fn ask<K: AsRef<[u8]>>(&self, ask: Ask, keys: &[K]) -> (Status, Vec<nixl_store_result_t>) {
        self.submit_question(ask, keys, Submit::default()).expect("submitted").wait()
    }

    /// The statuses of the items alone.
    #[track_caller]
    pub fn answers<K: AsRef<[u8]>>(&self, ask: Ask, keys: &[K]) -> Vec<Status> {
        self.ask(ask, keys).1.iter().map(|result| Status(result.status)).collect()
    }
}
