//! A late write of a dead owner is never believed: on a file system that goes on with the writes of a process that was killed,
//! while the pool has its next owner, whose crash is followed by a scan.

use super::*;

/// On such a file system.
fn outlived() -> PoolParameters {
    PoolParameters { habits: Habits { writes_outlive: true, ..Habits::default() }, ..parameters() }
}

/// Leaves the snapshot of a pool that holds `held`.
fn write_snapshot(pool: &Pool, generation_next: u64, held: &[(Box<[u8]>, u32, u64, u64)]) {
    let mut entries = held.iter().map(|(key, slot, generation, payload_bytes)| SnapshotEntry {
        slot: *slot,
        generation: *generation,
        payload_bytes: *payload_bytes,
        frequency: 1,
        key,
    });
    pool.write_snapshot(generation_next, &[], &mut entries).unwrap();
}

fn fill_and_crash(scratch: &Scratch) -> Held {
    let (pool, _) = open_as(scratch, &outlived());
    fill(&pool)
}

/// What lands late while the next owner has the pool: in a free slot, over a record of the new owner's, and for a key that the
/// new owner removed. None of it is believed by the next scan, nor by the one after that.
#[test]
fn a_late_write_of_a_dead_owner_is_never_believed() {
    for closes_cleanly in [false, true] {
        let scratch = Scratch::new();
        let expected = fill_and_crash(&scratch);
        if closes_cleanly {
            let (pool, recovered) = open_as(&scratch, &outlived());
            write_snapshot(&pool, recovered.generation_next, &held(&recovered));
            pool.release();
        }
        let (pool, recovered) = open_as(&scratch, &outlived());
        assert_eq!(recovered.source == Source::Snapshot, closes_cleanly);
        assert_eq!(held(&recovered), expected);
        let next = recovered.generation_next;
        assert!(next > 1 << 39, "the dead owner may have been far ahead");
        assert!(expected.iter().all(|entry| ![4, 5, 6].contains(&entry.1)), "these slots are free");
        put(&pool, 4, next, "new", 10);
        pool.tombstone(expected[0].1).unwrap();
        put(&pool, 6, next + 1, "hit", 10);
        // From here on the dead owner's.
        put(&pool, 5, 12, "late", 10);
        put(&pool, 6, 13, "late too", 10);
        put(&pool, expected[0].1, 14, "key 0", 10);
        put(&pool, expected[1].1, 15, "key 1", 10);
        drop(pool);

        let mut believed = expected[2..].to_vec();
        believed.push((effective("new"), 4, next, 10));
        believed.sort();
        for round in 0..3 {
            let log = Log::default();
            let (_, recovered) = Pool::open(&scratch.0, NAME, &outlived(), &log.logger()).unwrap();
            assert_eq!((recovered.source, held(&recovered)), (Source::Scan, believed.clone()));
            assert!(recovered.out_of_use.is_empty() && recovered.generation_next > next);
            assert_eq!(log.warnings(), Vec::<String>::new());
            let lines = log.0.lock().unwrap();
            assert_eq!(lines.iter().any(|(_, line)| line.starts_with("4 records")), round == 0, "{lines:?}");
        }
    }
}

/// The dead owner was the one that made the pool, and nothing of it had landed when the next one came.
#[test]
fn late_writes_of_the_first_owner_are_not_believed_either() {
    let scratch = Scratch::new();
    drop(open_as(&scratch, &outlived()));
    // The next owner is one whose own writes end with it.
    let (pool, recovered) = open(&scratch);
    put(&pool, 7, recovered.generation_next, "mine", 10);
    put(&pool, 4, 1, "late", 10);
    drop(pool);
    let (_, found) = open(&scratch);
    assert_eq!(held(&found), [(effective("mine"), 7, recovered.generation_next, 10)]);
}

/// Of an owner that began after a scan nothing had landed when the next one came: its generations, which nobody saw, are below
/// that one's floor all the same.
#[test]
fn what_nobody_saw_of_a_dead_owner_is_below_the_floor() {
    let scratch = Scratch::new();
    let expected = fill_and_crash(&scratch);
    let (pool, recovered) = open_as(&scratch, &outlived());
    let its_next = recovered.generation_next;
    drop(pool);
    let (pool, _) = open_as(&scratch, &outlived());
    put(&pool, 5, its_next + 3, "late", 10);
    drop(pool);
    assert_eq!(held(&open_as(&scratch, &outlived()).1), expected);
}

/// After a clean close nothing has to be written down: the snapshot says it, and becomes the survivors.
#[test]
fn a_snapshot_that_was_believed_becomes_the_survivors() {
    let scratch = Scratch::new();
    let (pool, _) = open_as(&scratch, &outlived());
    let expected = fill(&pool);
    snapshot(&pool, &expected).unwrap();
    pool.release();
    let bytes = fs::read(scratch.file("snapshot")).unwrap();
    let (pool, recovered) = open_as(&scratch, &outlived());
    assert_eq!((recovered.source, recovered.generation_next), (Source::Snapshot, 11));
    assert_eq!(fs::read(scratch.file("survivors")).unwrap(), bytes);
    assert!(!fs::exists(scratch.file("snapshot")).unwrap());
    drop(pool);
    assert_eq!(held(&open_as(&scratch, &outlived()).1), expected);
}

