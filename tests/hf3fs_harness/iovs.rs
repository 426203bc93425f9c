//! `3fs-virt`, by which clients tell the daemon of their memory.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::{errno, errno_of, path_text, start, start_with_two_hosts};

const ID: &str = "0b1d5a3e-27c4-4f6e-9b0a-5c1d2e3f4a5b";

/// A file in `/dev/shm` of this many bytes, gone when dropped.
struct Memory(PathBuf);

impl Memory {
    fn new(name: &str, bytes: u64) -> Memory {
        let path = PathBuf::from(format!("/dev/shm/nixl-store-test-{}-{name}", std::process::id()));
        fs::File::create(&path).unwrap().set_len(bytes).unwrap();
        Memory(path)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn names(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Listing opens and closes a directory, with which the links of who does it go: another thread does.
fn list(iovs: &Path) -> Vec<String> {
    std::thread::scope(|scope| scope.spawn(|| names(iovs)).join().unwrap())
}

#[test]
fn virtual_directories_are_there_and_take_nothing_else() {
    let Some(fs) = start("virtual") else { return };
    let virt = fs.path().join("3fs-virt");
    assert_eq!(names(&fs.path()), ["3fs-virt"]);
    assert_eq!(names(&virt), ["get-conf", "iovs", "rm-rf", "set-conf"]);
    assert_eq!(names(&virt.join("iovs")), ["submit-ios", "submit-ios.ph", "submit-ios.pl"]);
    assert_eq!(names(&virt.join("rm-rf")), [""; 0]);
    assert_eq!(errno(fs::metadata(virt.join("iovs/absent"))), libc::ENOENT);
    fs::write(fs.path().join("file"), b"").unwrap();
    for directory in ["", "iovs", "get-conf"] {
        let new = virt.join(directory).join("new");
        assert_eq!(errno(fs::write(&new, b"")), libc::EPERM);
        assert_eq!(errno(fs::create_dir(&new)), libc::EPERM);
        assert_eq!(errno(fs::rename(fs.path().join("file"), &new)), libc::EPERM);
        assert_eq!(errno(fs::hard_link(fs.path().join("file"), &new)), libc::EPERM);
    }
    assert_eq!(errno(symlink("/dev/shm", virt.join("get-conf/new"))), libc::EPERM);
    assert_eq!(errno(fs::remove_dir(virt.join("rm-rf"))), libc::EPERM);
    assert_eq!(errno(fs::remove_file(virt.join("iovs/submit-ios"))), libc::EPERM);
}

#[test]
fn links_are_checked_against_their_memory() {
    let Some(fs) = start("links") else { return };
    let iovs = fs.path().join("3fs-virt/iovs");
    let memory = Memory::new("links", 28_816);
    let link = |name: String| {
        let made = errno(symlink(&memory.0, iovs.join(&name)));
        if made == 0 {
            assert_eq!(fs::read_link(iovs.join(&name)).unwrap(), memory.0);
            assert!(list(&iovs).contains(&name));
            assert_eq!(errno(symlink(&memory.0, iovs.join(&name))), libc::EEXIST);
            fs::remove_file(iovs.join(&name)).unwrap();
            assert_eq!(errno(fs::read_link(iovs.join(&name))), libc::ENOENT);
        }
        made
    };
    for good in ["", ".b4096", ".r0.t0", ".r-256.t0", ".w256.ph.t10.f101", ".r4.pl.t0"] {
        assert_eq!(link(format!("{ID}{good}")), 0, "{good}");
    }
    for bad in [".b0", ".b28817", ".r257.t0", ".t0", ".ph", ".r4.t-1", ".r4.px", ".r4.f2"] {
        assert_eq!(link(format!("{ID}{bad}")), libc::EINVAL, "{bad}");
    }
    assert_eq!(link("not-an-id.b4096".to_owned()), libc::EIO);
    for target in ["/dev/shm/not-there", "/dev/shm", "/dev/shm/../zero", "/etc/hostname", "relative"] {
        assert_eq!(errno(symlink(target, iovs.join(ID))), libc::EINVAL, "{target}");
    }
}

/// Who holds `iovs` open says by its close that it is gone: the thread that opened it, and what that thread made.
#[test]
fn links_go_with_the_open_directory_of_their_thread() {
    let Some(fs) = start("threads") else { return };
    let iovs = fs.path().join("3fs-virt/iovs");
    let memory = Memory::new("threads", 4096);
    let (others, mine) = (ID.to_owned(), ID.replace('0', "1"));
    std::thread::scope(|scope| {
        scope.spawn(|| symlink(&memory.0, iovs.join(&others)).unwrap()).join().unwrap();
    });
    let directory = fs::File::open(&iovs).unwrap();
    let copy = directory.try_clone().unwrap();
    symlink(&memory.0, iovs.join(&mine)).unwrap();
    drop(directory);
    assert_eq!(list(&iovs).len(), 5, "another descriptor of it is open");
    drop(copy);
    // The kernel says so a little later.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while list(&iovs).contains(&mine) {
        assert!(std::time::Instant::now() < until, "a link outlives its thread's directory");
    }
    assert!(list(&iovs).contains(&others), "it leaks, if nobody removes it");
}

#[test]
fn semaphores_are_real_and_go_with_the_stand_in() {
    let Some(mut fs) = start_with_two_hosts("semaphores", 0) else { return };
    let links = |root: PathBuf| {
        ["submit-ios", "submit-ios.ph", "submit-ios.pl"]
            .map(|name| fs::read_link(root.join("3fs-virt/iovs").join(name)).unwrap())
    };
    let targets = [links(fs.path()), links(fs.other_path())].concat();
    for target in &targets {
        let name = target.to_str().unwrap().strip_prefix("/dev/shm/sem.").unwrap();
        assert!(name.starts_with("hf3fs-submit-ios."));
        let name = path_text(Path::new(&format!("/{name}")));
        // SAFETY: a NUL-terminated name.
        let semaphore = unsafe { libc::sem_open(name.as_ptr(), 0) };
        assert_ne!(semaphore, libc::SEM_FAILED);
        // SAFETY: opened just now.
        let posted = unsafe { [libc::sem_post(semaphore), libc::sem_trywait(semaphore)] };
        assert_eq!(posted.map(errno_of), [0, 0]);
        // SAFETY: nobody uses it any more.
        unsafe { libc::sem_close(semaphore) };
    }
    fs.kill();
    assert!(targets.iter().all(|target| !target.exists()));
}
