//! The file system that the others rely on: it is right while nothing is armed, and wrong as it was told else.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::crash_common::helper::{Helper, Peer, Role};
use crate::faulty_fs::{Fault, FaultyFs, Op, Options, Rule};

const MIB: usize = 1 << 20;

/// Writes to a file system that hangs, for ever.
pub const HANGING_ROLE: Role = ("hang", hang);

/// Memory that O_DIRECT takes.
#[repr(align(4096))]
struct Aligned([u8; 8192]);

fn start(name: &str) -> Option<FaultyFs> {
    FaultyFs::start(name, Options::default())
}

fn errno<T>(result: io::Result<T>) -> i32 {
    result.err().and_then(|error| error.raw_os_error()).unwrap_or(0)
}

fn open(path: &Path, flags: i32) -> File {
    OpenOptions::new().read(true).write(true).create(true).custom_flags(flags).open(path).unwrap()
}

fn bytes(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|at| (at / 7) as u8 ^ seed).collect()
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[test]
fn files_and_directories_are_as_on_any_file_system() {
    let Some(fs) = start("plain") else { return };
    let root = fs.path();
    fs::create_dir(root.join("a")).unwrap();
    assert_eq!(errno(fs::create_dir(root.join("a"))), libc::EEXIST);
    let data = bytes(3 * MIB + 17, 1);
    fs::write(root.join("a/large"), &data).unwrap();
    fs.drop_caches();
    assert_eq!(fs::read(root.join("a/large")).unwrap(), data);
    let file = open(&root.join("a/large"), 0);
    file.write_all_at(b"inside", 5000).unwrap();
    file.set_len(5010).unwrap();
    file.set_len(9000).unwrap();
    fs.drop_caches();
    let read = fs::read(root.join("a/large")).unwrap();
    assert_eq!((read.len(), &read[5000..5006], &read[5010..]), (9000, &b"inside"[..], &[0; 3990][..]));
    fs::write(root.join("b"), b"b").unwrap();
    fs::rename(root.join("b"), root.join("a/b")).unwrap();
    fs::rename(root.join("a/b"), root.join("a/large")).unwrap();
    assert_eq!(fs::read(root.join("a/large")).unwrap(), b"b");
    assert_eq!(file.metadata().unwrap().len(), 9000, "who has it open keeps it");
    for number in 0..500 {
        File::create(root.join(format!("a/{number}"))).unwrap();
    }
    assert_eq!(fs::read_dir(root.join("a")).unwrap().count(), 501);
    assert_eq!(errno(fs::remove_dir(root.join("a"))), libc::ENOTEMPTY);
    fs::remove_dir_all(root.join("a")).unwrap();
    assert_eq!(errno(fs::metadata(root.join("a"))), libc::ENOENT);
}

#[test]
fn direct_files_space_and_locks() {
    let options = Options { capacity_bytes: 64 << 10, ..Options::default() };
    let Some(fs) = FaultyFs::start("direct", options) else { return };
    let path = fs.path().join("file");
    let file = open(&path, libc::O_DIRECT);
    let out = Aligned([7; 8192]);
    file.write_all_at(&out.0, 4096).unwrap();
    let mut back = Aligned([0; 8192]);
    file.read_exact_at(&mut back.0, 0).unwrap();
    assert!(back.0[..4096].iter().all(|&byte| byte == 0) && back.0[4096..] == out.0[4096..]);
    // SAFETY: takes no memory.
    let reserve = |bytes| unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, bytes) };
    assert_eq!((reserve(32 << 10), file.metadata().unwrap().len()), (0, 32 << 10));
    assert_eq!((reserve(1 << 20), io::Error::last_os_error().raw_os_error()), (-1, Some(libc::ENOSPC)));
    assert_eq!(errno(fs::write(fs.path().join("more"), vec![1; 60 << 10])), libc::ENOSPC);
    let other = open(&path, 0);
    // SAFETY: takes no memory.
    let lock = |file: &File| unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
    assert_eq!((lock(&file), lock(&other)), (0, -1));

    let options = Options { lock_errno: libc::EOPNOTSUPP, ..Options::default() };
    let Some(fs) = FaultyFs::start("locks", options) else { return };
    let file = open(&fs.path().join("file"), 0);
    assert_eq!((lock(&file), io::Error::last_os_error().raw_os_error()), (-1, Some(libc::EOPNOTSUPP)));
}

