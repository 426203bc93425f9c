//! What a configuration says once it was checked: the types that the rest of the library reads.
//! Nothing here parses; nothing here prints a credential.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// `nixl_store_timeout_ms` where the file has none, in milliseconds: far beyond any healthy transfer, short enough
/// that an engine gives a dead mount up and recomputes.
pub const TIMEOUT_MS_DEFAULT: u64 = 30_000;

/// `nixl_store_queue_items` where the file has none: 16 chains of 256 chunks at once.
pub const QUEUE_ITEMS_DEFAULT: u32 = 4096;
/// `nixl_store_reuse_quantile` unless set.
pub const REUSE_QUANTILE_DEFAULT: f64 = 0.6;
/// `nixl_store_reuse_ghost_entries` unless set.
pub const REUSE_GHOST_ENTRIES_DEFAULT: u32 = 8;

/// `nixl_store_index_sums_bytes` where the file has none: enough for 400 GiB in chunks of 256 KiB.
pub const INDEX_SUMS_BYTES_DEFAULT: u64 = 64 << 20;

/// `chunk_size` where the file has none, in tokens; LMCache's default.
pub const CHUNK_SIZE_TOKENS_DEFAULT: u64 = 256;

/// Which backend moves the bytes (`nixl_backend`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendKind {
    /// Local files through io_uring or threads.
    Posix,
    /// cuFile batch API.
    Gds,
    /// cuFile reads and writes on threads.
    GdsMt,
    /// 3FS through USRBIO.
    Hf3fs,
    /// S3-compatible object store.
    Obj,
    /// In this process's memory: nothing survives it. For tests and as a cache in RAM.
    Memory,
}

impl BackendKind {
    /// Every backend with the name it has in `nixl_backend`.
    pub const NAMES: [(&'static str, BackendKind); 6] = [
        ("POSIX", BackendKind::Posix),
        ("GDS", BackendKind::Gds),
        ("GDS_MT", BackendKind::GdsMt),
        ("HF3FS", BackendKind::Hf3fs),
        ("OBJ", BackendKind::Obj),
        ("MEMORY", BackendKind::Memory),
    ];

    /// The name in `nixl_backend`.
    pub const fn name(self) -> &'static str {
        match self {
            BackendKind::Posix => "POSIX",
            BackendKind::Gds => "GDS",
            BackendKind::GdsMt => "GDS_MT",
            BackendKind::Hf3fs => "HF3FS",
            BackendKind::Obj => "OBJ",
            BackendKind::Memory => "MEMORY",
        }
    }

    /// Whether it keeps its bytes in files below `nixl_path`.
    pub const fn uses_paths(self) -> bool {
        matches!(self, BackendKind::Posix | BackendKind::Gds | BackendKind::GdsMt | BackendKind::Hf3fs)
    }

    /// Whether the staging buffer may live in CUDA memory.
    pub const fn takes_cuda_buffer(self) -> bool {
        matches!(self, BackendKind::Gds | BackendKind::GdsMt)
    }
}

/// Where the staging buffer lives (`nixl_buffer_device`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BufferDevice {
    /// Host memory.
    Cpu,
    /// CUDA memory, of the named device or of the engine's current one.
    Cuda(Option<u32>),
}

/// Eviction order (`cache_policy`): four with LMCache's meanings, and this library's own REUSE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CachePolicy {
    /// Least recently used leaves first.
    #[default]
    Lru,
    /// Least frequently used leaves first; ties in order of arrival at that frequency.
    Lfu,
    /// Oldest put leaves first.
    Fifo,
    /// Most recently used leaves first.
    Mru,
    /// As LRU, and what is not worth displacing anything for is not stored.
    Reuse,
}

impl CachePolicy {
    /// The name in `cache_policy`.
    pub const fn name(self) -> &'static str {
        match self {
            CachePolicy::Lru => "LRU",
            CachePolicy::Lfu => "LFU",
            CachePolicy::Fifo => "FIFO",
            CachePolicy::Mru => "MRU",
            CachePolicy::Reuse => "REUSE",
        }
    }
}

