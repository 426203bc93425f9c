//! Whatever happened to the bytes on storage, open answers, and yields only entries that were put.

use super::*;

/// A pool with ten records and a snapshot, closed; and what it holds.
fn closed_pool(scratch: &Scratch) -> Held {
    let (pool, _) = open(scratch);
    let expected = fill(&pool);
    snapshot(&pool, &expected).unwrap();
    pool.release();
    expected
}

fn is_subset(recovered: &Recovered, expected: &Held) -> bool {
    held(recovered).iter().all(|entry| expected.contains(entry))
}

/// A snapshot with any byte changed, cut anywhere, or made of garbage is not believed; the trailers are.
#[test]
fn a_damaged_snapshot_is_replaced_by_a_scan() {
    let scratch = Scratch::new();
    let expected = closed_pool(&scratch);
    let good = fs::read(scratch.file("snapshot")).unwrap();
    let mut bad: Vec<Vec<u8>> = (0..good.len())
        .map(|at| {
            let mut bytes = good.clone();
            bytes[at] ^= 0x41;
            bytes
        })
        .collect();
    bad.extend((0..good.len()).step_by(7).map(|length| good[..length].to_vec()));
    bad.extend([vec![0; 80], vec![0xff; 5000], [good.clone(), vec![0]].concat(), vec![0; 1 << 20]]);
    for (index, bytes) in bad.into_iter().enumerate() {
        fs::write(scratch.file("snapshot"), bytes).unwrap();
        let ((_, recovered), warnings) = open_logged(&scratch);
        assert_eq!((recovered.source, held(&recovered)), (Source::Scan, expected.clone()), "case {index}");
        assert!(warnings.len() == 1 && warnings[0].contains("snapshot"), "{warnings:?}");
        assert!(!fs::exists(scratch.file("snapshot")).unwrap());
    }
    fs::write(scratch.file("snapshot"), good).unwrap();
    assert_eq!(open(&scratch).1.source, Source::Snapshot);
}

/// A forged snapshot has a proper checksum; entries that no pool could have are still noticed.
#[test]
fn a_forged_snapshot_is_not_believed() {
    let scratch = Scratch::new();
    let expected = closed_pool(&scratch);
    let good = fs::read(scratch.file("snapshot")).unwrap();
    let second = 64 + 32 + expected[0].0.len();
    let another_pool = [!good[24]];
    let forgeries: [(usize, &[u8]); 11] = [
        (good.len() - 16, &11u64.to_le_bytes()),
        (24, &another_pool),
        (32, &[0; 8]),
        (32, &[0xff; 8]),
        (64, &20u32.to_le_bytes()),
        (68, &u32::MAX.to_le_bytes()),
        (68, &0u32.to_le_bytes()),
        (72, &11u64.to_le_bytes()),
        (80, &100_001u64.to_le_bytes()),
        (second, &expected[0].1.to_le_bytes()),
        (second + 32, &expected[0].0),
    ];
    for (at, forged) in forgeries {
        let mut bytes = good.clone();
        bytes[at..at + forged.len()].copy_from_slice(forged);
        assert_ne!(bytes, good);
        let body = bytes.len() - 8;
        let sum = twox_hash::XxHash3_64::oneshot(&bytes[..body]);
        bytes[body..].copy_from_slice(&sum.to_le_bytes());
        fs::write(scratch.file("snapshot"), bytes).unwrap();
        let (_, recovered) = open(&scratch);
        assert_eq!((recovered.source, held(&recovered)), (Source::Scan, expected.clone()), "forged at {at}");
    }
}

/// The same for what it says of slots that are out of use: slots that are not there, or twice, reasons and generations
/// that cannot be, more of them than the file has.
#[test]
fn forged_slots_out_of_use_are_not_believed() {
    let scratch = Scratch::new();
    let (pool, _) = open(&scratch);
    let expected = fill(&pool);
    let out_of_use = [
        OutOfUse { slot: 4, why: Why::Damaged },
        OutOfUse { slot: 5, why: Why::Unclean([Some(OldRecord { tag: 9, generation: 3 }), None]) },
    ];
    snapshot_with(&pool, &out_of_use, &expected).unwrap();
    pool.release();
    let good = fs::read(scratch.file("snapshot")).unwrap();
    let taken = expected[0].1;
    let second = 64 + 32;
    for (at, forged) in [
        (40, 3),
        (40, 1),
        (40, u32::MAX),
        (64, 20),
        (64, taken),
        (second, 4),
        (second + 4, 0),
        (second + 4, 3),
        (second + 16, 11),
        (second + 28, 1),
    ] {
        let mut bytes = good.clone();
        bytes[at..at + 4].copy_from_slice(&forged.to_le_bytes());
        assert_ne!(bytes, good);
        seal(&mut bytes);
        fs::write(scratch.file("snapshot"), bytes).unwrap();
        let (_, recovered) = open(&scratch);
        assert_eq!((recovered.source, held(&recovered)), (Source::Scan, expected.clone()), "forged at {at}");
    }
}

