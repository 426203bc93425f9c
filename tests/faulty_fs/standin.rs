//! What a test asks of a stand-in for 3FS besides: its second host, its daemons, what it has seen. Mounts are counted from 0.

use std::path::{Path, PathBuf};

use super::hf3fs::Traffic;
use super::{FaultyFs, mount};

/// This machine's mount and the other host's.
pub const THIS_HOST: usize = 0;
pub const OTHER_HOST: usize = 1;

/// Counted here, and as many of them as an answer has room for.
#[derive(Debug, PartialEq, Eq)]
pub struct Seen {
    pub count: usize,
    pub lines: Vec<String>,
}

impl FaultyFs {
    /// The root of the other host's mount.
    pub fn other_path(&self) -> PathBuf {
        self.path_of(OTHER_HOST)
    }

    /// Puts a mount on a directory, in a process with [`private_mounts`](super::private_mounts), until this is dropped. It stays
    /// when the server dies, as that of a dead daemon does.
    pub fn attach(&self, mount: usize, path: &Path) {
        mount::attach(&self.roots[mount], path);
        self.attached.lock().unwrap().push(path.to_owned());
    }

    /// The daemons write down what they keep behind, as they do every now and then, and tell how long files are; tells how many
    /// files had something kept.
    pub fn flush_behind(&self) -> usize {
        self.ask("flush-behind").parse().unwrap()
    }

    /// Whether every direct transfer stands for a ring's from now on, and what is kept behind is not written down before it.
    /// Threads with names that begin with [`RING_THREAD`](super::RING_THREAD) are taken so anyway.
    pub fn direct_is_ring(&self, is_ring: bool) {
        self.ask(&format!("direct-is-ring {is_ring}"));
    }

    /// The identity of a host's daemon, which holds its locks.
    pub fn client(&self, mount: usize) -> String {
        self.ask(&format!("client {mount}"))
    }

    /// Gives a host's daemon a new identity, as a start of it does, and tells it. Locks of the old one stay.
    pub fn restart_client(&self, mount: usize) -> String {
        self.ask(&format!("restart-client {mount}"))
    }

    /// The space of files that were removed comes back.
    pub fn collect_garbage(&self) {
        self.ask("collect-garbage");
    }

    /// How files were read and written that have, or had, a part of their path like this, where `*` is any text: `slots-*.bin`,
    /// or the name of a directory above them.
    pub fn traffic(&self, pattern: &str) -> Traffic {
        let answer = self.ask(&format!("traffic {pattern}"));
        let numbers: Vec<u64> = answer.split(' ').map(|number| number.parse().unwrap()).collect();
        let [direct_reads, direct_writes, buffered_reads, buffered_writes] = numbers[..] else {
            panic!("{answer:?} is no traffic");
        };
        Traffic { direct_reads, direct_writes, buffered_reads, buffered_writes }
    }

    /// Files like this that were ever read or written without O_DIRECT.
    pub fn buffered(&self, pattern: &str) -> Seen {
        self.seen(&format!("buffered {pattern}"))
    }

    /// Files that were renamed or linked to a name after a write that no fsync followed: both names, with ` -> ` between them.
    pub fn named_unsynced(&self) -> Seen {
        self.seen("named-unsynced")
    }

    fn seen(&self, command: &str) -> Seen {
        let answer = self.ask(command);
        let mut lines = answer.lines().map(str::to_owned);
        let count = lines.next().and_then(|count| count.parse().ok()).expect("a count");
        Seen { count, lines: lines.collect() }
    }
}
