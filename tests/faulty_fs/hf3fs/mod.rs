//! A stand-in for the file system side of 3FS, as its FUSE client shows it: the habits that a store has to know of.
//!
//! One server holds the files ([`tree`], [`chunks`]) for one or two hosts, each with a mount, a daemon's identity ([`locks`]), a
//! buffer of what is written behind ([`files`]) and memory that clients tell it of ([`iovs`]) of its own. What these do is
//! taken from 3FS's `src/fuse` and `src/meta`; none of it is theirs. Rings are no part of it: who plays them reads and writes
//! through descriptors of its own, and is told from other O_DIRECT by the name of its threads ([`RING_THREAD`]) or by command.
//!
//! It has no loss of power, no quotas and users, no `set-conf` and `rm-rf`, and no errors of networks. A write of a ring is seen
//! by the page cache of its own host here, and is not there.

mod chunks;
mod files;
mod iovs;
mod locks;
mod log;
mod names;
pub mod semaphores;
mod tree;

use std::collections::HashMap;

pub use locks::random_uuid;
pub use log::Traffic;

use super::file_system::FileSystem;
use super::nodes::{Answer, Nodes};
use super::options::{Hf3fs, Host, Options};
use super::rule::{Fault, Op};
use super::wire::{self, Fields, Out, Request};
use files::Files;
use iovs::{Iovs, VIRTUAL_NAME, is_virtual};
use locks::Client;
use log::Log;
use names::Listing;
use tree::{Body, Directory, Tree};

/// Threads with names that begin so do what rings do: they move bytes past what FUSE keeps behind.
pub const RING_THREAD: &str = "hf3fs-ring";

/// `_IOR('h', 2, u32)` and what it answers: who is asked is 3FS.
const IOCTL_MAGIC: u32 = 0x8004_6802;
const MAGIC: u32 = 0x8f3f_5fff;
/// `_IOR('h', 11, u32)`: an fsync.
const IOCTL_FSYNC: u32 = 0x8004_680b;

pub struct Standin {
    kind: Hf3fs,
    cache_ms: u64,
    tree: Tree,
    files: Files,
    log: Log,
    /// By mount, as are the next.
    clients: Vec<Client>,
    iovs: Vec<Iovs>,
    listings: HashMap<u64, Listing>,
    last_handle: u64,
    /// Whose attributes the kernel is to forget: mounts and nodes.
    notices: Vec<(usize, u64)>,
}

impl Standin {
    pub fn new(options: &Options, kind: Hf3fs, hosts: &[Host]) -> Standin {
        semaphores::make(hosts);
        Standin {
            kind,
            cache_ms: options.cache_ms,
            tree: Tree::new(options.capacity_bytes),
            files: Files::default(),
            log: Log::default(),
            clients: hosts.iter().map(|host| Client::new(&host.name)).collect(),
            iovs: hosts.iter().map(|host| Iovs::new(&host.semaphores)).collect(),
            listings: HashMap::new(),
            last_handle: 0,
            notices: Vec::new(),
        }
    }

    fn next_handle(&mut self) -> u64 {
        self.last_handle += 1;
        self.last_handle
    }
}

impl FileSystem for Standin {
    fn path(&self, node: u64) -> String {
        if is_virtual(node) { format!("/{VIRTUAL_NAME}") } else { self.tree.path(node) }
    }

