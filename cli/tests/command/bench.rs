//! `bench`: it measures in a place of its own, and leaves nothing behind, however it ends.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nixl_store::store::Direction;
use serde_json::Value;

use crate::run::{CHUNK_BYTES, answer, command, doctor, engine_pool, in_namespace, object, open, transfer};
use crate::support::{Ran, Scratch};

/// A short measurement.
const SHORT: [&str; 8] = ["--sizes", "64K,256K", "--batches", "1,4", "--bytes", "1M", "--seconds", "4"];
/// How long a measurement may take to begin, or to end, on a machine that may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

fn bench(config: &Path, more: &[&str]) -> Ran {
    answer(command().arg("bench").arg(config).args(SHORT).args(more))
}

/// One that does not end by itself.
fn long(config: &Path) -> Command {
    let mut command = command();
    command.arg("bench").arg(config);
    command.args(["--sizes", "64K", "--batches", "1", "--bytes", "64M", "--seconds", "600"]);
    command
}

/// Whatever kind of store it is, there are figures for each size and batch, and nothing is left.
#[test]
fn every_kind_of_store_is_measured_and_nothing_is_left() {
    let scratch = Scratch::new("bench-kinds");
    let path = format!("nixl_path: {}", scratch.data().display());
    for (lines, layout) in [
        (
            [
                "nixl_backend: POSIX",
                "nixl_pool_size: 4",
                "nixl_store_chunk_bytes: 4096",
                "use_direct_io: true",
            ],
            "static",
        ),
        (
            ["nixl_backend: POSIX", "nixl_pool_size: 0", "nixl_store_capacity_bytes: 2MiB", "cache_limit: 1"],
            "dynamic/sharded",
        ),
        (
            ["nixl_backend: POSIX", "nixl_pool_size: 0", "nixl_store_layout: lmcache", "use_direct_io: true"],
            "dynamic/lmcache",
        ),
        (
            [
                "nixl_backend: MEMORY",
                "nixl_pool_size: 4",
                "nixl_store_chunk_bytes: 4096",
                "use_direct_io: false",
            ],
            "static",
        ),
    ] {
        let config = scratch.engine(&[&lines[..], &[&path]].concat());
        let before = scratch.tree();
        let told = bench(&config, &["--json"]);
        assert_eq!(told.status, 0, "{told:?}");
        let report: Value = serde_json::from_str(&told.out).unwrap();
        assert_eq!(report["layout"], layout);
        let cells = report["cells"].as_array().unwrap();
        let shapes: Vec<_> = cells
            .iter()
            .map(|cell| (cell["object_bytes"].as_u64().unwrap(), cell["batch"].as_u64().unwrap()))
            .collect();
        assert_eq!(shapes, [(65_536, 1), (65_536, 4), (262_144, 1), (262_144, 4)]);
        let is_bare = lines[0] != "nixl_backend: MEMORY";
        for cell in cells {
            assert!(cell["put_bytes_per_second"].as_f64().unwrap() > 0.0, "{cell}");
            assert!(cell["get_bytes_per_second"].as_f64().unwrap() > 0.0, "{cell}");
            assert_eq!(cell["bare_read_bytes_per_second"].is_number(), is_bare, "{cell}");
        }
        assert_eq!(scratch.tree(), before, "{layout}");
    }
}

/// The engine's pool is in use and full all the while, and has what it had.
#[test]
fn the_engines_pool_is_not_touched() {
    let scratch = Scratch::new("bench-in-use");
    let config = engine_pool(&scratch, 2);
    let store = open(&config);
    for (key, byte) in [("a", 1), ("b", 2)] {
        assert!(transfer(&store, Direction::Put, key, &object(byte)));
    }
    let before = scratch.tree();
    let told = bench(&config, &[]);
    assert_eq!(told.status, 0, "{told:?}");
    assert_eq!(scratch.tree(), before);
    let back = object(0);
    assert!(transfer(&store, Direction::Get, "b", &back));
    assert_eq!(back.as_slice(), vec![2; CHUNK_BYTES]);
    store.close().unwrap();
}

/// It opens no pool, so that one that could not be opened is no matter to it, and stays as it is.
#[test]
fn a_damaged_pool_is_neither_in_the_way_nor_changed() {
    let scratch = Scratch::new("bench-damaged");
    let config = engine_pool(&scratch, 2);
    let store = open(&config);
    assert!(transfer(&store, Direction::Put, "a", &object(1)));
    store.close().unwrap();
    let pool = scratch.data().join("nixl_store_pool");
    std::fs::write(pool.join("manifest"), "no manifest").unwrap();
    std::fs::remove_file(pool.join("snapshot")).unwrap();
    let before = scratch.tree();
    assert_eq!(doctor(&config, &[]).status, 1, "the pool cannot be opened");
    let told = bench(&config, &[]);
    assert_eq!(told.status, 0, "{told:?}");
    assert_eq!(scratch.tree(), before);
}

