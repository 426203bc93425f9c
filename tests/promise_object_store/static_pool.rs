//! A static pool in a bucket: at most so many objects under a prefix, known again after a restart, with one owner.

use crate::crash_common::api::Options;
use crate::crash_common::remote::Remote;
use crate::place::{KIB, LARGE, Place, put, version};
use crate::s3_common::{Fault, Proxy, Rule, Server};
use nixl_store::capi::*;

const SLOTS: u32 = 6;
const CHUNK_BYTES: usize = 64 * KIB;

fn key(number: usize) -> String {
    format!("key-{number}")
}

/// Objects that hold chunks, and not what the pool keeps beside them.
fn chunks(place: &Place) -> usize {
    place.objects().iter().filter(|object| object.bytes > 8 * KIB as u64).count()
}

/// A full pool evicts what was used longest ago; there are never more objects than slots, and a restart finds all.
#[test]
fn a_pool_has_at_most_so_many_objects() {
    let place = Place::new("pool");
    let settings = place.pool(&Server::of_this_process().endpoint(), SLOTS, CHUNK_BYTES);
    let store = place.open(&settings);
    for number in 0..3 * SLOTS as usize {
        put(&store, &key(number), 1, CHUNK_BYTES - number);
        assert!(chunks(&place) <= SLOTS as usize, "{} objects", chunks(&place));
    }
    let stats = store.stats().unwrap();
    assert_eq!(
        (stats.keys, stats.slots, stats.evictions),
        (SLOTS.into(), SLOTS.into(), 2 * u64::from(SLOTS))
    );
    let kept = 2 * SLOTS as usize..3 * SLOTS as usize;
    assert!(!store.contains(&key(0)).unwrap());
    kept.clone().for_each(|number| assert_eq!(version(&store, &key(number), CHUNK_BYTES - number), Some(1)));
    place.end(store);

    let store = place.open(&settings);
    assert_eq!(store.stats().unwrap().keys, SLOTS.into());
    for number in kept.clone() {
        assert!(store.contains(&key(number)).unwrap());
        assert_eq!(version(&store, &key(number), CHUNK_BYTES - number), Some(1));
    }
    // Replacing and removing need no slot more.
    put(&store, &key(kept.start), 2, 20_000);
    assert_eq!(version(&store, &key(kept.start), 20_000), Some(2));
    assert_eq!(store.remove(&key(kept.start + 1)).unwrap(), NIXL_STORE_OK);
    put(&store, "another", 1, CHUNK_BYTES);
    assert_eq!((store.stats().unwrap().evictions, chunks(&place)), (0, SLOTS as usize));
    let too_large = store.put("large", &vec![1; CHUNK_BYTES + 1]).unwrap_err();
    assert_eq!(too_large.status, NIXL_STORE_ERROR_TOO_LARGE);
    assert_eq!(store.clear().unwrap(), SLOTS.into());
    assert_eq!(chunks(&place), 0);
    place.end(store);
}

/// Slots of many megabytes go in parts like any large object.
#[test]
fn a_pool_of_large_chunks_goes_in_parts() {
    let place = Place::new("large_pool");
    let settings = place.pool(&Server::of_this_process().endpoint(), 2, LARGE);
    let store = place.open(&settings);
    for number in 0..3 {
        put(&store, &key(number), 1, LARGE);
    }
    assert_eq!((version(&store, &key(0), LARGE), version(&store, &key(2), LARGE)), (None, Some(1)));
    place.end(store);
    let store = place.open(&settings);
    assert_eq!(version(&store, &key(1), LARGE), Some(1));
    place.end(store);
}

/// A second owner is told who has the pool; it gets in when the first one closes, and when it was killed.
#[test]
fn a_second_owner_is_told_who_holds_the_pool() {
    let place = Place::new("owner");
    let config = place.write(&place.pool(&Server::of_this_process().endpoint(), SLOTS, CHUNK_BYTES));
    let mut first = Remote::open(&config);
    first.put("key", 1, CHUNK_BYTES).unwrap();
    let mut second = Remote::start();
    let told = second.try_open(&config, &Options::default()).unwrap_err();
    assert_eq!(told.status, NIXL_STORE_ERROR_LOCKED, "{told}");
    assert!(told.message.contains(&first.helper.id().to_string()), "{told}");
    assert_eq!(first.get("key").unwrap(), Some(1), "the owner is not disturbed");
    first.close().unwrap();
    second.try_open(&config, &Options::default()).expect("closing gives it back");
    assert_eq!(second.get("key").unwrap(), Some(1));
    second.put("key", 2, CHUNK_BYTES).unwrap();
    second.kill();
    first.try_open(&config, &Options::default()).expect("its owner, on this host, is dead");
    assert_eq!(first.get("key").unwrap(), Some(2));
    first.close().unwrap();
    first.finish();
}

/// A pool that was made with another shape is refused, told how to proceed, and left as it is.
#[test]
fn a_pool_of_another_shape_is_refused() {
    let place = Place::new("shape");
    let endpoint = Server::of_this_process().endpoint();
    let store = place.open(&place.pool(&endpoint, SLOTS, CHUNK_BYTES));
    put(&store, "key", 1, CHUNK_BYTES);
    place.end(store);
    let before = place.objects();
    for (slots, chunk_bytes) in [(SLOTS + 1, CHUNK_BYTES), (SLOTS, 2 * CHUNK_BYTES)] {
        let refused = place.try_open(&place.pool(&endpoint, slots, chunk_bytes)).err().expect("refused");
        assert_eq!(refused.status, NIXL_STORE_ERROR_FORMAT, "{refused}");
        assert!(refused.message.contains(&place.prefix), "{refused}");
    }
    let names = |objects: &[crate::s3_common::Listed]| objects.to_vec();
    assert_eq!(names(&before), names(&place.objects()));
    let store = place.open(&place.pool(&endpoint, SLOTS, CHUNK_BYTES));
    assert_eq!(version(&store, "key", CHUNK_BYTES), Some(1));
    place.end(store);
}

/// Where the server does not honour the condition that a lease needs, that is said.
#[test]
fn a_lease_that_cannot_be_had_is_told() {
    let place = Place::new("lease");
    let proxy = Proxy::new();
    proxy.add(Rule::any(Fault::StripRequest("If-None-Match")));
    proxy.add(Rule::any(Fault::StripRequest("If-Match")));
    let store = place.open(&place.pool(&proxy.endpoint(), SLOTS, CHUNK_BYTES));
    assert!(!store.log.matching(NIXL_STORE_LOG_WARN, "If-None-Match").is_empty(), "{:?}", store.log.lines());
    put(&store, "key", 1, CHUNK_BYTES);
    assert_eq!(version(&store, "key", CHUNK_BYTES), Some(1));
    place.end_at(store, &proxy);
}
