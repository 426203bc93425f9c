//! From open to close: messages, closing from many threads, forking, stale handles.

use std::ffi::{CStr, c_char, c_void};
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use nixl_store::capi::*;

use crate::fixture::*;

static LOGGED: Mutex<Vec<(usize, u32, String)>> = Mutex::new(Vec::new());

unsafe extern "C" fn log(context: *mut c_void, level: u32, message: *const c_char) {
    // SAFETY: the library gives a NUL-terminated message.
    let message = unsafe { CStr::from_ptr(message) }.to_str().unwrap().to_owned();
    LOGGED.lock().unwrap().push((context.addr(), level, message));
}

/// The engine's log function gets the store's messages with the engine's context, and none after close.
#[test]
fn messages_go_to_the_log_function_until_close() {
    let options = nixl_store_open_options_t {
        world_size: 1,
        cache_namespace: c"someone".as_ptr(),
        log_function: Some(log),
        log_context: ptr::without_provenance_mut(0x1234),
        ..open_options()
    };
    let fixture = Fixture::with_options(&raw const options);
    assert_eq!(fixture.put(b"key", b"value"), NIXL_STORE_OK);
    assert_eq!(fixture.close(), NIXL_STORE_OK);
    let logged = std::mem::take(&mut *LOGGED.lock().unwrap());
    let opened = logged.iter().any(|(_, level, _)| *level == NIXL_STORE_LOG_INFO);
    assert!(opened, "a store says how it runs: {logged:?}");
    for (context, level, message) in &logged {
        assert_eq!(*context, 0x1234);
        assert!((NIXL_STORE_LOG_ERROR..=NIXL_STORE_LOG_DEBUG).contains(level));
        assert!(!message.is_empty());
    }
    drop(fixture);
    assert!(LOGGED.lock().unwrap().is_empty());
}

/// Many threads close one store while others use it: one close works, every other call gets an
/// answer that fits, and the handle is stale for ever after.
#[test]
fn one_of_many_closes_wins() {
    for _ in 0..20 {
        let fixture = Fixture::new();
        let closed = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| match fixture.close() {
                    NIXL_STORE_OK => {
                        closed.fetch_add(1, Ordering::Relaxed);
                    }
                    NIXL_STORE_ERROR_CLOSING | NIXL_STORE_ERROR_INVALID_HANDLE => {}
                    status => panic!("status {status}: {}", message()),
                });
                scope.spawn(|| {
                    for _ in 0..100 {
                        match fixture.put(b"key", b"value") {
                            NIXL_STORE_OK | NIXL_STORE_ERROR_CLOSING | NIXL_STORE_ERROR_INVALID_HANDLE => {}
                            status => panic!("status {status}: {}", message()),
                        }
                    }
                });
            }
        });
        assert_eq!(closed.into_inner(), 1);
        assert_eq!(fixture.put(b"key", b"value"), NIXL_STORE_ERROR_INVALID_HANDLE);
    }
}

/// In a forked child every call says so and none waits for threads that stayed behind; the child can
/// close, once, and the parent's store does not notice.
#[test]
fn a_forked_child_may_only_close() {
    let fixture = Fixture::new();
    assert_eq!(fixture.put(b"key", b"value"), NIXL_STORE_OK);
    let store = fixture.store;
    let mut buffer = [0u8; 8];
    let mut length = 0usize;
    let (chain, mut ticket) = (link(b"key"), 0);
    // SAFETY: the child calls what the header allows and leaves by `_exit`.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        // SAFETY: as above; an alarm ends a child that hangs.
        unsafe {
            libc::alarm(30);
            let key: *const c_void = b"key".as_ptr().cast();
            let get = nixl_store_get(store, key, 3, (&raw mut buffer).cast(), 8, &raw mut length);
            let wrong = [
                get != NIXL_STORE_ERROR_FORKED,
                nixl_store_put(store, key, 3, key, 3) != NIXL_STORE_ERROR_FORKED,
                nixl_store_key_contains(store, key, 3) != NIXL_STORE_ERROR_FORKED,
                nixl_store_flush(store) != NIXL_STORE_ERROR_FORKED,
                nixl_store_batch_lookup(store, &raw const chain, 1, ptr::null(), &raw mut ticket)
                    != NIXL_STORE_ERROR_FORKED,
                *nixl_store_error_message() == 0,
                nixl_store_close(store) != NIXL_STORE_OK,
                nixl_store_close(store) != NIXL_STORE_ERROR_INVALID_HANDLE,
            ];
            let first = wrong.iter().position(|wrong| *wrong);
            libc::_exit(first.map_or(0, |index| index as i32 + 1));
        }
    }
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert!(libc::WIFEXITED(status), "the child was ended by signal {}", libc::WTERMSIG(status));
    assert_eq!(libc::WEXITSTATUS(status), 0, "number of the first call that answered wrong");
    assert_eq!(fixture.get(b"key", &mut buffer), (NIXL_STORE_OK, 5));
}

/// Handles of closed stores are stale for good, however many stores were opened since.
#[test]
fn a_closed_handle_stays_stale() {
    let mut stale = Vec::new();
    for _ in 0..50 {
        let fixture = Fixture::new();
        assert_eq!(fixture.close(), NIXL_STORE_OK);
        stale.push(fixture.store);
    }
    let _open = Fixture::new();
    for store in stale {
        // SAFETY: stale, which the calls have to notice.
        unsafe {
            assert_eq!(nixl_store_close(store), NIXL_STORE_ERROR_INVALID_HANDLE);
            assert_eq!(nixl_store_flush(store), NIXL_STORE_ERROR_INVALID_HANDLE);
        }
    }
}
