//! A mount with a place, in a process with mounts of its own: how clients find it, and what is left when somebody dies.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::crash_common::helper::{self, Helper, Peer, Role};
use crate::faulty_fs::{self, Fault, Op, Rule, THIS_HOST};
use crate::{errno, open, start};

pub const ROLES: [Role; 2] = [("attached", attached), ("waits", waits)];

/// How long something may take to go.
const TIME_MAX: Duration = Duration::from_secs(20);

/// A directory for a mount, gone when dropped.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let path = std::env::temp_dir().join(format!("nixl-store-3fs-{}-{name}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Place(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// The types of the mounts of this process at a path.
fn types_at(path: &Path) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let at = table.lines().filter(|line| line.split(' ').nth(4) == path.to_str());
    at.filter_map(|line| line.split(" - ").nth(1)?.split(' ').next().map(str::to_owned)).collect()
}

fn attached(peer: &mut Peer) {
    helper::start_anew(faulty_fs::private_mounts);
    let place = PathBuf::from(peer.line().unwrap());
    let Some(fs) = start("attached") else { return peer.say("skipped") };
    fs.attach(THIS_HOST, &place);
    assert_eq!(types_at(&place), ["fuse.hf3fs"]);
    let file = open(&place.join("file"), libc::O_DIRECT);
    file.write_all_at(b"data", 0).unwrap();
    assert!(place.join("3fs-virt/iovs").is_dir());
    assert_eq!(fs::read_dir(fs.path()).unwrap().count(), 2);
    fs.arm(&Rule::once(Op::GetAttr, 1, Fault::Die));
    assert_ne!(errno(fs::metadata(&place)), 0);
    assert_eq!(errno(file.read_at(&mut [0; 4], 0)), libc::ENOTCONN);
    assert_eq!(errno(open_again(&place)), libc::ENOTCONN);
    assert_eq!(types_at(&place), ["fuse.hf3fs"], "of a daemon that is dead");
    drop(fs);
    assert_eq!(types_at(&place), [""; 0]);
    peer.say("done");
}

fn open_again(place: &Path) -> std::io::Result<fs::File> {
    fs::File::open(place.join("file"))
}

#[test]
fn it_is_found_as_3fs_and_answers_no_more_when_its_daemon_dies() {
    let place = Place::new("attached");
    let mut helper = Helper::start("attached");
    helper.tell(place.0.to_str().unwrap());
    if helper.line().expect("it went well") == "done" {
        assert_eq!(types_at(&place.0), [""; 0], "nobody else saw it");
    }
    helper.finish();
}

/// Has a mount and a request that hangs, until it is killed.
fn waits(peer: &mut Peer) {
    helper::start_anew(faulty_fs::private_mounts);
    let place = PathBuf::from(peer.line().unwrap());
    let Some(fs) = start("waits") else { return peer.say("skipped") };
    fs.attach(THIS_HOST, &place);
    let semaphore = fs::read_link(place.join("3fs-virt/iovs/submit-ios")).unwrap();
    let file = open(&place.join("file"), libc::O_DIRECT);
    fs.arm(&Rule::every(&[Op::Write], Fault::Hang));
    let writer = std::thread::spawn(move || file.write_all_at(&[1; 4096], 0));
    fs.wait_for_hanging(1);
    peer.say(semaphore.to_str().unwrap());
    let _ = writer.join();
}

#[test]
fn nothing_is_left_of_who_is_killed() {
    let place = Place::new("killed");
    let mut helper = Helper::start("waits");
    helper.tell(place.0.to_str().unwrap());
    let semaphore = PathBuf::from(helper.line().expect("a semaphore"));
    helper.kill();
    let until = Instant::now() + TIME_MAX;
    while semaphore.exists() {
        assert!(Instant::now() < until, "a semaphore outlives who used it");
        std::thread::yield_now();
    }
    assert_eq!(types_at(&place.0), [""; 0]);
    fs::remove_dir(&place.0).expect("nothing is mounted there in any view");
}

#[test]
#[should_panic(expected = "private_mounts")]
fn the_machines_own_mounts_are_left_alone() {
    let Some(fs) = start("alone") else { panic!("private_mounts: skipped") };
    fs.attach(THIS_HOST, Path::new("/mnt"));
}