    fn perform(&mut self, op: Op, request: &Request, fault: Fault) -> Answer<Vec<u8>> {
        let (mount, node) = (request.mount, request.node);
        let mut fields = request.fields();
        match op {
            // What they are asked of makes no difference.
            Op::StatFs => return self.space(),
            Op::OpenDir => return self.open_directory(request),
            Op::ReadDirPlus => return self.list(mount, &mut fields),
            Op::ReleaseDir => return self.close_directory(mount, &mut fields),
            Op::IoCtl => return self.control(mount, node, &mut fields),
            _ if is_virtual(node) => return self.perform_virtual(op, request),
            _ => {}
        }
        match op {
            Op::Lookup => self.look_up(mount, node, &fields.name()),
            Op::GetAttr => {
                self.sync_for_stat(mount, node)?;
                let mut shown = self.show(mount, node)?;
                if let Fault::Size(by) = fault {
                    shown.size = shown.size.saturating_add_signed(by);
                }
                Ok(self.attributes_of(node, &shown))
            }
            Op::SetAttr => self.set_attributes(mount, node, &mut fields),
            Op::MkDir | Op::MkNod => {
                let mode = fields.u64() as u32;
                fields.take(if op == Op::MkNod { 8 } else { 0 });
                match (op, mode & libc::S_IFMT) {
                    (Op::MkDir, _) => {
                        let body = Body::Directory(Directory::default());
                        self.make(mount, node, &fields.name(), libc::S_IFDIR | mode & 0o7777, body)
                    }
                    (_, libc::S_IFREG) => {
                        self.make(mount, node, &fields.name(), mode, Body::File(Default::default()))
                    }
                    _ => Err(libc::ENOSYS),
                }
            }
            Op::SymLink => {
                let (name, target) = (fields.name(), fields.name());
                self.make(mount, node, &name, libc::S_IFLNK | 0o777, Body::Link(target))
            }
            Op::ReadLink => match &self.tree.node(node)?.body {
                Body::Link(target) => Ok(target.clone().into_bytes()),
                _ => Err(libc::EINVAL),
            },
            Op::Link => self.link(mount, node, &mut fields),
            Op::Create => self.create(mount, node, &mut fields),
            Op::Open => Ok(self.open(mount, node, fields.u32())?.0),
            Op::Unlink | Op::RmDir => {
                let name = fields.name();
                self.tree.find(node, &name)?;
                self.check_lock(mount, node)?;
                self.tree.remove(node, &name, op == Op::RmDir)?;
                Ok(Vec::new())
            }
            Op::Rename | Op::Rename2 => self.rename(mount, node, op, &mut fields),
            Op::Read => self.read(request, fault),
            Op::Write => self.write(request, fault),
            Op::FSync => {
                if let Fault::SyncLoses(_) | Fault::SyncDrops(_) = fault {
                    panic!("no sync of this stand-in loses anything");
                }
                self.log.synced(node);
                let (_handle, flags) = (fields.u64(), fields.u32());
                self.sync(mount, node, flags & 1 != 0)
            }
            Op::Flush => self.sync(mount, node, false),
            Op::Release => self.release(mount, node, &mut fields),
            Op::SetXAttr => self.set_attribute(mount, node, &mut fields),
            Op::GetXAttr => self.get_attribute(node, &mut fields),
            Op::ListXAttr => self.list_attributes(node, &mut fields),
            Op::RemoveXAttr => self.remove_attribute(node, &mut fields),
            _ => Err(libc::ENOSYS),
        }
    }

    fn forget(&mut self, node: u64, lookups: u64) {
        self.tree.forget(node, lookups);
    }

    fn files(&self) -> Vec<u64> {
        self.tree.files()
    }

    fn lose_power(&mut self, _seed: Option<u64>) {
        panic!("this stand-in loses no power");
    }

    fn init_flags(&self) -> u32 {
        wire::INIT_FLAGS_LIBFUSE
    }

    fn take_notices(&mut self) -> Vec<(usize, u64)> {
        std::mem::take(&mut self.notices)
    }

    fn obey(&mut self, command: &str, rest: &str) -> String {
        match command {
            "flush-behind" => self.flush_behind().to_string(),
            "collect-garbage" => {
                self.tree.collect_garbage();
                String::new()
            }
            "restart-client" => {
                let client = &mut self.clients[rest.parse::<usize>().unwrap()];
                *client = Client::new(&client.host);
                client.uuid.clone()
            }
            "client" => self.clients[rest.parse::<usize>().unwrap()].uuid.clone(),
            "direct-is-ring" => {
                self.files.are_rings = rest == "true";
                String::new()
            }
            "traffic" => {
                let Traffic { direct_reads, direct_writes, buffered_reads, buffered_writes } =
                    self.log.traffic(rest);
                format!("{direct_reads} {direct_writes} {buffered_reads} {buffered_writes}")
            }
            "buffered" => fitting(&self.log.buffered(rest)),
            "named-unsynced" => fitting(self.log.unsynced()),
            other => panic!("{other} is no command of the stand-in for 3FS"),
        }
    }
}

impl Standin {
    /// `struct fuse_ioctl_out` and a number.
    fn control(&mut self, mount: usize, node: u64, fields: &mut Fields) -> Answer<Vec<u8>> {
        let (_handle, _flags, command) = (fields.u64(), fields.u32(), fields.u32());
        let answered = Out::default().zeros(16);
        match command {
            IOCTL_MAGIC => Ok(answered.u32(MAGIC).0),
            IOCTL_FSYNC if !is_virtual(node) => {
                self.log.synced(node);
                self.sync(mount, node, false)?;
                Ok(answered.0)
            }
            _ => Err(libc::EINVAL),
        }
    }
}

/// Lines, as many as an answer has room for.
fn fitting(lines: &[String]) -> String {
    let mut text = format!("{}", lines.len());
    for line in lines {
        if text.len() + line.len() + 8 > super::COMMAND_BYTES_MAX {
            break;
        }
        text += "\n";
        text += line;
    }
    text
}
