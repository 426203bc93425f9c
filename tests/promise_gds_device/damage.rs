//! Storage that was damaged: a get of a device's memory has the right bytes or finds nothing, whether they went direct or were
//! staged, and whoever computed the sums.

use std::ops::Range;

use crate::common::format::{self, Pool, Record};
use crate::common::status::{NOT_FOUND, OK};
use crate::common::{Kind, Layout, Scratch, Setup, Store, payload};
use crate::on_device::{OnDevice, even};
use crate::{KIB, MIB, Moved, STORES, Turn, get, put};

/// Whole pages, so that all of it may go direct; several requests.
const BYTES: usize = MIB + 148 * KIB;
/// Bytes of the last request of such an object at most.
const END_BYTES_MAX: u64 = 256 << 10;

/// How the memory of a get lies, and whether that goes direct.
fn ways() -> [(&'static str, Vec<Range<usize>>, bool); 3] {
    [
        ("direct", even(BYTES, BYTES, 0, 0), true),
        ("staged", even(BYTES, BYTES, 0, 100), false),
        ("scattered", even(BYTES, 4 * KIB, 4 * KIB, 0), false),
    ]
}

/// What damages a record, and does it. A file without a whole trailer is nobody's, which counts as no corruption.
type Damage = (&'static str, fn(&Record));

/// Puts an object, damages its record in each of these manners, and gets it in each way.
fn damaged_is_a_miss(of: &Setup, name: &str, damages: &[Damage]) {
    let scratch = Scratch::new(name);
    let store = Store::open(&Setup { chunk_bytes: BYTES as u64, ..of.clone() }, &scratch);
    let object = payload(3, BYTES);
    let source = OnDevice::whole(&object);
    let mut corruptions = 0;
    for (about, damage) in damages {
        for (way, spans, is_direct) in ways() {
            let what = format!("{name}, {about}, {way}");
            assert_eq!(put(&store, b"key", source.segments()), OK, "{what}");
            let mut moved = Moved::new(&store);
            let target = OnDevice::new(Kind::Device, 0, spans);
            assert_eq!(get(&store, b"key", target.segments()), OK, "{what}");
            target.assert_holds(&object, &what);
            let (direct, staged) = moved.next(&store);
            // How long an object in a file of its own is comes with its end, which is staged for that.
            let end = if of.layout == Layout::Static { 0 } else { END_BYTES_MAX };
            assert_eq!(direct + staged, BYTES as u64, "{what}");
            // And the page that it ends in is read apart.
            let page = if of.layout == Layout::Static { 0 } else { 4096 };
            assert!(if is_direct { staged <= end } else { direct <= page }, "{what}: {direct} direct");
            damage(&format::record_of(&scratch, of.layout, b"key"));
            assert_eq!(get(&store, b"key", target.segments()), NOT_FOUND, "{what}");
            corruptions += u64::from(!about.starts_with("cut"));
            assert_eq!(store.stats().corruptions, corruptions, "{what}");
        }
    }
    // The store goes on, and so does the key.
    assert_eq!(put(&store, b"key", source.segments()), OK, "{name}");
    let target = OnDevice::room(BYTES);
    assert_eq!(get(&store, b"key", target.segments()), OK, "{name}");
    target.assert_holds(&object, &name);
    assert_eq!(store.close(), OK);
}

fn stores() -> impl Iterator<Item = (&'static str, Setup)> {
    let files = STORES.into_iter().skip(1).step_by(2);
    STORES.into_iter().chain(files.map(|(name, of)| (name, Setup { layout: Layout::Sharded, ..of })))
}

fn flip(record: &Record, at: usize) {
    format::flip(&record.path, record.payload_offset + at as u64, 0x10);
}

/// One wrong bit, in the first and the last byte too, and in the trailer.
#[test]
fn a_wrong_bit_is_a_miss() {
    let Some(_turn) = Turn::take() else { return };
    const DAMAGES: [Damage; 4] = [
        ("first byte", |record| flip(record, 0)),
        ("second block", |record| flip(record, 64 * KIB + 17)),
        ("last byte", |record| flip(record, BYTES - 1)),
        ("a sum", |record| {
            let at = record.trailer_offset + format::field::BLOCK_CHECKSUMS as u64 + 8;
            format::flip(&record.path, at, 1);
        }),
    ];
    for (name, of) in stores() {
        damaged_is_a_miss(&Setup { sums_bytes: Some(0), ..of.clone() }, name, &DAMAGES);
        // By sums in memory, which no trailer changes.
        damaged_is_a_miss(&of, name, &DAMAGES[..3]);
    }
}

/// Blocks that read as zeros, as a torn write leaves them, and pages that are of elsewhere.
#[test]
fn a_hole_is_a_miss() {
    let Some(_turn) = Turn::take() else { return };
    for (name, of) in stores() {
        damaged_is_a_miss(
            &of,
            name,
            &[
                ("zeros", |record| {
                    format::write(&record.path, record.payload_offset + MIB as u64, &[0; 64 * KIB]);
                }),
                ("a page of elsewhere", |record| {
                    let page = format::read(&record.path, record.payload_offset, 4 * KIB);
                    format::write(&record.path, record.payload_offset + 8 * KIB as u64, &page);
                }),
            ],
        );
    }
}

/// A file that ends within the object, or with it: cuFile says that such a read is complete. And one that was cut and is as long as
/// before.
#[test]
fn a_cut_file_is_a_miss() {
    let Some(_turn) = Turn::take() else { return };
    for (name, of) in STORES {
        let of = Setup { layout: Layout::Lmcache, ..of };
        damaged_is_a_miss(
            &of,
            name,
            &[
                ("cut within", |record| format::truncate(&record.path, MIB as u64)),
                ("cut behind", |record| format::truncate(&record.path, BYTES as u64)),
                ("cut and grown", |record| {
                    let bytes = std::fs::metadata(&record.path).unwrap().len();
                    format::truncate(&record.path, MIB as u64);
                    format::truncate(&record.path, bytes);
                }),
            ],
        );
    }
}

/// A record of the same key and place that was whole once, with every sum right: it is an older one.
#[test]
fn an_older_generation_is_a_miss() {
    let Some(_turn) = Turn::take() else { return };
    for (name, of) in STORES {
        for (way, spans, _) in ways() {
            let scratch = Scratch::new(name);
            let store = Store::open(&Setup { slots: 1, chunk_bytes: BYTES as u64, ..of.clone() }, &scratch);
            let objects = [payload(1, BYTES), payload(2, BYTES)];
            assert_eq!(put(&store, b"key", OnDevice::whole(&objects[0]).segments()), OK);
            let pool = Pool::of(&scratch);
            let (path, at) = pool.place(0);
            let older = format::read(&path, at, pool.slot_bytes as usize);
            assert_eq!(store.remove(b"key"), OK);
            assert_eq!(put(&store, b"key", OnDevice::whole(&objects[1]).segments()), OK);
            format::write(&path, at, &older);
            let target = OnDevice::new(Kind::Device, 0, spans);
            assert_eq!(get(&store, b"key", target.segments()), NOT_FOUND, "{name}, {way}");
            assert_eq!(store.stats().corruptions, 1, "{name}, {way}");
            assert_eq!(store.close(), OK);
        }
    }
}
