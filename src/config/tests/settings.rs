//! Each setting: what it takes, and what its value becomes.

use std::path::PathBuf;

use super::{assert_notice, assert_refused, load, load_with, posix, with_params};
use crate::config::{BackendKind, BufferDevice, CachePolicy, Config, Layout, names};

fn loaded(text: &str) -> Config {
    load(text).unwrap()
}

/// The log says what is in effect and who said so: a variable, a line, or nobody.
#[test]
fn every_setting_is_listed_with_its_value_and_where_it_came_from() {
    let text = format!(
        "chunk_size: 1\ncache_policy: fifo\n{}",
        posix("use_direct_io: yes\nnixl_store_timeout_ms: none")
    );
    let config = load_with(&text, &[("LMCACHE_CHUNK_SIZE", "512")]).unwrap();
    let listed: Vec<String> = config.effective.iter().map(ToString::to_string).collect();
    for setting in [
        "chunk_size=512 ($LMCACHE_CHUNK_SIZE)",
        "cache_policy=FIFO (line 2)",
        "nixl_backend=POSIX (line 5)",
        "nixl_pool_size=64 (line 6)",
        "nixl_path=\"/mnt/cache\" (line 7)",
        "use_direct_io=true (line 8)",
        "nixl_store_timeout_ms=none (line 9)",
        "nixl_store_queue_items=4096 (default)",
        "nixl_store_index_sums_bytes=67108864 (default)",
        "local_cpu_use_hugepages=false (default)",
        "nixl_backend_params={} (default)",
    ] {
        assert!(listed.iter().any(|line| line == setting), "{setting} is not in {listed:#?}");
    }
    // What is not listed either has no effect or is another name of what is.
    let unlisted = [
        "enable_nixl_storage",
        "extra_config",
        "nixl_file_pool_size",
        "nixl_path_sharding",
        "nixl_use_hugepages",
        "nixl_async_put",
        "nixl_enable_prog_thread",
        "nixl_sync_mode",
    ];
    for (name, _) in names::KNOWN {
        let is_listed = config.effective.iter().any(|setting| setting.name == name);
        assert_ne!(is_listed, unlisted.contains(&name), "{name}");
    }
}

/// A list of hundreds of paths does not make a line of megabytes.
#[test]
fn long_lists_are_cut_in_the_log() {
    let many = format!("[{}]", vec!["/a"; 256].join(","));
    let config = loaded(&posix("").replace("/mnt/cache", &many));
    let path = config.effective.iter().find(|setting| setting.name == "nixl_path").unwrap();
    assert_eq!(path.value, "[\"/a\", \"/a\", \"/a\", \"/a\" and 252 more]");
}

/// PyYAML reads YAML 1.1: `yes`, `True` and `1_000` mean there what they must mean here, and numbers in quotes are
/// taken where LMCache would convert them.
#[test]
fn yaml_1_1_booleans_and_numbers_are_read_as_pyyaml_reads_them() {
    for word in ["true", "True", "yes", "Yes", "on", "ON", "1", "\"true\"", "'yes'"] {
        assert!(loaded(&posix(&format!("use_direct_io: {word}"))).use_direct_io, "{word}");
    }
    for word in ["false", "False", "no", "off", "0", "\"false\"", "null", "~", ""] {
        assert!(!loaded(&posix(&format!("use_direct_io: {word}"))).use_direct_io, "{word}");
    }
    for number in ["1_048_576", "\"1048576\"", "0x100000", "1048576.0", "1.048576e+6", "+1048576"] {
        let text = format!("nixl_buffer_size: {number}\n{}", posix(""));
        assert_eq!(loaded(&text).buffer_bytes, Some(1 << 20), "{number}");
    }
    assert_refused(
        &posix("use_direct_io: y"),
        &[":6: extra_config.use_direct_io is \"y\"", "true, false, yes"],
    );
    assert_refused(&format!("chunk_size: 0256\n{}", posix("")), &["chunk_size is \"0256\"", "from 1 to"]);
    assert_refused(&format!("chunk_size: 0\n{}", posix("")), &[":1: chunk_size is \"0\"", "from 1 to"]);
    assert_refused(&format!("chunk_size: [1]\n{}", posix("")), &[":1: chunk_size is a list"]);
    assert_refused(&format!("nixl_buffer_size: 1.5\n{}", posix("")), &[":1: nixl_buffer_size is \"1.5\""]);
    for bytes in ["0", "262143", "4398046511105", "18446744073709551615"] {
        let text = format!("nixl_buffer_size: {bytes}\n{}", posix(""));
        assert_refused(
            &text,
            &[":1: nixl_buffer_size is ", "whole number of bytes from 262144 to 4398046511104"],
        );
    }
    assert_refused(&format!("nixl_buffer_size: 1GiB\n{}", posix("")), &["whole number of bytes"]);
}

