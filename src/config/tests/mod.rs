//! Promises of the configuration, one file per kind of promise. Everything goes through [`Config::load`] and a real file.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Config, Source};
use crate::error::{Error, Status};

mod environment;
mod examples;
mod hostile;
mod params;
mod refusals;
mod secrets;
mod settings;

/// A file that is gone when the test is.
pub(super) struct TestFile {
    directory: PathBuf,
    pub path: PathBuf,
}

impl TestFile {
    pub fn new(bytes: &[u8]) -> TestFile {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory =
            std::env::temp_dir().join(format!("nixl_store_config_{}_{number}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("lmcache.yaml");
        std::fs::write(&path, bytes).unwrap();
        TestFile { directory, path }
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

pub(super) fn no_variables(_: &str) -> Option<String> {
    None
}

pub(super) fn load(text: &str) -> Result<Config, Error> {
    load_with(text, &[])
}

pub(super) fn load_with(text: &str, variables: &[(&str, &str)]) -> Result<Config, Error> {
    let file = TestFile::new(text.as_bytes());
    load_path(&file.path, variables)
}

pub(super) fn load_path(path: &Path, variables: &[(&str, &str)]) -> Result<Config, Error> {
    let lookup =
        |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    Config::load(Source::File(path), &lookup)
}

/// A working POSIX file whose `extra_config` has these lines more, from line 6 on.
pub(super) fn posix(extra: &str) -> String {
    let head = "extra_config:\n  enable_nixl_storage: true\n  nixl_backend: POSIX\n  nixl_pool_size: 64\n";
    format!("{head}  nixl_path: /mnt/cache\n{}", indented(extra, 2))
}

/// A working file for any backend whose `nixl_backend_params` has these lines, from line 7 on.
pub(super) fn with_params(backend: &str, params: &str) -> String {
    format!(
        "extra_config:\n  enable_nixl_storage: true\n  nixl_backend: {backend}\n  nixl_pool_size: 64\n  nixl_path: /p\n  nixl_backend_params:\n{}",
        indented(params, 4)
    )
}

fn indented(lines: &str, by: usize) -> String {
    lines.lines().map(|line| format!("{}{line}\n", " ".repeat(by))).collect()
}

/// The refusal of a text, which must hold all the parts.
#[track_caller]
pub(super) fn assert_refused(text: &str, parts: &[&str]) {
    assert_parts(load(text), parts);
}

#[track_caller]
pub(super) fn assert_parts(result: Result<Config, Error>, parts: &[&str]) {
    let error = match result {
        Ok(_) => panic!("it was accepted; expected a refusal with {parts:?}"),
        Err(error) => error,
    };
    assert_eq!(error.status(), Status::Config, "{error}");
    for part in parts {
        assert!(error.message().contains(part), "{part:?} is not in: {error}");
    }
}

#[track_caller]
pub(super) fn assert_notice(config: &Config, parts: &[&str]) {
    let found = config.notices.iter().any(|notice| parts.iter().all(|part| notice.contains(part)));
    assert!(found, "no notice with {parts:?} in {:?}", config.notices);
}
