//! An engine is at work in the store that is looked at.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::support::*;

/// Set in a copy of this test that is to own a pool until it is killed: its configuration.
const OWNER: &str = "NIXL_STORE_TEST_OWNER";

/// While an engine puts, evicts and reads, what is being written is never called damaged, and the engine notices nothing.
#[test]
fn an_engine_at_work_is_neither_accused_nor_disturbed() {
    for scratch in [Scratch::new("engine"), Scratch::in_memory("engine")] {
        let config = scratch.pool("a");
        let store = open(&config, b"");
        let stop = AtomicBool::new(false);
        let rounds = thread::scope(|scope| {
            let engine = scope.spawn(|| {
                let mut rounds = 0u64;
                while !stop.load(Ordering::Relaxed) {
                    // Three times as many keys as slots, each time with other bytes.
                    for number in 0..3 * u64::from(SLOTS) {
                        let key = format!("key {number}");
                        put(&store, &key, &payload(&key, rounds, CHUNK_BYTES - number as usize));
                        let found = get(&store, &key).expect("just put");
                        assert!(found == payload(&key, rounds, found.len()), "{key}");
                    }
                    rounds += 1;
                }
                rounds
            });
            for _ in 0..3 {
                let report = run(&["verify", "--json", text(&config)]).expect(0).json();
                assert_eq!(report["damaged"].as_array().unwrap().len(), 0, "{report}");
                assert!(report["store"]["owner"].as_str().unwrap().contains(&std::process::id().to_string()));
                let listed = run(&["ls", "--json", text(&config)]).expect(0).json();
                assert!(listed["keys"].as_u64().unwrap() <= u64::from(SLOTS));
            }
            stop.store(true, Ordering::Relaxed);
            engine.join().unwrap()
        });
        assert!(rounds > 0);
        let stats = store.stats().unwrap();
        assert_eq!((stats.totals.corruptions, stats.totals.quarantined_slots), (0, 0));
        assert_eq!(stats.keys, u64::from(SLOTS));
        // Whoever wants to change something is told who has it, before anything is read or asked.
        for refused in [
            run(&["verify", "--remove", text(&config)]),
            run(&["rm", "-c", text(&config), "key 1"]),
            run(&["clear", "--yes", text(&config)]),
        ] {
            let refused = refused.expect(2);
            assert!(
                refused.err.contains(&format!("in use by process {}", std::process::id())),
                "{}",
                refused.err
            );
        }
        store.close().unwrap();
        assert!(run(&["ls", "--json", text(&config)]).expect(0).json()["store"]["owner"].is_null());
    }
}

/// What an owner left that was killed is found as its next open would find it.
#[test]
fn a_killed_owners_pool_is_read_from_its_trailers() {
    if let Some(config) = std::env::var_os(OWNER) {
        let store = open(config.as_ref(), b"");
        keys().iter().for_each(|(key, length)| put(&store, key, &payload(key, 1, *length)));
        println!("\nready");
        std::io::stdout().flush().unwrap();
        thread::park();
    }
    let scratch = Scratch::new("killed");
    let config = scratch.pool("a");
    let name = "in_use::a_killed_owners_pool_is_read_from_its_trailers";
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(OWNER, &config)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line == "ready"));
    let used = run(&["ls", "--json", text(&config)]).expect(0).json();
    assert!(used["store"]["owner"].as_str().unwrap().contains(&format!("process {}", owner.id())));
    owner.kill().unwrap();
    owner.wait().unwrap();
    let before = image(&scratch.0);
    let found = run(&["ls", "--json", text(&config)]).expect(0).json();
    assert_eq!(found["source"], "the trailers of all slots");
    assert!(found["store"]["owner"].is_null(), "{found}");
    let names: Vec<&str> =
        found["entries"].as_array().unwrap().iter().map(|entry| entry["key"].as_str().unwrap()).collect();
    assert_eq!(names, keys().iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>());
    assert_eq!(run(&["verify", "--json", text(&config)]).expect(0).json()["proven"], 8);
    assert_eq!(image(&scratch.0), before);
}
