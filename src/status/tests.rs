//! Sockets in directories of the tests' own; what is told of a store is in `tests/promise_metrics`.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use super::client::{list_in, read_within};
use super::{Server, Socket, directory, http, read};
use crate::error::Status;
use crate::sys::socket::{connect_at_once, let_wait};

/// A number that no process has.
const NO_PROCESS: u32 = u32::MAX;
/// How long what should not wait may take, on a machine that may be busy.
const TIME_MAX: Duration = Duration::from_secs(20);

/// A directory for sockets, whose names have room for few letters.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("nixl-status-{}-{serial}", std::process::id()));
        directory::prepare(&path).unwrap();
        Scratch(path)
    }

    fn directories(&self) -> &[PathBuf] {
        std::slice::from_ref(&self.0)
    }

    fn start(&self, store: u64) -> Server {
        Server::start_in(self.directories(), store, move || format!("store {store}\n# EOF\n")).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn ask(socket: &Path, request: &[u8]) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(TIME_MAX)).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// A service's own directory goes first, where there is one; a path that is none is passed over.
#[test]
fn the_runtime_directory_goes_first() {
    let of = |runtime: Option<&str>| directory::candidates_of(runtime.map(str::as_ref), 7);
    let temporary = PathBuf::from("/tmp/nixl_store-7");
    assert_eq!(of(Some("/run/user/7")), [PathBuf::from("/run/user/7/nixl_store"), temporary.clone()]);
    for none in [None, Some(""), Some("run")] {
        assert_eq!(of(none), std::slice::from_ref(&temporary));
    }
}

/// Who looks by way of sudo or cron has no `$XDG_RUNTIME_DIR`, and finds the store that was opened with one.
#[test]
fn the_usual_runtime_directory_is_looked_in_once() {
    let of = |runtime: Option<&str>| directory::looked_in_of(runtime.map(str::as_ref), 7);
    let (usual, temporary) = (PathBuf::from("/run/user/7/nixl_store"), PathBuf::from("/tmp/nixl_store-7"));
    assert_eq!(of(None), [temporary.clone(), usual.clone()]);
    assert_eq!(of(Some("/run/user/7/")), [usual.clone(), temporary.clone()]);
    assert_eq!(of(Some("/run/other")), [PathBuf::from("/run/other/nixl_store"), temporary, usual]);
}

/// In a directory that others may write to, anybody could answer for a store.
#[test]
fn a_directory_that_is_not_this_users_alone_is_refused() {
    let scratch = Scratch::new();
    let (open, link, file) = (scratch.0.join("open"), scratch.0.join("link"), scratch.0.join("file"));
    fs::create_dir(&open).unwrap();
    symlink(&scratch.0, &link).unwrap();
    fs::write(&file, "").unwrap();
    for mode in [0o777, 0o770, 0o755] {
        fs::set_permissions(&open, Permissions::from_mode(mode)).unwrap();
        let refused = Server::start_in(std::slice::from_ref(&open), 1, String::new).unwrap_err();
        assert_eq!(refused.status(), Status::Permission, "{mode:o}");
        assert!(refused.message().contains(&format!("mode {mode:o}")), "{}", refused.message());
    }
    for other in [&link, &file] {
        assert_eq!(
            directory::prepare(other).unwrap_err().status(),
            Status::Permission,
            "{}",
            other.display()
        );
    }
    assert_eq!(fs::read_dir(&open).unwrap().count(), 0);
    // The next one is taken then.
    let server = Server::start_in(&[open, scratch.0.clone()], 1, String::new).unwrap();
    assert_eq!(server.path().parent(), Some(scratch.0.as_path()));
}

/// Whoever is listed answers, for nobody but this user, and is gone with its store.
#[test]
fn a_socket_lives_as_long_as_its_store() {
    let scratch = Scratch::new();
    let directories = scratch.directories();
    let (one, two) = (scratch.start(1), scratch.start(2));
    let pid = std::process::id();
    let socket = |server: &Server, store| Socket { pid, store, path: server.path().to_owned() };
    assert_eq!(list_in(directories), [socket(&one, 1), socket(&two, 2)]);
    assert_eq!(fs::metadata(one.path()).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(read(one.path()).unwrap(), "store 1\n# EOF\n");
    assert_eq!(read(two.path()).unwrap(), "store 2\n# EOF\n");
    let path = one.path().to_owned();
    drop(one);
    assert_eq!(list_in(directories), [socket(&two, 2)]);
    let gone = read(&path).unwrap_err();
    assert!(gone.message().contains(path.to_str().unwrap()), "{}", gone.message());
    drop(two);
    assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 0);
}

