//! Open files: what goes to the chunks at once, what is kept behind, and when a length is known.

use std::collections::{HashMap, HashSet};

use super::super::file_system::flip_a_bit;
use super::super::nodes::{Answer, Nodes};
use super::super::rule::Fault;
use super::super::wire::{self, Fields, Out, Request, WRITE_DATA_AT};
use super::tree::{Body, now};
use super::{RING_THREAD, Standin};

/// Bytes of a file that a host keeps behind.
const BUFFER_BYTES_MAX: usize = 1 << 20;

struct Open {
    is_direct: bool,
    writes: bool,
}

/// Contiguous bytes that were written without O_DIRECT and are in no chunk yet.
struct Buffer {
    offset: u64,
    bytes: Vec<u8>,
}

/// What the hosts know of files that they have open. Keys are a mount and a node.
#[derive(Default)]
pub struct Files {
    open: HashMap<u64, Open>,
    buffers: HashMap<(usize, u64), Buffer>,
    /// Written by this host since it last looked for the length.
    written: HashSet<(usize, u64)>,
    /// Every direct transfer stands for a ring's.
    pub are_rings: bool,
}

impl Standin {
    /// `struct fuse_open_out`.
    pub fn open(&mut self, mount: usize, node: u64, flags: u32) -> Answer<Out> {
        let flags = flags as i32;
        if flags & libc::O_TRUNC != 0 {
            self.truncate(mount, node, 0)?;
        }
        self.tree.open(node)?;
        let is_direct = flags & libc::O_DIRECT != 0;
        let writes = flags & libc::O_ACCMODE != libc::O_RDONLY;
        let handle = self.next_handle();
        self.files.open.insert(handle, Open { is_direct, writes });
        Ok(Out::default().u64(handle).u32(if is_direct { wire::OPEN_DIRECT_ALONE } else { 0 }).u32(0))
    }

    pub fn release(&mut self, mount: usize, node: u64, fields: &mut Fields) -> Answer<Vec<u8>> {
        let open = self.files.open.remove(&fields.u64()).ok_or(libc::EBADF)?;
        if open.writes {
            self.look_for_length(mount, node)?;
        }
        self.tree.release(node);
        Ok(Vec::new())
    }

    pub fn create(&mut self, mount: usize, parent: u64, fields: &mut Fields) -> Answer<Vec<u8>> {
        let (flags, mode) = (fields.u32(), fields.u32());
        fields.take(8);
        let name = fields.name();
        let id = match self.tree.find(parent, &name) {
            Ok(_) if flags & libc::O_EXCL as u32 != 0 => return Err(libc::EEXIST),
            Ok(id) => id,
            Err(libc::ENOENT) => {
                self.check_lock(mount, parent)?;
                let body = Body::File(Default::default());
                self.tree.make(parent, &name, libc::S_IFREG | mode & 0o7777, body)?
            }
            Err(errno) => return Err(errno),
        };
        let opened = self.open(mount, id, flags)?;
        Ok(Out(self.entry(id)?).bytes(&opened.0).0)
    }

    pub fn read(&mut self, request: &Request, fault: Fault) -> Answer<Vec<u8>> {
        let mut fields = request.fields();
        let (handle, offset, mut size) = (fields.u64(), fields.u64(), fields.u32() as usize);
        self.note(handle, request, false)?;
        self.flush_before(handle, request)?;
        if let Fault::Short(most) = fault {
            size = size.min(most as usize);
        }
        let mut bytes = self.tree.file(request.node)?.read(offset, size);
        match fault {
            Fault::Zeros => bytes.fill(0),
            Fault::Corrupt => flip_a_bit(&mut bytes),
            Fault::Stale => panic!("no read of this stand-in is stale"),
            _ => {}
        }
        Ok(bytes)
    }

    pub fn write(&mut self, request: &Request, fault: Fault) -> Answer<Vec<u8>> {
        let mut fields = request.fields();
        let (handle, offset) = (fields.u64(), fields.u64());
        let mut data = request.body[WRITE_DATA_AT..].to_vec();
        let mut told = data.len();
        match fault {
            Fault::Short(most) => {
                data.truncate(most as usize);
                told = data.len();
            }
            Fault::Torn(_) => data.truncate(data.len() / 2),
            Fault::Corrupt => flip_a_bit(&mut data),
            _ => {}
        }
        self.note(handle, request, true)?;
        if self.files.open.get(&handle).ok_or(libc::EBADF)?.is_direct {
            self.flush_before(handle, request)?;
            self.store(request.mount, request.node, offset, &data)?;
        } else {
            self.keep(request.mount, request.node, offset, &data)?;
        }
        match fault {
            Fault::Torn(errno) if errno != 0 => Err(errno),
            _ => Ok(Out::default().u32(told as u32).u32(0).0),
        }
    }

    fn note(&mut self, handle: u64, request: &Request, is_write: bool) -> Answer<()> {
        let open = self.files.open.get(&handle).ok_or(libc::EBADF)?;
        self.log.note(request.node, self.tree.path(request.node), is_write, open.is_direct);
        Ok(())
    }

