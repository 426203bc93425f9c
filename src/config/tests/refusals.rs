//! What is refused, and how well the refusal helps.

use super::{assert_notice, assert_parts, assert_refused, load, load_path, no_variables, posix, with_params};
use crate::config::{Config, Source};
use crate::error::Status;

/// An unknown `nixl_*` key would be a setting that silently does not work; the refusal names the one that was meant.
#[test]
fn an_unknown_nixl_key_is_refused_with_the_nearest_name() {
    for (line, nearest) in [
        ("nixl_paht: /x", "nixl_path, at extra_config"),
        ("nixl_backend_param: {}", "nixl_backend_params, at extra_config"),
        ("nixl_store_timeout: 5", "nixl_store_timeout_ms, at extra_config"),
        ("NIXL_PATH: /x", "nixl_path, at extra_config"),
        ("nixl-path: /x", "nixl_path, at extra_config"),
        ("nixl_buffer_sise: 1", "nixl_buffer_size, at the top level"),
    ] {
        let key = line.split(':').next().unwrap();
        assert_refused(
            &posix(line),
            &[&format!(":6: extra_config.{key} is "), &format!("the nearest known name is {nearest}")],
        );
        assert_refused(&format!("{line}\n{}", posix("")), &[&format!(":1: {key} is "), nearest]);
    }
}

/// A key at the wrong level is one that LMCache ignores without a word; the refusal says where it belongs.
#[test]
fn a_key_at_the_wrong_level_is_refused_with_the_right_level() {
    for key in [
        "enable_nixl_storage",
        "nixl_backend",
        "nixl_pool_size",
        "nixl_file_pool_size",
        "nixl_path",
        "nixl_path_sharding",
        "use_direct_io",
        "nixl_use_hugepages",
        "nixl_async_put",
        "nixl_presence_cache",
        "nixl_presence_cache_only",
        "nixl_endpoint_list",
        "nixl_enable_prog_thread",
        "nixl_sync_mode",
        "nixl_store_layout",
        "nixl_store_capacity_bytes",
    ] {
        assert_refused(
            &format!("{key}: 1\n{}", posix("")),
            &[&format!(":1: {key} is \"1\" at the wrong level; allowed: {key} belongs at extra_config")],
        );
    }
    for key in
        ["chunk_size", "nixl_buffer_size", "nixl_buffer_device", "cache_policy", "nixl_role", "nixl_backends"]
    {
        assert_refused(
            &posix(&format!("{key}: 1")),
            &[&format!(
                ":6: extra_config.{key} is \"1\" at the wrong level; allowed: {key} belongs at the top level"
            )],
        );
    }
    assert_refused(
        &with_params("POSIX", "nixl_path: /x"),
        &[":7: extra_config.nixl_backend_params.nixl_path", "nixl_path belongs at extra_config"],
    );
    assert_refused(&with_params("POSIX", "use_direct_io: true"), &["use_direct_io belongs at extra_config"]);
}

/// NIXL storage must be turned on, as LMCache demands; a slip in that very key is guessed.
#[test]
fn storage_must_be_enabled() {
    assert_refused(
        &posix("").replace("enable_nixl_storage: true", "enable_nixl_storage: false"),
        &[":2: extra_config.enable_nixl_storage is \"false\"; allowed: true"],
    );
    assert_refused(
        &posix("").replace("enable_nixl_storage", "enable_nixl_storge"),
        &[":1: extra_config.enable_nixl_storage is missing; allowed: true", "is enable_nixl_storge a slip"],
    );
    assert_refused("chunk_size: 1\n", &[":1: extra_config is missing"]);
    assert_refused("", &[":1: extra_config is missing"]);
    assert_refused("extra_config:\n", &[":1: extra_config is missing"]);
    assert_refused("a: 1\nextra_config: [x]\n", &[":2: extra_config is a list; allowed: a mapping"]);
    assert_refused("- a\n- b\n", &[":1: it holds a single value or a list"]);
}

/// Backends are named exactly; one that NIXL has and we have not is a different mistake from a slip.
#[test]
fn only_served_backends_are_taken() {
    let text = |name: &str| posix("").replace("POSIX", name);
    for name in ["AZURE_BLOB", "DOCA_MEMOS", "UCX"] {
        assert_refused(
            &text(name),
            &[
                &format!(":3: extra_config.nixl_backend is \"{name}\""),
                "POSIX, GDS, GDS_MT, HF3FS, OBJ, MEMORY",
                &format!("{name} is a backend of NIXL that is not served here"),
            ],
        );
    }
    assert_refused(&text("posix"), &["\"posix\"", "nearest: POSIX"]);
    assert_refused(&text("GDSMT"), &["\"GDSMT\"", "nearest: GDS_MT"]);
    assert_refused(&text("[POSIX]"), &["nixl_backend is a list"]);
    assert_refused(&text("null"), &[":1: extra_config.nixl_backend is missing; allowed: POSIX, GDS"]);
}

