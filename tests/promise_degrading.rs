//! Promise 8, degrading is loud, and what becomes of a store whose disk is full, read-only or not its own.
//!
//! What a machine refuses is refused for real: system calls by a seccomp filter, O_DIRECT by file systems that do
//! not have it, space by small file systems, access by another user's directory.

// Helpers may unwrap as tests do.
#![cfg(test)]

mod crash_common;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crash_common::api::{Log, Options, Store};
use crash_common::config::Settings;
use crash_common::disk::Disk;
use crash_common::helper;
use crash_common::remote::{self, Remote};
use crash_common::sandbox::{self, ORDINARY_USER};
use crash_common::versions::{self, put};
use crash_common::{Scratch, chunk, tree};
use nixl_store::capi::*;

/// Not a test: what helper processes run.
#[test]
#[ignore = "the body of helper processes"]
fn helper_process() {
    helper::play(&[remote::ROLE]);
}

/// The version that a key holds, every byte checked.
fn version(store: &Store, key: &str) -> Option<u64> {
    versions::version(store, key, 2 << 20)
}

/// Every kind of store, in directories of their own below `root`.
fn every_layout(root: &Path) -> Vec<Settings> {
    vec![
        Settings::pool(&root.join("pool"), 16, 300_000).direct(),
        Settings::dynamic(&root.join("sharded")).direct(),
        Settings::dynamic(&root.join("flat")).with("nixl_store_layout", "lmcache").direct(),
    ]
}

/// Puts, replaces, removes and reads in sizes that take each way through the library.
fn use_it(remote: &mut Remote) {
    for (key, length) in [("small", 100), ("page", 4096), ("odd", 70_001), ("large", 300_000)] {
        remote.put(key, 1, length).unwrap_or_else(|failure| panic!("{key}: {failure}"));
        remote.put(key, 2, length / 2).unwrap_or_else(|failure| panic!("{key}: {failure}"));
        assert_eq!(remote.get(key).unwrap(), Some(2), "{key}");
    }
    assert_eq!(remote.remove("page").unwrap(), NIXL_STORE_OK);
    assert_eq!(remote.get("page").unwrap(), None);
    remote.flush().unwrap();
}

/// Lines of the log at level warning that hold `text`.
fn warnings(log: &[String], text: &str) -> Vec<String> {
    let prefix = format!("{NIXL_STORE_LOG_WARN} ");
    log.iter().filter(|line| line.starts_with(&prefix) && line.contains(text)).cloned().collect()
}

// ---------------------------------------------------------------------------------------------------------------
// What can fall back does.

/// A container's seccomp profile refuses io_uring, as most do. The store works through threads, warns once, and its
/// capabilities say why.
#[test]
fn refused_io_uring_falls_back_to_threads() {
    let scratch = Scratch::new("no_uring");
    for settings in every_layout(scratch.path()) {
        let config = settings.write(&scratch.join("lmcache.yaml"));
        let mut free = Remote::open(&config);
        assert!(free.capabilities().starts_with("io_uring "), "{}", free.capabilities());
        assert!(free.capabilities().ends_with("reason="), "{}", free.capabilities());
        use_it(&mut free);
        free.close().unwrap();
        free.finish();

        let mut remote = Remote::start();
        remote.sandbox("no-io_uring");
        remote.try_open(&config, &Options::default()).unwrap_or_else(|failure| panic!("{failure}"));
        let told = remote.capabilities();
        assert!(told.starts_with("threads ") && told.contains("io_uring"), "{told}");
        assert_eq!(remote.get("large").unwrap(), Some(2), "what io_uring wrote");
        use_it(&mut remote);
        let log = remote.log();
        assert_eq!(warnings(&log, "io_uring").len(), 1, "{log:?}");
        assert_eq!(warnings(&log, "").len(), 1, "{log:?}");
        remote.close().unwrap();
        remote.finish();
    }
}

