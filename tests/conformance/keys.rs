//! Keys: what they may be, what can be asked of them, and what becomes of the old object.

use nixl_store::capi::{NIXL_STORE_ITEM_EXACT, NIXL_STORE_ITEM_KEEP};

use crate::common::status::{BUFFER_TOO_SMALL, NOT_FOUND, OK, Status};
use crate::common::{Batch, Layout, Store, payload};
use crate::{Case, KIB, MIB};

/// A key is bytes, not text: zeros, newlines, slashes, one byte or the longest; and keys that differ in their last
/// byte or are the beginning of one another are different keys.
pub fn keys_are_any_bytes(case: &Case) {
    let all: Vec<u8> = (0..=255).collect();
    // LMCache's file names hold 255 bytes, and a byte that is no letter takes three.
    let longest = if case.setup.layout == Layout::Lmcache { 255 } else { 1024 };
    let mut keys: Vec<Vec<u8>> = vec![
        vec![b'k'; longest],
        vec![b'k'; longest - 1],
        [&vec![b'k'; longest - 1][..], b"j"].concat(),
        b"a".to_vec(),
        b"a\0".to_vec(),
        b"\0a".to_vec(),
        b"\0".to_vec(),
        b"..a".to_vec(),
        b"a\nb".to_vec(),
        "schlüssel".as_bytes().to_vec(),
        all[..80].to_vec(),
        all[176..].to_vec(),
    ];
    if case.setup.layout != Layout::Lmcache {
        // In LMCache's names `/` and `@` are one, and these are no names at all.
        keys.extend(
            [&b".."[..], b".", b"/", b"../../etc/passwd", b"a/b", b"a@b", b"a_b"].map(<[u8]>::to_vec),
        );
        keys.push(all);
    }
    let opened = case.open(32, 16 * KIB);
    let store = &opened.store;
    let object = |index: usize| payload(index as u64, 100 + index);
    for (index, key) in keys.iter().enumerate() {
        assert_eq!(store.put(key, &object(index)), OK, "{key:?}");
    }
    assert_eq!(store.stats().keys, keys.len() as u64);
    for (index, key) in keys.iter().enumerate() {
        assert_eq!(store.fetch(key, 16 * KIB), Some(object(index)), "{key:?}");
    }
    assert_eq!(store.contains(b"b"), NOT_FOUND);
    opened.end();
}

fn assert_absent(store: &Store, key: &[u8]) {
    assert_eq!(store.contains(key), NOT_FOUND);
    assert_eq!(store.length(key), (NOT_FOUND, u64::MAX));
    assert_eq!(store.fetch(key, 10), None);
    assert_eq!(store.remove(key), NOT_FOUND);
    assert_eq!(store.pin(key), NOT_FOUND);
    assert_eq!(store.unpin(key), NOT_FOUND);
}

/// Contains, length and prefix match say before a get what it will find; after a remove all of them say that there is
/// nothing.
pub fn questions_about_keys_agree_with_gets(case: &Case) {
    let opened = case.open(16, 16 * KIB);
    let store = &opened.store;
    let names: Vec<Vec<u8>> = (0..10).map(|index| format!("chain-{index}").into_bytes()).collect();
    let chain: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
    assert_absent(store, chain[0]);
    assert_eq!(store.prefix_match(&chain), 0);
    assert_eq!(store.prefix_match(&[]), 0);
    // All but the seventh.
    for (index, key) in chain.iter().enumerate().filter(|(index, _)| *index != 6) {
        assert_eq!(store.put(key, &payload(index as u64, 1000 * (index + 1))), OK);
        assert_eq!(store.contains(key), OK);
        assert_eq!(store.length(key), (OK, 1000 * (index as u64 + 1)));
    }
    assert_eq!(store.prefix_match(&chain), 6);
    assert_eq!(store.prefix_match(&chain[7..]), 3);
    assert_eq!(store.prefix_match(&chain[6..]), 0);
    assert_eq!(store.put(chain[6], b"x"), OK);
    assert_eq!(store.prefix_match(&chain), 10);

    // Chains longer than what is looked up at a time, which is 16 keys, and gaps around its borders.
    let long: Vec<&[u8]> = chain.iter().copied().cycle().take(40).collect();
    assert_eq!(store.prefix_match(&long), 40);
    for gap in [0, 1, 15, 16, 17, 31, 32, 39] {
        let mut broken = long.clone();
        broken[gap] = b"nowhere";
        assert_eq!(store.prefix_match(&broken), gap);
    }

    assert_eq!(store.remove(chain[0]), OK);
    assert_absent(store, chain[0]);
    assert_eq!(store.prefix_match(&chain), 0);
    assert_eq!(store.put(chain[0], b"again"), OK);
    assert_eq!(store.fetch(chain[0], 5), Some(b"again".to_vec()));
    assert_eq!(store.prefix_match(&chain), 10);
    assert_eq!(store.stats().keys, 10);
    opened.end();
}

