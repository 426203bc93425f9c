//! Promise 9, everything is bounded: tickets, queues, descriptors, threads, memory and time, and what is full says so
//! and loses nothing.
//!
//! Where something has to be slow, the disk is: a file system that is frozen holds back writes until it is thawed.

// Helpers may unwrap as tests do.
#![cfg(test)]

mod crash_common;

use std::collections::HashSet;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crash_common::api::{Direction, Item, Store, Submit, Ticket};
use crash_common::config::Settings;
use crash_common::disk::Disk;
use crash_common::helper::{self, Helper, Peer};
use crash_common::versions::{self, put};
use crash_common::{Scratch, chunk, descriptors, resident_bytes, threads};
use nixl_store::capi::*;

/// Not a test: what helper processes run.
#[test]
#[ignore = "the body of helper processes"]
fn helper_process() {
    helper::play(&[("resources", resources), ("memory", memory), ("few-descriptors", few_descriptors)]);
}

/// Tickets that a store has at most, as its message says.
const TICKETS_MAX: usize = 4096;
/// Completions that a queue owes at most.
const COMPLETIONS_MAX: usize = 4096;

fn memory_store(scratch: &Scratch, slots: u32, chunk_bytes: u64) -> Store {
    let settings = Settings { backend: "MEMORY", ..Settings::pool(scratch.path(), slots, chunk_bytes) };
    Store::open(&settings.write(&scratch.join("lmcache.yaml"))).unwrap()
}

/// The version that a key holds, every byte checked.
fn version(store: &Store, key: &str) -> Option<u64> {
    versions::version(store, key, 2 << 20)
}

fn put_items(keys: std::ops::Range<u64>, length: usize) -> Vec<Item> {
    keys.map(|key| Item::new(format!("key-{key}"), chunk::fill(&format!("key-{key}"), key, length))).collect()
}

fn get_item(key: u64, length: usize) -> Item {
    Item::new(format!("key-{key}"), vec![0; length])
}

// ---------------------------------------------------------------------------------------------------------------
// Tickets and completions.

/// An engine forgets to consume its tickets. When the table is full every further submit says so; the batches under
/// way are not harmed, and one ticket consumed makes room for one.
#[test]
fn a_full_table_of_tickets_is_busy_and_loses_nothing() {
    let scratch = Scratch::new("tickets");
    let store = memory_store(&scratch, 64, 4096);
    for key in 0..64 {
        put(&store, &format!("key-{key}"), key, 4096);
    }
    let submit = |key| store.submit(Direction::Get, vec![get_item(key, 4096)], Submit::default());
    let mut tickets = Vec::new();
    let refused = loop {
        match submit(tickets.len() as u64 % 64) {
            Ok(ticket) => tickets.push(ticket),
            Err(refused) => break refused,
        }
    };
    assert_eq!(tickets.len(), TICKETS_MAX);
    assert_eq!(refused.failure.status, NIXL_STORE_ERROR_BUSY);
    assert!(refused.failure.message.contains("4096 tickets"), "{}", refused.failure);
    let simple = store.put("key-0", &[1; 4096]).unwrap_err();
    assert_eq!(simple.status, NIXL_STORE_ERROR_BUSY, "{simple}");
    assert!(store.contains("key-0").unwrap(), "what needs no ticket goes on");

    let (status, _) = tickets.swap_remove(7).wait();
    assert_eq!(status, NIXL_STORE_OK);
    tickets.push(submit(7).unwrap_or_else(|refused| panic!("{}", refused.failure)));
    assert!(submit(8).is_err());
    for ticket in tickets {
        let (status, results) = ticket.wait();
        assert_eq!(status, NIXL_STORE_OK);
        let (item, _) = &results[0];
        let key = chunk::read(&item.key, &item.memory).unwrap_or_else(|wrong| panic!("{wrong}"));
        assert_eq!(item.key, format!("key-{key}"));
    }
    put(&store, "key-0", 5, 4096);
    store.close().unwrap();
}

