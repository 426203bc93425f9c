//! Running the command, and stores for it to look at.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use nixl_store::config::{Config, Source};
use nixl_store::log::Logger;
use nixl_store::memory::AlignedBuffer;
use nixl_store::store::{Direction, OpenOptions, Store, SubmitOptions, Wish};
use serde_json::Value;

/// The command.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_nixl-store");
/// Bytes of an object of the stores here.
pub const CHUNK_BYTES: usize = 64 << 10;

/// A directory that is gone at the end of the test, on a real file system.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Scratch {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}-{serial}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// `nixl_path` of the store in it.
    pub fn data(&self) -> PathBuf {
        self.0.join("data")
    }

    /// A configuration with these lines in `extra_config`.
    pub fn config(&self, lines: &[&str]) -> PathBuf {
        let path = self.0.join("lmcache.yaml");
        let lines: String = lines.iter().map(|line| format!("  {line}\n")).collect();
        std::fs::write(&path, format!("extra_config:\n  enable_nixl_storage: true\n{lines}")).unwrap();
        path
    }

    /// A static pool of so many slots in files, with O_DIRECT.
    pub fn pool(&self, slots: u32) -> PathBuf {
        self.config(&[
            "nixl_backend: POSIX",
            &format!("nixl_path: {}", self.data().display()),
            &format!("nixl_pool_size: {slots}"),
            &format!("nixl_store_chunk_bytes: {CHUNK_BYTES}"),
            "use_direct_io: true",
        ])
    }

    /// Every file below it, with its bytes.
    pub fn tree(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut tree = Vec::new();
        let mut left = vec![self.0.clone()];
        while let Some(directory) = left.pop() {
            for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
                if entry.file_type().unwrap().is_dir() {
                    left.push(entry.path());
                    tree.push((entry.path(), Vec::new()));
                } else {
                    tree.push((entry.path(), std::fs::read(entry.path()).unwrap()));
                }
            }
        }
        tree.sort();
        tree
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let removed = std::fs::remove_dir_all(&self.0);
        assert!(removed.is_ok() || std::thread::panicking(), "{}: {removed:?}", self.0.display());
    }
}

/// What the command answered.
#[derive(Debug)]
pub struct Answer {
    pub status: i32,
    pub out: String,
    pub err: String,
}

/// The command, with nothing of the machine's environment that would change its answer.
pub fn command() -> Command {
    clean(Command::new(PROGRAM))
}

fn clean(mut command: Command) -> Command {
    for name in ["LMCACHE_CONFIG_FILE", "NIXL_STORE_LOG", "NO_COLOR", "CLICOLOR_FORCE"] {
        command.env_remove(name);
    }
    command
}

pub fn answer(command: &mut Command) -> Answer {
    let output = command.output().unwrap();
    Answer {
        status: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// `nixl-store doctor` on a configuration.
pub fn doctor(config: &Path, more: &[&str]) -> Answer {
    answer(command().arg("doctor").arg(config).args(more))
}

/// The same as JSON, and its exit status.
pub fn doctor_json(config: &Path) -> (i32, Value) {
    let answer = doctor(config, &["--json"]);
    (answer.status, serde_json::from_str(&answer.out).unwrap_or_else(|error| panic!("{error}: {answer:?}")))
}

/// `nixl-store doctor` of a process that first gives something up; `None`, loudly, where it then cannot reach the command.
pub fn doctor_without(config: &Path, taken: &'static [&'static str]) -> Option<(i32, Value)> {
    let mut command = command();
    command.arg("doctor").arg(config).arg("--json");
    // SAFETY: system calls, and a small allocation in the child of a process whose other threads are in tests, not in malloc
    // at that moment more often than in those of the library that do the same.
    unsafe {
        command.pre_exec(move || {
            taken.iter().for_each(|what| crate::sandbox::enter(what));
            Ok(())
        });
    }
    match command.output() {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            eprintln!("SKIPPED: another user cannot run {PROGRAM}");
            None
        }
        output => {
            let output = output.unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            let report = serde_json::from_slice(&output.stdout);
            Some((
                output.status.code().unwrap_or(-1),
                report.unwrap_or_else(|error| panic!("{error}: {said}")),
            ))
        }
    }
}

/// A shell script in a mount namespace of its own; `None`, loudly, where this machine has none.
pub fn in_namespace(script: &str) -> Option<Answer> {
    let mut probe = Command::new("unshare");
    probe.args(["-m", "sh", "-c", "mount -t tmpfs none /mnt"]);
    if !probe.output().is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: this user cannot have a mount namespace");
        return None;
    }
    Some(answer(clean(Command::new("unshare")).args(["-m", "sh", "-ec", script])))
}

/// The findings about one thing.
#[track_caller]
pub fn findings(report: &Value, check: &str) -> Vec<(String, String)> {
    let all = report["findings"].as_array().unwrap();
    let of_it = all.iter().filter(|finding| finding["check"] == check);
    of_it.map(|finding| (text(&finding["state"]), finding.to_string())).collect()
}

/// The one finding about a thing: its state, and all that it says.
#[track_caller]
pub fn finding(report: &Value, check: &str) -> (String, String) {
    let mut found = findings(report, check);
    assert_eq!(found.len(), 1, "{check}: {report:#}");
    found.remove(0)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// The store of a configuration, open in this process.
pub fn open(config: &Path) -> Store {
    let config = Config::load(Source::File(config), &|_| None).unwrap();
    let options = OpenOptions {
        chunk_bytes: None,
        worker_id: 0,
        world_size: 1,
        cuda_device: None,
        namespace: Vec::new(),
        logger: Logger::silent(),
    };
    Store::open(&config, &options).unwrap()
}

/// Puts or gets one object, and says whether it was done.
pub fn transfer(store: &Store, direction: Direction, key: &str, buffer: &AlignedBuffer) -> bool {
    let mut batch = store.batch(direction, 1).unwrap();
    batch.item(key.as_bytes(), Wish::default()).unwrap();
    batch.stretch(buffer.host_slice(0, buffer.len()).into()).unwrap();
    let ticket = batch.submit(SubmitOptions::default()).unwrap();
    store.ticket_wait(ticket, None, &mut |_, _, _| ()).unwrap() == nixl_store::error::Status::Ok
}

/// Bytes for an object.
pub fn object(byte: u8) -> AlignedBuffer {
    let mut buffer = AlignedBuffer::new(CHUNK_BYTES).unwrap();
    buffer.as_mut_slice().fill(byte);
    buffer
}
