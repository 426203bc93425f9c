//! What a store has on storage, read and changed from outside, after `docs/FORMAT.md`.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use twox_hash::{XxHash3_64, XxHash3_128};

use super::setup::{Layout, Scratch};

const PAGE: u64 = 4096;
pub const BLOCK: u64 = 65536;

/// Places of fields in a trailer.
pub mod field {
    pub const MAGIC: usize = 0;
    pub const CHECKSUM: usize = 8;
    pub const FORMAT_VERSION: usize = 16;
    pub const TRAILER_BYTES: usize = 20;
    pub const POOL_ID: usize = 24;
    pub const SLOT: usize = 40;
    pub const GENERATION: usize = 48;
    pub const PAYLOAD_BYTES: usize = 56;
    pub const BLOCK_BYTES: usize = 64;
    pub const BLOCK_COUNT: usize = 68;
    pub const KEY_BYTES: usize = 72;
    pub const FLAGS: usize = 76;
    pub const RESERVED: usize = 80;
    pub const KEY: usize = 256;
    pub const BLOCK_CHECKSUMS: usize = 1792;
}

/// Bytes of a payload with its padding.
pub fn padded(payload_bytes: u64) -> u64 {
    payload_bytes.next_multiple_of(PAGE)
}

/// Bytes of the trailer behind a padded payload.
pub fn trailer_bytes(padded: u64) -> u64 {
    (1792 + 8 * padded.div_ceil(BLOCK)).next_multiple_of(PAGE)
}

