//! Making a pool: all of it or nothing, and never over anything else.

use super::*;

/// The first start of an engine: the pool comes up empty, private, with its space reserved.
#[test]
fn a_new_pool_is_empty_private_and_reserved() {
    let scratch = Scratch::new();
    let ((pool, recovered), warnings) = open_logged(&scratch);
    assert_eq!(warnings.len(), usize::from(!scratch.can_reserve()), "{warnings:?}");
    assert_eq!(recovered.source, Source::New);
    assert_eq!((recovered.entries.len(), recovered.generation_next), (0, 1));
    assert_eq!(pool.files().len(), FILE_COUNT as usize);
    assert_ne!(pool.pool_id(), record::NO_POOL);
    assert_eq!(fs::metadata(scratch.pool()).unwrap().mode() & 0o7777, 0o700);
    let names: Vec<_> = image(&scratch.pool()).into_keys().collect();
    assert_eq!(names.len(), FILE_COUNT as usize + 2, "{names:?}");
    for path in names {
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600, "{path:?}");
    }
    for (index, file) in pool.files().iter().enumerate() {
        let metadata = file.metadata().unwrap();
        assert_eq!(metadata.len(), pool.geometry().file_bytes(index as u32));
        assert!(metadata.blocks() * 512 >= metadata.len() || !scratch.can_reserve(), "space is not reserved");
    }
}

/// A pool with fewer slots than files would have empty files; it has fewer files instead.
#[test]
fn a_small_pool_has_no_empty_files() {
    let scratch = Scratch::new();
    let small = PoolParameters { slot_count: 3, ..parameters() };
    let (pool, _) = Pool::open(&scratch.0, NAME, &small, &Log::default().logger()).unwrap();
    assert_eq!(pool.files().len(), 3);
}

/// Killed between any two steps of making its pool, an engine starts again without anybody's help.
#[test]
fn a_crash_at_any_step_of_creation_never_blocks_the_next_open() {
    let scratch = Scratch::new();
    let steps = crash_at_every_step(
        || {
            let _ = fs::remove_dir_all(scratch.pool());
            drop(open(&scratch));
        },
        |_| {
            let (pool, recovered) = open(&scratch);
            assert!(recovered.entries.is_empty());
            let expected = fill(&pool);
            drop(pool);
            assert_eq!(held(&open(&scratch).1), expected);
            fs::remove_dir_all(scratch.pool()).unwrap();
        },
    );
    assert!(steps > 3 * FILE_COUNT, "only {steps} steps were tried");
}

/// Killed again and again at every step, each time without tidying up before the next try.
#[test]
fn crashes_one_after_another_do_not_add_up() {
    let scratch = Scratch::new();
    crash_at_every_step(|| drop(open(&scratch)), |_| {});
    assert_eq!(image(&scratch.pool()).len(), FILE_COUNT as usize + 2);
    let (pool, _) = open(&scratch);
    let expected = fill(&pool);
    drop(pool);
    assert_eq!(held(&open(&scratch).1), expected);
}

/// A disk that fills up, or any other error half way, leaves the disk as it was found.
#[test]
fn a_creation_that_fails_at_any_step_removes_what_it_made() {
    let scratch = Scratch::new();
    for at in 0.. {
        let log = Log::default();
        let outcome = with(at, Event::Error(libc::ENOSPC), || {
            Pool::open(&scratch.0, NAME, &parameters(), &log.logger()).map(|_| ())
        });
        match outcome.unwrap() {
            Err(error) => {
                assert_eq!(error.status(), Status::NoSpace, "{error}");
                assert!(error.message().contains(NAME), "{error}");
                // The last steps come after the manifest: the pool is complete, and only its opening failed.
                if fs::exists(scratch.pool()).unwrap() {
                    assert!(fs::exists(scratch.file("manifest")).unwrap(), "step {at}");
                    fs::remove_dir_all(scratch.pool()).unwrap();
                }
            }
            Ok(()) => {
                assert!(at > 3 * FILE_COUNT);
                return;
            }
        }
    }
}

/// A pool larger than the disk is refused at once, says what it needs, and does not fill the disk to find out.
#[test]
fn a_pool_larger_than_the_disk_is_refused_with_the_bytes_needed() {
    let scratch = Scratch::new();
    let huge = PoolParameters { slot_count: 1 << 15, chunk_bytes: 1 << 30, ..parameters() };
    let error = refusal(&scratch, &huge);
    let needed = Geometry::new(1 << 15, 1 << 30, FILE_COUNT).unwrap().total_bytes();
    assert!(error.status() == Status::NoSpace || !scratch.can_reserve(), "{error}");
    assert!(error.message().contains(&needed.to_string()), "{error}");
    assert!(!fs::exists(scratch.pool()).unwrap());
}

