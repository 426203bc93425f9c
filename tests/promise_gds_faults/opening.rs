//! What is missing is told at open, by name, with what to use instead; and what is there is told by the capabilities.

use std::ffi::CStr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::common::status::{OK, Status};
use crate::common::{Scratch, Setup, Store};
use crate::cufile_common;
use crate::standin::{self, Standin};
use crate::{BOTH, BOTH_WITH_FILES};

/// What the child process does.
const ROLE: &str = "NIXL_STORE_TEST_GDS_CHILD";
/// Seconds after which it is ended, whatever it does.
const CHILD_SECONDS_MAX: u32 = 200;

const UNSUPPORTED: Status = Status(nixl_store::capi::NIXL_STORE_ERROR_UNSUPPORTED);

/// Opens a store of each backend, which is refused with all of these words, and without having made anything.
#[track_caller]
fn is_refused(words: &[&str]) {
    for setup in &BOTH {
        let scratch = Scratch::new("gds-refused");
        let Err((status, why)) = Store::try_open(setup, &scratch) else { panic!("{} opens", setup.backend) };
        assert_eq!(status, UNSUPPORTED, "{why}");
        for word in words.iter().chain(&[setup.backend, "POSIX"]) {
            assert!(why.contains(word), "'{word}' is not in: {why}");
        }
        assert!(!scratch.data().exists());
    }
}

/// A process of its own, for what a process can do once. The loader looks for libraries in `libraries` first.
#[track_caller]
fn in_a_child(role: &str, libraries: &Path) {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--ignored", "--exact", "opening::child", "--nocapture"]).env(ROLE, role);
    child.env("LD_LIBRARY_PATH", libraries);
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
    match role.as_str() {
        "no library" => {
            // SAFETY: a string.
            let found = unsafe { libc::dlopen(c"libcufile.so.0".as_ptr(), libc::RTLD_NOW) };
            match found.is_null() {
                true => is_refused(&["libcufile.so.0"]),
                false => eprintln!("SKIPPED: this machine has a libcufile.so.0 of its own"),
            }
        }
        "forks" => {
            let standin = Standin::alone();
            let scratches = [Scratch::new("gds-parent"), Scratch::new("gds-child")];
            let store = Store::open(&Setup::GDS, &scratches[0]);
            // SAFETY: the child opens a store, closes the parent's, and leaves by `_exit`.
            let child = unsafe { libc::fork() };
            if child == 0 {
                let refused = Store::try_open(&Setup::GDS, &scratches[1]).err();
                let is_told =
                    refused.is_some_and(|(status, why)| status == UNSUPPORTED && why.contains("fork"));
                let is_closed = store.close() == OK;
                // SAFETY: takes no pointers.
                unsafe { libc::_exit(i32::from(!is_told) + 2 * i32::from(!is_closed)) };
            }
            let mut status = 0;
            // SAFETY: `status` outlives the call.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            assert_eq!(status, 0, "the child's answer");
            // The child has let go of nothing that is the parent's.
            assert_eq!(standin.count("users"), 1);
            assert_eq!(store.put(b"key", &[1; 9000]), OK);
            assert_eq!(store.fetch(b"key", 9000), Some(vec![1; 9000]));
            assert_eq!(store.close(), OK);
        }
        "finds" => {
            let is_loaded = || std::fs::read_to_string("/proc/self/maps").unwrap().contains("libcufile");
            for (setup, loads) in [(Setup::POOL, false), (Setup::FILES, false), (Setup::GDS_MT, true)] {
                let scratch = Scratch::new("gds-finds");
                let store = Store::open(&setup, &scratch);
                assert_eq!(store.put(b"key", &[1; 9000]), OK);
                assert_eq!(store.fetch(b"key", 9000), Some(vec![1; 9000]));
                assert_eq!(store.close(), OK);
                assert_eq!(is_loaded(), loads, "{}", setup.backend);
            }
        }
        "no symbol" => {
            // The same library without one of its functions.
            let library = standin::build("partial", &["-DcuFileBatchIOSubmit=cuFileBatchIOSubmitOther"]);
            cufile_common::load(&library);
            std::fs::remove_dir_all(library.parent().unwrap()).unwrap();
            is_refused(&["libcufile.so.0", "cuFileBatchIOSubmit"]);
        }
        "hangs" => {
            let standin = Standin::alone();
            standin.set("open_hangs", 1);
            let begun = Instant::now();
            is_refused(&["cuFileDriverOpen", "did not come back"]);
            // Once: the second backend does not wait again.
            let once = Duration::from_secs(if cfg!(feature = "fault-injection") { 15 } else { 90 });
            assert!(begun.elapsed() < once, "{:?}", begun.elapsed());
        }
        other => panic!("{other}"),
    }
}

/// A machine without cuFile, one with another library under that name, one on which the driver does not come back.
#[test]
fn a_library_that_is_missing_incomplete_or_hangs_is_refused_by_name() {
    for role in ["no library", "no symbol", "hangs"] {
        in_a_child(role, Path::new(""));
    }
}

/// The loader finds it where it finds libraries, when a store needs it and not before.
#[test]
fn the_library_is_loaded_when_a_store_needs_it() {
    let library = standin::build("found", &[]);
    let folder = library.parent().unwrap();
    in_a_child("finds", folder);
    std::fs::remove_dir_all(folder).unwrap();
}

