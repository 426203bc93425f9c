//! The directories of `nixl_path`: there, writable, on what, with how much room, and whether O_DIRECT works there.
//!
//! Whether one can write there is tried with a file that never has a name (`O_TMPFILE`), so that nothing is left behind.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use nixl_store::config::{BackendKind, Config, SettingOrigin};
use nixl_store::layout::pool::probe_direct_io;
use nixl_store::sys::file::{allocate, available_bytes};
use nixl_store::sys::mounts::file_system_of;
use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use super::finding::Finding;
use super::pool;
use super::situation::{Situation, nearest};
use crate::output::bytes;

/// File systems of a network, by the kernel's names.
const OF_NETWORKS: [&str; 14] = [
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "ceph",
    "lustre",
    "gpfs",
    "9p",
    "virtiofs",
    "glusterfs",
    "beegfs",
    "afs",
    "ocfs2",
    "gfs2",
];
/// File systems in this machine's memory.
const IN_MEMORY: [&str; 2] = ["tmpfs", "ramfs"];
/// The layered one of containers.
const LAYERED: &str = "overlay";

/// What a dynamic store makes in its directory, as docs/FORMAT.md has it, and what it does there.
const OF_DYNAMIC_STORES: [(&str, Access); 3] =
    [("nixl_store_objects", USED), (".nixl_store+tmp", USED), (".nixl_store+pins", LOCKED)];
/// A directory is listed, and something is made in it.
const USED: Access = Access::READ_OK.union(Access::WRITE_OK).union(Access::EXEC_OK);
/// A file is opened for reading and writing.
const LOCKED: Access = Access::READ_OK.union(Access::WRITE_OK);
/// Bytes that are reserved for a try.
const TRIED_BYTES: u64 = 4096;

/// Looks at each directory.
pub fn examine(situation: &Situation) -> Vec<Finding> {
    let config = &situation.config;
    let mine = situation.path();
    let mut findings = Vec::new();
    let is_complete = config.pool_size > 0 && pool::is_there(situation);
    if let Some(path) = &mine {
        findings.extend(directory(config, path, is_complete));
    }
    for path in others(config, mine.as_deref()) {
        findings.extend(directory(config, &path, false));
    }
    findings
}

/// Those of other workers.
fn others(config: &Config, mine: Option<&Path>) -> Vec<PathBuf> {
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    let mut others: Vec<PathBuf> = config.paths.iter().map(absolute).collect();
    others.dedup();
    others.retain(|path| Some(path.as_path()) != mine);
    others
}

/// Looks at one; `is_complete`: all that the store makes in it is there.
fn directory(config: &Config, path: &Path, is_complete: bool) -> Vec<Finding> {
    let shown = path.display();
    let Some(there) = nearest(path) else {
        return vec![Finding::broken("directory", format!("{shown}: no part of it is there"))];
    };
    let is_whole = there == path;
    match std::fs::metadata(there) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => {
            return vec![
                Finding::broken("directory", format!("{} is no directory", there.display()))
                    .advise("Set nixl_path to a directory, or to a place where one can be made."),
            ];
        }
        Err(error) => return vec![Finding::broken("directory", format!("{}: {error}", there.display()))],
    }
    let is_dynamic = config.pool_size == 0;
    let writable = (is_dynamic && is_whole)
        .then(|| made_by_others(path))
        .flatten()
        .unwrap_or_else(|| writable(path, there, is_whole, is_complete));
    let mut findings = vec![writable, file_system(there)];
    findings.extend(space(config, there));
    if config.backend != BackendKind::Hf3fs {
        findings.push(direct_io(config, there));
    }
    findings
}

/// A file without a name in a directory.
fn nameless(directory: &Path, more: OFlags) -> rustix::io::Result<File> {
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC | more;
    rustix::fs::open(directory, flags, Mode::RUSR | Mode::WUSR).map(File::from)
}

/// Whether the file system has no files without names.
fn lacks_nameless(error: Errno) -> bool {
    matches!(error, Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::NOSYS)
}

/// Whether the file system of a directory has no way to reserve space.
pub fn cannot_reserve(directory: &Path) -> bool {
    let tried = nameless(directory, OFlags::empty()).map(|file| allocate(&file, 0, TRIED_BYTES));
    matches!(tried, Ok(Err(error)) if matches!(
        Errno::from_io_error(&error),
        Some(Errno::OPNOTSUPP | Errno::NOSYS)
    ))
}

/// What a dynamic store finds below its directory and cannot use, as after an engine that ran as another user.
fn made_by_others(path: &Path) -> Option<Finding> {
    let denied = OF_DYNAMIC_STORES.iter().find(|(name, access)| {
        let there = rustix::fs::accessat(CWD, path.join(name), *access, AtFlags::EACCESS);
        matches!(there, Err(Errno::ACCESS | Errno::PERM))
    });
    denied.map(|(name, _)| {
        let user = rustix::process::geteuid().as_raw();
        let shown = path.display();
        Finding::broken("directory", format!("{shown}: user {user} may not use {name} in it"))
            .because("An engine that ran as another user made it.")
            .advise(format!("chown -R {user} {shown}"))
            .advise("or run the engine as that user")
    })
}

