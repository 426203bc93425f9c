//! Scratch directories on a real file system, and the configuration of a store in one.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::cuda::Kind;
use super::hf3fs;

/// A directory that is gone, with all it holds, at the end of the test.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    /// What belongs to it on a mount.
    mounted: Option<PathBuf>,
}

impl Scratch {
    /// In cargo's directory for tests, below `target`: /tmp may be in memory, where O_DIRECT and space are different.
    pub fn new(name: &str) -> Scratch {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}-{serial}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Scratch { path, mounted: None }
    }

    /// One whose stores are on a mount.
    pub fn on(mount: &Path, name: &str) -> Scratch {
        let mut scratch = Scratch::new(name);
        let mounted = mount.join(scratch.path.file_name().unwrap());
        std::fs::create_dir(&mounted).unwrap();
        scratch.mounted = Some(mounted);
        scratch
    }

    pub fn is_on_a_mount(&self) -> bool {
        self.mounted.is_some()
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `nixl_path` of the stores in it.
    pub fn data(&self) -> PathBuf {
        self.mounted.as_ref().unwrap_or(&self.path).join("data")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A test may have ended what serves the mount, and that with it.
        let _ = self.mounted.as_ref().map(std::fs::remove_dir_all);
        let removed = std::fs::remove_dir_all(&self.path);
        assert!(removed.is_ok() || std::thread::panicking(), "{}: {removed:?}", self.path.display());
    }
}

/// Where a store keeps its objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Slots of a pool.
    Static,
    /// A file per key, named by its digest.
    Sharded,
    /// A file per key, named as LMCache names it.
    Lmcache,
}

/// The prefix in a bucket and the parameters of the backend, for a store whose directory would be this one.
pub type Bucket = fn(&Path) -> (String, Vec<(&'static str, String)>);

/// The settings of a store.
#[derive(Clone, Debug)]
pub struct Setup {
    pub backend: &'static str,
    /// Where the staging buffer is to be.
    pub device: &'static str,
    pub layout: Layout,
    pub direct_io: bool,
    pub uring: bool,
    /// The schedule of the fault-injecting wrapper; "" for none.
    pub fault: &'static str,
    pub slots: u32,
    pub chunk_bytes: u64,
    pub buffer_bytes: u64,
    pub policy: &'static str,
    pub capacity_bytes: u64,
    pub queue_items: u32,
    pub timeout_ms: u64,
    /// `nixl_store_index_sums_bytes`; `None`: its default.
    pub sums_bytes: Option<u64>,
    pub io_threads: u32,
    pub kernel_queue_size: u32,
    pub serve_unverified: bool,
    /// Parameters of the backend, beside those that have a field.
    pub params: &'static [(&'static str, u64)],
    /// The same, with values that are no numbers.
    pub words: &'static [(&'static str, &'static str)],
    /// Lines of `extra_config` for settings that have no field.
    pub more: &'static str,
    /// Where objects are that are in no directory.
    pub bucket: Option<Bucket>,
    /// The root of the mount that it is on; that is `None` where this machine cannot have one.
    pub mount: Option<fn() -> Option<&'static Path>>,
    /// Where the bytes of items lie.
    pub memory: Kind,
    /// The device that the open options name.
    pub cuda_device: Option<u32>,
}

impl Setup {
    /// A static pool on storage through io_uring with O_DIRECT.
    pub const POOL: Setup = Setup {
        backend: "POSIX",
        device: "cpu",
        layout: Layout::Static,
        direct_io: true,
        uring: true,
        fault: "",
        slots: 16,
        chunk_bytes: 1 << 20,
        buffer_bytes: 8 << 20,
        policy: "LRU",
        capacity_bytes: 0,
        queue_items: 4096,
        // Far longer than any test: a machine under load must not turn into timeouts.
        timeout_ms: 600_000,
        sums_bytes: None,
        io_threads: 2,
        kernel_queue_size: 128,
        serve_unverified: false,
        params: &[],
        words: &[],
        more: "",
        bucket: None,
        mount: None,
        memory: Kind::Host,
        cuda_device: None,
    };

    /// A file per key.
    pub const FILES: Setup = Setup { layout: Layout::Sharded, ..Setup::POOL };

    /// A static pool in memory.
    pub const MEMORY: Setup = Setup { backend: "MEMORY", direct_io: false, ..Setup::POOL };