/// A store that runs for weeks gives out many more tickets than its table has places. None is given out twice, and
/// a consumed one is never taken for a later one.
#[test]
fn tickets_are_never_given_out_twice() {
    let scratch = Scratch::new("ticket_numbers");
    let store = memory_store(&scratch, 4, 4096);
    put(&store, "key-0", 1, 100);
    let mut seen = HashSet::new();
    for _ in 0..2 * TICKETS_MAX + 100 {
        let ticket = store.submit(Direction::Get, vec![get_item(0, 100)], Submit::default());
        let ticket = ticket.unwrap_or_else(|refused| panic!("{}", refused.failure));
        let number = ticket.number;
        assert!(number != 0 && seen.insert(number), "{number:#x} again");
        assert_eq!(ticket.wait().0, NIXL_STORE_OK);
        assert_eq!(store.poll(number), NIXL_STORE_ERROR_INVALID_HANDLE);
    }
    store.close().unwrap();
}

/// An event loop stops draining its queue. Submits with that queue say busy before a completion would have to be
/// dropped; others go on; a drain makes room, and no completion was lost.
#[test]
fn a_queue_that_nobody_drains_is_busy_and_loses_nothing() {
    let scratch = Scratch::new("completions");
    let store = memory_store(&scratch, 4, 4096);
    put(&store, "key-0", 1, 100);
    let (queue, other) = (store.queue().unwrap(), store.queue().unwrap());
    let submit = |queue, user_data| {
        let how = Submit { queue: Some(queue), user_data, ..Submit::default() };
        store.submit(Direction::Get, vec![get_item(0, 100)], how).map(|ticket| ticket.wait().0)
    };
    for number in 0..COMPLETIONS_MAX as u64 {
        assert_eq!(submit(queue, number).unwrap(), NIXL_STORE_OK);
    }
    for _ in 0..3 {
        let refused = submit(queue, 0).unwrap_err();
        assert_eq!(refused.failure.status, NIXL_STORE_ERROR_BUSY);
        assert!(refused.failure.message.contains("drain"), "{}", refused.failure);
    }
    assert_eq!(submit(other, 1).unwrap(), NIXL_STORE_OK, "another queue is not full");
    assert_eq!(version(&store, "key-0"), Some(1));

    assert_eq!(store.drain(queue, 1).unwrap()[0].user_data, 0);
    assert_eq!(submit(queue, COMPLETIONS_MAX as u64).unwrap(), NIXL_STORE_OK);
    assert!(submit(queue, 0).is_err());
    let mut drained = Vec::new();
    while drained.len() < COMPLETIONS_MAX {
        let some = store.drain(queue, 1000).unwrap();
        assert!(!some.is_empty(), "{} were drained", drained.len());
        drained.extend(some.iter().map(|completion| completion.user_data));
    }
    assert_eq!(drained, (1..=COMPLETIONS_MAX as u64).collect::<Vec<_>>());
    assert!(store.drain(queue, 10).unwrap().is_empty());
    store.close().unwrap();
}

/// Queues and registered regions are bounded as well, and what is given back can be had again.
#[test]
fn queues_and_regions_are_bounded_and_come_back() {
    let scratch = Scratch::new("tables");
    let settings = Settings::pool(&scratch.join("pool"), 4, 4096);
    let store = Store::open(&settings.write(&scratch.join("lmcache.yaml"))).unwrap();
    for _ in 0..2 {
        let mut queues = Vec::new();
        let busy = loop {
            match store.queue() {
                Ok(queue) => queues.push(queue),
                Err(failure) => break failure,
            }
        };
        assert_eq!((busy.status, queues.len()), (NIXL_STORE_ERROR_BUSY, 1024), "{busy}");
        queues.into_iter().for_each(|queue| store.queue_destroy(queue).unwrap());
    }
    let mut memory = vec![0u8; 4096 * 400];
    let base = memory.as_mut_ptr();
    for _ in 0..2 {
        let region = |number: usize| base.wrapping_add(number * 4096);
        let mut count = 0;
        let busy = loop {
            match store.register(region(count), 4096) {
                Ok(()) => count += 1,
                Err(failure) => break failure,
            }
        };
        assert_eq!(busy.status, NIXL_STORE_ERROR_BUSY, "{busy}");
        assert!((200..400).contains(&count), "{count} regions");
        (0..count).for_each(|number| store.unregister(region(number)).unwrap());
    }
    store.close().unwrap();
}

