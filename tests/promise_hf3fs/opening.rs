//! What is missing is told at open, by name, with what to do; and what is there is told by the capabilities.

use std::ffi::{CStr, CString, c_char};
use std::path::Path;
use std::process::Command;

use crate::common::hf3fs::{self, Call, IOVS};
use crate::common::status::{OK, Status};
use crate::common::{Scratch, Setup, Store};
use crate::{Alone, BOTH};

const UNSUPPORTED: Status = Status(nixl_store::capi::NIXL_STORE_ERROR_UNSUPPORTED);

/// What the child process does.
const ROLE: &str = "NIXL_STORE_TEST_HF3FS_CHILD";
/// Seconds after which it is ended, whatever it does.
const CHILD_SECONDS_MAX: u32 = 100;

/// Opens a store of each kind, which is refused with all of these words, and without having made anything.
#[track_caller]
fn is_refused(words: &[&str], prepare: impl Fn(&Scratch)) {
    for setup in &BOTH {
        let scratch = Scratch::new("hf3fs-refused");
        prepare(&scratch);
        let Err((status, why)) = Store::try_open(setup, &scratch) else { panic!("it opens: {setup:?}") };
        assert_eq!(status, UNSUPPORTED, "{why}");
        for word in words {
            assert!(why.contains(word), "'{word}' is not in: {why}");
        }
        assert!(!scratch.data().exists(), "something was made");
    }
}

/// A process of its own, for what a process can do once.
#[track_caller]
fn in_a_child(role: &str, environment: &[(&str, &Path)]) {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--ignored", "--exact", "opening::child", "--nocapture"]).env(ROLE, role);
    child.envs(environment.iter().copied());
    let ended = child.output().unwrap();
    assert!(ended.status.success(), "{role}: {}", String::from_utf8_lossy(&ended.stdout));
}

/// Not a test: what the child does.
#[test]
#[ignore = "the body of a child process"]
fn child() {
    let Ok(role) = std::env::var(ROLE) else { return };
    // SAFETY: takes no pointers.
    unsafe { libc::alarm(CHILD_SECONDS_MAX) };
    let scratch = Scratch::new("hf3fs-child");
    hf3fs::make_mount(scratch.path());
    let refused = |library: Option<&str>| {
        let yaml = Setup::HF3FS.yaml(&scratch.data());
        let line = yaml.lines().find(|line| line.contains("nixl_store_hf3fs_library")).unwrap();
        let with = library.map_or(String::new(), |path| format!("  nixl_store_hf3fs_library: {path}"));
        crate::opening::open_text(&yaml.replace(line, &with)).expect_err("it opens")
    };
    match role.as_str() {
        "no library" => {
            let (status, why) = refused(None);
            assert_eq!(status, UNSUPPORTED);
            assert!(why.contains("libhf3fs_api_shared.so") && why.contains("POSIX"), "{why}");
            let (_, why) = refused(Some("/nowhere/libhf3fs_api_shared.so"));
            assert!(why.contains("/nowhere/libhf3fs_api_shared.so"), "{why}");
        }
        "another library" => {
            let (status, why) = refused(Some("/lib/x86_64-linux-gnu/libm.so.6"));
            assert_eq!(status, UNSUPPORTED);
            assert!(why.contains("it has no hf3fs_is_hf3fs"), "{why}");
        }
        "found by the loader" => {
            let yaml = Setup::HF3FS.yaml(&scratch.data());
            let line = yaml.lines().find(|line| line.contains("nixl_store_hf3fs_library")).unwrap();
            assert_eq!(crate::opening::open_text(&yaml.replace(line, "")), Ok(()));
        }
        "not loaded" => {
            let is_loaded = || std::fs::read_to_string("/proc/self/maps").unwrap().contains("libhf3fs");
            for setup in [Setup::POOL, Setup::FILES] {
                let scratch = Scratch::new("hf3fs-others");
                let store = Store::open(&setup, &scratch);
                assert_eq!(store.put(b"key", &[1; 9000]), OK);
                assert_eq!(store.close(), OK);
                assert!(!is_loaded());
            }
        }
        "small memory" => {
            let yaml = Setup::HF3FS.yaml(&scratch.data());
            own_mounts();
            // The staging buffer has 8 MiB, and each of two lanes 4 for trailers.
            for mebibytes in [4, 10] {
                memory_of(mebibytes);
                let (status, why) = open_text(&yaml).expect_err("it opens");
                assert_eq!(status, UNSUPPORTED, "{why}");
                for word in ["/dev/shm has no room for", "No space left", "--shm-size", "nixl_buffer_size"] {
                    assert!(why.contains(word), "'{word}' is not in: {why}");
                }
            }
            memory_of(20);
            assert_eq!(open_text(&yaml), Ok(()));
        }
        other => panic!("{other} is no role"),
    }
}

