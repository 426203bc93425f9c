//! Where status sockets are. A directory serves only if it is this user's alone: in one that others may write to, what
//! answers under a store's name could be anybody.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result, Status};
use crate::sys;

/// Entries of a directory that are looked at; no user has as many stores.
const ENTRIES_MAX: usize = 4096;
/// Permissions of the directory: its user's alone.
const DIRECTORY_MODE: u32 = 0o700;
/// Those of others.
const OTHERS_MODE: u32 = 0o077;
/// What the name of a socket ends with.
const EXTENSION: &str = ".sock";

/// The directories in which this process makes its sockets, the better one first.
pub(super) fn candidates() -> Vec<PathBuf> {
    candidates_of(std::env::var_os("XDG_RUNTIME_DIR").as_deref(), sys::user_id())
}

/// The directories in which this user's sockets may be. A service has no `$XDG_RUNTIME_DIR`, and whoever looks at it from a terminal
/// has one; it is the other way round for who looks by way of sudo or cron, so that its usual place is among them.
pub(super) fn looked_in() -> Vec<PathBuf> {
    looked_in_of(std::env::var_os("XDG_RUNTIME_DIR").as_deref(), sys::user_id())
}

pub(super) fn looked_in_of(runtime: Option<&OsStr>, user: u32) -> Vec<PathBuf> {
    let mut directories = candidates_of(runtime, user);
    let usual = PathBuf::from(format!("/run/user/{user}/nixl_store"));
    if !directories.contains(&usual) {
        directories.push(usual);
    }
    directories
}

pub(super) fn candidates_of(runtime: Option<&OsStr>, user: u32) -> Vec<PathBuf> {
    let runtime = runtime.map(Path::new).filter(|path| path.is_absolute());
    let runtime = runtime.map(|path| path.join("nixl_store"));
    runtime.into_iter().chain([PathBuf::from(format!("/tmp/nixl_store-{user}"))]).collect()
}

/// The name of a store's socket.
pub(super) fn name(pid: u32, store: u64) -> String {
    format!("{pid}-{store}{EXTENSION}")
}

/// The process and the store that a name tells.
pub(super) fn parse(name: &OsStr) -> Option<(u32, u64)> {
    let (pid, store) = name.to_str()?.strip_suffix(EXTENSION)?.split_once('-')?;
    Some((pid.parse().ok()?, store.parse().ok()?))
}

/// Makes the directory, if it is not there.
///
/// # Errors
/// What the system answers; [`Status::Permission`] if it is not this user's alone.
pub(super) fn prepare(directory: &Path) -> Result<()> {
    match DirBuilder::new().mode(DIRECTORY_MODE).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(Error::os(format_args!("making {}", directory.display()), &error))
        }
        _ => check(directory),
    }
}

/// # Errors
/// As for [`prepare`].
pub(super) fn check(directory: &Path) -> Result<()> {
    let found = fs::symlink_metadata(directory);
    let found =
        found.map_err(|error| Error::os(format_args!("looking at {}", directory.display()), &error))?;
    if found.is_dir() && found.uid() == sys::user_id() && found.mode() & OTHERS_MODE == 0 {
        return Ok(());
    }
    let what = if found.is_dir() { "a directory" } else { "no directory" };
    Err(Error::new(
        Status::Permission,
        format!(
            "{} is {what} of user {} with mode {:o}; it has to be a directory of this user's with mode {DIRECTORY_MODE:o}",
            directory.display(),
            found.uid(),
            found.mode() & 0o7777
        ),
    ))
}

/// The sockets in a directory, whether somebody answers or not.
///
/// # Errors
/// What the file system answers.
pub(super) fn sockets(directory: &Path) -> io::Result<Vec<(PathBuf, u32, u64)>> {
    let mut sockets = Vec::new();
    for entry in fs::read_dir(directory)?.take(ENTRIES_MAX) {
        let entry = entry?;
        if let Some((pid, store)) = parse(&entry.file_name()) {
            sockets.push((entry.path(), pid, store));
        }
    }
    Ok(sockets)
}

/// Whether there is no process any more that has this socket open. A socket of another kind is refused as such where
/// there is one, so that it is never disturbed, not even while it is being made; only a name that nobody has bound refuses
/// the connection.
pub(super) fn is_abandoned(socket: &Path) -> bool {
    let connected = UnixDatagram::unbound().and_then(|probe| probe.connect(socket));
    connected.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// Removes what processes left that were killed, before this one binds `name`. Of the sockets that have its number, which are those
/// of a dead process or of stores that it is just opening on other threads, that one alone is removed: nobody else binds it.
pub(super) fn sweep(directory: &Path, name: &str) {
    // What cannot be removed harms nobody.
    for (path, pid, _) in sockets(directory).unwrap_or_default() {
        let may_be_alive = Path::new("/proc").join(pid.to_string()).exists();
        let is_due = path.file_name() == Some(OsStr::new(name));
        if (is_due || !may_be_alive) && is_abandoned(&path) {
            let _ = fs::remove_file(path);
        }
    }
}