/// Files in memory need no queue: the lanes copy, and nothing is degraded by it, nor by what the machine refuses and
/// nobody needs. Whoever names a queue gets it.
#[test]
fn files_in_memory_are_copied_without_a_queue() {
    let Some(disk) = Disk::tmpfs("inline", 64 << 20) else { return };
    let scratch = Scratch::new("inline");
    for settings in every_layout(disk.path()) {
        let config = settings.write(&scratch.join("lmcache.yaml"));
        let mut remote = Remote::start();
        remote.sandbox("no-io_uring");
        remote.try_open(&config, &Options::default()).unwrap_or_else(|failure| panic!("{failure}"));
        let told = remote.capabilities();
        assert!(told.starts_with("inline ") && told.ends_with("reason="), "{told}");
        use_it(&mut remote);
        assert_eq!(warnings(&remote.log(), ""), Vec::<String>::new());
        remote.close().unwrap();
        remote.finish();

        let config = settings.param("use_uring", true).write(&scratch.join("lmcache.yaml"));
        let mut remote = Remote::open(&config);
        assert!(remote.capabilities().starts_with("io_uring "), "{}", remote.capabilities());
        assert_eq!(remote.get("large").unwrap(), Some(2), "what was copied");
        use_it(&mut remote);
        remote.close().unwrap();
        remote.finish();
    }
}

/// O_DIRECT is asked for on file systems that do not have it. Transfers go through the page cache instead, with one
/// warning, and the capabilities say so.
#[test]
fn refused_direct_io_falls_back_to_the_page_cache() {
    // ramfs refuses the flag; ext4 that journals data takes it and does something else.
    let disks = [Disk::ramfs("no_direct_ramfs"), Disk::ext4("no_direct_journal", 64 << 20, "data=journal")];
    for disk in disks.into_iter().flatten() {
        let scratch = Scratch::new("no_direct");
        for settings in every_layout(disk.path()) {
            let config = settings.write(&scratch.join("lmcache.yaml"));
            let mut remote = Remote::open(&config);
            let told = remote.capabilities();
            assert!(told.contains("direct=false") && told.contains("O_DIRECT"), "{told}");
            use_it(&mut remote);
            let log = remote.log();
            let about = [warnings(&log, "O_DIRECT"), warnings(&log, "use_direct_io")].concat();
            assert_eq!(about.len(), 1, "{log:?}");
            remote.close().unwrap();
            remote.finish();
            // Not asked for, it is not missed.
            let config = Settings { direct: false, ..settings }.write(&scratch.join("lmcache.yaml"));
            let mut remote = Remote::open(&config);
            let told = remote.capabilities();
            assert!(told.contains("direct=false") && told.ends_with("reason="), "{told}");
            assert_eq!(warnings(&remote.log(), "irect"), Vec::<String>::new());
            remote.close().unwrap();
            remote.finish();
        }
    }
}

