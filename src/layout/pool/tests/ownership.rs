//! One owner at a time, with one set of parameters.

use super::*;

/// Two workers started with the same path by mistake: the second is told who is in the way, and touches nothing.
#[test]
fn a_second_owner_is_told_who_holds_the_pool() {
    let scratch = Scratch::new();
    let (pool, _) = open(&scratch);
    fill(&pool);
    let before = image(&scratch.0);
    let error = refusal(&scratch, &parameters());
    assert_eq!(error.status(), Status::Locked);
    assert!(error.message().contains(&format!("process {}", std::process::id())), "{error}");
    assert!(error.message().contains(crate::sys::host_name().as_str()), "{error}");
    assert_eq!(image(&scratch.0), before);
    pool.release();
    drop(open(&scratch));
}

/// A killed owner leaves its text behind; the text is not the lock.
#[test]
fn a_stale_lock_text_keeps_nobody_out() {
    let scratch = Scratch::new();
    drop(open(&scratch));
    for text in ["1 elsewhere\n", "", "\0\u{1b}[2J not a process"] {
        fs::write(scratch.file("lock"), text).unwrap();
        let (pool, _) = open(&scratch);
        let written = fs::read_to_string(scratch.file("lock")).unwrap();
        assert_eq!(written, format!("{} {}\n", std::process::id(), crate::sys::host_name()));
        // Damaged while it is held, the text costs the message its names, not the refusal its reason.
        fs::write(scratch.file("lock"), "\u{1b}[31m").unwrap();
        let error = refusal(&scratch, &parameters());
        assert_eq!(error.status(), Status::Locked);
        assert!(!error.message().contains('\u{1b}'));
        drop(pool);
    }
}

/// A look from outside finds the owner and changes nothing; a text without a lock is no owner's, and a look at what is not there
/// makes nothing.
#[test]
fn a_look_finds_the_owner_and_takes_no_lock() {
    let scratch = Scratch::new();
    let look = || look(&scratch.0, NAME, &parameters()).unwrap();
    assert!(look().is_none());
    let (pool, _) = open(&scratch);
    fill(&pool);
    let before = image(&scratch.0);
    let found = look().unwrap();
    assert_eq!(found.geometry.as_ref(), Some(pool.geometry()));
    let owner = format!("process {} on host {}", std::process::id(), crate::sys::host_name());
    assert_eq!(found.owner, Some(owner));
    assert_eq!(image(&scratch.0), before);
    pool.release();
    fs::write(scratch.file("lock"), "1 elsewhere\n").unwrap();
    assert_eq!(look().unwrap().owner, None);
    drop(open(&scratch));
}

/// A creation that fails takes its lock file back. Whoever had that very file open then gets a lock
/// which excludes nobody, and has to start over.
#[test]
fn a_lock_on_a_removed_file_is_not_ownership() {
    for directory_too in [true, false] {
        let scratch = Scratch::new();
        let pool_path = scratch.pool();
        steps::under_test::meanwhile(move || {
            fs::remove_file(pool_path.join("lock")).unwrap();
            if directory_too {
                fs::remove_dir(pool_path).unwrap();
            }
        });
        let (pool, _) = open(&scratch);
        assert_eq!(refusal(&scratch, &parameters()).status(), Status::Locked);
        drop(pool);
    }
}

/// Workers start at once, and the creations of some fail and are taken back while others are on their
/// way in: at any moment one owner at most, and nobody meets anything but the lock or the full disk.
#[test]
fn owners_never_overlap_while_creations_come_and_go() {
    const OPENED_ENOUGH: u64 = 20;
    let scratch = Scratch::new();
    let (owners, opened) = (AtomicU64::new(0), AtomicU64::new(0));
    let worker = |fails: bool| {
        let logger = Log::default().logger();
        let small = PoolParameters { slot_count: 2, chunk_bytes: 4096, ..parameters() };
        let mut round = 0;
        while opened.load(Ordering::SeqCst) < OPENED_ENOUGH {
            round += 1;
            let attempt = || Pool::open(&scratch.0, NAME, &small, &logger);
            let outcome = if fails {
                with(round % 30, Event::Error(libc::ENOSPC), attempt).unwrap()
            } else {
                attempt()
            };
            match outcome {
                Ok((pool, _)) => {
                    assert_eq!(owners.fetch_add(1, Ordering::SeqCst), 0, "two owners");
                    opened.fetch_add(1, Ordering::SeqCst);
                    // Without its manifest it is unfinished for the next one, who makes it again.
                    fs::remove_file(scratch.file("manifest")).unwrap();
                    owners.fetch_sub(1, Ordering::SeqCst);
                    drop(pool);
                }
                Err(error) => {
                    assert!(matches!(error.status(), Status::Locked | Status::NoSpace), "{error}");
                }
            }
        }
    };
    std::thread::scope(|scope| [true, true, false].map(|fails| scope.spawn(move || worker(fails))).map(drop));
}

/// A changed setting must not cost the cache: the pool is refused, both values and the way out are
/// named, and not a byte changes on disk.
#[test]
fn other_parameters_are_refused_and_nothing_is_changed() {
    let scratch = Scratch::new();
    let (pool, _) = open(&scratch);
    let expected = fill(&pool);
    snapshot(&pool, &expected).unwrap();
    pool.release();
    fs::write(scratch.file("lock"), "1 the-last-owner").unwrap();
    let before = image(&scratch.0);
    let others = [
        (PoolParameters { slot_count: 21, ..parameters() }, ["nixl_pool_size", "20", "21"]),
        (PoolParameters { chunk_bytes: 100_001, ..parameters() }, ["chunk bytes", "100000", "100001"]),
        (PoolParameters { chunk_size_tokens: 128, ..parameters() }, ["chunk_size", "256", "128"]),
    ];
    for (other, words) in others {
        let error = refusal(&scratch, &other);
        assert_eq!(error.status(), Status::Format);
        for word in words.into_iter().chain(["nixl_path", "by hand", scratch.pool().to_str().unwrap()]) {
            assert!(error.message().contains(word), "{word} is missing: {error}");
        }
        assert_eq!(image(&scratch.0), before);
    }
    let (_, recovered) = open(&scratch);
    assert_eq!((recovered.source, held(&recovered)), (Source::Snapshot, expected));
}

/// A manifest that is damaged in any way is an answer to give, not a pool to overwrite.
#[test]
fn a_damaged_manifest_is_refused_and_never_overwritten() {
    let scratch = Scratch::new();
    let (pool, _) = open(&scratch);
    fill(&pool);
    pool.release();
    let good = fs::read(scratch.file("manifest")).unwrap();
    let mut flipped = good.clone();
    flipped[60] ^= 4;
    let garbage = vec![0xa7; 10_000];
    for bad in [&[][..], &good[..255], &flipped, &garbage, &[0; 256]] {
        fs::write(scratch.file("manifest"), bad).unwrap();
        let before = image(&scratch.0);
        let error = refusal(&scratch, &parameters());
        assert_eq!(error.status(), Status::Format);
        assert!(error.message().contains("manifest"), "{error}");
        assert_eq!(image(&scratch.0), before);
    }
    fs::write(scratch.file("manifest"), good).unwrap();
    assert_eq!(open(&scratch).1.entries.len(), 10);
}
