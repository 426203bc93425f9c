//! Two hosts: what one knows of what the other does, and what locks there are between them.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use crate::faulty_fs::{OTHER_HOST, THIS_HOST};
use crate::{attribute, errno, errno_of, open, set_attribute, start, start_with_two_hosts};

const LOCK: &str = "hf3fs.lock";

#[test]
fn names_and_attributes_are_believed_for_a_while() {
    const CACHE_MS: u64 = 1500;
    let Some(fs) = start_with_two_hosts("believed", CACHE_MS) else { return };
    let (here, there) = (fs.path(), fs.other_path());
    fs::write(here.join("old"), b"1").unwrap();
    fs::write(here.join("gone"), b"1").unwrap();
    let began = Instant::now();
    let see = || {
        let length = fs::metadata(there.join("old")).unwrap().len();
        (there.join("absent").exists(), length, there.join("gone").exists())
    };
    assert_eq!(see(), (false, 1, true));
    fs::write(here.join("absent"), b"").unwrap();
    fs::write(here.join("old"), b"longer").unwrap();
    fs::remove_file(here.join("gone")).unwrap();
    let seen = see();
    if began.elapsed() < Duration::from_millis(CACHE_MS) {
        assert_eq!(seen, (false, 1, true), "as it was");
    }
    std::thread::sleep(Duration::from_millis(CACHE_MS + 100));
    assert_eq!(see(), (true, 6, false));
}

#[test]
fn what_one_host_wrote_is_there_for_the_other() {
    let Some(fs) = start_with_two_hosts("both", 0) else { return };
    let (here, there) = (fs.path().join("file"), fs.other_path().join("file"));
    fs::write(&here, b"from here").unwrap();
    let file = open(&there, libc::O_DIRECT);
    let mut bytes = [0; 9];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"from here");
    file.write_all_at(b"THERE", 5).unwrap();
    assert_eq!(fs::metadata(&here).unwrap().len(), 9, "not until it is looked for");
    file.sync_all().unwrap();
    assert_eq!(fs::metadata(&here).unwrap().len(), 10);
    assert_eq!(fs::read(&here).unwrap(), b"from THERE");
}

/// flock and OFD locks are the kernel's own, so each host has its own.
#[test]
fn locks_of_files_bind_one_host() {
    let Some(fs) = start_with_two_hosts("locks", 0) else { return };
    let [first, second] = [(); 2].map(|()| open(&fs.path().join("file"), 0));
    let other = open(&fs.other_path().join("file"), 0);
    let flock = |file: &File| {
        // SAFETY: takes no memory.
        errno_of(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) })
    };
    assert_eq!((flock(&first), flock(&second), flock(&other)), (0, libc::EWOULDBLOCK, 0));
    let ofd_lock = |file: &File| {
        // SAFETY: all zeros are a value of it: the whole file.
        let mut lock: libc::flock = unsafe { std::mem::zeroed() };
        lock.l_type = libc::F_WRLCK as i16;
        // SAFETY: a lock that lives during the call.
        errno_of(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) })
    };
    assert_eq!((ofd_lock(&first), ofd_lock(&second), ofd_lock(&other)), (0, libc::EAGAIN, 0));
}