/// Sizes that no pool can have are a mistake in the configuration, named as such.
#[test]
fn impossible_parameters_are_refused_before_anything_is_touched() {
    let scratch = Scratch::new();
    for (slot_count, chunk_bytes) in [(0, 4096), (10, 0), (u32::MAX, 1 << 40), (1, u64::MAX)] {
        let error = refusal(&scratch, &PoolParameters { slot_count, chunk_bytes, ..parameters() });
        assert_eq!(error.status(), Status::Config);
    }
    for name in ["", ".", "..", "a/b", "../escape"] {
        assert!(Pool::open(&scratch.0, name, &parameters(), &Log::default().logger()).is_err());
    }
    assert!(image(&scratch.0).is_empty());
}

/// `nixl_path` mistyped: a directory with somebody's files is refused and not even a lock is added to it.
#[test]
fn a_directory_with_unknown_files_is_refused_and_left_alone() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.pool()).unwrap();
    fs::write(scratch.file("thesis.tex"), "three years").unwrap();
    fs::write(scratch.file("slots-000.bin"), "by chance").unwrap();
    let before = image(&scratch.0);
    let error = refusal(&scratch, &parameters());
    assert_eq!(error.status(), Status::Format);
    assert!(error.message().contains("thesis.tex"), "{error}");
    assert_eq!(image(&scratch.0), before);
}

/// A pool whose manifest was lost still has chunks in it: it is not taken for an unfinished one.
#[test]
fn a_pool_that_lost_its_manifest_is_not_thrown_away() {
    let scratch = Scratch::new();
    let (pool, _) = open(&scratch);
    let expected = fill(&pool);
    snapshot(&pool, &expected).unwrap();
    pool.release();
    fs::remove_file(scratch.file("manifest")).unwrap();
    let before = image(&scratch.0);
    assert_eq!(refusal(&scratch, &parameters()).status(), Status::Format);
    assert_eq!(image(&scratch.0), before);
}

/// Links and directories planted where the pool's files belong are refused, before the pool was made
/// and after, and what a link points at stays as it is.
#[test]
fn planted_links_and_directories_are_refused() {
    for target in ["manifest", "lock", "slots-003.bin", "snapshot"] {
        for was_made in [true, false] {
            let scratch = Scratch::new();
            if was_made {
                snapshot(&open(&scratch).0, &Held::new()).unwrap();
            } else {
                fs::create_dir(scratch.pool()).unwrap();
                fs::write(scratch.file(target), "precious").unwrap();
            }
            let (place, elsewhere) = (scratch.file(target), scratch.0.join("elsewhere"));
            fs::rename(&place, &elsewhere).unwrap();
            let before = fs::read(&elsewhere).unwrap();
            std::os::unix::fs::symlink(&elsewhere, &place).unwrap();
            assert_eq!(
                refusal(&scratch, &parameters()).status(),
                Status::Format,
                "{target}, made {was_made}"
            );
            assert_eq!(fs::read(&elsewhere).unwrap(), before, "{target}, made {was_made}");
            fs::remove_file(&place).unwrap();
            fs::create_dir(&place).unwrap();
            assert_eq!(
                refusal(&scratch, &parameters()).status(),
                Status::Format,
                "{target}, made {was_made}"
            );
        }
    }
}

/// The pool's directory itself: a link or a file in its place is not followed or replaced.
#[test]
fn a_planted_pool_directory_is_refused() {
    let scratch = Scratch::new();
    let elsewhere = scratch.0.join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, scratch.pool()).unwrap();
    let error = refusal(&scratch, &parameters());
    assert_eq!(error.status(), Status::Format);
    assert!(error.message().contains("symbolic link"), "{error}");
    assert!(image(&elsewhere).is_empty());
    fs::remove_file(scratch.pool()).unwrap();
    fs::write(scratch.pool(), "a file").unwrap();
    assert_eq!(refusal(&scratch, &parameters()).status(), Status::Format);
}

/// `use_direct_io` on a file system without it: the pool works buffered and says so once.
#[test]
fn direct_io_is_used_where_it_can_be_had_and_warned_about_where_not() {
    let scratch = Scratch::new();
    let log = Log::default();
    let direct = PoolParameters { direct_io: true, ..parameters() };
    let (pool, _) = Pool::open(&scratch.0, NAME, &direct, &log.logger()).unwrap();
    assert_eq!(pool.direct_io(), pool.direct_alignment().is_some());
    let told = log.warnings().into_iter().filter(|line| line.contains("use_direct_io")).count();
    assert_eq!(told, usize::from(!pool.direct_io()));
    let expected = fill(&pool);
    pool.tombstone(expected[0].1).unwrap();
    drop(pool);
    let (_, recovered) = Pool::open(&scratch.0, NAME, &direct, &log.logger()).unwrap();
    assert_eq!(held(&recovered), expected[1..]);
}