/// cuFile cannot be used after a fork. The child is told so, and may close what its parent has open.
#[test]
fn a_forked_child_is_refused_and_harms_nothing() {
    in_a_child("forks", Path::new(""));
}

/// The driver says no.
#[test]
fn a_driver_that_does_not_open_is_refused_with_its_reason() {
    let standin = Standin::alone();
    standin.set("open_code", 5033);
    is_refused(&["cuFileDriverOpen", "5033", "libcuda"]);
    standin.set("open_code", 5001);
    is_refused(&["5001", "nvidia-fs"]);
}

/// A file system that cuFile does not serve: a pool's open is refused, and nothing stays registered.
#[test]
fn a_file_system_that_cufile_does_not_serve_is_refused() {
    let standin = Standin::alone();
    standin.set("register_code", 5008);
    for setup in &BOTH {
        let scratch = Scratch::new("gds-refused");
        let Err((status, why)) = Store::try_open(setup, &scratch) else { panic!("{} opens", setup.backend) };
        assert_eq!(status, UNSUPPORTED);
        for word in ["cuFileHandleRegister", "5008", "POSIX"] {
            assert!(why.contains(word), "'{word}' is not in: {why}");
        }
    }
    for setup in &BOTH_WITH_FILES {
        let scratch = Scratch::new("gds-refused");
        let Err((status, why)) = Store::try_open(setup, &scratch) else { panic!("{} opens", setup.backend) };
        assert_eq!(status, UNSUPPORTED);
        assert!(
            why.contains("cuFileHandleRegister") && why.contains("5008") && why.contains("POSIX"),
            "{why}"
        );
    }
}

/// A file that cuFile will not have, of a store that it has others of: the item says why.
#[test]
fn a_file_that_cannot_be_registered_is_an_error_of_its_item() {
    let standin = Standin::alone();
    for setup in &BOTH_WITH_FILES {
        let scratch = Scratch::new("gds-refused");
        let store = Store::open(setup, &scratch);
        assert_eq!(store.put(b"other", &[1; 9000]), OK);
        standin.set("register_code", 5034);
        assert_ne!(store.put(b"key", b"bytes"), OK);
        assert!(crate::common::status::message().contains("5034"));
        assert_ne!(store.get(b"other", &mut [0; 9000]).0, OK);
        standin.set("register_code", 0);
        assert_eq!(store.fetch(b"other", 9000), Some(vec![1; 9000]));
        assert_eq!(store.fetch(b"key", 9000), None);
        assert_eq!(store.close(), OK);
    }
}

/// Which path is in effect is found out at open, said in the capabilities, and logged once where it is not the direct one.
#[test]
fn the_path_in_effect_is_told() {
    let standin = Standin::alone();
    for (is_direct, paths) in [(0, ["cufile_batch_compat", "cufile_compat"]), (1, ["cufile_batch", "cufile"])]
    {
        standin.set("is_direct", is_direct);
        for (setup, path) in BOTH.iter().zip(paths) {
            let scratch = Scratch::new("gds-path");
            let store = Store::open(setup, &scratch);
            let capabilities = store.capabilities();
            // SAFETY: NUL-terminated arrays.
            let text = |array: &[std::ffi::c_char]| unsafe {
                CStr::from_ptr(array.as_ptr()).to_str().unwrap().to_owned()
            };
            assert_eq!(text(&capabilities.io_path), path);
            assert_eq!(text(&capabilities.reason).contains("nvidia-fs"), is_direct == 0);
            assert_eq!(store.logged("compatibility mode"), usize::from(is_direct == 0));
            assert_eq!(store.put(b"key", &[7; 5000]), OK);
            assert_eq!(store.fetch(b"key", 5000), Some(vec![7; 5000]));
            assert_eq!(store.close(), OK);
        }
    }
}

/// An engine that uses cuFile by itself keeps the driver when a store beside it is closed, and the path is told all the same.
#[test]
fn an_engine_that_uses_cufile_keeps_the_driver() {
    let standin = Standin::alone();
    for is_direct in [0, 1] {
        standin.set("is_direct", is_direct);
        standin.engine(true);
        let scratch = Scratch::new("gds-engine");
        let store = Store::open(&Setup::GDS, &scratch);
        assert_eq!(standin.count("users"), 2);
        assert_eq!(store.logged("nvidia-fs"), usize::from(is_direct == 0));
        assert_eq!(store.logged("compatibility mode"), usize::from(is_direct == 0));
        assert_eq!(store.close(), OK);
        assert_eq!(standin.count("users"), 1);
        standin.engine(false);
    }
}

/// Stores share the driver; the last to close closes it, and the next opens it again.
#[test]
fn stores_share_the_driver_and_the_last_closes_it() {
    let standin = Standin::alone();
    for _ in 0..2 {
        let scratches = [Scratch::new("gds-driver"), Scratch::new("gds-driver")];
        let stores = scratches.each_ref().map(|scratch| Store::open(&Setup::GDS_MT, scratch));
        assert_eq!(standin.count("users"), 1);
        assert!(standin.count("files") > 0);
        for (open, store) in [1, 0].into_iter().zip(&stores) {
            assert_eq!(store.close(), OK);
            assert_eq!(standin.count("users"), open);
        }
        assert_eq!(standin.count("files"), 0);
    }
}
