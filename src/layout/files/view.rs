//! A dynamic store's directory as it looks to somebody who only reads: nothing is made, locked or swept.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::{ObjectName, Scanned, open_object, scan};
use crate::config::Layout;
use crate::error::{Error, Result};
use crate::layout::direct::{is_refusal, reads_directly};
use crate::sys::at::Walk;
use crate::sys::dir::Dir;

/// The files of a dynamic store that is looked at.
#[derive(Debug)]
pub struct FilesView {
    root: Dir,
    layout: Layout,
    walk: Walk,
    /// Whether O_DIRECT serves here, once a file has told.
    is_direct: OnceLock<bool>,
}

impl FilesView {
    /// Looks at the store in the directory `path`; `None` if there is no such directory.
    ///
    /// # Errors
    /// What the system answers.
    pub fn open(path: &Path, layout: Layout) -> Result<Option<FilesView>> {
        match Dir::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::os(format_args!("nixl_path {}", path.display()), &error)),
            Ok(root) => {
                let walk = Walk::detect(&root);
                Ok(Some(FilesView { root, layout, walk, is_direct: OnceLock::new() }))
            }
        }
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        self.root.path()
    }

    /// Its layout.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The name of the object with the effective key's `digest`, made from `key` where the layout names by key.
    ///
    /// # Errors
    /// [`Status::InvalidArgument`](crate::error::Status::InvalidArgument) for a key that has no file name in the lmcache layout.
    pub fn name_of(&self, digest: u128, key: &[u8]) -> Result<ObjectName> {
        match self.layout {
            Layout::Sharded => Ok(ObjectName::sharded(digest)),
            Layout::Lmcache => ObjectName::lmcache(key),
        }
    }

    /// Tells `sink` every object there is, until it has enough, and `missed` every part of the directory that cannot be read. What
    /// changes meanwhile may be told or not.
    ///
    /// # Errors
    /// What reading the directory as a whole answers.
    pub fn scan(
        &self,
        sink: &mut dyn FnMut(Scanned) -> ControlFlow<()>,
        missed: &mut dyn FnMut(PathBuf, io::Error),
    ) -> Result<()> {
        let mut listener = scan::Listener { sink, missed };
        let scanned = match self.layout {
            Layout::Sharded => scan::sharded(&self.root, &mut listener),
            Layout::Lmcache => scan::flat(&self.root, &mut listener),
        };
        scanned.map_err(|error| {
            Error::os(
                format_args!("nixl_path {}: cannot list its objects", self.root.path().display()),
                &error,
            )
        })
    }

    /// Opens an object to read it, past the page cache where that can be, and tells its file's size; `None` if there is none. What the
    /// first file answers holds for all: they lie in one file system.
    ///
    /// # Errors
    /// `InvalidData` if something else stands in its place. Else what the system answers.
    pub fn open_read(&self, name: &ObjectName) -> io::Result<Option<(File, u64)>> {
        let open = |direct| open_object(&self.root, self.walk, name, direct);
        if self.is_direct.get() == Some(&false) {
            return open(false);
        }
        match open(true) {
            Ok(Some((file, bytes))) => {
                if *self.is_direct.get_or_init(|| reads_directly(&file)) {
                    Ok(Some((file, bytes)))
                } else {
                    open(false)
                }
            }
            Err(error) if is_refusal(&error) => open(false),
            other => other,
        }
    }
}
