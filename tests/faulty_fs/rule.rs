//! Which request is answered wrongly, and how.

use std::ops::Range;

/// What the kernel asks for. Opcodes of `linux/fuse.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Op {
    Lookup = 1,
    GetAttr = 3,
    SetAttr = 4,
    ReadLink = 5,
    SymLink = 6,
    MkNod = 8,
    MkDir = 9,
    Unlink = 10,
    RmDir = 11,
    Rename = 12,
    Link = 13,
    Open = 14,
    Read = 15,
    Write = 16,
    StatFs = 17,
    Release = 18,
    FSync = 20,
    SetXAttr = 21,
    GetXAttr = 22,
    ListXAttr = 23,
    RemoveXAttr = 24,
    Flush = 25,
    OpenDir = 27,
    ReadDir = 28,
    ReleaseDir = 29,
    FSyncDir = 30,
    GetLock = 31,
    SetLock = 32,
    SetLockWait = 33,
    Create = 35,
    IoCtl = 39,
    Fallocate = 43,
    ReadDirPlus = 44,
    Rename2 = 45,
    TmpFile = 51,
}

impl Op {
    const ALL: [Op; 35] = [
        Op::Lookup,
        Op::GetAttr,
        Op::SetAttr,
        Op::ReadLink,
        Op::SymLink,
        Op::MkNod,
        Op::MkDir,
        Op::Unlink,
        Op::RmDir,
        Op::Rename,
        Op::Link,
        Op::Open,
        Op::Read,
        Op::Write,
        Op::StatFs,
        Op::Release,
        Op::FSync,
        Op::SetXAttr,
        Op::GetXAttr,
        Op::ListXAttr,
        Op::RemoveXAttr,
        Op::Flush,
        Op::OpenDir,
        Op::ReadDir,
        Op::ReleaseDir,
        Op::FSyncDir,
        Op::GetLock,
        Op::SetLock,
        Op::SetLockWait,
        Op::Create,
        Op::IoCtl,
        Op::Fallocate,
        Op::ReadDirPlus,
        Op::Rename2,
        Op::TmpFile,
    ];

    pub fn of(opcode: u32) -> Option<Op> {
        Op::ALL.into_iter().find(|op| *op as u32 == opcode)
    }
}

/// How a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// As it should be.
    None,
    /// This errno, and nothing is done.
    Errno(i32),
    /// It is done, and this errno is told.
    DoneAndErrno(i32),
    /// Nothing is done, and success is told.
    Lost,
    /// At most so many bytes are moved, and so it is told.
    Short(u64),
    /// The first half of a write is done; success is told, or an errno that is not 0.
    Torn(i32),
    /// One bit is wrong on the way, in either direction.
    Corrupt,
    /// A read gives what was there before the last write.
    Stale,
    /// A read gives zeros.
    Zeros,
    /// No answer until it is released.
    Hang,
    /// An answer after so many milliseconds.
    SlowMs(u64),
    /// A sync tells the errno once; its data counts as clean and never reaches the device. The cache keeps it.
    SyncLoses(i32),
    /// The same, and the cache drops it as well.
    SyncDrops(i32),
    /// Attributes tell a size that differs by so much.
    Size(i64),
    /// The server ends.
    Die,
}

/// When a fault strikes: at some of the requests that are of one of these kinds, on a path that holds this text, and of
/// these bytes.
#[derive(Clone, Debug)]
pub struct Rule {
    pub ops: Vec<Op>,
    /// Text in the path below the mount; a rename has both paths, with ` -> ` between them.
    pub path: String,
    /// So many are spared first.
    pub after: u64,
    /// So many are struck then.
    pub times: u64,
    /// By chance, out of a thousand.
    pub permille: u64,
    pub seed: u64,
    /// Transfers that touch these bytes of their file.
    pub bytes: Range<u64>,
    pub fault: Fault,
}

impl Rule {
    /// Every request of these kinds.
    pub fn every(ops: &[Op], fault: Fault) -> Rule {
        Rule {
            ops: ops.to_vec(),
            path: String::new(),
            after: 0,
            times: u64::MAX,
            permille: 1000,
            seed: 1,
            bytes: 0..u64::MAX,
            fault,
        }
    }

    /// The `nth` request of this kind, counted from 1.
    pub fn once(op: Op, nth: u64, fault: Fault) -> Rule {
        Rule { after: nth - 1, times: 1, ..Rule::every(&[op], fault) }
    }