/// The key as it is stored, without a namespace.
pub fn effective(key: &[u8]) -> Vec<u8> {
    [&[0], key].concat()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// Makes the checksum of a changed trailer right again.
pub fn seal(trailer: &mut [u8]) {
    trailer[field::CHECKSUM..field::CHECKSUM + 8].fill(0);
    let checksum = XxHash3_64::oneshot(trailer);
    trailer[field::CHECKSUM..field::CHECKSUM + 8].copy_from_slice(&checksum.to_le_bytes());
}

fn is_sealed(trailer: &[u8]) -> bool {
    let mut again = trailer.to_vec();
    seal(&mut again);
    again == trailer
}

/// A record on storage and where it lies.
#[derive(Clone, Debug)]
pub struct Record {
    pub path: PathBuf,
    pub payload_offset: u64,
    pub payload_bytes: u64,
    pub trailer_offset: u64,
    pub trailer_bytes: u64,
    pub slot: u64,
    pub generation: u64,
    pub key: Vec<u8>,
}

impl Record {
    /// First byte behind the record.
    pub fn end(&self) -> u64 {
        self.trailer_offset + self.trailer_bytes
    }

    pub fn trailer(&self) -> Vec<u8> {
        read(&self.path, self.trailer_offset, self.trailer_bytes as usize)
    }

    /// Changes fields of the trailer and makes its checksum right again.
    pub fn forge(&self, change: impl FnOnce(&mut [u8])) {
        let mut trailer = self.trailer();
        change(&mut trailer);
        seal(&mut trailer);
        write(&self.path, self.trailer_offset, &trailer);
    }
}

/// Reads a record whose trailer ends at `end`; `None` if there is none that is whole.
fn record(path: &Path, trailer_offset: u64, trailer_bytes: u64) -> Option<Record> {
    let trailer = read(path, trailer_offset, trailer_bytes as usize);
    if &trailer[..8] != b"NXLSREC1" || !is_sealed(&trailer) {
        return None;
    }
    assert_eq!(u32_at(&trailer, field::FORMAT_VERSION), 1);
    assert_eq!(u64::from(u32_at(&trailer, field::TRAILER_BYTES)), trailer_bytes);
    assert_eq!(u64::from(u32_at(&trailer, field::BLOCK_BYTES)), BLOCK);
    assert_eq!(u32_at(&trailer, field::FLAGS), 0);
    let payload_bytes = u64_at(&trailer, field::PAYLOAD_BYTES);
    assert_eq!(u64::from(u32_at(&trailer, field::BLOCK_COUNT)), payload_bytes.div_ceil(BLOCK));
    let key_bytes = u32_at(&trailer, field::KEY_BYTES) as usize;
    Some(Record {
        path: path.to_owned(),
        payload_offset: trailer_offset - padded(payload_bytes),
        payload_bytes,
        trailer_offset,
        trailer_bytes,
        slot: u64_at(&trailer, field::SLOT),
        generation: u64_at(&trailer, field::GENERATION),
        key: trailer[field::KEY..field::KEY + key_bytes].to_vec(),
    })
}

/// A static pool, seen from outside.
#[derive(Clone, Debug)]
pub struct Pool {
    pub directory: PathBuf,
    pub slot_count: u32,
    pub file_count: u32,
    pub chunk_bytes: u64,
    pub slot_bytes: u64,
}

impl Pool {
    /// The pool in a scratch directory.
    pub fn of(scratch: &Scratch) -> Pool {
        let directory = scratch.data().join("nixl_store_pool");
        let manifest = std::fs::read(directory.join("manifest")).unwrap();
        assert_eq!((manifest.len(), &manifest[..8]), (256, &b"NXLSPOL1"[..]));
        let pool = Pool {
            slot_count: u32_at(&manifest, 40),
            file_count: u32_at(&manifest, 44),
            chunk_bytes: u64_at(&manifest, 48),
            slot_bytes: u64_at(&manifest, 56),
            directory,
        };
        let chunk = padded(pool.chunk_bytes);
        assert_eq!(pool.slot_bytes, chunk + trailer_bytes(chunk));
        pool
    }

    /// Paths of the slot files.
    pub fn files(&self) -> Vec<PathBuf> {
        (0..self.file_count).map(|index| self.directory.join(format!("slots-{index:03}.bin"))).collect()
    }

    /// The file that a slot lies in and its offset there.
    pub fn place(&self, slot: u32) -> (PathBuf, u64) {
        let file = self.directory.join(format!("slots-{:03}.bin", slot % self.file_count));
        (file, u64::from(slot / self.file_count) * self.slot_bytes)
    }

    /// The record in a slot, if it holds one that is whole.
    pub fn record(&self, slot: u32) -> Option<Record> {
        let trailer_bytes = trailer_bytes(padded(self.chunk_bytes));
        let (path, offset) = self.place(slot);
        record(&path, offset + self.slot_bytes - trailer_bytes, trailer_bytes)
    }

    /// Every whole record.
    pub fn records(&self) -> Vec<Record> {
        (0..self.slot_count).filter_map(|slot| self.record(slot)).collect()
    }

    /// The one record of a key.
    #[track_caller]
    pub fn find(&self, key: &[u8]) -> Record {
        let mut found: Vec<_> =
            self.records().into_iter().filter(|record| record.key == effective(key)).collect();
        assert_eq!(found.len(), 1, "records of {key:?}");
        found.remove(0)
    }
}

/// The path of a key's file in a dynamic store. Keys must have no character that LMCache would encode.
pub fn object_path(scratch: &Scratch, layout: Layout, key: &[u8]) -> PathBuf {
    match layout {
        Layout::Static => panic!("a pool has no file per key"),
        Layout::Sharded => {
            let digest = format!("{:032x}", XxHash3_128::oneshot(&effective(key)));
            scratch.data().join("nixl_store_objects").join(&digest[..2]).join(digest)
        }
        Layout::Lmcache => scratch.data().join(std::str::from_utf8(key).unwrap()),
    }
}

/// The record in a key's file.
#[track_caller]
pub fn object(scratch: &Scratch, layout: Layout, key: &[u8]) -> Record {
    let path = object_path(scratch, layout, key);
    let length = std::fs::metadata(&path).unwrap().len();
    let pages = 1..=length / PAGE;
    let fits = |payload: &u64| payload + trailer_bytes(*payload) == length;
    let payload = pages.map(|page| page * PAGE).find(fits).expect("the length of a record");
    let record = record(&path, payload, length - payload).expect("a whole record");
    assert_eq!(record.key, effective(key));
    record
}

/// The record of a key, wherever the store has it.
#[track_caller]
pub fn record_of(scratch: &Scratch, layout: Layout, key: &[u8]) -> Record {
    if layout == Layout::Static { Pool::of(scratch).find(key) } else { object(scratch, layout, key) }
}

pub fn read(path: &Path, offset: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    File::open(path).unwrap().read_exact_at(&mut bytes, offset).unwrap();
    bytes
}

/// Overwrites a part of a file, as another program would.
pub fn write(path: &Path, offset: u64, bytes: &[u8]) {
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, offset).unwrap();
}

/// Turns over the bits `mask` of one byte.
pub fn flip(path: &Path, offset: u64, mask: u8) {
    let byte = read(path, offset, 1)[0];
    write(path, offset, &[byte ^ mask]);
}

pub fn truncate(path: &Path, length: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(length).unwrap();
}

/// A hash of a file's bytes.
pub fn file_hash(path: &Path) -> u64 {
    XxHash3_64::oneshot(&std::fs::read(path).unwrap())
}
