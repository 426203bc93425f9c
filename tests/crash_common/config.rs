//! LMCache's YAML, as the tests need it.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::hf3fs;

/// Settings of a store; `write` makes the file that open reads.
#[derive(Clone)]
pub struct Settings {
    pub backend: &'static str,
    pub buffer_bytes: u64,
    pub chunk_size: u64,
    pub pool_size: u32,
    pub paths: Vec<PathBuf>,
    pub direct: bool,
    pub policy: &'static str,
    /// Further lines of `extra_config`: key and value.
    pub extra: Vec<(String, String)>,
    /// `nixl_backend_params`.
    pub params: Vec<(String, String)>,
}

impl Settings {
    /// A static pool in `path`.
    pub fn pool(path: &Path, slots: u32, chunk_bytes: u64) -> Settings {
        let settings = Settings { pool_size: slots, ..Settings::dynamic(path) };
        settings.with("nixl_store_chunk_bytes", chunk_bytes)
    }

    /// A dynamic store in `path`.
    pub fn dynamic(path: &Path) -> Settings {
        Settings {
            backend: "POSIX",
            buffer_bytes: 8 << 20,
            chunk_size: 256,
            pool_size: 0,
            paths: vec![path.to_owned()],
            direct: false,
            policy: "LRU",
            extra: Vec::new(),
            params: Vec::new(),
        }
    }

    pub fn direct(mut self) -> Settings {
        self.direct = true;
        self
    }

    pub fn with(mut self, key: &str, value: impl ToString) -> Settings {
        self.extra.retain(|(other, _)| other != key);
        self.extra.push((key.to_owned(), value.to_string()));
        self
    }

    pub fn param(mut self, key: &str, value: impl ToString) -> Settings {
        self.params.push((key.to_owned(), value.to_string()));
        self
    }

    /// The backend of its stores in this process.
    pub fn backend(&self) -> &'static str {
        hf3fs::backend_for(self.backend)
    }

    /// Writes the file and answers its path.
    pub fn write(&self, file: &Path) -> PathBuf {
        let mut text = format!(
            "chunk_size: {}\nnixl_buffer_size: {}\nnixl_buffer_device: cpu\ncache_policy: {}\nextra_config:\n  \
             enable_nixl_storage: true\n  nixl_backend: {}\n  nixl_pool_size: {}\n  use_direct_io: {}\n",
            self.chunk_size,
            self.buffer_bytes,
            self.policy,
            self.backend(),
            self.pool_size,
            self.direct
        );
        if !self.paths.is_empty() {
            text.push_str("  nixl_path:\n");
            for path in &self.paths {
                writeln!(text, "    - {}", path.display()).unwrap();
            }
        }
        for (key, value) in &self.extra {
            writeln!(text, "  {key}: {value}").unwrap();
        }
        let is_hf3fs = self.backend() == "HF3FS";
        if is_hf3fs {
            writeln!(text, "  nixl_store_hf3fs_library: {}", hf3fs::library().display()).unwrap();
        }
        // What system calls are made is nothing to a backend that makes none.
        let params: Vec<_> = self.params.iter().filter(|(key, _)| !is_hf3fs || key == "fault").collect();
        if !params.is_empty() {
            text.push_str("  nixl_backend_params:\n");
            for (key, value) in params {
                writeln!(text, "    {key}: {value}").unwrap();
            }
        }
        std::fs::write(file, text).unwrap();
        file.to_owned()
    }
}
