//! What open promises: modes, clear errors, O_DIRECT or a word about it.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;

use super::*;

/// Nobody but the owner may read what a model has seen, even if the process has no umask.
#[test]
fn files_are_private_whatever_the_umask() {
    let dir = TestDir::new();
    let path = dir.join("made/by/the/store");
    let mut shell = Command::new("/bin/sh");
    let direct = Helper::command("store", &path);
    shell.arg("-c").arg(r#"umask 0; exec "$0" "$@""#).arg(std::env::current_exe().unwrap());
    shell.args(direct.get_args());
    shell.envs(direct.get_envs().filter_map(|(key, value)| Some((key, value?))));
    let mut helper = Helper::run(shell);
    assert_eq!(helper.hear(), "ready");
    assert_eq!(helper.ask("put abc object"), "done");
    assert_eq!(helper.ask("begin def"), "done");
    let mut seen = 0;
    let mut rest = vec![dir.join("made")];
    while let Some(path) = rest.pop() {
        let mode = std::fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o7777;
        seen += 1;
        if path.is_dir() {
            assert_eq!(mode, 0o700, "{}", path.display());
            rest.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            assert_eq!(mode, 0o600, "{}", path.display());
        }
    }
    // made/by/the/store, objects and a shard and an object, tmp and an area with lock and temporary, pins.
    assert_eq!(seen, 4 + 3 + 4 + 1);
    helper.finish();
}

/// The directory belongs to somebody else, or is read-only. Open must say which directory and
/// why, not fail at the first put.
#[test]
fn a_directory_that_cannot_be_written_to_is_refused_with_its_name() {
    let dir = TestDir::new();
    let path = dir.join("theirs");
    std::fs::create_dir(&path).unwrap();
    let mut command = Helper::command("opener", &path);
    if std::fs::metadata(dir.path()).unwrap().uid() == 0 {
        // Root may write anywhere; somebody else may not write here.
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        command.uid(65534).gid(65534);
    } else {
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o500)).unwrap();
    }
    let mut helper = Helper::run(command);
    let said = helper.hear();
    assert!(said.starts_with("Permission "), "{said}");
    assert!(said.contains(&path.display().to_string()), "{said}");
    helper.finish();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).unwrap();
}

/// A file is where the directory should be.
#[test]
fn a_path_that_is_no_directory_is_refused_with_its_name() {
    let dir = TestDir::new();
    std::fs::write(dir.join("file"), b"").unwrap();
    for path in [dir.join("file"), dir.join("file/below")] {
        let error =
            FileStore::open(&path, Layout::Lmcache, false, Habits::default(), &Log::default().logger())
                .unwrap_err();
        assert!(error.message().contains(&path.display().to_string()), "{}", error.message());
    }
}

/// O_DIRECT is asked for. Either it is in effect, and then on every file, or its absence is said,
/// once, and the store works through the page cache.
#[test]
fn direct_io_is_in_effect_or_its_absence_is_said() {
    fn is_direct(file: &File) -> bool {
        let info = format!("/proc/self/fdinfo/{}", std::os::fd::AsRawFd::as_raw_fd(file));
        let info = std::fs::read_to_string(info).unwrap();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
        let flags = i32::from_str_radix(flags.trim(), 8).unwrap();
        assert_eq!(flags & libc::O_NONBLOCK, 0);
        flags & libc::O_DIRECT != 0
    }
    for parent in [std::env::temp_dir(), PathBuf::from("/dev/shm"), PathBuf::from(env!("CARGO_MANIFEST_DIR"))]
    {
        if !parent.is_dir() {
            continue;
        }
        for asked in [true, false] {
            let dir = TestDir::below(&parent);
            let log = Log::default();
            let store = FileStore::open(dir.path(), Layout::Sharded, asked, Habits::default(), &log.logger())
                .unwrap();
            assert_eq!(log.lines().len(), usize::from(asked && !store.direct_io()), "{:?}", log.lines());
            assert!(asked || !store.direct_io());
            assert_eq!(store.direct_alignment().offset == 1, !store.direct_io());
            let name = named(&store, 1);
            let temporary = store.create_temporary(&name, 4096).unwrap();
            assert_eq!(is_direct(temporary.file()), store.direct_io());
            store.publish(temporary).unwrap();
            let (file, size) = store.open_read(&name).unwrap().unwrap();
            assert_eq!((is_direct(&file), size), (store.direct_io(), 4096));
            assert_eq!(temporaries(dir.path()), Vec::<PathBuf>::new());
        }
    }
}

/// Two layouts share a directory of temporaries and of pins, and nothing else: neither lists the
/// other's objects or loses its own.
#[test]
fn both_layouts_live_in_one_directory() {
    let dir = TestDir::new();
    let (sharded, flat) = (open(dir.path()), open_as(dir.path(), Layout::Lmcache));
    put(&sharded, &named(&sharded, 1), b"in a shard");
    let name = flat.name_of(1, b"m@1@0@ab@half").unwrap();
    put(&flat, &name, b"flat");
    assert_eq!(scanned(&sharded).len(), 1);
    assert_eq!(scanned(&flat).iter().map(|one| one.name.to_string()).collect::<Vec<_>>(), ["m_1_0_ab_half"]);
    assert_eq!(flat.id_of(&name), twox_hash::XxHash3_128::oneshot(b"m_1_0_ab_half"));
    for store in [&sharded, &flat] {
        store.take_changed_shards().into_iter().for_each(|shard| store.sync_shard(shard).unwrap());
        store.sync_root().unwrap();
    }
}
