//! Chains of keys under LRU and REUSE: by the book, and in the stories that the policies are made for.

use super::helpers::clean;
use super::*;
use crate::catalog::Asked;
use crate::catalog::testing::Lcg;
use crate::catalog::testing_chains::{ChainModel, Served};
use crate::config::Eviction;

/// An engine that serves requests one after the other.
struct Engine {
    catalog: SlotCatalog,
}

impl Engine {
    fn new(eviction: impl Into<Eviction>, slots: u32) -> Engine {
        Engine { catalog: SlotCatalog::new(slots, eviction.into()).unwrap() }
    }

    fn is_stored(&self, block: u32) -> bool {
        contains(&self.catalog, &block.to_le_bytes())
    }

    fn look_up(&self, chain: &[u32]) -> usize {
        let ids: Vec<u128> = chain.iter().map(|block| digest(&block.to_le_bytes())).collect();
        let chains = self.catalog.chains().expect("the policy knows requests");
        let mut announced = chains.ask(None, Asked::Stored, ids.len(), ids[ids.len() - 1]);
        ids.into_iter().for_each(|id| announced.add(id));
        chain.iter().take_while(|block| self.is_stored(**block)).count()
    }

    fn get(&self, block: u32) {
        let key = block.to_le_bytes();
        let lease = self.catalog.acquire(digest(&key), &key).expect("it was found");
        drop(self.catalog.release(lease));
    }

    /// Puts a block unless it is stored. `None`: it was declined.
    fn put(&self, block: u32, must: bool) -> Option<bool> {
        let key = block.to_le_bytes();
        if self.catalog.keep(digest(&key), &key).is_some() {
            return Some(false);
        }
        match self.catalog.reserve(digest(&key), &key, must) {
            Reserve::Slot(reservation) => {
                clean(&self.catalog, self.catalog.publish(reservation, &key, 100).clean);
                Some(true)
            }
            Reserve::Declined => None,
            other => panic!("nothing is under way: {other:?}"),
        }
    }

    fn serve(&self, chain: &[u32]) -> Served {
        let matched = self.look_up(chain);
        let mut served = Served { hits: chain[..matched].to_vec(), ..Served::default() };
        chain[..matched].iter().for_each(|block| self.get(*block));
        let before: Vec<u32> = self.stored();
        for &block in &chain[matched..] {
            match self.put(block, false) {
                Some(true) => served.put.push(block),
                Some(false) => {}
                None => served.declined.push(block),
            }
        }
        served.evicted = before.into_iter().filter(|block| !self.is_stored(*block)).collect();
        served
    }

    fn stored(&self) -> Vec<u32> {
        let mut blocks = Vec::new();
        self.catalog.export(&mut |stored| {
            blocks.push(u32::from_le_bytes(stored.key.try_into().unwrap()));
        });
        blocks.sort_unstable();
        blocks
    }

    /// Serves prompts in rotation and tells the part of blocks that were hits after the first rounds.
    fn rotate(&self, prompts: &[Vec<u32>], rounds: usize) -> f64 {
        let (mut hits, mut blocks) = (0, 0);
        for round in 0..rounds {
            for prompt in prompts {
                let served = self.serve(prompt);
                if round >= 5 {
                    hits += served.hits.len();
                    blocks += prompt.len();
                }
            }
        }
        hits as f64 / blocks as f64
    }
}

fn prompt(number: u32, length: u32) -> Vec<u32> {
    (number * 10_000..number * 10_000 + length).collect()
}

/// A random prompt of a small family: a beginning that many share, branches, and an end of its own.
fn random_chain(random: &mut Lcg, families: u64) -> Vec<u32> {
    let family = random.below(families) as u32;
    let branch = random.below(3) as u32;
    let (shared, own) = (random.below(6) as u32, random.below(12) as u32 + 1);
    let mut chain: Vec<u32> = (0..shared).map(|at| family * 100 + at).collect();
    chain.extend((0..own).map(|at| family * 100 + 10 + branch * 20 + at));
    if random.below(20) == 0 {
        // A prompt that repeats itself.
        chain.push(chain[0]);
    }
    chain
}

