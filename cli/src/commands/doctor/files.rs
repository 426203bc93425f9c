//! The directories of `nixl_path`: there, writable, on what, with how much room, and whether O_DIRECT works there.
//!
//! Whether one can write there is tried with a file that never has a name (`O_TMPFILE`), so that nothing is left behind.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use nixl_store::config::{BackendKind, Config, SettingOrigin};
use nixl_store::layout::pool;
use nixl_store::sys::file::available_bytes;
use nixl_store::sys::mounts::file_system_of;
use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use super::finding::Finding;
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

/// Looks at each directory.
pub fn examine(situation: &Situation) -> Vec<Finding> {
    let config = &situation.config;
    let mine = situation.path();
    let mut findings = Vec::new();
    for path in mine.iter().chain(others(config, mine.as_deref()).iter()) {
        findings.extend(directory(config, path));
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

fn directory(config: &Config, path: &Path) -> Vec<Finding> {
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
    let mut findings = vec![writable(path, there, is_whole), file_system(there)];
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

fn writable(path: &Path, there: &Path, is_whole: bool) -> Finding {
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
        Ok(file) => pool::probe_direct_io(&file),
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
