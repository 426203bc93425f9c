//! The promises of the dynamic store's files, kept by several processes at once.
//!
//! A second process is this test binary again, running only [`helper_process`] in a role that an
//! environment variable names. The two talk in lines over pipes, so nothing ever waits for time.

mod crash;
mod habits;
mod hostile;
mod names;
mod open;
mod pins;
mod scan;
mod shared;
mod visibility;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};

use super::{FileStore, ObjectName, Scanned};
use crate::config::Layout;
use crate::log::Logger;
use crate::sys::habits::Habits;

const ROLE: &str = "NIXL_STORE_TEST_ROLE";
const DIRECTORY: &str = "NIXL_STORE_TEST_DIRECTORY";
/// Starts every line that a helper says, since the test harness prints there as well.
const MARK: &str = "helper:";

/// A directory that goes when the test ends.
struct TestDir(PathBuf);

impl TestDir {
    fn new() -> TestDir {
        TestDir::below(&std::env::temp_dir())
    }

    fn below(parent: &Path) -> TestDir {
        let path = parent.join(format!("nixl_store_files_{:032x}", crate::sys::random_u128().unwrap()));
        std::fs::create_dir(&path).unwrap();
        TestDir(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }

    fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A log that can be read back.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn logger(&self) -> Logger {
        let lines = Arc::clone(&self.0);
        Logger::new(
            Arc::new(move |record| lines.lock().unwrap().push(record.message.to_owned())),
            Some(crate::log::Level::Debug),
        )
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

fn open_as(path: &Path, layout: Layout) -> FileStore {
    FileStore::open(path, layout, false, Habits::default(), &Log::default().logger()).unwrap()
}

fn open(path: &Path) -> FileStore {
    open_as(path, Layout::Sharded)
}

/// A digest whose shard is `shard`.
fn digest(shard: u8, rest: u64) -> u128 {
    u128::from(shard) << 120 | u128::from(rest)
}

fn named(store: &FileStore, digest: u128) -> ObjectName {
    store.name_of(digest, format!("key@{digest:x}").as_bytes()).unwrap()
}

fn put(store: &FileStore, name: &ObjectName, bytes: &[u8]) {
    let temporary = store.create_temporary(name, bytes.len() as u64).unwrap();
    temporary.file().write_all_at(bytes, 0).unwrap();
    store.publish(temporary).unwrap();
}

fn read(file: &File) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut file = file;
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

fn get(store: &FileStore, name: &ObjectName) -> Option<Vec<u8>> {
    let (file, size) = store.open_read(name).unwrap()?;
    let bytes = read(&file);
    assert_eq!(bytes.len() as u64, size);
    Some(bytes)
}

fn scanned(store: &FileStore) -> Vec<Scanned> {
    let mut found = Vec::new();
    store.scan(&mut |object| found.push(object)).unwrap();
    found.sort_by_key(|object| object.name.to_string());
    found
}

/// Every temporary in a store's directory, of whatever process.
fn temporaries(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for area in std::fs::read_dir(path.join(".nixl_store+tmp")).unwrap() {
        let Ok(entries) = std::fs::read_dir(area.unwrap().path()) else { continue };
        found.extend(entries.map(|entry| entry.unwrap().path()).filter(|path| !path.ends_with("lock")));
    }
    found
}

fn areas(path: &Path) -> usize {
    std::fs::read_dir(path.join(".nixl_store+tmp")).unwrap().count()
}

/// Another process that acts on the same directory.
struct Helper {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Helper {
    fn start(role: &str, path: &Path) -> Helper {
        Helper::run(Helper::command(role, path))
    }

    /// What [`Helper::start`] starts. By this path any user may run the binary, wherever it lies.
    fn command(role: &str, path: &Path) -> Command {
        let mut command = Command::new("/proc/self/exe");
        command
            .args(["--exact", "layout::files::tests::helper_process", "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .env(DIRECTORY, path);
        command
    }

    fn run(mut command: Command) -> Helper {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let to = child.stdin.take().unwrap();
        let from = BufReader::new(child.stdout.take().unwrap());
        Helper { child, to, from }
    }

    fn tell(&mut self, line: &str) {
        writeln!(self.to, "{line}").unwrap();
    }

    /// The next line that it says.
    fn hear(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.from.read_line(&mut line).unwrap(), 0, "the helper ended without a word");
            if let Some(said) = line.trim_end().strip_prefix(MARK) {
                return said.to_owned();
            }
        }
    }

    fn ask(&mut self, line: &str) -> String {
        self.tell(line);
        self.hear()
    }

    /// Ends it as a crash would.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn finish(mut self) {
        drop(self.to);
        assert!(self.child.wait().unwrap().success());
    }
}

/// Not a test of its own: the other side of [`Helper`], and nothing without a role.
#[test]
fn helper_process() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let path = PathBuf::from(std::env::var_os(DIRECTORY).unwrap());
    let mut lines = std::io::stdin().lines().map(Result::unwrap);
    match role.as_str() {
        "store" => serve(&path, &mut lines),
        "watcher" => visibility::watch(&path, &mut lines),
        "opener" => say(
            match FileStore::open(&path, Layout::Sharded, false, Habits::default(), &Log::default().logger())
            {
                Ok(_) => "opened".to_owned(),
                Err(error) => format!("{:?} {}", error.status(), error.message()),
            },
        ),
        other => panic!("no role {other}"),
    }
}

/// Starts on a new line: the harness leaves one unfinished.
fn say(text: impl std::fmt::Display) {
    println!("\n{MARK}{text}");
}

/// Does with a store what it is told, one line at a time.
fn serve(path: &Path, lines: &mut dyn Iterator<Item = String>) {
    let store = open(path);
    let mut unfinished = Vec::new();
    say("ready");
    for line in lines {
        let mut words = line.split(' ');
        let verb = words.next().unwrap();
        let digest = u128::from_str_radix(words.next().unwrap_or("0"), 16).unwrap();
        let name = named(&store, digest);
        match verb {
            "get" => say(match get(&store, &name) {
                Some(bytes) => String::from_utf8(bytes).unwrap(),
                None => "absent".to_owned(),
            }),
            "put" => {
                put(&store, &name, words.next().unwrap().as_bytes());
                say("done");
            }
            "begin" => {
                let temporary = store.create_temporary(&name, 1 << 20).unwrap();
                temporary.file().write_all_at(b"half of it", 0).unwrap();
                unfinished.push(temporary);
                say("done");
            }
            "pin" => {
                store.pin(store.id_of(&name)).unwrap();
                say("done");
            }
            "unpin" => {
                store.unpin(store.id_of(&name)).unwrap();
                say("done");
            }
            "evict" => say(format_args!("{:?}", store.evict(&name).unwrap())),
            "fill" => {
                // One object in every shard.
                let worker = words.next().unwrap();
                for shard in 0..=u8::MAX {
                    let digest = u128::from(shard) << 120 | digest;
                    put(&store, &named(&store, digest), worker.as_bytes());
                }
                say("done");
            }
            other => panic!("no verb {other}"),
        }
    }
}