/// The line is the key's own wherever the mapping is written: flow style, comments and strings that look like the key
/// in front of it, long values behind it.
#[test]
fn lines_are_right_in_every_style() {
    assert_refused(
        "# nixl_buffer_size: 1\nnote: \"nixl_buffer_size: 2\"\nextra_config: {enable_nixl_storage: true,\n  \
         nixl_backend: POSIX, # nixl_pool_size: x\n  nixl_path: /p,\n  nixl_pool_size: x}\n",
        &["lmcache.yaml:6: extra_config.nixl_pool_size is \"x\""],
    );
    assert_refused(
        &format!("text: |\n  chunk_size: 1\n  x\nfolded: >\n  a\n\nchunk_size:\n  none\n{}", posix("")),
        &["lmcache.yaml:7: chunk_size is \"none\""],
    );
    assert_refused(
        &format!("base: &base\n  use_uring: maybe\n{}", posix("nixl_backend_params:\n  <<: *base")),
        &["lmcache.yaml:9: extra_config.nixl_backend_params.use_uring is \"maybe\""],
    );
    assert_refused("a: 1\r\nb: 2\r\nextra_config: 5\r\n", &["lmcache.yaml:3: extra_config"]);
}

/// PyYAML lets the last of two equal keys win in silence. For keys that mean something here, that is refused.
#[test]
fn a_setting_given_twice_is_refused() {
    assert_refused(
        &posix("nixl_path: /other"),
        &[":6: extra_config.nixl_path is given twice (lines 5 and 6); allowed: once"],
    );
    assert_refused(&format!("chunk_size: 1\n\nchunk_size: 1\n{}", posix("")), &["(lines 1 and 3)"]);
    assert_refused(&format!("{}{}", posix(""), posix("")), &["extra_config is given twice (lines 1 and 6)"]);
    assert_refused(&with_params("OBJ", "bucket: a\nbucket: a"), &["bucket is given twice"]);
}

/// A setting of a newer LMCache must not keep a store closed for ever: it passes where that is asked for, and is said
/// once. What is known and stands at the wrong level is a mistake all the same, and so is a parameter of the backend:
/// `acess_key` would be a credential that is not used.
#[test]
fn unknown_names_pass_where_that_is_asked_for() {
    let unknown = format!("nixl_new_top: 1\n{}", posix("nixl_new_thing: {a: hunter2}\nnixl-other: hunter2"));
    assert_refused(&unknown, &[":1: nixl_new_top is", "nixl_store_allow_unknown: true"]);
    let allowed = format!("{unknown}  nixl_store_allow_unknown: true\n");
    let warning = load(&allowed).unwrap().warning.unwrap();
    for name in ["nixl_new_top (", "extra_config.nixl_new_thing (", "yaml:7)", "extra_config.nixl-other ("] {
        assert!(warning.contains(name), "{warning}");
    }
    assert!(!warning.contains("hunter2"), "{warning}");
    assert!(load(&posix("nixl_store_allow_unknown: true")).unwrap().warning.is_none());
    assert_refused(&format!("nixl_path: /p\n{allowed}"), &["nixl_path is \"/p\" at the wrong level"]);
    let params = with_params("OBJ", "bucket: b\nacess_key: x");
    assert_refused(
        &format!("{params}  nixl_store_allow_unknown: true\n"),
        &["acess_key (value not shown) is no"],
    );
    assert_refused(&format!("{unknown}  nixl_store_allow_unknown: false\n"), &["nixl_new_top is"]);
    let many: String = (0..40).map(|number| format!("nixl_new_{number}: 1\n")).collect();
    let config = load(&posix(&format!("nixl_store_allow_unknown: true\n{many}"))).unwrap();
    assert!(config.warning.unwrap().ends_with("and 24 more"));
}

/// Without a file there is nothing to open; the message is the first that a new user sees.
#[test]
fn without_a_path_the_message_says_how_to_give_one() {
    for lookup in [&no_variables as &dyn Fn(&str) -> Option<String>, &|_| Some(String::new())] {
        let error = Config::load(Source::Environment, lookup).unwrap_err();
        assert_eq!(error.status(), Status::Config);
        for way in ["LMCACHE_CONFIG_FILE", "LMCACHE_EXTRA_CONFIG", "path", "text"] {
            assert!(error.message().contains(way), "{error}");
        }
    }
    let missing = load_path("/nonexistent/lmcache.yaml".as_ref(), &[]);
    assert_eq!(missing.as_ref().unwrap_err().os_error(), libc::ENOENT);
    assert_parts(missing, &["/nonexistent/lmcache.yaml", "No such file"]);
}

/// A parameter one level too high is LMCache's to ignore, but its writer should hear of it.
#[test]
fn a_parameter_outside_the_params_is_pointed_out() {
    let config = load(&posix("use_uring: true")).unwrap();
    assert_notice(&config, &[":6: extra_config.use_uring has no effect", "nixl_backend_params"]);
}
