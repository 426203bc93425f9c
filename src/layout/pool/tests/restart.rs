//! Restart keeps the cache: after a clean close, after a crash, and after a crash while closing.

use super::*;

/// An engine is restarted for an upgrade: what the snapshot and what the trailers say is the same.
#[test]
fn snapshot_and_scan_bring_the_same_entries_back() {
    let scratch = Scratch::new();
    let (pool, _) = open(&scratch);
    let expected = fill(&pool);
    snapshot(&pool, &expected).unwrap();
    pool.release();
    let (pool, from_snapshot) = open(&scratch);
    drop(pool);
    let (_, from_scan) = open(&scratch);
    assert_eq!((from_snapshot.source, from_scan.source), (Source::Snapshot, Source::Scan));
    assert_eq!(held(&from_snapshot), expected);
    assert_eq!(held(&from_scan), expected);
    assert_eq!((from_snapshot.generation_next, from_scan.generation_next), (11, 11));
    assert!(from_scan.entries.is_sorted_by_key(|entry| entry.generation));
}

/// The order of eviction and the counts of use are the policy's memory; a clean close keeps both.
#[test]
fn a_snapshot_keeps_order_and_frequency() {
    let scratch = Scratch::new();
    let (pool, _) = open(&scratch);
    let mut expected = fill(&pool);
    expected.reverse();
    expected.swap(2, 7);
    snapshot(&pool, &expected).unwrap();
    pool.release();
    let (_, recovered) = open(&scratch);
    let order: Held = recovered
        .entries
        .iter()
        .map(|entry| {
            (recovered.keys.get(entry.key).into(), entry.slot, entry.generation, entry.payload_bytes)
        })
        .collect();
    assert_eq!(order, expected);
    assert!(recovered.entries.iter().all(|entry| entry.frequency == entry.slot + 1));
}

/// A snapshot describes one moment. Once the pool is open it is gone, so a crash cannot bring it back.
#[test]
fn a_snapshot_is_believed_once() {
    let scratch = Scratch::new();
    let (pool, _) = open(&scratch);
    let expected = fill(&pool);
    snapshot(&pool, &expected).unwrap();
    pool.release();
    let (pool, recovered) = open(&scratch);
    assert_eq!(recovered.source, Source::Snapshot);
    assert!(!fs::exists(scratch.file("snapshot")).unwrap());
    let (_, slot, ..) = expected[0];
    put(&pool, slot, recovered.generation_next, "another", 5);
    drop(pool);
    let (_, recovered) = open(&scratch);
    assert_eq!(recovered.source, Source::Scan);
    let keys: Vec<_> =
        recovered.entries.iter().map(|entry| Box::from(recovered.keys.get(entry.key))).collect();
    assert!(keys.contains(&effective("another")) && !keys.contains(&expected[0].0));
}

/// Killed between any two steps of closing or of the open that follows, the engine finds its cache.
#[test]
fn a_crash_at_any_step_of_closing_and_opening_loses_nothing() {
    let scratch = Scratch::new();
    let (pool, _) = open(&scratch);
    let expected = fill(&pool);
    drop(pool);
    let mut sources = Vec::new();
    let steps = crash_at_every_step(
        || {
            let (pool, _) = open(&scratch);
            snapshot(&pool, &expected).unwrap();
            pool.release();
            drop(open(&scratch));
        },
        |_| {
            let (pool, recovered) = open(&scratch);
            assert_eq!(held(&recovered), expected);
            sources.push(recovered.source);
            drop(pool);
            assert_eq!(image(&scratch.pool()).len(), FILE_COUNT as usize + 2, "something was left behind");
        },
    );
    assert!(steps > 8, "only {steps} steps were tried");
    assert!(sources.contains(&Source::Snapshot) && sources.contains(&Source::Scan));
}

