//! Promise 6, restart keeps the cache, and promise 2 where the crash comes in the middle of a put.
//!
//! Crashes are real: a helper process that works on the store is killed with SIGKILL at a moment that nobody
//! chose. What it had been told by the library, it had told this process through a pipe, so that this process
//! knows what must be there.

// Helpers may unwrap as tests do.
#![cfg(test)]

mod crash_common;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crash_common::api::{Direction, Item, Options, Store, Submit};
use crash_common::config::Settings;
use crash_common::disk::Disk;
use crash_common::helper::{self, Helper, Peer};
use crash_common::remote::{self, Remote};
use crash_common::versions::{self, put};
use crash_common::{Random, Scratch, chunk, hf3fs, sandbox, tree};
use nixl_store::capi::*;

/// Not a test: what helper processes run.
#[test]
#[ignore = "the body of helper processes"]
fn helper_process() {
    helper::play(&[remote::ROLE, ("churn", churn), ("flood", flood)]);
}

// ---------------------------------------------------------------------------------------------------------------
// Killing a process that works on the store.

/// Threads that work on the store of a helper; each has keys of its own.
const CHURN_THREADS: usize = 3;
/// Most puts of one batch.
const CHURN_BATCH_MAX: u64 = 4;
/// Puts that may be under way.
const UNDER_WAY_MAX: u64 = CHURN_THREADS as u64 * CHURN_BATCH_MAX;

/// Puts, replaces, removes and reads until it is killed, and says so line by line: `s key version` before a put is
/// submitted, `a key version` when it was acknowledged, `r key` before a removal, `d key` after it.
fn churn(peer: &mut Peer) {
    let line = peer.line().expect("what to do");
    let words: Vec<&str> = line.split(' ').collect();
    let [config, seed, keys, lengths] = words[..] else { panic!("{line}") };
    let (seed, keys): (u64, usize) = (seed.parse().unwrap(), keys.parse().unwrap());
    let lengths: Vec<usize> = lengths.split(',').map(|length| length.parse().unwrap()).collect();
    helper::say("opening");
    let store = Store::open(Path::new(config)).unwrap_or_else(|failure| panic!("{failure}"));
    helper::say("open");
    let version = AtomicU64::new(seed * 1_000_000);
    std::thread::scope(|scope| {
        for thread in 0..CHURN_THREADS {
            let (store, lengths, version) = (&store, &lengths, &version);
            let own: Vec<String> =
                (thread..keys).step_by(CHURN_THREADS).map(|key| format!("key-{key}")).collect();
            let mut random = Random::new(seed * 31 + thread as u64);
            scope.spawn(move || {
                loop {
                    churn_once(store, keys, &own, lengths, version, &mut random)
                }
            });
        }
    });
}

fn churn_once(
    store: &Store,
    keys: usize,
    own: &[String],
    lengths: &[usize],
    version: &AtomicU64,
    random: &mut Random,
) {
    let pick = |random: &mut Random| own[random.below(own.len() as u64) as usize].clone();
    match random.below(10) {
        0 => {
            let key = pick(random);
            helper::say(&format!("r {key}"));
            store.remove(&key).unwrap();
            helper::say(&format!("d {key}"));
        }
        1 | 2 => {
            // Anybody's key, so that there are readers when it is replaced or removed.
            let key = format!("key-{}", random.below(keys as u64));
            if let Some(found) = store.get(&key, 8 << 20).unwrap() {
                chunk::read(&key, &found).unwrap_or_else(|wrong| panic!("{wrong}"));
            }
        }
        _ => {
            let keys: HashSet<String> = (0..=random.below(CHURN_BATCH_MAX)).map(|_| pick(random)).collect();
            let mut items = Vec::new();
            let mut versions = Vec::new();
            for key in keys {
                let version = version.fetch_add(1, Ordering::Relaxed) + 1;
                let length = lengths[random.below(lengths.len() as u64) as usize];
                let mut item = Item::new(key.clone(), chunk::fill(&key, version, length));
                item.pieces = 1 + random.below(3) as usize;
                helper::say(&format!("s {key} {version}"));
                versions.push(version);
                items.push(item);
            }
            let ticket = store
                .submit(Direction::Put, items, Submit::default())
                .unwrap_or_else(|r| panic!("{}", r.failure));
            let (_, results) = ticket.wait();
            for ((item, result), version) in results.into_iter().zip(versions) {
                assert_eq!(result.status, NIXL_STORE_OK, "put of {}", item.key);
                helper::say(&format!("a {} {version}", item.key));
            }
        }
    }
}