#[test]
fn what_was_not_synced_is_gone_with_the_power() {
    let Some(fs) = start("power") else { return };
    let root = fs.path();
    fs::create_dir(root.join("kept")).unwrap();
    sync_directory(&root).unwrap();
    fs::create_dir(root.join("lost")).unwrap();
    let [synced, named, neither] = ["synced", "named", "neither"].map(|name| {
        let file = open(&root.join("kept").join(name), 0);
        file.write_all_at(&bytes(10_000, 3), 0).unwrap();
        if name == "synced" {
            file.sync_all().unwrap();
        }
        if name == "named" {
            sync_directory(&root.join("kept")).unwrap();
        }
        file
    });
    synced.write_all_at(&[9; 5000], 0).unwrap();
    fs::rename(root.join("kept/synced"), root.join("kept/renamed")).unwrap();
    fs.power_off(None);
    assert_eq!(errno(fs::read(root.join("kept/named"))), libc::EIO);
    fs.power_on();
    let names = |path: &str| fs::read_dir(root.join(path)).unwrap().count();
    assert_eq!((names(""), names("kept")), (1, 2));
    assert_eq!(fs::read(root.join("kept/synced")).unwrap(), bytes(10_000, 3));
    assert_eq!(fs::read(root.join("kept/named")).unwrap(), b"", "a name without its bytes");
    for file in [synced, named, neither] {
        assert_ne!(errno(file.sync_all()), 0, "a file of before");
    }
}

/// Each fault, at the request that it is for and at no other.
#[test]
fn faults_strike_as_they_are_told() {
    let Some(fs) = start("faults") else { return };
    let path = fs.path().join("file");
    let file = open(&path, libc::O_DIRECT);
    let (old, new) = (Aligned([1; 8192]), Aligned([2; 8192]));
    let mut back = Aligned([0; 8192]);
    file.write_all_at(&old.0, 0).unwrap();
    file.write_all_at(&new.0, 0).unwrap();

    let mut read = |fault: Fault| {
        fs.disarm();
        fs.arm(&Rule::once(Op::Read, 2, fault));
        assert_eq!((file.read_at(&mut back.0, 0).unwrap(), back.0[5000]), (8192, 2), "the first is spared");
        let read = file.read_at(&mut back.0, 0);
        assert_eq!(fs.struck(), 1);
        (errno(read), back.0.iter().filter(|&&byte| byte == 2).count(), back.0[0])
    };
    assert_eq!(read(Fault::Errno(libc::EIO)).0, libc::EIO);
    assert_eq!(read(Fault::Corrupt).1, 8191);
    assert_eq!(read(Fault::Stale), (0, 0, 1));
    assert_eq!(read(Fault::Zeros), (0, 0, 0));
    assert_eq!(read(Fault::SlowMs(1)), (0, 8192, 2));
    fs.disarm();
    fs.arm(&Rule::every(&[Op::Read], Fault::Short(1000)).bytes(4096..4097));
    assert_eq!(file.read_at(&mut back.0[..4096], 0).unwrap(), 4096, "of other bytes");
    assert_eq!(file.read_at(&mut back.0, 0).unwrap(), 1000);

    let write = |fault: Fault| {
        fs.disarm();
        file.write_all_at(&old.0, 0).unwrap();
        fs.arm(&Rule::once(Op::Write, 1, fault));
        let wrote = file.write_at(&new.0, 0);
        let content = fs::read(&path).unwrap();
        (
            wrote.as_ref().map_or(0, |bytes| *bytes),
            errno(wrote),
            content.iter().filter(|&&byte| byte == 2).count(),
        )
    };
    assert_eq!(write(Fault::Errno(libc::ENOSPC)), (0, libc::ENOSPC, 0));
    assert_eq!(write(Fault::DoneAndErrno(libc::EIO)), (0, libc::EIO, 8192));
    assert_eq!(write(Fault::Lost), (8192, 0, 0));
    assert_eq!(write(Fault::Short(512)), (512, 0, 512));
    assert_eq!(write(Fault::Torn(0)), (8192, 0, 4096));
    assert_eq!(write(Fault::Torn(libc::EIO)), (0, libc::EIO, 4096));
    assert_eq!(write(Fault::Corrupt), (8192, 0, 8191));

    fs.disarm();
    fs.arm(&Rule::every(&[Op::GetAttr], Fault::Size(-8000)));
    assert_eq!(fs::metadata(&path).unwrap().len(), 192);
    fs.disarm();
    fs.arm(&Rule::every(&[Op::Rename, Op::Rename2], Fault::Errno(libc::EXDEV)).path("file -> /there"));
    assert_eq!(errno(fs::rename(&path, fs.path().join("there"))), libc::EXDEV);
    fs::rename(&path, fs.path().join("elsewhere")).unwrap();
    fs.disarm();
    fs.arm(&Rule::every(&[Op::Unlink], Fault::Lost));
    fs::remove_file(fs.path().join("elsewhere")).unwrap();
    assert!(fs.path().join("elsewhere").exists());
    fs.disarm();
    fs.arm(&Rule::every(&[Op::Lookup], Fault::Errno(libc::EACCES)).chance(500, 7));
    let refused = (0..200).filter(|_| fs::metadata(fs.path().join("elsewhere")).is_err()).count();
    assert!((60..140).contains(&refused), "{refused} of 200 by chance");
}

