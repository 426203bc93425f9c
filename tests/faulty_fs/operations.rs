//! Each operation on the image: as it should be, or with a fault.

use std::collections::HashMap;

use super::file_system::{FileSystem, flip_a_bit};
use super::image::{Body, Directory, File, Image, Node, PAGE, Sync};
use super::nodes::{Answer, Nodes};
use super::rule::{Fault, Op};
use super::wire::{self, Fields, Out, Request, WRITE_DATA_AT};

/// What the image is served with.
pub struct Service {
    image: Image,
    /// How long the kernel may believe names and attributes.
    cache_ms: u64,
    listings: HashMap<u64, Vec<(String, u64, bool)>>,
    next_listing: u64,
}

impl Service {
    pub fn new(capacity_bytes: u64, cache_ms: u64) -> Service {
        Service { image: Image::new(capacity_bytes), cache_ms, listings: HashMap::new(), next_listing: 1 }
    }
}

impl FileSystem for Service {
    fn path(&self, node: u64) -> String {
        self.image.path(node)
    }

    fn perform(&mut self, op: Op, request: &Request, fault: Fault) -> Answer<Vec<u8>> {
        let node = request.node;
        let mut fields = request.fields();
        match op {
            Op::Lookup => {
                let id = self.image.find(node, &fields.name())?;
                self.entry(id, fault)
            }
            Op::GetAttr => self.attributes(node, fault),
            Op::SetAttr => self.set_attributes(node, &mut fields),
            Op::MkDir => {
                let mode = fields.u32();
                fields.u32();
                let body = Body::Directory(Directory::default());
                let id = self.image.make(node, &fields.name(), libc::S_IFDIR | mode & 0o7777, body)?;
                self.entry(id, fault)
            }
            Op::Create => self.create(node, &mut fields, fault),
            Op::Open => {
                let flags = fields.u32();
                self.image.open(node)?;
                if flags & libc::O_TRUNC as u32 != 0 {
                    self.image.change(node)?.resize(0);
                }
                Ok(opened(node, flags).0)
            }
            Op::Unlink => self.image.remove(node, &fields.name(), false).map(|()| Vec::new()),
            Op::RmDir => self.image.remove(node, &fields.name(), true).map(|()| Vec::new()),
            Op::Rename | Op::Rename2 => {
                let target = fields.u64();
                let flags = if op == Op::Rename2 { fields.u64() as u32 } else { 0 };
                let (from, to) = (fields.name(), fields.name());
                self.image.rename((node, &from), (target, &to), flags)?;
                Ok(Vec::new())
            }
            Op::Read => self.read(node, &mut fields, fault),
            Op::Write => self.write(request, fault),
            Op::Fallocate => self.allocate(node, &mut fields),
            Op::FSync => {
                let (what, errno) = match fault {
                    Fault::SyncLoses(errno) => (Sync::Failed { drop: false }, Some(errno)),
                    Fault::SyncDrops(errno) => (Sync::Failed { drop: true }, Some(errno)),
                    _ => (Sync::Done, None),
                };
                self.image.sync_file(node, what)?;
                errno.map_or(Ok(Vec::new()), Err)
            }
            Op::FSyncDir => self.image.sync_directory(node).map(|()| Vec::new()),
            Op::StatFs => {
                let capacity = self.image.capacity_pages();
                let free = capacity.saturating_sub(self.image.used_pages());
                let space = Out::default().u64(capacity).u64(free).u64(free);
                let files = space.u64(1 << 20).u64(1 << 20).u32(PAGE as u32).u32(255).u32(PAGE as u32);
                Ok(files.zeros(28).0)
            }
            Op::OpenDir => self.open_directory(node),
            Op::ReadDir => self.list(&mut fields),
            Op::ReleaseDir => {
                self.listings.remove(&fields.u64());
                Ok(Vec::new())
            }
            Op::Release => {
                self.image.release(node);
                Ok(Vec::new())
            }
            Op::Flush => Ok(Vec::new()),
            // Asked only where a rule or an option refuses them.
            Op::GetLock | Op::SetLock | Op::SetLockWait => Err(libc::ENOSYS),
            Op::Link | Op::TmpFile => Err(libc::EOPNOTSUPP),
            Op::ReadLink | Op::SymLink | Op::MkNod | Op::IoCtl | Op::ReadDirPlus => Err(libc::ENOSYS),
            Op::SetXAttr | Op::GetXAttr | Op::ListXAttr | Op::RemoveXAttr => Err(libc::ENOSYS),
        }
    }
    fn forget(&mut self, node: u64, lookups: u64) {
        self.image.forget(node, lookups);
    }

    fn files(&self) -> Vec<u64> {
        self.image.files()
    }

    fn lose_power(&mut self, seed: Option<u64>) {
        self.image.lose_power(seed);
    }

    fn init_flags(&self) -> u32 {
        wire::INIT_FLAGS
    }
}

impl Service {
    fn create(&mut self, parent: u64, fields: &mut Fields, fault: Fault) -> Answer<Vec<u8>> {
        let (flags, mode) = (fields.u32(), fields.u32());
        fields.take(8);
        let name = fields.name();
        let id = match self.image.find(parent, &name) {
            Ok(_) if flags & libc::O_EXCL as u32 != 0 => return Err(libc::EEXIST),
            Ok(id) => id,
            Err(_) => {
                let body = Body::File(File::default());
                self.image.make(parent, &name, libc::S_IFREG | mode & 0o7777, body)?
            }
        };
        if flags & libc::O_TRUNC as u32 != 0 {
            self.image.change(id)?.resize(0);
        }
        self.image.open(id)?;
        let entry = Out(self.entry(id, fault)?);
        Ok(entry.bytes(&opened(id, flags).0).0)
    }