/// The settings of REUSE have ranges, and have no effect under another policy, which is said.
#[test]
fn settings_of_reuse_have_ranges() {
    let settings = |extra: &str| format!("cache_policy: REUSE\n{}", posix(extra));
    let config = loaded(&settings("nixl_store_reuse_quantile: 0.8\nnixl_store_reuse_ghost_entries: 0\n"));
    let eviction = config.eviction();
    assert_eq!((eviction.reuse_quantile, eviction.ghost_entries), (0.8, 0));
    assert!(config.notices.is_empty(), "{:?}", config.notices);
    let defaults = loaded(&settings("")).eviction();
    assert_eq!((defaults.reuse_quantile, defaults.ghost_entries), (0.6, 8));
    for wrong in ["0", "1", "0.04", "-1", "nan", "inf", "half", "[0.6]"] {
        let text = settings(&format!("nixl_store_reuse_quantile: {wrong}\n"));
        assert_refused(&text, &["nixl_store_reuse_quantile", "a number from 0.05 to 0.99, such as 0.6"]);
    }
    let many = settings("nixl_store_reuse_ghost_entries: 65\n");
    assert_refused(&many, &["nixl_store_reuse_ghost_entries", "from 0 to 64"]);
    let config = loaded(&posix("nixl_store_reuse_quantile: 0.8\nnixl_store_reuse_ghost_entries: 4\n"));
    assert!(config.notices.iter().all(|notice| notice.contains("cache_policy is not REUSE")));
    assert_eq!(config.notices.len(), 2, "{:?}", config.notices);
}

/// LMCache compares policy names without case.
#[test]
fn cache_policies_have_lmcaches_names() {
    for (word, policy) in [
        ("LRU", CachePolicy::Lru),
        ("lfu", CachePolicy::Lfu),
        ("FIFO", CachePolicy::Fifo),
        ("Mru", CachePolicy::Mru),
        ("reuse", CachePolicy::Reuse),
    ] {
        assert_eq!(loaded(&format!("cache_policy: {word}\n{}", posix(""))).cache_policy, policy);
    }
    assert_refused(
        &format!("cache_policy: ARC\n{}", posix("")),
        &[":1: cache_policy is \"ARC\"; allowed: LRU, LFU, FIFO, MRU, REUSE"],
    );
}

/// Which device goes with which backend, exactly: a pair that cannot work must fail at open, not at the first put.
#[test]
fn device_and_backend_go_together_as_the_matrix_says() {
    let text = |backend: &str, device: &str| {
        let params = if backend == "OBJ" { "{bucket: b}" } else { "{}" };
        format!(
            "nixl_buffer_device: {device}\nextra_config: {{enable_nixl_storage: true, nixl_backend: {backend}, \
             nixl_pool_size: 1, nixl_path: /p, nixl_backend_params: {params}}}\n"
        )
    };
    for (backend, _) in BackendKind::NAMES {
        assert_eq!(loaded(&text(backend, "cpu")).buffer_device, BufferDevice::Cpu, "{backend}");
    }
    for backend in ["GDS", "GDS_MT"] {
        assert_eq!(loaded(&text(backend, "cuda")).buffer_device, BufferDevice::Cuda(None));
        assert_eq!(loaded(&text(backend, "cuda:3")).buffer_device, BufferDevice::Cuda(Some(3)));
        for device in [
            "'cuda:'",
            "cuda:x",
            "cuda:-1",
            "cuda:+1",
            "cuda:1024",
            "cuda:99999999999",
            "gpu",
            "CPU",
            "cpu:0",
            "[cpu]",
        ] {
            let parts = [":1: nixl_buffer_device is ", backend, "cpu, cuda, cuda:N"];
            assert_refused(&text(backend, device), &parts);
        }
    }
    for backend in ["POSIX", "HF3FS", "OBJ", "MEMORY"] {
        for device in ["cuda", "cuda:0", "xpu"] {
            let shown =
                format!(":1: nixl_buffer_device is \"{device}\"; allowed: with nixl_backend {backend}: cpu");
            assert_refused(&text(backend, device), &[&shown]);
        }
    }
}

