//! What the files of one backend's file system do otherwise than those of a local one.

use std::ffi::CStr;

/// Said by a backend, kept by whoever lays things out on its files. The default is a local file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Habits {
    /// What goes through the page cache and what transfers move get in each other's way, so that data files are opened with
    /// O_DIRECT, whatever the configuration says, and a store is refused where that cannot be.
    pub needs_direct_io: bool,
    /// A write may land after the process that asked for it has died, and after the next owner of its file came.
    pub writes_outlive: bool,
    /// Others learn the length of a file when it is synced or closed.
    pub length_needs_sync: bool,
    /// Space cannot be reserved, and bytes that were never written are not there: a read of them is short.
    pub is_sparse: bool,
    /// Locks of files bind the processes of one host. A directory is locked for all hosts by an extended attribute of this name.
    pub directory_lock: Option<&'static CStr>,
}