/// Killed between any two steps of closing and opening: the cache is found, and whoever has the pool after that is safe from
/// late writes. That holds at every step only if survivors are in place before anything is put.
#[test]
fn a_crash_at_any_step_leaves_survivors_that_keep_late_writes_out() {
    for makes_it in [false, true] {
        let scratch = Scratch::new();
        let expected = if makes_it { Held::new() } else { fill_and_crash(&scratch) };
        let steps = crash_at_every_step(
            || {
                let (pool, _) = open_as(&scratch, &outlived());
                let next = 1 << 50;
                write_snapshot(&pool, next, &expected);
                pool.release();
                drop(open_as(&scratch, &outlived()));
            },
            |step| {
                // By either kind of owner.
                let who = if step % 2 == 0 { outlived() } else { parameters() };
                let is_kept = who == outlived() || fs::exists(scratch.file("survivors")).unwrap();
                let (pool, recovered) = open_as(&scratch, &who);
                assert_eq!(held(&recovered), expected, "step {step}");
                assert_eq!(image(&scratch.pool()).len(), FILE_COUNT as usize + 2 + usize::from(is_kept));
                if is_kept && recovered.source != Source::New {
                    put(&pool, 5, 12, "late", 10);
                }
                drop(pool);
                assert_eq!(held(&open_as(&scratch, &who).1), expected, "step {step}");
                if makes_it {
                    fs::remove_dir_all(scratch.pool()).unwrap();
                }
            },
        );
        assert!(steps > 12, "only {steps} steps were tried");
    }
}

/// A step that fails fails the open, and costs nothing but that: no owner goes on without survivors.
#[test]
fn an_open_that_cannot_write_survivors_is_refused() {
    let scratch = Scratch::new();
    let expected = fill_and_crash(&scratch);
    let mut refused = 0;
    for at in 0.. {
        let open = || Pool::open(&scratch.0, NAME, &outlived(), &Log::default().logger());
        match with(at, Event::Error(libc::ENOSPC), open).unwrap() {
            Ok(_) => break,
            Err(error) => {
                assert_eq!(error.status(), Status::NoSpace);
                refused += usize::from(error.message().contains("survivors"));
            }
        }
        assert_eq!(held(&open_as(&scratch, &outlived()).1), expected, "step {at}");
    }
    assert!(refused > 3, "only {refused} steps of writing survivors");
}

/// One pool, opened by owners of both kinds in turn on the same file system: each believes what the other put, and nobody
/// leaves survivors behind that later disbelieve what is good. A pool that never had such an owner has none.
#[test]
fn owners_of_both_kinds_take_turns() {
    let scratch = Scratch::new();
    let (pool, _) = open(&scratch);
    put(&pool, 0, 1, "0", 10);
    drop(pool);
    drop(open(&scratch));
    assert!(!fs::exists(scratch.file("survivors")).unwrap());
    let mut expected = vec![(effective("0"), 0, 1, 10)];
    // Which kind comes, and whether it leaves cleanly.
    let turns = [(true, false), (false, false), (false, true), (false, false), (true, true), (false, true)];
    for (slot, (is_outlived, is_clean)) in (1..).zip(turns.into_iter().cycle().take(18)) {
        let (pool, recovered) = open_as(&scratch, &if is_outlived { outlived() } else { parameters() });
        assert_eq!(held(&recovered), expected, "turn {slot}");
        let next = recovered.generation_next;
        let key = slot.to_string();
        put(&pool, slot, next, &key, 10);
        // A dead owner's, of a generation that one may have had.
        put(&pool, 19, next - 1, "late", 10);
        expected.push((effective(&key), slot, next, 10));
        expected.sort();
        if is_clean {
            write_snapshot(&pool, next + 1, &expected);
            pool.release();
        }
    }
}

