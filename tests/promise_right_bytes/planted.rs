//! Things that are no regular files where files should be: symbolic links, FIFOs, directories, sockets.

use std::ffi::CString;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use crate::common::format::{self, Pool};
use crate::common::status::{FORMAT, NOT_FOUND, OK};
use crate::common::{Layout, Scratch, Setup, Store, payload};
use crate::{assert_goes_on, dynamic, key, put_objects, reopen, right_or_absent};

const LENGTH: usize = 70_000;

/// What can stand in a file's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Thing {
    /// To the very file that was there, moved aside: following it would even find the right bytes.
    Link,
    DanglingLink,
    Fifo,
    Directory,
    FullDirectory,
    Socket,
}

const THINGS: [Thing; 6] =
    [Thing::Link, Thing::DanglingLink, Thing::Fifo, Thing::Directory, Thing::FullDirectory, Thing::Socket];

impl Thing {
    /// Puts it in the place of the file at `path`, which moves to `aside`.
    fn plant(self, path: &Path, aside: &Path) {
        fs::rename(path, aside).unwrap();
        match self {
            Thing::Link => symlink(aside, path).unwrap(),
            Thing::DanglingLink => symlink("/nonexistent/nixl_store", path).unwrap(),
            Thing::Fifo => {
                let name = CString::new(path.to_str().unwrap()).unwrap();
                // SAFETY: a NUL-terminated path.
                assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
            }
            Thing::Directory => fs::create_dir(path).unwrap(),
            Thing::FullDirectory => {
                fs::create_dir(path).unwrap();
                fs::write(path.join("file"), "x").unwrap();
            }
            Thing::Socket => {
                // The path of a socket must be short.
                let parent = File::open(path.parent().unwrap()).unwrap();
                let short = format!("/proc/self/fd/{}", parent.as_raw_fd());
                drop(UnixListener::bind(Path::new(&short).join(path.file_name().unwrap())).unwrap());
            }
        }
    }

    fn remove(path: &Path) {
        if fs::symlink_metadata(path).unwrap().is_dir() {
            fs::remove_dir_all(path).unwrap();
        } else {
            fs::remove_file(path).unwrap();
        }
    }
}

/// Something is planted in an object's place while the store is open. Nothing is followed, opened to block on, or
/// written through: the key is not there, for every question, and other keys are untouched by it.
#[test]
fn what_is_no_file_is_no_object() {
    for (name, setup) in dynamic() {
        for thing in THINGS {
            let scratch = Scratch::new(name);
            let store = Store::open(setup, &scratch);
            put_objects(&store, 3, LENGTH);
            let path = format::object_path(&scratch, setup.layout, &key(1));
            let aside = scratch.path().join("aside");
            thing.plant(&path, &aside);
            let hash = format::file_hash(&aside);
            let what = format!("{name}: {thing:?}");
            for _ in 0..2 {
                assert!(!right_or_absent(&store, 1, LENGTH, &what), "{what}");
                assert_eq!(store.contains(&key(1)), NOT_FOUND, "{what}");
                assert_eq!(store.length(&key(1)).0, NOT_FOUND, "{what}");
                assert_eq!(store.pin(&key(1)), NOT_FOUND, "{what}");
                let chain = [key(0), key(1), key(2)];
                let chain: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
                assert_eq!(store.prefix_match(&chain), 1, "{what}");
            }
            for index in [0, 2] {
                assert!(right_or_absent(&store, index, LENGTH, &what), "{what}: a bystander");
            }
            // A put takes the place of whatever a rename can replace; a directory it cannot.
            let is_directory = matches!(thing, Thing::Directory | Thing::FullDirectory);
            let status = store.put(&key(1), &payload(1, LENGTH));
            assert_eq!(status == OK, !is_directory, "{what}: {status:?}");
            assert_eq!(right_or_absent(&store, 1, LENGTH, &what), !is_directory, "{what}: put again");
            if is_directory {
                fs::remove_dir_all(&path).unwrap();
                assert_eq!(store.put(&key(1), &payload(1, LENGTH)), OK);
            }
            assert!(fs::symlink_metadata(&path).unwrap().is_file(), "{what}");
            assert_eq!(format::file_hash(&aside), hash, "{what}: written through");
            assert_goes_on(&store, LENGTH, &what);
            assert_eq!(store.close(), OK);
        }
    }
}

