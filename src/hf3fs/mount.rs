//! Which mount of 3FS a path is on, and what else it is on if on none.
//!
//! The library has a function for that, which ends the process for a path that is not there, so this looks by itself.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::types::MOUNT_POINT_BYTES;
use crate::sys::mounts::file_system_of;
use crate::sys::retry_on_interrupt;

/// Where a mount has what it shares with its clients.
const IOVS: &str = "3fs-virt/iovs";
/// The type that the kernel shows for a mount of 3FS.
const FILE_SYSTEM: &str = "fuse.hf3fs";

/// What is to be found.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The mount, or a path on it, if the configuration names one.
    pub mount_point: Option<&'a Path>,
    /// Where the store is to be. It need not be there yet.
    pub path: &'a Path,
}

/// A mount of 3FS.
#[derive(Clone, Debug)]
pub struct Mount {
    path: PathBuf,
    name: CString,
    file_system: Option<String>,
}

impl Mount {
    /// Finds the mount that the path is on, by the directory that only 3FS has.
    ///
    /// # Errors
    /// What was found instead, in words.
    pub fn find(wanted: Wanted<'_>) -> Result<Mount, String> {
        let path = absolute(wanted.path)?;
        let existing = existing_ancestor(&path)?;
        let found = match wanted.mount_point {
            Some(point) => find_above(&absolute(point)?)?,
            None => find_above(&existing)?,
        };
        let Some(mount) = found else {
            let (what, looked) = match wanted.mount_point {
                Some(point) => ("mount_point", point),
                None => ("nixl_path", wanted.path),
            };
            let on = existing_ancestor(&absolute(looked)?).unwrap_or_default();
            return Err(format!(
                "{what} {} is not on a mount of 3FS: {}, and neither it nor a directory above it has {IOVS}",
                looked.display(),
                describe(&on)
            ));
        };
        if device(&existing)? != device(&mount)? {
            return Err(format!(
                "nixl_path {} is not on the mount of 3FS at {}: {}",
                wanted.path.display(),
                mount.display(),
                describe(&existing)
            ));
        }
        if mount.as_os_str().len() >= MOUNT_POINT_BYTES {
            return Err(format!(
                "the path of the mount {} is too long: 3FS takes {} bytes; mount it elsewhere, or give mount_point a shorter path \
                 to it",
                mount.display(),
                MOUNT_POINT_BYTES - 1
            ));
        }
        let name = CString::new(mount.as_os_str().as_bytes()).map_err(|error| error.to_string())?;
        let file_system = file_system_of(&mount).map(|(kind, _)| kind);
        Ok(Mount { path: mount, name, file_system })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path as the library takes it.
    pub(super) fn name(&self) -> &CString {
        &self.name
    }

    /// The directory in which the daemon shows what it shares.
    pub(super) fn iovs(&self) -> PathBuf {
        self.path.join(IOVS)
    }

    /// Whether the kernel says that it is 3FS.
    pub(super) fn is_typed(&self) -> bool {
        self.file_system.as_deref() == Some(FILE_SYSTEM)
    }

    /// What it is, for messages.
    pub(super) fn describe(&self) -> String {
        describe(&self.path)
    }
}

/// The directory at or above `path` that has what a mount of 3FS has: as the path is written, then as it is without symbolic links.
fn find_above(path: &Path) -> Result<Option<PathBuf>, String> {
    let written = path.ancestors().map(Path::to_owned);
    let resolved = retry_on_interrupt(|| fs::canonicalize(path)).unwrap_or_default();
    let resolved: Vec<PathBuf> = resolved.ancestors().map(Path::to_owned).collect();
    for candidate in written.chain(resolved) {
        match metadata(&candidate.join(IOVS)) {
            Ok(found) if found.is_dir() => return Ok(Some(candidate)),
            Err(error) if is_disconnected(&error) => return Err(gone(&candidate)),
            _ => {}
        }
    }
    Ok(None)
}

/// What an operation on a FUSE mount without a daemon answers.
pub(super) fn is_disconnected(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOTCONN | libc::ECONNABORTED))
}

/// What to say where that is so.
pub(super) fn gone(path: &Path) -> String {
    format!(
        "the daemon of the file system at {} is gone (\"transport endpoint is not connected\"); start it and mount it again",
        path.display()
    )
}

fn absolute(path: &Path) -> Result<PathBuf, String> {
    std::path::absolute(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// The longest part of a path that is there.
fn existing_ancestor(path: &Path) -> Result<PathBuf, String> {
    for ancestor in path.ancestors() {
        match metadata(ancestor) {
            Ok(_) => return Ok(ancestor.to_owned()),
            Err(error) if is_disconnected(&error) => return Err(gone(ancestor)),
            Err(_) => {}
        }
    }
    Err(format!("{}: no part of it is there", path.display()))
}

/// Of what is there. A request to a daemon ends early for a signal, as none to a local file system does.
fn metadata(path: &Path) -> io::Result<fs::Metadata> {
    retry_on_interrupt(|| fs::metadata(path))
}

fn device(path: &Path) -> Result<u64, String> {
    metadata(path).map(|found| found.dev()).map_err(|error| format!("{}: {error}", path.display()))
}

fn describe(path: &Path) -> String {
    match file_system_of(path) {
        Some((kind, point)) => {
            format!("{} is on a file system of type {kind}, mounted at {}", path.display(), point.display())
        }
        None => format!("{} is on a file system that /proc/self/mountinfo does not list", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str) -> Tree {
            let path = std::env::temp_dir().join(format!("nixl_store-mount-{name}-{}", std::process::id()));
            fs::create_dir_all(path.join("root").join(IOVS)).expect("made");
            fs::create_dir_all(path.join("root/data")).expect("made");
            Tree(path)
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    fn found(mount_point: Option<&Path>, path: &Path) -> Result<PathBuf, String> {
        Mount::find(Wanted { mount_point, path }).map(|mount| mount.path)
    }

    /// A store's directory may be yet to be made, may be named by a link, and may come with any path on the mount.
    #[test]
    fn a_mount_is_found_above_the_path() {
        let tree = Tree::new("above");
        let root = tree.0.join("root");
        let link = tree.0.join("link");
        std::os::unix::fs::symlink(root.join("data"), &link).expect("linked");
        for path in [root.clone(), root.join("data"), root.join("data/not/yet"), link.join("new")] {
            assert_eq!(found(None, &path).as_ref(), Ok(&root), "{}", path.display());
            assert_eq!(found(Some(&root), &path).as_ref(), Ok(&root));
            assert_eq!(found(Some(&root.join("data")), &path).as_ref(), Ok(&root));
        }
    }

    /// What is no mount of 3FS is refused with what it is.
    #[test]
    fn what_is_not_a_mount_is_named() {
        let tree = Tree::new("other");
        let message = found(None, &tree.0.join("elsewhere")).expect_err("no mount");
        assert!(
            message.contains("nixl_path") && message.contains("is on a file system of type"),
            "{message}"
        );
        let message = found(Some(&tree.0), &tree.0.join("root/data")).expect_err("no mount");
        assert!(message.starts_with("mount_point"), "{message}");
        let message = found(Some(&tree.0.join("root")), Path::new("/proc")).expect_err("elsewhere");
        assert!(
            message.contains("/proc is not on the mount of 3FS at") && message.contains("type proc"),
            "{message}"
        );
        let long = tree.0.join("l".repeat(200)).join("m".repeat(60));
        fs::create_dir_all(long.join(IOVS)).expect("made");
        assert!(found(None, &long).expect_err("too long").contains("too long"));
    }
}
