//! What the server serves: a file system that answers the kernel's requests one by one.

use std::ops::Range;

use super::nodes::Answer;
use super::rule::{Fault, Op};
use super::wire::{Out, Request, WRITE_DATA_AT};

pub trait FileSystem {
    /// The path below the mount that a node has, or had.
    fn path(&self, node: u64) -> String;

    /// Answers a request, as it should be or with a fault that concerns its bytes, its size or its sync.
    fn perform(&mut self, op: Op, request: &Request, fault: Fault) -> Answer<Vec<u8>>;

    /// The kernel forgets so many of the times that it was told of a node.
    fn forget(&mut self, node: u64, lookups: u64);

    /// Every file, to drop what is cached of it.
    fn files(&self) -> Vec<u64>;

    /// What was not synced is gone; with a seed, each page and name of it by chance.
    fn lose_power(&mut self, seed: Option<u64>);

    /// What the kernel is asked for at the beginning.
    fn init_flags(&self) -> u32;

    /// Mounts and nodes whose attributes the kernel has to forget before it hears the answer to the last request.
    fn take_notices(&mut self) -> Vec<(usize, u64)> {
        Vec::new()
    }

    /// A command that the server does not know by itself.
    fn obey(&mut self, command: &str, rest: &str) -> String {
        panic!("{command} {rest} is no command")
    }
}

/// The path of a request, and the bytes that it touches.
pub fn scope(fs: &dyn FileSystem, op: Op, request: &Request) -> (String, Range<u64>) {
    let mut fields = request.fields();
    let path = fs.path(request.node);
    let child = |name: String| format!("{path}/{name}");
    match op {
        Op::Lookup | Op::Unlink | Op::RmDir | Op::SymLink => (child(fields.name()), 0..0),
        Op::MkDir | Op::Link => {
            fields.take(8);
            (child(fields.name()), 0..0)
        }
        Op::Create | Op::MkNod => {
            fields.take(16);
            (child(fields.name()), 0..0)
        }
        Op::Rename | Op::Rename2 => {
            let target = fields.u64();
            fields.take(if op == Op::Rename2 { 8 } else { 0 });
            let (from, to) = (fields.name(), fields.name());
            (format!("{path}/{from} -> {}/{to}", fs.path(target)), 0..0)
        }
        Op::Read | Op::Write => {
            fields.u64();
            let offset = fields.u64();
            (path, offset..offset + u64::from(fields.u32()))
        }
        _ => (path, 0..0),
    }
}

/// Answers a request; what does not move bytes, tell sizes or sync knows fewer faults.
pub fn answer(fs: &mut dyn FileSystem, op: Op, request: &Request, fault: Fault) -> Answer<Vec<u8>> {
    match fault {
        Fault::Errno(errno) => Err(errno),
        Fault::DoneAndErrno(errno) => {
            fs.perform(op, request, Fault::None)?;
            Err(errno)
        }
        Fault::Lost if op == Op::Write => {
            let size = request.body.len() - WRITE_DATA_AT;
            Ok(Out::default().u32(size as u32).u32(0).0)
        }
        Fault::Lost => Ok(Vec::new()),
        _ => fs.perform(op, request, fault),
    }
}

/// Damages a transfer.
pub fn flip_a_bit(bytes: &mut [u8]) {
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 1;
    }
}
