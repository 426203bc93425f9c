//! The kinds of stores, and the faults that each of them meets.

use std::path::Path;

use crate::crash_common::config::Settings;
use crate::faulty_fs::{Fault, Op, Rule};
use crate::model::Lies;

/// Bytes of the largest object: more than one request, no multiple of anything.
pub const LARGE: usize = 2_300_001;
/// Slots of a static pool: some may get out of use.
pub const SLOTS: u32 = 24;
/// Bytes of the staging buffer.
const BUFFER_BYTES: u64 = 2 << 20;
/// Deadline of an item that names none.
pub const TIMEOUT_MS: u64 = 3000;

pub struct Kind {
    pub name: &'static str,
    pub is_static: bool,
    pub is_direct: bool,
    /// Transfers go through io_uring.
    pub is_ring: bool,
    settings: fn(&Path) -> Settings,
}

impl Kind {
    pub fn settings(&self, path: &Path) -> Settings {
        let settings = Settings { buffer_bytes: BUFFER_BYTES, ..(self.settings)(path) };
        let settings = settings.with("nixl_store_io_threads", 1);
        settings.with("nixl_store_timeout_ms", TIMEOUT_MS)
    }
}

fn pool(path: &Path) -> Settings {
    Settings::pool(path, SLOTS, LARGE as u64)
}

pub const KINDS: [Kind; 6] = [
    Kind {
        name: "static-direct",
        is_static: true,
        is_direct: true,
        is_ring: true,
        settings: |path| pool(path).direct().param("use_uring", true),
    },
    Kind {
        name: "static-buffered",
        is_static: true,
        is_direct: false,
        is_ring: true,
        settings: |path| pool(path).param("use_uring", true),
    },
    Kind {
        name: "static-threads",
        is_static: true,
        is_direct: true,
        is_ring: false,
        settings: |path| pool(path).direct().param("use_uring", false),
    },
    Kind {
        name: "sharded-direct",
        is_static: false,
        is_direct: true,
        is_ring: true,
        settings: |path| Settings::dynamic(path).direct(),
    },
    Kind {
        name: "sharded-buffered",
        is_static: false,
        is_direct: false,
        is_ring: true,
        settings: |path| Settings::dynamic(path),
    },
    Kind {
        name: "lmcache",
        is_static: false,
        is_direct: true,
        is_ring: true,
        settings: |path| Settings::dynamic(path).direct().with("nixl_store_layout", "lmcache"),
    },
];

/// What hangs with it, and what has to go on meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hangs {
    Nothing,
    /// Gets of the first key; other gets and all puts go on.
    Gets,
    /// Puts; gets go on.
    Puts,
    /// A flush; puts and gets go on.
    Flush,
    /// A removal; puts and gets go on.
    Removal,
}

pub struct Case {
    pub name: &'static str,
    pub rules: Vec<Rule>,
    /// What a call or an item that fails may tell. None: nothing may fail.
    pub errnos: &'static [i32],
    pub lies: Lies,
    /// What is stored may be missed, and taken out of the store.
    pub misses: bool,
    /// The store makes room, and gives up what is not pinned.
    pub evicts: bool,
    pub failed_shows: bool,
    /// Items may find no chance before their deadline.
    pub may_time_out: bool,
    pub hangs: Hangs,
    /// The server ends.
    pub dies: bool,
    /// Kinds for which the kernel makes something else of the fault: a miss or EIO is right there.
    pub excused: fn(&Kind) -> bool,
}

fn case(name: &'static str, rule: Rule, errnos: &'static [i32]) -> Case {
    Case {
        name,
        rules: vec![rule],
        errnos,
        lies: Lies::No,
        misses: false,
        evicts: false,
        failed_shows: false,
        may_time_out: false,
        hangs: Hangs::Nothing,
        dies: false,
        excused: |_| false,
    }
}

impl Case {
    fn misses(self) -> Case {
        Case { misses: true, ..self }
    }

