//! The files that LMCache's users have, as its documentation shows them.

use std::path::PathBuf;

use super::{assert_notice, load};
use crate::config::{
    BackendKind, BufferDevice, CachePolicy, Config, Layout, Source, backend_params, document, names,
};

fn example(name: &str) -> Config {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/config").join(name);
    Config::load(Source::File(&path), &super::no_variables).unwrap()
}

/// The first promise: the POSIX example of LMCache's documentation opens unchanged, and every value arrives. What it
/// leaves out has the documented default.
#[test]
fn the_posix_example_loads_unchanged() {
    let config = example("lmcache_posix.yaml");
    assert_eq!(config.chunk_size_tokens, 256);
    assert_eq!(config.buffer_bytes, Some(1 << 30));
    assert_eq!(config.buffer_device, BufferDevice::Cpu);
    assert_eq!(config.backend, BackendKind::Posix);
    assert_eq!(config.pool_size, 64);
    assert_eq!(config.paths, [PathBuf::from("/mnt/nixl/cache/")]);
    assert!(config.use_direct_io);
    assert!(config.source.ends_with("lmcache_posix.yaml"));

    assert_eq!(config.cache_policy, CachePolicy::Lru);
    assert!(config.backend_params.0.is_empty());
    assert!(!config.use_hugepages && !config.presence_cache && !config.presence_cache_only);
    assert!(config.endpoint_list.is_empty());
    assert_eq!(config.store.layout, Layout::Sharded);
    assert_eq!(config.store.timeout_ms, Some(30_000));
    assert_eq!(config.store.queue_items, 4096);
    assert_eq!((config.store.chunk_bytes, config.store.capacity_bytes), (None, None));
    assert_eq!((config.store.io_threads, config.store.prefix.as_str()), (None, ""));
    assert!(!config.store.serve_unverified);
    assert!(config.store.map_files);
    assert!(config.notices.is_empty(), "{:?}", config.notices);
}

/// LMCache 0.5.6 refuses `nixl_buffer_size` on the cpu, so its newer example has none; huge pages moved to the top.
#[test]
fn the_newer_posix_example_has_no_buffer_size() {
    let config = example("lmcache_posix_hugepages.yaml");
    assert_eq!(config.buffer_bytes, None);
    assert!(config.use_hugepages);
}

/// An older page broke a flow mapping with a backslash, which YAML makes part of the next key, and used the older
/// name of the pool size.
#[test]
fn the_older_posix_example_with_a_backslash_loads() {
    let config = example("lmcache_posix_backslash.yaml");
    assert_eq!(config.pool_size, 64);
    assert_eq!(config.backend, BackendKind::Posix);
    assert_eq!(config.paths, [PathBuf::from("/mnt/nixl/cache/")]);
}

/// Several disks, one for each GPU.
#[test]
fn the_example_with_several_paths_loads() {
    let config = example("lmcache_posix_paths.yaml");
    let paths = ["/mnt/nixl/cache0/", "/mnt/nixl/cache1/", "/mnt/nixl/cache2/"].map(PathBuf::from);
    assert_eq!(config.paths, paths);
}

/// Parameters are strings to NIXL, so its users quote them.
#[test]
fn the_liburing_example_loads() {
    assert_eq!(example("lmcache_posix_uring.yaml").backend_params.flag("use_uring"), Some(true));
}

/// The OBJ example names a path, which OBJ does not use: accepted, and said once.
#[test]
fn the_obj_example_loads_unchanged() {
    let config = example("lmcache_obj.yaml");
    assert_eq!(config.backend, BackendKind::Obj);
    assert_eq!(config.pool_size, 64);
    assert!(config.paths.is_empty());
    for (name, value) in [
        ("access_key", "<your_access_key>"),
        ("secret_key", "<your_secret_key>"),
        ("bucket", "<your_bucket>"),
        ("region", "<your_region>"),
    ] {
        assert_eq!(config.backend_params.get(name), Some(value));
    }
    assert_notice(&config, &["lmcache_obj.yaml:8: extra_config.nixl_path has no effect"]);
}

