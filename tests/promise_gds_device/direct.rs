//! What goes direct: memory of a device that is aligned as O_DIRECT asks, with each checksum block in one piece.

use crate::common::batch::Batch;
use crate::common::status::OK;
use crate::common::{Kind, Layout, Scratch, Setup, Store, payload};
use crate::on_device::{BLOCK, OnDevice, even};
use crate::{KIB, MIB, Moved, STORES, Turn, end, get, put};

/// Everything that a put and a get move goes straight between the device and storage, and a kernel computes the sums: of objects
/// of one page, of one that needs many requests, in one piece and in many, from every kind of a device's memory.
#[test]
fn aligned_memory_goes_direct() {
    const LARGE: usize = 32 * MIB;
    let Some(turn) = Turn::take() else { return };
    for (name, of) in STORES {
        let scratch = Scratch::new(name);
        let store = Store::open(&Setup { slots: 3, chunk_bytes: LARGE as u64, ..of }, &scratch);
        let mut moved = Moved::new(&store);
        for (kind, spans) in [
            (Kind::Device, even(LARGE, LARGE, 0, 0)),
            (Kind::Device, even(4 * KIB, 4 * KIB, 0, 4 * KIB)),
            (Kind::Device, even(100 * KIB, 100 * KIB, 0, 12 * KIB)),
            // Every request has two pieces, and one that ends within a block.
            (Kind::Device, even(3 * MIB + 12 * KIB, 128 * KIB, 4 * KIB, 0)),
            (Kind::Pool, even(MIB, MIB, 0, 4 * KIB)),
            (Kind::Vmm, even(2 * MIB, 512 * KIB, BLOCK, 0)),
            (Kind::Managed, even(MIB, MIB, 0, 0)),
        ] {
            let bytes: usize = spans.iter().map(ExactSizeIterator::len).sum();
            let what = format!("{name}: {bytes} bytes in {} pieces of {kind:?} memory", spans.len());
            let object = payload(bytes as u64, bytes);
            let source = OnDevice::holding(kind, 0, spans.clone(), &object);
            let launched = turn.driver.calls("cuLaunchKernel");
            assert_eq!(put(&store, b"key", source.segments()), OK, "{what}");
            assert_eq!(moved.next(&store), (bytes as u64, 0), "{what}");
            let summed = turn.driver.calls("cuLaunchKernel");
            assert!(summed > launched, "{what}");
            let target = OnDevice::new(kind, 0, spans);
            assert_eq!(get(&store, b"key", target.segments()), OK, "{what}");
            assert_eq!(moved.next(&store), (bytes as u64, 0), "{what}");
            assert!(turn.driver.calls("cuLaunchKernel") > summed, "{what}");
            target.assert_holds(&object, &what);
            // The sums are those of the processor, or a get of host memory would miss.
            assert_eq!(store.fetch(b"key", bytes), Some(object), "{what}");
            moved.next(&store);
        }
        end(&store);
    }
}

/// Pinned memory is the host's: it goes direct, and the processor computes its sums.
#[test]
fn pinned_memory_goes_direct() {
    let Some(_turn) = Turn::take() else { return };
    for (name, of) in STORES {
        let scratch = Scratch::new(name);
        let store = Store::open(&of, &scratch);
        let object = payload(1, MIB);
        let source = OnDevice::holding(Kind::Pinned, 0, even(MIB, MIB, 0, 0), &object);
        let mut moved = Moved::new(&store);
        assert_eq!(put(&store, b"key", source.segments()), OK);
        let target = OnDevice::new(Kind::Pinned, 0, even(MIB, 256 * KIB, 4 * KIB, 0));
        assert_eq!(get(&store, b"key", target.segments()), OK);
        assert_eq!(moved.next(&store), (2 * MIB as u64, 0), "{name}");
        target.assert_holds(&object, &name);
        end(&store);
    }
}

/// A range of whole checksum blocks goes direct; of any other what is not wanted, and shares a block with it, does not come near
/// the caller's memory.
#[test]
fn ranges_go_direct_where_they_are_whole_blocks() {
    let Some(_turn) = Turn::take() else { return };
    const BYTES: usize = 2 * MIB + 20 * KIB;
    for (name, of) in STORES {
        let scratch = Scratch::new(name);
        let store = Store::open(&Setup { chunk_bytes: BYTES as u64, ..of }, &scratch);
        let object = payload(2, BYTES);
        assert_eq!(put(&store, b"key", OnDevice::whole(&object).segments()), OK);
        let mut moved = Moved::new(&store);
        for (range, is_direct) in [
            (0..BLOCK, true),
            (BLOCK..MIB, true),
            (MIB..BYTES, true),
            (0..BYTES, true),
            (4 * KIB..MIB, false),
            (BLOCK..BLOCK + 4 * KIB, false),
            (1..2, false),
            (BYTES - 5000..BYTES, false),
            (12_345..1_234_567, false),
        ] {
            let what = format!("{name}: {range:?}");
            let bytes = range.len();
            let target = OnDevice::room(bytes);
            let mut gets = Batch::new();
            gets.raw(b"key", target.segments(), Some(range.start as u64));
            assert_eq!(store.get_batch(&gets).0, OK, "{what}");
            target.assert_holds(&object[range], &what);
            let (direct, staged) = moved.next(&store);
            if is_direct {
                assert_eq!((direct, staged), (bytes as u64, 0), "{what}");
            }
        }
        end(&store);
    }
}

/// Batches of many objects, with files that are opened for it and through the page cache, where nothing has to be aligned.
#[test]
fn batches_go_direct_in_every_kind_of_store() {
    const ITEMS: usize = 24;
    const BYTES: usize = 300 * KIB;
    let Some(_turn) = Turn::take() else { return };
    for (name, of) in STORES {
        for (layout, direct_io) in [(Layout::Static, true), (Layout::Sharded, true), (Layout::Lmcache, false)]
        {
            let scratch = Scratch::new(name);
            let slots = ITEMS as u32;
            let store = Store::open(&Setup { layout, direct_io, slots, ..of.clone() }, &scratch);
            let objects: Vec<_> = (0..ITEMS).map(|index| payload(index as u64, BYTES)).collect();
            let keys: Vec<_> = (0..ITEMS).map(|index| format!("key-{index}").into_bytes()).collect();
            let mut puts = Batch::new();
            let sources: Vec<_> = objects.iter().map(|object| OnDevice::whole(object)).collect();
            keys.iter().zip(&sources).for_each(|(key, source)| puts.raw(key, source.segments(), None));
            assert_eq!(store.put_batch(&puts).0, OK, "{name} {layout:?}");
            let mut gets = Batch::new();
            let targets: Vec<_> = (0..ITEMS).map(|_| OnDevice::room(BYTES)).collect();
            keys.iter().zip(&targets).for_each(|(key, target)| gets.raw(key, target.segments(), None));
            assert_eq!(store.get_batch(&gets).0, OK, "{name} {layout:?}");
            for (target, object) in targets.iter().zip(&objects) {
                target.assert_holds(object, &name);
            }
            let stats = store.stats();
            let (all, staged) = (2 * (ITEMS * BYTES) as u64, stats.bytes_staged);
            assert_eq!(stats.bytes_direct + staged, all, "{name} {layout:?}");
            // How long an object in a file of its own is comes with its end, which a get stages for that.
            let ends = if layout == Layout::Static { 0 } else { ITEMS * (BYTES - 256 * KIB) };
            assert!(staged <= ends as u64, "{name} {layout:?}: {staged} staged");
            end(&store);
        }
    }
}
