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

/// What a store that [needs O_DIRECT](Habits::needs_direct_io) says where that cannot be had, and `why` it cannot.
pub fn lacks_direct_io(why: &str) -> String {
    format!(
        "files cannot be opened with O_DIRECT here ({why}), and this backend serves no others: what goes through the page \
         cache is written later, over what the backend wrote. Set nixl_path to a directory of the file system that the \
         backend is for, or nixl_backend to POSIX"
    )
}