/// Slots that are out of use are so in the next process too, and with what is known of the records that must not be
/// found again there: the newer records of those keys must stay as long.
#[test]
fn a_snapshot_keeps_the_slots_that_are_out_of_use() {
    let scratch = Scratch::new();
    let (pool, _) = open(&scratch);
    let expected = fill(&pool);
    let old = |tag, generation| Some(OldRecord { tag, generation });
    let out_of_use = [
        OutOfUse { slot: 4, why: Why::Damaged },
        OutOfUse { slot: 5, why: Why::Unclean([None, None]) },
        OutOfUse { slot: 19, why: Why::Unclean([old(u32::MAX, 3), None]) },
        OutOfUse { slot: 18, why: Why::Unclean([old(1, 10), old(77, 0)]) },
    ];
    assert!(out_of_use.iter().all(|out| expected.iter().all(|entry| entry.1 != out.slot)));
    snapshot_with(&pool, &out_of_use, &expected).unwrap();
    pool.release();
    let (_, recovered) = open(&scratch);
    assert_eq!((recovered.source, held(&recovered)), (Source::Snapshot, expected));
    assert_eq!(recovered.out_of_use, out_of_use);
}

/// A pool closed by the version before opens from its snapshot, which knew of no such slots.
#[test]
fn a_snapshot_of_the_version_before_is_read() {
    let scratch = Scratch::new();
    let (pool, _) = open(&scratch);
    let expected = fill(&pool);
    snapshot(&pool, &expected).unwrap();
    pool.release();
    let mut bytes = fs::read(scratch.file("snapshot")).unwrap();
    assert_eq!(bytes[8..12], 2u32.to_le_bytes());
    bytes[8..12].copy_from_slice(&1u32.to_le_bytes());
    // Reserved there: a reader of that version ignored it.
    bytes[40..44].fill(0xff);
    seal(&mut bytes);
    fs::write(scratch.file("snapshot"), bytes).unwrap();
    let (_, recovered) = open(&scratch);
    assert_eq!((recovered.source, held(&recovered)), (Source::Snapshot, expected));
    assert!(recovered.out_of_use.is_empty());
}

/// A full disk at close: the error is told, no half snapshot stays, the next open scans.
#[test]
fn a_snapshot_that_cannot_be_written_costs_only_time() {
    let scratch = Scratch::new();
    let (pool, _) = open(&scratch);
    let expected = fill(&pool);
    let outcome = with(1, Event::Error(libc::ENOSPC), || snapshot(&pool, &expected)).unwrap();
    assert_eq!(outcome.unwrap_err().status(), Status::NoSpace);
    assert!(!fs::exists(scratch.file("snapshot.tmp")).unwrap());
    drop(pool);
    let (_, recovered) = open(&scratch);
    assert_eq!((recovered.source, held(&recovered)), (Source::Scan, expected));
}

/// A snapshot that could not be read back is refused while the store can still say so.
#[test]
fn entries_that_do_not_fit_the_pool_are_not_written() {
    let scratch = Scratch::new();
    let (pool, _) = open(&scratch);
    let good = (effective("k"), 3, 5, 100);
    let bad: [(Box<[u8]>, u32, u64, u64); 5] = [
        (good.0.clone(), 20, 5, 100),
        (good.0.clone(), 3, 11, 100),
        (good.0.clone(), 3, 5, 0),
        (good.0.clone(), 3, 5, 100_001),
        (Box::from(&b""[..]), 3, 5, 100),
    ];
    assert!(snapshot(&pool, &vec![good]).is_ok());
    for entry in bad {
        assert!(snapshot(&pool, &vec![entry]).is_err());
    }
}