/// Random requests, many pool sizes and settings: what is stored, hit, put and declined is at every step what the policy
/// written down with plain lists says.
#[test]
fn chains_are_kept_by_the_book() {
    for policy in [CachePolicy::Lru, CachePolicy::Reuse] {
        for seed in 0..120 {
            let mut random = Lcg::new(seed);
            let slots = 1 + random.below(60) as u32;
            let eviction = Eviction {
                policy,
                reuse_quantile: [0.6, 0.8, 0.2][seed as usize % 3],
                ghost_entries: [8, 1, 0, 4][seed as usize % 4],
            };
            let engine = Engine::new(eviction, slots);
            let mut model = ChainModel::new(eviction, slots as usize);
            let families = 1 + random.below(20);
            for step in 0..300 {
                let chain = random_chain(&mut random, families);
                let expected = model.serve(&chain);
                let served = engine.serve(&chain);
                let place = format!("{policy:?} seed {seed} step {step}: {chain:?}");
                assert_eq!(served.hits, expected.hits, "{place}");
                assert_eq!(served.put, expected.put, "{place}");
                assert_eq!(served.declined, expected.declined, "{place}");
                assert_eq!(engine.stored(), model.stored(), "{place}");
            }
            audit(&engine.catalog);
        }
    }
}

/// A chain leaves from its end: what is left of it is still a prefix. Also where its blocks are used first to last, and where
/// it came in several batches.
#[test]
fn leaves_leave_before_what_they_hang_on() {
    for policy in [CachePolicy::Lru, CachePolicy::Reuse] {
        let engine = Engine::new(policy, 16);
        engine.serve(&prompt(1, 8));
        engine.serve(&prompt(1, 8));
        engine.serve(&prompt(2, 8));
        for left in (0..8).rev() {
            assert_eq!(engine.put(90_000 + left, true), Some(true));
            let stored = prompt(1, 8).into_iter().take_while(|block| engine.is_stored(*block)).count();
            let other = prompt(2, 8).into_iter().take_while(|block| engine.is_stored(*block)).count();
            let count = |number| prompt(number, 8).iter().filter(|block| engine.is_stored(**block)).count();
            assert_eq!(
                (stored, other),
                (count(1), count(2)),
                "{policy:?}: a block is left behind one that is gone"
            );
        }
    }
}

/// Three long prompts in rotation, and room for two and a half: LRU by first to last would find nothing, ever.
#[test]
fn three_prompts_in_rotation_are_hits_for_the_most_part() {
    let prompts = [prompt(1, 100), prompt(2, 100), prompt(3, 100)];
    let rate = Engine::new(CachePolicy::Reuse, 250).rotate(&prompts, 60);
    assert!(rate >= 0.8, "{rate}");
    // What returns needs half its own gap: without that nothing of a loop this long would ever be let in.
    let rate = Engine::new(CachePolicy::Reuse, 150).rotate(&prompts, 60);
    assert!(rate >= 0.4, "{rate}");
}

/// A hundred times the pool passes by once. What is used again and again meanwhile stays, and hardly anything of the scan is
/// written.
#[test]
fn a_scan_of_a_hundred_pools_pushes_nothing_wanted_out() {
    let slots = 200;
    let engine = Engine::new(CachePolicy::Reuse, slots);
    let wanted: Vec<Vec<u32>> = (0..10).map(|number| prompt(number, 10)).collect();
    let (mut hits, mut written) = (0, 0);
    let (before, rounds) = (300, 100 * slots / 40);
    for round in 0..before + rounds {
        let scanned = engine.serve(&prompt(100 + round, 40));
        let served = engine.serve(&wanted[round as usize % 10]);
        if round >= before {
            written += scanned.put.len();
            hits += served.hits.len();
        }
    }
    let rate = f64::from(hits as u32) / f64::from(rounds * 10);
    assert!(rate >= 0.99, "{rate}");
    assert!(written < (rounds * 40 / 4) as usize, "{written} of {} written", rounds * 40);
}