/// What one key may hold after the crash.
#[derive(Default)]
struct Expected {
    /// The version acknowledged last; `None`: never put, or removed.
    acknowledged: Option<u64>,
    /// How many puts had been submitted when that one was.
    submitted_before: u64,
    /// What was asked for since: a version, or `None` for the removal, each with the puts submitted before it.
    asked: Vec<(Option<u64>, u64)>,
}

/// What the helpers said, taken in line by line.
#[derive(Default)]
struct Model {
    keys: HashMap<String, Expected>,
    submitted: u64,
}

impl Model {
    fn hear(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["s", key, version] => {
                self.submitted += 1;
                self.ask(key, Some(version.parse().unwrap()));
            }
            ["r", key] => self.ask(key, None),
            ["a", key, version] => self.settle(key, Some(version.parse().unwrap())),
            ["d", key] => self.settle(key, None),
            ["opening" | "open"] => {}
            _ => panic!("the helper said {line:?}"),
        }
    }

    fn ask(&mut self, key: &str, wanted: Option<u64>) {
        let submitted = self.submitted;
        self.keys.entry(key.to_owned()).or_default().asked.push((wanted, submitted));
    }

    fn settle(&mut self, key: &str, state: Option<u64>) {
        let expected = self.keys.get_mut(key).expect("asked for before");
        let at = expected.asked.iter().find(|(wanted, _)| *wanted == state).expect("asked for before").1;
        *expected = Expected { acknowledged: state, submitted_before: at, asked: Vec::new() };
    }

    /// Compares what a store holds with what it may hold, which from then on is what it held. With `evicting`,
    /// keys of which the put was followed by that many other puts may have been evicted. Answers how many there are.
    fn check(&mut self, remote: &mut Remote, evicting: Option<u64>) -> u64 {
        let mut present = 0;
        for (key, expected) in &mut self.keys {
            let found = remote.get(key).unwrap_or_else(|failure| panic!("{key}: {failure}"));
            let followed_by = self.submitted - expected.submitted_before;
            // In a full pool the new bytes of a key take the place of its old ones.
            let replaced = !expected.asked.is_empty();
            let may_be_evicted =
                found.is_none() && evicting.is_some_and(|most| replaced || followed_by >= most);
            let asked = expected.asked.iter().find(|(wanted, _)| *wanted == found);
            assert!(
                may_be_evicted || found == expected.acknowledged || asked.is_some(),
                "{key} holds {found:?} after the crash; acknowledged {:?}, asked for since {:?}",
                expected.acknowledged,
                expected.asked
            );
            assert_eq!(remote.contains(key).unwrap(), found.is_some(), "{key}");
            if let Some(&(_, at)) = asked {
                expected.submitted_before = at;
            }
            expected.acknowledged = found;
            expected.asked.clear();
            present += u64::from(found.is_some());
        }
        present
    }
}

/// Crashes helpers again and again and looks what is left; for `evicting` see [`Model::check`].
fn crash_in_a_loop(config: &Path, keys: usize, lengths: &str, rounds: u64, evicting: Option<u64>) {
    let mut model = Model::default();
    let mut random = Random::new(rounds + keys as u64);
    for round in 1..=rounds {
        let mut helper = Helper::start("churn");
        helper.tell(&format!("{} {round} {keys} {lengths}", config.display()));
        // Some die while they open or make the store, some after a few lines, some in full swing.
        let lines = if round % 4 == 1 { 1 + random.below(2) } else { random.below(150) };
        for _ in 0..lines {
            model.hear(&helper.line().expect("a helper that works"));
        }
        helper.kill().iter().for_each(|line| model.hear(line));

        let mut remote = Remote::open(config);
        let present = model.check(&mut remote, evicting);
        let stats = remote.stats();
        assert_eq!(stats["keys"], present, "round {round}: {stats:?}");
        assert_eq!(
            (stats["corruptions"], stats["quarantined"]),
            (0, 0),
            "{}, round {round}: {stats:?}",
            config.display()
        );
        assert_eq!(stats["slots"], if stats["slots"] == 0 { 0 } else { stats["keys"] + stats["slots_free"] });
        // What comes next finds a snapshot in one round and has to scan in the other.
        if round % 2 == 0 {
            remote.close().unwrap();
            remote.finish();
        } else {
            remote.kill();
        }
    }
}