/// Gives this thread, and those that it starts from now on, a view of the mounts that is their own and goes with them.
fn own_mounts() {
    let (none, flags) = (std::ptr::null(), libc::MS_REC | libc::MS_PRIVATE);
    // SAFETY: a constant path, and pointers that may be null.
    let made = unsafe {
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(none, c"/".as_ptr(), none, flags, std::ptr::null()) == 0
    };
    assert!(made, "no mounts of its own: {}", std::io::Error::last_os_error());
}

/// Mounts a `/dev/shm` with so much room, which no other thread sees.
fn memory_of(mebibytes: u32) {
    let size = CString::new(format!("size={mebibytes}m")).unwrap();
    let (tmpfs, shm) = (c"tmpfs".as_ptr(), c"/dev/shm".as_ptr());
    // SAFETY: strings that end with a NUL.
    let mounted = unsafe { libc::mount(tmpfs, shm, tmpfs, 0, size.as_ptr().cast()) };
    assert_eq!(mounted, 0, "{}", std::io::Error::last_os_error());
}

/// Opens and closes a store of this configuration, without the stand-in being loaded by the test.
fn open_text(yaml: &str) -> Result<(), (Status, String)> {
    use nixl_store::capi::*;
    let text = CString::new(yaml).unwrap();
    // SAFETY: all zeros is valid for the options.
    let mut options: nixl_store_open_options_t = unsafe { std::mem::zeroed() };
    options.struct_size = size_of::<nixl_store_open_options_t>();
    options.config_text = text.as_ptr();
    let mut handle = std::ptr::null_mut();
    // SAFETY: no path, options of the stated size, a place for the handle.
    let status = Status(unsafe { nixl_store_open(std::ptr::null(), &raw const options, &raw mut handle) });
    if status != OK {
        return Err((status, crate::common::status::message()));
    }
    // SAFETY: it was opened just now.
    assert_eq!(Status(unsafe { nixl_store_close(handle) }), OK);
    Ok(())
}

/// Without the library nothing is served, and another library is not taken for it. Nobody else loads it.
#[test]
fn the_library_is_loaded_where_it_is_needed_and_has_all() {
    let _standin = Alone::new();
    in_a_child("no library", &[("LD_LIBRARY_PATH", Path::new("/nowhere"))]);
    in_a_child("another library", &[]);
    in_a_child("not loaded", &[]);
    let (folder, mounts) = (hf3fs::folder(), Path::new(env!("CARGO_TARGET_TMPDIR")));
    in_a_child("found by the loader", &[("LD_LIBRARY_PATH", &folder), ("STANDIN_HF3FS_MOUNT", mounts)]);
}