/// The prompts of yesterday are not asked for any more. Those of today come to be stored within a few rounds, though every
/// slot holds something that was used often.
#[test]
fn a_new_workload_takes_over() {
    let engine = Engine::new(CachePolicy::Reuse, 200);
    let yesterday: Vec<Vec<u32>> = (0..18).map(|number| prompt(number, 11)).collect();
    assert!(engine.rotate(&yesterday, 200) > 0.99);
    let today: Vec<Vec<u32>> = (50..68).map(|number| prompt(number, 11)).collect();
    let rate = engine.rotate(&today, 15);
    assert!(rate > 0.95, "{rate}");
}

/// Put again at once because it was declined, or twice in one prompt: that is one sight. In the next request it is the
/// second.
#[test]
fn a_retry_is_no_second_sight() {
    let engine = Engine::new(CachePolicy::Reuse, 40);
    engine.rotate(&[prompt(1, 20), prompt(2, 20)], 6);
    let new = prompt(3, 2);
    engine.look_up(&new);
    for _ in 0..50 {
        assert_eq!(engine.put(new[0], false), None);
        assert_eq!(engine.put(new[1], false), None, "what follows a block that was declined is of no use");
    }
    // By itself, without a lookup, and with nothing in between.
    let mut alone = engine.catalog.chains().unwrap().join(None, 1, digest(b"alone"), digest(b"alone"));
    alone.add(digest(b"alone"));
    drop(alone);
    for _ in 0..50 {
        assert!(matches!(engine.catalog.reserve(digest(b"alone"), b"alone", false), Reserve::Declined));
    }
    engine.look_up(&[new[0], new[0]]);
    assert_eq!(engine.put(new[0], false), Some(true), "the second request that wants it");
    engine.look_up(&new);
    assert_eq!(engine.put(new[1], true), Some(true), "the caller insists");
    audit(&engine.catalog);
}

/// A request that takes long: its first block is put, then many others come and go, and then the rest of it is put. What has
/// been idle since is as idle as for anybody else.
#[test]
fn a_slow_request_finds_what_has_become_idle_meanwhile() {
    let engine = Engine::new(CachePolicy::Reuse, 100);
    let slow = prompt(1, 6);
    engine.look_up(&slow);
    assert_eq!(engine.put(slow[0], false), Some(true));
    for _ in 0..20 {
        (2..11).for_each(|number| drop(engine.serve(&prompt(number, 11))));
    }
    (0..30).for_each(|_| drop(engine.serve(&prompt(2, 11))));
    assert_eq!(engine.put(990_000, false), Some(true), "a block that comes now is let in");
    for block in &slow[1..] {
        assert_eq!(engine.put(*block, false), Some(true));
    }
}

/// A put that was let in and failed has not been seen twice when it is tried again, and has lost nothing either.
#[test]
fn a_put_that_fails_is_as_if_it_had_been_declined() {
    let engine = Engine::new(CachePolicy::Reuse, 40);
    engine.rotate(&[prompt(1, 20), prompt(2, 20)], 6);
    assert_eq!(engine.serve(&prompt(3, 1)).declined.len(), 1);
    let block = prompt(3, 1)[0];
    for round in 0..3 {
        engine.look_up(&[block]);
        let Reserve::Slot(reservation) =
            engine.catalog.reserve(digest(&block.to_le_bytes()), &block.to_le_bytes(), false)
        else {
            panic!("it is wanted for the second time")
        };
        clean(&engine.catalog, [engine.catalog.abandon(reservation)]);
        // The slot that it had goes to another.
        assert_eq!(engine.put(770_000 + round, true), Some(true));
    }
    assert!(!engine.is_stored(block));
    engine.look_up(&[block]);
    assert_eq!(engine.put(block, false), Some(true));
    audit(&engine.catalog);
}