/// The policy, and what it is set to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Eviction {
    /// `cache_policy`.
    pub policy: CachePolicy,
    /// `nixl_store_reuse_quantile`: the part of reuses that come sooner than what is new may displace.
    pub reuse_quantile: f64,
    /// `nixl_store_reuse_ghost_entries`: keys remembered after they left or were declined, for each that is stored.
    pub ghost_entries: u32,
}

impl From<CachePolicy> for Eviction {
    /// A policy with the defaults of its settings.
    fn from(policy: CachePolicy) -> Eviction {
        let (reuse_quantile, ghost_entries) = (REUSE_QUANTILE_DEFAULT, REUSE_GHOST_ENTRIES_DEFAULT);
        Eviction { policy, reuse_quantile, ghost_entries }
    }
}

/// How a dynamic store names its files (`nixl_store_layout`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// Hashed names in hashed sub-directories.
    #[default]
    Sharded,
    /// The flat names that LMCache's dynamic NIXL backend uses.
    Lmcache,
}

impl Layout {
    /// The name in `nixl_store_layout`.
    pub const fn name(self) -> &'static str {
        match self {
            Layout::Sharded => "sharded",
            Layout::Lmcache => "lmcache",
        }
    }

    /// The name of a dynamic store with this layout, in capabilities.
    pub const fn dynamic_name(self) -> &'static str {
        match self {
            Layout::Sharded => "dynamic/sharded",
            Layout::Lmcache => "dynamic/lmcache",
        }
    }
}

/// This library's own settings: the keys `nixl_store_*` in `extra_config`.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// `nixl_store_chunk_bytes`: bytes of the largest object; the open options win over it.
    pub chunk_bytes: Option<u64>,
    /// `nixl_store_layout`: `sharded` or `lmcache`; dynamic stores only.
    pub layout: Layout,
    /// `nixl_store_capacity_bytes`: upper bound of a dynamic store; `None` is unlimited.
    pub capacity_bytes: Option<u64>,
    /// `nixl_store_prefix`: key prefix of objects in a bucket (OBJ).
    pub prefix: String,
    /// `nixl_store_serve_unverified`: serve what LMCache wrote, which carries no checksum.
    pub serve_unverified: bool,
    /// `nixl_store_unverified_bytes`: bytes that such a file must have to be served; `None`: any number.
    pub unverified_bytes: Option<u64>,
    /// `nixl_store_io_threads`: I/O threads (lanes); `None` lets the backend choose.
    pub io_threads: Option<u32>,
    /// `nixl_store_map_files`: read slot files that lie in memory through a mapping.
    pub map_files: bool,
    /// `nixl_store_index_sums_bytes`: most memory for checksums of what lies in slots; 0: gets read them. Static pools only.
    pub index_sums_bytes: u64,
    /// `nixl_store_timeout_ms`: deadline of an operation that names none; `None` is no deadline.
    pub timeout_ms: Option<u64>,
    /// `nixl_store_queue_items`: items that may wait or be under way, per direction.
    pub queue_items: u32,
    /// `nixl_store_reuse_quantile`: see [`Eviction`].
    pub reuse_quantile: f64,
    /// `nixl_store_reuse_ghost_entries`: see [`Eviction`].
    pub reuse_ghost_entries: u32,
    /// `nixl_store_hf3fs_library`: 3FS's client library; `None`: the loader looks for it.
    pub hf3fs_library: Option<PathBuf>,
    /// `nixl_store_status_socket`: answer on a socket of this user's what is measured, while the store is open.
    pub status_socket: bool,
    /// `nixl_store_allow_unknown`: a `nixl_*` name that nobody knows is warned of, not refused.
    pub allow_unknown: bool,
}

