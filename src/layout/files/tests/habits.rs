//! Files that do some things otherwise: no page cache, no space reserved, a length that others learn at a sync.

use std::os::unix::fs::MetadataExt;

use super::*;
use crate::error::Status;
use crate::sys::file::{flags, testing::without_direct};

fn with_habits(path: &Path, habits: Habits, log: &Log) -> FileStore {
    FileStore::open(path, Layout::Sharded, false, habits, &log.logger()).unwrap()
}

/// O_DIRECT where nothing else will do, whatever the configuration says: what is written, what is read, and what a flush opens
/// to sync it and to write it anew.
#[test]
fn no_data_file_is_buffered_where_direct_io_is_needed() {
    let dir = TestDir::new();
    let habits = Habits { needs_direct_io: true, ..Habits::default() };
    let store = with_habits(dir.path(), habits, &Log::default());
    let is_direct = |file: &File| flags(file).unwrap() & libc::O_DIRECT != 0;
    assert!(store.direct_io() && store.direct_alignment().offset > 1);
    let name = named(&store, 1);
    let temporary = store.create_temporary(&name, 4096).unwrap();
    assert!(is_direct(temporary.file()));
    assert!(is_direct(store.create_nameless().unwrap().file()));
    store.publish(temporary).unwrap();
    assert!(is_direct(&store.open_read(&name).unwrap().unwrap().0));
    assert!(is_direct(&store.open_to_sync(&name).unwrap().unwrap()));
    // What is no file is still passed over.
    let planted = dir.join(format!("nixl_store_objects/00/{}", named(&store, 2).file_name()));
    std::fs::create_dir_all(planted.parent().unwrap()).unwrap();
    assert!(Command::new("mkfifo").arg(planted).status().unwrap().success());
    assert!(store.open_to_sync(&named(&store, 2)).unwrap().is_none());
}

/// Where it cannot be had the store is refused, with what to do, and leaves nothing of its own behind.
#[test]
fn a_store_that_needs_direct_io_is_refused_where_there_is_none() {
    let dir = TestDir::new();
    let log = Log::default();
    let habits = Habits { needs_direct_io: true, ..Habits::default() };
    let opened = without_direct(|| {
        FileStore::open(dir.path(), Layout::Sharded, false, habits, &log.logger()).map(drop)
    });
    let error = opened.unwrap_err();
    assert_eq!(error.status(), Status::Unsupported);
    for word in ["O_DIRECT", "nixl_path", "nixl_backend", dir.path().to_str().unwrap()] {
        assert!(error.message().contains(word), "{word} is missing: {error}");
    }
    assert_eq!(temporaries(dir.path()), Vec::<PathBuf>::new());
}

/// No space is asked for where it cannot be reserved, and nobody hears of it.
#[test]
fn a_sparse_store_reserves_nothing() {
    let dir = TestDir::new();
    let log = Log::default();
    let habits = Habits { is_sparse: true, ..Habits::default() };
    let store = with_habits(dir.path(), habits, &log);
    let temporary = store.create_temporary(&named(&store, 1), 1 << 20).unwrap();
    assert_eq!(temporary.file().metadata().unwrap().blocks(), 0);
    assert_eq!(log.lines(), Vec::<String>::new());
}

/// An object gets its name when its length is known to all, or never: a sync that fails fails the publication, and what was
/// there before is what is there.
#[test]
fn an_object_is_synced_before_it_gets_its_name() {
    for length_needs_sync in [true, false] {
        let dir = TestDir::new();
        let habits = Habits { length_needs_sync, ..Habits::default() };
        let store = with_habits(dir.path(), habits, &Log::default());
        let name = named(&store, 1);
        put(&store, &name, b"before");
        let mut temporary = store.create_temporary(&name, 5).unwrap();
        temporary.file().write_all_at(b"after", 0).unwrap();
        // A pipe, which cannot be synced, in its place.
        let (pipe, _) = std::io::pipe().unwrap();
        temporary.set_file(File::from(std::os::fd::OwnedFd::from(pipe)));
        let published = store.publish(temporary);
        if length_needs_sync {
            assert_eq!(published.unwrap_err().raw_os_error(), Some(libc::EINVAL));
            assert_eq!(get(&store, &name).unwrap(), b"before");
        } else {
            published.unwrap();
            assert_eq!(get(&store, &name).unwrap(), b"after");
        }
        assert_eq!(temporaries(dir.path()), Vec::<PathBuf>::new());
    }
}
