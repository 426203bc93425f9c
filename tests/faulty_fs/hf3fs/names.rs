//! Names and what is shown of them, one by one and in listings, and the space of the whole.

use std::time::Duration;

use super::super::nodes::{Answer, Nodes};
use super::super::rule::Op;
use super::super::wire::{self, Fields, Out, Request};
use super::iovs::{IOVS, VIRTUAL, VIRTUAL_NAME, is_virtual};
use super::tree::{Body, now};
use super::{Standin, chunks};

/// Bytes of a block as statfs tells them.
const BLOCK: u64 = 2 << 20;

/// An open directory: what is in it, and the thread that opened it.
pub struct Listing {
    names: Vec<(String, u64)>,
    is_iovs: bool,
    thread: u32,
}

/// What is shown of a node.
pub struct Shown {
    pub mode: u32,
    pub size: u64,
    pub links: u32,
    pub changed: Duration,
}

impl Standin {
    pub fn look_up(&mut self, mount: usize, parent: u64, name: &str) -> Answer<Vec<u8>> {
        if parent == wire::ROOT && name == VIRTUAL_NAME {
            let shown = self.show_virtual(mount, VIRTUAL)?;
            return Ok(self.entry_of(VIRTUAL, &shown, self.cache_ms));
        }
        match self.tree.find(parent, name) {
            Ok(id) => {
                self.sync_for_stat(mount, id)?;
                self.entry(id)
            }
            // Node 0: the kernel may believe for so long that there is none.
            Err(libc::ENOENT) if self.kind.absent_ms > 0 => {
                let (seconds, nanos) = valid(self.kind.absent_ms);
                let out = Out::default().u64(0).u64(0).u64(seconds).u64(0).u32(nanos).u32(0);
                Ok(out.zeros(88).0)
            }
            Err(errno) => Err(errno),
        }
    }

    pub fn make(&mut self, mount: usize, parent: u64, name: &str, mode: u32, body: Body) -> Answer<Vec<u8>> {
        if self.tree.find(parent, name).is_ok() || parent == wire::ROOT && name == VIRTUAL_NAME {
            return Err(libc::EEXIST);
        }
        self.check_lock(mount, parent)?;
        let id = self.tree.make(parent, name, mode, body)?;
        self.entry(id)
    }

    pub fn link(&mut self, mount: usize, parent: u64, fields: &mut Fields) -> Answer<Vec<u8>> {
        let (id, name) = (fields.u64(), fields.name());
        if self.tree.find(parent, &name).is_ok() {
            return Err(libc::EEXIST);
        }
        self.tree.node(id)?;
        self.check_lock(mount, parent)?;
        let from = self.tree.path(id);
        self.tree.link(id, parent, &name)?;
        self.log.named(id, &from, &self.tree.path(id));
        self.entry(id)
    }

    pub fn rename(&mut self, mount: usize, node: u64, op: Op, fields: &mut Fields) -> Answer<Vec<u8>> {
        let target = fields.u64();
        let flags = if op == Op::Rename2 { fields.u64() } else { 0 };
        let (from, to) = (fields.name(), fields.name());
        if is_virtual(target) {
            return Err(libc::EPERM);
        }
        if flags != 0 {
            return Err(libc::ENOSYS);
        }
        let id = self.tree.find(node, &from)?;
        self.check_lock(mount, node)?;
        self.check_lock(mount, target)?;
        let before = self.tree.path(id);
        self.tree.replace((node, &from), (target, &to))?;
        self.log.named(id, &before, &self.tree.path(id));
        Ok(Vec::new())
    }

    pub fn set_attributes(&mut self, mount: usize, node: u64, fields: &mut Fields) -> Answer<Vec<u8>> {
        let valid = fields.u64() as u32;
        fields.u64();
        let size = fields.u64();
        fields.take(16);
        let seconds = fields.u64();
        fields.take(12);
        let nanos = fields.u32();
        fields.take(4);
        if valid & wire::SET_MODE != 0 {
            let mode = fields.u32();
            let node = self.tree.node_mut(node)?;
            node.mode = node.mode & libc::S_IFMT | mode & 0o7777;
        }
        if valid & wire::SET_SIZE != 0 {
            self.truncate(mount, node, size)?;
        }
        if valid & wire::SET_MTIME != 0 {
            let is_now = valid & wire::SET_MTIME_NOW != 0;
            let time = if is_now { now() } else { Duration::new(seconds, nanos) };
            self.tree.node_mut(node)?.changed = time;
        }
        let shown = self.show(mount, node)?;
        Ok(self.attributes_of(node, &shown))
    }

