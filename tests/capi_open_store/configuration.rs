//! Where a configuration comes from: a file, a text, or neither.

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr;
use std::sync::Mutex;

use nixl_store::capi::*;

use crate::fixture::*;

const YAML: &str = "chunk_size: 256\nnixl_buffer_size: 4194304\nextra_config:\n  enable_nixl_storage: true\n  \
                    nixl_backend: MEMORY\n  nixl_pool_size: 16\n  nixl_store_chunk_bytes: 65536\n";

/// Opens from a text, and closes what it opened.
fn open_text(path: Option<&str>, text: &[u8]) -> nixl_store_status_t {
    let path = path.map(|path| CString::new(path).unwrap());
    let text = CString::new(text).unwrap();
    let options = nixl_store_open_options_t { config_text: text.as_ptr(), ..open_options() };
    let mut store = ptr::null_mut();
    let path = path.as_ref().map_or(ptr::null(), |path| path.as_ptr());
    // SAFETY: strings, options of the stated size, a place for the handle.
    let status = unsafe { nixl_store_open(path, &raw const options, &raw mut store) };
    if status == NIXL_STORE_OK {
        // SAFETY: it was opened just now.
        assert_eq!(unsafe { nixl_store_close(store) }, NIXL_STORE_OK);
    }
    status
}

/// An engine that has its configuration in memory need not write a file for it.
#[test]
fn a_configuration_may_come_as_text() {
    assert_eq!(open_text(None, YAML.as_bytes()), NIXL_STORE_OK, "{}", message());
}

/// The example that a user copies opens as it is, but for a directory and slots of the test's size; and whoever reads
/// the log finds each setting in it, with where it came from.
#[test]
fn the_example_opens_and_the_log_lists_its_settings() {
    let directory = std::env::temp_dir().join(format!("nixl_store_example_{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let example = include_str!("../../examples-c/lmcache.yaml");
    assert!(example.contains("nixl_path: /mnt/nixl/cache/ ") && example.contains(": 33554432 "));
    let yaml = example.replace("/mnt/nixl/cache/", directory.to_str().unwrap()).replace("33554432", "65536");
    let (status, log) = open_logged(&yaml, 0);
    assert_eq!(status, NIXL_STORE_OK, "{}", message());
    let path = format!("nixl_path=\"{}\" (line 8)", directory.display());
    for setting in [
        "settings from config text: chunk_size=256 (line 2), nixl_buffer_size=134217728 (default), ",
        "cache_policy=LRU (default)",
        "nixl_pool_size=64 (line 7)",
        &path,
        "nixl_store_chunk_bytes=65536 (line 10)",
        "nixl_store_timeout_ms=30000 (default)",
        "worker 0 of 1 (open options)",
    ] {
        assert!(log.contains(setting), "{setting} is not in {log}");
    }
    std::fs::remove_dir_all(&directory).unwrap();
    let (status, log) = open_logged(YAML, 4096);
    assert_eq!(status, NIXL_STORE_OK, "{}", message());
    assert!(log.contains("nixl_store_chunk_bytes=4096 (open options)"), "{log}");
    assert!(!log.contains("nixl_store_io_threads=none"), "{log}");
}

/// A setting that nobody knows and that was let pass is said once, as a warning.
#[test]
fn an_unknown_setting_that_passes_is_warned_of() {
    let yaml = format!("{YAML}  nixl_store_allow_unknown: true\n  nixl_of_tomorrow: 1\nnixl_also_new: 2\n");
    let (status, log) = open_logged(&yaml, 0);
    assert_eq!(status, NIXL_STORE_OK, "{}", message());
    let warnings: Vec<&str> = log.lines().filter(|line| line.contains("nixl_of_tomorrow")).collect();
    assert!(
        matches!(warnings.as_slice(), [one] if one.starts_with("2 ") && one.contains("nixl_also_new")),
        "{log}"
    );
}

/// Opens from a text with chunks of so many bytes, closes, and gives what was logged, one line each behind its level.
fn open_logged(yaml: &str, chunk_bytes: u64) -> (nixl_store_status_t, String) {
    let log = Mutex::new(String::new());
    let text = CString::new(yaml).unwrap();
    let options = nixl_store_open_options_t {
        chunk_bytes,
        config_text: text.as_ptr(),
        log_function: Some(take_line),
        log_context: ptr::from_ref(&log).cast_mut().cast(),
        ..open_options()
    };
    let mut store = ptr::null_mut();
    // SAFETY: a text, options of the stated size, a place for the handle; the log outlives the store.
    let status = unsafe { nixl_store_open(ptr::null(), &raw const options, &raw mut store) };
    if status == NIXL_STORE_OK {
        // SAFETY: it was opened just now.
        assert_eq!(unsafe { nixl_store_close(store) }, NIXL_STORE_OK);
    }
    (status, log.into_inner().unwrap())
}

unsafe extern "C" fn take_line(context: *mut c_void, level: u32, message: *const c_char) {
    // SAFETY: the context is the log of a store that is open, the message a string during the call.
    let (log, message) = unsafe { (&*context.cast::<Mutex<String>>(), CStr::from_ptr(message)) };
    log.lock().unwrap().push_str(&format!("{level} {}\n", message.to_string_lossy()));
}

/// Errors in a text say which line of it is wrong, as they do for a file.
#[test]
fn errors_in_a_text_name_it_and_the_line() {
    for (yaml, told) in [
        (YAML.replace("MEMORY", "MEMRY"), "config text:5: extra_config.nixl_backend is \"MEMRY\""),
        (YAML.replace("16", "many"), "config text:6: extra_config.nixl_pool_size is \"many\""),
        (format!("{YAML}a: b: c\n"), "config text:8: not valid YAML"),
        (format!("{YAML}a: \u{1}\n"), "config text:8: a control character"),
        (String::from("[1]"), "config text:1: it holds a single value or a list"),
    ] {
        assert_eq!(open_text(None, yaml.as_bytes()), NIXL_STORE_ERROR_CONFIG);
        assert!(message().contains(told), "{told:?} is not in {:?}", message());
    }
    assert_eq!(open_text(None, b"a: \xff"), NIXL_STORE_ERROR_CONFIG);
    assert!(message().contains("config text:1: a byte here is not UTF-8"), "{}", message());
}

/// Two configurations, or an empty one, are a mistake of the caller's and not a choice for the library.
#[test]
fn a_text_beside_a_path_and_an_empty_text_are_refused() {
    for (path, text) in [(Some("lmcache.yaml"), YAML), (None, "")] {
        assert_eq!(open_text(path, text.as_bytes()), NIXL_STORE_ERROR_INVALID_ARGUMENT);
        assert!(message().contains("config_text"), "{}", message());
    }
}

/// The longest text is as long as the longest file; a longer one is not read to its end.
#[test]
fn a_text_is_bounded() {
    let mut text = YAML.as_bytes().to_vec();
    text.resize(NIXL_STORE_CONFIG_BYTES_MAX, b'#');
    assert_eq!(open_text(None, &text), NIXL_STORE_OK, "{}", message());
    text.push(b'#');
    assert_eq!(open_text(None, &text), NIXL_STORE_ERROR_INVALID_ARGUMENT);
    assert!(message().contains("config_text is longer than 1048576 bytes"), "{}", message());
}
