//! Questions about keys in batches.

use std::time::{Duration, Instant};

use nixl_store::capi::*;

use super::api::{Failure, Outcome, Store, Submit, message};

/// What is asked about each key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    Lookup,
    Chain,
    Remove,
    Pin,
    Unpin,
}

impl Store {
    /// Submits a question about each key.
    pub fn submit_question<K: AsRef<str>>(&self, ask: Ask, keys: &[K], how: Submit) -> Outcome<Asked<'_>> {
        let keys: Vec<_> = keys
            .iter()
            .map(|key| nixl_store_key_t {
                key: key.as_ref().as_ptr().cast(),
                key_length: key.as_ref().len() as u64,
                reserved: [0; 4],
            })
            .collect();
        let options = nixl_store_submit_options_t {
            flags: if ask == Ask::Chain { NIXL_STORE_SUBMIT_CHAIN } else { 0 },
            ..how.to_c()
        };
        let call = match ask {
            Ask::Lookup | Ask::Chain => nixl_store_batch_lookup,
            Ask::Remove => nixl_store_batch_remove,
            Ask::Pin => nixl_store_batch_pin,
            Ask::Unpin => nixl_store_batch_unpin,
        };
        let mut number = 0;
        // SAFETY: the keys are readable, and copied by the call.
        let status =
            unsafe { call(self.handle(), keys.as_ptr(), keys.len(), &raw const options, &raw mut number) };
        if status != NIXL_STORE_OK {
            return Err(Failure { status, message: message() });
        }
        Ok(Asked { store: self, number, count: keys.len() })
    }

    /// Asks, and waits for the answers: the status of the whole and of each item.
    pub fn ask<K: AsRef<str>>(
        &self,
        ask: Ask,
        keys: &[K],
    ) -> (nixl_store_status_t, Vec<nixl_store_result_t>) {
        self.submit_question(ask, keys, Submit::default()).unwrap().wait()
    }
}

/// A submitted batch of questions. The store may be closed before it is waited for.
pub struct Asked<'a> {
    store: &'a Store,
    pub number: nixl_store_ticket_t,
    count: usize,
}

impl Asked<'_> {
    /// Waits for the end: the status of the whole, and how each item ended.
    pub fn wait(self) -> (nixl_store_status_t, Vec<nixl_store_result_t>) {
        let none =
            nixl_store_result_t { status: 77, os_error: 0, bytes: 0, object_length: 0, reserved: [0; 3] };
        let (mut results, mut count) = (vec![none; self.count], 0);
        // SAFETY: the array is as long as stated.
        let status = unsafe {
            nixl_store_ticket_wait(
                self.store.handle(),
                self.number,
                NIXL_STORE_TIMEOUT_INFINITE,
                results.as_mut_ptr(),
                results.len(),
                &raw mut count,
            )
        };
        (status, results)
    }

    /// Whether the batch ended within the time.
    pub fn ended_within(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        while self.store.poll(self.number) == NIXL_STORE_IN_PROGRESS {
            if Instant::now() >= until {
                return false;
            }
            std::thread::yield_now();
        }
        true
    }
}
