//! A prefix of the bucket, stores on it, and what has to be true when a test is done with them.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::crash_common::api::{Options, Outcome, Store};
use crate::crash_common::config::Settings;
use crate::crash_common::{Scratch, chunk};
use crate::s3_common::{ACCESS_KEY, BUCKET, Client, Listed, Proxy, REGION, SECRET_KEY, Server, wait};
use crate::secrets;

pub const KIB: usize = 1 << 10;
pub const MIB: usize = 1 << 20;
/// Where the tests' stores begin to put in parts, the least that S3 allows.
pub const PARTS_FROM: usize = 5 * MIB;
/// An object of one request.
pub const SMALL: usize = 100 * KIB;
/// An object of three parts.
pub const LARGE: usize = 12 * MIB;

/// Where a test's objects are.
pub struct Place {
    pub prefix: String,
    pub client: Client,
    scratch: Scratch,
}

impl Place {
    pub fn new(name: &str) -> Place {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        secrets::listen();
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        Place {
            prefix: format!("{name}-{}-{serial}/", std::process::id()),
            client: Server::of_this_process().client(),
            scratch: Scratch::new(name),
        }
    }

    /// A dynamic store that asks at `endpoint`.
    pub fn dynamic(&self, endpoint: &str) -> Settings {
        let settings = Settings { backend: "OBJ", paths: Vec::new(), ..Settings::dynamic("".as_ref()) };
        settings
            .with("nixl_store_prefix", &self.prefix)
            .param("access_key", ACCESS_KEY)
            .param("secret_key", SECRET_KEY)
            .param("bucket", BUCKET)
            .param("region", REGION)
            .param("endpoint_override", endpoint)
            .param("crtMinLimit", PARTS_FROM)
    }

    /// A static pool.
    pub fn pool(&self, endpoint: &str, slots: u32, chunk_bytes: usize) -> Settings {
        let settings = Settings { pool_size: slots, ..self.dynamic(endpoint) };
        settings.with("nixl_store_chunk_bytes", chunk_bytes)
    }

    /// Writes the configuration to a file of its own.
    pub fn write(&self, settings: &Settings) -> PathBuf {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let name = format!("{}.yaml", SERIAL.fetch_add(1, Ordering::Relaxed));
        settings.write(&self.scratch.join(&name))
    }

    /// A file in the test's own directory.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.scratch.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    pub fn try_open(&self, settings: &Settings) -> Outcome<Store> {
        Store::open_with(&self.write(settings), &Options::default())
    }

    #[track_caller]
    pub fn open(&self, settings: &Settings) -> Store {
        self.try_open(settings).unwrap_or_else(|failure| panic!("{failure}"))
    }

    /// What lies below the prefix, asked past the library.
    pub fn objects(&self) -> Vec<Listed> {
        self.client.list(BUCKET, &self.prefix)
    }

    pub fn uploads(&self) -> Vec<(String, String)> {
        self.client.uploads(BUCKET, &self.prefix)
    }

    /// Ends a store as each test has to: nothing is under way, and the bucket has no upload that nobody completes.
    #[track_caller]
    pub fn end(&self, store: Store) {
        assert_eq!(store.stats().unwrap().items_in_flight, 0);
        store.close().unwrap_or_else(|failure| panic!("{failure}"));
        drop(store);
        self.assert_no_uploads();
    }

    /// The same for one behind a proxy, to which no connection is left then.
    #[track_caller]
    pub fn end_at(&self, store: Store, proxy: &Proxy) {
        proxy.heal();
        self.end(store);
        let seen = proxy.seen();
        let open: Vec<_> =
            seen.iter().filter(|seen| seen.ended.is_none()).map(|seen| (seen.kind, &seen.name)).collect();
        let what = format!("{}: all connections are closed; without an answer are {open:?}", self.prefix);
        wait::until(&what, wait::LONG, || (proxy.connections() == 0).then_some(()));
    }

    #[track_caller]
    pub fn assert_no_uploads(&self) {
        let uploads = self.uploads();
        assert!(uploads.is_empty(), "uploads are left behind: {uploads:?}");
    }
}

/// Another value for a parameter.
pub fn with_param(mut settings: Settings, name: &str, value: impl ToString) -> Settings {
    settings.params.retain(|(of, _)| of != name);
    settings.param(name, value)
}

/// A configuration without this parameter.
pub fn without_param(mut settings: Settings, name: &str) -> Settings {
    settings.params.retain(|(of, _)| of != name);
    settings
}

#[track_caller]
pub fn put(store: &Store, key: &str, version: u64, length: usize) {
    store.put(key, &chunk::fill(key, version, length)).unwrap_or_else(|failure| panic!("{key}: {failure}"));
}

/// The version that a key holds, every byte checked; `None` is a miss.
#[track_caller]
pub fn version(store: &Store, key: &str, length: usize) -> Option<u64> {
    let found = store.get(key, length).unwrap_or_else(|failure| panic!("{key}: {failure}"));
    found.map(|payload| {
        assert_eq!(payload.len(), length, "{key}");
        chunk::read(key, &payload).unwrap_or_else(|wrong| panic!("{wrong}"))
    })
}

/// Waits until a get is right again: a breaker lets one call through in a while.
#[track_caller]
pub fn wait_until_served(store: &Store, key: &str, wanted: u64, length: usize) {
    wait::until("the store serves again", wait::LONG, || {
        let found = store.get(key, length).ok()??;
        (chunk::read(key, &found) == Ok(wanted)).then_some(())
    });
}

/// Requests about objects, of any kind. What is about the bucket is done in the background.
pub fn object_requests(proxy: &Proxy) -> usize {
    proxy.seen().iter().filter(|seen| !seen.name.is_empty()).count()
}
