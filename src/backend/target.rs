//! What a request reads or writes.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

#[cfg(feature = "obj")]
use super::obj::Object;
use crate::memory::Mapping;
use crate::{cufile, hf3fs};

/// The thing at the far end of a request. Whoever pushes a request keeps a clone of its target until the completion.
///
/// An object of a bucket has no descriptor, so queues ask for the kind that they serve and refuse the other.
#[derive(Clone, Debug)]
pub enum Target {
    /// A regular file.
    File(Arc<OpenFile>),
    /// An object of a bucket.
    #[cfg(feature = "obj")]
    Object(Arc<Object>),
}

/// An open file, with what a backend needs to have at hand for it.
#[derive(Debug)]
pub struct OpenFile {
    /// What a backend knows it by. First, because it has to go before the descriptor does.
    known: KnownFile,
    file: Arc<File>,
    /// Its bytes, where the file lies in memory and stays open between transfers. Queues that copy read from it.
    mapping: Option<Mapping>,
}

/// What a backend knows a file by, if it has to know it.
#[derive(Debug)]
enum KnownFile {
    No,
    CuFile(cufile::Registered),
    Hf3fs(hf3fs::Registered),
}

impl Target {
    /// A file without more.
    pub fn file(file: Arc<File>) -> Target {
        Target::known(KnownFile::No, file)
    }

    /// A file and its mapping.
    pub fn mapped(file: Arc<File>, mapping: Mapping) -> Target {
        Target::File(Arc::new(OpenFile { known: KnownFile::No, file, mapping: Some(mapping) }))
    }

    /// A file that cuFile knows.
    pub fn of_cufile(file: Arc<File>, registered: cufile::Registered) -> Target {
        Target::known(KnownFile::CuFile(registered), file)
    }

    /// A file that 3FS's client knows.
    pub fn of_hf3fs(file: Arc<File>, registered: hf3fs::Registered) -> Target {
        Target::known(KnownFile::Hf3fs(registered), file)
    }

    fn known(known: KnownFile, file: Arc<File>) -> Target {
        Target::File(Arc::new(OpenFile { known, file, mapping: None }))
    }

    /// The file, for a queue that moves the bytes of files.
    ///
    /// # Errors
    /// `EBADF`: it is no file.
    pub fn open_file(&self) -> io::Result<&OpenFile> {
        match self {
            Target::File(file) => Ok(file),
            #[cfg(feature = "obj")]
            Target::Object(_) => Err(io::Error::from_raw_os_error(libc::EBADF)),
        }
    }
}

impl Target {
    /// In a forked child: gives up what a backend has of the file beside the file itself.
    pub fn let_go_in_child(&self) {
        if let Ok(OpenFile { known: KnownFile::Hf3fs(registered), .. }) = self.open_file() {
            registered.let_go_in_child();
        }
    }

    /// Whether its bytes move from and to a device's memory, by a backend that reaches that.
    pub fn takes_devices(&self) -> bool {
        self.open_file().is_ok_and(|file| file.cufile().is_some())
    }
}

impl OpenFile {
    /// The descriptor, valid as long as this lives.
    pub fn descriptor(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// What cuFile knows it by, if it does.
    pub fn cufile(&self) -> Option<&cufile::Registered> {
        match &self.known {
            KnownFile::CuFile(registered) => Some(registered),
            _ => None,
        }
    }

    /// What 3FS's client knows it by, if it does.
    pub fn hf3fs(&self) -> Option<&hf3fs::Registered> {
        match &self.known {
            KnownFile::Hf3fs(registered) => Some(registered),
            _ => None,
        }
    }

    /// The mapping, if the file has one.
    pub fn mapping(&self) -> Option<&Mapping> {
        self.mapping.as_ref()
    }
}