/// The directory of a shard is replaced by a link to one outside, which holds a whole record of the right name. Nothing
/// outside of `nixl_path` is read or written.
#[test]
fn a_link_does_not_lead_out_of_the_path() {
    for (name, setup) in dynamic().filter(|(_, setup)| setup.layout == Layout::Sharded) {
        let scratch = Scratch::new(name);
        let store = Store::open(setup, &scratch);
        put_objects(&store, 1, LENGTH);
        let path = format::object_path(&scratch, setup.layout, &key(0));
        let (shard, outside) = (path.parent().unwrap(), scratch.path().join("outside"));
        fs::rename(shard, &outside).unwrap();
        symlink(&outside, shard).unwrap();
        let before = format::file_hash(&outside.join(path.file_name().unwrap()));
        assert!(!right_or_absent(&store, 0, LENGTH, name));
        assert_eq!(store.contains(&key(0)), NOT_FOUND);
        assert_ne!(store.put(&key(0), b"new"), OK);
        assert_ne!(store.remove(&key(0)), OK);
        assert_eq!(store.clear(), 0);
        assert_eq!(store.close(), OK);
        let store = Store::open(setup, &scratch);
        assert_eq!(store.stats().keys, 0, "nor does a scan follow it");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
        assert_eq!(format::file_hash(&outside.join(path.file_name().unwrap())), before);
        fs::remove_file(shard).unwrap();
        assert_goes_on(&store, LENGTH, name);
        put_objects(&store, 1, LENGTH);
        assert!(right_or_absent(&store, 0, LENGTH, name));
    }
}

/// A file of a pool is replaced by something else while the pool is closed. Opening is refused as a matter of format,
/// without blocking on it, following it or changing anything; when the file is back, so are the objects.
#[test]
fn a_pool_with_something_else_for_a_file_is_refused() {
    let scratch = Scratch::new("planted");
    let setup = Setup { slots: 8, chunk_bytes: 80_000, ..Setup::POOL };
    let store = Store::open(&setup, &scratch);
    put_objects(&store, 8, LENGTH);
    let mut pool = Pool::of(&scratch);
    assert_eq!(store.close(), OK);
    pool.directory = pool.directory.canonicalize().unwrap();
    let hashes = |except: &str| -> Vec<(PathBuf, u64)> {
        let entries = fs::read_dir(&pool.directory).unwrap().map(|entry| entry.unwrap());
        let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
        let mut files: Vec<_> = files
            .filter(|entry| entry.file_name() != except && entry.file_name() != "lock")
            .map(|entry| (entry.path(), format::file_hash(&entry.path())))
            .collect();
        files.sort();
        files
    };
    for file in ["slots-003.bin", "manifest", "snapshot", "lock"] {
        for thing in THINGS {
            let (path, aside) = (pool.directory.join(file), scratch.path().join("aside"));
            let before = hashes(file);
            thing.plant(&path, &aside);
            let aside_hash = format::file_hash(&aside);
            let what = format!("{thing:?} for {file}");
            let refused = Store::try_open(&setup, &scratch).err();
            let (status, message) = refused.unwrap_or_else(|| panic!("{what}: opened"));
            assert_eq!(status, FORMAT, "{what}: {message}");
            assert!(message.contains(file), "{what}: {message}");
            assert_eq!(hashes(file), before, "{what}: something was changed");
            assert_eq!(format::file_hash(&aside), aside_hash, "{what}: written through");
            Thing::remove(&path);
            fs::rename(&aside, &path).unwrap();
        }
    }
    let store = Store::open(&setup, &scratch);
    for index in 0..8 {
        assert!(right_or_absent(&store, index, LENGTH, &"after all that"), "object {index}");
    }
    assert_eq!(store.stats().corruptions, 0);
}

/// A slot file full of zeros, or of nothing but holes, is an empty one: no object, no error.
#[test]
fn a_zeroed_pool_file_holds_nothing() {
    for as_after_a_crash in [false, true] {
        let scratch = Scratch::new("zeroed");
        let setup = Setup { slots: 16, chunk_bytes: 80_000, ..Setup::POOL };
        let store = Store::open(&setup, &scratch);
        put_objects(&store, 16, LENGTH);
        let pool = Pool::of(&scratch);
        let slots_of = |index: usize| pool.find(&key(index)).path;
        let zeroed = [&pool.files()[1], &pool.files()[6]];
        let is_lost: Vec<bool> = (0..16).map(|index| zeroed.contains(&&slots_of(index))).collect();
        assert_eq!(store.close(), OK);
        let length = fs::metadata(zeroed[0]).unwrap().len();
        fs::write(zeroed[0], vec![0; length as usize]).unwrap();
        format::truncate(zeroed[1], 0);
        format::truncate(zeroed[1], length);
        let store = reopen(&setup, &scratch, as_after_a_crash);
        for (index, lost) in is_lost.iter().enumerate() {
            assert_eq!(right_or_absent(&store, index, LENGTH, &"zeroed"), !lost, "object {index}");
        }
        assert_goes_on(&store, LENGTH, &"zeroed");
    }
}
