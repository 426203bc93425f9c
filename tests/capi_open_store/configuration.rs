//! Where a configuration comes from: a file, a text, or neither.

use std::ffi::CString;
use std::ptr;

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
