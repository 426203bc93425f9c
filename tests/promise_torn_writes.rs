//! Promise 2, all or nothing, at each write of a put in turn: the process dies when half of it, all but its last page, or
//! all of it and nothing after has reached the file. What was acknowledged is there, what was under way is there whole, as
//! it was before, or not at all, and nothing is left that has to be found out by its checksum.
//!
//! The backend tears the writes (feature `fault-injection`), so that which one is known beforehand.

// Helpers may unwrap as tests do.
#![cfg(test)]
#![cfg(feature = "fault-injection")]

mod crash_common;

use std::collections::HashMap;
use std::path::Path;

use crash_common::api::Store;
use crash_common::config::Settings;
use crash_common::helper::{self, Helper, Peer};
use crash_common::remote::Remote;
use crash_common::{Scratch, chunk, hf3fs, remote};

/// One request with its trailer, several pieces, and a trailer that goes by itself.
const LENGTHS: [usize; 4] = [300, 70_000, 1_300_000, 2_500_000];
/// Records up to this go down in one request, where that is one transfer.
const ONE_REQUEST_BYTES: usize = 1 << 20;
const LENGTH_MAX: usize = 2_500_000;
const KEYS: usize = 6;
const VERSIONS: u64 = 2;
/// More requests than the puts of a helper make; the last of them survives.
const REQUESTS_MAX: u32 = 400;

/// Not a test: what helper processes run.
#[test]
#[ignore = "the body of helper processes"]
fn helper_process() {
    helper::play(&[remote::ROLE, ("put", put_everything)]);
}

fn key(index: usize) -> String {
    format!("key-{index}")
}

fn index(key: &str) -> usize {
    key.strip_prefix("key-").unwrap().parse().unwrap()
}

/// Each key is replaced by a version of another length.
fn length(index: usize, version: u64) -> usize {
    LENGTHS[(index + version as usize) % LENGTHS.len()]
}

/// Puts every version of every key, and says so before (`s`) and after (`a`).
fn put_everything(peer: &mut Peer) {
    let store = Store::open(Path::new(&peer.line().unwrap())).unwrap();
    for version in 1..=VERSIONS {
        for index in 0..KEYS {
            let (key, length) = (key(index), length(index, version));
            peer.say(&format!("s {key} {version}"));
            store.put(&key, &chunk::fill(&key, version, length)).unwrap();
            peer.say(&format!("a {key} {version}"));
        }
    }
    peer.say("done");
    store.close().unwrap();
}

/// What a helper had said when it died.
#[derive(Default)]
struct Said {
    acknowledged: HashMap<String, u64>,
    /// The order of the acknowledged puts.
    order: Vec<String>,
    under_way: Option<(String, u64)>,
    done: bool,
}

fn listen(config: &Path) -> Said {
    let mut helper = Helper::start("put");
    helper.tell(config.to_str().unwrap());
    let mut said = Said::default();
    while let Some(line) = helper.line() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["s", key, version] => said.under_way = Some((key.to_owned(), version.parse().unwrap())),
            ["a", key, version] => {
                said.under_way = None;
                said.acknowledged.insert(key.to_owned(), version.parse().unwrap());
                said.order.retain(|other| other != key);
                said.order.push(key.to_owned());
            }
            ["done"] => said.done = true,
            _ => panic!("{line}"),
        }
    }
    said
}

/// A store to die in.
struct Case {
    name: &'static str,
    /// Objects that fit; fewer than keys, and each put evicts.
    slots: usize,
    /// Records of one request that are found damaged by their checksum, at most. One write past the page cache is torn by
    /// nothing but a loss of power, so the old trailer is not destroyed before it. Over HF3FS, where a record is several
    /// transfers, it is, and none is damaged.
    damaged_max: u64,
    scratch: fn(&str) -> Scratch,
    settings: fn(&Path) -> Settings,
}

/// Dies at one request after the other and looks what is left.
fn die_at_each_write(case: &Case) {
    let Case { name, slots, damaged_max, scratch, settings } = case;
    if hf3fs::is_once_more() && (name.ends_with("buffered") || name.ends_with("memory")) {
        // There it is the one with O_DIRECT again.
        return;
    }
    for kind in ["torn", "torn_end", "torn_after"] {
        let mut deaths = 0;
        let survived = (1..REQUESTS_MAX).find(|request| {
            let scratch = scratch(name);
            let mut settings = settings(&scratch.join("data")).with("nixl_store_io_threads", 1);
            // Reads do not change the order of leaving, so that this process knows it.
            settings.policy = "FIFO";
            let what = format!("{name}, {kind}:{request}");
            let torn = settings.clone().param("fault", format!("{kind}:{request}"));
            let said = listen(&torn.write(&scratch.join("torn.yaml")));
            if said.done {
                return true;
            }
            deaths += 1;
            check(&settings.write(&scratch.join("whole.yaml")), &said, *slots, *damaged_max, &what);
            false
        });
        let puts = KEYS * VERSIONS as usize;
        assert!(survived.is_some() && deaths >= puts, "{name}, {kind}: {deaths} deaths in {puts} puts");
    }
}