/// A key is put again and again, larger and smaller: every get has the last object alone, at its own length, and
/// nothing of the others takes up room.
pub fn a_key_replaced_has_the_new_object_alone(case: &Case) {
    let opened = case.open(3, MIB);
    let store = &opened.store;
    assert_eq!(store.put(b"other", b"bystander"), OK);
    let before = store.stats();
    for (seed, size) in [10, MIB, 1, 64 * KIB, 64 * KIB + 1, 4096, 300 * KIB, 4095].into_iter().enumerate() {
        let object = payload(seed as u64, size);
        assert_eq!(store.put(b"key", &object), OK);
        assert_eq!(store.length(b"key"), (OK, size as u64));
        assert_eq!(store.fetch(b"key", MIB).as_ref(), Some(&object));
        if size > 1 {
            assert_eq!(store.get(b"key", &mut vec![0; size - 1]), (BUFFER_TOO_SMALL, Some(size)));
        }
        let stats = store.stats();
        assert_eq!((stats.keys, stats.evictions), (2, 0));
        if case.setup.is_static() {
            assert_eq!(stats.slots_free, 1, "the old object's slot is free again");
        }
        if case.counts_payloads() {
            assert_eq!(stats.bytes_stored, 9 + size as u64);
        }
    }
    assert_eq!(store.remove(b"key"), OK);
    assert_eq!(store.stats().bytes_stored, before.bytes_stored);
    assert_eq!(store.fetch(b"other", 100), Some(b"bystander".to_vec()));
    opened.end();
}

/// A store is closed and opened again, as an engine is restarted: everything is there, as it was last put, and what
/// was removed is not. In memory nothing outlives the close.
pub fn objects_are_there_after_a_restart(case: &Case) {
    let mut opened = case.open(32, 200 * KIB);
    let key = |index: usize| format!("key-{index}").into_bytes();
    let object = |index: usize, version: u64| payload(version << 32 | index as u64, 1 + index * 9001);
    for index in 0..20 {
        assert_eq!(opened.store.put(&key(index), &object(index, 1)), OK);
    }
    for index in (0..20).step_by(3) {
        assert_eq!(opened.store.put(&key(index), &object(index, 2)), OK);
    }
    assert_eq!(opened.store.remove(&key(7)), OK);
    assert_eq!(opened.store.flush(), OK);
    let before = opened.store.stats();
    assert_eq!(opened.store.close(), OK);

    let setup = crate::Setup { slots: 32, chunk_bytes: 200 * KIB as u64, ..case.setup.clone() };
    opened.store = Store::open(&setup, &opened.scratch);
    let store = &opened.store;
    for index in 0..20 {
        let version = if index % 3 == 0 { 2 } else { 1 };
        let wanted = (case.is_durable() && index != 7).then(|| object(index, version));
        assert_eq!(store.fetch(&key(index), 200 * KIB), wanted, "key {index}");
    }
    if case.is_durable() {
        let after = store.stats();
        // Where others' objects lie among ours, only what this process put is counted as ours.
        if case.setup.bucket.is_none() || case.setup.layout != Layout::Lmcache {
            assert_eq!((after.keys, after.bytes_stored), (19, before.bytes_stored));
        }
        assert_eq!(after.slots_free, before.slots_free);
    }
    opened.end();
}