/// Damaged survivors tell no record from a late write: none is served, the log says so, and the pool works on, safe again.
#[test]
fn damaged_survivors_are_an_empty_pool_and_a_word_about_it() {
    let scratch = Scratch::new();
    fill_and_crash(&scratch);
    let (pool, _) = open_as(&scratch, &outlived());
    drop(pool);
    let good = fs::read(scratch.file("survivors")).unwrap();
    let mut flipped = good.clone();
    flipped[70] ^= 1;
    for bad in [&flipped[..], &good[..good.len() - 1], &[], &[0xa7; 4096]] {
        let (pool, recovered) = open_as(&scratch, &outlived());
        let next = recovered.generation_next;
        put(&pool, 8, next, "here", 10);
        drop(pool);
        fs::write(scratch.file("survivors"), bad).unwrap();
        let log = Log::default();
        let (pool, recovered) = Pool::open(&scratch.0, NAME, &parameters(), &log.logger()).unwrap();
        assert_eq!(held(&recovered), []);
        let warnings = log.warnings();
        assert!(warnings.len() == 1 && warnings[0].contains("survivors"), "{warnings:?}");
        // Also of what nobody has seen, and what only the lost floor was above.
        put(&pool, 9, next + (1 << 41), "late", 10);
        put(&pool, 4, recovered.generation_next, "new", 10);
        drop(pool);
        assert_eq!(
            held(&open_as(&scratch, &outlived()).1),
            [(effective("new"), 4, recovered.generation_next, 10)]
        );
        fs::remove_dir_all(scratch.pool()).unwrap();
        fill_and_crash(&scratch);
    }
}

/// A record of a generation that no put can have come to since the pool was opened is no owner's.
#[test]
fn generations_far_above_the_floor_are_not_believed() {
    let scratch = Scratch::new();
    let expected = fill_and_crash(&scratch);
    let (pool, _) = open_as(&scratch, &outlived());
    put(&pool, 5, recovery::GENERATION_MAX - 1, "forged", 10);
    drop(pool);
    for _ in 0..2 {
        let ((_, recovered), warnings) = open_logged(&scratch);
        assert_eq!((held(&recovered), warnings), (expected.clone(), Vec::new()));
    }
}

/// Records that are renumbered are listed as they are from then on.
#[test]
fn renumbered_records_are_survivors() {
    let scratch = Scratch::new();
    let (pool, _) = open(&scratch);
    put(&pool, 3, 7, "old", 10);
    put(&pool, 4, recovery::GENERATION_MAX - 1, "forged", 10);
    drop(pool);
    let expected = [(effective("forged"), 4, 2, 10), (effective("old"), 3, 1, 10)];
    for _ in 0..3 {
        let (pool, recovered) = open_as(&scratch, &outlived());
        let mut found = held(&recovered);
        found.sort();
        assert_eq!(found, expected);
        put(&pool, 5, 1000, "late", 10);
    }
    // The same where a snapshot says that the numbers come to an end.
    let (pool, _) = open_as(&scratch, &outlived());
    put(&pool, 6, 50, "more", 10);
    let mut expected = expected.to_vec();
    expected.push((effective("more"), 6, 50, 10));
    write_snapshot(&pool, recovery::GENERATION_MAX - 5, &expected);
    pool.release();
    expected[2].2 = 3;
    expected.sort();
    for source in [Source::Snapshot, Source::Scan] {
        let (pool, recovered) = open_as(&scratch, &outlived());
        assert_eq!((recovered.source, held(&recovered)), (source, expected.clone()));
        assert!(recovered.generation_next < 1 << 50);
        put(&pool, 5, 1000, "late", 10);
    }
}

/// A late record that cannot be erased for good is found by the next open as well: the slot is out of use until it can be.
#[test]
fn late_records_whose_erasure_may_be_lost_are_out_of_use() {
    let scratch = Scratch::new();
    let (pool, _) = open_as(&scratch, &outlived());
    put(&pool, 3, 1, "key", 10);
    drop(pool);
    let (pool, _) = open_as(&scratch, &outlived());
    put(&pool, 8, 12, "late", 10);
    drop(pool);
    steps::under_test::fail_sync(libc::EIO);
    let (_, recovered) = open_as(&scratch, &outlived());
    let why = Why::Unclean([Some(OldRecord::of(record::digest(&effective("late")), 12)), None]);
    assert_eq!(recovered.out_of_use, [OutOfUse { slot: 8, why }]);
    assert_eq!(held(&recovered), [(effective("key"), 3, 1, 10)]);
}

/// Survivors without a manifest are those of a pool that lost it; a link or a directory in their place is refused.
#[test]
fn survivors_are_nobody_elses_file() {
    for who in [outlived(), parameters()] {
        let scratch = Scratch::new();
        fill_and_crash(&scratch);
        let (place, elsewhere) = (scratch.file("survivors"), scratch.0.join("elsewhere"));
        fs::rename(&place, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &place).unwrap();
        assert_eq!(refusal(&scratch, &who).status(), Status::Format);
        fs::remove_file(&place).unwrap();
        fs::create_dir(&place).unwrap();
        assert_eq!(refusal(&scratch, &who).status(), Status::Format);
        fs::remove_dir(&place).unwrap();
        fs::rename(&elsewhere, &place).unwrap();
        fs::remove_file(scratch.file("manifest")).unwrap();
        let before = image(&scratch.0);
        let error = refusal(&scratch, &who);
        assert!(error.status() == Status::Format && error.message().contains("manifest"), "{error}");
        assert_eq!(image(&scratch.0), before);
    }
}
