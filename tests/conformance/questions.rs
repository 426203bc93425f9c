//! Questions about many keys at a time: each key has the answer that the call for one key gives.

use crate::common::questions::Ask;
use crate::common::status::{IN_PROGRESS, NOT_FOUND, OK, PINNED, Status};
use crate::common::{Store, Submit, payload};
use crate::{Case, KIB};

/// More keys than are asked about in one turn, which is 256.
const KEYS: usize = 300;

fn chain() -> Vec<Vec<u8>> {
    (0..KEYS).map(|index| format!("chain-{index}").into_bytes()).collect()
}

fn length(index: usize) -> usize {
    1 + index * 37 % (4 * KIB)
}

#[track_caller]
fn put_all(store: &Store, keys: &[Vec<u8>]) {
    for (index, key) in keys.iter().enumerate() {
        assert_eq!(store.put(key, &payload(index as u64, length(index))), OK);
    }
}

/// What is stored and what is not, in one batch: each item has its status and its object's length, the whole says that
/// something is missing, and nothing counts as a get.
pub fn lookups_in_a_batch_tell_each_keys_length(case: &Case) {
    let opened = case.open(KEYS as u32, 4 * KIB);
    let store = &opened.store;
    let keys = chain();
    assert_eq!(store.ask(Ask::Lookup, &keys[..1]).0, NOT_FOUND);
    put_all(store, &keys);
    let (status, results) = store.ask(Ask::Lookup, &keys);
    assert_eq!((status, results.len()), (OK, KEYS));
    for gap in (0..KEYS).step_by(7) {
        assert_eq!(store.remove(&keys[gap]), OK);
    }
    // A key may be asked about twice.
    let twice: Vec<&Vec<u8>> = keys.iter().chain(&keys[..10]).collect();
    let (status, results) = store.ask(Ask::Lookup, &twice);
    assert_eq!((status, results.len()), (NOT_FOUND, KEYS + 10));
    for (index, result) in results.iter().enumerate() {
        let index = index % KEYS;
        let wanted = if index.is_multiple_of(7) { (NOT_FOUND, 0) } else { (OK, length(index) as u64) };
        assert_eq!((Status(result.status), result.object_length), wanted, "item {index}");
        assert_eq!((result.bytes, result.os_error, result.reserved), (0, 0, [0; 3]));
    }
    let stats = store.stats();
    assert_eq!((stats.gets_hit, stats.gets_missed, stats.gets_failed), (0, 0, 0));
    opened.end();
}

/// Wherever a chain has its first gap, the items before it are found and the first one behind them is not; in front of a
/// turn's border, at it and behind it.
pub fn a_chain_is_found_up_to_its_first_gap(case: &Case) {
    let opened = case.open(KEYS as u32, 4 * KIB);
    let store = &opened.store;
    let keys = chain();
    put_all(store, &keys);
    assert_eq!(store.ask(Ask::Chain, &keys).0, OK);
    for gap in [0, 1, 15, 16, 127, 255, 256, 257, KEYS - 1] {
        let mut broken = keys.clone();
        broken[gap] = b"nowhere".to_vec();
        let (status, results) = store.ask(Ask::Chain, &broken);
        let found = results.iter().take_while(|result| Status(result.status) == OK).count();
        assert_eq!((status, found), (NOT_FOUND, gap));
        assert_eq!(Status(results[gap].status), NOT_FOUND);
        for (index, result) in results.iter().enumerate() {
            match Status(result.status) {
                OK => assert_eq!(result.object_length, length(index) as u64),
                // Behind the gap nobody need have looked.
                status => assert_eq!((status, result.object_length, index >= gap), (NOT_FOUND, 0, true)),
            }
        }
    }
    opened.end();
}

/// Pins, removals and unpins of many keys: each is what the call for one key would have done.
pub fn pins_and_removals_in_batches_are_those_of_each_key(case: &Case) {
    let opened = case.open(KEYS as u32, 4 * KIB);
    let store = &opened.store;
    let mut keys = chain();
    put_all(store, &keys);
    keys.push(b"nowhere".to_vec());
    let (pinned, free) = (&keys[..10], &keys[10..KEYS]);

    assert_eq!(store.answers(Ask::Pin, pinned), [OK; 10]);
    // Twice, and one that is not there.
    assert_eq!(store.answers(Ask::Pin, &[&keys[0], &keys[KEYS]]), [OK, NOT_FOUND]);
    assert_eq!(store.stats().keys_pinned, 10);
    let (status, results) = store.ask(Ask::Remove, &keys);
    assert_eq!(status, PINNED, "what stayed stored matters more than what was not");
    for (index, result) in results.iter().enumerate() {
        let wanted = match index {
            0..10 => PINNED,
            KEYS => NOT_FOUND,
            _ => OK,
        };
        assert_eq!(Status(result.status), wanted, "item {index}");
    }
    assert!(store.answers(Ask::Lookup, pinned).iter().all(|status| *status == OK));
    assert!(store.answers(Ask::Lookup, free).iter().all(|status| *status == NOT_FOUND));
    assert_eq!(store.stats().keys, 10);

    assert_eq!(store.answers(Ask::Unpin, pinned), [OK; 10]);
    assert_eq!(store.answers(Ask::Unpin, &[&keys[0], &keys[1]]), [OK, NOT_FOUND]);
    assert_eq!(store.ask(Ask::Remove, pinned).0, OK);
    assert_eq!(store.ask(Ask::Remove, pinned).0, NOT_FOUND);
    assert_eq!(store.stats().keys, 0);
    opened.end();
}

/// Many batches of questions at once, beside puts and gets, through a completion queue: each completes once, with its own
/// answers, and what was put before is found by all.
pub fn questions_and_transfers_go_on_side_by_side(case: &Case) {
    const BATCHES: usize = 40;
    let opened = case.open(KEYS as u32, 4 * KIB);
    let store = &opened.store;
    let keys = &chain()[..KEYS - 10];
    put_all(store, keys);
    let queue = store.queue();
    let mut pending = Vec::new();
    for number in 0..BATCHES {
        let options = Submit { queue: Some(&queue), user_data: number as u64, ..Submit::default() };
        let ask = [Ask::Lookup, Ask::Chain, Ask::Pin][number % 3];
        pending.push(store.submit_question(ask, keys, options).expect("submitted"));
        let data = payload(7, 1000);
        assert_eq!(store.put(b"beside", &data), OK);
        assert_eq!(store.fetch(b"beside", 1000), Some(data));
    }
    let mut completed: Vec<_> =
        queue.take(BATCHES).iter().map(|done| (done.user_data, done.status)).collect();
    completed.sort_unstable();
    assert!(completed.iter().enumerate().all(|(at, done)| *done == (at as u64, OK.0)), "{completed:?}");
    for pending in pending {
        assert_ne!(pending.poll(), IN_PROGRESS);
        assert_eq!(pending.wait().0, OK);
    }
    drop(queue);
    for _ in (0..BATCHES).filter(|number| number % 3 == 2) {
        assert_eq!(store.ask(Ask::Unpin, keys).0, OK);
    }
    assert_eq!(store.ask(Ask::Unpin, keys).0, NOT_FOUND);
    opened.end();
}