/// A stored key is put with other bytes: its old ones must not stay, so that is never declined.
#[test]
fn a_stored_key_is_never_declined() {
    let engine = Engine::new(CachePolicy::Reuse, 4);
    engine.serve(&prompt(1, 4));
    for block in prompt(1, 4) {
        let key = block.to_le_bytes();
        let Reserve::Slot(reservation) = engine.catalog.reserve(digest(&key), &key, false) else {
            panic!("declined")
        };
        clean(&engine.catalog, engine.catalog.publish(reservation, &key, 50).clean);
        assert_eq!(engine.catalog.length(digest(&key), &key), Some(50));
    }
    // Also while its own slot is being read, and something that comes before it in the request was declined.
    let key = prompt(1, 1)[0].to_le_bytes();
    let lease = engine.catalog.acquire(digest(&key), &key).unwrap();
    let new = prompt(2, 1)[0];
    engine.look_up(&[new, prompt(1, 1)[0]]);
    assert_eq!(engine.put(new, false), None);
    assert!(matches!(engine.catalog.reserve(digest(&key), &key, false), Reserve::Slot(_)));
    drop(engine.catalog.release(lease));
}

/// What a plan says is what happens, if nothing comes in between.
#[test]
fn a_plan_foresees_what_is_declined() {
    let mut random = Lcg::new(3);
    let engine = Engine::new(CachePolicy::Reuse, 60);
    let (mut exact, mut some_declined) = (0, 0);
    for _ in 0..600 {
        let chain = random_chain(&mut random, 12);
        let chain: Vec<u32> =
            (0..chain.len()).filter(|at| !chain[..*at].contains(&chain[*at])).map(|at| chain[at]).collect();
        let matched = engine.look_up(&chain);
        chain[..matched].iter().for_each(|block| engine.get(*block));
        let missing: Vec<u128> = chain[matched..].iter().map(|block| digest(&block.to_le_bytes())).collect();
        let foreseen = engine.catalog.plan(&missing);
        let admitted = chain[matched..].iter().map_while(|block| engine.put(*block, false)).count();
        exact += u32::from(foreseen == admitted);
        some_declined += u32::from(admitted < missing.len());
    }
    assert!(some_declined > 50, "{some_declined}");
    // What leaves on the way may push a key out of what is remembered, which a plan does not follow.
    assert!(exact >= 590, "{exact} of 600");
}

/// A restart keeps what was seen once apart from what was seen again, and the order in both.
#[test]
fn a_restart_keeps_what_is_wanted() {
    let engine = Engine::new(CachePolicy::Reuse, 100);
    let wanted: Vec<Vec<u32>> = (0..5).map(|number| prompt(number, 10)).collect();
    engine.rotate(&wanted, 20);
    engine.serve(&prompt(20, 50));
    let reopened = Engine::new(CachePolicy::Reuse, 100);
    let mut order = Vec::new();
    engine.catalog.export(&mut |stored| {
        order.push(stored.key.to_vec());
        assert!(reopened.catalog.restore(digest(stored.key), stored).unwrap());
    });
    let mut again = Vec::new();
    reopened.catalog.export(&mut |stored| again.push(stored.key.to_vec()));
    assert_eq!(order, again);
    let hits = |engine: &Engine| -> usize {
        (0..30)
            .map(|round| {
                engine.serve(&prompt(40 + round, 10));
                engine.serve(&wanted[round as usize % 5]).hits.len()
            })
            .sum()
    };
    let (without, with) = (hits(&engine), hits(&reopened));
    assert!(without > 200 && with + 20 >= without, "{with} hits with a restart, {without} without");
}