// ---------------------------------------------------------------------------------------------------------------
// A disk that does not move.

/// Items that may be under way in the stores of these tests.
const QUEUE_ITEMS: u64 = 16;

/// Two kinds of store on a disk that can be frozen: one whose threads hand writes to the kernel, one whose threads
/// themselves wait for the disk.
fn frozen_stores(disk: &Disk) -> Vec<Settings> {
    frozen_stores_of(disk, 64, 20_000)
}

/// The same with so many slots of that size.
fn frozen_stores_of(disk: &Disk, slots: u32, chunk_bytes: u64) -> Vec<Settings> {
    let settings = [
        Settings::pool(&disk.path().join("pool"), slots, chunk_bytes).direct(),
        Settings::dynamic(&disk.path().join("objects")),
    ];
    settings.map(|settings| settings.with("nixl_store_queue_items", QUEUE_ITEMS)).to_vec()
}

/// The disk stands still and the queue fills up. Further submits wait as long as they are told to and then say busy;
/// one that may wait for ever gets in when the disk moves again. Nothing that was accepted is lost.
#[test]
fn a_full_queue_waits_until_the_deadline_and_then_is_busy() {
    let Some(disk) = Disk::ext4("queue_items", 64 << 20, "") else { return };
    let scratch = Scratch::new("queue_items_config");
    for settings in frozen_stores(&disk) {
        let store = Store::open(&settings.write(&scratch.join("lmcache.yaml"))).unwrap();
        let frozen = disk.freeze();
        let how = |timeout_ms| Submit { timeout_ms, ..Submit::default() };
        let forever = how(NIXL_STORE_TIMEOUT_INFINITE);
        let first = store.submit(Direction::Put, put_items(0..QUEUE_ITEMS, 10_000), forever);
        let first = first.unwrap_or_else(|refused| panic!("{}", refused.failure));
        for timeout_ms in [1, 50] {
            let refused = store.submit(Direction::Put, put_items(20..21, 10_000), how(timeout_ms));
            let refused = refused.err().expect("a full queue");
            assert_eq!(refused.failure.status, NIXL_STORE_ERROR_BUSY, "{}", refused.failure);
            assert!(refused.failure.message.contains("nixl_store_queue_items"), "{}", refused.failure);
        }
        assert_eq!(store.stats().unwrap().items_in_flight, QUEUE_ITEMS);
        assert_eq!(store.poll(first.number), NIXL_STORE_IN_PROGRESS);
        let second = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let second = store.submit(Direction::Put, put_items(30..40, 10_000), forever);
                second.unwrap_or_else(|refused| panic!("{}", refused.failure))
            });
            assert_eq!(store.poll(first.number), NIXL_STORE_IN_PROGRESS);
            frozen.thaw();
            waiting.join().unwrap()
        });
        assert_eq!(first.wait().0, NIXL_STORE_OK);
        assert_eq!(second.wait().0, NIXL_STORE_OK);
        for key in (0..QUEUE_ITEMS).chain(30..40) {
            assert_eq!(version(&store, &format!("key-{key}")), Some(key));
        }
        assert_eq!(version(&store, "key-20"), None, "what was refused was not put");
        // More items than the queue holds are a batch all the same.
        let large = store.submit(Direction::Put, put_items(0..4 * QUEUE_ITEMS, 1000), forever);
        assert_eq!(large.unwrap_or_else(|refused| panic!("{}", refused.failure)).wait().0, NIXL_STORE_OK);
        assert_eq!(store.stats().unwrap().items_in_flight, 0);
        store.close().unwrap();
    }
}