fn check(config: &Path, said: &Said, slots: usize, damaged_max: u64, what: &str) {
    let mut remote = Remote::open(config);
    let evicts = slots <= KEYS;
    // The put under way may have evicted one more.
    let kept = if evicts { slots - 1 } else { KEYS };
    let gone = said.order.len().saturating_sub(kept);
    for (age, key) in said.order.iter().enumerate() {
        let before = said.acknowledged[key];
        let found = remote.get(key).unwrap_or_else(|failure| panic!("{what}: {key}: {failure}"));
        let under_way = said.under_way.as_ref().filter(|(other, _)| other == key);
        let is_right = match found {
            Some(version) => version == before || under_way.is_some_and(|(_, later)| *later == version),
            // A full pool replaces a record in its own slot.
            None => age < gone || under_way.is_some() && evicts,
        };
        assert!(is_right, "{what}: {key} is {found:?}, acknowledged {before}, under way {under_way:?}");
    }
    if let Some((key, version)) =
        said.under_way.as_ref().filter(|(key, _)| !said.acknowledged.contains_key(key))
    {
        let found = remote.get(key).unwrap();
        assert!(found.is_none_or(|found| found == *version), "{what}: {key} is {found:?}");
    }
    let stats = remote.stats();
    let damaged = stats["quarantined"];
    let length = said.under_way.as_ref().map_or(0, |(key, version)| length(index(key), *version));
    let is_one_write = length <= ONE_REQUEST_BYTES && !hf3fs::is_once_more();
    let damaged_max = if is_one_write { damaged_max } else { 0 };
    assert!(stats["corruptions"] == damaged && damaged <= damaged_max, "{what}: {stats:?}");
    // Every other slot can be used again.
    let slots = slots - damaged as usize;
    for index in 0..slots {
        remote.put(&format!("new-{index}"), 9, LENGTH_MAX).unwrap();
    }
    for index in 0..slots {
        assert_eq!(remote.get(&format!("new-{index}")).unwrap(), Some(9), "{what}: a slot is lost");
    }
    remote.close().unwrap();
    remote.finish();
}

fn pool(path: &Path, slots: usize) -> Settings {
    Settings::pool(path, slots as u32, LENGTH_MAX as u64)
}

/// Slots for all keys, and to spare.
const SPARE: usize = KEYS + 2;
/// Slots for less than all keys.
const FEW: usize = KEYS / 2;

/// The record that is replaced lies in another slot than its successor.
#[test]
fn a_pool_with_room_survives_each_torn_write() {
    let buffered = Case {
        name: "torn_spare_buffered",
        slots: SPARE,
        damaged_max: 0,
        scratch: Scratch::new,
        settings: |path| pool(path, SPARE),
    };
    die_at_each_write(&buffered);
    die_at_each_write(&Case { name: "torn_spare_memory", scratch: Scratch::in_memory, ..buffered });
    die_at_each_write(&Case {
        name: "torn_spare_direct",
        settings: |path| pool(path, SPARE).direct(),
        ..buffered
    });
}

/// Each record is written over another one, whose trailer must not survive it.
#[test]
fn a_full_pool_survives_each_torn_write() {
    let buffered = Case {
        name: "torn_full_buffered",
        slots: FEW,
        damaged_max: 0,
        scratch: Scratch::new,
        settings: |path| pool(path, FEW),
    };
    die_at_each_write(&buffered);
    die_at_each_write(&Case { name: "torn_full_memory", scratch: Scratch::in_memory, ..buffered });
    die_at_each_write(&Case {
        name: "torn_full_direct",
        damaged_max: 1,
        settings: |path| pool(path, FEW).direct(),
        ..buffered
    });
}

/// What dies is a temporary, which the next open removes.
#[test]
fn a_dynamic_store_survives_each_torn_write() {
    let sharded = Case {
        name: "torn_sharded",
        slots: SPARE,
        damaged_max: 0,
        scratch: Scratch::in_memory,
        settings: Settings::dynamic,
    };
    die_at_each_write(&sharded);
    die_at_each_write(&Case {
        name: "torn_flat",
        scratch: Scratch::new,
        settings: |path| Settings::dynamic(path).with("nixl_store_layout", "lmcache").direct(),
        ..sharded
    });
}

#[test]
fn once_more_over_hf3fs() {
    crash_common::hf3fs::once_more(&[], 4);
}
