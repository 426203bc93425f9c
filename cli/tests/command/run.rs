//! `doctor` and `bench`, and machines for them to look at.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nixl_store::error::Status;
use nixl_store::memory::AlignedBuffer;
use nixl_store::store::{Direction, Store};
use serde_json::Value;

use crate::support::{self, Ran, Scratch, clean, move_one, ran};

/// The command.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_nixl-store");
/// Bytes of an object of the stores here.
pub const CHUNK_BYTES: usize = 64 << 10;

/// The command without arguments.
pub fn command() -> Command {
    support::command(&[])
}

pub fn answer(command: &mut Command) -> Ran {
    ran(command.output().unwrap())
}

/// A static pool of so many slots in files, with O_DIRECT.
pub fn engine_pool(scratch: &Scratch, slots: u32) -> PathBuf {
    scratch.engine(&[
        "nixl_backend: POSIX",
        &format!("nixl_path: {}", scratch.data().display()),
        &format!("nixl_pool_size: {slots}"),
        &format!("nixl_store_chunk_bytes: {CHUNK_BYTES}"),
        "use_direct_io: true",
    ])
}

/// `nixl-store doctor` on a configuration.
pub fn doctor(config: &Path, more: &[&str]) -> Ran {
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
pub fn in_namespace(script: &str) -> Option<Ran> {
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
    support::open(config, b"")
}

/// Puts or gets one object, and says whether it was done.
pub fn transfer(store: &Store, direction: Direction, key: &str, buffer: &AlignedBuffer) -> bool {
    move_one(store, direction, key, buffer, buffer.len()).0 == Status::Ok
}

/// Bytes for an object.
pub fn object(byte: u8) -> AlignedBuffer {
    let mut buffer = AlignedBuffer::new(CHUNK_BYTES).unwrap();
    buffer.as_mut_slice().fill(byte);
    buffer
}