/// Cancelled or late while the disk stands still: what was started ends as it ends, what was not ends with its
/// status, nothing of it is visible, and closing waits for all of it.
#[test]
fn late_and_cancelled_items_end_with_their_status() {
    let Some(disk) = Disk::ext4("late_items", 64 << 20, "") else { return };
    let scratch = Scratch::new("late_items_config");
    for settings in frozen_stores(&disk) {
        let settings = settings.with("nixl_store_queue_items", 4096).with("nixl_store_io_threads", 1);
        let store = Store::open(&settings.write(&scratch.join("lmcache.yaml"))).unwrap();
        let frozen = disk.freeze();
        let how = |timeout_ms| Submit { timeout_ms, ..Submit::default() };
        // More than a thread works on at a time, so that many wait behind those that stand still.
        let late = store.submit(Direction::Put, put_items(0..1000, 1000), how(20));
        let late = late.unwrap_or_else(|refused| panic!("{}", refused.failure));
        let cancelled = store.submit(Direction::Put, put_items(2000..3000, 1000), Submit::default());
        let cancelled = cancelled.unwrap_or_else(|refused| panic!("{}", refused.failure));
        store.cancel(cancelled.number).unwrap();
        // The deadline of the first passes while the disk still stands, whatever this thread was doing.
        let mut results = vec![STALE; 1000];
        let mut count = usize::MAX;
        let (place, capacity) = (results.as_mut_ptr(), results.len());
        // SAFETY: room for a result of each item, and for their number.
        let waited = unsafe {
            nixl_store_ticket_wait(store.handle(), late.number, 40, place, capacity, &raw mut count)
        };
        if waited == NIXL_STORE_IN_PROGRESS {
            // Some were started. What is not known yet must not look like the success that was in this memory before.
            assert_eq!(count, 0);
            assert!(results.iter().all(|result| result.status == NIXL_STORE_ERROR_NO_RESULT));
        } else {
            // A file is made for each before it is started, and none could be.
            assert_eq!((waited, count), (NIXL_STORE_ERROR_TIMED_OUT, 1000));
            assert!(results.iter().all(|result| result.status == NIXL_STORE_ERROR_TIMED_OUT));
            frozen.thaw();
            let stats = store.stats().unwrap();
            assert_eq!(stats.timed_out, 1000);
            assert_eq!(cancelled.wait().0, NIXL_STORE_ERROR_CANCELLED);
            store.close().unwrap();
            continue;
        }
        frozen.thaw();

        let (_, results) = late.wait();
        let mut ended = [0, 0];
        for (item, result) in &results {
            let visible = version(&store, &item.key).is_some();
            match result.status {
                NIXL_STORE_OK => ended[0] += 1,
                NIXL_STORE_ERROR_TIMED_OUT => {
                    assert!(!visible, "{} timed out", item.key);
                    ended[1] += 1;
                }
                status => panic!("{}: {status}", item.key),
            }
        }
        assert!(ended[1] > 0, "{ended:?}");
        let (status, results) = cancelled.wait();
        assert_eq!(status, NIXL_STORE_ERROR_CANCELLED);
        let untouched = results.iter().filter(|(_, result)| result.status == NIXL_STORE_ERROR_CANCELLED);
        assert!(untouched.clone().count() > 0);
        assert!(untouched.into_iter().all(|(item, _)| !store.contains(&item.key).unwrap()));
        let stats = store.stats().unwrap();
        assert_eq!(stats.items_in_flight, 0);
        assert_eq!(stats.timed_out, ended[1]);
        store.close().unwrap();
    }
}

