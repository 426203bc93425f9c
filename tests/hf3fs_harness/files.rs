//! What works there, what is refused, and what is counted.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};

use crate::faulty_fs::{Fault, FaultyFs, Hf3fs, Op, Options, Personality, Rule, Traffic};
use crate::{attribute, errno, errno_of, ioctl, open, path_text, set_attribute, start};

#[test]
fn what_3fs_does_not_have_is_refused() {
    let Some(fs) = start("refused") else { return };
    let root = fs.path();
    let file = open(&root.join("file"), libc::O_DIRECT);
    file.write_all_at(&[1; 100], 0).unwrap();
    let allocate = |mode| {
        // SAFETY: takes no memory.
        errno_of(unsafe { libc::fallocate(file.as_raw_fd(), mode, 0, 4096) })
    };
    assert_eq!(allocate(0), libc::EOPNOTSUPP);
    assert_eq!(allocate(libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE), libc::EOPNOTSUPP);
    let unnamed = fs::OpenOptions::new().write(true).custom_flags(libc::O_TMPFILE).open(&root);
    assert_eq!(errno(unnamed), libc::EOPNOTSUPP);
    assert_eq!(set_attribute(&root.join("file"), "user.any", "1"), libc::EOPNOTSUPP);
    assert_eq!(attribute(&root.join("file"), "user.any"), Err(libc::ENODATA));
    let (from, to) = (path_text(&root.join("file")), path_text(&root.join("there")));
    for flags in [libc::RENAME_NOREPLACE, libc::RENAME_EXCHANGE] {
        fs::write(root.join("there"), b"").unwrap();
        if flags == libc::RENAME_NOREPLACE {
            fs::remove_file(root.join("there")).unwrap();
        }
        let at = libc::AT_FDCWD;
        // SAFETY: NUL-terminated strings.
        let renamed = unsafe { libc::renameat2(at, from.as_ptr(), at, to.as_ptr(), flags) };
        assert_eq!(errno_of(renamed), libc::EINVAL);
    }
}

#[test]
fn names_are_as_on_any_file_system() {
    let Some(fs) = start("names") else { return };
    let root = fs.path();
    fs::create_dir(root.join("a")).unwrap();
    assert_eq!(errno(fs::create_dir(root.join("a"))), libc::EEXIST);
    let exclusive = || fs::File::create_new(root.join("a/new"));
    exclusive().unwrap();
    assert_eq!(errno(exclusive()), libc::EEXIST);
    fs::write(root.join("a/old"), b"old").unwrap();
    fs::hard_link(root.join("a/old"), root.join("a/linked")).unwrap();
    assert_eq!(fs::metadata(root.join("a/old")).unwrap().nlink(), 2);
    fs::rename(root.join("a/old"), root.join("a/new")).unwrap();
    fs::remove_file(root.join("a/linked")).unwrap();
    assert_eq!(fs::read(root.join("a/new")).unwrap(), b"old");
    std::os::unix::fs::symlink("new", root.join("a/symbolic")).unwrap();
    assert_eq!(fs::read(root.join("a/symbolic")).unwrap(), b"old");
    for number in 0..500 {
        fs::write(root.join(format!("a/{number}")), b"").unwrap();
    }
    assert_eq!(fs::read_dir(root.join("a")).unwrap().count(), 502);
    assert_eq!(errno(fs::remove_dir(root.join("a"))), libc::ENOTEMPTY);
    fs::remove_dir_all(root.join("a")).unwrap();
    assert_eq!(errno(fs::metadata(root.join("a"))), libc::ENOENT);
}

/// How many blocks of 2 MiB are free.
fn free_blocks(fs: &FaultyFs) -> u64 {
    // SAFETY: all zeros are a value of it.
    let mut space: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: a NUL-terminated path and room for the answer.
    let told = unsafe { libc::statvfs(path_text(&fs.path()).as_ptr(), &raw mut space) };
    assert_eq!((errno_of(told), space.f_bsize), (0, 2 << 20));
    space.f_bavail
}

