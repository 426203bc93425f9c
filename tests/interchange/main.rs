//! LMCache and this library find each other's chunks in one directory.
//!
//! `names.tsv` holds what LMCache itself calls the files of a few hundred keys; its names are
//! checked always. Where the lmcache package is at hand, its own functions are asked again, and open
//! files that this library wrote and the other way round. `NIXL_STORE_LMCACHE_SOURCE` names the
//! directory that holds the package, `NIXL_STORE_PYTHON` the interpreter.

// Helpers may unwrap as tests do.
#![cfg(test)]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nixl_store::config::Layout;
use nixl_store::error::Status;
use nixl_store::layout::files::{FileStore, ObjectName, Proof};
use nixl_store::log::{Level, Logger};
use nixl_store::sys::habits::Habits;

const GOLDEN: &str = include_str!("names.tsv");
/// What the script ends with when there is no package to ask.
const EXIT_NO_PACKAGE: i32 = 77;

/// Every key of the golden file gets the name that LMCache gives it; one whose name no file system
/// holds is refused, where LMCache would fail to open the file.
#[test]
fn names_equal_those_of_lmcache() {
    let dir = TestDir::new("names");
    let store = open(dir.path());
    let mut compared = 0;
    for Row { key, name, .. } in rows() {
        match store.name_of(0, key.as_bytes()) {
            Ok(ours) => assert_eq!(ours.to_string(), name, "key {key:?}"),
            Err(error) => {
                assert_eq!(error.status(), Status::InvalidArgument);
                assert!(name.len() > 255 || name.is_empty(), "key {key:?} was refused: {error}");
            }
        }
        compared += 1;
    }
    assert!(compared > 250, "{compared} rows");
}

/// Chunks that LMCache wrote are found when the directory is scanned, and the names of its keys,
/// with any model, data type, layer and tags, are proof enough of what they are.
#[test]
fn a_scan_finds_what_lmcache_wrote() {
    let dir = TestDir::new("scan");
    let store = open(dir.path());
    let mut expected = BTreeMap::new();
    for row in rows().filter(|row| row.name.len() <= 255) {
        std::fs::write(dir.path().join(&row.name), b"chunk").unwrap();
        *expected.entry(row.name).or_insert(false) |= row.is_key;
    }
    let mut found = BTreeMap::new();
    store
        .scan(&mut |object| {
            found.insert(object.name.to_string(), object.proof);
        })
        .unwrap();
    assert!(found.keys().eq(expected.keys()));
    for (name, is_key) in expected {
        assert!(!is_key || found[&name] == Proof::Name, "{name}");
    }
}

/// The golden file is what the package gives today.
#[test]
fn the_golden_file_agrees_with_the_package() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interchange/names.tsv");
    let Some(output) = ask_lmcache(["check".as_ref(), golden.as_os_str()]) else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// LMCache reads a chunk that this library published: payload from offset 0, whatever follows it.
/// A file of its own is read back here, and so is one of ours that it wrote over: it does not
/// truncate, so what followed the payload is still there.
#[test]
fn each_reads_what_the_other_wrote() {
    let dir = TestDir::new("exchange");
    let store = open(dir.path());
    let (ours, theirs) = ("org/model@1@0@1f3a@half@user%a b", "org/model@1@0@-2b@half");
    let name = store.name_of(0, ours.as_bytes()).unwrap();
    let temporary = store.create_temporary(&name, 8192).unwrap();
    temporary.file().write_all_at(&[0x5a; 4096], 0).unwrap();
    temporary.file().write_all_at(&[0xee; 4096], 4096).unwrap();
    store.publish(temporary).unwrap();

    let at = |action: &str, key: &str, rest: &[&str]| {
        let arguments = [action.as_ref(), dir.path().as_os_str(), key.as_ref()];
        ask_lmcache(arguments.into_iter().chain(rest.iter().map(OsStr::new)))
    };
    let Some(read) = at("read", ours, &["4096"]) else { return };
    assert_eq!(String::from_utf8_lossy(&read.stdout).trim(), "5a".repeat(4096));

    assert!(at("put", theirs, &["4096", "x"]).unwrap().status.success());
    let name = store.name_of(0, theirs.as_bytes()).unwrap();
    assert_eq!(get(&store, &name).unwrap(), b"x".repeat(4096));

    assert!(at("put", ours, &["4096", "y"]).unwrap().status.success());
    let name = store.name_of(0, ours.as_bytes()).unwrap();
    assert_eq!(get(&store, &name).unwrap(), [[b'y'; 4096], [0xee; 4096]].concat());
}

struct Row {
    is_key: bool,
    key: String,
    name: String,
}

fn rows() -> impl Iterator<Item = Row> {
    GOLDEN.split_terminator('\n').filter(|line| !line.starts_with('#')).map(|line| {
        let mut columns = line.split('\t');
        let mut column = || columns.next().unwrap();
        Row { is_key: column() == "key", key: unescape(column()), name: column().to_owned() }
    })
}

/// Turns `\u{hex}` back into its character.
fn unescape(text: &str) -> String {
    let mut pieces = text.split("\\u{");
    let mut plain = pieces.next().unwrap().to_owned();
    for piece in pieces {
        let (hex, rest) = piece.split_once('}').unwrap();
        plain.push(char::from_u32(u32::from_str_radix(hex, 16).unwrap()).unwrap());
        plain.push_str(rest);
    }
    plain
}

/// Runs the script; `None` where there is no package to ask, which the log of the test run tells.
fn ask_lmcache<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Option<Output> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interchange/lmcache_names.py");
    let python = std::env::var_os("NIXL_STORE_PYTHON").unwrap_or_else(|| "python3".into());
    let mut command = Command::new(python);
    command.arg(script);
    if let Some(source) = std::env::var_os("NIXL_STORE_LMCACHE_SOURCE") {
        command.arg("--source").arg(source);
    }
    match command.args(arguments).output() {
        Ok(output) if output.status.code() == Some(EXIT_NO_PACKAGE) => {
            eprintln!("SKIPPED: {}", String::from_utf8_lossy(&output.stderr).trim());
            None
        }
        Ok(output) => Some(output),
        Err(error) => {
            eprintln!("SKIPPED: no Python: {error}");
            None
        }
    }
}

fn open(path: &Path) -> FileStore {
    FileStore::open(path, Layout::Lmcache, false, Habits::default(), &Logger::to_stderr(Some(Level::Warn)))
        .unwrap()
}

fn get(store: &FileStore, name: &ObjectName) -> Option<Vec<u8>> {
    let (mut file, _) = store.open_read(name).unwrap()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    Some(bytes)
}

/// A directory that goes when the test ends.
struct TestDir(PathBuf);

impl TestDir {
    fn new(name: &str) -> TestDir {
        let path = std::env::temp_dir().join(format!("nixl_store_interchange_{name}_{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        TestDir(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
