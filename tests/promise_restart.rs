//! Promise 6, restart keeps the cache, and promise 2 where the crash comes in the middle of a put.
//!
//! Crashes are real: a helper process that works on the store is killed with SIGKILL at a moment that nobody
//! chose. What it had been told by the library, it had told this process through a pipe, so that this process
//! knows what must be there.

mod crash_common;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crash_common::api::{Direction, Item, Options, Store, Submit};
use crash_common::config::Settings;
use crash_common::disk::Disk;
use crash_common::helper::{self, Helper, Peer};
use crash_common::remote::{self, Remote};
use crash_common::{Random, Scratch, chunk, sandbox, tree};
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

/// Puts, replaces, removes and reads until it is killed, and says so line by line: `s key version` before a put is
/// submitted, `a key version` when it was acknowledged, `r key` before a removal, `d key` after it.
fn churn(peer: &mut Peer) {
    let line = peer.line().expect("what to do");
    let words: Vec<&str> = line.split(' ').collect();
    let [config, seed, keys, lengths] = words[..] else { panic!("{line}") };
    let (seed, keys): (u64, usize) = (seed.parse().unwrap(), keys.parse().unwrap());
    let lengths: Vec<usize> = lengths.split(',').map(|length| length.parse().unwrap()).collect();
    let store = Store::open(Path::new(config)).unwrap_or_else(|failure| panic!("{failure}"));
    helper::say("open");
    let version = AtomicU64::new(seed * 1_000_000);
    std::thread::scope(|scope| {
        for thread in 0..CHURN_THREADS {
            let (store, lengths, version) = (&store, &lengths, &version);
            let own: Vec<String> = (thread..keys).step_by(CHURN_THREADS).map(|key| format!("key-{key}")).collect();
            let mut random = Random::new(seed * 31 + thread as u64);
            scope.spawn(move || loop { churn_once(store, &own, lengths, version, &mut random) });
        }
    });
}