/// Reads that fail at open and then do not cost nothing; where they go on failing, the slot is erased and used again, so
/// that no chunk that could not be read comes back when it is outdated.
#[test]
fn slots_that_cannot_be_read_at_open_stay_in_use() {
    let scratch = Scratch::new();
    let (pool, _) = open(&scratch);
    let expected = fill(&pool);
    drop(pool);
    steps::under_test::fail_reads(20);
    let ((pool, recovered), warnings) = open_logged(&scratch);
    assert_eq!((held(&recovered), recovered.out_of_use), (expected.clone(), Vec::new()));
    assert!(warnings.is_empty(), "{warnings:?}");
    drop(pool);

    steps::under_test::fail_reads(40);
    let ((pool, recovered), warnings) = open_logged(&scratch);
    assert!(recovered.entries.is_empty() && recovered.out_of_use.is_empty());
    assert_eq!(recovered.generation_next, 1 + recovery::GENERATION_LEAP);
    assert!(warnings.len() == 1 && warnings[0].starts_with("20 slots"), "{warnings:?}");
    drop(pool);
    assert!(open(&scratch).1.entries.is_empty(), "what was not served must not come back");
}

/// What must not be found again and could not be erased for good is out of use, with what is known of it; and the next
/// process is told that what it reads may not be durable.
#[test]
fn outdated_records_whose_erasure_may_be_lost_are_out_of_use() {
    let scratch = Scratch::new();
    let (pool, _) = open(&scratch);
    put(&pool, 3, 7, "key", 10);
    put(&pool, 12, 9, "key", 10);
    put(&pool, 4, 8, "key", 10);
    drop(pool);
    steps::under_test::fail_sync(libc::EIO);
    let ((pool, recovered), warnings) = open_logged(&scratch);
    assert_eq!(recovered.entries.len(), 1);
    assert_eq!(recovered.out_of_use, [], "of the first file only, which holds none of the outdated");
    assert!(pool.is_doubted() && warnings.len() == 1, "{warnings:?}");
    drop(pool);

    let (pool, _) = open(&scratch);
    assert!(pool.is_doubted());
    put(&pool, 8, 5, "key", 10);
    drop(pool);
    steps::under_test::fail_sync(libc::EIO);
    let (pool, recovered) = open(&scratch);
    let digest = record::digest(&effective("key"));
    let why = Why::Unclean([Some(OldRecord::of(digest, 5)), None]);
    assert_eq!(recovered.out_of_use, [OutOfUse { slot: 8, why }]);
    pool.trust();
    drop(pool);
    assert!(!open(&scratch).0.is_doubted());
}

/// Another pool's snapshot, copied here by hand, speaks of other slots.
#[test]
fn another_pools_snapshot_is_not_believed() {
    let (ours, theirs) = (Scratch::new(), Scratch::new());
    let expected = closed_pool(&ours);
    closed_pool(&theirs);
    fs::copy(theirs.file("snapshot"), ours.file("snapshot")).unwrap();
    let (_, recovered) = open(&ours);
    assert_eq!((recovered.source, held(&recovered)), (Source::Scan, expected));
}

/// Bit rot in the slot files costs the records it hits; the others come back, and no wrong one does.
#[test]
fn flipped_bytes_cost_only_their_own_records() {
    let scratch = Scratch::new();
    let expected = closed_pool(&scratch);
    fs::remove_file(scratch.file("snapshot")).unwrap();
    let geometry = Geometry::new(20, 100_000, FILE_COUNT).unwrap();
    for (_, slot, ..) in expected.iter().step_by(3) {
        let place = geometry.place(*slot);
        let path = scratch.file(&names::slot_file(place.file_index));
        let at = geometry.trailer_offset(place) + 300;
        let file = fs::File::options().write(true).open(path).unwrap();
        file.write_all_at(&[0xee], at).unwrap();
    }
    let ((_, recovered), warnings) = open_logged(&scratch);
    assert_eq!(recovered.entries.len(), 6);
    assert!(is_subset(&recovered, &expected));
    // The highest generation, 10, was among the damaged; the counter leaps over whatever it was.
    assert_eq!(recovered.generation_next, 10 + recovery::GENERATION_LEAP);
    assert!(warnings.len() == 1 && warnings[0].starts_with("4 slots"), "{warnings:?}");
}

