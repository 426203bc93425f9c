//! A scan finds every object and nothing else, whatever else lies there.

use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};

use super::super::{FilesView, Proof};
use super::*;

/// Objects of many sizes are put, by two stores, and found again by a third with their sizes and times.
#[test]
fn a_scan_finds_every_object() {
    let dir = TestDir::new();
    let stores = [open(dir.path()), open(dir.path())];
    let mut expected = Vec::new();
    for number in 0..300u64 {
        let name = named(&stores[0], digest((number * 7) as u8, number));
        put(&stores[number as usize % 2], &name, &vec![1; number as usize]);
        expected.push((name.to_string(), number));
    }
    let unfinished = stores[0].create_temporary(&named(&stores[0], 1), 5).unwrap();
    expected.sort();
    let found = scanned(&open(dir.path()));
    assert_eq!(found.iter().map(|one| (one.name.to_string(), one.bytes)).collect::<Vec<_>>(), expected);
    let recent = SystemTime::now() - Duration::from_secs(3600);
    assert!(found.iter().all(|one| one.modified > recent && one.proof == Proof::Name));
    drop(unfinished);
}

/// The directories of the sharded layout are full of what is no object: near misses of names,
/// bytes that are no text, links, directories in directories. Only the object is found.
#[test]
fn a_sharded_scan_passes_over_hostile_names() {
    let dir = TestDir::new();
    let store = open(dir.path());
    let name = named(&store, digest(0xab, 0xff));
    put(&store, &name, b"object");
    let good = name.file_name();
    let objects = dir.join("nixl_store_objects");
    let shard = objects.join("ab");
    let hostile: Vec<Vec<u8>> = vec![
        good.to_uppercase().into_bytes(),
        good.as_bytes()[..31].to_vec(),
        format!("{good}0").into_bytes(),
        format!("{good} ").into_bytes(),
        format!("ac{}", &good[2..]).into_bytes(),
        format!("+{}", &good[1..]).into_bytes(),
        b"\xff\xfe\n\x1b[2J".to_vec(),
        vec![b'x'; 255],
        b"%2e%2e".to_vec(),
    ];
    for name in &hostile {
        std::fs::write(shard.join(OsStr::from_bytes(name)), b"x").unwrap();
    }
    std::fs::create_dir(shard.join(format!("ab{}", "1".repeat(30)))).unwrap();
    symlink(shard.join(&good), shard.join(format!("ab{}", "2".repeat(30)))).unwrap();
    symlink(&shard, objects.join("cd")).unwrap();
    symlink(&objects, shard.join("loop")).unwrap();
    std::fs::write(objects.join("ef"), b"x").unwrap();
    for stray in ["AB", "abc", "..."] {
        std::fs::create_dir(objects.join(stray)).unwrap();
        std::fs::write(objects.join(stray).join(&good), b"x").unwrap();
    }
    let found = scanned(&store);
    assert_eq!(found.iter().map(|one| one.name.clone()).collect::<Vec<_>>(), [name]);
}

/// In the flat layout strangers' files lie beside LMCache's. Those with a name that no key gives are
/// passed over, those that some key gives are marked as unproven, and only LMCache's shape is proof.
#[test]
fn a_flat_scan_marks_what_its_name_does_not_prove() {
    let dir = TestDir::new();
    let store = open_as(dir.path(), Layout::Lmcache);
    let theirs = store.name_of(0, "org/model@2@1@1f3a@half@user%a b".as_bytes()).unwrap();
    put(&store, &theirs, b"twelve bytes");
    std::fs::write(dir.join("notes.txt"), b"x").unwrap();
    std::fs::write(dir.join("spaced name_1_0_ab_half"), b"x").unwrap();
    std::fs::write(dir.join(OsStr::from_bytes(b"\xff_1_0_ab_half")), b"x").unwrap();
    std::fs::create_dir(dir.join("dir_1_0_ab_half")).unwrap();
    symlink(dir.join("notes.txt"), dir.join("link_1_0_ab_half")).unwrap();
    drop(open(dir.path()));

    let found = scanned(&store);
    let found: Vec<_> = found.iter().map(|one| (one.name.to_string(), one.bytes, one.proof)).collect();
    assert_eq!(
        found,
        [
            ("notes.txt".to_owned(), 1, Proof::NeedsTrailer),
            ("org_model_2_1_1f3a_half_user%25a%20b".to_owned(), 12, Proof::Name),
        ]
    );
}

/// Whoever has enough ends the scan, in the midst of a shard and before the next one.
#[test]
fn a_view_is_scanned_until_its_reader_has_enough() {
    for layout in [Layout::Sharded, Layout::Lmcache] {
        let dir = TestDir::new();
        let store = open_as(dir.path(), layout);
        for number in 0..20u64 {
            let name = store.name_of(digest((number % 4) as u8, number), format!("key {number}").as_bytes());
            put(&store, &name.unwrap(), b"bytes");
        }
        let view = FilesView::open(dir.path(), layout).unwrap().unwrap();
        let mut told = 0;
        let mut sink = |_| {
            told += 1;
            if told < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        view.scan(&mut sink, &mut |path, error| panic!("{}: {error}", path.display())).unwrap();
        assert_eq!(told, 3);
    }
}

/// Where O_DIRECT is granted at open and refused afterwards, a view reads through the page cache, and asks once.
#[test]
fn a_view_reads_without_direct_io_where_it_must() {
    let dir = TestDir::new();
    let store = open(dir.path());
    let name = named(&store, digest(1, 1));
    put(&store, &name, &[7; 4096]);
    let view = FilesView::open(dir.path(), Layout::Sharded).unwrap().unwrap();
    let is_direct = |view: &FilesView| {
        let (file, _) = view.open_read(&name).unwrap().unwrap();
        crate::sys::file::flags(&file).unwrap() & libc::O_DIRECT != 0
    };
    assert!(!crate::sys::file::testing::without_direct(|| is_direct(&view)));
    assert!(!is_direct(&view));
}