#[test]
fn space_ends_and_comes_back_late() {
    let personality = Personality::Hf3fs(Hf3fs::default());
    let options = Options { capacity_bytes: 8 << 20, personality, ..Options::default() };
    let Some(fs) = FaultyFs::start("space", options) else { return };
    let path = fs.path().join("file");
    let file = open(&path, libc::O_DIRECT);
    file.write_all_at(&vec![1; 6 << 20], 0).unwrap();
    assert_eq!(free_blocks(&fs), 1);
    assert_eq!(errno(file.write_all_at(&vec![1; 4 << 20], 6 << 20)), libc::ENOSPC);
    drop(file);
    fs::remove_file(path).unwrap();
    assert!(free_blocks(&fs) <= 1);
    // The kernel forgets a file a little after it is gone.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while free_blocks(&fs) < 4 {
        assert!(std::time::Instant::now() < until, "the space does not come back");
        fs.collect_garbage();
        std::thread::yield_now();
    }
}

#[test]
fn it_says_that_it_is_3fs() {
    let Some(fs) = start("magic") else { return };
    let file = open(&fs.path().join("file"), 0);
    assert_eq!(ioctl(&file, 0x8004_6802), Ok(0x8f3f_5fff));
    let directory = |path: &str| fs::File::open(fs.path().join(path)).unwrap();
    assert_eq!(ioctl(&directory(""), 0x8004_6802), Ok(0x8f3f_5fff));
    assert_eq!(ioctl(&directory("3fs-virt/iovs"), 0x8004_6802), Ok(0x8f3f_5fff));
    assert_eq!(ioctl(&file, 0x8004_68ff), Err(libc::EINVAL));
}

#[test]
fn rules_strike_it_as_well() {
    let Some(fs) = start("rules") else { return };
    let file = open(&fs.path().join("file"), libc::O_DIRECT);
    file.write_all_at(&[1; 1000], 0).unwrap();
    let mut back = [0; 1000];
    fs.arm(&Rule::once(Op::Read, 1, Fault::Short(10)));
    assert_eq!(file.read_at(&mut back, 0).unwrap(), 10);
    fs.arm(&Rule::once(Op::Write, 1, Fault::Torn(libc::EIO)));
    assert_eq!(errno(file.write_all_at(&[2; 1000], 0)), libc::EIO);
    file.read_exact_at(&mut back, 0).unwrap();
    assert_eq!((back[499], back[500]), (2, 1));
    fs.arm(&Rule::once(Op::FSync, 1, Fault::Errno(libc::EIO)));
    assert_eq!(errno(file.sync_all()), libc::EIO);
}

#[test]
fn transfers_without_o_direct_and_names_without_fsync_are_seen() {
    let Some(fs) = start("seen") else { return };
    let root = fs.path();
    fs::create_dir(root.join("objects")).unwrap();
    let slots = open(&root.join("slots-0.bin"), libc::O_DIRECT);
    slots.write_all_at(&[1; 5], 3).unwrap();
    slots.read_exact_at(&mut [0; 5], 3).unwrap();
    let traffic = Traffic { direct_reads: 1, direct_writes: 1, ..Traffic::default() };
    assert_eq!((fs.traffic("slots-*.bin"), fs.buffered("slots-*.bin").count), (traffic, 0));

    let object = open(&root.join("objects/new"), 0);
    object.write_all_at(b"text", 0).unwrap();
    object.sync_all().unwrap();
    fs::rename(root.join("objects/new"), root.join("objects/right")).unwrap();
    assert_eq!(fs.named_unsynced().count, 0);
    object.write_all_at(b"more", 4).unwrap();
    fs::rename(root.join("objects/right"), root.join("objects/wrong")).unwrap();
    fs::hard_link(root.join("objects/wrong"), root.join("objects/too")).unwrap();
    let unsynced = fs.named_unsynced();
    assert_eq!(unsynced.lines, ["/objects/right -> /objects/wrong", "/objects/wrong -> /objects/too"]);
    assert_eq!(fs.traffic("objects").buffered_writes, 2);
    assert_eq!(fs.buffered("objects").lines, ["/objects/new"]);
    assert_eq!((fs.buffered("wro*g").count, fs.buffered("slots-1.bin").count), (1, 0));
}