/// Shared memory has all its room from open on: where `/dev/shm` has too little the open says so, and no later access is a SIGBUS.
#[test]
fn memory_that_is_not_to_be_had_is_told_at_open() {
    // SAFETY: takes nothing.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!(
            "SKIPPED memory_that_is_not_to_be_had_is_told_at_open: it takes root to mount a small /dev/shm"
        );
        return;
    }
    let _standin = Alone::new();
    let mounts = Path::new(env!("CARGO_TARGET_TMPDIR"));
    in_a_child("small memory", &[("STANDIN_HF3FS_MOUNT", mounts)]);
}

/// A path that is on no mount of 3FS is refused with what it is on; so is one that looks like a mount and does not answer.
#[test]
fn what_is_no_mount_is_refused() {
    let standin = Alone::new();
    for setup in &BOTH {
        let scratch = Scratch::new("hf3fs-no-mount");
        let (status, why) = open_text(&setup.yaml(&scratch.data())).expect_err("it opens");
        assert_eq!(status, UNSUPPORTED);
        for word in ["mount_point", "is not on a mount of 3FS", "file system of type", IOVS, "POSIX"] {
            assert!(why.contains(word), "'{word}' is not in: {why}");
        }
        assert!(!scratch.data().exists());
    }
    standin.mount_none();
    is_refused(&["does not answer as 3FS does", "file system of type"], |_| {});
    standin.mount_all();
}

/// What the daemon refuses is told with what mostly is the cause, and nothing is left of what it took.
#[test]
fn what_the_daemon_refuses_is_told() {
    let standin = Alone::new();
    for (errno, word) in [
        (libc::ENOENT, "--ipc=host"),
        (libc::EINVAL, "--ipc=host"),
        (libc::EIO, "/dev/shm is full"),
        (libc::EMFILE, "as many as it takes"),
        (libc::EACCES, "Permission denied"),
    ] {
        is_refused(&["sharing 8388608 bytes", word], |_| standin.fail(Call::MakeIov, 1, errno));
    }
    // The first is the staging buffer; rings and what is for trailers come with the lanes, when the pool is there.
    for nth in 1..=4 {
        let scratch = Scratch::new("hf3fs-rings");
        standin.fail(Call::MakeRing, nth, libc::EMFILE);
        let Err((status, why)) = Store::try_open(&Setup::HF3FS, &scratch) else { panic!("it opens") };
        assert_eq!(status, UNSUPPORTED, "{why}");
        assert!(why.contains("making a ring of 64 entries"), "{why}");
        assert_eq!(standin.alive(), (0, 0, 0));
        assert_eq!(hf3fs::links(scratch.path()), 0);
        let store = Store::open(&Setup::HF3FS, &scratch);
        assert_eq!(store.close(), OK);
    }
    standin.fail(Call::Register, 1, libc::EBADF);
    let scratch = Scratch::new("hf3fs-files");
    let Err((status, why)) = Store::try_open(&BOTH[1], &scratch) else { panic!("it opens") };
    assert_eq!(status, UNSUPPORTED, "{why}");
    assert!(why.contains("hf3fs_reg_fd"), "{why}");
}

/// The capabilities say what is in effect.
#[test]
fn capabilities_name_the_rings() {
    let _standin = Alone::new();
    for setup in &BOTH {
        let scratch = Scratch::new("hf3fs-capabilities");
        // O_DIRECT is not a matter of choice here.
        let store = Store::open(&Setup { direct_io: false, ..setup.clone() }, &scratch);
        let capabilities = store.capabilities();
        // SAFETY: a string in an array that has its end.
        let text = |text: &[c_char]| unsafe { CStr::from_ptr(text.as_ptr()) }.to_str().unwrap().to_owned();
        assert_eq!(text(&capabilities.backend), "HF3FS");
        assert_eq!(text(&capabilities.io_path), "usrbio");
        assert_eq!(text(&capabilities.reason), "");
        assert_eq!(text(&capabilities.buffer_device), "cpu");
        assert_eq!((capabilities.direct_io, capabilities.registered_buffers), (1, 1));
        assert_eq!(store.close(), OK);
    }
}