#[test]
fn the_lock_of_a_directory_binds_the_other_host() {
    let Some(fs) = start_with_two_hosts("hf3fs.lock", 0) else { return };
    let (here, there) = (fs.path().join("dir"), fs.other_path().join("dir"));
    fs::create_dir(&here).unwrap();
    fs::create_dir(here.join("empty")).unwrap();
    fs::write(here.join("file"), b"").unwrap();
    assert_eq!(attribute(&here, LOCK), Err(libc::ENODATA));
    assert_eq!(set_attribute(&here, LOCK, "unlock"), libc::ENOLCK, "nobody's");
    assert_eq!([(); 2].map(|()| set_attribute(&here, LOCK, "try_lock")), [0, 0], "it is the host's");
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let holder = |uuid: &str, host: &str| format!(r#"{{"client":{{"uuid":"{uuid}","hostname":"{host}"}}}}"#);
    assert_eq!(attribute(&there, LOCK), Ok(holder(&fs.client(THIS_HOST), host.trim())));

    assert_eq!(set_attribute(&there, LOCK, "try_lock"), libc::ENOLCK);
    assert_eq!(set_attribute(&there, LOCK, "unlock"), libc::ENOLCK);
    assert_eq!(errno(File::create(there.join("new"))), libc::ENOLCK);
    assert_eq!(errno(fs::create_dir(there.join("new"))), libc::ENOLCK);
    assert_eq!(errno(fs::remove_file(there.join("file"))), libc::ENOLCK);
    assert_eq!(errno(fs::remove_dir(there.join("empty"))), libc::ENOLCK);
    let outside = fs.other_path().join("outside");
    assert_eq!(errno(fs::rename(there.join("file"), &outside)), libc::ENOLCK);
    fs::write(&outside, b"").unwrap();
    assert_eq!(errno(fs::rename(&outside, there.join("new"))), libc::ENOLCK);
    assert_eq!(errno(fs::hard_link(&outside, there.join("new"))), libc::ENOLCK);
    assert_eq!(errno(std::os::unix::fs::symlink("file", there.join("new"))), libc::ENOLCK);
    fs::write(there.join("file"), b"bytes are not names").unwrap();
    fs::write(here.join("mine"), b"").unwrap();

    assert_eq!(set_attribute(&there, LOCK, "preempt_lock"), 0);
    assert_eq!(attribute(&here, LOCK), Ok(holder(&fs.client(OTHER_HOST), "elsewhere")));
    assert_eq!(errno(fs::remove_file(here.join("mine"))), libc::ENOLCK);
    assert_eq!(set_attribute(&here, LOCK, "clear"), 0);
    assert_eq!(attribute(&here, LOCK), Err(libc::ENODATA));
    fs::remove_file(here.join("mine")).unwrap();
}

#[test]
fn a_lock_outlives_its_holder_and_the_start_of_a_daemon() {
    let Some(fs) = start_with_two_hosts("holder", 0) else { return };
    let dir = fs.path().join("dir");
    fs::create_dir(&dir).unwrap();
    assert_eq!(set_attribute(&dir, LOCK, "try_lock"), 0);
    let old = attribute(&dir, LOCK).unwrap();
    let (before, after) = (fs.client(THIS_HOST), fs.restart_client(THIS_HOST));
    assert!(old.contains(&before) && before != after && after == fs.client(THIS_HOST));
    assert_eq!(set_attribute(&dir, LOCK, "try_lock"), libc::ENOLCK, "it is another client now");
    assert_eq!(errno(File::create(dir.join("new"))), libc::ENOLCK);
    assert_eq!(set_attribute(&dir, LOCK, "preempt_lock"), 0);
    assert_eq!(attribute(&dir, LOCK).unwrap(), old.replace(&before, &after), "of the same host");
}

#[test]
fn only_directories_have_that_lock() {
    let Some(fs) = start("attributes") else { return };
    let root = fs.path();
    fs::write(root.join("file"), b"").unwrap();
    fs::create_dir(root.join("dir")).unwrap();
    let try_lock = |path: &str| set_attribute(&root.join(path), LOCK, "try_lock");
    assert_eq!(["file", "3fs-virt", "3fs-virt/iovs"].map(try_lock), [libc::EOPNOTSUPP; 3]);
    assert_eq!(attribute(&root.join("file"), LOCK), Err(libc::ENODATA));
    assert_eq!(attribute(&root.join("3fs-virt"), LOCK), Err(libc::EOPNOTSUPP));
    assert_eq!(set_attribute(&root.join("dir"), LOCK, "lock"), libc::EINVAL);
    assert_eq!(set_attribute(&root.join("dir"), "hf3fs.other", "try_lock"), libc::EOPNOTSUPP);
    let dir = crate::path_text(&root.join("dir"));
    let list = || {
        let mut names = [0_u8; 64];
        // SAFETY: a NUL-terminated path, and room with its size.
        let got = unsafe { libc::listxattr(dir.as_ptr(), names.as_mut_ptr().cast(), names.len()) };
        assert!(got >= 0);
        names[..got as usize].to_vec()
    };
    assert_eq!(list(), b"");
    assert_eq!(try_lock("dir"), 0);
    assert_eq!(list(), b"hf3fs.lock\0");
    // SAFETY: NUL-terminated strings.
    assert_eq!(errno_of(unsafe { libc::removexattr(dir.as_ptr(), c"hf3fs.lock".as_ptr()) }), 0);
    assert_eq!(list(), b"");
}