/// The disk stands still, and a lane with everything that it has under way. What was not started ends all the same, by
/// its deadline or when it is cancelled, while nothing that was started does.
#[test]
fn what_was_not_started_ends_in_time_while_the_disk_stands_still() {
    const BATCHES: u64 = 400;
    /// 0: no deadline but the store's.
    const NO_DEADLINE_MS: u64 = 0;
    /// Far longer than it takes; without a thread that looks at the time it would take until the thaw.
    const PATIENCE: Duration = Duration::from_secs(10);
    let Some(disk) = Disk::ext4("in_time", 64 << 20, "") else { return };
    let scratch = Scratch::new("in_time_config");
    // A slot for each, so that none is evicted that is put after the thaw.
    for settings in frozen_stores_of(&disk, 2 * BATCHES as u32, 4000) {
        let settings = settings.with("nixl_store_queue_items", 4096).with("nixl_store_io_threads", 1);
        let store = Store::open(&settings.write(&scratch.join("lmcache.yaml"))).unwrap();
        let frozen = disk.freeze();
        let submit = |key, timeout_ms| {
            let submitted = store.submit(
                Direction::Put,
                put_items(key..key + 1, 1000),
                Submit { timeout_ms, ..Submit::default() },
            );
            submitted.unwrap_or_else(|refused| panic!("{}", refused.failure))
        };
        let late: Vec<_> = (0..BATCHES).map(|key| submit(key, 50)).collect();
        let cancelled: Vec<_> = (BATCHES..2 * BATCHES).map(|key| submit(key, NO_DEADLINE_MS)).collect();
        for ticket in &cancelled {
            store.cancel(ticket.number).unwrap();
        }
        // The lane may have started as many as it works on at a time. The others end without it.
        let until = Instant::now() + PATIENCE;
        let in_progress = |tickets: &[Ticket<'_>]| {
            tickets.iter().filter(|ticket| store.poll(ticket.number) == NIXL_STORE_IN_PROGRESS).count() as u64
        };
        while in_progress(&late) >= BATCHES / 2 && Instant::now() < until {
            thread::yield_now();
        }
        let started = in_progress(&late);
        let deaf = in_progress(&cancelled);
        frozen.thaw();
        assert!(started < BATCHES / 2, "{started} of {BATCHES} did not end by their deadline");
        assert_eq!(deaf, 0, "cancelled items wait for the disk");
        for ticket in late.into_iter().chain(cancelled) {
            let (status, results) = ticket.wait();
            let found = store.contains(&results[0].0.key).unwrap();
            let is_whole = status == NIXL_STORE_OK && found;
            let is_absent =
                matches!(status, NIXL_STORE_ERROR_TIMED_OUT | NIXL_STORE_ERROR_CANCELLED) && !found;
            assert!(is_whole || is_absent, "{status}, found: {found}");
        }
        put(&store, "after", 1, 1000);
        assert_eq!(version(&store, "after"), Some(1));
        let stats = store.stats().unwrap();
        assert_eq!(stats.items_in_flight, 0);
        assert!(stats.timed_out > BATCHES / 2 && stats.cancelled == BATCHES, "{stats:?}");
        store.close().unwrap();
    }
}

/// The result of an earlier batch.
const STALE: nixl_store_result_t =
    nixl_store_result_t { status: NIXL_STORE_OK, os_error: 0, bytes: 7, object_length: 7, reserved: [0; 3] };

/// Writes are stuck, small ones and large ones. Reads do not wait behind them.
#[test]
fn gets_go_ahead_of_puts_that_are_stuck() {
    let Some(disk) = Disk::ext4("gets_first", 256 << 20, "") else { return };
    let scratch = Scratch::new("gets_first_config");
    for length in [4096, 1_000_000] {
        let settings = Settings::pool(&disk.path().join(format!("pool-{length}")), 80, 1_000_000).direct();
        let store = Store::open(&settings.write(&scratch.join("lmcache.yaml"))).unwrap();
        for key in 0..10 {
            put(&store, &format!("wanted-{key}"), key, 1_000_000);
        }
        let frozen = disk.freeze();
        let puts = store.submit(Direction::Put, put_items(0..60, length), Submit::default()).unwrap();
        let gets = (0..10).map(|key| Item::new(format!("wanted-{key}"), vec![0; 1_000_000])).collect();
        let gets = store.submit(Direction::Get, gets, Submit::default()).unwrap();
        // Far longer than they take; behind the puts they would not end at all.
        let ended = gets.ended_within(Duration::from_secs(10));
        let stuck = store.poll(puts.number) == NIXL_STORE_IN_PROGRESS;
        frozen.thaw();
        assert!(ended && stuck, "{ended} {stuck} reads wait behind writes of {length} bytes");
        let (status, results) = gets.wait();
        assert_eq!(status, NIXL_STORE_OK);
        for (item, _) in results {
            chunk::read(&item.key, &item.memory).unwrap_or_else(|wrong| panic!("{wrong}"));
        }
        assert_eq!(puts.wait().0, NIXL_STORE_OK);
        store.close().unwrap();
    }
}

