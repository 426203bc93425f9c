//! Unix sockets whose other side may be stopped.

use std::io;
use std::mem::offset_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::check;

/// Connects to the socket at this path, or says at once that nobody takes the connection. The stream does not block.
///
/// # Errors
/// What `connect(2)` answers: EAGAIN where as many wait already as the other side lets wait, where std's connect waits without an
/// end; `InvalidInput` for a path that no socket can have.
pub fn connect_at_once(path: &Path) -> io::Result<UnixStream> {
    // SAFETY: plain old data, for which all zeros is valid.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let bytes = path.as_os_str().as_bytes();
    // The path ends with a NUL, and does not begin with one: that would be a name of another kind.
    if bytes.is_empty() || bytes.len() >= address.sun_path.len() || bytes.contains(&0) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no socket can have this path"));
    }
    for (to, from) in address.sun_path.iter_mut().zip(bytes) {
        *to = *from as libc::c_char;
    }
    let length = offset_of!(libc::sockaddr_un, sun_path) + bytes.len() + 1;
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: socket takes no pointers.
    let descriptor = check(unsafe { libc::socket(libc::AF_UNIX, kind, 0) })?;
    // SAFETY: socket returned a descriptor that nobody else owns.
    let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
    // SAFETY: the address lives during the call, and its first `length` bytes are set.
    check(unsafe {
        libc::connect(socket.as_raw_fd(), (&raw const address).cast(), length as libc::socklen_t)
    })?;
    Ok(UnixStream::from(socket))
}

/// Has so few connections wait for a listener. As many as the system lets wait would be more descriptors than a test may have.
///
/// # Errors
/// What `listen(2)` answers.
#[cfg(test)]
pub fn let_wait(listener: &std::os::unix::net::UnixListener, count: i32) -> io::Result<()> {
    // SAFETY: listen takes no pointers.
    check(unsafe { libc::listen(listener.as_raw_fd(), count) }).map(drop)
}