fn churn_once(store: &Store, own: &[String], lengths: &[usize], version: &AtomicU64, random: &mut Random) {
    let pick = |random: &mut Random| own[random.below(own.len() as u64) as usize].clone();
    match random.below(10) {
        0 => {
            let key = pick(random);
            helper::say(&format!("r {key}"));
            store.remove(&key).unwrap();
            helper::say(&format!("d {key}"));
        }
        1 => {
            let key = pick(random);
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
            let ticket = store.submit(Direction::Put, items, Submit::default()).unwrap_or_else(|r| panic!("{}", r.failure));
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
    /// What was asked for since: a version, or `None` for the removal.
    asked: Vec<Option<u64>>,
}

impl Expected {
    fn allows(&self, found: Option<u64>) -> bool {
        found == self.acknowledged || self.asked.contains(&found)
    }
}

/// What the helpers said, taken in line by line.
#[derive(Default)]
struct Model {
    keys: HashMap<String, Expected>,
    /// Keys in the order of their last acknowledged put.
    recent: Vec<String>,
}

impl Model {
    fn hear(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["s", key, version] => self.expected(key).asked.push(Some(version.parse().unwrap())),
            ["r", key] => self.expected(key).asked.push(None),
            ["a", key, version] => {
                self.settle(key, Some(version.parse().unwrap()));
                self.recent.retain(|other| other != key);
                self.recent.push(key.to_owned());
            }
            ["d", key] => self.settle(key, None),
            ["open"] => {}
            _ => panic!("the helper said {line:?}"),
        }
    }

    fn expected(&mut self, key: &str) -> &mut Expected {
        self.keys.entry(key.to_owned()).or_default()
    }

    fn settle(&mut self, key: &str, state: Option<u64>) {
        *self.expected(key) = Expected { acknowledged: state, asked: Vec::new() };
    }

    /// Compares what a store holds with what it may hold, which from then on is what it held.
    /// Keys outside of `kept`, if that is given, may have been evicted.
    fn check(&mut self, remote: &mut Remote, kept: Option<&HashSet<String>>) -> usize {
        let mut present = 0;
        for (key, expected) in &mut self.keys {
            let found = remote.get(key).unwrap_or_else(|failure| panic!("{key}: {failure}"));
            let may_be_evicted = found.is_none() && kept.is_some_and(|kept| !kept.contains(key));
            assert!(
                may_be_evicted || expected.allows(found),
                "{key} holds {found:?} after the crash; acknowledged {:?}, asked for since {:?}",
                expected.acknowledged,
                expected.asked
            );
            assert_eq!(remote.contains(key).unwrap(), found.is_some(), "{key}");
            *expected = Expected { acknowledged: found, asked: Vec::new() };
            present += usize::from(found.is_some());
        }
        self.recent.retain(|key| self.keys[key].acknowledged.is_some());
        present
    }
}

/// Crashes helpers again and again and looks what is left. With `evicting`, only the keys that were put last have
/// to be there.
fn crash_in_a_loop(config: &Path, keys: usize, lengths: &str, rounds: u64, evicting: Option<usize>) -> Model {
    let mut model = Model::default();
    let mut random = Random::new(rounds + keys as u64);
    for round in 1..=rounds {
        let mut helper = Helper::start("churn");
        helper.tell(&format!("{} {round} {keys} {lengths}", config.display()));
        // Some die while they open, some after a few lines, some in full swing.
        for _ in 0..random.below(if round % 4 == 0 { 3 } else { 150 }) {
            model.hear(&helper.line().expect("a helper that works"));
        }
        helper.kill().iter().for_each(|line| model.hear(line));

        let mut remote = Remote::open(config);
        let kept = evicting.map(|count| model.recent.iter().rev().take(count).cloned().collect());
        let present = model.check(&mut remote, kept.as_ref());
        let stats = remote.stats();
        assert_eq!(stats["keys"], present as u64, "round {round}: {stats:?}");
        assert_eq!((stats["corruptions"], stats["quarantined"]), (0, 0), "round {round}: {stats:?}");
        assert_eq!(stats["slots"], if stats["slots"] == 0 { 0 } else { stats["keys"] + stats["slots_free"] });
        // What comes next finds a snapshot in one round and has to scan in the other.
        if round % 2 == 0 {
            remote.close().unwrap();
            remote.finish();
        } else {
            remote.kill();
        }
    }
    model
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
    let slots = 24;
    for (name, direct) in [("direct", true), ("buffered", false)] {
        let mut settings = Settings::pool(&scratch.join(name), slots, 1_200_000);
        settings.direct = direct;
        // Reads do not change the order of leaving, so that this process knows it.
        settings.policy = "FIFO";
        let config = settings.write(&scratch.join("lmcache.yaml"));
        let kept = slots as usize - CHURN_THREADS * CHURN_BATCH_MAX as usize - 1;
        crash_in_a_loop(&config, 60, "300,4096,70000,1200000", 10, Some(kept));
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
    tree(root).into_iter().map(|(path, ..)| path).filter(|path| path != &temporaries && path.starts_with(&temporaries)).collect()
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
    let ticket = store.submit(Direction::Put, items, Submit::default()).unwrap_or_else(|r| panic!("{}", r.failure));
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
        let mut look = |remote: &mut Remote| -> Vec<_> {
            (0..slots).map(|key| remote.contains(&format!("key-{key}")).unwrap()).collect()
        };
        let seen = look(&mut next);
        next.kill();
        let mut later = Remote::open(&config);
        let again = look(&mut later);
        eprintln!("{round}: {} {}", seen.iter().filter(|x| **x).count(), again.iter().filter(|x| **x).count());
        assert_eq!(seen, again, "round {round}");
        for (key, _) in again.iter().enumerate().filter(|(_, present)| **present) {
            later.get(&format!("key-{key}")).unwrap().expect("right bytes");
        }
        later.close().unwrap();
        later.finish();
    }
}
