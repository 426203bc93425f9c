//! Stand-ins for 3FS's mounts, one of a kind for the whole process. They go with it.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::faulty_fs::{FaultyFs, Hf3fs, Options, Personality};

/// How long 3FS's client lets the kernel believe names and attributes, and that a name is absent.
const CACHE_MS: u64 = 30_000;
const ABSENT_MS: u64 = 5_000;
/// What was removed comes back minutes later: room for all that the tests ever write.
const CAPACITY_BYTES: u64 = 1 << 40;

/// A mount, and where its root is.
type Mounted = OnceLock<Option<(FaultyFs, PathBuf)>>;

fn root(mounted: &'static Mounted, name: &str, sync_on_stat: bool) -> Option<&'static Path> {
    let start = || {
        let kind = Hf3fs { absent_ms: ABSENT_MS, sync_on_stat, ..Hf3fs::default() };
        let options = Options {
            capacity_bytes: CAPACITY_BYTES,
            cache_ms: CACHE_MS,
            personality: Personality::Hf3fs(kind),
            ..Options::default()
        };
        let fs = FaultyFs::start(name, options)?;
        let root = fs.path();
        Some((fs, root))
    };
    mounted.get_or_init(start).as_ref().map(|(_, root)| root.as_path())
}

/// One that tells how long a file is after an fsync or a close.
pub fn telling_late() -> Option<&'static Path> {
    static MOUNTED: Mounted = OnceLock::new();
    root(&MOUNTED, "hf3fs_mount", false)
}

/// One that tells whoever asks, as the settings that come with 3FS have it.
pub fn telling() -> Option<&'static Path> {
    static MOUNTED: Mounted = OnceLock::new();
    root(&MOUNTED, "hf3fs_mount that tells", true)
}
