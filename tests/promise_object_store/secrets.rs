//! No credential is ever seen: every line of the log (at its most talkative) and every message of the whole suite, of
//! this process and of its helpers, is searched as it comes.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::crash_common::helper::{Peer, Role};
use crate::crash_common::{self, LISTENER};
use crate::place::{Place, put, with_param};
use crate::s3_common::{SECRETS, SESSION_TOKEN, Server, assert_no_secret};

/// Lines and messages that were searched.
static HEARD: AtomicU64 = AtomicU64::new(0);

/// Searches everything from now on.
pub fn listen() {
    LISTENER.get_or_init(|| {
        |text| {
            HEARD.fetch_add(1, Ordering::Relaxed);
            assert_no_secret(text, &"the library");
        }
    });
}

/// The search hears what the library says, at every level and of every failure; what the standard error gets when an
/// engine takes no log of its own is searched as well.
#[test]
fn no_credential_is_logged_or_told() {
    let place = Place::new("secrets");
    let endpoint = Server::of_this_process().endpoint();
    let before = HEARD.load(Ordering::Relaxed);
    let store = place.open(&place.dynamic(&endpoint));
    put(&store, "key", 1, 1000);
    let levels: Vec<u32> = store.log.lines().into_iter().map(|(level, _)| level).collect();
    assert!(levels.contains(&nixl_store::capi::NIXL_STORE_LOG_INFO), "{levels:?}");
    place.end(store);
    assert!(HEARD.load(Ordering::Relaxed) > before);

    // Wrong ones are secrets too, and a token that no server knows; each is refused somewhere.
    let settings = place.dynamic(&endpoint);
    let attempts = [
        with_param(settings.clone(), "session_token", SESSION_TOKEN),
        with_param(settings.clone(), "secret_key", SECRETS[3]),
        with_param(settings.clone(), "access_key", SECRETS[2]),
        with_param(settings.clone(), "bucket", "no-such-bucket"),
        with_param(settings.clone(), "no_such_parameter", SECRETS[1]),
        with_param(settings.clone(), "endpoint_override", format!("http://{}@127.0.0.1:1", SECRETS[1])),
        with_param(settings.clone(), "region", "\"\""),
    ];
    for attempt in attempts {
        if let Ok(store) = place.try_open(&attempt) {
            store.close().unwrap();
        }
    }
    let heard = crash_common::api::message();
    assert_no_secret(&heard, &"the last message");
}

/// What a process prints that has no log function.
pub const ROLE: Role = ("stderr", |peer: &mut Peer| {
    let config = peer.line().unwrap();
    let path = std::ffi::CString::new(config).unwrap();
    let mut handle = std::ptr::null_mut();
    // SAFETY: a path, no options, a place for the handle; a handle that is closed once.
    let status = unsafe {
        let status = nixl_store::capi::nixl_store_open(path.as_ptr(), std::ptr::null(), &raw mut handle);
        if status == nixl_store::capi::NIXL_STORE_OK {
            let _ = nixl_store::capi::nixl_store_close(handle);
        }
        status
    };
    peer.say(&status.to_string());
});

/// The same of the library's own log on standard error.
#[test]
fn no_credential_is_printed() {
    let place = Place::new("printed");
    let good = place.dynamic(&Server::of_this_process().endpoint());
    for (settings, works) in [(good.clone(), true), (with_param(good, "secret_key", SECRETS[3]), false)] {
        let config = place.write(&settings);
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "helper_process", "--nocapture", "--test-threads=1"])
            .env("NIXL_STORE_TEST_ROLE", "stderr")
            .stdin({
                let file = place.file("line", &format!("{}\n", config.display()));
                std::fs::File::open(file).unwrap()
            })
            .output()
            .unwrap();
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(String::from_utf8_lossy(&output.stdout).contains("@ 0"), works, "{printed}");
        assert!(!printed.is_empty(), "the log was to be on standard error");
        assert_no_secret(&printed, &"standard error");
    }
}