    pub fn path(self, path: &str) -> Rule {
        Rule { path: path.to_owned(), ..self }
    }

    pub fn times(self, times: u64) -> Rule {
        Rule { times, ..self }
    }

    pub fn bytes(self, bytes: Range<u64>) -> Rule {
        Rule { bytes, ..self }
    }

    pub fn chance(self, permille: u64, seed: u64) -> Rule {
        Rule { permille, seed, ..self }
    }

    /// As one line for the server.
    pub fn to_line(&self) -> String {
        let ops: Vec<String> = self.ops.iter().map(|op| (*op as u32).to_string()).collect();
        let (fault, value) = match self.fault {
            Fault::None => ("none", 0),
            Fault::Errno(errno) => ("errno", errno.into()),
            Fault::DoneAndErrno(errno) => ("done-and-errno", errno.into()),
            Fault::Lost => ("lost", 0),
            Fault::Short(bytes) => ("short", bytes as i64),
            Fault::Torn(errno) => ("torn", errno.into()),
            Fault::Corrupt => ("corrupt", 0),
            Fault::Stale => ("stale", 0),
            Fault::Zeros => ("zeros", 0),
            Fault::Hang => ("hang", 0),
            Fault::SlowMs(time) => ("slow", time as i64),
            Fault::SyncLoses(errno) => ("sync-loses", errno.into()),
            Fault::SyncDrops(errno) => ("sync-drops", errno.into()),
            Fault::Size(by) => ("size", by),
            Fault::Die => ("die", 0),
        };
        format!(
            "{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{fault}\t{value}",
            ops.join(","),
            self.path,
            self.after,
            self.times,
            self.permille,
            self.seed,
            self.bytes.start,
            self.bytes.end
        )
    }

    pub fn of_line(line: &str) -> Rule {
        let words: Vec<&str> = line.split('\t').collect();
        let number = |at: usize| words[at].parse::<u64>().unwrap();
        let value: i64 = words[9].parse().unwrap();
        let errno = value as i32;
        let fault = match words[8] {
            "none" => Fault::None,
            "errno" => Fault::Errno(errno),
            "done-and-errno" => Fault::DoneAndErrno(errno),
            "lost" => Fault::Lost,
            "short" => Fault::Short(value as u64),
            "torn" => Fault::Torn(errno),
            "corrupt" => Fault::Corrupt,
            "stale" => Fault::Stale,
            "zeros" => Fault::Zeros,
            "hang" => Fault::Hang,
            "slow" => Fault::SlowMs(value as u64),
            "sync-loses" => Fault::SyncLoses(errno),
            "sync-drops" => Fault::SyncDrops(errno),
            "size" => Fault::Size(value),
            "die" => Fault::Die,
            other => panic!("{other} is no fault"),
        };
        Rule {
            ops: words[0].split(',').map(|op| Op::of(op.parse().unwrap()).unwrap()).collect(),
            path: words[1].to_owned(),
            after: number(2),
            times: number(3),
            permille: number(4),
            seed: number(5),
            bytes: number(6)..number(7),
            fault,
        }
    }
}

/// The rules in force, in the order of their coming; the first that strikes decides.
#[derive(Default)]
pub struct Rules(Vec<Armed>);

struct Armed {
    rule: Rule,
    chance: Chance,
    met: u64,
    struck: u64,
}

impl Rules {
    pub fn add(&mut self, rule: Rule) {
        let chance = Chance::new(rule.seed);
        self.0.push(Armed { rule, chance, met: 0, struck: 0 });
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// How often the rules in force have struck.
    pub fn struck(&self) -> u64 {
        self.0.iter().map(|armed| armed.struck).sum()
    }

    pub fn decide(&mut self, op: Op, path: &str, bytes: &Range<u64>) -> Fault {
        for armed in &mut self.0 {
            let rule = &armed.rule;
            let is_met = rule.ops.contains(&op)
                && path.contains(&rule.path)
                && (bytes.is_empty() || bytes.start < rule.bytes.end && rule.bytes.start < bytes.end);
            if !is_met {
                continue;
            }
            armed.met += 1;
            if armed.met > rule.after && armed.struck < rule.times && armed.chance.permille() < rule.permille
            {
                armed.struck += 1;
                return rule.fault;
            }
        }
        Fault::None
    }
}

/// Numbers that are the same in every run: xorshift64*.
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Chance {
        Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Below 1000.
    pub fn permille(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 20) % 1000
    }
}