/// `nixl_file_pool_size` is what older releases called it; two sizes that differ cannot both be meant.
#[test]
fn the_older_name_of_the_pool_size_is_the_same_setting() {
    let text = |sizes: &str| {
        format!("extra_config:\n  enable_nixl_storage: true\n  nixl_backend: POSIX\n  nixl_path: /p\n{sizes}")
    };
    assert_eq!(loaded(&text("  nixl_file_pool_size: 7\n")).pool_size, 7);
    assert_eq!(loaded(&text("  nixl_file_pool_size: 7\n  nixl_pool_size: 7\n")).pool_size, 7);
    assert_refused(
        &text("  nixl_pool_size: 8\n  nixl_file_pool_size: 7\n"),
        &[":6: extra_config.nixl_file_pool_size is \"7\"", "allowed: 8, as in nixl_pool_size"],
    );
    assert_refused(&text(""), &[":1: extra_config.nixl_pool_size is missing", "0 for one file"]);
    assert_refused(&text("  nixl_pool_size: -1\n"), &[":5: extra_config.nixl_pool_size is \"-1\"", "slots"]);
    assert_refused(&text("  nixl_pool_size: 4294967296\n"), &["from 0 to 1073741824"]);
}

/// A path is a string, several with commas, or a list, as LMCache splits them; an empty one would mean the working
/// directory, which nobody means.
#[test]
fn paths_come_as_string_commas_or_list() {
    let text = |path: &str| {
        format!(
            "extra_config:\n  enable_nixl_storage: true\n  nixl_backend: HF3FS\n  nixl_pool_size: 0\n  nixl_path: {path}\n"
        )
    };
    let paths = |path: &str| loaded(&text(path)).paths;
    assert_eq!(paths("/a"), [PathBuf::from("/a")]);
    assert_eq!(paths("\"/a, /b\""), ["/a", "/b"].map(PathBuf::from));
    assert_eq!(paths("[/a, \"/b,/c\"]"), ["/a", "/b", "/c"].map(PathBuf::from));
    assert_eq!(paths("relative/dir"), [PathBuf::from("relative/dir")]);
    for path in ["\"\"", "\"/a,\"", "\",\"", "[]", "[/a, \"\"]", "[/a, [b]]", "{a: b}", "[/a, null]"] {
        assert_refused(&text(path), &[":5: extra_config.nixl_path is ", "a directory"]);
    }
    assert_refused(&text("\n    - /a\n    - ''"), &[":7: extra_config.nixl_path is \"\""]);
    assert_refused(&text("2024"), &["extra_config.nixl_path is \"2024\"", "put quotes around it"]);
    assert_refused(&text("file:///mnt"), &["no URL"]);
    assert_refused(&text("\"/a\\0b\""), &["no control characters"]);
    assert_refused(&text(&"x".repeat(4096)), &["at most 4095 bytes"]);
    let many = format!("[{}]", vec!["/a"; 257].join(","));
    assert_refused(&text(&many), &["1 to 256 entries"]);
    for backend in ["POSIX", "GDS", "GDS_MT", "HF3FS"] {
        let without = text("null").replace("HF3FS", backend);
        assert_refused(&without, &[":1: extra_config.nixl_path is missing; allowed: a directory"]);
    }
    assert_refused(&posix("nixl_path_sharding: by_rank"), &[":6: ", "\"by_rank\"; allowed: by_gpu"]);
    assert!(load(&posix("nixl_path_sharding: by_gpu")).is_ok());
}

/// LMCache's rules for the endpoint list, and that it wins over the single endpoint.
#[test]
fn endpoints_are_urls_and_win_over_the_override() {
    let text = |list: &str| {
        format!(
            "extra_config:\n  enable_nixl_storage: true\n  nixl_backend: OBJ\n  nixl_pool_size: 0\n  \
             nixl_backend_params: {{bucket: b, endpoint_override: 'http://old'}}\n  nixl_endpoint_list: {list}\n"
        )
    };
    let config = loaded(&text("['http://a:1', 'https://b']"));
    assert_eq!(config.endpoint_list, ["http://a:1", "https://b"]);
    assert_eq!(config.backend_params.get("endpoint_override"), None);
    assert_notice(&config, &["endpoint_override has no effect", "nixl_endpoint_list"]);
    for list in ["[]", "'http://a'", "{a: b}", "['a:9000']", "[1]", "['']", "[null]", "['ftp://a']"] {
        assert_refused(&text(list), &[":6: extra_config.nixl_endpoint_list is ", "a list of 1 to"]);
    }
    let config = loaded(&posix("nixl_endpoint_list: ['http://a']"));
    assert!(config.endpoint_list.is_empty());
    assert_notice(&config, &["nixl_endpoint_list has no effect: POSIX has no endpoints"]);
}