    /// A static pool on storage through cuFile's batches, with O_DIRECT.
    pub const GDS: Setup = Setup { backend: "GDS", ..Setup::POOL };

    /// The same through cuFile's reads and writes on threads.
    pub const GDS_MT: Setup = Setup { backend: "GDS_MT", ..Setup::POOL };

    /// A static pool on 3FS, through its rings.
    pub const HF3FS: Setup = Setup { backend: "HF3FS", ..Setup::POOL };

    /// An object per key, in a bucket.
    pub const fn objects(bucket: Bucket) -> Setup {
        Setup { backend: "OBJ", direct_io: false, bucket: Some(bucket), ..Setup::FILES }
    }

    /// Whether there are slots, and not files of any size.
    pub fn is_static(&self) -> bool {
        self.layout == Layout::Static
    }

    /// The backend of its stores in this process.
    pub fn backend(&self) -> &'static str {
        hf3fs::backend_for(self.backend)
    }

    /// Whether a table should have it in this process: over HF3FS there is no io_uring and no page cache to choose.
    pub fn is_distinct(&self) -> bool {
        let is_chosen = self.uring && (self.direct_io || self.layout == Layout::Lmcache);
        !hf3fs::is_once_more() || self.backend == "POSIX" && is_chosen
    }

    /// The configuration file of a store at `path`.
    pub fn yaml(&self, path: &Path) -> String {
        let mut yaml = format!(
            "chunk_size: 256\nnixl_buffer_size: {}\nnixl_buffer_device: {}\ncache_policy: {}\nextra_config:\n  \
             enable_nixl_storage: true\n  nixl_backend: {}\n  nixl_path: {}\n  use_direct_io: {}\n  \
             nixl_store_io_threads: {}\n  nixl_store_queue_items: {}\n  nixl_store_timeout_ms: {}\n",
            self.buffer_bytes,
            self.device,
            self.policy,
            self.backend(),
            path.display(),
            self.direct_io,
            self.io_threads,
            self.queue_items,
            self.timeout_ms,
        );
        let (mut prefix, mut given) = (String::new(), Vec::new());
        if let Some(bucket) = self.bucket {
            (prefix, given) = bucket(path);
        }
        match self.layout {
            Layout::Static => {
                let (slots, chunk_bytes) = (self.slots, self.chunk_bytes);
                write!(yaml, "  nixl_pool_size: {slots}\n  nixl_store_chunk_bytes: {chunk_bytes}\n").unwrap();
            }
            layout => {
                let name = if layout == Layout::Sharded { "sharded" } else { "lmcache" };
                write!(yaml, "  nixl_pool_size: 0\n  nixl_store_layout: {name}\n").unwrap();
                writeln!(yaml, "  nixl_store_capacity_bytes: {}", self.capacity_bytes).unwrap();
                writeln!(yaml, "  nixl_store_serve_unverified: {}", self.serve_unverified).unwrap();
            }
        }
        if let Some(bytes) = self.sums_bytes {
            writeln!(yaml, "  nixl_store_index_sums_bytes: {bytes}").unwrap();
        }
        let mut parameters = String::new();
        if self.backend() == "POSIX" {
            writeln!(parameters, "    use_uring: {}", self.uring).unwrap();
            writeln!(parameters, "    kernel_queue_size: {}", self.kernel_queue_size).unwrap();
        }
        if self.backend() == "HF3FS" {
            let mount = path.parent().unwrap_or(path);
            writeln!(yaml, "  nixl_store_hf3fs_library: {}", hf3fs::library().display()).unwrap();
            writeln!(parameters, "    mount_point: {}", mount.display()).unwrap();
        }
        for (name, value) in self.params {
            writeln!(parameters, "    {name}: {value}").unwrap();
        }
        for (name, value) in self.words {
            writeln!(parameters, "    {name}: {value}").unwrap();
        }
        if self.bucket.is_some() {
            writeln!(yaml, "  nixl_store_prefix: {prefix}").unwrap();
        }
        for (name, value) in given {
            writeln!(parameters, "    {name}: {value}").unwrap();
        }
        yaml.push_str(self.more);
        if !self.fault.is_empty() {
            writeln!(parameters, "    fault: \"{}\"", self.fault).unwrap();
        }
        if !parameters.is_empty() {
            write!(yaml, "  nixl_backend_params:\n{parameters}").unwrap();
        }
        yaml
    }
}
