//! Variables that win over the file, as LMCache has them.

use std::path::PathBuf;

use super::{TestFile, assert_parts, load_path, load_with, posix};
use crate::config::{BackendKind, BufferDevice, CachePolicy, Config, Source};

const FILE: &str = "LMCACHE_CONFIG_FILE";
const EXTRA: &str = "LMCACHE_EXTRA_CONFIG";

/// The path given to open comes first, the variable second.
#[test]
fn the_file_is_the_one_given_else_the_variables() {
    let (given, other) = (TestFile::new(posix("").as_bytes()), TestFile::new(b"not a mapping"));
    let (good, bad) = (given.path.to_str().unwrap(), other.path.to_str().unwrap());
    assert!(load_path(&given.path, &[(FILE, bad)]).is_ok());
    let lookup = |name: &str| (name == FILE).then(|| good.to_owned());
    assert_eq!(Config::load(Source::Environment, &lookup).unwrap().source, given.path);
}

/// As in LMCache, no file is needed: variables alone can say everything, and what they leave out has its default.
#[test]
fn the_environment_alone_can_be_a_configuration() {
    let json =
        r#"{"enable_nixl_storage": true, "nixl_backend": "POSIX", "nixl_pool_size": 3, "nixl_path": "/p"}"#;
    let variables = [(EXTRA, json), ("LMCACHE_CHUNK_SIZE", "512"), ("LMCACHE_NIXL_BUFFER_DEVICE", "cpu")];
    let alone = |variables: &[(&str, &str)]| {
        let lookup =
            |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Config::load(Source::Environment, &lookup)
    };
    let config = alone(&variables).unwrap();
    assert_eq!((config.chunk_size_tokens, config.pool_size), (512, 3));
    assert_eq!((config.backend, config.cache_policy), (BackendKind::Posix, CachePolicy::Lru));
    assert_eq!(config.source_name(), "environment");
    let alone = |json: &str| alone(&[(EXTRA, json)]);
    assert_parts(
        alone(&json.replace("3", "-3")),
        &["$LMCACHE_EXTRA_CONFIG: extra_config.nixl_pool_size is \"-3\""],
    );
    for off in [json.replace("true", "false"), json.replace("enable_nixl_storage", "x"), String::from("{}")] {
        let both =
            ["$LMCACHE_EXTRA_CONFIG: extra_config.enable_nixl_storage is ", "set LMCACHE_CONFIG_FILE to"];
        assert_parts(alone(&off), &both);
    }
}

/// Each override wins over the file and is refused by its own name, for there is no line to point at.
#[test]
fn variables_override_the_file_and_are_named_in_errors() {
    let text =
        format!("chunk_size: 1\nnixl_buffer_size: x\nnixl_buffer_device: y\ncache_policy: z\n{}", posix(""));
    let text = text.replace("POSIX", "GDS");
    let good = [
        ("LMCACHE_CHUNK_SIZE", "512"),
        ("LMCACHE_NIXL_BUFFER_SIZE", "1048576"),
        ("LMCACHE_NIXL_BUFFER_DEVICE", "cuda:1"),
        ("LMCACHE_CACHE_POLICY", "lfu"),
        ("LMCACHE_USE_EXPERIMENTAL", "True"),
    ];
    let config = load_with(&text, &good).unwrap();
    assert_eq!(config.chunk_size_tokens, 512);
    assert_eq!(config.buffer_bytes, Some(1 << 20));
    assert_eq!(config.buffer_device, BufferDevice::Cuda(Some(1)));
    assert_eq!(config.cache_policy, CachePolicy::Lfu);
    for (name, key) in [
        ("LMCACHE_CHUNK_SIZE", "chunk_size"),
        ("LMCACHE_NIXL_BUFFER_SIZE", "nixl_buffer_size"),
        ("LMCACHE_NIXL_BUFFER_DEVICE", "nixl_buffer_device"),
        ("LMCACHE_CACHE_POLICY", "cache_policy"),
        ("LMCACHE_LOCAL_CPU_USE_HUGEPAGES", "local_cpu_use_hugepages"),
    ] {
        let error = load_with(&posix(""), &[(name, "bad")]).unwrap_err();
        assert!(error.message().starts_with(&format!("${name}: {key} is \"bad\"; allowed: ")), "{error}");
    }
    assert!(load_with(&posix(""), &[("LMCACHE_LOCAL_CPU_USE_HUGEPAGES", "1")]).unwrap().use_hugepages);
}