/// Puts as many new keys as the pool has slots: all must find room, and stay.
fn fill_whole_pool(config: &Path, slots: u64, length: usize) {
    let mut remote = Remote::open(config);
    for key in 0..slots {
        remote.put(&format!("full-{key}"), 1, length).unwrap();
    }
    for key in 0..slots {
        assert_eq!(remote.get(&format!("full-{key}")).unwrap(), Some(1), "a slot is lost");
    }
    remote.close().unwrap();
    remote.finish();
}

/// An engine dies while it fills, replaces and removes chunks of several stripes. Nothing was evicted, so every
/// acknowledged chunk is there after it, removed ones stay removed, and every slot can still be used.
#[test]
fn a_static_pool_keeps_what_was_acknowledged_through_crashes() {
    let scratch = Scratch::new("crash_static");
    let slots = 40;
    let settings = Settings::pool(&scratch.join("pool"), slots, 2_500_000).direct();
    let config = settings.write(&scratch.join("lmcache.yaml"));
    // Slots to spare for every put that may be under way, so that no key has to leave.
    crash_in_a_loop(&config, 20, "5000,65536,1200000,2500000", 14, None);
    fill_whole_pool(&config, slots.into(), 2_500_000);
}

/// The same in a pool with fewer slots than keys: each put takes the slot of another key, whose old record is on
/// storage until it is overwritten. What was put last is there; no slot brings back anything older.
#[test]
fn a_pool_that_evicts_keeps_the_latest_through_crashes() {
    let scratch = Scratch::new("crash_evicting");
    let slots = 60;
    // Over HF3FS both are the first.
    let kinds = if hf3fs::is_once_more() { 1 } else { 2 };
    for (name, direct) in [("direct", true), ("buffered", false)].into_iter().take(kinds) {
        let mut settings = Settings::pool(&scratch.join(name), slots, 1_200_000);
        settings.direct = direct;
        // Reads do not change the order of leaving, so that this process knows it.
        settings.policy = "FIFO";
        let config = settings.write(&scratch.join(&format!("{name}.yaml")));
        // Puts that may be under way when a put is submitted, and again when a slot is needed.
        let evicting = u64::from(slots) - 2 * UNDER_WAY_MAX - 1;
        crash_in_a_loop(&config, 150, "300,4096,70000,1200000", 10, Some(evicting));
        fill_whole_pool(&config, slots.into(), 1_200_000);
    }
}

/// The same with a file for each key. Unfinished files of the dead are gone after the next open.
#[test]
fn a_dynamic_store_keeps_what_was_acknowledged_through_crashes() {
    let scratch = Scratch::new("crash_dynamic");
    for (layout, direct) in [("sharded", true), ("lmcache", false)] {
        let root = scratch.join(layout);
        let mut settings = Settings::dynamic(&root).with("nixl_store_layout", layout);
        settings.direct = direct;
        let config = settings.write(&scratch.join("lmcache.yaml"));
        crash_in_a_loop(&config, 30, "300,4096,70000,2500000", 10, None);
        // The remote store of the last round was closed: nobody has temporaries.
        let left = unfinished(&root);
        assert!(left.is_empty(), "left behind: {left:?}");
    }
}

/// Files in the directory of temporaries.
fn unfinished(root: &Path) -> Vec<std::path::PathBuf> {
    let temporaries = root.join(".nixl_store+tmp");
    tree(root)
        .into_iter()
        .map(|(path, ..)| path)
        .filter(|path| path != &temporaries && path.starts_with(&temporaries))
        .collect()
}

