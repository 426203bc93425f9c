//! What is copied is there, byte for byte, under its namespace, in its order.

use std::path::Path;

use crate::damage;
use crate::support::*;

/// Every key, and every byte.
#[track_caller]
pub fn assert_holds(config: &Path, namespace: &[u8], keys: &[(String, usize)]) {
    let store = open(config, namespace);
    for (key, length) in keys {
        assert!(get(&store, key) == Some(payload(key, 1, *length)), "{key}");
    }
    store.close().unwrap();
}

/// Static, sharded, lmcache, and pools of other chunks: all namespaces come along, and a second run copies nothing.
#[test]
fn stores_of_any_layout_are_copied_into_one_another() {
    let scratch = Scratch::new("copy");
    let configs = [
        scratch.pool("a"),
        scratch.config("b", &dynamic("sharded")),
        scratch.config("c", &pool(40, 2 * CHUNK_BYTES)),
        scratch.config("d", &dynamic("lmcache")),
        scratch.config("e", &pool(12, CHUNK_BYTES)),
    ];
    fill(&configs[0]);
    let store = open(&configs[0], b"other");
    put(&store, "theirs", &payload("theirs", 1, 5000));
    store.close().unwrap();
    for (from, to) in [(0, 1), (1, 2)] {
        let report = run(&["copy", "--json", text(&configs[from]), text(&configs[to])]).expect(0).json();
        assert_eq!((report["copied"].as_u64(), report["kept"].as_u64()), (Some(9), Some(0)), "{report}");
        assert_holds(&configs[to], b"", &keys());
        assert_holds(&configs[to], b"other", &[("theirs".to_owned(), 5000)]);
        let again = run(&["copy", "--json", text(&configs[from]), text(&configs[to])]).expect(0).json();
        assert_eq!((again["copied"].as_u64(), again["kept"].as_u64()), (Some(0), Some(9)));
    }
    let replaced =
        run(&["copy", "--json", "--replace", "--prefix", "model", text(&configs[1]), text(&configs[2])]);
    assert_eq!(replaced.expect(0).json()["copied"], 8);
    // A layout without namespaces: the others' is named and stays.
    let report = run(&["copy", "--json", text(&configs[2]), text(&configs[3])]).expect(1).json();
    assert_eq!((report["copied"].as_u64(), report["left"][0]["why"].as_str()), (Some(8), Some("refused")));
    assert_holds(&configs[3], b"", &keys());
    let report = run(&["copy", "--json", text(&configs[3]), text(&configs[4])]).expect(0).json();
    assert_eq!(report["copied"], 8);
    assert_holds(&configs[4], b"", &keys());
}

/// The first to leave the one is the first to leave the other.
#[test]
fn the_order_of_eviction_survives() {
    let scratch = Scratch::new("order");
    let (from, to) = (scratch.config("a", &pool(200, 4096)), scratch.config("b", &pool(200, 4096)));
    let store = open(&from, b"");
    (0..150).for_each(|index| put(&store, &format!("key {index}"), b"bytes"));
    // Used again, it leaves last.
    assert!(get(&store, "key 3").is_some());
    store.close().unwrap();
    run(&["copy", text(&from), text(&to)]).expect(0);
    let order = |config: &Path| -> Vec<String> {
        let found = run(&["ls", "--json", text(config)]).expect(0).json();
        found["entries"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["key"].as_str().unwrap().to_owned())
            .collect()
    };
    let (wanted, found) = (order(&from), order(&to));
    assert_eq!(wanted.last().map(String::as_str), Some("key 3"));
    // Within a window of 64 they are put side by side; windows follow one another.
    for (window, (wanted, found)) in wanted.chunks(64).zip(found.chunks(64)).enumerate() {
        let sorted = |names: &[String]| {
            let mut names = names.to_vec();
            names.sort();
            names
        };
        assert_eq!(sorted(wanted), sorted(found), "window {window}");
    }
}

/// A store with less room is not filled without asking; what is too large for it is named; what is damaged does not come along.
#[test]
fn what_does_not_fit_is_said_before_anything_is_copied() {
    let scratch = Scratch::in_memory("room");
    let from = scratch.pool("a");
    fill(&from);
    let small = scratch.config("b", &pool(6, CHUNK_BYTES));
    let refused = run(&["copy", text(&from), text(&small)]).expect(2);
    assert!(refused.err.contains("8 objects") && refused.err.contains("6 free slots"), "{}", refused.err);
    assert_eq!(run(&["ls", "--json", text(&small)]).expect(0).json()["keys"], 0);
    run(&["copy", "--evict", text(&from), text(&small)]).expect(0);
    assert_eq!(run(&["ls", "--json", text(&small)]).expect(0).json()["keys"], 6);
    let short = scratch.config("c", &pool(SLOTS, 100_000));
    let report = run(&["copy", "--json", text(&from), text(&short)]).expect(1).json();
    let left = report["left"].as_array().unwrap();
    assert_eq!((report["copied"].as_u64(), left.len()), (Some(5), 3), "{report}");
    assert!(left.iter().all(|one| one["why"] == "too_large"));
    assert!(run(&["copy", text(&from), text(&from)]).expect(2).err.contains("the same store"));
}

/// What is damaged stays in the report also where the room has to be counted key by key.
#[test]
fn what_is_damaged_is_told_where_room_is_short() {
    let scratch = Scratch::in_memory("room-damaged");
    let from = scratch.config("a", &dynamic("sharded"));
    fill(&from);
    let names = keys();
    let (file, _, bytes) = damage::place(&from, &names[5].0);
    damage::flip(file.as_ref(), bytes.next_multiple_of(4096) + 300);
    let to = scratch.config("b", &pool(7, CHUNK_BYTES));
    let report = run(&["copy", "--json", text(&from), text(&to)]).expect(1).json();
    assert_eq!((&report["copied"], &report["left"][0]["why"]), (&7.into(), &"damaged".into()), "{report}");
}

/// A directory has no more room than its file system. Nothing is copied that needs more; and where TO evicts all the same, that is said.
#[test]
fn a_full_disk_evicts_nothing_without_a_word() {
    let scratch = Scratch::in_memory("room-disk");
    let from = scratch.pool("a");
    fill(&from);
    let to = scratch.config("b", &(dynamic("sharded") + "  nixl_store_capacity_bytes: 100000000\n"));
    std::fs::create_dir(scratch.0.join("b")).unwrap();
    let script = |size: &str, more: &str| {
        format!(
            "mount -t tmpfs -o size={size} none '{}'; '{program}' copy '{from}' '{to}'{more}",
            scratch.0.join("b").display(),
            program = crate::run::PROGRAM,
            from = from.display(),
            to = to.display()
        )
    };
    let Some(refused) = crate::run::in_namespace(&script("500k", "")) else { return };
    let refused = refused.expect(2);
    assert!(refused.err.contains("8 objects") && refused.err.contains("free in"), "{}", refused.err);
    // What is put again lies beside what it replaces until it is whole.
    let again =
        format!(" -q; '{}' copy --json --replace '{}' '{}'", crate::run::PROGRAM, text(&from), text(&to));
    let replaced = crate::run::in_namespace(&script("840k", &again)).unwrap();
    assert_eq!(replaced.status, 1, "{replaced:?}");
    let (_, report) = replaced.out.split_once("\n{").unwrap();
    let report: serde_json::Value = serde_json::from_str(&format!("{{{report}")).unwrap();
    assert!(report["evicted"].as_u64().unwrap() > 0, "{report}");
}
