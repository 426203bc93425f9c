//! Mounting without a place: the file system hangs on a descriptor and goes with it, unless it is attached to a directory.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::options::Personality;

const SET_FLAG: libc::c_uint = 0;
const SET_STRING: libc::c_uint = 1;
const CREATE: libc::c_uint = 6;
const CLOSE_ON_EXEC: libc::c_uint = 1;

/// The view of the mounts that [`private_mounts`] made, for this process when it was started anew and for its children.
const PRIVATE_MOUNTS: &str = "NIXL_STORE_TEST_PRIVATE_MOUNTS";

/// The device that the server reads requests from, and the root of the mount.
pub fn mount(personality: Personality) -> Result<(OwnedFd, OwnedFd), String> {
    // SAFETY: a constant path.
    let device = owned("/dev/fuse cannot be opened", unsafe {
        libc::open(c"/dev/fuse".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC | libc::O_NONBLOCK).into()
    })?;
    // SAFETY: a constant name.
    let context =
        owned("fsopen", unsafe { libc::syscall(libc::SYS_fsopen, c"fuse".as_ptr(), CLOSE_ON_EXEC) })?;
    let number = CString::new(device.as_raw_fd().to_string()).unwrap_or_default();
    let is_3fs = matches!(personality, Personality::Hf3fs(_));
    let source = if is_3fs { c"hf3fs.standin" } else { c"faulty" };
    let settings: [(&CStr, &CStr); 5] = [
        (c"source", source),
        (c"fd", &number),
        (c"rootmode", c"40000"),
        (c"user_id", c"0"),
        (c"group_id", c"0"),
    ];
    for (key, value) in settings {
        configure(&context, SET_STRING, Some(key), Some(value))?;
    }
    if is_3fs {
        configure(&context, SET_STRING, Some(c"subtype"), Some(c"hf3fs"))?;
        configure(&context, SET_FLAG, Some(c"default_permissions"), None)?;
    }
    configure(&context, SET_FLAG, Some(c"allow_other"), None)?;
    configure(&context, CREATE, None, None)?;
    // SAFETY: takes no memory.
    let root =
        owned("fsmount", unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), CLOSE_ON_EXEC, 0) })?;
    Ok((device, root))
}

/// Gives this process a view of the mounts that is its own: what is mounted then goes with the last process that has it. Has to
/// be called where there is one thread, as in what [`start_anew`](crate::crash_common::helper::start_anew) prepares.
pub fn private_mounts() {
    let none: *const libc::c_char = std::ptr::null();
    let flags = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: constant strings, and pointers that may be null.
    let made = unsafe {
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(none, c"/".as_ptr(), none, flags, std::ptr::null()) == 0
    };
    assert!(made, "no mounts of its own: {}", std::io::Error::last_os_error());
    // SAFETY: nothing else runs here that could ask.
    unsafe { std::env::set_var(PRIVATE_MOUNTS, view("thread-self")) };
}

/// Names the view of the mounts that a process has.
fn view(process: &str) -> PathBuf {
    std::fs::read_link(format!("/proc/{process}/ns/mnt")).unwrap()
}

/// Puts a mount on a directory. Panics where the mounts are those of the machine: one that a killed process leaves would stay.
pub fn attach(root: &OwnedFd, path: &Path) {
    let is_private = std::env::var_os(PRIVATE_MOUNTS).is_some_and(|own| own == view("self"));
    assert!(is_private, "attaching takes private_mounts()");
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    let (from, at, flags) = (root.as_raw_fd(), libc::AT_FDCWD, libc::MOVE_MOUNT_F_EMPTY_PATH);
    // SAFETY: NUL-terminated strings.
    let moved = unsafe { libc::syscall(libc::SYS_move_mount, from, c"".as_ptr(), at, path.as_ptr(), flags) };
    assert_eq!(moved, 0, "{path:?}: {}", std::io::Error::last_os_error());
}

/// Takes a mount off its directory; whoever has files of it open keeps them.
pub fn detach(path: &Path) {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: a NUL-terminated path.
    unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
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