/// Submits more large puts than a disk writes in a moment, says so, and waits for its end.
fn flood(peer: &mut Peer) {
    let line = peer.line().expect("what to do");
    let words: Vec<&str> = line.split(' ').collect();
    let [config, version, keys, length] = words[..] else { panic!("{line}") };
    let store = Store::open(Path::new(config)).unwrap_or_else(|failure| panic!("{failure}"));
    let item = |key: u64| {
        let key = format!("key-{key}");
        let payload = chunk::fill(&key, version.parse().unwrap(), length.parse().unwrap());
        Item::new(key, payload)
    };
    let items = (0..keys.parse().unwrap()).map(item).collect();
    peer.say("ready");
    peer.line();
    let ticket =
        store.submit(Direction::Put, items, Submit::default()).unwrap_or_else(|r| panic!("{}", r.failure));
    peer.say("submitted");
    peer.line();
    ticket.wait();
}

/// A process dies with many large writes handed to the kernel. Whoever opens the pool next may be faster than the
/// disk; what the dead one had asked for must not reach slots that are somebody else's by then.
#[test]
fn writes_of_a_dead_owner_do_not_land_in_the_next_owners_pool() {
    let scratch = Scratch::new("crash_late_writes");
    let slots = 64u64;
    let settings = Settings::pool(&scratch.join("pool"), slots as u32, 1 << 20).direct();
    let config = settings.write(&scratch.join("lmcache.yaml"));
    for round in 1..=6u64 {
        let mut next = Remote::start();
        let mut doomed = Helper::start("flood");
        assert_eq!(doomed.ask(&format!("{} {round} {slots} 1048576", config.display())), "ready");
        assert_eq!(doomed.ask("go"), "submitted");
        doomed.kill();

        next.try_open(&config, &Options::default()).unwrap_or_else(|failure| panic!("{failure}"));
        let look = |remote: &mut Remote| -> Vec<_> {
            (0..slots).map(|key| remote.contains(&format!("key-{key}")).unwrap()).collect()
        };
        let seen = look(&mut next);
        next.kill();
        let mut later = Remote::open(&config);
        let again = look(&mut later);
        assert_eq!(seen, again, "round {round}");
        for (key, _) in again.iter().enumerate().filter(|(_, present)| **present) {
            later.get(&format!("key-{key}")).unwrap().expect("right bytes");
        }
        later.close().unwrap();
        later.finish();
    }
}

// ---------------------------------------------------------------------------------------------------------------
// Closing in order.

/// The version that a key holds, every byte checked.
fn version(store: &Store, key: &str) -> Option<u64> {
    versions::version(store, key, 4 << 20)
}

/// An engine is restarted for an upgrade. All its chunks are there with their lengths, what it removed is not, and
/// the gauges add up, in every layout.
#[test]
fn closing_and_opening_keeps_keys_lengths_and_counts() {
    let scratch = Scratch::new("reopen");
    let layouts = [
        ("static", Settings::pool(&scratch.join("static"), 50, 300_000).direct()),
        ("sharded", Settings::dynamic(&scratch.join("sharded")).direct()),
        ("lmcache", Settings::dynamic(&scratch.join("flat")).with("nixl_store_layout", "lmcache")),
    ];
    for (name, settings) in layouts {
        let config = settings.write(&scratch.join("lmcache.yaml"));
        let store = Store::open(&config).unwrap();
        let length = |key: u64| 16 + key as usize * 7001;
        for key in 0..40 {
            put(&store, &format!("key-{key}"), key, length(key));
        }
        for key in (0..40).step_by(4) {
            put(&store, &format!("key-{key}"), 100 + key, length(key) + 1);
        }
        for key in (1..40).step_by(4) {
            assert_eq!(store.remove(&format!("key-{key}")).unwrap(), NIXL_STORE_OK);
        }
        let before = store.stats().unwrap();
        store.close().unwrap();

        let store = Store::open(&config).unwrap();
        let after = store.stats().unwrap();
        assert_eq!((after.keys, after.bytes_stored), (before.keys, before.bytes_stored), "{name}");
        assert_eq!((after.slots, after.slots_free), (before.slots, before.slots_free), "{name}");
        assert_eq!(after.keys, 30, "{name}");
        for key in 0..40 {
            let text = format!("key-{key}");
            let (held, bytes) = match key % 4 {
                0 => (Some(100 + key), Some(length(key) as u64 + 1)),
                1 => (None, None),
                _ => (Some(key), Some(length(key) as u64)),
            };
            assert_eq!(store.length(&text).unwrap(), bytes, "{name} {text}");
            assert_eq!(store.contains(&text).unwrap(), held.is_some(), "{name} {text}");
            assert_eq!(version(&store, &text), held, "{name} {text}");
        }
        store.close().unwrap();
    }
}

