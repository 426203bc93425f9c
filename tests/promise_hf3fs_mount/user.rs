//! A process that has stores open, of any kind and several at a time, and can be killed.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::hf3fs::{self, Order, What};
use crate::common::status::{OK, Status, message};
use crate::common::{Batch, Setup, Store, Submit};
use crate::crash_common::chunk;
use crate::crash_common::helper::{Helper, Peer, Role};
use crate::world::{KINDS, put, version, wait_until};

pub const ROLE: Role = ("user", serve);

/// The parent's side. Each store has a name.
pub struct User(pub Helper);

impl User {
    /// A process without a store.
    pub fn start() -> User {
        User(Helper::start(ROLE.0))
    }

    /// A process with a store of a kind, which is its name too.
    pub fn of(kind: &str, data: &Path) -> User {
        let mut user = User::start();
        user.open(kind, kind, data);
        user
    }

    #[track_caller]
    pub fn open(&mut self, name: &str, kind: &str, data: &Path) {
        self.try_open(name, kind, data).unwrap_or_else(|why| panic!("{kind}: {why}"));
    }

    /// Why it was refused: the status and the words.
    pub fn try_open(&mut self, name: &str, kind: &str, data: &Path) -> Result<(), String> {
        self.ask(&format!("open {name} {kind} {}", data.display())).map(drop)
    }

    #[track_caller]
    pub fn put(&mut self, name: &str, key: &str, version: u64, bytes: usize) {
        self.tell(&format!("put {name} {key} {version} {bytes}"));
    }

    /// The version found, every byte of which was looked at.
    #[track_caller]
    pub fn version(&mut self, name: &str, key: &str) -> Option<u64> {
        self.tell(&format!("get {name} {key}")).parse().ok()
    }

    /// Puts a batch of `COUNT` keys that begin with `prefix`, which the daemon takes and does not end.
    #[track_caller]
    pub fn begin_puts(&mut self, name: &str, prefix: &str, count: usize, version: u64, bytes: usize) {
        self.tell(&format!("begin {name} {prefix} {count} {version} {bytes}"));
    }

    /// Puts keys one after the other, each a payload and then its end, the trailer, and none of them ends: the daemon holds the
    /// payloads, or carries those out and holds the ends.
    #[track_caller]
    pub fn begin_puts_up_to(
        &mut self,
        stage: Stage,
        name: &str,
        prefix: &str,
        count: usize,
        object: (u64, usize),
    ) {
        let (version, bytes) = object;
        self.tell(&format!("stage {name} {stage:?} {prefix} {count} {version} {bytes}"));
    }

    /// All that a store has logged.
    #[track_caller]
    pub fn log(&mut self, name: &str) -> String {
        self.tell(&format!("log {name}"))
    }

    /// What must go well, and its answer.
    #[track_caller]
    pub fn tell(&mut self, line: &str) -> String {
        self.ask(line).unwrap_or_else(|why| panic!("{line}: {why}"))
    }

    fn ask(&mut self, line: &str) -> Result<String, String> {
        let answer = self.0.ask(line);
        match answer.split_once(' ').unwrap_or((&answer, "")) {
            ("ok", rest) => Ok(rest.to_owned()),
            (_, rest) => Err(rest.to_owned()),
        }
    }

    /// SIGKILL.
    pub fn kill(self) {
        self.0.kill();
    }

    /// Its end, which has to be a good one.
    pub fn finish(self) {
        self.0.finish();
    }
}

/// How far the daemon is with a put.
#[derive(Clone, Copy, Debug)]
pub enum Stage {
    /// It has the payload.
    Payload,
    /// It has the end, and has carried out all before that.
    End,
}