/// What a measurement left that was killed is named by the next one, which does not know whether another is at work there.
#[test]
fn what_a_killed_measurement_left_is_named() {
    let scratch = Scratch::new("bench-killed");
    let config = engine_pool(&scratch, 4);
    std::fs::create_dir(scratch.data()).unwrap();
    let mut child = long(&config).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until(|| std::fs::read_dir(scratch.data()).unwrap().next().is_some());
    child.kill().unwrap();
    child.wait().unwrap();
    let left = std::fs::read_dir(scratch.data()).unwrap().next().unwrap().unwrap().path();
    let told = bench(&config, &[]);
    assert_eq!(told.status, 0, "{told:?}");
    let said = format!("{} is there from another measurement", left.display());
    assert_eq!(told.err.matches(&said).count(), 1, "{told:?}");
    std::fs::remove_dir_all(&left).unwrap();
    let told = bench(&config, &[]);
    assert!(!told.err.contains("another measurement"), "{told:?}");
    assert_eq!(std::fs::read_dir(scratch.data()).unwrap().count(), 0);
}

/// The table fits a terminal, and the picture is one, for light and for dark.
#[test]
fn the_table_fits_80_columns_and_the_picture_is_drawn() {
    let scratch = Scratch::new("bench-picture");
    let picture = scratch.path().join("bench.svg");
    let config = engine_pool(&scratch, 4);
    let told = bench(&config, &["--svg", picture.to_str().unwrap()]);
    assert_eq!(told.status, 0, "{told:?}");
    assert!(
        told.out.contains("POSIX by io_uring, static on") && told.out.contains("of bare"),
        "{}",
        told.out
    );
    // The first line is the configuration's path, which may be of any length.
    assert_eq!(told.out.lines().next(), config.to_str());
    assert!(told.out.lines().skip(1).all(|line| line.chars().count() <= 80), "{}", told.out);
    assert!(told.out.contains("every byte compared"), "{}", told.out);
    let drawn = std::fs::read_to_string(picture).unwrap();
    assert!(drawn.starts_with("<svg") && drawn.trim_end().ends_with("</svg>"), "{drawn}");
    assert!(drawn.contains("prefers-color-scheme: dark") && drawn.contains("batches of 4"), "{drawn}");
    assert_eq!(drawn.matches("<polyline").count(), 6);
}

/// A signal in the midst of it ends it, and what it had made is gone.
#[test]
fn a_signal_leaves_nothing_behind() {
    let scratch = Scratch::new("bench-signal");
    let config = engine_pool(&scratch, 4);
    for signal in ["INT", "TERM"] {
        let child = long(&config).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        until(|| std::fs::read_dir(scratch.data()).is_ok_and(|mut made| made.next().is_some()));
        assert!(
            Command::new("kill")
                .args([&format!("-{signal}"), &child.id().to_string()])
                .status()
                .unwrap()
                .success()
        );
        let told = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&told.stderr).into_owned();
        assert_eq!(told.status.code(), Some(2), "{said}");
        assert!(said.contains("interrupted"), "{said}");
        assert!(!scratch.data().exists(), "the directory was made for the measurement");
    }
}

/// What would fill the file system is refused before anything is written.
#[test]
fn too_little_room_is_refused() {
    let scratch = Scratch::new("bench-room");
    let config = engine_pool(&scratch, 4);
    std::fs::create_dir(scratch.data()).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=8m none '{0}'; '{1}' bench '{2}' --sizes 1M --bytes 8M || status=$?; ls -A '{0}'; exit $status",
        scratch.data().display(),
        crate::run::PROGRAM,
        config.display()
    );
    let Some(told) = in_namespace(&script) else { return };
    assert_eq!(told.status, 2, "{told:?}");
    assert!(told.err.contains("lower --bytes"), "{told:?}");
    assert_eq!(told.out, "");
}

/// Arguments that make no sense are refused, as those of every command are.
#[test]
fn wrong_arguments_are_refused() {
    let scratch = Scratch::new("bench-arguments");
    let config = engine_pool(&scratch, 4);
    for arguments in [&["--sizes", "0"][..], &["--sizes", "1X"], &["--batches", "0"], &["--seconds", "0"]] {
        assert_eq!(answer(command().arg("bench").arg(&config).args(arguments)).status, 2, "{arguments:?}");
    }
}

#[track_caller]
fn until(mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
}