/// Which chunk leaves next is part of what is kept: after a restart the policy goes on where it was.
#[test]
fn the_order_of_leaving_survives_closing() {
    let scratch = Scratch::new("reopen_order");
    // Puts of a to f, then uses of c and a (a twice): who leaves first, and the order in which all leave.
    let policies = [
        ("LRU", ["b", "d", "e", "f", "c", "a"]),
        ("FIFO", ["a", "b", "c", "d", "e", "f"]),
        ("MRU", ["a", "c", "f", "e", "d", "b"]),
        ("LFU", ["b", "d", "e", "f", "c", "a"]),
    ];
    for (policy, order) in policies {
        let mut settings = Settings::pool(&scratch.join(policy), 6, 5000);
        settings.policy = policy;
        let config = settings.write(&scratch.join("lmcache.yaml"));
        let store = Store::open(&config).unwrap();
        for key in ["a", "b", "c", "d", "e", "f"] {
            put(&store, key, 1, 5000);
        }
        for key in ["c", "a", "a"] {
            assert_eq!(version(&store, key), Some(1));
        }
        store.close().unwrap();

        let store = Store::open(&config).unwrap();
        for (step, leaver) in order.iter().enumerate() {
            assert!(store.contains(leaver).unwrap(), "{policy}: {leaver} left before its turn");
            let newcomer = format!("new-{step}");
            // Pinned, so that it is not a newcomer's turn next.
            put(&store, &newcomer, 1, 100);
            assert!(store.pin(&newcomer).unwrap());
            assert!(!store.contains(leaver).unwrap(), "{policy}: {leaver} stayed beyond its turn");
        }
        store.close().unwrap();
    }
}

/// A pool made for another model must not be taken for this one's, let alone be overwritten. The message says what
/// differs and what to do, and not a byte on disk changes.
#[test]
fn a_pool_of_other_parameters_is_refused_and_left_as_it_is() {
    let scratch = Scratch::new("other_parameters");
    let root = scratch.join("pool");
    let right = Settings::pool(&root, 16, 20_000);
    let config = right.write(&scratch.join("lmcache.yaml"));
    let store = Store::open(&config).unwrap();
    put(&store, "kept", 7, 20_000);
    store.close().unwrap();
    let before = tree(&root);

    let tokens = Settings { chunk_size: 128, ..right.clone() };
    let others = [
        ("nixl_pool_size", Settings::pool(&root, 17, 20_000), "16"),
        ("nixl_store_chunk_bytes", Settings::pool(&root, 16, 20_001), "20000"),
        ("nixl_store_chunk_bytes", Settings::pool(&root, 16, 400_000), "20000"),
        ("chunk_size", tokens, "256"),
    ];
    for (name, other, made_with) in others {
        let config = other.write(&scratch.join("other.yaml"));
        let failure = Store::open(&config).err().expect("a refusal");
        assert_eq!(failure.status, NIXL_STORE_ERROR_FORMAT, "{failure}");
        let message = &failure.message;
        assert!(message.contains(made_with) && message.contains(name), "{name}: {message}");
        assert!(message.contains(root.to_str().unwrap()), "{message}");
        assert!(
            message.contains("another nixl_path") || message.contains("remove"),
            "how to proceed: {message}"
        );
        assert_eq!(tree(&root), before, "{name}: something on disk changed");
    }
    let store = Store::open(&config).unwrap();
    assert_eq!(version(&store, "kept"), Some(7));
    store.close().unwrap();
}

