//! Who owns a static pool in a bucket: what its lease object says, and what that means to somebody else. No I/O here.
//!
//! A bucket has no lock that dies with its holder. The owner writes an object with its name and renews it; whoever comes
//! second may take it over once it was not renewed for [`LEASE_TIME`], told by the server's clock alone, or at once if the
//! owner was a process of this very host that is dead. What the object says is data of anybody: it reaches a message as a
//! number or a plain name, and no decision but these.

use std::fmt;
use std::time::{Duration, SystemTime};

use crate::sys::{host_name, random_u128};

/// Name of the lease in its pool.
pub const LEASE: &str = "lease";
/// A lease that was not renewed for so long is over, by the server's clock.
pub const LEASE_TIME: Duration = Duration::from_secs(60);
/// How often an owner renews it: three renewals may fail, and the clock of the server has whole seconds.
pub const RENEWAL_INTERVAL: Duration = Duration::from_secs(15);
/// An owner that could not renew for so long, by its own clock, puts nothing more: short of [`LEASE_TIME`], so that it
/// stops before somebody else begins.
pub const HOLD_TIME: Duration = Duration::from_secs(45);
/// Bytes of the longest lease object that is read.
pub const LEASE_BYTES_MAX: usize = 1024;

const MAGIC: &str = "nixl_store lease 1";
/// Characters of a word of it.
const WORD_CHARS_MAX: usize = 256;

/// A process as an owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its own in all the world.
    pub id: u128,
    /// Its host, for messages.
    pub host: String,
    /// Its number there.
    pub process: u32,
    /// The boot of that host and the space of process numbers: where both are the same, numbers mean the same.
    pub place: String,
    /// When it started, in ticks since the boot, so that a number that is used again is told apart; 0 if not known.
    pub started: u64,
}

/// What somebody else's lease means to a process that wants the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its owner is dead, or has not renewed it in time.
    TakeOver,
    /// It is held, and over in this time unless it is renewed.
    Held {
        /// The time.
        left: Duration,
    },
}

impl Owner {
    /// This process.
    ///
    /// # Errors
    /// What reading random bytes answers.
    pub fn this_process() -> std::io::Result<Owner> {
        let process = std::process::id();
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let space = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        let boot = read("/proc/sys/kernel/random/boot_id");
        Ok(Owner {
            id: random_u128()?,
            host: plain(&host_name()),
            process,
            place: plain(&format!("{}-{}", boot.trim(), space.display())),
            started: start_time(process).unwrap_or(0),
        })
    }

    /// The lease object of this owner.
    pub fn to_text(&self) -> String {
        let Owner { id, host, process, place, started } = self;
        format!("{MAGIC}\nid {id:032x}\nhost {host}\nprocess {process}\nplace {place}\nstarted {started}\n")
    }

    /// The owner that a lease object names; `None`: it is no lease.
    pub fn from_text(bytes: &[u8]) -> Option<Owner> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut lines = text.lines();
        if lines.next()? != MAGIC {
            return None;
        }
        let mut next = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let id = u128::from_str_radix(next("id")?, 16).ok()?;
        let host = next("host").map(plain)?;
        let process = next("process")?.parse().ok()?;
        let place = next("place").map(plain)?;
        let started = next("started")?.parse().ok()?;
        Some(Owner { id, host, process, place, started })
    }

    /// Whether it was a process of this host that has ended. False also where that cannot be told.
    pub fn is_dead_here(&self, here: &Owner) -> bool {
        let tells = !here.place.is_empty() && here.place == self.place && self.started != 0;
        tells && start_time(self.process) != Some(self.started)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {}", self.process)?;
        if !self.host.is_empty() {
            write!(f, " on host {}", self.host)?;
        }
        Ok(())
    }
}

/// What a lease means that was last written at `renewed` when the server's clock says `now`. Both are the server's, so
/// that no two clocks are compared. `is_dead`: its owner is known to have ended.
pub fn judge(renewed: SystemTime, now: SystemTime, is_dead: bool) -> Verdict {
    if is_dead {
        return Verdict::TakeOver;
    }
    // A clock that went back tells nothing: the lease counts as just renewed.
    let age = now.duration_since(renewed).unwrap_or_default();
    match LEASE_TIME.checked_sub(age) {
        Some(left) if !left.is_zero() => Verdict::Held { left },
        _ => Verdict::TakeOver,
    }
}

/// When a process started, in ticks since the boot; `None`: there is no such process.
fn start_time(process: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name of the program, in parentheses, may hold anything; the 22nd field comes 20 behind it (proc(5)).
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if matches!(fields.next(), Some("Z" | "X")) {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Letters, digits and what host names have beside them.
fn plain(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_alphanumeric() || "-._".contains(*c)).take(WORD_CHARS_MAX).collect()
}

#[cfg(test)]
#[cfg(not(feature = "shuttle"))]
mod tests {
    use super::*;

    fn owner() -> Owner {
        Owner::this_process().unwrap()
    }

    /// A lease holds for its time by the server's clock and no longer, unless its owner is known to be dead.
    #[test]
    fn a_lease_ends_with_its_time_or_its_owner() {
        let renewed = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        for age in [0, 1, 59] {
            let now = renewed + Duration::from_secs(age);
            assert_eq!(
                judge(renewed, now, false),
                Verdict::Held { left: LEASE_TIME - Duration::from_secs(age) }
            );
            assert_eq!(judge(renewed, now, true), Verdict::TakeOver);
        }
        assert_eq!(judge(renewed, renewed + LEASE_TIME, false), Verdict::TakeOver);
        // A server whose clock was set back must not cost an owner its pool.
        assert_eq!(
            judge(renewed, renewed - Duration::from_secs(9), false),
            Verdict::Held { left: LEASE_TIME }
        );
    }

    /// An owner stops before its lease may be taken over, whatever renewal was the last to succeed.
    #[test]
    fn an_owner_stops_before_another_begins() {
        assert!(RENEWAL_INTERVAL * 2 < HOLD_TIME);
        // One second, as servers tell the time in whole ones, and some for the renewal to arrive.
        assert!(HOLD_TIME + Duration::from_secs(10) < LEASE_TIME);
    }

    /// A process is told from one that ended, and from one with the same number elsewhere or later.
    #[test]
    fn only_a_process_of_this_host_is_known_to_be_dead() {
        let here = owner();
        assert!(!here.is_dead_here(&here));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let process = child.id();
        child.wait().unwrap();
        let gone = Owner { process, ..owner() };
        assert!(gone.is_dead_here(&here));
        assert!(!Owner { place: "elsewhere".to_owned(), ..gone.clone() }.is_dead_here(&here));
        assert!(!Owner { started: 0, ..gone }.is_dead_here(&here));
        let before = Owner { started: here.started + 1, ..owner() };
        assert!(before.is_dead_here(&here), "the number is used again");
    }

    /// A lease is read back as it was written; anything else is none, and harmless in a message.
    #[test]
    fn a_lease_object_is_only_data() {
        let mine = owner();
        assert_eq!(Owner::from_text(mine.to_text().as_bytes()), Some(mine.clone()));
        assert!(mine.to_text().len() <= LEASE_BYTES_MAX);
        for bad in [&b""[..], b"nixl_store lease 2\n", b"\xff", b"nixl_store lease 1\nid x\n"] {
            assert_eq!(Owner::from_text(bad), None);
        }
        let hostile = mine.to_text().replace(&format!("host {}", mine.host), "host a\u{1b}[31m%s");
        assert_eq!(Owner::from_text(hostile.as_bytes()).unwrap().host, "a31ms");
    }
}