/// LMCache refuses the second without the first, since it would then find nothing at all.
#[test]
fn presence_cache_only_needs_the_presence_cache() {
    let dynamic = |extra: &str| posix(extra).replace("nixl_pool_size: 64", "nixl_pool_size: 0");
    let config = loaded(&dynamic("nixl_presence_cache: true\nnixl_presence_cache_only: true"));
    assert!(config.presence_cache && config.presence_cache_only);
    assert!(config.notices.is_empty());
    for extra in
        ["nixl_presence_cache_only: true", "nixl_presence_cache_only: true\nnixl_presence_cache: false"]
    {
        assert_refused(
            &dynamic(extra),
            &[":6: extra_config.nixl_presence_cache_only is \"true\"", "nixl_presence_cache: true"],
        );
    }
    assert_notice(
        &loaded(&posix("nixl_presence_cache: true")),
        &["nixl_presence_cache has no effect", "static"],
    );
}

/// Huge pages are asked for by either name, for host memory; contradiction is refused as in LMCache.
#[test]
fn huge_pages_have_two_names_and_host_memory_only() {
    let text = |top: &str, extra: &str| format!("{top}\n{}", posix(extra));
    assert!(loaded(&text("local_cpu_use_hugepages: true", "")).use_hugepages);
    assert!(loaded(&text("", "nixl_use_hugepages: true")).use_hugepages);
    assert!(loaded(&text("local_cpu_use_hugepages: true", "nixl_use_hugepages: true")).use_hugepages);
    assert!(!loaded(&text("", "")).use_hugepages);
    assert_refused(
        &text("local_cpu_use_hugepages: false", "nixl_use_hugepages: true"),
        &[":7: extra_config.nixl_use_hugepages is \"true\"", "local_cpu_use_hugepages"],
    );
    let gds = text("nixl_buffer_device: cuda", "nixl_use_hugepages: true").replace("POSIX", "GDS");
    let config = loaded(&gds);
    assert!(!config.use_hugepages);
    assert_notice(&config, &["nixl_use_hugepages has no effect"]);
}

/// Settings of NIXL's agent are checked and then do nothing; an operator who relies on one must read so in the log.
#[test]
fn settings_without_effect_are_named_once_each() {
    let config = loaded(&posix("nixl_async_put: true\nnixl_enable_prog_thread: no\nnixl_sync_mode: strict"));
    assert_eq!(config.notices.len(), 3, "{:?}", config.notices);
    assert_notice(&config, &[":6: extra_config.nixl_async_put has no effect"]);
    assert_notice(&config, &[":7: extra_config.nixl_enable_prog_thread has no effect"]);
    assert_notice(&config, &[":8: extra_config.nixl_sync_mode has no effect"]);
    for mode in ["NONE", "STRICT", "RW", "DEFAULT"] {
        assert!(load(&posix(&format!("nixl_sync_mode: {mode}"))).is_ok());
    }
    assert_refused(
        &posix("nixl_sync_mode: LOOSE"),
        &[":6: ", "\"LOOSE\"; allowed: NONE, STRICT, RW, DEFAULT"],
    );
    assert_refused(&posix("nixl_enable_prog_thread: maybe"), &["nixl_enable_prog_thread is \"maybe\""]);
    assert_refused(&posix("nixl_async_put: 3"), &["nixl_async_put is \"3\""]);
    let memory =
        loaded(&with_params("MEMORY", "").replace("  nixl_backend_params:\n", "  use_direct_io: true\n"));
    assert_notice(&memory, &["use_direct_io has no effect: MEMORY opens no files"]);
}