#[test]
fn a_sync_fails_once_and_what_it_was_for_is_lost() {
    for (fault, drops) in [(Fault::SyncLoses(libc::EIO), false), (Fault::SyncDrops(libc::EIO), true)] {
        let Some(fs) = start("sync") else { return };
        let path = fs.path().join("file");
        let file = open(&path, libc::O_DIRECT);
        let (old, new) = (Aligned([1; 8192]), Aligned([2; 8192]));
        file.write_all_at(&old.0, 0).unwrap();
        file.sync_all().unwrap();
        sync_directory(&fs.path()).unwrap();
        file.write_all_at(&new.0, 0).unwrap();
        fs.arm(&Rule::once(Op::FSync, 1, fault));
        assert_eq!(errno(file.sync_all()), libc::EIO);
        file.sync_all().unwrap();
        assert_eq!(fs::read(&path).unwrap()[0], if drops { 1 } else { 2 });
        fs.power_off(None);
        fs.power_on();
        assert_eq!(fs::read(&path).unwrap(), old.0);
    }
}

#[test]
fn what_hangs_ends_when_it_is_released_or_the_server_dies() {
    let Some(mut fs) = start("hang") else { return };
    let file = Arc::new(open(&fs.path().join("file"), libc::O_DIRECT));
    file.set_len(8192).unwrap();
    let write = |place: u64| {
        let file = Arc::clone(&file);
        std::thread::spawn(move || errno(file.write_all_at(&Aligned([place as u8; 8192]).0, 0)))
    };
    fs.arm(&Rule::every(&[Op::Write], Fault::Hang));
    let first = write(1);
    fs.wait_for_hanging(1);
    let second = write(2);
    fs.wait_for_hanging(2);
    fs::create_dir(fs.path().join("others")).unwrap();
    assert_eq!(fs.release_reversed(), 2);
    assert_eq!((first.join().unwrap(), second.join().unwrap()), (0, 0));
    assert_eq!(fs::read(fs.path().join("file")).unwrap()[0], 1, "the first was the last");
    let third = write(3);
    fs.wait_for_hanging(1);
    fs.kill();
    assert_eq!(third.join().unwrap(), libc::ECONNABORTED);
    assert_eq!(errno(fs::metadata(fs.path().join("file"))), libc::ENOTCONN);
}

fn hang(peer: &mut Peer) {
    let Some(fs) = start("hang for ever") else { return peer.say("0") };
    let file = open(&fs.path().join("file"), libc::O_DIRECT);
    file.set_len(8192).unwrap();
    fs.arm(&Rule::every(&[Op::Write], Fault::Hang));
    let writer = std::thread::spawn(move || file.write_all_at(&Aligned([3; 8192]).0, 0));
    fs.wait_for_hanging(1);
    peer.say(&fs.server().to_string());
    let _ = writer.join();
}

/// A process with a write that hangs can be killed all the same, and its server goes with it.
#[test]
fn nothing_is_left_of_who_is_killed() {
    let mut helper = Helper::start("hang");
    let server: i32 = helper.line().expect("a server").parse().unwrap();
    helper.kill();
    if server > 0 {
        // Its parent is gone, so it is init's to bury; a zombie has no command line.
        let is_running = || fs::read(format!("/proc/{server}/cmdline")).is_ok_and(|line| !line.is_empty());
        let until = Instant::now() + Duration::from_secs(20);
        while is_running() {
            assert!(Instant::now() < until, "the server outlives who used it");
            std::thread::yield_now();
        }
    }
}
