//! Files that mean harm: each is refused with a message, quickly, and without a crash.

use std::time::{Duration, Instant};

use super::{TestFile, assert_parts, assert_refused, load, load_path, posix};

/// Far more than any of these needs, far less than an attack would take.
const PATIENCE: Duration = Duration::from_secs(180);

#[track_caller]
fn quickly<T>(work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    assert!(start.elapsed() < PATIENCE, "took {:?}", start.elapsed());
    result
}

/// A file that grows without end must not be read without end.
#[test]
fn a_file_above_the_limit_is_refused() {
    let mut text = posix("");
    text.push_str(&"#".repeat((1 << 20) - text.len()));
    assert!(load(&text).is_ok(), "exactly at the limit");
    text.push('#');
    assert_refused(&text, &["larger than 1048576 bytes"]);
}

/// What is no file must be named, not waited for: opening a FIFO for reading blocks until somebody writes.
#[test]
fn what_is_no_regular_file_is_refused() {
    let file = TestFile::new(b"");
    let directory = file.path.parent().unwrap();
    assert_parts(load_path(directory, &[]), &["it is a directory"]);
    let fifo = directory.join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    assert_parts(quickly(|| load_path(&fifo, &[])), &["not a regular file"]);
    assert_parts(load_path("/dev/zero".as_ref(), &[]), &["not a regular file"]);
}

/// Bytes that are no text are refused with their line.
#[test]
fn what_is_no_text_is_refused_with_its_line() {
    let refused =
        |bytes: &[u8], parts: &[&str]| assert_parts(load_path(&TestFile::new(bytes).path, &[]), parts);
    refused(b"a: 1\nb: \xff\n", &["lmcache.yaml:2: a byte here is not UTF-8"]);
    refused(b"\xff\xfea\x00", &["lmcache.yaml:1: a byte here is not UTF-8"]);
    refused(b"a: 1\n\nb: \0\n", &["lmcache.yaml:3: a control character, U+0000"]);
    refused(b"a: \x1b[31m\n", &["lmcache.yaml:1: a control character, U+001B"]);
    let with_mark = format!("\u{feff}{}", posix(""));
    assert!(load(&with_mark).is_ok(), "a byte-order mark is harmless");
    assert!(load(&posix("").replace('\n', "\r\n")).is_ok(), "so are Windows line ends");
}

/// Nesting costs stack; engines call open from threads with little of it.
#[test]
fn deep_nesting_is_refused_even_on_a_small_stack() {
    let deep = |count: usize, open: &str, close: &str| {
        format!("a: {}1{}\n", open.repeat(count), close.repeat(count))
    };
    let texts = [
        deep(100_000, "[", "]"),
        deep(100_000, "{a: ", "}"),
        deep(400_000, "[", ""),
        (0..500).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect(),
        format!("{}a\n", "- ".repeat(10_000)),
        format!("{}a\n", "? ".repeat(10_000)),
    ];
    let small = std::thread::Builder::new().stack_size(64 * 1024);
    #[allow(clippy::disallowed_methods, reason = "stands for a thread of the engine's")]
    let thread = small.spawn(move || {
        for text in texts {
            assert_parts(quickly(|| load(&text)), &["lmcache.yaml:", "not valid YAML"]);
        }
        // As deep as is allowed, on the same stack.
        let extra = format!("other: {}1{}", "[".repeat(29), "]".repeat(29));
        assert!(load(&posix(&extra)).is_ok());
    });
    thread.unwrap().join().unwrap();
}

/// A few lines of aliases can stand for billions of values.
#[test]
fn alias_bombs_are_refused() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..=9 {
        let many = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{many}]\n"));
    }
    assert_parts(quickly(|| load(&format!("{text}{}", posix("")))), &["not valid YAML", "aliases expanded"]);
    let mut merges = String::from("m0: &m0 {k0: 1, l0: 2, n0: 3, o0: 4}\n");
    for level in 1..=12 {
        let last = level - 1;
        merges.push_str(&format!("m{level}: &m{level} {{<<: [*m{last}, *m{last}, *m{last}, *m{last}]}}\n"));
    }
    let _ = quickly(|| load(&format!("{merges}{}", posix(""))));
    let wide = format!("a: &a [{}]\nb: [{}]\n", "x,".repeat(40_000), "*a,".repeat(1000));
    assert_parts(quickly(|| load(&wide)), &["not valid YAML", "aliases expanded"]);
    let few = format!("a: &a [{}]\nb: [{}]\n", "x,".repeat(40_000), "*a,".repeat(9));
    assert_parts(quickly(|| load(&few)), &["not valid YAML", "aliases expanded"]);
    assert_refused("a: &a [*a]\n", &[":1: not valid YAML: an anchor contains its own alias"]);
    assert_refused("a: *b\n", &[":1: not valid YAML: an alias names an anchor that is not defined"]);
}