/// What a killed process left is removed; what somebody has, is just making, or is no socket of a store's, stays.
#[test]
fn only_what_nobody_answers_is_removed() {
    let scratch = Scratch::new();
    let at = |name: String| scratch.0.join(name);
    let dead = at(directory::name(NO_PROCESS, 1));
    drop(UnixListener::bind(&dead).unwrap());
    let mine = at(directory::name(std::process::id(), 3));
    drop(UnixListener::bind(&mine).unwrap());
    let elsewhere = at(directory::name(NO_PROCESS, 2));
    let alive = UnixListener::bind(&elsewhere).unwrap();
    // Somebody who connects to nobody's queue leaves it as it is, however many do.
    alive.set_nonblocking(true).unwrap();
    let other = at("other".to_owned());
    fs::write(&other, "").unwrap();
    let parent = at(directory::name(std::os::unix::process::parent_id(), 1));
    drop(UnixListener::bind(&parent).unwrap());
    // A store of this process's that another thread is just opening may have the name, and not yet listen.
    let opening = at(directory::name(std::process::id(), 4));
    drop(UnixListener::bind(&opening).unwrap());
    let server = scratch.start(3);
    assert_eq!(server.path(), mine);
    assert!(opening.exists());
    assert!(!dead.exists());
    assert!(elsewhere.exists() && other.exists() && parent.exists());
    assert_eq!(alive.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    // A name that is taken is not taken away.
    let refused = Server::start_in(scratch.directories(), 3, String::new).unwrap_err();
    assert!(refused.message().contains(mine.to_str().unwrap()), "{}", refused.message());
    assert_eq!(read(server.path()).unwrap(), "store 3\n# EOF\n");
}

/// A client that says nothing, or half of it, or takes nothing of a long answer, is not waited for long, and then others have
/// their turn; nor does the end wait for one.
#[test]
fn nobody_is_waited_for() {
    let scratch = Scratch::new();
    // More than a socket's buffers hold.
    let long = || "x".repeat(8 << 20) + "\n# EOF\n";
    let server = Server::start_in(scratch.directories(), 1, long).unwrap();
    let connect = || UnixStream::connect(server.path()).unwrap();
    let silent = connect();
    let mut half = connect();
    half.write_all(b"GET /metrics HT").unwrap();
    let mut deaf = connect();
    deaf.write_all(http::REQUEST).unwrap();
    // Its turn is behind theirs. Longer than what the client of this room takes.
    assert!(ask(server.path(), http::REQUEST).ends_with("# EOF\n"));
    let mut rest = Vec::new();
    deaf.read_to_end(&mut rest).unwrap();
    assert!(!rest.ends_with(b"# EOF\n"), "a client that reads nothing was waited for");
    let (_silent, _half, another) = (silent, half, connect());
    let (ended, has_ended) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        drop(server);
        ended.send(()).unwrap();
    });
    has_ended.recv_timeout(TIME_MAX).unwrap();
    thread.join().unwrap();
    drop(another);
}

/// A process that is stopped takes no connections, and one that answers byte by byte never ends: whoever asks goes on.
#[test]
fn a_store_that_does_not_answer_is_given_up() {
    let scratch = Scratch::new();
    let stopped = scratch.0.join("stopped");
    let nobody = UnixListener::bind(&stopped).unwrap();
    let_wait(&nobody, 1).unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = connect_at_once(&stopped) {
        waiting.push(stream);
    }
    let slow = scratch.0.join("slow");
    let listener = UnixListener::bind(&slow).unwrap();
    let dripping = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        while client.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let (ended, has_ended) = mpsc::channel();
    std::thread::spawn(move || {
        let refused = read(&stopped).unwrap_err();
        let late = read_within(&slow, Duration::from_millis(100)).unwrap_err();
        ended.send((refused, late)).unwrap();
    });
    let (refused, late) = has_ended.recv_timeout(TIME_MAX).unwrap();
    assert!(refused.message().contains("Resource temporarily unavailable"), "{}", refused.message());
    assert!(late.message().contains("timed out"), "{}", late.message());
    dripping.join().unwrap();
}

/// What is no request for the text is told so, and costs the store nothing.
#[test]
fn other_requests_are_told_what_there_is() {
    let scratch = Scratch::new();
    let server = scratch.start(1);
    let first = |request: &[u8]| ask(server.path(), request).lines().next().map(str::to_owned);
    let starts = |request: &[u8], line: &str| assert_eq!(first(request).as_deref(), Some(line));
    starts(b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n", "HTTP/1.0 200 OK");
    starts(b"GET /metrics?name=x HTTP/1.0\n\n", "HTTP/1.0 200 OK");
    starts(b"GET / HTTP/1.1\r\n\r\n", "HTTP/1.0 404 Not Found");
    starts(b"POST /metrics HTTP/1.1\r\n\r\n", "HTTP/1.0 405 Method Not Allowed");
    starts(b"\xff\xfe /metrics HTTP/1.1\r\n\r\n", "HTTP/1.0 400 Bad Request");
    starts(b"hello\n\n", "HTTP/1.0 400 Bad Request");
    starts(&[b'x'; http::REQUEST_BYTES_MAX], "HTTP/1.0 400 Bad Request");
}
