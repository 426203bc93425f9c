//! Long runs of operations against a simple model.

use std::collections::BTreeMap;

use crate::common::status::{NOT_FOUND, OK, PINNED, Status};
use crate::common::{Batch, Cut, Pieces, Random, payload};
use crate::{Case, KIB};

const KEYS: usize = 12;
const OBJECT_BYTES_MAX: usize = 90 * KIB;

fn key(index: usize) -> Vec<u8> {
    format!("key-{index}").into_bytes()
}

/// A few hundred operations of all kinds in an order that nobody would think of. After each, the store knows exactly
/// what a map would.
pub fn random_operations_agree_with_a_map(case: &Case) {
    // One slot more than there are keys: replacing needs a slot beside the old object's.
    let opened = case.open(KEYS as u32 + 8, OBJECT_BYTES_MAX);
    let store = &opened.store;
    let mut model: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
    let mut pins = [0u32; KEYS];
    let mut random = Random::new(0x006d_6f64_656c);
    for step in 0..400 {
        let index = random.below(KEYS);
        let name = key(index);
        let known = model.get(&index);
        match random.below(20) {
            0..6 => {
                let size = random.between(1, if step % 3 == 0 { OBJECT_BYTES_MAX } else { 9000 });
                let object = payload(step, size);
                let cut = Cut::Ragged { pieces: random.between(1, 20), seed: step };
                let source = Pieces::holding(&object, cut);
                let mut puts = Batch::new();
                puts.pieces(&name, &source);
                assert_eq!(store.put_batch(&puts).0, OK);
                drop(puts);
                model.insert(index, object);
            }
            6..11 => {
                let room = known.map_or(10, |object| object.len() + random.below(3) * 5000);
                let target = Pieces::new(room, Cut::Ragged { pieces: random.between(1, 9), seed: step });
                let mut gets = Batch::new();
                gets.pieces(&name, &target);
                let (status, _) = store.get_batch(&gets);
                match known {
                    Some(object) => {
                        assert_eq!(status, OK);
                        target.assert_holds(object, &format_args!("step {step}"));
                    }
                    None => assert_eq!(status, NOT_FOUND),
                }
            }
            11 | 12 => {
                let Some(object) = known else { continue };
                let offset = random.below(object.len());
                let target =
                    Pieces::new(random.between(1, object.len() - offset), Cut::Whole { offset: index });
                let mut gets = Batch::new();
                gets.pieces_range(&name, offset as u64, &target);
                let (status, results) = store.get_batch(&gets);
                assert_eq!(status, OK);
                let end = offset + results[0].bytes as usize;
                target.assert_holds(&object[offset..end], &format_args!("step {step}"));
            }
            13 | 14 => {
                let wanted = match known {
                    None => NOT_FOUND,
                    Some(_) if pins[index] > 0 => PINNED,
                    Some(_) => OK,
                };
                assert_eq!(store.remove(&name), wanted, "step {step}");
                if wanted == OK {
                    model.remove(&index);
                }
            }
            15 => {
                assert_eq!(store.pin(&name), if known.is_some() { OK } else { NOT_FOUND });
                pins[index] += u32::from(known.is_some());
            }
            16 => {
                assert_eq!(store.unpin(&name), if pins[index] > 0 { OK } else { NOT_FOUND });
                pins[index] = pins[index].saturating_sub(1);
            }
            17 => {
                let wanted = known.map_or((NOT_FOUND, u64::MAX), |object| (OK, object.len() as u64));
                assert_eq!(store.length(&name), wanted);
                assert_eq!(store.contains(&name), wanted.0);
            }
            18 => {
                let names: Vec<_> = (0..KEYS).map(key).collect();
                let chain: Vec<_> = names.iter().map(Vec::as_slice).collect();
                let wanted = (0..KEYS).take_while(|index| model.contains_key(index)).count();
                assert_eq!(store.prefix_match(&chain), wanted);
            }
            _ if step % 4 == 0 => {
                let unpinned = model.keys().filter(|&&index| pins[index] == 0).count();
                assert_eq!(store.clear(), unpinned as u64);
                model.retain(|&index, _| pins[index] > 0);
            }
            _ => {}
        }
        let stats = store.stats();
        let pinned = pins.iter().filter(|&&pins| pins > 0).count();
        assert_eq!((stats.keys, stats.keys_pinned), (model.len() as u64, pinned as u64), "step {step}");
    }
    for index in 0..KEYS {
        assert_eq!(store.fetch(&key(index), OBJECT_BYTES_MAX).as_ref(), model.get(&index), "key {index}");
    }
    let stats = store.stats();
    assert_eq!(stats.evictions, 0);
    if case.setup.is_static() {
        assert_eq!(stats.slots_free, stats.slots - stats.keys);
    }
    if case.counts_payloads() {
        let bytes: usize = model.values().map(Vec::len).sum();
        assert_eq!(stats.bytes_stored, bytes as u64);
    }
    opened.assert_faults_were_met();
    opened.end();
}

/// An operator's dashboard: hits, misses and failures add up to what was asked, bytes to what was moved, direct and
/// staged bytes to all of them.
pub fn statistics_add_up(case: &Case) {
    let opened = case.open(8, 256 * KIB);
    let store = &opened.store;
    let objects: Vec<_> =
        [100, 4096, 70_000, 256 * KIB].into_iter().map(|size| payload(size as u64, size)).collect();
    let total: usize = objects.iter().map(Vec::len).sum();
    for (index, object) in objects.iter().enumerate() {
        let source = Pieces::holding(object, Cut::Whole { offset: index % 2 });
        let mut puts = Batch::new();
        puts.pieces(&key(index), &source);
        assert_eq!(store.put_batch(&puts).0, OK);
    }
    let stats = store.stats();
    assert_eq!((stats.puts_ok, stats.puts_failed, stats.bytes_put), (4, 0, total as u64));
    assert_eq!(stats.bytes_direct + stats.bytes_staged, total as u64);
    for round in 0..3 {
        for (index, object) in objects.iter().enumerate() {
            let target = Pieces::new(object.len(), Cut::Whole { offset: round });
            let mut gets = Batch::new();
            gets.pieces(&key(index), &target);
            assert_eq!(store.get_batch(&gets).0, OK);
        }
        assert_eq!(store.fetch(b"absent", 10), None);
    }
    let target = Pieces::new(10, Cut::Whole { offset: 0 });
    let mut gets = Batch::new();
    gets.pieces_range(&key(0), 95, &target);
    let (_, results) = store.get_batch(&gets);
    assert!(Status(results[0].status) != OK);
    let stats = store.stats();
    assert_eq!((stats.gets_hit, stats.gets_missed, stats.gets_failed), (12, 3, 1));
    assert_eq!(stats.bytes_got, 3 * total as u64);
    assert_eq!((stats.cancelled, stats.gets_unverified), (0, 0));
    // What is read beyond the object (its checksum blocks, its padding) is not counted as delivered.
    assert!(stats.bytes_direct + stats.bytes_staged >= 4 * total as u64);
    assert_eq!(stats.struct_size, size_of_val(&stats));
    if case.setup.is_static() {
        assert_eq!((stats.slots, stats.slots_free), (8, 4));
        assert_eq!(stats.capacity_bytes, 8 * 256 * KIB as u64);
    }
    if case.counts_payloads() {
        assert_eq!(stats.bytes_stored, total as u64);
    }
    opened.end();
}
