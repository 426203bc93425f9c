//! `top`, beside a store at work.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicBool, Ordering};

use nixl_store::sys::socket::connect_at_once;

use crate::damage::{flip, place};
use crate::support::{CHUNK_BYTES, Scratch, command, fill, get, keys, open, payload, put, ran, run, text};
use crate::terminal::{Terminal, letters};

/// Whoever asks sees a store of another process at work, and the store does not notice.
#[test]
fn top_shows_a_store_at_work() {
    let scratch = Scratch::new("top");
    let config = scratch.pool("a");
    let store = open(&config, b"");
    let pid = std::process::id().to_string();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                put(&store, "key", &payload("key", 1, CHUNK_BYTES));
                assert!(get(&store, "key").is_some() && get(&store, "absent").is_none());
            }
        });
        let shown = run(&["top", "--pid", &pid, "--interval", "0.5", "--json", text(&config)]);
        let plain = run(&["top", "--pid", &pid, "--interval", "0.5", text(&config)]);
        stop.store(true, Ordering::Relaxed);
        let shown = shown.expect(0).json();
        let [view] = shown.as_array().unwrap().as_slice() else { panic!("one store is open: {shown:#}") };
        assert_eq!(view["location"], text(&scratch.0.join("a")));
        assert_eq!((&view["backend"], &view["layout"]), (&"POSIX".into(), &"static".into()));
        assert_eq!((&view["holds"]["keys"], &view["holds"]["slots"]), (&1.0.into(), &16.0.into()));
        for number in
            [&view["gets"]["per_second"], &view["gets"]["bytes_per_second"], &view["puts"]["per_second"]]
        {
            assert!(number.as_f64().unwrap() > 0.0, "{view:#}");
        }
        let hits = view["gets"]["hit_ratio"].as_f64().unwrap();
        assert!((0.3..0.7).contains(&hits), "every second get is of what is not there: {view:#}");
        let latency = &view["latencies"][0];
        assert_eq!((&latency["direction"], &latency["size"]), (&"get".into(), &"256KiB".into()));
        assert!(latency["p50_seconds"].as_f64() > Some(0.0), "{view:#}");
        let plain = plain.expect(0).out;
        for part in [&format!("pid {pid}, "), "gets ", "puts ", "holds ", "get of 256KiB"] {
            assert!(plain.contains(part), "{part:?} is not in\n{plain}");
        }
        assert!(plain.lines().all(|line| line.chars().count() <= 80 || line.contains('/')), "{plain}");
        assert!(!plain.contains('\u{1b}') && !plain.contains("since open"), "{plain}");
    });
    store.close().unwrap();
}

/// A pool that was damaged beneath an open store: the get is a miss, and the last line says what happened.
#[test]
fn top_tells_of_bytes_that_did_not_prove_right() {
    let scratch = Scratch::new("top-damaged");
    let config = scratch.pool("a");
    fill(&config);
    let (key, _) = &keys()[5];
    let (file, offset, _) = place(&config, key);
    flip(file.as_ref(), offset + 65_536 + 9);
    let store = open(&config, b"");
    assert_eq!(get(&store, key), None);
    let pid = std::process::id().to_string();
    let arguments = ["top", "--pid", &pid, "--interval", "0.1", text(&config)];
    let plain = run(&arguments).expect(0).out;
    assert!(plain.contains("since open: 1 reads not proven right"), "{plain}");
    let shown = run(&[&arguments[..], &["--json"]].concat()).expect(0).json();
    assert_eq!(shown[0]["trouble"]["corruptions"], 1.0, "{shown:#}");
    store.close().unwrap();
}

/// A store that was closed, or that no configuration means, is not shown, and one is told why there is nothing.
#[test]
fn top_without_a_store_says_so() {
    let scratch = Scratch::new("top-none");
    let config = scratch.pool("a");
    fill(&config);
    let (none, other) = (u32::MAX.to_string(), scratch.pool("b"));
    for arguments in [&["top", "--pid", &none][..], &["top", text(&other), "--plain"]] {
        let told = run(arguments).expect(2);
        let is_told = told.err.contains("no store of this user is open")
            || told.err.contains("is meant by the arguments");
        assert!(is_told && told.out.is_empty(), "{}", told.err);
    }
    let wrong = run(&["top", "--interval", "0"]).expect(2);
    assert!(wrong.err.contains("0.1 to 3600 are allowed"), "{}", wrong.err);
}

/// The live view begins without rates, as it has looked but once; and a signal that ends it finds the terminal given back.
#[test]
fn the_live_view_begins_without_rates_and_gives_the_terminal_back() {
    let scratch = Scratch::new("top-live");
    let store = open(&scratch.pool("a"), b"");
    put(&store, "key", &payload("key", 1, CHUNK_BYTES));
    let pid = std::process::id().to_string();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                assert!(get(&store, "key").is_some());
            }
        });
        let mut terminal = Terminal::new();
        let before = terminal.modes();
        let mut child = terminal.start(&["top", "--pid", &pid, "--interval", "3600"]);
        terminal.watch(|seen| letters(seen).contains("qquit"));
        stop.store(true, Ordering::Relaxed);
        let seen = letters(&terminal.seen);
        assert!(seen.contains("gets0/s,0B/s,hits-"), "{seen}");
        assert_ne!(terminal.modes(), before);
        // SAFETY: takes no memory; the child is not waited for yet.
        assert_eq!(unsafe { libc::kill(child.id() as i32, libc::SIGTERM) }, 0);
        terminal.watch(|_| false);
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
        assert!(terminal.seen.contains("\u{1b}[?1049l"), "the alternate screen is still there: {seen}");
        assert_eq!(terminal.modes(), before);
    });
    store.close().unwrap();
}

/// A store whose process takes no connections is told as that, and nobody waits for it.
#[test]
fn top_tells_of_a_store_that_does_not_answer() {
    let scratch = Scratch::in_memory("top-silent");
    let directory = scratch.path().join("nixl_store");
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
    let path = directory.join("4294967295-1.sock");
    let nobody = UnixListener::bind(&path).unwrap();
    // As many as the system lets wait would be more descriptors than this process may have.
    // SAFETY: listen takes no pointers.
    assert_eq!(unsafe { libc::listen(nobody.as_raw_fd(), 1) }, 0);
    let mut waiting = Vec::new();
    while let Ok(stream) = connect_at_once(&path) {
        waiting.push(stream);
    }
    let mut command = command(&["top", "--pid", "4294967295"]);
    let told = ran(command.env("XDG_RUNTIME_DIR", scratch.path()).output().unwrap()).expect(2);
    assert!(told.err.contains("1 open stores of this user do not answer"), "{}", told.err);
}
