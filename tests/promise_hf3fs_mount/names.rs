//! Other hosts believe names and attributes for up to 30 s after they were changed. What a store tells there may be old; it is never
//! wrong: the bytes of some put, whole, or a miss.

use crate::common::status::OK;
use crate::common::{Alone, Store};
use crate::world::{CACHE_MS, KIB, KINDS, data, data_there, put_ok, version, with_another_host};

const KEYS: usize = 6;
const ROUNDS: u64 = 6;

/// Lengths that differ from version to version, so that an old length and new bytes would meet.
fn bytes(number: usize, version: u64) -> usize {
    (number * 37 + version as usize * 71) % 200 * KIB + 100 + version as usize
}

/// Objects come, are replaced by longer and shorter ones, and go, while the other host looks all the time.
#[test]
fn what_another_host_believes_is_right_bytes_or_a_miss() {
    let _standin = Alone::new();
    let Some(fs) = with_another_host("believes", CACHE_MS) else { return };
    for (kind, setup) in &KINDS[1..] {
        let here = Store::open_at(setup, &data(&fs, kind));
        let there = Store::open_at(setup, &data_there(&fs, kind));
        let look = |number: usize, newest: u64| {
            let key = format!("key{number}");
            // Looked at byte for byte.
            if let Some(seen) = version(&there, &key) {
                assert!(
                    (1..=newest).contains(&seen),
                    "{kind}: {key} of version {seen}, {newest} is the newest"
                );
            }
            let (status, length) = there.length(key.as_bytes());
            let was_put = (1..=newest).any(|version| bytes(number, version) as u64 == length);
            assert!(status != OK || was_put, "{kind}: {key} has {length} bytes");
        };
        for round in 1..=ROUNDS {
            for number in 0..KEYS {
                look(number, round - 1);
                let key = format!("key{number}");
                put_ok(&here, &key, round, bytes(number, round));
                assert_eq!(version(&here, &key), Some(round), "the host that put it sees it at once");
                look(number, round);
                if (number as u64 + round).is_multiple_of(3) {
                    assert_eq!(here.remove(key.as_bytes()), OK);
                    assert_eq!(version(&here, &key), None);
                    look(number, round);
                }
            }
        }
        for number in 0..KEYS {
            put_ok(&there, &format!("key{number}"), ROUNDS + 1, bytes(number, ROUNDS + 1));
            assert_eq!(version(&there, &format!("key{number}")), Some(ROUNDS + 1));
            let seen = version(&here, &format!("key{number}"));
            assert!(seen.is_none_or(|seen| seen <= ROUNDS + 1), "{kind}: {seen:?}");
        }
        assert_eq!((there.close(), here.close()), (OK, OK));
    }
}

/// What the other host's kernel believes to be absent is put there: the put counts, and both have one object in the end.
#[test]
fn a_put_wins_over_what_its_host_believes() {
    let _standin = Alone::new();
    let Some(fs) = with_another_host("wins", CACHE_MS) else { return };
    for (kind, setup) in &KINDS[1..] {
        let here = Store::open_at(setup, &data(&fs, kind));
        let there = Store::open_at(setup, &data_there(&fs, kind));
        for number in 0..KEYS {
            let key = format!("key{number}");
            assert_eq!(version(&there, &key), None);
            put_ok(&here, &key, 1, bytes(number, 1));
            put_ok(&there, &key, 2, bytes(number, 2));
            assert_eq!(version(&there, &key), Some(2));
        }
        assert_eq!((there.close(), here.close()), (OK, OK));
        // Nothing is believed of a mount that was just made; a scan finds what there is.
        let here = Store::open_at(setup, &data(&fs, kind));
        for number in 0..KEYS {
            let seen = version(&here, &format!("key{number}"));
            assert!([None, Some(1), Some(2)].contains(&seen), "{kind}: {seen:?}");
        }
        assert_eq!(here.close(), OK);
    }
}