    pub fn show(&self, mount: usize, node: u64) -> Answer<Shown> {
        if is_virtual(node) {
            return self.show_virtual(mount, node);
        }
        let node = self.tree.node(node)?;
        let size = match &node.body {
            Body::File(_) => node.length,
            Body::Directory(_) => 0,
            Body::Link(target) => target.len() as u64,
        };
        Ok(Shown { mode: node.mode, size, links: node.links, changed: node.changed })
    }

    /// An entry of the tree, which the kernel will have to forget.
    pub fn entry(&mut self, id: u64) -> Answer<Vec<u8>> {
        let shown = self.show(0, id)?;
        self.tree.remember(id);
        let is_link = shown.mode & libc::S_IFMT == libc::S_IFLNK;
        Ok(self.entry_of(id, &shown, if is_link { self.kind.absent_ms } else { self.cache_ms }))
    }

    /// `struct fuse_entry_out`.
    pub fn entry_of(&self, id: u64, shown: &Shown, valid_ms: u64) -> Vec<u8> {
        let (seconds, nanos) = valid(valid_ms);
        let out = Out::default().u64(id).u64(0).u64(seconds).u64(seconds).u32(nanos).u32(nanos);
        out.bytes(&attributes(id, shown)).0
    }

    /// `struct fuse_attr_out`.
    pub fn attributes_of(&self, id: u64, shown: &Shown) -> Vec<u8> {
        let (seconds, nanos) = valid(self.cache_ms);
        Out::default().u64(seconds).u32(nanos).u32(0).bytes(&attributes(id, shown)).0
    }
}

impl Standin {
    pub fn open_directory(&mut self, request: &Request) -> Answer<Vec<u8>> {
        let (mount, node) = (request.mount, request.node);
        let mut names = if is_virtual(node) {
            self.list_virtual(mount, node)
        } else {
            self.tree.directory(node)?.names.iter().map(|(name, id)| (name.clone(), *id)).collect()
        };
        if node == wire::ROOT {
            names.push((VIRTUAL_NAME.to_owned(), VIRTUAL));
        }
        let handle = self.next_handle();
        let listing = Listing { names, is_iovs: node == IOVS, thread: request.thread };
        self.listings.insert(handle, listing);
        Ok(Out::default().u64(handle).u64(0).0)
    }

    pub fn close_directory(&mut self, mount: usize, fields: &mut Fields) -> Answer<Vec<u8>> {
        let listing = self.listings.remove(&fields.u64()).ok_or(libc::EBADF)?;
        if listing.is_iovs {
            self.iovs[mount].remove_of(listing.thread);
        }
        Ok(Vec::new())
    }

    /// `struct fuse_direntplus`, one after the other.
    pub fn list(&mut self, mount: usize, fields: &mut Fields) -> Answer<Vec<u8>> {
        let (handle, offset, size) = (fields.u64(), fields.u64() as usize, fields.u32() as usize);
        let listing = self.listings.get(&handle).ok_or(libc::EBADF)?;
        let names: Vec<_> = listing.names.iter().cloned().zip(1_u64..).skip(offset).collect();
        let mut out = Out::default();
        for ((name, id), next) in names {
            // Removed since: not shown.
            let Ok(shown) = self.show(mount, id) else { continue };
            let length = (128 + 24 + name.len()).next_multiple_of(8);
            if out.0.len() + length > size {
                break;
            }
            let entry =
                if is_virtual(id) { self.entry_of(id, &shown, self.cache_ms) } else { self.entry(id)? };
            let kind = (shown.mode & libc::S_IFMT) >> 12;
            let padding = length - 152 - name.len();
            out = out.bytes(&entry).u64(id).u64(next).u32(name.len() as u32).u32(kind);
            out = out.bytes(name.as_bytes()).zeros(padding);
        }
        Ok(out.0)
    }

    pub fn space(&self) -> Answer<Vec<u8>> {
        let blocks = self.tree.capacity_bytes() / BLOCK;
        let free = self.tree.capacity_bytes().saturating_sub(self.tree.used_bytes()) / BLOCK;
        let out = Out::default().u64(blocks).u64(free).u64(free).zeros(16);
        Ok(out.u32(BLOCK as u32).u32(255).u32(BLOCK as u32).zeros(28).0)
    }
}

/// `struct fuse_attr`. Everything is root's.
fn attributes(id: u64, shown: &Shown) -> Vec<u8> {
    let (seconds, nanos) = (shown.changed.as_secs(), shown.changed.subsec_nanos());
    let out = Out::default().u64(id).u64(shown.size).u64(shown.size.div_ceil(512));
    let out = out.u64(seconds).u64(seconds).u64(seconds).u32(nanos).u32(nanos).u32(nanos);
    out.u32(shown.mode).u32(shown.links).zeros(12).u32(chunks::CHUNK as u32).u32(0).0
}

fn valid(ms: u64) -> (u64, u32) {
    (ms / 1000, (ms % 1000) as u32 * 1_000_000)
}
