//! Submitting questions about keys: one of four questions, asked about each key of a batch.

use super::check::{self, invalid};
use super::constants::NIXL_STORE_BATCH_ITEMS_MAX;
use super::handle::store_bits;
use super::options;
use super::panic::with_store;
use super::types::{
    nixl_store_key_t, nixl_store_status_t, nixl_store_submit_options_t, nixl_store_t, nixl_store_ticket_t,
};
use crate::error::{Error, Result, Status};
use crate::store::{BatchBuilder, Question, Wish};

/// ======== Full layer: batches of keys ========
///
/// Submits lookups of many keys and returns at once: which are stored, and how long their objects are. No thread of the
/// caller waits for storage. The ticket is one like any other, with nixl_store_ticket_wait(), _poll, _cancel and
/// completions; the results have object_length, and bytes 0.
///
/// keys: key_count keys, 1 to NIXL_STORE_BATCH_ITEMS_MAX, the items of the batch in that order. The array and the keys
/// are copied: they may be freed when the call returns.
/// options: deadline, completion queue, user data. May be NULL. With NIXL_STORE_SUBMIT_CHAIN the keys are a chain, of
/// which a prefix is wanted: an item behind the first that ends with NIXL_STORE_NOT_FOUND may end so too without being
/// looked up. The prefix are the items before the first that did not end with NIXL_STORE_OK.
/// ticket_out: gets the ticket, which the caller consumes with nixl_store_ticket_wait(), whatever became of the batch.
///
/// What is stored may be gone a moment later, unless it is pinned. With nixl_presence_cache a key that this process knows
/// to be stored is NIXL_STORE_OK without asking storage, and its object_length 0.
///
/// On a static pool this does no I/O, and all items have ended when the call returns. Elsewhere threads of the library
/// ask; a deadline or a cancel ends what they have not begun to ask about, also while storage hangs.
///
/// Returns:
/// - NIXL_STORE_OK: submitted.
/// - NIXL_STORE_ERROR_INVALID_ARGUMENT: nothing was submitted, as with every error below.
/// - NIXL_STORE_ERROR_INVALID_HANDLE: also if options->queue is no queue of this store.
/// - NIXL_STORE_ERROR_BUSY: as many questions as nixl_store_queue_items allows were not answered until the deadline; or
///   too many tickets were not consumed yet, or completions not drained; the message says which.
/// - NIXL_STORE_ERROR_OUT_OF_MEMORY: as named.
///
/// What the items can end with, see nixl_store_ticket_wait(): NIXL_STORE_OK, NIXL_STORE_NOT_FOUND,
/// NIXL_STORE_ERROR_INVALID_ARGUMENT (a key without a file name in the layout lmcache), _IO, _PERMISSION, _TIMED_OUT,
/// _CANCELLED, _POISONED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nixl_store_batch_lookup(
    store: *mut nixl_store_t,
    keys: *const nixl_store_key_t,
    key_count: usize,
    options: *const nixl_store_submit_options_t,
    ticket_out: *mut nixl_store_ticket_t,
) -> nixl_store_status_t {
    let question = |chain| Ok(Question::Lookup { chain });
    // SAFETY: this function's promises are `ask`'s.
    unsafe { ask("nixl_store_batch_lookup", question, store, keys, key_count, options, ticket_out) }
}

/// Submits removals of many keys and returns at once. Each item is a removal of its own, as nixl_store_key_remove()
/// describes it: gets that are under way still deliver the object.
///
/// keys, options, ticket_out: as for nixl_store_batch_lookup(); there are no chains.
///
/// Returns: as nixl_store_batch_lookup().
///
/// What the items can end with: NIXL_STORE_OK, NIXL_STORE_NOT_FOUND, NIXL_STORE_PINNED, and errors: those of
/// nixl_store_key_remove(), with their meaning there, and NIXL_STORE_ERROR_INVALID_ARGUMENT, _TIMED_OUT, _CANCELLED,
/// _POISONED as for a lookup.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nixl_store_batch_remove(
    store: *mut nixl_store_t,
    keys: *const nixl_store_key_t,
    key_count: usize,
    options: *const nixl_store_submit_options_t,
    ticket_out: *mut nixl_store_ticket_t,
) -> nixl_store_status_t {
    // SAFETY: this function's promises are `ask`'s.
    unsafe {
        let question = |chain| unchained(chain, Question::Remove);
        ask("nixl_store_batch_remove", question, store, keys, key_count, options, ticket_out)
    }
}

