//! Files that do some things otherwise: no page cache, no space reserved, no zeros where nothing was written.

use super::*;
use crate::sys::file::testing::without_direct;

fn sparse() -> PoolParameters {
    PoolParameters { habits: Habits { is_sparse: true, ..Habits::default() }, ..parameters() }
}

fn needing_direct() -> PoolParameters {
    PoolParameters { habits: Habits { needs_direct_io: true, ..Habits::default() }, ..parameters() }
}

/// O_DIRECT where nothing else will do, whatever the configuration says; the pool is filled, cleaned and found again so.
#[test]
fn slot_files_are_direct_where_that_is_needed() {
    let scratch = Scratch::new();
    let (pool, _) = open_as(&scratch, &needing_direct());
    assert!(pool.direct_io());
    for file in pool.files() {
        assert_ne!(crate::sys::file::flags(file).unwrap() & libc::O_DIRECT, 0);
    }
    let expected = fill(&pool);
    pool.tombstone(expected[0].1).unwrap();
    drop(pool);
    // Cut at a page, so that it is extended again.
    let file = fs::File::options().write(true).open(scratch.file("slots-000.bin")).unwrap();
    file.set_len(4096).unwrap();
    drop(file);
    let (pool, recovered) = open_as(&scratch, &needing_direct());
    assert!(pool.direct_io());
    assert!(held(&recovered).iter().all(|entry| expected[1..].contains(entry)));
}

/// Where it cannot be had the pool is refused, with what to do. Nothing is left of one that was to be made, and one that is
/// there stays as it is.
#[test]
fn a_pool_that_needs_direct_io_is_refused_where_there_is_none() {
    let scratch = Scratch::new();
    for was_made in [false, true] {
        if was_made {
            let (pool, _) = open(&scratch);
            fill(&pool);
            pool.release();
        }
        let before = image(&scratch.0);
        let error = without_direct(|| refusal(&scratch, &needing_direct()));
        assert_eq!(error.status(), Status::Unsupported);
        for word in ["O_DIRECT", "nixl_path", "nixl_backend", scratch.pool().to_str().unwrap()] {
            assert!(error.message().contains(word), "{word} is missing: {error}");
        }
        assert_eq!(image(&scratch.0), before);
    }
    // What can do without goes on.
    without_direct(|| drop(open_as(&scratch, &PoolParameters { direct_io: true, ..parameters() })));
}

/// No space is asked for where it cannot be reserved, and nobody is warned of what cannot be otherwise.
#[test]
fn a_sparse_pool_has_its_length_and_no_space() {
    let scratch = Scratch::new();
    let log = Log::default();
    let (pool, _) = Pool::open(&scratch.0, NAME, &sparse(), &log.logger()).unwrap();
    assert_eq!(log.warnings(), Vec::<String>::new());
    for (index, file) in pool.files().iter().enumerate() {
        let metadata = file.metadata().unwrap();
        assert_eq!((metadata.len(), metadata.blocks()), (pool.geometry().file_bytes(index as u32), 0));
    }
    let expected = fill(&pool);
    drop(pool);
    fs::remove_file(scratch.file("slots-001.bin")).unwrap();
    let (pool, recovered) = open_as(&scratch, &sparse());
    assert_eq!(pool.files()[1].metadata().unwrap().blocks(), 0);
    assert!(held(&recovered).iter().all(|entry| expected.contains(entry)));
}

/// A slot where nothing was ever written reads as if the file ended there: no record, no damage, and no slot to erase.
#[test]
fn a_read_that_ends_where_nothing_was_written_finds_no_record() {
    let scratch = Scratch::new();
    let (pool, _) = open_as(&scratch, &sparse());
    put(&pool, 2, 3, "first of its file", 90_000);
    let mut expected = held(&pool.bring_back(false, false, &Log::default().logger()).unwrap());
    assert_eq!(expected.len(), 1);
    // Behind the opened pool's back, as repairing would give the files their length again.
    for (index, file) in pool.files().iter().enumerate() {
        let first = pool.geometry().slot_bytes();
        file.set_len(if index == 2 { first } else { 0 }).unwrap();
    }
    let log = Log::default();
    let recovered = pool.bring_back(false, false, &log.logger()).unwrap();
    assert_eq!(held(&recovered), expected);
    assert_eq!((recovered.generation_next, recovered.out_of_use), (4, Vec::new()));
    assert_eq!(log.warnings(), Vec::<String>::new());
    assert_eq!(pool.files()[0].metadata().unwrap().len(), 0, "a slot that holds nothing was written to");

    // A tombstone that a full disk refuses is needless there too.
    let full = io::Error::from_raw_os_error(libc::ENOSPC);
    let trailer = pool.geometry().trailer_offset(pool.place(0));
    assert!(tombstone::is_needless(&pool.files()[0], trailer, &full));
    let trailer = pool.geometry().trailer_offset(pool.place(2));
    assert!(!tombstone::is_needless(&pool.files()[2], trailer, &full));

    // A record that lacks its end is none.
    let cut = pool.geometry().slot_bytes() - 4096 + 1000;
    pool.files()[2].set_len(cut).unwrap();
    expected.clear();
    assert_eq!(held(&pool.bring_back(false, false, &log.logger()).unwrap()), expected);
}
