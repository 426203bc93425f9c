//! The log: records with their fields, lines on standard error, and the variable that sets the level.

use std::ffi::{CStr, CString, c_void};
use std::process::{Command, Output};
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use nixl_store::capi::*;

use crate::fixture::*;

/// In the environment of a child: it opens a store and prints how that ended.
const CHILD: &str = "NIXL_STORE_TEST_OPENS_A_STORE";

/// One record, as the function saw it.
#[derive(Debug)]
struct Seen {
    struct_size: usize,
    time_unix_ns: u64,
    level: u32,
    reserved: u32,
    message: String,
}

unsafe extern "C" fn take_record(context: *mut c_void, record: *const nixl_store_log_record_t) {
    // SAFETY: the context is the list of a test that outlives its store; the record is valid during the call.
    let (seen, record) = unsafe { (&*context.cast::<Mutex<Vec<Seen>>>(), *record) };
    // SAFETY: the message is a string during the call.
    let message = unsafe { CStr::from_ptr(record.message) }.to_str().unwrap().to_owned();
    let nixl_store_log_record_t { struct_size, time_unix_ns, level, reserved, .. } = record;
    seen.lock().unwrap().push(Seen { struct_size, time_unix_ns, level, reserved, message });
}

fn now_ns() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64
}

/// Each message comes with the time at which it was sent and its level, and none after close.
#[test]
fn a_record_has_time_level_and_message_as_fields() {
    let seen: Mutex<Vec<Seen>> = Mutex::default();
    let options = nixl_store_open_options_t {
        log_record_function: Some(take_record),
        log_context: ptr::from_ref(&seen).cast_mut().cast(),
        ..open_options()
    };
    let before = now_ns();
    let fixture = Fixture::with_options(&raw const options);
    assert_eq!(fixture.close(), NIXL_STORE_OK);
    let after = now_ns();
    let records = std::mem::take(&mut *seen.lock().unwrap());
    assert!(records.iter().any(|record| record.level == NIXL_STORE_LOG_INFO), "{records:?}");
    for record in &records {
        assert_eq!((record.struct_size, record.reserved), (size_of::<nixl_store_log_record_t>(), 0));
        assert!((before..=after).contains(&record.time_unix_ns), "{before} {after} {record:?}");
        assert!((NIXL_STORE_LOG_ERROR..=NIXL_STORE_LOG_DEBUG).contains(&record.level), "{record:?}");
        assert!(!record.message.is_empty() && !record.message.contains('\n'), "{record:?}");
    }
    drop(fixture);
    assert!(seen.lock().unwrap().is_empty());
}

/// What the log function of the next test shares with it.
#[derive(Default)]
struct Meeting {
    /// A message came in another thread's clear.
    has_begun: AtomicBool,
    /// The store says that it is being closed.
    is_closing: AtomicBool,
    has_ended: AtomicBool,
}

/// Yields long enough for a close that does not wait to return.
const YIELDS: u32 = 20_000;

unsafe extern "C" fn take_time(context: *mut c_void, record: *const nixl_store_log_record_t) {
    // SAFETY: the context is the meeting of a test that outlives its store; the record is valid during the call.
    let (meeting, record) = unsafe { (&*context.cast::<Meeting>(), *record) };
    // SAFETY: the message is a string during the call.
    if !unsafe { CStr::from_ptr(record.message) }.to_str().unwrap().contains("left out of the scan") {
        return;
    }
    meeting.has_begun.store(true, Ordering::SeqCst);
    until(&meeting.is_closing);
    (0..YIELDS).for_each(|_| std::thread::yield_now());
    meeting.has_ended.store(true, Ordering::SeqCst);
}

fn until(is_so: &AtomicBool) {
    while !is_so.load(Ordering::SeqCst) {
        std::thread::yield_now();
    }
}

/// A clear that is under way in another thread is over when close returns, and with it the last call of the log function.
#[test]
fn close_waits_for_calls_that_other_threads_are_in() {
    let directory = std::env::temp_dir().join(format!("nixl_store_close_waits_{}", std::process::id()));
    let yaml = format!(
        "extra_config:\n  enable_nixl_storage: true\n  nixl_backend: POSIX\n  nixl_pool_size: 0\n  nixl_path: {}\n",
        directory.display()
    );
    let text = CString::new(yaml).unwrap();
    let meeting = Meeting::default();
    let options = nixl_store_open_options_t {
        config_text: text.as_ptr(),
        log_record_function: Some(take_time),
        log_context: ptr::from_ref(&meeting).cast_mut().cast(),
        ..open_options()
    };
    let mut store = ptr::null_mut();
    // SAFETY: a text, options of the stated size, a place for the handle.
    let status = unsafe { nixl_store_open(ptr::null(), &raw const options, &raw mut store) };
    assert_eq!(status, NIXL_STORE_OK, "{}", message());
    // Something that no store made, in place of the directory of a shard: a scan says that it leaves it out.
    std::fs::write(directory.join("nixl_store_objects/aa"), "no directory").unwrap();
    let handle = store.addr();
    let store = move || ptr::without_provenance_mut::<nixl_store_t>(handle);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut removed = 0;
            // SAFETY: an open handle, a place for the number.
            assert_eq!(unsafe { nixl_store_clear(store(), &raw mut removed) }, NIXL_STORE_OK);
            assert!(meeting.has_begun.swap(true, Ordering::SeqCst), "nothing was said");
        });
        until(&meeting.has_begun);
        scope.spawn(|| {
            // SAFETY: it was opened above.
            assert_eq!(unsafe { nixl_store_close(store()) }, NIXL_STORE_OK, "{}", message());
            assert!(meeting.has_ended.load(Ordering::SeqCst), "close returned while a call was under way");
        });
        // SAFETY: plain numbers, for which zero is valid.
        let mut stats: nixl_store_stats_t = unsafe { std::mem::zeroed() };
        stats.struct_size = size_of::<nixl_store_stats_t>();
        // SAFETY: a handle that may be stale by now; a struct of the stated size.
        while unsafe { nixl_store_stats_read(store(), &raw mut stats) } == NIXL_STORE_OK {
            std::thread::yield_now();
        }
        meeting.is_closing.store(true, Ordering::SeqCst);
    });
    std::fs::remove_dir_all(directory).unwrap();
}