// ---------------------------------------------------------------------------------------------------------------
// What a process pays, counted in a process of its own.

fn layouts(root: &Path) -> Vec<Settings> {
    vec![
        Settings::pool(&root.join("pool"), 32, 100_000).direct(),
        Settings::pool(&root.join("threads"), 32, 100_000).param("use_uring", "false"),
        Settings::dynamic(&root.join("sharded")).with("nixl_store_capacity_bytes", "4MiB"),
        Settings::dynamic(&root.join("flat")).with("nixl_store_layout", "lmcache"),
        Settings { backend: "MEMORY", ..Settings::pool(&root.join("memory"), 32, 100_000) },
    ]
}

fn resources(peer: &mut Peer) {
    let root = std::path::PathBuf::from(peer.line().expect("a directory"));
    let file = root.join("resources.yaml");
    let counts = || (descriptors(), threads());
    // What the process gets once and keeps (the C library, the runner) must not be counted.
    drop(Store::open(&layouts(&root)[0].write(&file)).unwrap());
    let before = counts();
    for settings in layouts(&root) {
        let config = settings.write(&file);
        let mut during = None;
        for _ in 0..3 {
            let store = Store::open(&config).unwrap_or_else(|failure| panic!("{failure}"));
            let queue = store.queue().unwrap();
            let how = Submit { queue: Some(queue), ..Submit::default() };
            let puts = store.submit(Direction::Put, put_items(0..30, 100_000), how);
            assert_eq!(puts.unwrap_or_else(|refused| panic!("{}", refused.failure)).wait().0, NIXL_STORE_OK);
            let open = counts();
            assert!(open.0 <= before.0 + 40 && open.1 <= before.1 + 20, "{before:?} became {open:?}");
            assert_eq!(*during.get_or_insert(open), open, "a store that is opened again costs the same");
            // A queue's descriptor goes with the queue, whoever was told through it.
            store.queue_destroy(queue).unwrap();
            assert_eq!(counts().0, open.0 - 1, "the queue's eventfd stays open");
            store.close().unwrap();
            assert_eq!(counts(), before, "{:?}", settings.paths);
        }
        // Opens that fail give back what they had taken by then.
        let store = Store::open(&config).unwrap();
        let open = counts();
        for _ in 0..20 {
            if settings.pool_size > 0 && settings.backend == "POSIX" {
                assert_eq!(Store::open(&config).err().unwrap().status, NIXL_STORE_ERROR_LOCKED);
            }
        }
        assert_eq!(counts(), open, "{:?}", settings.paths);
        store.close().unwrap();
        if settings.pool_size > 0 && settings.backend == "POSIX" {
            let other = Settings { pool_size: 33, ..settings.clone() }.write(&file);
            for _ in 0..20 {
                assert_eq!(Store::open(&other).err().unwrap().status, NIXL_STORE_ERROR_FORMAT);
            }
        }
        assert_eq!(counts(), before, "{:?}", settings.paths);
    }
    peer.say("counted");
}

/// An engine that opens and closes stores all day, some of them in vain, does not run out of descriptors or threads:
/// there are few while a store is open and none when it is closed.
#[test]
fn threads_and_descriptors_are_few_and_come_back() {
    let scratch = Scratch::new("resources");
    let mut helper = Helper::start("resources");
    assert_eq!(helper.ask(&scratch.path().display().to_string()), "counted");
    helper.finish();
}

