//! The environment of the tests: nothing of the machine's own AWS configuration gets in, and the library logs all it has.
//!
//! It is set before `main`, when no other thread can read it.

use std::ffi::CStr;

/// Set in a process whose environment a test has made.
const KEPT: &CStr = c"NIXL_STORE_TEST_STARTED_ANEW";

const CLEARED: &[&CStr] = &[
    c"AWS_ACCESS_KEY_ID",
    c"AWS_SECRET_ACCESS_KEY",
    c"AWS_SESSION_TOKEN",
    c"AWS_PROFILE",
    c"AWS_REGION",
    c"AWS_DEFAULT_REGION",
    c"AWS_DEFAULT_BUCKET",
    c"AWS_ENDPOINT_OVERRIDE",
    c"AWS_ENDPOINT_URL",
    c"AWS_ENDPOINT_URL_S3",
    c"AWS_CA_BUNDLE",
    c"AWS_WEB_IDENTITY_TOKEN_FILE",
    c"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    c"AWS_CONTAINER_CREDENTIALS_FULL_URI",
];

const SET: &[(&CStr, &CStr)] = &[
    (c"AWS_CONFIG_FILE", c"/dev/null"),
    (c"AWS_SHARED_CREDENTIALS_FILE", c"/dev/null"),
    (c"AWS_EC2_METADATA_DISABLED", c"true"),
    (c"NIXL_STORE_LOG", c"debug"),
];

extern "C" fn prepare() {
    // SAFETY: constant strings, and no other thread yet.
    unsafe {
        if !libc::getenv(KEPT.as_ptr()).is_null() {
            return;
        }
        for name in CLEARED {
            libc::unsetenv(name.as_ptr());
        }
        for (name, value) in SET {
            libc::setenv(name.as_ptr(), value.as_ptr(), 1);
        }
    }
}

// SAFETY: the section holds functions of this type, which the loader calls before `main`.
#[used]
#[unsafe(link_section = ".init_array")]
static PREPARE: extern "C" fn() = prepare;