/// The dynamic OBJ example sets things that LMCache needs and this library has no use for.
#[test]
fn the_dynamic_obj_example_loads_unchanged() {
    let config = example("lmcache_obj_dynamic.yaml");
    assert_eq!(config.pool_size, 0);
    assert_eq!(config.buffer_bytes, Some(3_019_898_880));
    assert!(!config.presence_cache);
    assert_eq!(config.backend_params.get("endpoint_override"), Some("https://url-to-object-storage"));
    assert_eq!(config.backend_params.get("ca_bundle"), Some("path to self-signed certificate"));
    assert_notice(&config, &["nixl_async_put has no effect"]);
}

/// One endpoint for each worker in turn.
#[test]
fn the_endpoint_list_example_loads_unchanged() {
    let config = example("lmcache_obj_endpoints.yaml");
    assert_eq!(config.endpoint_list.len(), 3);
    assert_eq!(config.endpoint_list.first().unwrap(), "https://node-0.object-storage:9021");
    assert_eq!(config.buffer_device, BufferDevice::Cpu);
}

/// A file serves LMCache's other parts too; none of their settings may stand in the way, `nixl_*` ones of its
/// transfers between engines included.
#[test]
fn other_settings_of_lmcache_are_ignored() {
    let text = "\
local_cpu: true
max_local_cpu_size: 5.5
enable_pd: false
pd_peer_init_port: [1, 2]
nixl_backends: [UCX]
nixl_role: sender
nixl_peer_host: localhost
nixl_peer_port: 1
nixl_peer_init_port: 2
nixl_peer_alloc_port: 3
nixl_proxy_host: p
nixl_proxy_port: 4
nixl_receiver_host: r
nixl_receiver_port: 5
nixl_enable_gc: true
ec: {nixl_whatever: 1}
local_disk: a
local_disk: b
extra_config:
  enable_nixl_storage: true
  nixl_backend: POSIX
  nixl_pool_size: 64
  nixl_path: /p
  rust_raw_block.io_engine: x
  save_only_first_rank: true
  type: something
";
    let config = load(text).unwrap();
    assert!(config.notices.is_empty(), "{:?}", config.notices);
}

const DOCUMENTATION: &str = include_str!("../../../docs/CONFIGURATION.md");

/// A setting that the documentation leaves out might as well not exist.
#[test]
fn every_setting_is_documented() {
    let settings = names::KNOWN.iter().map(|(name, _)| *name);
    let params = BackendKind::NAMES.into_iter().flat_map(|(_, backend)| backend_params::names_of(backend));
    for name in settings.chain(params).chain(document::variables()) {
        assert!(DOCUMENTATION.contains(&format!("`{name}`")), "{name} is not documented");
    }
}

/// What the documentation shows must open: it is what a new user copies.
#[test]
fn every_documented_example_opens() {
    let examples: Vec<&str> =
        DOCUMENTATION.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(examples.len() >= 5);
    for example in examples {
        load(example).unwrap();
    }
}

/// The example for 3FS, as it is in `docs/3FS.md` too, but for its comments.
#[test]
fn the_hf3fs_example_loads_and_is_the_documents() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let path = folder.join("examples-c/hf3fs.yaml");
    let config = Config::load(Source::File(&path), &super::no_variables).unwrap();
    assert_eq!(config.backend, BackendKind::Hf3fs);
    assert_eq!((config.pool_size, config.store.chunk_bytes), (256, Some(32 << 20)));
    assert_eq!(config.backend_params.get("mount_point"), Some("/mnt/3fs"));
    assert!(config.notices.is_empty(), "{:?}", config.notices);
    let bare = |text: &str| {
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim_end().to_owned());
        lines.filter(|line| !line.is_empty()).collect::<Vec<_>>()
    };
    let document = std::fs::read_to_string(folder.join("docs/3FS.md")).unwrap();
    let block = document.split("```").find_map(|block| block.strip_prefix("yaml\n")).unwrap();
    assert_eq!(bare(&std::fs::read_to_string(&path).unwrap()), bare(block));
}
