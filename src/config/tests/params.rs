//! `nixl_backend_params`, backend by backend.

use super::{assert_notice, assert_refused, load, load_with, with_params};

/// NIXL wants strings; users write flags and numbers. Each becomes the one spelling that backends read.
#[test]
fn values_of_any_scalar_kind_become_strings() {
    for (written, read) in
        [("true", "true"), ("\"Yes\"", "true"), ("1", "true"), ("off", "false"), ("n", "false")]
    {
        let config = load(&with_params("POSIX", &format!("use_uring: {written}"))).unwrap();
        assert_eq!(config.backend_params.get("use_uring"), Some(read), "{written}");
    }
    for written in ["128", "\"128\"", "0x80", "1_2_8"] {
        let config = load(&with_params("POSIX", &format!("kernel_queue_size: {written}"))).unwrap();
        assert_eq!(config.backend_params.number("kernel_queue_size"), Some(128), "{written}");
    }
}

/// A bucket called `2024` or a key that looks like a number must arrive as it was written, not as YAML's idea of it.
#[test]
fn texts_that_look_like_numbers_keep_their_spelling() {
    let text = "bucket: 0123\nregion: on\naccess_key: 12e99999\nsecret_key: 1_000";
    let params = load(&with_params("OBJ", text)).unwrap().backend_params;
    assert_eq!(params.get("bucket"), Some("0123"));
    assert_eq!(params.get("region"), Some("on"));
    assert_eq!(params.get("access_key"), Some("12e99999"));
    assert_eq!(params.get("secret_key"), Some("1_000"));
}

/// POSIX: NIXL clamps two sizes in silence; here it is said.
#[test]
fn posix_parameters_are_nixls() {
    let config = load(&with_params(
        "POSIX",
        "use_uring: true\nuse_aio: false\nuse_posix_aio: false\nios_pool_size: 1\nkernel_queue_size: 4096",
    ))
    .unwrap();
    assert_eq!(config.backend_params.number("ios_pool_size"), Some(64));
    assert_eq!(config.backend_params.number("kernel_queue_size"), Some(1024));
    assert_notice(&config, &[":10: extra_config.nixl_backend_params.ios_pool_size is 1; 64 is used"]);
    assert_notice(&config, &["kernel_queue_size is 4096; 1024 is used"]);
    assert_notice(&config, &["use_aio has no effect"]);
    let zero = load(&with_params("POSIX", "ios_pool_size: 0\nkernel_queue_size: 0")).unwrap();
    assert!(zero.backend_params.0.is_empty() && zero.notices.is_empty());
    assert_refused(
        &with_params("POSIX", "use_uring: perhaps"),
        &[":7: ", "use_uring is \"perhaps\"", "true, false"],
    );
    assert_refused(&with_params("POSIX", "kernel_queue_size: -1"), &["kernel_queue_size is \"-1\""]);
    assert_refused(&with_params("POSIX", "kernel_queue_size: [1]"), &["kernel_queue_size is a list"]);
}

/// GDS and GDS_MT, each with its own names.
#[test]
fn gds_parameters_are_nixls() {
    let params =
        load(&with_params("GDS", "batch_pool_size: 16\nbatch_limit: 128\nmax_request_size: 16777216"))
            .unwrap()
            .backend_params;
    assert_eq!(params.number("max_request_size"), Some(16 << 20));
    for line in ["batch_pool_size: 0", "batch_limit: 0", "max_request_size: 1", "batch_limit: many"] {
        assert_refused(
            &with_params("GDS", line),
            &[":7: extra_config.nixl_backend_params.", "a whole number from"],
        );
    }
    let params = load(&with_params("GDS_MT", "thread_count: 8")).unwrap().backend_params;
    assert_eq!(params.number("thread_count"), Some(8));
    assert_eq!(
        load(&with_params("GDS_MT", "thread_count: 0")).unwrap().backend_params.get("thread_count"),
        None
    );
    assert_refused(&with_params("GDS_MT", "batch_limit: 1"), &["batch_limit", "is no parameter of GDS_MT"]);
    assert_refused(&with_params("GDS", "thread_count: 1"), &["thread_count", "is no parameter of GDS"]);
}

/// HF3FS: NIXL's buffer for the mount point has 256 bytes.
#[test]
fn hf3fs_parameters_are_nixls() {
    let params = load(&with_params("HF3FS", "mount_point: /mnt/3fs/\nmem_config: dram_zc\niopool_size: 64"))
        .unwrap()
        .backend_params;
    assert_eq!(params.get("mem_config"), Some("dram_zc"));
    assert_refused(&with_params("HF3FS", "mem_config: vram"), &["\"vram\"; allowed: auto, dram, dram_zc"]);
    assert_refused(&with_params("HF3FS", "mount_point: mnt"), &["an absolute path of at most 255 bytes"]);
    let long = format!("mount_point: /{}", "m".repeat(255));
    assert_refused(&with_params("HF3FS", &long), &["an absolute path of at most 255 bytes"]);
    assert_notice(&load(&with_params("HF3FS", "iopool_size: 9999999")).unwrap(), &["1048576 is used"]);
}

