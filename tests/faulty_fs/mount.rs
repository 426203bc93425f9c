//! Mounting without a place: the file system hangs on a descriptor and goes with it.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

const SET_FLAG: libc::c_uint = 0;
const SET_STRING: libc::c_uint = 1;
const CREATE: libc::c_uint = 6;
const CLOSE_ON_EXEC: libc::c_uint = 1;

/// The device that the server reads requests from, and the root of the mount.
pub fn mount() -> Result<(OwnedFd, OwnedFd), String> {
    // SAFETY: a constant path.
    let device = owned("/dev/fuse cannot be opened", unsafe {
        libc::open(c"/dev/fuse".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC | libc::O_NONBLOCK).into()
    })?;
    // SAFETY: a constant name.
    let context =
        owned("fsopen", unsafe { libc::syscall(libc::SYS_fsopen, c"fuse".as_ptr(), CLOSE_ON_EXEC) })?;
    let number = CString::new(device.as_raw_fd().to_string()).unwrap_or_default();
    let settings: [(&CStr, &CStr); 5] = [
        (c"source", c"faulty"),
        (c"fd", &number),
        (c"rootmode", c"40000"),
        (c"user_id", c"0"),
        (c"group_id", c"0"),
    ];
    for (key, value) in settings {
        configure(&context, SET_STRING, Some(key), Some(value))?;
    }
    configure(&context, SET_FLAG, Some(c"allow_other"), None)?;
    configure(&context, CREATE, None, None)?;
    // SAFETY: takes no memory.
    let root =
        owned("fsmount", unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), CLOSE_ON_EXEC, 0) })?;
    Ok((device, root))
}

fn configure(
    context: &OwnedFd,
    command: libc::c_uint,
    key: Option<&CStr>,
    value: Option<&CStr>,
) -> Result<(), String> {
    let pointer = |text: Option<&CStr>| text.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: the strings live during the call.
    let answer = unsafe {
        libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), command, pointer(key), pointer(value), 0)
    };
    let what = key.map_or("FSCONFIG_CMD_CREATE".to_owned(), |key| key.to_string_lossy().into_owned());
    if answer == 0 { Ok(()) } else { Err(format!("fsconfig {what}: {}", std::io::Error::last_os_error())) }
}

fn owned(what: &str, answer: libc::c_long) -> Result<OwnedFd, String> {
    if answer < 0 {
        return Err(format!("{what}: {}", std::io::Error::last_os_error()));
    }
    // SAFETY: the call gave a new descriptor, which is nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(answer as i32) })
}
