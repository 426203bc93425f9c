//! What cannot go direct passes the staging buffer, in host memory or on a device, and comes back as it was.

use crate::common::batch::Batch;
use crate::common::status::OK;
use crate::common::{Cut, Kind, Memory, Random, Scratch, Setup, Store, payload};
use crate::on_device::{BLOCK, OnDevice, even};
use crate::{KIB, MIB, Moved, STORES, Turn, end, get, put};

/// Puts from these pieces and gets into them; the bytes that went direct and those that were staged, of both.
#[track_caller]
fn round_trip(store: &Store, device: usize, spans: &[std::ops::Range<usize>], what: &str) -> [(u64, u64); 2] {
    let bytes: usize = spans.iter().map(ExactSizeIterator::len).sum();
    let object = payload(bytes as u64 ^ 0x5151, bytes);
    let mut moved = Moved::new(store);
    let source = OnDevice::holding(Kind::Device, device, spans.to_vec(), &object);
    assert_eq!(put(store, b"key", source.segments()), OK, "{what}");
    let of_put = moved.next(store);
    let target = OnDevice::new(Kind::Device, device, spans.to_vec());
    assert_eq!(get(store, b"key", target.segments()), OK, "{what}");
    let of_get = moved.next(store);
    target.assert_holds(&object, &what);
    assert_eq!(store.fetch(b"key", bytes), Some(object), "{what}");
    [of_put, of_get]
}

/// Addresses that are not aligned, segments that cut a checksum block, and small ones: all of the bytes are staged.
#[test]
fn what_is_not_aligned_is_staged() {
    let Some(_turn) = Turn::take() else { return };
    for (name, of) in STORES {
        let scratch = Scratch::new(name);
        let store = Store::open(&Setup { chunk_bytes: 4 * MIB as u64, ..of }, &scratch);
        for (about, spans) in [
            ("an odd address", even(3 * MIB, 3 * MIB, 0, 1)),
            ("an address that is aligned for the device alone", even(MIB, MIB, 0, 512)),
            ("segments that cut blocks", even(MIB, 96 * KIB, 4 * KIB, 0)),
            ("pages", even(MIB, 4 * KIB, 4 * KIB, 0)),
            ("many small segments", even(96 * KIB, 48, 16, 5)),
        ] {
            let what = format!("{name}: {about}");
            let bytes: u64 = spans.iter().map(|span| span.len() as u64).sum();
            assert_eq!(round_trip(&store, 0, &spans, &what), [(0, bytes); 2], "{what}");
        }
        end(&store);
    }
}

/// Of an object that ends within a page the last piece is staged and the others go direct.
#[test]
fn lengths_that_are_no_pages_come_back() {
    let Some(_turn) = Turn::take() else { return };
    for (name, of) in STORES {
        let scratch = Scratch::new(name);
        let store = Store::open(&Setup { chunk_bytes: 4 * MIB as u64, ..of }, &scratch);
        for bytes in [1, 240, 241, 4095, 4097, BLOCK - 1, BLOCK + 1, 300_001, MIB + 1, 3 * MIB + 4095] {
            let what = format!("{name}: {bytes} bytes");
            for (direct, _) in round_trip(&store, 0, &even(bytes, bytes, 0, 0), &what) {
                assert!(bytes < 3 * MIB || direct >= MIB as u64, "{what}: {direct} direct");
            }
        }
        end(&store);
    }
}

/// Pages that lie apart are gathered and scattered by a launch for each slice of the staging buffer, and not by a copy each.
#[test]
fn many_small_segments_are_gathered_by_launches() {
    const PAGES: usize = 128;
    let Some(turn) = Turn::take() else { return };
    for (name, of) in STORES {
        let scratch = Scratch::new(name);
        let store = Store::open(&of, &scratch);
        let spans = even(PAGES * 4 * KIB, 4 * KIB, 4 * KIB, 0);
        round_trip(&store, 0, &spans, name);
        let object = payload(9, PAGES * 4 * KIB);
        let memory = OnDevice::holding(Kind::Device, 0, spans, &object);
        let calls = |name| turn.driver.calls(name);
        let before = (calls("cuLaunchKernel"), calls("cuMemcpyAsync"));
        assert_eq!(put(&store, b"key", memory.segments()), OK);
        assert_eq!(get(&store, b"key", memory.segments()), OK);
        let (launches, copies) = (calls("cuLaunchKernel") - before.0, calls("cuMemcpyAsync") - before.1);
        // Two pieces, each gathered or scattered, and summed where they lie on the device.
        assert!((2..=16).contains(&launches), "{name}: {launches} launches");
        assert!(copies < PAGES as u64 / 8, "{name}: {copies} copies");
        memory.assert_holds(&object, &name);
        end(&store);
    }
}