/// A program that gives both kinds of function is told so, and gets no store.
#[test]
fn two_log_functions_are_refused() {
    unsafe extern "C" fn text(_: *mut c_void, _: u32, _: *const std::ffi::c_char) {}
    let seen: Mutex<Vec<Seen>> = Mutex::default();
    let options = nixl_store_open_options_t {
        log_function: Some(text),
        log_record_function: Some(take_record),
        log_context: ptr::from_ref(&seen).cast_mut().cast(),
        ..open_options()
    };
    let mut store = ptr::null_mut();
    // SAFETY: a path, options of the stated size, a place for the handle.
    let status = unsafe { nixl_store_open(c"/nowhere.yaml".as_ptr(), &raw const options, &raw mut store) };
    assert_eq!(status, NIXL_STORE_ERROR_INVALID_ARGUMENT);
    assert!(
        message().contains("log_function and options->log_record_function are both given"),
        "{}",
        message()
    );
    assert!(store.is_null() && seen.lock().unwrap().is_empty());
}

/// Opens and closes a store whose log goes to standard error, and prints the status and the message of the open. Only in a child.
#[test]
fn child_that_opens_a_store() {
    let Ok(yaml) = std::env::var(CHILD) else { return };
    let text = CString::new(yaml).unwrap();
    let options = nixl_store_open_options_t { config_text: text.as_ptr(), ..open_options() };
    let mut store = ptr::null_mut();
    // SAFETY: a text, options of the stated size, a place for the handle.
    let status = unsafe { nixl_store_open(ptr::null(), &raw const options, &raw mut store) };
    println!("status {status}: {}", message());
    if status == NIXL_STORE_OK {
        // SAFETY: it was opened just now.
        assert_eq!(unsafe { nixl_store_close(store) }, NIXL_STORE_OK);
    }
}

/// What a process says that opens a store in memory with this value of the variable.
fn opened_with(level: &str) -> (String, String) {
    let yaml = "extra_config:\n  enable_nixl_storage: true\n  nixl_backend: MEMORY\n  nixl_pool_size: 4\n  \
                nixl_store_chunk_bytes: 65536\n  nixl_store_allow_unknown: true\n  nixl_of_tomorrow: 1\n";
    let Output { status, stdout, stderr } = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "log::child_that_opens_a_store", "--nocapture"])
        .env(CHILD, yaml)
        .env("NIXL_STORE_LOG", level)
        .output()
        .unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// Lines on standard error begin with the time in UTC and the level.
#[test]
fn lines_on_standard_error_have_time_and_level() {
    let (told, log) = opened_with("info");
    assert!(told.contains("status 0: "), "{told}");
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("nixl_store ")).collect();
    assert!(lines.iter().any(|line| line.contains(" nixl_store WARN: ")), "{log}");
    assert!(lines.iter().any(|line| line.contains(" nixl_store INFO: settings from ")), "{log}");
    for line in lines {
        let (time, _) = line.split_at(27);
        let form: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(form, "0000-00-00T00:00:00.000000Z", "{line}");
    }
    let (_, quiet) = opened_with("off");
    assert!(!quiet.contains("nixl_store "), "{quiet}");
    let (_, usual) = opened_with("");
    assert!(usual.contains(" WARN: ") && !usual.contains(" INFO: "), "{usual}");
}

/// A level that nobody knows is refused, so that nobody waits for messages that do not come.
#[test]
fn a_level_that_is_none_is_refused() {
    for level in ["verbose", "trace", "3", "nixl_store=debug"] {
        let (told, _) = opened_with(level);
        let expected = format!(
            "status {NIXL_STORE_ERROR_CONFIG}: nixl_store_open: $NIXL_STORE_LOG is {level:?}; allowed: off, error, warn, \
             info, debug"
        );
        assert!(told.contains(&expected), "{told}");
    }
}