/// A crash while a key was replaced leaves two records. The newer counts, and the older is erased for
/// good: removing the newer later must not bring the older back.
#[test]
fn the_older_of_two_records_never_comes_back() {
    let scratch = Scratch::new();
    let (pool, _) = open(&scratch);
    put(&pool, 4, 1, "key", 100);
    put(&pool, 9, 2, "key", 200);
    put(&pool, 2, 3, "other", 300);
    drop(pool);
    let (pool, recovered) = open(&scratch);
    assert_eq!(held(&recovered).len(), 2);
    assert!(held(&recovered).contains(&(effective("key"), 9, 2, 200)));
    assert_eq!(recovered.generation_next, 4);
    pool.tombstone(9).unwrap();
    drop(pool);
    let (_, recovered) = open(&scratch);
    assert_eq!(held(&recovered), [(effective("other"), 2, 3, 300)]);
}

/// A removed key stays removed after a crash.
#[test]
fn a_tombstone_outlives_a_crash() {
    let scratch = Scratch::new();
    let (pool, _) = open(&scratch);
    let expected = fill(&pool);
    pool.tombstone(expected[4].1).unwrap();
    assert!(pool.tombstone(20).is_err());
    drop(pool);
    let mut left = expected;
    left.remove(4);
    assert_eq!(held(&open(&scratch).1), left);
}

/// LMCache opens a file per slot; here 100,000 slots need no more descriptors than twenty do.
#[test]
fn a_hundred_thousand_slots_need_few_descriptors() {
    let scratch = Scratch::new();
    let many = PoolParameters { slot_count: 100_000, chunk_bytes: 4096, ..parameters() };
    let logger = Log::default().logger();
    let (pool, _) = Pool::open(&scratch.0, NAME, &many, &logger).unwrap();
    for slot in [0, 1, 77_777, 99_999] {
        put(&pool, slot, u64::from(slot) + 1, &format!("key {slot}"), 4000);
    }
    drop(pool);
    let (pool, recovered) = Pool::open(&scratch.0, NAME, &many, &logger).unwrap();
    let slots: Vec<u32> = recovered.entries.iter().map(|entry| entry.slot).collect();
    assert_eq!(slots, [0, 1, 77_777, 99_999]);
    // Other tests run in this process: only descriptors of this pool count.
    let open_here = fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
        .filter(|target| target.starts_with(scratch.pool()))
        .count();
    assert!(open_here <= FILE_COUNT as usize + 2, "{open_here} descriptors");
    drop(pool);
}

/// A record claims a generation that leaves no room above it. All records get new generations in the order of the old,
/// the scan after that finds them so, and what was hidden cannot outrank what comes.
#[test]
fn generations_without_head_room_are_given_anew() {
    let scratch = Scratch::new();
    let (pool, _) = open(&scratch);
    let end = recovery::GENERATION_MAX;
    put(&pool, 3, 7, "old", 10);
    put(&pool, 4, end - 1, "forged", 90_000);
    put(&pool, 5, 9, "new", 10);
    put(&pool, 6, end - 2, "hidden", 10);
    let place = pool.place(6);
    let at = pool.geometry().trailer_offset(place) + 300;
    pool.files()[place.file_index as usize].write_all_at(&[0xee], at).unwrap();
    drop(pool);

    // Where it cannot be done the pool is not used: what is put would be taken for damage.
    steps::under_test::fail_sync(libc::EIO);
    let refused = refusal(&scratch, &parameters());
    assert!(refused.status() == Status::Io && refused.message().contains("renumbered"), "{refused}");

    let expected: Held =
        vec![(effective("forged"), 4, 3, 90_000), (effective("new"), 5, 2, 10), (effective("old"), 3, 1, 10)];
    for round in 0..2 {
        let ((pool, recovered), warnings) = open_logged(&scratch);
        assert_eq!(warnings.iter().any(|line| line.contains("renumbered")), round == 0, "{warnings:?}");
        let mut found = held(&recovered);
        found.sort_by_key(|entry| std::cmp::Reverse(entry.2));
        assert_eq!((found, recovered.generation_next), (expected.clone(), 4), "{warnings:?}");
        drop(pool);
    }
}