/// An engine whose keys stand for their content puts a block again without knowing that it is there. With the flag
/// the stored bytes stay, nothing is written and nothing is counted as put; what is not there is put as ever.
pub fn a_put_that_keeps_leaves_what_is_stored(case: &Case) {
    let opened = case.open(8, 64 * KIB);
    let store = &opened.store;
    let (old, new) = (payload(1, 40 * KIB), payload(2, 50 * KIB));
    assert_eq!(store.put(b"there", &old), OK);
    let before = store.stats();
    let mut puts = Batch::new();
    for key in [&b"there"[..], b"absent"] {
        puts.put(key, &new);
        puts.flag(NIXL_STORE_ITEM_KEEP);
    }
    let (status, results) = store.put_batch(&puts);
    assert_eq!(status, OK);
    assert_eq!((results[0].bytes, results[0].object_length), (0, 40 * KIB as u64));
    assert_eq!((results[1].bytes, results[1].object_length), (50 * KIB as u64, 50 * KIB as u64));
    assert_eq!(store.fetch(b"there", MIB), Some(old));
    assert_eq!(store.fetch(b"absent", MIB), Some(new));
    let after = store.stats();
    assert_eq!((after.puts_ok - before.puts_ok, after.bytes_put - before.bytes_put), (1, 50 * KIB as u64));
    opened.end();
}

/// Keys may outlive the shape of what they stand for: an engine that is set up anew with other chunks puts under the same
/// keys objects of another length. With both flags those replace what is stored, for its exact gets would never find the old ones.
pub fn a_put_that_keeps_exactly_replaces_another_length(case: &Case) {
    let opened = case.open(8, 64 * KIB);
    let store = &opened.store;
    let (old, new) = (payload(1, 40 * KIB), payload(2, 50 * KIB));
    assert_eq!(store.put(b"other length", &old), OK);
    assert_eq!(store.put(b"same length", &old[..30 * KIB]), OK);
    let before = store.stats();
    let mut puts = Batch::new();
    for (key, object) in [(&b"other length"[..], &new[..]), (b"same length", &new[..30 * KIB])] {
        puts.put(key, object);
        puts.flag(NIXL_STORE_ITEM_KEEP | NIXL_STORE_ITEM_EXACT);
    }
    let (status, results) = store.put_batch(&puts);
    assert_eq!(status, OK);
    assert_eq!((results[0].bytes, results[0].object_length), (50 * KIB as u64, 50 * KIB as u64));
    assert_eq!((results[1].bytes, results[1].object_length), (0, 30 * KIB as u64));
    assert_eq!(store.fetch(b"same length", MIB).as_deref(), Some(&old[..30 * KIB]));
    assert_eq!(store.fetch(b"other length", MIB), Some(new));
    assert_eq!(store.stats().puts_ok - before.puts_ok, 1);
    opened.end();
}

/// An engine whose blocks all have one length must not take a shorter or longer object for one of them: with the flag
/// it is not found, and stays stored.
pub fn an_exact_get_takes_no_other_length(case: &Case) {
    let opened = case.open(8, 64 * KIB);
    let store = &opened.store;
    for (key, length) in
        [(&b"right"[..], 9000), (b"shorter", 8999), (b"longer", 9001), (b"tiny", 1), (b"large", 40000)]
    {
        assert_eq!(store.put(key, &payload(length as u64, length)), OK);
    }
    for (key, length) in
        [(&b"right"[..], 9000), (b"shorter", 8999), (b"longer", 9001), (b"tiny", 1), (b"large", 40000)]
    {
        let mut buffer = vec![0; 9000];
        let mut gets = Batch::new();
        gets.get(key, &mut buffer);
        gets.flag(NIXL_STORE_ITEM_EXACT);
        let (status, results) = store.get_batch(&gets);
        drop(gets);
        let wanted = if length == 9000 { OK } else { NOT_FOUND };
        assert_eq!((status, Status(results[0].status)), (wanted, wanted), "{length}");
        if length == 9000 {
            assert_eq!(buffer, payload(9000, 9000));
        }
        assert_eq!(store.contains(key), OK);
    }
    assert_eq!(store.stats().corruptions, 0);
    opened.end();
}
