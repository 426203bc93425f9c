//! What a request reads or writes.

use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use crate::memory::Mapping;

/// The thing at the far end of a request. Whoever pushes a request keeps a clone of its target until the completion.
///
/// Today it is a file always. An object of a bucket is the other kind that is foreseen; it has no descriptor, so queues
/// ask for the kind that they can serve and refuse the other.
#[derive(Clone, Debug)]
pub enum Target {
    /// A regular file.
    File(Arc<OpenFile>),
}

/// An open file, with what a backend needs to have at hand for it.
#[derive(Debug)]
pub struct OpenFile {
    file: Arc<File>,
    /// Its bytes, where the file lies in memory and stays open between transfers. Queues that copy read from it.
    mapping: Option<Mapping>,
}

impl Target {
    /// A file without more.
    pub fn file(file: Arc<File>) -> Target {
        Target::File(Arc::new(OpenFile { file, mapping: None }))
    }

    /// A file and its mapping.
    pub fn mapped(file: Arc<File>, mapping: Mapping) -> Target {
        Target::File(Arc::new(OpenFile { file, mapping: Some(mapping) }))
    }
}

impl OpenFile {
    /// The descriptor, valid as long as this lives.
    pub fn descriptor(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// The mapping, if the file has one.
    pub fn mapping(&self) -> Option<&Mapping> {
        self.mapping.as_ref()
    }
}