fn memory(peer: &mut Peer) {
    let root = std::path::PathBuf::from(peer.line().expect("a directory"));
    for settings in layouts(&root) {
        let store = Store::open(&settings.write(&root.join("memory.yaml"))).unwrap();
        let queue = store.queue().unwrap();
        let mut next = 0u64;
        let mut work = |rounds: u64| {
            for _ in 0..rounds {
                // New keys all the time in lengths that change: older ones are evicted, removed or replaced.
                let how = Submit { queue: Some(queue), ..Submit::default() };
                let length = 500 + (next as usize * 7919) % 90_000;
                let puts = store.submit(Direction::Put, put_items(next..next + 10, length), how);
                assert_eq!(puts.unwrap_or_else(|r| panic!("{}", r.failure)).wait().0, NIXL_STORE_OK);
                let gets = (next..next + 10).map(|key| get_item(key, 100_000)).collect();
                let gets = store.submit(Direction::Get, gets, how);
                assert_eq!(gets.unwrap_or_else(|r| panic!("{}", r.failure)).wait().0, NIXL_STORE_OK);
                if settings.pool_size == 0 {
                    (next..next + 10).for_each(|key| {
                        assert_eq!(store.remove(&format!("key-{key}")).unwrap(), NIXL_STORE_OK)
                    });
                }
                store.drain(queue, 100).unwrap();
                next += 10;
            }
        };
        work(100);
        let before = resident_bytes();
        work(500);
        let grown = resident_bytes().saturating_sub(before);
        assert!(grown < 3 << 20, "{:?}: {grown} bytes more after 10000 operations", settings.paths);
        store.close().unwrap();
    }
    peer.say("measured");
}

/// Ten thousand operations on ever new keys leave a store's memory where it was.
#[test]
fn memory_does_not_grow_with_operations() {
    let scratch = Scratch::new("memory");
    let mut helper = Helper::start("memory");
    assert_eq!(helper.ask(&scratch.path().display().to_string()), "measured");
    helper.finish();
}

fn few_descriptors(peer: &mut Peer) {
    let root = std::path::PathBuf::from(peer.line().expect("a directory"));
    crash_common::sandbox::enter("descriptors=96");
    for layout in ["sharded", "lmcache"] {
        let settings = Settings::dynamic(&root.join(layout)).with("nixl_store_layout", layout);
        let store = Store::open(&settings.write(&root.join("few.yaml"))).unwrap();
        for _ in 0..3 {
            let (status, results) =
                store.submit(Direction::Put, put_items(0..600, 5000), Submit::default()).unwrap().wait();
            let failed = results.iter().find(|(_, result)| result.status != NIXL_STORE_OK);
            assert_eq!(status, NIXL_STORE_OK, "{layout}: {failed:?}");
            let gets = (0..600).map(|key| get_item(key, 5000)).collect();
            let (status, results) = store.submit(Direction::Get, gets, Submit::default()).unwrap().wait();
            let failed = results.iter().find(|(_, result)| result.status != NIXL_STORE_OK);
            assert_eq!(status, NIXL_STORE_OK, "{layout}: {failed:?}");
            for (item, _) in results {
                chunk::read(&item.key, &item.memory).unwrap_or_else(|wrong| panic!("{wrong}"));
            }
        }
        store.close().unwrap();
    }
    peer.say("done");
}

/// A dynamic store opens a file for each transfer. In a process that has hardly any descriptors left it opens fewer
/// at a time, instead of failing those that are too many.
#[test]
fn a_large_batch_makes_do_with_few_descriptors() {
    let scratch = Scratch::new("few_descriptors");
    let mut helper = Helper::start("few-descriptors");
    assert_eq!(helper.ask(&scratch.path().display().to_string()), "done");
    helper.finish();
}

#[test]
fn once_more_over_hf3fs() {
    crash_common::hf3fs::once_more(&[], 12);
}