/// Submits pins of many keys and returns at once. Each item is a pin of its own, as nixl_store_key_pin() describes it: a
/// key that is twice in the batch is pinned twice.
///
/// keys, options, ticket_out: as for nixl_store_batch_lookup(); there are no chains.
///
/// Only the items that ended with NIXL_STORE_OK are pinned, and are to be unpinned, also if the batch as a whole failed
/// or was cancelled.
///
/// Returns: as nixl_store_batch_lookup().
///
/// What the items can end with: as for nixl_store_batch_lookup(), where NIXL_STORE_NOT_FOUND is a key that is not stored
/// and was not pinned.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nixl_store_batch_pin(
    store: *mut nixl_store_t,
    keys: *const nixl_store_key_t,
    key_count: usize,
    options: *const nixl_store_submit_options_t,
    ticket_out: *mut nixl_store_ticket_t,
) -> nixl_store_status_t {
    // SAFETY: this function's promises are `ask`'s.
    unsafe {
        let question = |chain| unchained(chain, Question::Pin);
        ask("nixl_store_batch_pin", question, store, keys, key_count, options, ticket_out)
    }
}

/// Submits unpins of many keys and returns at once: one pin of each is taken back.
///
/// keys, options, ticket_out: as for nixl_store_batch_lookup(); there are no chains.
///
/// Returns: as nixl_store_batch_lookup().
///
/// What the items can end with: as for nixl_store_batch_lookup(), where NIXL_STORE_NOT_FOUND is a key on which this store
/// holds no pin.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nixl_store_batch_unpin(
    store: *mut nixl_store_t,
    keys: *const nixl_store_key_t,
    key_count: usize,
    options: *const nixl_store_submit_options_t,
    ticket_out: *mut nixl_store_ticket_t,
) -> nixl_store_status_t {
    // SAFETY: this function's promises are `ask`'s.
    unsafe {
        let question = |chain| unchained(chain, Question::Unpin);
        ask("nixl_store_batch_unpin", question, store, keys, key_count, options, ticket_out)
    }
}

/// A question whose keys are no chain.
fn unchained(chain: bool, question: Question) -> Result<Question> {
    if chain { Err(invalid("NIXL_STORE_SUBMIT_CHAIN is for lookups")) } else { Ok(question) }
}

/// # Safety
/// The pointers are as the header asks for: an array of the stated count, whose keys are readable during the call.
unsafe fn ask(
    operation: &'static str,
    question: impl FnOnce(bool) -> Result<Question>,
    store: *mut nixl_store_t,
    keys: *const nixl_store_key_t,
    key_count: usize,
    options: *const nixl_store_submit_options_t,
    ticket_out: *mut nixl_store_ticket_t,
) -> nixl_store_status_t {
    with_store(operation, store, |open| {
        // SAFETY: as this function's.
        let ticket_out = unsafe { check::output("ticket_out", ticket_out) }?;
        // SAFETY: as this function's.
        let (options, chain) = unsafe { options::submit(options, store_bits(store)) }?;
        if options.stream.is_some() {
            return Err(invalid(
                "NIXL_STORE_SUBMIT_AFTER_STREAM and _BEFORE_STREAM are for puts and gets, which use memory",
            ));
        }
        let key_count = check::array("keys", keys, key_count as u64, NIXL_STORE_BATCH_ITEMS_MAX)?;
        let mut batch = open.store.question(question(chain)?, key_count)?;
        for index in 0..key_count {
            // SAFETY: within the array; read once, so that what was checked is what is used.
            let key = unsafe { keys.add(index).read() };
            // SAFETY: as this function's.
            unsafe { add_key(&mut batch, &key) }
                .map_err(|error| Error::new(error.status(), format!("key {index}: {error}")))?;
        }
        ticket_out.write(batch.ask(options)?);
        Ok(Status::Ok)
    })
}

/// # Safety
/// As [`check::key`].
unsafe fn add_key(batch: &mut BatchBuilder<'_>, key: &nixl_store_key_t) -> Result<()> {
    check::reserved_fields(&key.reserved)?;
    // SAFETY: as this function's.
    let key = unsafe { check::key(key.key, key.key_length) }?;
    batch.item(key, Wish::default())
}