/// What a scan could not read may hold a newer record than all it saw; should it turn up later, it
/// must not outrank what was put since.
#[test]
fn a_hidden_record_never_outranks_a_later_put() {
    let scratch = Scratch::new();
    let (pool, _) = open(&scratch);
    put(&pool, 3, 1000, "key", 10);
    put(&pool, 4, 1, "other", 10);
    let place = pool.place(3);
    let (file, at) = (pool.files()[place.file_index as usize].clone(), pool.geometry().trailer_offset(place));
    let mut saved = vec![0; 4096];
    file.read_exact_at(&mut saved, at).unwrap();
    file.write_all_at(&[0x55; 4096], at).unwrap();
    drop((pool, file));
    let (pool, recovered) = open(&scratch);
    assert_eq!(recovered.entries.len(), 1);
    put(&pool, 5, recovered.generation_next, "key", 20);
    let file = pool.files()[place.file_index as usize].clone();
    file.write_all_at(&saved, at).unwrap();
    drop((pool, file));
    assert!(held(&open(&scratch).1).iter().any(|entry| entry.0 == effective("key") && entry.3 == 20));
}

/// Slot files swapped by a restore gone wrong: every record is whole, none is where it belongs.
#[test]
fn swapped_files_yield_nothing_wrong() {
    let scratch = Scratch::new();
    let expected = closed_pool(&scratch);
    fs::remove_file(scratch.file("snapshot")).unwrap();
    let swap = || {
        fs::rename(scratch.file("slots-000.bin"), scratch.file("aside")).unwrap();
        fs::rename(scratch.file("slots-001.bin"), scratch.file("slots-000.bin")).unwrap();
        fs::rename(scratch.file("aside"), scratch.file("slots-001.bin")).unwrap();
    };
    swap();
    let (_, recovered) = open(&scratch);
    assert!(is_subset(&recovered, &expected));
    assert!(recovered.entries.iter().all(|entry| entry.slot % FILE_COUNT > 1));
    assert!(recovered.entries.len() < expected.len());
    swap();
    assert_eq!(held(&open(&scratch).1), expected);
}

/// Truncated and missing slot files are made whole again with a warning each. The snapshot, which
/// still lists their records, is not believed.
#[test]
fn truncated_and_missing_files_are_made_whole() {
    let scratch = Scratch::new();
    let expected = closed_pool(&scratch);
    let snapshot = fs::read(scratch.file("snapshot")).unwrap();
    let cut = scratch.file("slots-000.bin");
    let length = fs::metadata(&cut).unwrap().len();
    for left in [length - 1, 4097, 0] {
        fs::write(scratch.file("snapshot"), &snapshot).unwrap();
        fs::File::options().write(true).open(&cut).unwrap().set_len(left).unwrap();
        let ((_, recovered), warnings) = open_logged(&scratch);
        assert_eq!(fs::metadata(&cut).unwrap().len(), length);
        assert_eq!(recovered.source, Source::Scan);
        assert!(is_subset(&recovered, &expected));
        assert!(warnings.iter().any(|line| line.contains("slots-000.bin")), "{warnings:?}");
    }
    fs::write(scratch.file("snapshot"), &snapshot).unwrap();
    fs::remove_file(scratch.file("slots-005.bin")).unwrap();
    let ((pool, recovered), warnings) = open_logged(&scratch);
    assert!(warnings.iter().any(|line| line.contains("slots-005.bin")), "{warnings:?}");
    assert_eq!(recovered.source, Source::Scan);
    let lost = [0, 5];
    assert!(recovered.entries.iter().all(|entry| !lost.contains(&(entry.slot % FILE_COUNT))));
    assert_eq!(pool.files()[5].metadata().unwrap().mode() & 0o7777, 0o600);
    assert_eq!(pool.files()[5].metadata().unwrap().len(), pool.geometry().file_bytes(5));
}

/// Random bytes over whole slot files: no crash, no entry, and the pool can be used.
#[test]
fn garbage_in_every_slot_is_an_empty_pool() {
    let scratch = Scratch::new();
    closed_pool(&scratch);
    fs::remove_file(scratch.file("snapshot")).unwrap();
    for index in 0..FILE_COUNT {
        let path = scratch.file(&names::slot_file(index));
        let length = fs::metadata(&path).unwrap().len() as usize;
        let garbage: Vec<u8> = (0..length).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        fs::write(&path, garbage).unwrap();
    }
    let (pool, recovered) = open(&scratch);
    assert!(recovered.entries.is_empty() && recovered.out_of_use.is_empty());
    let expected = fill(&pool);
    drop(pool);
    assert_eq!(held(&open(&scratch).1), expected);
}