impl Default for StoreSettings {
    fn default() -> StoreSettings {
        StoreSettings {
            chunk_bytes: None,
            layout: Layout::default(),
            capacity_bytes: None,
            prefix: String::new(),
            serve_unverified: false,
            unverified_bytes: None,
            io_threads: None,
            map_files: true,
            index_sums_bytes: INDEX_SUMS_BYTES_DEFAULT,
            timeout_ms: Some(TIMEOUT_MS_DEFAULT),
            queue_items: QUEUE_ITEMS_DEFAULT,
            reuse_quantile: REUSE_QUANTILE_DEFAULT,
            reuse_ghost_entries: REUSE_GHOST_ENTRIES_DEFAULT,
            hf3fs_library: None,
            status_socket: true,
            allow_unknown: false,
        }
    }
}

/// Everything that [`Config::load`] read, with defaults filled in.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it came from, for messages.
    pub source: PathBuf,
    /// `chunk_size`: tokens per chunk; kept in the store's identity.
    pub chunk_size_tokens: u64,
    /// `nixl_buffer_size`: bytes of the staging buffer; `None` where the file has none.
    pub buffer_bytes: Option<u64>,
    /// `nixl_buffer_device`.
    pub buffer_device: BufferDevice,
    /// `cache_policy`.
    pub cache_policy: CachePolicy,
    /// `nixl_backend`.
    pub backend: BackendKind,
    /// `nixl_pool_size`: slots of a static pool, 0 for a dynamic store.
    pub pool_size: u32,
    /// `nixl_path`, one entry per path; empty for backends that use none.
    pub paths: Vec<PathBuf>,
    /// `nixl_backend_params`, checked for the backend. May hold credentials: print through [`SecretMap`].
    pub backend_params: SecretMap,
    /// `use_direct_io`.
    pub use_direct_io: bool,
    /// `nixl_use_hugepages` or `local_cpu_use_hugepages`; host buffers only.
    pub use_hugepages: bool,
    /// `nixl_presence_cache`: trust this process's memory that a key is present in a dynamic store.
    pub presence_cache: bool,
    /// `nixl_presence_cache_only`: and that it is absent.
    pub presence_cache_only: bool,
    /// `nixl_endpoint_list`: OBJ endpoints, one per worker in turn.
    pub endpoint_list: Vec<String>,
    /// The store's own settings.
    pub store: StoreSettings,
    /// Accepted settings without effect here, one sentence each, to be logged once at open.
    pub notices: Vec<String>,
    /// Names that nobody knows and that were let pass, in one sentence, to be logged as a warning at open.
    pub warning: Option<String>,
    /// What every setting came to, and where from.
    pub effective: Vec<Effective>,
}

/// The parameters of a backend. Flags are stored as `true` or `false`, numbers in decimal; what is absent takes
/// the backend's default. `Debug` shows the names alone, because some of the values are credentials.
#[derive(Clone, Default)]
pub struct SecretMap(pub BTreeMap<String, String>);

impl SecretMap {
    /// The text of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A flag; `None` where it was not given.
    pub fn flag(&self, name: &str) -> Option<bool> {
        self.get(name).map(|text| text == "true")
    }

    /// A number; `None` where it was not given.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.get(name).and_then(|text| text.parse().ok())
    }
}

impl std::fmt::Debug for SecretMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Where a setting's value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingOrigin {
    /// Nobody gave one.
    Default,
    /// This line of the file or text.
    Line(u32),
    /// This environment variable.
    Variable(&'static str),
    /// The options of the open.
    Options,
}

impl fmt::Display for SettingOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SettingOrigin::Default => f.write_str("default"),
            SettingOrigin::Line(line) => write!(f, "line {line}"),
            SettingOrigin::Variable(name) => write!(f, "${name}"),
            SettingOrigin::Options => f.write_str("open options"),
        }
    }
}

/// A setting with the value that is in effect.
#[derive(Clone, Debug)]
pub struct Effective {
    /// Its name in the file.
    pub name: &'static str,
    /// Its value as a person would write it.
    pub value: String,
    /// Where that came from.
    pub origin: SettingOrigin,
}

impl fmt::Display for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={} ({})", self.name, self.value, self.origin)
    }
}