/// The helper's side: stores by their names, for as long as the process lives, as what is under way in them may be.
struct Stores(Vec<(String, &'static Store)>);

fn serve(peer: &mut Peer) {
    let mut stores = Stores(Vec::new());
    while let Some(line) = peer.line() {
        let words: Vec<&str> = line.split(' ').collect();
        match stores.act(&words) {
            Ok(answer) => peer.say(&format!("ok {answer}")),
            Err(why) => peer.say(&format!("err {}", why.replace('\n', " "))),
        }
    }
}

fn checked(status: Status) -> Result<String, String> {
    if status == OK { Ok(String::new()) } else { Err(format!("{status:?} {}", message())) }
}

impl Stores {
    fn act(&mut self, words: &[&str]) -> Result<String, String> {
        match *words {
            ["open", name, kind, data] => {
                let (_, setup): &(_, Setup) = KINDS.iter().find(|(of, _)| *of == kind).expect("a kind");
                let store = Store::try_open_at(setup, Path::new(data))
                    .map_err(|(status, why)| format!("{status:?} {why}"))?;
                self.0.push((name.to_owned(), Box::leak(Box::new(store))));
                Ok(String::new())
            }
            ["hold", hold] => {
                hf3fs::standin().hold(hold == "true");
                Ok(String::new())
            }
            ["journal", path] => {
                hf3fs::standin().journal(Path::new(path));
                Ok(String::new())
            }
            // It ends with the parent's end of the pipe that both read.
            ["child"] => {
                let child = Command::new("cat").stdout(Stdio::null()).spawn();
                child.map(|_| String::new()).map_err(|error| error.to_string())
            }
            [what, name, ..] => {
                let found = self.0.iter().rev().find(|(of, _)| *of == name);
                let (_, store) = *found.as_ref().expect("an open store");
                act_on(store, what, &words[2..])
            }
            _ => panic!("{words:?} is no request"),
        }
    }
}

fn act_on(store: &'static Store, what: &str, words: &[&str]) -> Result<String, String> {
    match (what, words) {
        ("put", [key, version, bytes]) => {
            checked(put(store, key, version.parse().unwrap(), bytes.parse().unwrap()))
        }
        ("get", [key]) => Ok(version(store, key).map_or("miss".to_owned(), |version| version.to_string())),
        ("length", [key]) => match store.length(key.as_bytes()) {
            (OK, length) => Ok(length.to_string()),
            (status, _) => Err(format!("{status:?}")),
        },
        ("remove", [key]) => checked(store.remove(key.as_bytes())),
        ("clear", []) => Ok(store.clear().to_string()),
        ("flush", []) => checked(store.flush()),
        ("close", []) => checked(store.close()),
        ("log", []) => Ok(store.log().join("; ").replace('\n', " ")),
        ("begin", [prefix, count, version, bytes]) => {
            begin(store, prefix, count.parse().unwrap(), version.parse().unwrap(), bytes.parse().unwrap());
            Ok(String::new())
        }
        ("stage", [stage, prefix, count, version, bytes]) => {
            let stage = if *stage == "End" { Stage::End } else { Stage::Payload };
            for number in 0..count.parse().unwrap() {
                let key = format!("{prefix}{number}");
                begin_up_to(stage, store, &key, version.parse().unwrap(), bytes.parse().unwrap());
            }
            Ok(String::new())
        }
        _ => panic!("{what} {words:?} is no request"),
    }
}

/// Transfers of a payload that fits one request: what lies in the staging buffer, and its last block.
pub const PAYLOAD_TRANSFERS: usize = 2;

/// Puts one key into a slot that was never written, of which the payload goes first, in one batch, and the trailer is the end.
fn begin_up_to(stage: Stage, store: &'static Store, key: &str, version: u64, bytes: usize) {
    let standin = hf3fs::standin();
    // What came last is let go first.
    standin.order(Order::Reversed);
    let (writes, held) = (standin.count(What::Writes), standin.count(What::Held));
    let has = |count: usize| {
        standin.count(What::Writes) == writes + count as u64 && standin.count(What::Held) == held + 1
    };
    let object: &'static [u8] = Box::leak(chunk::fill(key, version, bytes).into_boxed_slice());
    let mut batch = Batch::new();
    batch.put(key.as_bytes(), object);
    // Waiting for it would be for ever.
    std::mem::forget(store.submit_puts(&batch, Submit::default()).expect("submitted"));
    wait_until("a payload", || has(PAYLOAD_TRANSFERS));
    if matches!(stage, Stage::End) {
        assert_eq!(standin.release(1), 1);
        wait_until("an end", || has(PAYLOAD_TRANSFERS + 1));
    }
}

/// Puts a batch while the daemon holds what it is given, and waits until it has some of it.
fn begin(store: &'static Store, prefix: &str, count: usize, version: u64, bytes: usize) {
    let mut batch = Batch::new();
    for number in 0..count {
        let key = format!("{prefix}{number}");
        let object: &'static [u8] = Box::leak(chunk::fill(&key, version, bytes).into_boxed_slice());
        batch.put(key.as_bytes(), object);
    }
    let pending = store.submit_puts(&batch, Submit::default()).expect("submitted");
    // Waiting for it would be for ever.
    std::mem::forget(pending);
    wait_until("what is held", || hf3fs::standin().count(What::Held) > 0);
}
