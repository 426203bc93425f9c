//! The stand-in for 3FS that others rely on: it has the habits of 3FS's FUSE client, each shown here once.
//!
//! On the side of the files ([`files`], [`lengths`]), of several hosts ([`hosts`]), of clients that make rings ([`iovs`]) and of
//! processes that find its mount, lose it and die with it ([`attached`]).

// Helpers may unwrap as tests do.
#![cfg(test)]

#[path = "../crash_common/mod.rs"]
mod crash_common;
#[path = "../faulty_fs/mod.rs"]
mod faulty_fs;

mod attached;
mod files;
mod hosts;
mod iovs;
mod lengths;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use faulty_fs::{FaultyFs, Hf3fs, Options, Personality};

/// Not a test: what helper processes run.
#[test]
#[ignore = "the body of helper processes"]
fn helper_process() {
    if faulty_fs::serve_if_asked() {
        return;
    }
    crash_common::helper::play(&attached::ROLES);
}

/// A stand-in of one host, of which the kernel believes nothing without asking.
fn start(name: &str) -> Option<FaultyFs> {
    start_with(name, 0, Hf3fs::default())
}

fn start_with(name: &str, cache_ms: u64, kind: Hf3fs) -> Option<FaultyFs> {
    let options = Options { cache_ms, personality: Personality::Hf3fs(kind), ..Options::default() };
    FaultyFs::start(name, options)
}

/// One with another host.
fn start_with_two_hosts(name: &str, cache_ms: u64) -> Option<FaultyFs> {
    start_with(
        name,
        cache_ms,
        Hf3fs { absent_ms: cache_ms, other_host: Some("elsewhere"), ..Hf3fs::default() },
    )
}

fn open(path: &Path, flags: i32) -> File {
    OpenOptions::new().read(true).write(true).create(true).custom_flags(flags).open(path).unwrap()
}

/// 0 where it went well.
fn errno<T>(result: io::Result<T>) -> i32 {
    result.err().and_then(|error| error.raw_os_error()).unwrap_or(0)
}

/// The errno of a system call that answers -1.
fn errno_of(answer: impl Into<i64>) -> i32 {
    if answer.into() < 0 { io::Error::last_os_error().raw_os_error().unwrap() } else { 0 }
}

fn path_text(path: &Path) -> std::ffi::CString {
    std::ffi::CString::new(path.to_str().unwrap()).unwrap()
}

/// An ioctl that answers a number.
fn ioctl(file: &File, command: u64) -> Result<u32, i32> {
    let mut number = 0_u32;
    // SAFETY: the commands asked here answer a number of this size.
    match errno_of(unsafe { libc::ioctl(file.as_raw_fd(), command, &raw mut number) }) {
        0 => Ok(number),
        errno => Err(errno),
    }
}

fn set_attribute(path: &Path, name: &str, value: &str) -> i32 {
    let (path, name) = (path_text(path), std::ffi::CString::new(name).unwrap());
    // SAFETY: NUL-terminated strings, and a value with its size.
    errno_of(unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) })
}

fn attribute(path: &Path, name: &str) -> Result<String, i32> {
    let (path, name) = (path_text(path), std::ffi::CString::new(name).unwrap());
    let mut room = [0_u8; 512];
    // SAFETY: NUL-terminated strings, and room with its size.
    let got = unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), room.as_mut_ptr().cast(), room.len()) };
    match errno_of(got as i64) {
        0 => Ok(String::from_utf8_lossy(&room[..got as usize]).into_owned()),
        errno => Err(errno),
    }
}