/// Host memory among a device's, in one item, in any order and cut anywhere.
#[test]
fn host_memory_among_a_devices_comes_back() {
    const BYTES: usize = MIB + 777;
    let Some(_turn) = Turn::take() else { return };
    for (name, of) in STORES {
        let scratch = Scratch::new(name);
        let store = Store::open(&Setup { chunk_bytes: 2 * MIB as u64, ..of }, &scratch);
        let object = payload(4, BYTES);
        // A third of it on the host: in the middle, first, last; cut where pages are and where they are not.
        for (from, to) in [(256 * KIB, 512 * KIB), (0, 300 * KIB), (700_001, BYTES), (65_535, 65_537)] {
            let what = format!("{name}: {from}..{to} on the host");
            let mut host = Memory::new(to - from);
            host.bytes_mut()[..to - from].copy_from_slice(&object[from..to]);
            let device = OnDevice::whole(&object);
            let segments = |device: &OnDevice, host: &Memory| {
                let mut segments = vec![host.segment(0..to - from)];
                if from > 0 {
                    segments.insert(0, device.segment(0..from));
                }
                if to < BYTES {
                    segments.push(device.segment(to..BYTES));
                }
                segments
            };
            assert_eq!(put(&store, b"key", segments(&device, &host)), OK, "{what}");
            assert_eq!(store.fetch(b"key", BYTES).as_ref(), Some(&object), "{what}");
            let (back, back_host) = (OnDevice::room(BYTES), Memory::new(to - from));
            assert_eq!(get(&store, b"key", segments(&back, &back_host)), OK, "{what}");
            assert!(back.read(0..from) == object[..from], "{what}");
            assert!(back_host.bytes()[..to - from] == object[from..to], "{what}");
            assert!(back.read(to..BYTES) == object[to..], "{what}");
        }
        end(&store);
    }
}

/// Host memory alone, with a staging buffer on a device: what cannot go direct is copied there and summed there.
#[test]
fn host_memory_passes_a_buffer_on_a_device() {
    let Some(_turn) = Turn::take() else { return };
    for (name, of) in STORES {
        let scratch = Scratch::new(name);
        let store = Store::open(&Setup { chunk_bytes: 2 * MIB as u64, ..of }, &scratch);
        let mut random = Random::new(5);
        for (index, cut) in [
            Cut::Whole { offset: 8 },
            Cut::Whole { offset: 0 },
            Cut::Even { piece: 4096, gap: 100, offset: 7 },
            Cut::Ragged { pieces: 90, seed: random.next() },
        ]
        .into_iter()
        .enumerate()
        {
            let object = payload(index as u64, MIB + 1001);
            let source = crate::common::Pieces::holding(&object, cut);
            let mut puts = Batch::new();
            puts.pieces(b"key", &source);
            assert_eq!(store.put_batch(&puts).0, OK);
            let target = crate::common::Pieces::new(object.len(), cut);
            let mut gets = Batch::new();
            gets.pieces(b"key", &target);
            assert_eq!(store.get_batch(&gets).0, OK);
            target.assert_holds(&object, &format!("{name} {cut:?}"));
        }
        end(&store);
    }
}

/// Memory of another device than the staging buffer's: aligned it goes direct, else by way of the other device.
#[test]
fn memory_of_another_device_comes_back() {
    let Some(turn) = Turn::take() else { return };
    assert!(turn.driver.devices() >= 2);
    for (name, of) in STORES {
        let scratch = Scratch::new(name);
        let store = Store::open(&Setup { chunk_bytes: 2 * MIB as u64, ..of }, &scratch);
        let bytes = MIB as u64;
        let whole = even(MIB, MIB, 0, 0);
        assert_eq!(round_trip(&store, 1, &whole, name), [(bytes, 0); 2], "{name}");
        assert_eq!(round_trip(&store, 1, &even(MIB, MIB, 0, 9), name), [(0, bytes); 2], "{name}");
        assert_eq!(round_trip(&store, 1, &even(MIB, 4 * KIB, 4 * KIB, 0), name), [(0, bytes); 2], "{name}");
        // One object on both, each half in whole blocks, and cut within one.
        for cut in [MIB / 2, MIB / 2 + 100] {
            let object = payload(cut as u64, MIB);
            let halves = [&object[..cut], &object[cut..]];
            let memory = |device: usize| {
                let half = halves[device];
                OnDevice::holding(Kind::Device, device, even(half.len(), half.len(), 0, 0), half)
            };
            let segments = |halves: &[OnDevice; 2]| halves.iter().flat_map(OnDevice::segments).collect();
            let sources = [memory(0), memory(1)];
            assert_eq!(put(&store, b"key", segments(&sources)), OK, "{name} {cut}");
            let room = |device: usize| {
                let bytes = halves[device].len();
                OnDevice::new(Kind::Device, device, even(bytes, bytes, 0, 0))
            };
            let targets = [room(0), room(1)];
            assert_eq!(get(&store, b"key", segments(&targets)), OK, "{name} {cut}");
            targets.iter().zip(halves).for_each(|(target, half)| target.assert_holds(half, &name));
        }
        end(&store);
    }
}