/// Compose files and shells leave quotes and blanks behind; LMCache takes them off. An empty variable is not set.
#[test]
fn quotes_and_blanks_around_variables_come_off() {
    for value in ["512", " 512 ", "\"512\"", "'512'"] {
        let config = load_with(&posix(""), &[("LMCACHE_CHUNK_SIZE", value)]).unwrap();
        assert_eq!(config.chunk_size_tokens, 512, "{value}");
    }
    let config = load_with(&posix(""), &[("LMCACHE_CHUNK_SIZE", "  "), (EXTRA, "")]).unwrap();
    assert_eq!(config.chunk_size_tokens, 256);
}

/// `LMCACHE_EXTRA_CONFIG` replaces the file's mapping as a whole: nothing of the file's may leak through.
#[test]
fn extra_config_of_the_environment_replaces_the_files() {
    let json = r#"{"enable_nixl_storage": true, "nixl_backend": "OBJ", "nixl_pool_size": 0,
        "nixl_backend_params": {"bucket": "b", "use_virtual_addressing": true, "num_threads": 4}}"#;
    for value in [
        json.to_owned(),
        format!("'{json}'"),
        format!("\"{}\"", json.replace('"', "\\\"").replace('\n', " ")),
    ] {
        let config = load_with(&posix("use_direct_io: true"), &[(EXTRA, &value)]).unwrap();
        assert_eq!(config.backend, BackendKind::Obj, "{value}");
        assert_eq!(config.pool_size, 0);
        assert!(!config.use_direct_io, "the file's setting leaked through");
        assert_eq!(config.backend_params.number("num_threads"), Some(4));
    }
    let without = r#"{"nixl_backend": "POSIX", "nixl_pool_size": 1, "nixl_path": "/p"}"#;
    assert_parts(
        load_with(&posix(""), &[(EXTRA, without)]),
        &["$LMCACHE_EXTRA_CONFIG: extra_config.enable_nixl_storage is missing"],
    );
    // A file without extra_config, or with a broken one, does not matter then.
    assert!(load_with("chunk_size: 1\n", &[(EXTRA, json)]).is_ok());
    assert!(load_with("extra_config: [1]\n", &[(EXTRA, json)]).is_ok());
}

/// Errors inside the variable name it; what is not JSON is refused, while LMCache would go on without a word.
#[test]
fn errors_in_extra_config_of_the_environment_name_the_variable() {
    let json = |more: &str| {
        format!(
            r#"{{"enable_nixl_storage": true, "nixl_backend": "POSIX", "nixl_pool_size": 1, "nixl_path": "/p"{more}}}"#
        )
    };
    assert!(load_with(&posix(""), &[(EXTRA, &json(""))]).is_ok());
    for (value, part) in [
        (json(", \"nixl_paht\": 1"), "extra_config.nixl_paht is \"1\", but there is no such setting"),
        (json(", \"use_direct_io\": \"maybe\""), "extra_config.use_direct_io is \"maybe\"; allowed: true"),
        (json(", \"nixl_path\": \"/q\""), "extra_config.nixl_path is given twice; allowed: once"),
        (
            json(", \"nixl_backend_params\": {\"x\": 1}"),
            "extra_config.nixl_backend_params.x (value not shown) is no parameter",
        ),
        (json(","), "extra_config is not JSON at byte"),
        (String::from("{nixl_backend: POSIX}"), "extra_config is not JSON at byte 1"),
        (String::from("[1]"), "extra_config is JSON, but no object"),
        (String::from("3"), "extra_config is JSON, but no object"),
    ] {
        let error = load_with(&posix(""), &[(EXTRA, &value)]).unwrap_err();
        assert!(error.message().starts_with(&format!("$LMCACHE_EXTRA_CONFIG: {part}")), "{error}");
    }
}

/// LMCache also takes JSON in a string of the file; its errors point at the line of the string.
#[test]
fn extra_config_may_be_json_in_a_string() {
    let text = "chunk_size: 1\nextra_config: '{\"enable_nixl_storage\": true, \"nixl_backend\": \"POSIX\", \
                \"nixl_pool_size\": 3, \"nixl_path\": \"/p\"}'\n";
    let config = super::load(text).unwrap();
    assert_eq!((config.pool_size, config.paths), (3, vec![PathBuf::from("/p")]));
    super::assert_refused(
        &text.replace("3,", "-3,"),
        &["lmcache.yaml:2: extra_config.nixl_pool_size is \"-3\""],
    );
    super::assert_refused("extra_config: 'nonsense'\n", &["lmcache.yaml:1: extra_config is not JSON"]);
}
