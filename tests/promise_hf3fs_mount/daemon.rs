//! The daemon of the mount dies, for rings and for FUSE at once, as it is one process there: what it had under way ends with an error,
//! the store refuses what comes after and closes, and a mount that is made again serves the same process.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nixl_store::capi::NIXL_STORE_ERROR_UNSUPPORTED;

use crate::common::hf3fs::{self, What};
use crate::common::status::{IO, OK, POISONED, Status};
use crate::common::{Batch, Memory, Setup, Store, Submit};
use crate::crash_common::chunk;
use crate::crash_common::helper::{self, Helper, Peer, Role};
use crate::faulty_fs::{self, FaultyFs, THIS_HOST};
use crate::world::{KINDS, MIB, mounted, put_ok, version};

/// A process with mounts of its own, which finds 3FS where a mount of it is attached.
pub const ROLE: Role = ("attached", attached);

const UNSUPPORTED: Status = Status(NIXL_STORE_ERROR_UNSUPPORTED);
/// How long what is under way may take to end; finding out takes a second or two.
const PATIENCE_MS: u64 = 60_000;
/// How long the process may take that does this with each kind of store.
const LIFE_MAX: Duration = Duration::from_secs(150);

/// A directory for a mount, gone when dropped.
struct Place(PathBuf);

impl Place {
    fn new() -> Place {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("nixl-store-3fs-{}-dies{serial}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Place(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// A mount at a place, as after a start of the daemon.
fn start(place: &Path) -> Option<FaultyFs> {
    let fs = mounted("attached")?;
    fs.attach(THIS_HOST, place);
    Some(fs)
}

/// Both halves of the daemon.
fn kill(fs: &mut FaultyFs) {
    fs.kill();
    hf3fs::standin().kill();
}

fn attached(peer: &mut Peer) {
    helper::start_anew(faulty_fs::private_mounts);
    let (what, place) = (peer.line().unwrap(), PathBuf::from(peer.line().unwrap()));
    let Some(fs) = start(&place) else { return peer.say("skipped") };
    let standin = hf3fs::standin();
    match what.as_str() {
        "under way" => KINDS.iter().fold(fs, |fs, (kind, setup)| {
            dies_with_work(fs, &place, &place.join(kind), setup);
            standin.restart();
            start(&place).unwrap()
        }),
        "idle" => KINDS.iter().fold(fs, |fs, (kind, setup)| {
            dies_idle(fs, &place.join(kind), setup);
            standin.restart();
            start(&place).unwrap()
        }),
        "before" => dies_before(fs, &place),
        other => panic!("{other} is nothing to do"),
    };
    peer.say("done");
}

/// Runs it in a process of its own, which is killed if it does not end.
fn in_a_process(what: &str) {
    let place = Place::new();
    let mut helper = Helper::start_for(ROLE.0, LIFE_MAX);
    helper.tell(what);
    helper.tell(place.0.to_str().unwrap());
    let answer = helper.line().expect("it went well");
    assert!(["done", "skipped"].contains(&answer.as_str()), "{answer}");
    helper.finish();
}

/// A store that does everything, as one that was just opened has to.
fn serves(setup: &Setup, data: &Path) {
    let store = Store::open_at(setup, data);
    assert_eq!(version(&store, "key"), None, "the files went with the daemon's memory");
    put_ok(&store, "key", 2, MIB);
    assert_eq!(version(&store, "key"), Some(2));
    assert_eq!(store.flush(), OK);
    assert_eq!(store.close(), OK);
}

fn dies_with_work(mut fs: FaultyFs, place: &Path, data: &Path, setup: &Setup) {
    let standin = hf3fs::standin();
    let store = Store::open_at(setup, data);
    put_ok(&store, "key", 1, MIB);
    standin.hold(true);
    let memory: Vec<_> = (0..8).map(|_| Memory::new(MIB)).collect();
    let mut gets = Batch::new();
    memory.iter().for_each(|memory| gets.raw(b"key", vec![memory.segment(0..MIB)], None));
    let gets = store.submit_gets(&gets, Submit::default()).unwrap();
    let object = chunk::fill("other", 1, MIB);
    let mut puts = Batch::new();
    puts.put(b"other", &object);
    let puts = store.submit_puts(&puts, Submit::default()).unwrap();
    while standin.count(What::Held) < 2 {
        std::thread::yield_now();
    }
    kill(&mut fs);
    for pending in [gets, puts] {
        let Ok((status, results)) = pending.try_wait(PATIENCE_MS) else { panic!("it does not end") };
        // Those that were yet to open a file meet the death there.
        assert!([POISONED, IO, UNSUPPORTED].contains(&status), "{status:?}");
        assert!(results.iter().all(|result| Status(result.status) != OK));
    }
    // From here on it is the engine's.
    memory.iter().for_each(|memory| memory.protect(libc::PROT_NONE));
    assert_eq!(store.put(b"key", &object), POISONED);
    assert_eq!(store.get(b"key", &mut [0; 9]).0, POISONED);
    assert!(store.logged("the daemon of 3FS at") > 0, "nobody was told why");
    assert_eq!(store.close(), POISONED);
    let (status, why) = Store::try_open_at(setup, data).err().expect("its mount is dead");
    assert_eq!(status, UNSUPPORTED);
    assert!(why.contains("is gone") && why.contains("mount it again"), "{why}");
    standin.hold(false);
    drop(fs);
    let anew = start(place).unwrap();
    standin.restart();
    serves(setup, data);
    drop(anew);
}

/// Nothing was under way: the next items tell.
fn dies_idle(mut fs: FaultyFs, data: &Path, setup: &Setup) {
    let store = Store::open_at(setup, data);
    put_ok(&store, "key", 1, MIB);
    kill(&mut fs);
    for _ in 0..2 {
        let status = store.get(b"key", &mut vec![0; MIB]).0;
        assert!([POISONED, IO, UNSUPPORTED].contains(&status), "{status:?}");
        let status = store.put(b"key", &chunk::fill("key", 2, MIB));
        assert!([POISONED, IO, UNSUPPORTED].contains(&status), "{status:?}");
    }
    // A dynamic store says nothing of what is safe by its close; a flush does.
    assert_ne!(store.flush(), OK);
    assert_eq!(store.close() == OK, !setup.is_static());
}

/// A daemon that is dead before anybody opens.
fn dies_before(mut fs: FaultyFs, place: &Path) -> FaultyFs {
    kill(&mut fs);
    for (kind, setup) in &KINDS {
        let refused = Store::try_open_at(setup, &place.join(kind));
        let (status, why) = refused.err().expect("its mount is dead");
        assert_eq!(status, UNSUPPORTED);
        for words in ["the daemon of the file system at", "is gone", "mount it again"] {
            assert!(why.contains(words), "'{words}' is not in: {why}");
        }
    }
    drop(fs);
    hf3fs::standin().restart();
    let anew = start(place).unwrap();
    for (kind, setup) in &KINDS {
        serves(setup, &place.join(kind));
    }
    anew
}

#[test]
fn what_is_under_way_ends_when_the_daemon_dies() {
    in_a_process("under way");
}

#[test]
fn an_idle_store_learns_of_the_daemons_death() {
    in_a_process("idle");
}

#[test]
fn a_daemon_that_is_dead_at_open_is_named_and_one_mounted_again_serves() {
    in_a_process("before");
}