fn writable(path: &Path, there: &Path, is_whole: bool, is_complete: bool) -> Finding {
    let tried = match nameless(there, OFlags::empty()) {
        Err(error) if lacks_nameless(error) => {
            rustix::fs::accessat(CWD, there, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)
        }
        tried => tried.map(drop),
    };
    let shown = path.display();
    let where_it_fails =
        if is_whole { shown.to_string() } else { format!("{shown} is not there, and {}", there.display()) };
    match tried {
        Ok(()) if is_whole => Finding::ok("directory", format!("{shown} is there and can be written to")),
        Ok(()) => {
            let there = there.display();
            Finding::ok("directory", format!("{shown} is not there yet; the store makes it below {there}"))
        }
        Err(Errno::ACCESS | Errno::PERM) if is_complete => Finding::ok(
            "directory",
            format!("{shown} is not this user's to write to, and need not be: the pool is there"),
        ),
        Err(Errno::ROFS) => {
            Finding::broken("directory", format!("{where_it_fails} is on a file system that is read-only"))
                .advise(format!("mount -o remount,rw {}", mount_point(there).display()))
                .advise("or set nixl_path to another directory")
        }
        Err(Errno::ACCESS | Errno::PERM) => {
            let user = rustix::process::geteuid().as_raw();
            Finding::broken("directory", format!("{where_it_fails} cannot be written to by user {user}"))
                .advise(format!("chown {user} {}", there.display()))
                .advise("or run the engine as the directory's owner, or set nixl_path to another directory")
        }
        Err(Errno::NOSPC | Errno::DQUOT) => {
            Finding::broken("directory", format!("{where_it_fails}: no room for a file"))
                .advise("Make room, or raise the quota.")
        }
        Err(error) => Finding::broken("directory", format!("{where_it_fails}: {}", io::Error::from(error))),
    }
}

fn mount_point(path: &Path) -> PathBuf {
    file_system_of(path).map_or_else(|| path.to_owned(), |(_, point)| point)
}

fn file_system(there: &Path) -> Finding {
    let Some((kind, point)) = file_system_of(there) else {
        return Finding::ok("file system", "not in the kernel's list of mounts");
    };
    let on = format!("{kind}, mounted at {}", point.display());
    if IN_MEMORY.contains(&kind.as_str()) {
        return Finding::ok("file system", format!("{on}: in memory, gone when the machine stops"));
    }
    if OF_NETWORKS.contains(&kind.as_str()) {
        return Finding::better("file system", format!("{on}: every transfer crosses a network"))
            .advise("Set nixl_path to a local NVMe drive, unless the store is there to be shared.");
    }
    if kind == LAYERED {
        return Finding::better("file system", format!("{on}: the layers of a container, gone with it"))
            .advise("Mount a volume of the host into the container, and set nixl_path to it.");
    }
    Finding::ok("file system", on)
}

/// The room of a dynamic store. A pool's is looked at with the pool.
fn space(config: &Config, there: &Path) -> Option<Finding> {
    if config.pool_size > 0 {
        return None;
    }
    let free = available_bytes(&File::open(there).ok()?)?;
    let shown = bytes(free);
    Some(match config.store.capacity_bytes {
        None => Finding::ok("space", format!("{shown} free; nixl_store_capacity_bytes sets no limit")),
        Some(capacity) if capacity > free => Finding::better(
            "space",
            format!("{shown} free, {} allowed by nixl_store_capacity_bytes", bytes(capacity)),
        )
        .because("What the store holds already counts among both.")
        .advise("Lower nixl_store_capacity_bytes, unless the store holds that much already."),
        Some(capacity) => Finding::ok("space", format!("{shown} free for at most {}", bytes(capacity))),
    })
}

fn direct_io(config: &Config, there: &Path) -> Finding {
    let works = match nameless(there, OFlags::DIRECT) {
        Ok(file) => probe_direct_io(&file),
        Err(Errno::INVAL) => Err("the file system refuses it".to_owned()),
        Err(error) if lacks_nameless(error) && nameless(there, OFlags::empty()).is_err() => {
            return Finding::ok("O_DIRECT", "not tried: the file system has no files without names");
        }
        // The finding about the directory says so.
        Err(Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::NOSPC | Errno::DQUOT) => {
            return Finding::ok("O_DIRECT", "not tried: no file can be made there");
        }
        Err(error) => Err(io::Error::from(error).to_string()),
    };
    let origin =
        config.effective.iter().find(|setting| setting.name == "use_direct_io").map(|one| one.origin);
    let is_in_memory = file_system_of(there).is_some_and(|(kind, _)| IN_MEMORY.contains(&kind.as_str()));
    match (config.use_direct_io, works) {
        (true, Ok(())) => Finding::ok("O_DIRECT", "in effect"),
        (true, Err(why)) => {
            Finding::better("O_DIRECT", "not in effect: bytes go through the page cache").because(why).advise(
                "Set nixl_path to a file system that has it (ext4, XFS), or use_direct_io: false to settle for less.",
            )
        }
        (false, Ok(())) if origin == Some(SettingOrigin::Default) && !is_in_memory => {
            Finding::better("O_DIRECT", "not asked for: bytes go through the page cache, a copy more each way")
                .advise("Set use_direct_io: true in extra_config; false says that the page cache is wanted.")
        }
        (false, _) => Finding::ok("O_DIRECT", "not asked for: bytes go through the page cache"),
    }
}