    /// What is kept behind goes before other bytes move through FUSE. A ring does not ask.
    fn flush_before(&mut self, handle: u64, request: &Request) -> Answer<()> {
        let key = (request.mount, request.node);
        if !self.files.buffers.contains_key(&key) {
            return Ok(());
        }
        let is_direct = self.files.open.get(&handle).is_some_and(|open| open.is_direct);
        let is_ring = || self.files.are_rings || thread_name(request.thread).starts_with(RING_THREAD);
        if is_direct && is_ring() { Ok(()) } else { self.flush_buffer(key.0, key.1) }
    }

    fn store(&mut self, mount: usize, node: u64, offset: u64, data: &[u8]) -> Answer<()> {
        // An upper bound: some of it may be there.
        if self.tree.used_bytes() + data.len() as u64 > self.tree.capacity_bytes() {
            return Err(libc::ENOSPC);
        }
        self.tree.node_mut(node)?.changed = now();
        self.tree.file(node)?.write(offset, data);
        self.files.written.insert((mount, node));
        Ok(())
    }

    /// Keeps bytes behind, up to what there is room for.
    fn keep(&mut self, mount: usize, node: u64, offset: u64, data: &[u8]) -> Answer<()> {
        let key = (mount, node);
        let follows = |buffer: &Buffer| buffer.offset + buffer.bytes.len() as u64 == offset;
        if !self.files.buffers.get(&key).is_none_or(follows) {
            self.flush_buffer(mount, node)?;
        }
        let mut done = 0;
        while done < data.len() {
            let offset = offset + done as u64;
            let buffer = self.files.buffers.entry(key).or_insert(Buffer { offset, bytes: Vec::new() });
            let length = (data.len() - done).min(BUFFER_BYTES_MAX - buffer.bytes.len());
            buffer.bytes.extend_from_slice(&data[done..done + length]);
            done += length;
            if buffer.bytes.len() == BUFFER_BYTES_MAX {
                self.flush_buffer(mount, node)?;
            }
        }
        Ok(())
    }

    /// What a host keeps behind goes to the chunks, over whatever is there by now; it is gone if it does not get there.
    pub fn flush_buffer(&mut self, mount: usize, node: u64) -> Answer<()> {
        let Some(Buffer { offset, bytes }) = self.files.buffers.remove(&(mount, node)) else { return Ok(()) };
        self.store(mount, node, offset, &bytes)
    }

    /// An fsync, or a close. `is_data_only`: the length stays as unknown as it was.
    pub fn sync(&mut self, mount: usize, node: u64, is_data_only: bool) -> Answer<Vec<u8>> {
        self.flush_buffer(mount, node)?;
        if !is_data_only {
            self.look_for_length(mount, node)?;
        }
        Ok(Vec::new())
    }

    /// Asks the chunks for the length, if this host has written since it last did.
    fn look_for_length(&mut self, mount: usize, node: u64) -> Answer<()> {
        if self.files.written.remove(&(mount, node)) {
            let end = self.tree.file(node)?.end();
            self.tree.node_mut(node)?.length = end;
            self.notices.push((mount, node));
        }
        Ok(())
    }

    pub fn truncate(&mut self, mount: usize, node: u64, length: u64) -> Answer<()> {
        self.flush_buffer(mount, node)?;
        self.tree.file(node)?.resize(length);
        self.files.written.remove(&(mount, node));
        let node = self.tree.node_mut(node)?;
        (node.length, node.changed) = (length, now());
        Ok(())
    }

    /// Before attributes are told: where the settings are so, they are made true for who wrote.
    pub fn sync_for_stat(&mut self, mount: usize, node: u64) -> Answer<()> {
        if self.kind.sync_on_stat && matches!(self.tree.node(node)?.body, Body::File(_)) {
            self.flush_buffer(mount, node)?;
            self.tell_length(mount, node)?;
        }
        Ok(())
    }

    /// The length is at least what this host wrote; an fsync still has to look.
    fn tell_length(&mut self, mount: usize, node: u64) -> Answer<()> {
        if self.files.written.contains(&(mount, node)) {
            let end = self.tree.file(node)?.end();
            let node = self.tree.node_mut(node)?;
            node.length = node.length.max(end);
        }
        Ok(())
    }

    /// What each daemon does every 30 seconds or so: writes down what it keeps behind and tells lengths. Tells how many buffers
    /// it were.
    pub fn flush_behind(&mut self) -> usize {
        let kept: Vec<(usize, u64)> = self.files.buffers.keys().copied().collect();
        for (mount, node) in &kept {
            // Nobody is left to hear of an error.
            let _ = self.flush_buffer(*mount, *node);
        }
        let written: Vec<(usize, u64)> = self.files.written.iter().copied().collect();
        for (mount, node) in written {
            if self.tell_length(mount, node).is_ok() {
                self.notices.push((mount, node));
            }
        }
        kept.len()
    }
}

/// Empty for a thread that is gone.
fn thread_name(thread: u32) -> String {
    std::fs::read_to_string(format!("/proc/{thread}/comm")).unwrap_or_default()
}