/// This library's own settings: every default, every range.
#[test]
fn store_settings_have_defaults_and_ranges() {
    let dynamic = |extra: &str| posix(extra).replace("nixl_pool_size: 64", "nixl_pool_size: 0");
    let store = loaded(&dynamic(
        "nixl_store_chunk_bytes: 32MiB\nnixl_store_layout: lmcache\nnixl_store_capacity_bytes: 100GiB\n\
         nixl_store_serve_unverified: true\nnixl_store_io_threads: 8\nnixl_store_timeout_ms: none\n\
         nixl_store_queue_items: 100\nnixl_store_map_files: false\nnixl_store_status_socket: no\n\
         nixl_store_unverified_bytes: 32MiB",
    ))
    .store;
    assert_eq!(store.chunk_bytes, Some(32 << 20));
    assert_eq!(store.layout, Layout::Lmcache);
    assert_eq!(store.capacity_bytes, Some(100 << 30));
    assert!(store.serve_unverified);
    assert_eq!(store.unverified_bytes, Some(32 << 20));
    assert_eq!(loaded(&dynamic("")).store.unverified_bytes, None);
    assert!(!store.map_files && !store.status_socket);
    assert!(loaded(&dynamic("")).store.status_socket);
    let sums = |value: &str| loaded(&posix(value)).store.index_sums_bytes;
    assert_eq!(sums(""), 64 << 20);
    assert_eq!(
        (sums("nixl_store_index_sums_bytes: 0"), sums("nixl_store_index_sums_bytes: 1GiB")),
        (0, 1 << 30)
    );
    assert_eq!((store.io_threads, store.timeout_ms, store.queue_items), (Some(8), None, 100));
    assert_eq!(loaded(&dynamic("nixl_store_capacity_bytes: 0")).store.capacity_bytes, None);

    for (line, allowed) in [
        ("nixl_store_chunk_bytes: 0", "bytes from 1 to 1099511627776"),
        ("nixl_store_chunk_bytes: 2TiB", "bytes from 1 to 1099511627776"),
        ("nixl_store_layout: flat", "sharded, lmcache"),
        ("nixl_store_capacity_bytes: 100", "0 for no limit, else bytes from 1048576"),
        ("nixl_store_capacity_bytes: 100GB", "KiB, MiB, GiB or TiB"),
        ("nixl_store_prefix: /lead", "not starting with /"),
        ("nixl_store_prefix: \"a\\nb\"", "without control characters"),
        ("nixl_store_serve_unverified: sometimes", "true, false"),
        ("nixl_store_unverified_bytes: 0", "bytes from 1 to 1099511627776"),
        ("nixl_store_map_files: 2", "true, false"),
        ("nixl_store_status_socket: /run/socket", "true, false"),
        ("nixl_store_index_sums_bytes: -1", "bytes from 0 to 1099511627776"),
        ("nixl_store_index_sums_bytes: 2TiB", "bytes from 0 to 1099511627776"),
        ("nixl_store_io_threads: 0", "from 1 to 64"),
        ("nixl_store_io_threads: 65", "from 1 to 64"),
        ("nixl_store_timeout_ms: 86400001", "from 1 to 86400000"),
        ("nixl_store_timeout_ms: 0", "from 1 to 86400000, or none for no deadline"),
        ("nixl_store_timeout_ms: 30s", "whole number of milliseconds"),
        ("nixl_store_queue_items: 15", "from 16 to 1048576"),
        ("nixl_store_queue_items: 2000000", "from 16 to 1048576"),
    ] {
        let key = line.split(':').next().unwrap();
        assert_refused(&dynamic(line), &[&format!(":6: extra_config.{key} is "), allowed]);
    }
    let long = format!("nixl_store_prefix: {}", "p".repeat(257));
    assert_refused(&dynamic(&long), &["at most 256 bytes"]);
}

/// A setting of ours that the rest of the file makes pointless is named: the operator thinks it works.
#[test]
fn pointless_store_settings_are_named() {
    let config = loaded(&posix(
        "nixl_store_layout: lmcache\nnixl_store_capacity_bytes: 1GiB\nnixl_store_prefix: p/\n\
         nixl_store_serve_unverified: true\nnixl_store_unverified_bytes: 1MiB",
    ));
    assert_notice(&config, &["nixl_store_layout has no effect", "static"]);
    assert_notice(&config, &["nixl_store_capacity_bytes has no effect", "static"]);
    assert_notice(&config, &["nixl_store_prefix has no effect", "OBJ"]);
    assert_notice(&config, &["nixl_store_serve_unverified has no effect", "lmcache"]);
    assert_notice(&config, &["nixl_store_unverified_bytes has no effect", "serve_unverified: true"]);
    let dynamic =
        posix("nixl_store_index_sums_bytes: 1MiB").replace("nixl_pool_size: 64", "nixl_pool_size: 0");
    assert_notice(&loaded(&dynamic), &["nixl_store_index_sums_bytes has no effect", "static pool"]);
    let sums = "  nixl_store_index_sums_bytes: 1MiB\n  nixl_backend_params:\n";
    let in_bucket = loaded(&with_params("OBJ", "bucket: b").replace("  nixl_backend_params:\n", sums));
    assert_notice(&in_bucket, &["nixl_store_index_sums_bytes has no effect"]);
    let obj = loaded(&with_params("OBJ", "bucket: b").replace("nixl_path: /p", "nixl_store_prefix: kv/"));
    assert_eq!(obj.store.prefix, "kv/");
    assert!(obj.notices.is_empty(), "{:?}", obj.notices);
}