/// Slots are packed in few files: a pool of a hundred thousand opens with sixty-four descriptors, after a clean
/// close and after a crash, and has not lost a chunk.
#[test]
fn a_pool_of_a_hundred_thousand_slots_opens_with_few_descriptors() {
    const SLOTS: u32 = 100_000;
    let scratch = Scratch::new("many_slots");
    let config = Settings::pool(&scratch.join("pool"), SLOTS, 4096).write(&scratch.join("lmcache.yaml"));
    let open = || {
        let mut remote = Remote::start();
        remote.sandbox("descriptors=64");
        remote.try_open(&config, &Options::default()).unwrap_or_else(|failure| panic!("{failure}"));
        assert!(remote.descriptors() < 48, "{} descriptors are open", remote.descriptors());
        assert_eq!(remote.stats()["slots"], u64::from(SLOTS));
        remote
    };
    let mut remote = open();
    for key in 0..200 {
        remote.put(&format!("key-{key}"), key, 4096).unwrap();
    }
    remote.close().unwrap();
    remote.finish();

    // After a clean close, then after a crash.
    for _ in 0..2 {
        let mut remote = open();
        assert_eq!(remote.stats()["keys"], 200);
        for key in 0..200 {
            assert_eq!(remote.get(&format!("key-{key}")).unwrap(), Some(key));
        }
        remote.kill();
    }
}

// ---------------------------------------------------------------------------------------------------------------
// Loss of power.

/// The power goes while an engine replaces chunks. What it had flushed is there; what it had not is there as it was
/// put, or as it was before, or not at all.
#[test]
fn flushed_chunks_survive_a_loss_of_power() {
    for (name, layout, direct) in [
        ("power_static_direct", None, true),
        ("power_static_buffered", None, false),
        ("power_sharded", Some("sharded"), true),
        ("power_lmcache", Some("lmcache"), false),
    ] {
        let Some(mut disk) = Disk::ext4(name, 256 << 20, "") else { return };
        let scratch = Scratch::new(name);
        let root = disk.path().join("store");
        let mut settings = match layout {
            None => Settings::pool(&root, 40, 1_500_000),
            Some(layout) => Settings::dynamic(&root).with("nixl_store_layout", layout),
        };
        settings.direct = direct;
        let config = settings.write(&scratch.join("lmcache.yaml"));
        let mut remote = Remote::open(&config);
        let length = |key: u64| [4096, 100, 70_000, 1_500_000][key as usize % 4];
        for key in 0..16 {
            remote.put(&format!("key-{key}"), 1, length(key)).unwrap();
        }
        remote.flush().unwrap();
        // Half of the flushed ones are replaced, some new ones come, none of it flushed.
        for key in (8..16).chain(20..30) {
            remote.put(&format!("key-{key}"), 2, length(key + 1)).unwrap();
        }
        sandbox::cut_power(disk.path()).unwrap_or_else(|error| panic!("the power cannot be cut: {error}"));
        remote.kill();
        disk.power_up();

        let store = Store::open(&config).unwrap_or_else(|failure| panic!("{name}: {failure}"));
        for key in 0..8 {
            assert_eq!(version(&store, &format!("key-{key}")), Some(1), "{name}: flushed key-{key}");
        }
        for key in 8..30 {
            let found = version(&store, &format!("key-{key}"));
            assert!(
                found.is_none_or(|version| version == 2 || (version == 1 && key < 16)),
                "{name} key-{key}"
            );
        }
        // And everything can be used.
        for key in 0..30 {
            put(&store, &format!("key-{key}"), 3, length(key));
            assert_eq!(version(&store, &format!("key-{key}")), Some(3), "{name}");
        }
        store.close().unwrap();
    }
}

#[test]
fn once_more_over_hf3fs() {
    crash_common::hf3fs::once_more(&[], 10);
}
