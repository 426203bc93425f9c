//! The stories that REUSE is made for.

use crate::common::status::OK;
use crate::common::{Layout, Scratch, Setup, Store, Submit};
use crate::{BLOCK_BYTES, Prompt, REUSE, get, keys, prompt, put, serve, stored};

/// Serves prompts in rotation, and tells what part of their blocks were hits after the first rounds.
fn rotate(store: &Store, prompts: &[Prompt], rounds: usize) -> f64 {
    let (mut hits, mut blocks) = (0, 0);
    for round in 0..rounds {
        for prompt in prompts {
            let served = serve(store, prompt);
            if round >= rounds / 4 {
                hits += served.hits;
                blocks += prompt.len();
            }
        }
    }
    hits as f64 / blocks as f64
}

/// Three long prompts in rotation, and room for two and a half.
#[test]
fn three_prompts_in_rotation_are_hits_for_the_most_part() {
    let prompts = ["one", "two", "three"].map(|name| prompt(name, 100));
    let rate = |policy| {
        let scratch = Scratch::new("rotation");
        let store = Store::open(&Setup { policy, slots: 250, ..REUSE }, &scratch);
        rotate(&store, &prompts, 40)
    };
    let (reuse, lru, fifo) = (rate("REUSE"), rate("LRU"), rate("FIFO"));
    assert!(reuse >= 0.8, "{reuse}");
    // Leaf first, LRU keeps the beginnings; by first to last it kept nothing, as FIFO does.
    assert!(lru >= 0.45 && fifo < 0.01, "{lru}, {fifo}");
}

/// An engine that copies and puts what a plan admits, and nothing else, has as many hits as one that puts all.
#[test]
fn what_is_planned_and_put_is_enough() {
    let scratch = Scratch::new("planned");
    let store = Store::open(&Setup { slots: 250, ..REUSE }, &scratch);
    let prompts = ["one", "two", "three"].map(|name| prompt(name, 100));
    let (mut hits, mut declined) = (0, 0);
    for round in 0..40 {
        for prompt in &prompts {
            let (matched, admitted) = store.prefix_plan(&keys(prompt), 0);
            get(&store, &prompt[..matched]);
            let statuses = put(&store, &prompt[matched..matched + admitted], Submit::default());
            declined += statuses.iter().filter(|status| **status != OK).count();
            hits += if round >= 10 { matched } else { 0 };
        }
    }
    assert!(hits >= 30 * 300 * 8 / 10, "{hits} of {}", 30 * 300);
    // Keys that the gets moved may make the last of a plan too many.
    assert!(declined <= 30, "{declined} of what was planned was declined");
}

/// The same in a dynamic store with a capacity, where objects are files.
#[test]
fn three_prompts_in_rotation_stay_as_files_too() {
    let scratch = Scratch::new("rotation-files");
    // A block and its trailer are 8 KiB: room for 150.
    let capacity_bytes = 150 * 2 * BLOCK_BYTES as u64;
    let setup = Setup { policy: "REUSE", capacity_bytes, direct_io: false, ..Setup::FILES };
    let store = Store::open(&setup, &scratch);
    let prompts = ["one", "two", "three"].map(|name| prompt(name, 60));
    let rate = rotate(&store, &prompts, 30);
    // Many puts are under way at a time here, and none of those can make room for another.
    assert!(rate >= 0.75, "{rate}");
    let stats = store.stats();
    assert!(stats.bytes_stored <= capacity_bytes && stats.puts_declined > 0, "{}", stats.puts_declined);
}

/// A hundred times the pool is read once, in between what is wanted again and again. What is wanted stays, and little of the
/// rest is written.
#[test]
fn a_scan_of_a_hundred_pools_pushes_nothing_wanted_out() {
    let scratch = Scratch::new("scan");
    let store = Store::open(&Setup { slots: 100, ..REUSE }, &scratch);
    let wanted: Vec<_> = (0..10).map(|number| prompt(&format!("wanted-{number}"), 5)).collect();
    let (mut hits, mut written) = (0, 0);
    let (before, rounds) = (300, 500);
    for round in 0..before + rounds {
        let scanned = serve(&store, &prompt(&format!("scanned-{round}"), 20));
        let served = serve(&store, &wanted[round % 10]);
        if round >= before {
            hits += served.hits;
            written += scanned.written;
        }
    }
    assert!(hits >= rounds * 5 * 99 / 100, "{hits} of {}", rounds * 5);
    assert!(written <= rounds * 20 / 4, "{written} of {}", rounds * 20);
}

/// What was wanted all day is not wanted any more. What is wanted now comes to be stored, though every slot holds what was used
/// often.
#[test]
fn a_new_workload_takes_over() {
    let scratch = Scratch::new("change");
    let store = Store::open(&Setup { slots: 100, ..REUSE }, &scratch);
    let prompts =
        |day: &str| -> Vec<_> { (0..9).map(|number| prompt(&format!("{day}-{number}"), 11)).collect() };
    assert!(rotate(&store, &prompts("yesterday"), 100) > 0.99);
    let rate = rotate(&store, &prompts("today"), 20);
    assert!(rate > 0.95, "{rate}");
    assert_eq!(prompts("yesterday").iter().map(|prompt| stored(&store, prompt)).sum::<usize>(), 1);
}

/// A pool that is opened again keeps what is wanted, as if it had not been closed.
#[test]
fn a_restart_keeps_what_is_wanted() {
    let setup = Setup { slots: 100, layout: Layout::Static, backend: "POSIX", ..REUSE };
    let hits = |restarts: bool| {
        let scratch = Scratch::new("restart");
        let mut store = Store::open(&setup, &scratch);
        let wanted: Vec<_> = (0..10).map(|number| prompt(&format!("wanted-{number}"), 5)).collect();
        let mut hits = 0;
        for round in 0..300 {
            if restarts && round == 150 {
                drop(store);
                store = Store::open(&setup, &scratch);
            }
            serve(&store, &prompt(&format!("scanned-{round}"), 4));
            let served = serve(&store, &wanted[round % 10]);
            hits += if round >= 150 { served.hits } else { 0 };
        }
        hits
    };
    let (without, with) = (hits(false), hits(true));
    assert!(without > 500 && with * 100 >= without * 85, "{with} hits with a restart, {without} without");
}
