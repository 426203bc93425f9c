//! How the library learns what belongs to one request, and what it makes of that.

use std::thread;

use crate::common::questions::Ask;
use crate::common::status::{NOT_ADMITTED, NOT_FOUND, OK};
use crate::common::{Random, Scratch, Setup, Store, Submit};
use crate::{Prompt, REUSE, get, keys, prompt, put, serve, stored};

/// Fills a pool up and tells which blocks of the prompt are left, one after the other. They have to be a prefix.
#[track_caller]
fn assert_leaves_from_its_end(store: &Store, prompt: &Prompt, length: usize) {
    for left in (0..length).rev() {
        let filler = vec![format!("filler/{left}").into_bytes()];
        assert_eq!(put(store, &filler, Submit::default()), [OK]);
        assert_eq!((stored(store, prompt), stored(store, &prompt[..left])), (left, left));
    }
}

/// Lets the store know which keys are one chain; returns the number of the request, if it has one.
type Announce = fn(&Store, &Prompt) -> u64;

/// A prompt that is computed piece by piece is put piece by piece. Its pieces belong together because the chain was looked up
/// before; or because it was asked about in a batch of lookups or pins; or because the caller says so.
#[test]
fn pieces_of_a_prompt_are_one_chain() {
    let announce: [(&str, Announce); 5] = [
        ("a prefix match", |store, prompt| {
            assert_eq!(store.prefix_match(&keys(prompt)), 0);
            0
        }),
        ("lookups", |store, prompt| {
            assert_eq!(store.ask(Ask::Chain, prompt).0, NOT_FOUND);
            0
        }),
        ("pins", |store, prompt| {
            assert_eq!(store.ask(Ask::Pin, prompt).0, NOT_FOUND);
            0
        }),
        ("a number", |_, _| 77),
        ("lookups of pieces", |store, prompt| {
            for piece in prompt.chunks(5) {
                let options = Submit { request: 78, ..Submit::default() };
                let (status, _) =
                    store.submit_question(Ask::Chain, piece, options).expect("submitted").wait();
                assert_eq!(status, NOT_FOUND);
            }
            0
        }),
    ];
    for (what, announce) in announce {
        let scratch = Scratch::new("pieces");
        let store = Store::open(&Setup { policy: "LRU", slots: 12, ..REUSE }, &scratch);
        let prompt = prompt("prompt", 12);
        let options = Submit { request: announce(&store, &prompt), ..Submit::default() };
        for piece in prompt.chunks(5) {
            assert!(put(&store, piece, options).iter().all(|status| *status == OK), "{what}");
        }
        assert_leaves_from_its_end(&store, &prompt, 12);
    }
}

/// One batch by itself is a chain in its order, for gets as for puts, and without a word about requests.
#[test]
fn a_batch_is_a_chain() {
    let scratch = Scratch::new("batch");
    let store = Store::open(&Setup { policy: "LRU", slots: 12, ..REUSE }, &scratch);
    let (first, second) = (prompt("first", 6), prompt("second", 6));
    put(&store, &first, Submit::default());
    put(&store, &second, Submit::default());
    assert_eq!(get(&store, &first), 6);
    assert_leaves_from_its_end(&store, &second, 6);
    assert_leaves_from_its_end(&store, &first, 0);
    assert_eq!(stored(&store, &first), 6);
}

/// Locks of a cache above this one are pins: taken on what a lookup finds, given back key by key when it is loaded. The chain
/// is in order afterwards.
#[test]
fn pins_that_end_one_after_the_other_leave_a_chain_in_order() {
    let scratch = Scratch::new("pins");
    let store = Store::open(&Setup { policy: "LRU", slots: 8, ..REUSE }, &scratch);
    let prompt = prompt("prompt", 8);
    put(&store, &prompt, Submit::default());
    assert_eq!(store.ask(Ask::Pin, &prompt).0, OK);
    assert_eq!(get(&store, &prompt), 8);
    for key in &prompt {
        assert_eq!(store.unpin(key), OK);
    }
    assert_leaves_from_its_end(&store, &prompt, 8);
}

/// What is declined in a request is declined with all that follows it, also when it follows in a batch of its own; the next
/// request is judged anew.
#[test]
fn what_follows_a_declined_block_is_declined() {
    let scratch = Scratch::new("follows");
    let store = Store::open(&Setup { slots: 40, ..REUSE }, &scratch);
    for _ in 0..4 {
        serve(&store, &prompt("wanted", 40));
    }
    let new = prompt("new", 6);
    let numbered = |request| Submit { request, ..Submit::default() };
    assert_eq!(put(&store, &new[..2], numbered(5)), [NOT_ADMITTED; 2]);
    assert_eq!(put(&store, &new[..2], numbered(5)), [NOT_ADMITTED; 2], "tried again");
    assert_eq!(put(&store, &new[2..], numbered(5)), [NOT_ADMITTED; 4]);
    assert_eq!(store.stats().puts_declined, 8);
    assert_eq!(put(&store, &new, numbered(6)), [OK; 6], "wanted by another request");
    assert_eq!(store.prefix_plan(&keys(&[new, prompt("newer", 3)].concat()), 0), (6, 0));
    // What a plan declines was wanted.
    assert_eq!(store.prefix_plan(&keys(&prompt("newer", 3)), 0), (0, 3));
}

/// Many threads serve requests that share prefixes, in a pool that is far too small. Every byte is right, every put is stored or
/// declined, and the books balance.
#[test]
fn threads_at_once_get_right_bytes_or_none() {
    for policy in ["REUSE", "LRU"] {
        let scratch = Scratch::new("threads");
        let store = Store::open(&Setup { policy, slots: 60, ..REUSE }, &scratch);
        let counted: Vec<(u64, u64)> = thread::scope(|scope| {
            let serving = |seed| {
                let store = &store;
                move || {
                    let mut random = Random::new(seed);
                    let (mut put, mut declined) = (0, 0);
                    for _ in 0..300 {
                        let family = random.below(12);
                        let chain = prompt(&format!("family-{family}"), 1 + random.below(20));
                        let served = serve(store, &chain);
                        put += served.written as u64;
                        declined += served.declined as u64;
                    }
                    (put, declined)
                }
            };
            let threads: Vec<_> = (0..6).map(|seed| scope.spawn(serving(seed))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let declined: u64 = counted.iter().map(|(_, declined)| declined).sum();
        let written: u64 = counted.iter().map(|(written, _)| written).sum();
        let stats = store.stats();
        assert_eq!((stats.puts_declined, stats.puts_failed, stats.corruptions), (declined, 0, 0), "{policy}");
        // Some were stored by another thread in the meantime.
        assert!(stats.puts_ok <= written && stats.keys <= 60, "{policy}");
        assert_eq!(declined > 0, policy == "REUSE");
        assert_eq!(store.close(), OK);
    }
}
