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

/// Checks that what is stored of a prompt is a prefix of it, while other keys push it out one after the other.
#[track_caller]
fn assert_stay_prefixes(store: &Store, prompts: &[&Prompt], rounds: usize) {
    for round in 0..rounds {
        for prompt in prompts {
            let count = stored(store, prompt);
            assert_eq!(stored(store, &prompt[..count]), count, "{} after {round}", prompt[0].escape_ascii());
        }
        assert_eq!(put(store, &[format!("filler/{round}").into_bytes()], Submit::default()), [OK]);
    }
}

/// Whoever asks what is stored, gets that, asks what would be stored of the rest, and puts it, serves one request; so does one
/// that asks by pins. That the same is asked again is another request.
#[test]
fn a_match_and_a_plan_and_pins_are_one_request() {
    for what in ["plan", "pins"] {
        let scratch = Scratch::new("match-and-plan");
        let store = Store::open(&Setup { policy: "LRU", slots: 8, ..REUSE }, &scratch);
        let prompt = prompt("prompt", 8);
        put(&store, &prompt[..4], Submit::default());
        assert_eq!(store.prefix_match(&keys(&prompt)), 4);
        if what == "pins" {
            assert_eq!(store.ask(Ask::Pin, &prompt[..4]).0, OK);
        }
        assert_eq!(get(&store, &prompt[..4]), 4);
        if what == "plan" {
            assert_eq!(store.prefix_plan(&keys(&prompt), 0), (4, 4));
        } else {
            assert!(prompt[..4].iter().all(|key| store.unpin(key) == OK));
        }
        put(&store, &prompt[4..], Submit::default());
        assert_leaves_from_its_end(&store, &prompt, 8);
    }
}

/// A batch may have what was found of several prompts, which then go on apart. Where they begin with the same blocks, those are of
/// the prompt that used them last.
#[test]
fn prompts_that_were_looked_up_apart_stay_apart_in_a_batch() {
    for shared in [0, 2] {
        let scratch = Scratch::new("apart");
        let store = Store::open(&Setup { policy: "LRU", slots: 12, ..REUSE }, &scratch);
        let system = prompt("system", shared);
        let chain = |name| [system.clone(), prompt(name, 6 - shared)].concat();
        let (first, second) = (chain("first"), chain("second"));
        put(&store, &first[..3], Submit::default());
        put(&store, &second[..3], Submit::default());
        assert_eq!(store.prefix_match(&keys(&first)), 3);
        assert_eq!(store.prefix_match(&keys(&second)), 3);
        if shared == 0 {
            assert_eq!(get(&store, &[&first[..3], &second[..3]].concat()), 6);
        } else {
            assert_eq!((get(&store, &first[..3]), get(&store, &second[..3])), (3, 3));
        }
        put(&store, &first[3..], Submit::default());
        put(&store, &second[3..], Submit::default());
        // As full as the pool is from the beginning where nothing is shared.
        let fillers = prompt("spare", shared);
        put(&store, &fillers, Submit::default());
        assert_stay_prefixes(&store, &[&first, &second], 14);
    }
}

/// What a plan admitted of one prompt is stored, though the same batch has another prompt of which less was admitted.
#[test]
fn what_is_declined_of_one_prompt_is_not_held_against_another() {
    let scratch = Scratch::new("two-plans");
    let store = Store::open(&Setup { slots: 40, ..REUSE }, &scratch);
    let wanted = prompt("wanted", 40);
    for _ in 0..4 {
        serve(&store, &wanted);
    }
    // What comes for the second time may displace something, what is new may not.
    let again = prompt("again", 2);
    assert_eq!(put(&store, &again, Submit { request: 5, ..Submit::default() }), [NOT_ADMITTED; 2]);
    let new = [&wanted[..1], &prompt("new", 3)].concat();
    assert_eq!(store.prefix_plan(&keys(&new), 0), (1, 0));
    assert_eq!(store.prefix_plan(&keys(&again), 0), (0, 2));
    assert_eq!(put(&store, &[&new[..1], &again].concat(), Submit::default()), [OK; 3]);
}

/// A conversation comes back when it is the next to leave. A plan finds room for what is new of it, past all of its own blocks,
/// which would be got before the new ones are put.
#[test]
fn a_plan_looks_past_what_the_chain_itself_has_stored() {
    let scratch = Scratch::new("past-its-own");
    let store = Store::open(&Setup { slots: 300, ..REUSE }, &scratch);
    let (chain, hot) = (prompt("chain", 220), prompt("hot", 20));
    let keep_hot = |times| {
        for _ in 0..times {
            serve(&store, &hot);
        }
    };
    serve(&store, &chain[..200]);
    serve(&store, &chain[..200]);
    keep_hot(200);
    // What fills the pool up is wanted once, and then idle for long; the chain is so for more than twice as long.
    assert_eq!(serve(&store, &prompt("once", 80)).written, 80);
    keep_hot(40);
    assert_eq!(store.prefix_plan(&keys(&chain), 0), (200, 20));
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