/// Anchors as people use them work.
#[test]
fn harmless_anchors_and_merges_work() {
    let text = "size: &size 64\nbase: &base\n  enable_nixl_storage: true\n  nixl_backend: POSIX\n\
                extra_config:\n  <<: *base\n  nixl_pool_size: *size\n  nixl_path: /p\n";
    assert_eq!(load(text).unwrap().pool_size, 64);
    let overridden = text.replace("  nixl_path: /p", "  nixl_backend: HF3FS\n  nixl_path: /p");
    assert_eq!(load(&overridden).unwrap().backend, crate::config::BackendKind::Hf3fs, "one's own key wins");
}

/// Many values, long keys and long values stay linear.
#[test]
fn large_flat_files_are_read_or_refused_quickly() {
    let many: String = (0..60_000).map(|i| format!("k{i}: v\n")).collect();
    assert_parts(quickly(|| load(&many)), &["not valid YAML", "more than 50000 values"]);
    let fewer: String = (0..20_000).map(|i| format!("k{i}: v\n")).collect();
    assert!(quickly(|| load(&format!("{fewer}{}", posix("")))).is_ok());
    for text in [
        format!("{}: 1\n", "k".repeat(900_000)),
        format!("? {}\n: 1\n", "k".repeat(900_000)),
        format!("nixl_{}: 1\n{}", "k".repeat(1000), posix("")),
        format!("? nixl_{}\n: 1\n", "k".repeat(500_000)),
        format!("a: \"{}", "x".repeat(900_000)),
        "[".repeat(900_000),
        "\n".repeat(900_000),
        "&a ".repeat(300_000),
        "a: b\n".repeat(200_000),
    ] {
        let error = quickly(|| load(&text)).unwrap_err();
        assert!(error.message().len() < 4096, "{} bytes of message", error.message().len());
    }
}

/// One document, plain values: everything else YAML can do is refused with a line.
#[test]
fn documents_tags_and_odd_keys_are_refused() {
    assert_refused(&format!("{}---\na: 1\n", posix("")), &[":7: not valid YAML: it holds a second document"]);
    assert_refused(&posix("x: !!python/object/apply:os.system [id]"), &[":6: not valid YAML: it has a tag"]);
    assert_refused(&posix("[a, b]: c"), &[":6: not valid YAML: a list or mapping is used as a key"]);
    assert_refused("a: [1\n", &["not valid YAML: "]);
    assert_refused("a: b: c\n", &[":1: not valid YAML: mapping values are not allowed in this context"]);
    assert_refused(
        "a: @x\n",
        &[":1: not valid YAML: a character that needs quotes stands where a value starts"],
    );
    assert!(load(&format!("---\n{}...\n", posix(""))).is_ok());
    assert!(load(&format!("%YAML 1.1\n---\n{}", posix(""))).is_ok());
}

/// Keys are repeated in messages: they may not break the line or drive the terminal.
#[test]
fn keys_in_messages_are_escaped() {
    let error = load(&posix("\"nixl_\\e[31m\\nx\": 1")).unwrap_err();
    assert!(!error.message().contains(['\u{1b}', '\n']), "{error}");
}

/// Working files damaged in thousands of ways: whatever comes out, it is a result.
#[test]
fn damaged_files_never_crash() {
    let seeds = [
        include_str!("../../../tests/fixtures/config/lmcache_posix.yaml"),
        include_str!("../../../tests/fixtures/config/lmcache_posix_backslash.yaml"),
        include_str!("../../../tests/fixtures/config/lmcache_obj_dynamic.yaml"),
        include_str!("../../../tests/fixtures/config/lmcache_obj_endpoints.yaml"),
    ];
    const PIECES: [&[u8]; 20] = [
        b"&a ",
        b"*a",
        b"<<: ",
        b"? ",
        b"- ",
        b"|",
        b">-",
        b"\"",
        b"'",
        b"{",
        b"}",
        b"[",
        b"]",
        b": ",
        b"\n",
        b"\t",
        b"!!int ",
        b"\\",
        b"# ",
        b"\xc3\xa9",
    ];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % u64::try_from(below).unwrap()).unwrap()
    };
    let file = TestFile::new(b"");
    quickly(|| {
        for round in 0..4000 {
            let mut bytes = seeds[round % seeds.len()].as_bytes().to_vec();
            for _ in 0..=next(4) {
                let at = next(bytes.len().max(1));
                match next(3) {
                    0 => {
                        bytes.splice(at..at, PIECES[next(PIECES.len())].iter().copied());
                    }
                    1 if at < bytes.len() => {
                        bytes.remove(at);
                    }
                    _ => bytes.truncate(at.max(1)),
                }
            }
            std::fs::write(&file.path, &bytes).unwrap();
            if let Err(error) = load_path(&file.path, &[]) {
                assert!(error.message().contains("lmcache.yaml"), "{error}");
            }
        }
    });
}
