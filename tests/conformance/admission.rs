//! The policy REUSE: what is declined, what of a request follows that, and what is let in all the same.

use nixl_store::capi::NIXL_STORE_ITEM_ADMIT;

use crate::common::status::{NOT_ADMITTED, NOT_FOUND, OK, Status};
use crate::common::{Batch, Setup, Store, payload};
use crate::{Case, KIB};

/// Objects that there is room for.
const ROOM: usize = 16;
/// With its trailer an object takes 64 KiB of a store without slots, whose capacity is 1 MiB at least.
const OBJECT: usize = 60 * KIB;

fn prompt(name: &str, length: usize) -> Vec<Vec<u8>> {
    (0..length).map(|block| format!("{name}/{block}").into_bytes()).collect()
}

fn object(key: &[u8]) -> Vec<u8> {
    payload(key.iter().map(|byte| u64::from(*byte)).sum(), OBJECT)
}

fn keys(prompt: &[Vec<u8>]) -> Vec<&[u8]> {
    prompt.iter().map(Vec::as_slice).collect()
}

/// Puts these keys in one batch, and tells how each ended.
fn put(store: &Store, prompt: &[Vec<u8>], flags: u32) -> Vec<Status> {
    let objects: Vec<_> = prompt.iter().map(|key| object(key)).collect();
    let mut batch = Batch::new();
    for (key, object) in prompt.iter().zip(&objects) {
        batch.put(key, object);
        batch.flag(flags);
    }
    let (status, results) = store.put_batch(&batch);
    let statuses: Vec<Status> = results.iter().map(|result| Status(result.status)).collect();
    let expected = statuses.iter().copied().find(|status| *status != OK).unwrap_or(OK);
    assert_eq!(status, expected, "the batch as a whole");
    for result in &results {
        assert_eq!(result.bytes, if Status(result.status) == OK { OBJECT as u64 } else { 0 });
    }
    statuses
}

/// Serves a request: gets what is stored of the prompt, all of it right, and puts the rest.
fn serve(store: &Store, prompt: &[Vec<u8>]) -> (usize, Vec<Status>) {
    let matched = store.prefix_match(&keys(prompt));
    for key in &prompt[..matched] {
        assert!(store.fetch(key, OBJECT) == Some(object(key)), "{}", key.escape_ascii());
    }
    if matched == prompt.len() { (matched, Vec::new()) } else { (matched, put(store, &prompt[matched..], 0)) }
}

/// A full store of what is used again and again. What is new is declined, and all that follows it in its request, as often as
/// it is tried; when another request wants it, it is let in, and so it is if the caller insists.
pub fn what_is_worth_displacing_nothing_is_declined(case: &Case) {
    let setup = Setup { policy: "REUSE", capacity_bytes: 1 << 20, ..case.setup.clone() };
    let opened = case.open_with(Setup { slots: ROOM as u32, chunk_bytes: OBJECT as u64, ..setup });
    let store = &opened.store;
    let wanted = [prompt("first", ROOM / 2), prompt("second", ROOM / 2)];
    for round in 0..3 {
        for prompt in &wanted {
            let matched = serve(store, prompt).0;
            assert_eq!(matched, if round == 0 { 0 } else { ROOM / 2 });
        }
    }
    let pinned = &wanted[0][ROOM / 2 - 1];
    assert_eq!(store.pin(pinned), OK);

    let new = prompt("new", 2);
    assert_eq!(store.prefix_plan(&keys(&new), OBJECT as u64), (0, 0));
    for _ in 0..3 {
        assert_eq!(put(store, &new, 0), [NOT_ADMITTED; 2]);
        assert_eq!(store.put(&new[1], &object(&new[1])), NOT_ADMITTED, "a retry is no second sight");
    }
    let stats = store.stats();
    assert_eq!((stats.puts_declined, stats.puts_failed, stats.evictions), (9, 0, 0));
    assert_eq!(stats.puts_ok, ROOM as u64);
    assert_eq!((store.contains(&new[0]), store.fetch(&new[0], OBJECT)), (NOT_FOUND, None));

    // Another request that wants it.
    assert_eq!(store.prefix_plan(&keys(&new), OBJECT as u64), (0, 2));
    assert_eq!(put(store, &new, 0), [OK; 2]);
    assert_eq!(serve(store, &new), (2, vec![]));

    let insisted = prompt("insisted", 2);
    assert_eq!(put(store, &insisted[..1], 0), [NOT_ADMITTED]);
    assert_eq!(put(store, &insisted, NIXL_STORE_ITEM_ADMIT), [OK; 2]);
    assert_eq!(serve(store, &insisted), (2, vec![]));

    // A stored key's old bytes do not stay, whatever the policy finds.
    let other = payload(99, OBJECT);
    assert_eq!(store.put(&insisted[0], &other), OK);
    assert!(store.fetch(&insisted[0], OBJECT) == Some(other));

    assert_eq!(store.contains(pinned), OK);
    assert_eq!(store.unpin(pinned), OK);
    let stats = store.stats();
    assert_eq!((stats.puts_failed, stats.puts_declined), (0, 10));
    assert!(stats.evictions >= 4, "{}", stats.evictions);
    opened.end();
}

/// A chain leaves from its end, whatever batches its keys came in: what is left of a prompt is a prefix.
pub fn a_chain_leaves_from_its_end(case: &Case) {
    for policy in ["LRU", "REUSE"] {
        let setup = Setup { policy, capacity_bytes: 1 << 20, ..case.setup.clone() };
        let opened = case.open_with(Setup { slots: ROOM as u32, chunk_bytes: OBJECT as u64, ..setup });
        let store = &opened.store;
        let first = prompt("first", 10);
        assert_eq!(store.prefix_match(&keys(&first)), 0);
        assert_eq!(put(store, &first[..3], 0), [OK; 3]);
        for key in &first[3..6] {
            assert_eq!(store.put(key, &object(key)), OK);
        }
        assert_eq!(put(store, &first[6..], 0), [OK; 4]);
        let second = prompt("second", 6);
        assert_eq!(serve(store, &second), (0, vec![OK; 6]));
        for (round, key) in prompt("more", 6).iter().enumerate() {
            assert_eq!(put(store, std::slice::from_ref(key), NIXL_STORE_ITEM_ADMIT), [OK]);
            let stored = first.iter().filter(|key| store.contains(key) == OK).count();
            let matched = first.iter().take_while(|key| store.contains(key) == OK).count();
            assert_eq!((stored, matched), (9 - round, 9 - round), "{policy}");
        }
        opened.end();
    }
}
