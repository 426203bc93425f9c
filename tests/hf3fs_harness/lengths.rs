//! What is there of a file, when it gets there, and how long the file is.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use crate::faulty_fs::{Hf3fs, RING_THREAD};
use crate::{open, start, start_with};

const CHUNK: u64 = 64 << 10;

fn length(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

fn read(file: &File, offset: u64, size: usize) -> Vec<u8> {
    let mut bytes = vec![9; size];
    let got = file.read_at(&mut bytes, offset).unwrap();
    bytes.truncate(got);
    bytes
}

/// Whether this process runs the test of that name and no other; if not, another process has run it by now. A process that a
/// test starts closes what it inherits, and a close is what sends on what was kept behind, of this test too.
fn is_alone(test: &str) -> bool {
    const ALONE: &str = "NIXL_STORE_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    let ended = command.args(["--exact", test, "--nocapture"]).env(ALONE, "1").output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success() && out.contains("1 passed"), "{out}{err}");
    false
}

#[test]
fn o_direct_takes_any_alignment() {
    let Some(fs) = start("alignment") else { return };
    let file = open(&fs.path().join("file"), libc::O_DIRECT);
    let data: Vec<u8> = (0..300_001).map(|at| (at / 7) as u8).collect();
    file.write_all_at(&data[1..], 1).unwrap();
    assert_eq!(read(&file, 13, 200_000), data[13..200_013]);
}

/// What was never written is not there: a read ends where nothing follows, and has zeros where something does.
#[test]
fn holes_read_short_or_as_zeros() {
    let Some(fs) = start("holes") else { return };
    let path = fs.path().join("file");
    let file = open(&path, libc::O_DIRECT);
    file.set_len(10 * CHUNK).unwrap();
    assert_eq!(length(&path), 10 * CHUNK);
    assert_eq!(read(&file, CHUNK, 100), b"", "a chunk that is not there");
    file.write_all_at(b"data", 2 * CHUNK + 50).unwrap();
    assert_eq!(read(&file, 2 * CHUNK, 100), [&[0; 50][..], b"data"].concat(), "its chunk is that long");
    let across = read(&file, CHUNK, 2 * CHUNK as usize);
    assert_eq!(
        (across.len(), across[0], &across[across.len() - 4..]),
        (CHUNK as usize + 54, 0, &b"data"[..])
    );
    assert_eq!(read(&file, 9 * CHUNK, 100), [0; 100], "the last chunk was made by the length");
    file.set_len(2 * CHUNK + 52).unwrap();
    assert_eq!(read(&file, 2 * CHUNK + 50, 100), b"da");
}

#[test]
fn a_buffered_read_of_a_hole_ends_the_file_for_later_ones() {
    let Some(fs) = start_with("ended", 30_000, Hf3fs::default()) else { return };
    let path = fs.path().join("file");
    let direct = open(&path, libc::O_DIRECT);
    direct.set_len(10 * CHUNK).unwrap();
    let file = File::open(&path).unwrap();
    assert_eq!(read(&file, 9 * CHUNK, 10), [0; 10], "there are bytes at the end");
    assert_eq!(read(&file, CHUNK, 10), b"", "and none here");
    assert_eq!(read(&file, 9 * CHUNK, 10), b"", "which now end the file");
    assert_eq!(read(&direct, 9 * CHUNK, 10), [0; 10], "but for O_DIRECT");
}

/// Who else writes stands for rings, which the kernel knows nothing of.
#[test]
fn a_length_is_known_after_fsync_close_and_truncate() {
    if !is_alone("lengths::a_length_is_known_after_fsync_close_and_truncate") {
        return;
    }
    let Some(fs) = start_with("length", 30_000, Hf3fs::default()) else { return };
    let path = fs.path().join("file");
    let file = open(&path, libc::O_DIRECT);
    file.write_all_at(&[1; 1000], 0).unwrap();
    assert_eq!(
        (length(&path), read(&file, 0, 2000).len()),
        (0, 1000),
        "bytes are there before the length is"
    );
    file.sync_data().unwrap();
    assert_eq!(length(&path), 0, "fdatasync is about the bytes");
    file.sync_all().unwrap();
    assert_eq!(length(&path), 1000);
    file.write_all_at(&[1; 1000], 1000).unwrap();
    assert_eq!(length(&path), 1000);
    drop(file.try_clone().unwrap());
    assert_eq!(length(&path), 2000, "any close of a descriptor of it");
    file.write_all_at(&[1; 1000], 2000).unwrap();
    file.set_len(2500).unwrap();
    assert_eq!(length(&path), 2500);
}

#[test]
fn with_the_settings_of_3fs_a_stat_tells_what_this_host_wrote() {
    if !is_alone("lengths::with_the_settings_of_3fs_a_stat_tells_what_this_host_wrote") {
        return;
    }
    let kind = Hf3fs { sync_on_stat: true, other_host: Some("elsewhere"), ..Hf3fs::default() };
    let Some(fs) = start_with("stat", 0, kind) else { return };
    let (here, there) = (fs.path().join("file"), fs.other_path().join("file"));
    let file = open(&here, 0);
    file.write_all_at(&[1; 1000], 0).unwrap();
    assert_eq!(length(&there), 0);
    assert_eq!((length(&here), length(&there)), (1000, 1000));
}

#[test]
fn buffered_writes_are_kept_behind_and_come_late() {
    if !is_alone("lengths::buffered_writes_are_kept_behind_and_come_late") {
        return;
    }
    let Some(fs) = start("behind") else { return };
    let path = fs.path().join("file");
    let (direct, buffered) = (open(&path, libc::O_DIRECT), open(&path, 0));
    let there = |offset| {
        fs.direct_is_ring(true);
        let bytes = read(&direct, offset, 4);
        fs.direct_is_ring(false);
        bytes
    };
    buffered.write_all_at(b"one", 0).unwrap();
    assert_eq!(there(0), b"", "kept");
    buffered.write_all_at(b"two", 3).unwrap();
    assert_eq!(there(0), b"", "with what follows it");
    buffered.write_all_at(b"apart", 100).unwrap();
    assert_eq!((there(0), there(100)), (b"onet".to_vec(), b"".to_vec()), "flushed before what does not");
    buffered.sync_data().unwrap();
    assert_eq!(there(100), b"apar");
    buffered.write_all_at(b"full", 200).unwrap();
    buffered.write_all_at(&vec![1; 1 << 20], 204).unwrap();
    assert_eq!((there(200), there(200 + (1 << 20))), (b"full".to_vec(), b"".to_vec()), "at 1 MiB");
    drop(buffered.try_clone().unwrap());
    assert_eq!(there(200 + (1 << 20)), [1; 4], "by a close");
    buffered.write_all_at(b"asks", 0).unwrap();
    assert_eq!(read(&direct, 0, 4), b"asks", "by O_DIRECT that is no ring");
    buffered.write_all_at(b"cuts", 0).unwrap();
    direct.set_len(4).unwrap();
    assert_eq!(there(0), b"cuts", "by truncate");
}

/// What makes buffered descriptors of a file that rings write to a way to lose data.
#[test]
fn what_is_kept_behind_comes_over_what_a_ring_wrote() {
    if !is_alone("lengths::what_is_kept_behind_comes_over_what_a_ring_wrote") {
        return;
    }
    let Some(fs) = start("over") else { return };
    let path = fs.path().join("file");
    let (direct, buffered) = (open(&path, libc::O_DIRECT), open(&path, 0));
    buffered.write_all_at(b"old", 0).unwrap();
    let ring = std::thread::Builder::new().name(format!("{RING_THREAD}-0"));
    #[allow(clippy::disallowed_methods, reason = "a name is what this is about")]
    let ring = ring.spawn(move || {
        direct.write_all_at(b"new!", 0).unwrap();
        (read(&direct, 0, 4), direct)
    });
    let (read_by_ring, direct) = ring.unwrap().join().unwrap();
    assert_eq!(read_by_ring, b"new!");
    assert_eq!((fs.flush_behind(), fs.flush_behind()), (1, 0));
    assert_eq!(read(&direct, 0, 4), b"old!");
    assert_eq!(length(&path), 4, "and lengths are told");
}
