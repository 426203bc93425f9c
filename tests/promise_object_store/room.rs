//! A capacity in bytes: what a store wrote leaves again to make room, on one bucket for all processes together.

use crate::crash_common::remote::Remote;
use crate::place::{KIB, MIB, Place, put, version};
use crate::s3_common::Server;

const OBJECT_BYTES: usize = 256 * KIB;
const CAPACITY_BYTES: usize = 4 * MIB;
/// What a record has beside its payload, at most.
const RECORD_BYTES_MAX: usize = OBJECT_BYTES + 8 * KIB;

fn bytes(place: &Place) -> usize {
    place.objects().iter().map(|object| object.bytes as usize).sum()
}

/// Puts into a full store push out what was used longest ago; the bucket never has more than the capacity.
#[test]
fn a_capacity_in_bytes_holds() {
    let place = Place::new("capacity");
    let settings = place
        .dynamic(&Server::of_this_process().endpoint())
        .with("nixl_store_capacity_bytes", CAPACITY_BYTES);
    let store = place.open(&settings);
    let fit = CAPACITY_BYTES / RECORD_BYTES_MAX;
    let key = |number: usize| format!("key-{number}");
    for number in 0..fit {
        put(&store, &key(number), 1, OBJECT_BYTES);
    }
    assert_eq!(place.objects().len(), fit);
    assert_eq!(version(&store, &key(0), OBJECT_BYTES), Some(1));
    for number in fit..3 * fit {
        put(&store, &key(number), 1, OBJECT_BYTES);
        assert!(bytes(&place) <= CAPACITY_BYTES, "{} bytes", bytes(&place));
        if number < fit + 3 {
            assert!(store.contains(&key(0)).unwrap(), "it was used after the others");
            assert!(!store.contains(&key(number + 1 - fit)).unwrap());
        }
    }
    let stats = store.stats().unwrap();
    assert!(stats.evictions as usize >= 2 * fit - 1, "{} evictions", stats.evictions);
    for number in 2 * fit + 1..3 * fit {
        assert_eq!(version(&store, &key(number), OBJECT_BYTES), Some(1));
    }
    place.end(store);
    // What was there before an open counts.
    let store = place.open(&settings);
    for number in 0..fit {
        put(&store, &format!("new-{number}"), 1, OBJECT_BYTES);
    }
    assert!(bytes(&place) <= CAPACITY_BYTES + RECORD_BYTES_MAX, "{} bytes", bytes(&place));
    place.end(store);
}

/// A pinned key stays, and when nothing can leave a put says so and harms nothing.
#[test]
fn a_pinned_key_is_not_evicted() {
    let place = Place::new("pinned");
    let settings =
        place.dynamic(&Server::of_this_process().endpoint()).with("nixl_store_capacity_bytes", MIB);
    let store = place.open(&settings);
    put(&store, "pinned", 1, OBJECT_BYTES);
    assert!(store.pin("pinned").unwrap());
    for number in 0..12 {
        put(&store, &format!("key-{number}"), 1, OBJECT_BYTES);
    }
    assert_eq!(version(&store, "pinned", OBJECT_BYTES), Some(1));
    assert!(store.unpin("pinned").unwrap());
    let too_large = store.put("large", &vec![7; 2 * MIB]).unwrap_err();
    assert!(too_large.status < 0, "{too_large}");
    assert_eq!(version(&store, "pinned", OBJECT_BYTES), Some(1), "nothing is lost for a put that cannot be");
    place.end(store);
}

/// Two processes that fill one bucket keep it within bounds together, without talking to each other.
#[test]
fn a_fleet_keeps_its_bucket_within_bounds() {
    let place = Place::new("fleet");
    let settings = place
        .dynamic(&Server::of_this_process().endpoint())
        .with("nixl_store_capacity_bytes", CAPACITY_BYTES);
    let config = place.write(&settings);
    let mut fleet = [Remote::open(&config), Remote::open(&config)];
    for number in 0..40 {
        for (rank, remote) in fleet.iter_mut().enumerate() {
            remote.put(&format!("{rank}-{number}"), 1, OBJECT_BYTES).unwrap();
        }
    }
    // Each alone would keep within its capacity; what the other one has it learns now and then.
    let most = 2 * CAPACITY_BYTES + 2 * RECORD_BYTES_MAX;
    assert!(bytes(&place) <= most, "{} bytes", bytes(&place));
    for (rank, remote) in fleet.iter_mut().enumerate() {
        assert_eq!(remote.get(&format!("{rank}-39")).unwrap(), Some(1));
        remote.close().unwrap();
    }
    for remote in fleet {
        remote.finish();
    }
    place.assert_no_uploads();
}