    fn lies(self, lies: Lies) -> Case {
        Case { lies, misses: true, ..self }
    }

    fn hangs(self, hangs: Hangs) -> Case {
        Case { hangs, ..self }
    }

    fn excused(self, excused: fn(&Kind) -> bool) -> Case {
        Case { excused, ..self }
    }
}

const EIO: &[i32] = &[libc::EIO];
const RENAMES: &[Op] = &[Op::Rename, Op::Rename2];
const OPENS: &[Op] = &[Op::Open, Op::Create];
/// Where the objects and the temporaries are, and what the store itself keeps open is not.
const OBJECTS: &str = "/data/";

/// Every fault. In their order: what reads meet, what writes meet, syncs, names, the end.
pub fn cases() -> Vec<Case> {
    let reads = |fault| Rule::every(&[Op::Read], fault);
    let writes = |fault| Rule::every(&[Op::Write], fault);
    let every = Rule::every;
    let refused = Fault::Errno(libc::EIO);
    // The kernel takes a short answer for the end of the file, and keeps pages without the rest.
    let cached = |kind: &Kind| !kind.is_direct;
    // See `wire::INIT_FLAGS`.
    let ring = |kind: &Kind| kind.is_direct && kind.is_ring;
    vec![
        case("read-eio-once", Rule::once(Op::Read, 2, refused), EIO),
        case("read-eio-some", reads(refused).chance(300, 11), EIO),
        case("read-eio-always", reads(refused), EIO),
        case("read-short", reads(Fault::Short(64 << 10)), &[]).excused(cached),
        case("read-short-odd", reads(Fault::Short(40_001)), &[]).excused(cached),
        case("read-nothing", reads(Fault::Short(0)), EIO).misses(),
        case("read-eintr", reads(Fault::Errno(libc::EINTR)).times(5), &[]),
        case("read-eagain", reads(Fault::Errno(libc::EAGAIN)).times(5), &[]),
        case("read-stale", reads(Fault::Stale), &[]).misses(),
        case("read-flipped", reads(Fault::Corrupt), &[]).misses(),
        case("read-zeros", reads(Fault::Zeros), &[]).misses(),
        case("read-slow", reads(Fault::SlowMs(3)).chance(500, 12), &[]),
        case("read-hang", reads(Fault::Hang), &[]).hangs(Hangs::Gets),
        case("write-eio-first", Rule::once(Op::Write, 1, refused), EIO),
        case("write-eio-second", Rule::once(Op::Write, 2, refused), EIO),
        case("write-eio-some", writes(refused).chance(300, 13), EIO),
        case("write-eio-always", writes(refused), EIO),
        Case { evicts: true, ..case("write-enospc", writes(Fault::Errno(libc::ENOSPC)), &[libc::ENOSPC]) },
        case("write-erofs", writes(Fault::Errno(libc::EROFS)), &[libc::EROFS]),
        case("write-short", writes(Fault::Short(64 << 10)), &[]).excused(ring),
        case("write-short-odd", writes(Fault::Short(40_001)), &[]).excused(ring),
        // A write that moves nothing has no errno, but where the kernel makes one of it.
        case("write-nothing", writes(Fault::Short(0)), &[libc::EIO, 0]),
        case("write-eintr", writes(Fault::Errno(libc::EINTR)).times(5), &[]),
        case("write-eagain", writes(Fault::Errno(libc::EAGAIN)).times(5), &[]),
        case("write-lost", writes(Fault::Lost), &[]).lies(Lies::Bytes),
        case("write-lost-some", writes(Fault::Lost).chance(300, 14), &[]).lies(Lies::Bytes),
        case("write-torn-eio", writes(Fault::Torn(libc::EIO)), EIO),
        case("write-torn-ok", writes(Fault::Torn(0)).chance(500, 15), &[]).lies(Lies::Bytes),
        case("write-flipped", writes(Fault::Corrupt).chance(500, 16), &[]).lies(Lies::Bytes),
        case("write-done-eio", writes(Fault::DoneAndErrno(libc::EIO)), EIO),
        case("write-slow", writes(Fault::SlowMs(3)).chance(500, 17), &[]),
        case("write-hang", writes(Fault::Hang), &[]).hangs(Hangs::Puts),
        case("sync-loses-once", Rule::once(Op::FSync, 1, Fault::SyncLoses(libc::EIO)), EIO),
        case("sync-drops-once", Rule::once(Op::FSync, 1, Fault::SyncDrops(libc::EIO)), EIO).misses(),
        case("sync-eio-always", every(&[Op::FSync, Op::FSyncDir], Fault::SyncLoses(libc::EIO)), EIO),
        case("sync-names-eio", every(&[Op::FSyncDir], refused), EIO),
        case("sync-lies", every(&[Op::FSync, Op::FSyncDir], Fault::Lost), &[]).lies(Lies::Bytes),
        case("sync-hang", every(&[Op::FSync, Op::FSyncDir], Fault::Hang), &[]).hangs(Hangs::Flush),
        case("create-eio", every(&[Op::Create], refused), EIO),
        Case {
            evicts: true,
            ..case("create-enospc", every(&[Op::Create], Fault::Errno(libc::ENOSPC)), &[libc::ENOSPC])
        },
        case("create-hang", every(&[Op::Create], Fault::Hang), &[]).hangs(Hangs::Puts),
        case("open-eio", every(OPENS, refused), EIO),
        Case {
            may_time_out: true,
            ..case("open-emfile", every(OPENS, Fault::Errno(libc::EMFILE)).path(OBJECTS), &[libc::EMFILE])
        },
        case("open-estale", every(OPENS, Fault::Errno(libc::ESTALE)), &[libc::ESTALE]),
        case("open-eacces", every(OPENS, Fault::Errno(libc::EACCES)), &[libc::EACCES]),
        case("open-hang", every(&[Op::Open], Fault::Hang), &[]).hangs(Hangs::Gets),
        case("lookup-eio", every(&[Op::Lookup], refused).path(OBJECTS), EIO),
        case("attributes-eio", every(&[Op::GetAttr], refused).path(OBJECTS), EIO),
        case("size-larger", every(&[Op::GetAttr, Op::Lookup], Fault::Size(4096)), EIO).misses(),
        case("size-smaller", every(&[Op::GetAttr, Op::Lookup], Fault::Size(-4096)), EIO).misses(),
        case("rename-eio", every(RENAMES, refused), EIO),
        Case {
            failed_shows: true,
            ..case("rename-done-eio", every(RENAMES, Fault::DoneAndErrno(libc::EIO)), EIO)
        },
        case("rename-lost", every(RENAMES, Fault::Lost), EIO).lies(Lies::Names),
        case("rename-hang", every(RENAMES, Fault::Hang), &[]).hangs(Hangs::Puts),
        case("unlink-eio", every(&[Op::Unlink, Op::RmDir], refused), EIO),
        case("unlink-lost", every(&[Op::Unlink], Fault::Lost), &[]).lies(Lies::Names),
        case("unlink-hang", every(&[Op::Unlink], Fault::Hang), &[]).hangs(Hangs::Removal),
        Case {
            evicts: true,
            ..case("reserve-enospc", every(&[Op::Fallocate], Fault::Errno(libc::ENOSPC)), &[libc::ENOSPC])
        },
        case("reserve-refused", every(&[Op::Fallocate], Fault::Errno(libc::EOPNOTSUPP)), &[]),
        case("directories-eio", every(&[Op::MkDir, Op::OpenDir, Op::ReadDir], refused), EIO),
        case("space-eio", every(&[Op::StatFs], refused), EIO),
        Case {
            dies: true,
            ..case(
                "server-dies",
                Rule { ops: vec![Op::Read, Op::Write], ..Rule::once(Op::Read, 9, Fault::Die) },
                &[libc::ENOTCONN, libc::ECONNABORTED, libc::EIO],
            )
        },
    ]
}
