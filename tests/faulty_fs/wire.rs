//! The protocol of `/dev/fuse`, as far as the server speaks it: numbers and layouts of `linux/fuse.h`, version 7.38.

pub const MAJOR: u32 = 7;
pub const MINOR: u32 = 38;
/// `FUSE_ROOT_ID`.
pub const ROOT: u64 = 1;
/// Bytes of `struct fuse_in_header`.
pub const IN_HEADER_BYTES: usize = 40;
/// Largest write that is asked for, and read.
pub const TRANSFER_BYTES_MAX: usize = 1 << 20;
/// What a read of `/dev/fuse` needs room for.
pub const REQUEST_BYTES_MAX: usize = TRANSFER_BYTES_MAX + (64 << 10);

pub const FORGET: u32 = 2;
pub const INIT: u32 = 26;
pub const INTERRUPT: u32 = 36;
pub const DESTROY: u32 = 38;
pub const BATCH_FORGET: u32 = 42;

/// Bytes before a write's data: `struct fuse_write_in`.
pub const WRITE_DATA_AT: usize = 40;

/// `FUSE_NOTIFY_INVAL_INODE`.
pub const NOTIFY_INVALIDATE: i32 = 2;

/// `FUSE_POSIX_LOCKS | FUSE_FLOCK_LOCKS`: the server is asked about locks.
pub const INIT_LOCKS: u32 = 1 << 1 | 1 << 10;
/// `FUSE_ASYNC_READ | FUSE_ATOMIC_O_TRUNC | FUSE_BIG_WRITES | FUSE_ASYNC_DIO | FUSE_PARALLEL_DIROPS | FUSE_MAX_PAGES`.
/// Without the fourth, the kernel completes short O_DIRECT reads of io_uring by itself, and wrongly (seen in 6.18): the
/// bytes of the later ones do not arrive. With it, it makes EIO of a short O_DIRECT write of io_uring.
pub const INIT_FLAGS: u32 = 1 | 1 << 3 | 1 << 5 | 1 << 15 | 1 << 18 | 1 << 22;
/// `FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES`: writes to one file do not wait for each other.
pub const OPEN_DIRECT: u32 = 1 | 1 << 6;

/// What libfuse asks for by itself for a server that lists directories with attributes: the above and `FUSE_AUTO_INVAL_DATA |
/// FUSE_DO_READDIRPLUS`.
pub const INIT_FLAGS_LIBFUSE: u32 = INIT_FLAGS | 1 << 12 | 1 << 13;
/// `FOPEN_DIRECT_IO` alone.
pub const OPEN_DIRECT_ALONE: u32 = 1;

/// `FATTR_MODE`, `FATTR_SIZE`, `FATTR_MTIME` and `FATTR_MTIME_NOW`.
pub const SET_MODE: u32 = 1;
pub const SET_SIZE: u32 = 1 << 3;
pub const SET_MTIME: u32 = 1 << 5;
pub const SET_MTIME_NOW: u32 = 1 << 8;

/// Reads numbers and names from a request, in their order. What is missing reads as zero.
#[derive(Clone)]
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    pub fn u32(&mut self) -> u32 {
        self.take(4).try_into().map_or(0, u32::from_ne_bytes)
    }

    pub fn u64(&mut self) -> u64 {
        self.take(8).try_into().map_or(0, u64::from_ne_bytes)
    }

    /// A name with its NUL.
    pub fn name(&mut self) -> String {
        let end = self.0.iter().position(|&byte| byte == 0).unwrap_or(self.0.len());
        let name = String::from_utf8_lossy(&self.0[..end]).into_owned();
        self.0 = self.0.get(end + 1..).unwrap_or(&[]);
        name
    }

    pub fn take(&mut self, bytes: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(bytes.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// Puts an answer together.
#[derive(Default)]
pub struct Out(pub Vec<u8>);

impl Out {
    pub fn u16(mut self, number: u16) -> Out {
        self.0.extend_from_slice(&number.to_ne_bytes());
        self
    }

    pub fn u32(mut self, number: u32) -> Out {
        self.0.extend_from_slice(&number.to_ne_bytes());
        self
    }

    pub fn u64(mut self, number: u64) -> Out {
        self.0.extend_from_slice(&number.to_ne_bytes());
        self
    }

    pub fn bytes(mut self, bytes: &[u8]) -> Out {
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn zeros(mut self, bytes: usize) -> Out {
        self.0.resize(self.0.len() + bytes, 0);
        self
    }
}

/// A request of the kernel.
pub struct Request {
    /// Which of the server's mounts it came through, counted from 0.
    pub mount: usize,
    pub opcode: u32,
    pub unique: u64,
    pub node: u64,
    /// The thread that asks, by the number that `gettid(2)` gives it.
    pub thread: u32,
    pub body: Vec<u8>,
}

impl Request {
    /// Takes apart what one read of `/dev/fuse` gave.
    pub fn parse(mount: usize, bytes: &[u8]) -> Request {
        let mut header = Fields(bytes);
        let _length = header.u32();
        let opcode = header.u32();
        let (unique, node) = (header.u64(), header.u64());
        let (_user, _group, thread) = (header.u32(), header.u32(), header.u32());
        Request { mount, opcode, unique, node, thread, body: bytes[IN_HEADER_BYTES..].to_vec() }
    }

    pub fn fields(&self) -> Fields<'_> {
        Fields(&self.body)
    }
}
