//! Lookups in batches: in few rounds of requests side by side, with no wait in the caller's thread.

use std::collections::HashMap;

use crate::crash_common::api::Submit;
use crate::crash_common::questions::Ask;
use crate::place::{KIB, Place, object_requests, put};
use crate::s3_common::proxy::Gate;
use crate::s3_common::{Fault, Kind, Proxy, Rule, Seen, Server};
use nixl_store::capi::*;

/// Keys of a chain, and how many of them are stored.
const CHAIN: usize = 128;
const STORED: usize = 100;
/// Positions that the first round asks about.
const SPREAD: usize = 16;

fn keys() -> Vec<String> {
    (0..CHAIN).map(|at| format!("chain-{at}")).collect()
}

/// Whether an object is there tells a HEAD, how long it is its end.
fn asking(fault: Fault) -> Rule {
    Rule::on(Kind::Head, fault).or_on(Kind::Get)
}

/// How long a prefix of a chain of 128 keys is stored takes two rounds of requests, in each of which none waits for
/// another, and no key is asked about twice. The caller's thread waits for none of it.
#[test]
fn a_chain_of_128_keys_takes_two_rounds() {
    let place = Place::new("chain");
    let direct = place.open(&place.dynamic(&Server::of_this_process().endpoint()));
    for key in keys().iter().take(STORED) {
        put(&direct, key, 1, 4 * KIB);
    }
    place.end(direct);
    let proxy = Proxy::new();
    let store = place.open(&place.dynamic(&proxy.endpoint()));
    proxy.forget();
    let (first, second) = (Gate::new(), Gate::new());
    proxy.add(asking(first.fault()).times(SPREAD));
    proxy.add(asking(second.fault()).after(SPREAD));
    let asked = store.submit_question(Ask::Chain, &keys(), Submit::default()).unwrap();
    // Submitting waits for nobody: no answer has come yet.
    first.wait_until_held(SPREAD);
    assert_eq!(object_requests(&proxy), SPREAD, "the first round");
    first.open();
    // At least those between two of the spread positions, where the prefix ends, and all before.
    second.wait_until_held(48);
    second.open();
    let (status, results) = asked.wait();
    assert!(status == NIXL_STORE_OK || status == NIXL_STORE_NOT_FOUND);
    let prefix = results.iter().take_while(|result| result.status == NIXL_STORE_OK).count();
    assert_eq!(prefix, STORED);
    assert!(results[..STORED].iter().all(|result| result.object_length == 4096));
    let mut times = HashMap::<String, Vec<Seen>>::new();
    let asked = proxy.seen().into_iter().filter(|seen| !seen.name.is_empty());
    asked.for_each(|seen| times.entry(seen.name.clone()).or_default().push(seen));
    let twice = times.values().find(|seen| seen.len() > 1);
    assert!(twice.is_none(), "a key was asked about twice: {twice:?}");
    assert!(times.len() <= CHAIN);
    place.end_at(store, &proxy);
}

/// Batches of lookups, removals and pins answer for each key what the call for one key does.
#[test]
fn batches_of_questions_answer_for_each_key() {
    let place = Place::new("batches");
    let store = place.open(&place.dynamic(&Server::of_this_process().endpoint()));
    for at in [0, 2] {
        put(&store, &format!("key-{at}"), 1, 1000);
    }
    let keys = ["key-0", "key-1", "key-2"];
    let statuses = |ask| store.ask(ask, &keys).1.iter().map(|result| result.status).collect::<Vec<_>>();
    let found = [NIXL_STORE_OK, NIXL_STORE_NOT_FOUND, NIXL_STORE_OK];
    assert_eq!(statuses(Ask::Lookup), found);
    assert_eq!(statuses(Ask::Pin), found);
    assert_eq!(statuses(Ask::Remove), [NIXL_STORE_PINNED, NIXL_STORE_NOT_FOUND, NIXL_STORE_PINNED]);
    assert_eq!(statuses(Ask::Unpin), found);
    assert_eq!(statuses(Ask::Remove), found);
    assert_eq!(statuses(Ask::Lookup), [NIXL_STORE_NOT_FOUND; 3]);
    assert_eq!(place.objects(), []);
    place.end(store);
}

/// One key's trouble is that key's: the others of the batch are answered.
#[test]
fn an_error_lands_on_the_key_that_met_it() {
    let place = Place::new("one_key");
    let proxy = Proxy::new();
    let settings = place.dynamic(&proxy.endpoint()).with("nixl_store_layout", "lmcache");
    let store = place.open(&settings);
    for key in ["good", "denied", "fine"] {
        put(&store, key, 1, 1000);
    }
    proxy.add(Rule::any(Fault::answer(403, "AccessDenied")).named("denied"));
    let (_, results) = store.ask(Ask::Lookup, &["good", "denied", "absent", "fine"]);
    let statuses: Vec<i32> = results.iter().map(|result| result.status).collect();
    assert_eq!((statuses[0], statuses[2], statuses[3]), (NIXL_STORE_OK, NIXL_STORE_NOT_FOUND, NIXL_STORE_OK));
    assert!(statuses[1] < 0, "denied is no answer: {}", statuses[1]);
    place.end_at(store, &proxy);
}

/// Lookups end at their deadline and by a cancel, also while the server stands still.
#[test]
fn lookups_end_in_time_while_the_server_stalls() {
    let place = Place::new("stalled_lookup");
    let proxy = Proxy::new();
    let store = place.open(&place.dynamic(&proxy.endpoint()));
    proxy.add(asking(Fault::StallBeforeAnswer));
    let start = std::time::Instant::now();
    let how = Submit { timeout_ms: 1000, ..Submit::default() };
    let (_, results) = store.submit_question(Ask::Lookup, &keys(), how).unwrap().wait();
    let took = start.elapsed();
    assert!(results.iter().all(|result| result.status == NIXL_STORE_ERROR_TIMED_OUT), "{:?}", results[0]);
    assert!(took < std::time::Duration::from_secs(5), "{took:?}");
    place.end_at(store, &proxy);
}