/// OBJ has the most; every one of NIXL's is known.
#[test]
fn obj_parameters_are_nixls() {
    let all = "access_key: a\nsecret_key: s\nsession_token: t\nbucket: b\nendpoint_override: localhost:9000\n\
               scheme: http\nregion: r\nuse_virtual_addressing: false\nreq_checksum: required\n\
               resp_checksum: supported\nca_bundle: /ca.pem\ncrtMinLimit: 10485760\nthroughput_target_gbps: 25\n\
               num_threads: 4\naccelerated: true\ntype: dell";
    let config = load(&with_params("OBJ", all)).unwrap();
    assert_eq!(config.backend_params.0.len(), 16);
    assert_eq!(config.backend_params.number("crtMinLimit"), Some(10 << 20));
    assert_notice(&config, &["accelerated has no effect"]);
    assert_notice(&config, &["type has no effect"]);
    for (line, allowed) in [
        ("scheme: ftp", "http, https"),
        ("req_checksum: always", "required, supported"),
        ("resp_checksum: true", "required, supported"),
        ("crtMinLimit: 10MB", "a whole number from 0 to"),
        ("throughput_target_gbps: 2.5", "a whole number from 1 to"),
        ("num_threads: 0", "a whole number from 1 to"),
        ("endpoint_override: s3://x", "a host like host:9000"),
        ("region: [r]", "one line of text"),
        ("ca_bundle: \"a\\nb\"", "one line of text"),
    ] {
        let key = line.split(':').next().unwrap();
        let shown = format!(":8: extra_config.nixl_backend_params.{key} is ");
        assert_refused(&with_params("OBJ", &format!("bucket: b\n{line}")), &[&shown, allowed]);
    }
}

/// Half a pair of keys makes NIXL use the machine's own identity, which may be somebody else's.
#[test]
fn credentials_come_whole_or_not_at_all() {
    for (lines, missing) in [
        ("access_key: a", "secret_key"),
        ("secret_key: s", "access_key"),
        ("access_key: a\nsecret_key: ''", "secret_key"),
        ("session_token: t", "access_key"),
    ] {
        assert_refused(
            &with_params("OBJ", &format!("bucket: b\n{lines}")),
            &[":6: ", &format!("nixl_backend_params.{missing} is missing"), "none of them"],
        );
    }
    let empty = load(&with_params("OBJ", "bucket: b\naccess_key: ''\nsecret_key: null")).unwrap();
    assert_eq!(empty.backend_params.0.len(), 1);
}

/// As in NIXL, bucket and endpoint may come from the environment; without any bucket there is nothing to open.
#[test]
fn bucket_and_endpoint_may_come_from_the_environment() {
    let text = with_params("OBJ", "region: r");
    let variables =
        [("AWS_DEFAULT_BUCKET", "env-bucket"), ("AWS_ENDPOINT_OVERRIDE", "http://localhost:9000")];
    let params = load_with(&text, &variables).unwrap().backend_params;
    assert_eq!(params.get("bucket"), Some("env-bucket"));
    assert_eq!(params.get("endpoint_override"), Some("http://localhost:9000"));
    let own = with_params("OBJ", "bucket: file-bucket\nendpoint_override: http://file");
    let params = load_with(&own, &variables).unwrap().backend_params;
    assert_eq!(params.get("bucket"), Some("file-bucket"));
    assert_eq!(params.get("endpoint_override"), Some("http://file"));
    assert_refused(&text, &["nixl_backend_params.bucket is missing", "AWS_DEFAULT_BUCKET"]);
    super::assert_parts(
        load_with(&with_params("OBJ", "bucket: b"), &[("AWS_ENDPOINT_OVERRIDE", "http://u:hunter2@h")]),
        &["$AWS_ENDPOINT_OVERRIDE: endpoint_override is \"http://…@h\""],
    );
}

/// NIXL ignores names that it does not know; here a slip is caught, and the right backend's names are offered.
#[test]
fn unknown_parameters_are_refused_with_the_nearest_name() {
    assert_refused(
        &with_params("POSIX", "use_urign: true"),
        &[
            ":7: extra_config.nixl_backend_params.use_urign",
            "no parameter of POSIX",
            "nearest known name is use_uring",
        ],
    );
    assert_refused(&with_params("OBJ", "acces_key: x"), &["nearest known name is access_key"]);
    assert_refused(&with_params("MEMORY", "x: 1"), &["MEMORY has no parameters"]);
    assert_refused(&with_params("POSIX", "- a"), &["nixl_backend_params is a list; allowed: a mapping"]);
    assert!(load(&with_params("POSIX", "")).is_ok(), "null is absent");
}