/// An ordinary user may lock little memory or none, where rings and registered buffers are counted. Every transfer
/// works all the same, through whatever was to be had; the capabilities and one warning say what was not.
#[test]
fn with_little_locked_memory_transfers_go_on() {
    if !sandbox::is_root() {
        eprintln!("SKIPPED with_little_locked_memory_transfers_go_on: it takes root to become another user");
        return;
    }
    let scratch = Scratch::new("memlock");
    std::os::unix::fs::chown(scratch.path(), Some(ORDINARY_USER), Some(ORDINARY_USER)).unwrap();
    // What the machine allows; more than all of it takes.
    const ENOUGH: u64 = 8 << 20;
    // None; enough for one ring, for some, for all of them; for the buffer in one ring, and in all.
    for limit in [0, 8 << 10, 16 << 10, 32 << 10, 64 << 10, 128 << 10, 1_500_000, ENOUGH] {
        for settings in every_layout(scratch.path()) {
            let settings = Settings { buffer_bytes: 1 << 20, ..settings };
            let config = settings.write(&scratch.join("lmcache.yaml"));
            let mut remote = Remote::start();
            remote.sandbox(&format!("memlock={limit}"));
            remote.sandbox("ordinary-user");
            remote
                .try_open(&config, &Options::default())
                .unwrap_or_else(|failure| panic!("with {limit} bytes: {failure}"));
            use_it(&mut remote);
            let (told, log) = (remote.capabilities(), remote.log());
            let degraded = told.starts_with("threads ") || told.contains("registered=false");
            assert_eq!(degraded, limit < ENOUGH, "with {limit} bytes: {told}");
            assert_eq!(
                told.contains("reason=") && told.contains("memory"),
                degraded,
                "the reason is missing: {told}"
            );
            let about = ["io_uring is refused", "staging buffer"].map(|what| warnings(&log, what).len());
            assert!(about.iter().all(|times| *times <= 1), "with {limit} bytes: {log:?}");
            assert_eq!(about.iter().sum::<usize>() > 0, degraded, "with {limit} bytes: {log:?}");
            assert_eq!(warnings(&log, "ulimit -l").len(), warnings(&log, "").len(), "{log:?}");
            remote.close().unwrap();
            remote.finish();
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------
// What cannot serve is refused at open.

/// A backend that this build or this machine does not have is refused by name before anything is touched.
#[test]
fn backends_that_cannot_serve_are_refused_by_name() {
    let scratch = Scratch::new("refused");
    let root = scratch.join("path");
    for backend in ["HF3FS"] {
        for pool_size in [0, 8] {
            let settings = Settings { backend, pool_size, ..Settings::pool(&root, 8, 10_000) };
            let config = settings.write(&scratch.join("lmcache.yaml"));
            let failure = Store::open(&config).err().expect("a refusal");
            assert_eq!(failure.status, NIXL_STORE_ERROR_UNSUPPORTED, "{failure}");
            assert!(failure.message.contains(&format!("nixl_backend {backend} ")), "{failure}");
            assert!(failure.message.contains("POSIX"), "what is served instead: {failure}");
            assert!(!root.exists(), "{backend} made {}", root.display());
        }
    }
}

/// Keys that no log, no error and no dump may show, whatever is wrong with the file that they are in.
#[test]
fn credentials_appear_nowhere() {
    const SECRETS: [&str; 3] = ["AKIAEXAMPLEACCESS", "wJalrXUtnSECRETKEY", "FwoGZXIvSESSIONTOKEN"];
    let scratch = Scratch::new("secrets");
    let file = scratch.join("lmcache.yaml");
    let obj = |params: &str| {
        format!(
            "chunk_size: 256\nnixl_buffer_device: cpu\nextra_config:\n  enable_nixl_storage: true\n  \
             nixl_backend: OBJ\n  nixl_pool_size: 0\n  nixl_backend_params:\n{params}"
        )
    };
    let [access, secret, session] = SECRETS;
    let keys = format!("    access_key: {access}\n    secret_key: {secret}\n    session_token: {session}\n");
    let files = [
        // Right, but nobody listens there.
        obj(&format!(
            "{keys}    bucket: chunks\n    region: us-east-1\n    endpoint_override: http://127.0.0.1:1\n"
        )),
        // No bucket, an unknown parameter, a value of the wrong kind, half of a pair, a secret at the wrong level.
        obj(&keys),
        obj(&format!("{keys}    bucket: chunks\n    secret_keys: {secret}\n")),
        obj(&format!("{keys}    bucket: chunks\n    num_threads: many\n")),
        obj(&format!("    secret_key: {secret}\n    bucket: chunks\n")),
        obj(&format!("    access_key: [{access}, {secret}]\n    bucket: chunks\n")),
        obj(&format!(
            "{keys}    bucket: chunks\n    endpoint_override: https://{access}:{secret}@host:9000\n"
        )),
        format!("secret_key: {secret}\n{}", obj(&keys)),
        format!("nixl_secret_key: {secret}\n{}", obj(&keys)),
        // No YAML at all, on the line of the secret.
        obj(&format!("    secret_key: \"{secret}\n   x: : y\n")),
        obj(&format!("    secret_key: {secret}: {session}\n")),
        obj(&format!("    secret_key: !tag {secret}\n")),
        obj(&format!("    secret_key: {secret}\n    secret_key: {session}\n")),
    ];
    for (number, text) in files.iter().enumerate() {
        std::fs::write(&file, text).unwrap();
        let log = Arc::new(Log::default());
        let failure = Store::open_with(&file, &Options { log: Arc::clone(&log), ..Options::default() });
        let failure = failure.err().unwrap_or_else(|| panic!("file {number} was accepted"));
        let said = format!("{} {:?}", failure.message, log.lines());
        for secret in SECRETS {
            assert!(!said.contains(secret), "file {number}: {said}");
        }
    }
    // A backend that serves, with parameters that are another's.
    let settings = Settings::pool(&scratch.join("pool"), 4, 5000).param("secret_key", secret);
    let said = match Store::open(&settings.write(&file)) {
        Ok(store) => format!("{:?} {:?}", store.log.lines(), store.capabilities()),
        Err(failure) => failure.message,
    };
    assert!(!said.contains(secret), "{said}");
}

// ---------------------------------------------------------------------------------------------------------------
// Full disks.

/// The disk is too small for the pool. Open says how much is needed, and leaves the disk as it found it.
#[test]
fn a_pool_that_does_not_fit_is_refused_and_leaves_nothing() {
    let disks = [Disk::tmpfs("pool_tmpfs", 8 << 20), Disk::ext4("pool_ext4", 32 << 20, "")];
    for disk in disks.into_iter().flatten() {
        let scratch = Scratch::new("pool_too_large");
        let root = disk.path().join("store");
        std::fs::create_dir(&root).unwrap();
        let free = disk.free_bytes();
        let config = Settings::pool(&root, 500, 100_000).write(&scratch.join("lmcache.yaml"));
        for _ in 0..2 {
            let failure = Store::open(&config).err().expect("a disk that is too small");
            assert_eq!(failure.status, NIXL_STORE_ERROR_NO_SPACE, "{failure}");
            assert!(failure.message.contains(root.to_str().unwrap()), "{failure}");
            assert!(failure.message.contains("bytes"), "how much is needed: {failure}");
            assert_eq!(tree(&root), Vec::new());
            // A child that another test has just forked has the removed files open until it runs its own program.
            let begun = Instant::now();
            while disk.free_bytes() < free {
                assert!(begun.elapsed() < PATIENCE, "{} of {free} bytes are free", disk.free_bytes());
                std::thread::yield_now();
            }
        }
        // One that fits goes in afterwards.
        let config = Settings::pool(&root, 20, 100_000).write(&scratch.join("lmcache.yaml"));
        let store = Store::open(&config).unwrap_or_else(|failure| panic!("{failure}"));
        put(&store, "key", 1, 100_000);
        store.close().unwrap();
    }
}

/// How long the file system may take to give back what was removed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Files in the directory of temporaries that are no lock.
fn unfinished(root: &Path) -> Vec<PathBuf> {
    let temporaries = root.join(".nixl_store+tmp");
    let is_left =
        |path: &PathBuf| path.starts_with(&temporaries) && path.is_file() && !path.ends_with("lock");
    tree(root).into_iter().map(|(path, ..)| path).filter(is_left).collect()
}

/// A dynamic store without a capacity fills its disk. Older chunks make room; when all are pinned, a put says that
/// there is no space, and neither are chunks lost nor half ones left behind.
#[test]
fn a_full_disk_evicts_and_then_says_so() {
    let disks = [Disk::tmpfs("full_tmpfs", 8 << 20), Disk::ext4("full_ext4", 16 << 20, "")];
    for disk in disks.into_iter().flatten() {
        let scratch = Scratch::new("full_disk");
        for layout in ["sharded", "lmcache"] {
            let root = disk.path().join(layout);
            let settings = Settings::dynamic(&root).with("nixl_store_layout", layout);
            let store = Store::open(&settings.write(&scratch.join("lmcache.yaml"))).unwrap();
            for key in 0..40 {
                put(&store, &format!("key-{key}"), key, 1_000_000);
            }
            for key in 37..40 {
                assert_eq!(version(&store, &format!("key-{key}")), Some(key), "{layout}");
            }
            assert_eq!(version(&store, "key-0"), None, "{layout}");
            assert!(store.stats().unwrap().evictions >= 25, "{layout}");

            let there: Vec<u64> = (0..40).filter(|key| store.pin(&format!("key-{key}")).unwrap()).collect();
            assert!(there.len() >= 4, "{there:?}");
            // What is left free beside them is not enough, after one more at most.
            let full = (0..2).find_map(|key| {
                let key = format!("more-{key}");
                let outcome = store.put(&key, &chunk::fill(&key, 1, 1_000_000));
                store.pin(&key).unwrap();
                outcome.err()
            });
            let failure = full.expect("a full disk");
            assert_eq!(failure.status, NIXL_STORE_ERROR_NO_SPACE, "{layout}: {failure}");
            for &key in &there {
                assert_eq!(version(&store, &format!("key-{key}")), Some(key), "{layout}");
            }
            assert_eq!(unfinished(&root), Vec::<PathBuf>::new(), "{layout}");
            // Room for one is made by letting go of one.
            assert!(store.unpin(&format!("key-{}", there[0])).unwrap());
            put(&store, "last", 1, 900_000);
            assert_eq!(version(&store, "last"), Some(1));
            assert_eq!(store.stats().unwrap().corruptions, 0);
            store.close().unwrap();
            std::fs::remove_dir_all(&root).unwrap();
        }
    }
}

/// A file system that cannot reserve space lets a pool be made that does not fit. A put that meets the full disk
/// fails alone: what is stored stays, its slot is not lost, and when there is room again, puts work.
#[test]
fn a_sparse_pool_survives_a_full_disk() {
    let Some(disk) = Disk::ext4_without_extents("sparse_pool", 24 << 20) else { return };
    let scratch = Scratch::new("sparse_pool_config");
    let root = disk.path().join("store");
    let config = Settings::pool(&root, 100, 500_000).write(&scratch.join("lmcache.yaml"));
    let store = Store::open(&config).unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(store.log.matching(NIXL_STORE_LOG_WARN, "sparse").len(), 1, "{:?}", store.log.lines());
    // What else takes up the disk; its end frees it again.
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![1; 8 << 20]).unwrap();
    let stored: Vec<u64> = (0..60)
        .filter(|key| {
            let key = format!("key-{key}");
            match store.put(&key, &chunk::fill(&key, 1, 500_000)) {
                Ok(()) => true,
                Err(failure) => {
                    assert_eq!(failure.status, NIXL_STORE_ERROR_NO_SPACE, "{failure}");
                    false
                }
            }
        })
        .collect();
    assert!((5..50).contains(&stored.len()), "{} fit", stored.len());
    for key in 0..60 {
        let expected = stored.contains(&key).then_some(1);
        assert_eq!(version(&store, &format!("key-{key}")), expected, "key-{key}");
    }
    std::fs::remove_file(&ballast).unwrap();
    put(&store, "after", 1, 500_000);
    let stats = store.stats().unwrap();
    assert_eq!((stats.keys, stats.quarantined_slots), (stored.len() as u64 + 1, 0));
    assert_eq!(stats.keys + stats.slots_free, 100);
    store.close().unwrap();
    let store = Store::open(&config).unwrap();
    assert_eq!(version(&store, "after"), Some(1));
    assert!(stored.iter().all(|key| version(&store, &format!("key-{key}")) == Some(1)));
    store.close().unwrap();
}

// ---------------------------------------------------------------------------------------------------------------
// Directories that cannot be used.

/// The disk is mounted read-only. Open says so, for a store that is there and for one that is not, and so does
/// nobody else's mistake look like an empty cache.
#[test]
fn a_read_only_disk_is_told_at_open() {
    let Some(disk) = Disk::tmpfs("read_only", 16 << 20) else { return };
    let scratch = Scratch::new("read_only_config");
    for settings in every_layout(disk.path()) {
        let config = settings.write(&scratch.join("lmcache.yaml"));
        let root = &settings.paths[0];
        for there in [false, true] {
            if there {
                let store = Store::open(&config).unwrap();
                put(&store, "key", 1, 5000);
                store.close().unwrap();
            }
            disk.remount(true);
            let failure = Store::open(&config).err().expect("a read-only disk");
            assert_eq!(failure.status, NIXL_STORE_ERROR_PERMISSION, "{failure}");
            assert!(failure.message.contains(root.to_str().unwrap()), "{failure}");
            disk.remount(false);
        }
        let store = Store::open(&config).unwrap();
        assert_eq!(version(&store, "key"), Some(1));
        store.close().unwrap();
    }
}

/// The directory belongs to somebody else. An ordinary user is told which one may not be written, and nothing in it
/// changes.
#[test]
fn another_users_directory_is_told_at_open() {
    if !sandbox::is_root() {
        eprintln!("SKIPPED: it takes root to become another user");
        return;
    }
    let scratch = Scratch::new("permission");
    for settings in every_layout(scratch.path()) {
        let config = settings.write(&scratch.join("lmcache.yaml"));
        let root = &settings.paths[0];
        let refused = || {
            let mut remote = Remote::start();
            remote.sandbox("ordinary-user");
            let failure = remote.try_open(&config, &Options::default()).expect_err("no access");
            assert_eq!(failure.status, NIXL_STORE_ERROR_PERMISSION, "{failure}");
            assert!(failure.message.contains(root.to_str().unwrap()), "{failure}");
            remote.finish();
        };
        refused();
        assert!(!root.exists());
        let store = Store::open(&config).unwrap();
        put(&store, "key", 1, 5000);
        store.close().unwrap();
        let before = tree(root);
        refused();
        std::fs::set_permissions(root, std::fs::Permissions::from_mode(0o755)).unwrap();
        refused();
        assert_eq!(tree(root), before);
    }
}

/// A path that is a file, or a link to nowhere, is a slip in the configuration and is told as such.
#[test]
fn a_path_that_is_no_directory_is_told_at_open() {
    let scratch = Scratch::new("no_directory");
    let (file, link) = (scratch.join("file"), scratch.join("link"));
    std::fs::write(&file, "precious").unwrap();
    std::os::unix::fs::symlink(scratch.join("nowhere"), &link).unwrap();
    let below = file.join("below");
    for path in [&file, &link, &below] {
        for settings in [Settings::pool(path, 4, 5000), Settings::dynamic(path)] {
            let config = settings.write(&scratch.join("lmcache.yaml"));
            let failure = Store::open(&config).err().expect("no directory");
            assert!(
                [NIXL_STORE_ERROR_IO, NIXL_STORE_ERROR_CONFIG].contains(&failure.status),
                "{}: {failure}",
                path.display()
            );
            assert!(failure.message.contains(path.to_str().unwrap()), "{failure}");
        }
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    assert!(!scratch.join("nowhere").exists());

    // A link to a directory that is there is how operators move a cache to another disk.
    std::fs::create_dir(scratch.join("elsewhere")).unwrap();
    let link = scratch.join("moved");
    std::os::unix::fs::symlink(scratch.join("elsewhere"), &link).unwrap();
    let store = Store::open(&Settings::pool(&link, 4, 5000).write(&scratch.join("lmcache.yaml"))).unwrap();
    put(&store, "key", 1, 5000);
    store.close().unwrap();
    assert!(scratch.join("elsewhere/nixl_store_pool/manifest").exists());
}

/// Chunks are somebody's conversation: files are for their owner alone, whatever the umask would allow, and narrower
/// if the umask says so.
#[test]
fn files_are_for_their_owner_alone() {
    let scratch = Scratch::new("modes");
    for mask in ["000", "022", "277"] {
        for settings in every_layout(&scratch.join(mask)) {
            // A umask that takes the owner's own rights away cannot be used with directories; root can anyway.
            if mask == "277" && !sandbox::is_root() {
                continue;
            }
            std::fs::create_dir_all(scratch.join(mask)).unwrap();
            let config = settings.write(&scratch.join("lmcache.yaml"));
            let mut remote = Remote::start();
            remote.sandbox(&format!("umask={mask}"));
            remote.try_open(&config, &Options::default()).unwrap_or_else(|failure| panic!("{failure}"));
            remote.put("key", 1, 5000).unwrap();
            let allowed = !u32::from_str_radix(mask, 8).unwrap();
            for (path, ..) in tree(&settings.paths[0]) {
                let mode = std::fs::symlink_metadata(&path).unwrap().mode() & 0o7777;
                let most = if path.is_dir() { 0o700 } else { 0o600 };
                assert_eq!(mode, most & allowed, "{mask}: {} has mode {mode:o}", path.display());
            }
            let mode = std::fs::metadata(&settings.paths[0]).unwrap().mode() & 0o7777;
            assert_eq!(mode, 0o700 & allowed, "{mask}: nixl_path has mode {mode:o}");
            remote.close().unwrap();
            remote.finish();
        }
    }
}

/// But for what io_uring, locked memory and files in memory are to others; for O_DIRECT and space that a pool there cannot be without,
/// or has not reserved; and for a disk on which nothing can be shared.
#[test]
fn once_more_over_hf3fs() {
    crash_common::hf3fs::once_more(
        &[
            "refused_io_uring",
            "little_locked_memory",
            "files_in_memory",
            "backends_that_cannot_serve",
            "a_read_only_disk",
            "refused_direct_io",
            "a_pool_that_does_not_fit",
        ],
        6,
    );
}