    fn read(&mut self, node: u64, fields: &mut Fields, fault: Fault) -> Answer<Vec<u8>> {
        fields.u64();
        let (offset, size) = (fields.u64(), fields.u32() as usize);
        let file = self.image.file(node)?;
        Ok(match fault {
            Fault::Short(most) => file.now.read(offset, size.min(most as usize)),
            Fault::Stale => file.stale().read(offset, size),
            Fault::Zeros => vec![0; file.now.read(offset, size).len()],
            Fault::Corrupt => {
                let mut bytes = file.now.read(offset, size);
                flip_a_bit(&mut bytes);
                bytes
            }
            _ => file.now.read(offset, size),
        })
    }

    fn write(&mut self, request: &Request, fault: Fault) -> Answer<Vec<u8>> {
        let mut fields = request.fields();
        fields.u64();
        let offset = fields.u64();
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
        self.image.check_room(data.len() as u64)?;
        self.image.change(request.node)?.write(offset, &data);
        match fault {
            Fault::Torn(errno) if errno != 0 => Err(errno),
            _ => Ok(Out::default().u32(told as u32).u32(0).0),
        }
    }

    fn allocate(&mut self, node: u64, fields: &mut Fields) -> Answer<Vec<u8>> {
        fields.u64();
        let (offset, length, mode) = (fields.u64(), fields.u64(), fields.u32());
        if mode != 0 {
            return Err(libc::EOPNOTSUPP);
        }
        self.image.check_room(length)?;
        self.image.change(node)?.reserve(offset + length);
        Ok(Vec::new())
    }

    fn set_attributes(&mut self, node: u64, fields: &mut Fields) -> Answer<Vec<u8>> {
        let valid = fields.u64() as u32;
        fields.u64();
        let size = fields.u64();
        fields.take(44);
        if valid & wire::SET_MODE != 0 {
            self.image.set_mode(node, fields.u32())?;
        }
        if valid & wire::SET_SIZE != 0 {
            self.image.change(node)?.resize(size);
        }
        self.attributes(node, Fault::None)
    }

    fn open_directory(&mut self, node: u64) -> Answer<Vec<u8>> {
        let Body::Directory(directory) = &self.image.node(node)?.body else { return Err(libc::ENOTDIR) };
        let is_directory =
            |id: u64| self.image.node(id).is_ok_and(|node| matches!(node.body, Body::Directory(_)));
        let names = directory.now.iter().map(|(name, id)| (name.clone(), *id, is_directory(*id))).collect();
        let handle = self.next_listing;
        self.next_listing += 1;
        self.listings.insert(handle, names);
        Ok(Out::default().u64(handle).u64(0).0)
    }

    fn list(&mut self, fields: &mut Fields) -> Answer<Vec<u8>> {
        let (handle, offset, size) = (fields.u64(), fields.u64() as usize, fields.u32() as usize);
        let names = self.listings.get(&handle).ok_or(libc::EBADF)?;
        let mut out = Out::default();
        for (place, (name, id, is_directory)) in names.iter().enumerate().skip(offset) {
            let length = (24 + name.len()).next_multiple_of(8);
            if out.0.len() + length > size {
                break;
            }
            let kind = if *is_directory { libc::DT_DIR } else { libc::DT_REG };
            let padding = length - 24 - name.len();
            out = out.u64(*id).u64(place as u64 + 1).u32(name.len() as u32).u32(kind.into());
            out = out.bytes(name.as_bytes()).zeros(padding);
        }
        Ok(out.0)
    }

    /// `struct fuse_entry_out`.
    fn entry(&mut self, id: u64, fault: Fault) -> Answer<Vec<u8>> {
        let attributes = attributes(id, self.image.node(id)?, fault);
        self.image.remember(id);
        let (seconds, nanos) = self.valid();
        let out = Out::default().u64(id).u64(0).u64(seconds).u64(seconds).u32(nanos).u32(nanos);
        Ok(out.bytes(&attributes).0)
    }

    /// `struct fuse_attr_out`.
    fn attributes(&self, id: u64, fault: Fault) -> Answer<Vec<u8>> {
        let attributes = attributes(id, self.image.node(id)?, fault);
        let (seconds, nanos) = self.valid();
        Ok(Out::default().u64(seconds).u32(nanos).u32(0).bytes(&attributes).0)
    }

    fn valid(&self) -> (u64, u32) {
        (self.cache_ms / 1000, (self.cache_ms % 1000) as u32 * 1_000_000)
    }
}

/// `struct fuse_open_out`. Files have no state of an open one: the handle is the node.
fn opened(node: u64, flags: u32) -> Out {
    let is_direct = flags & libc::O_DIRECT as u32 != 0;
    Out::default().u64(node).u32(if is_direct { wire::OPEN_DIRECT } else { 0 }).u32(0)
}

/// `struct fuse_attr`.
fn attributes(id: u64, node: &Node, fault: Fault) -> Vec<u8> {
    let size = match (&node.body, fault) {
        (Body::File(file), Fault::Size(by)) => file.now.size.saturating_add_signed(by),
        (Body::File(file), _) => file.now.size,
        (Body::Directory(_), _) => PAGE,
    };
    let (seconds, nanos) = (node.changed.as_secs(), node.changed.subsec_nanos());
    let out = Out::default().u64(id).u64(size).u64(size.div_ceil(512));
    let out = out.u64(seconds).u64(seconds).u64(seconds).u32(nanos).u32(nanos).u32(nanos);
    // Owner and group are root, as whoever mounts it.
    out.u32(node.mode).u32(1).zeros(12).u32(PAGE as u32).u32(0).0
}
