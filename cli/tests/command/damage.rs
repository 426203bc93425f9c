//! What is damaged is named, with what is wrong and where; `--remove` takes it out, and nothing else.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde_json::Value;

use crate::support::*;

pub fn flip(path: &Path, offset: u64) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], offset).unwrap();
}

pub fn place(config: &Path, key: &str) -> (String, u64, u64) {
    let found = run(&["stat", "--json", "-c", text(config), key]).json();
    let number = |name: &str| found[0][name].as_u64().unwrap();
    (found[0]["file"].as_str().unwrap().to_owned(), number("offset"), number("bytes"))
}

fn verify(config: &Path, more: &[&str], code: i32) -> Value {
    run(&[&["verify", "--json", text(config)], more].concat()).expect(code).json()
}

/// A flipped bit of a payload and a garbled trailer, in a pool that was closed and in one that was not.
#[test]
fn a_flipped_bit_is_found_named_and_removed() {
    let scratch = Scratch::new("flipped");
    for is_closed in [true, false] {
        let config = scratch.pool(if is_closed { "closed" } else { "not closed" });
        fill(&config);
        let names = keys();
        let (file, offset, _) = place(&config, &names[5].0);
        flip(file.as_ref(), offset + 65_536 + 9);
        let (file, offset, bytes) = place(&config, &names[6].0);
        flip(file.as_ref(), offset + bytes.next_multiple_of(4096) + 300);
        if !is_closed {
            fs::remove_file(config.with_extension("").join("nixl_store_pool").join("snapshot")).unwrap();
        }
        let before = image(&scratch.0);
        let report = verify(&config, &[], 1);
        assert_eq!(image(&scratch.0), before);
        assert_eq!(report["proven"], 6);
        let damaged = report["damaged"].as_array().unwrap();
        let find = |text: &str| {
            damaged
                .iter()
                .find(|damaged| damaged["damage"].as_str().unwrap().contains(text))
                .unwrap_or_else(|| panic!("{report}"))
        };
        assert_eq!(damaged.len(), 2);
        assert_eq!(
            find("block 2 of 2 (65536 bytes from byte 65536 of the payload)")["key"],
            names[5].0.as_str()
        );
        // Without the snapshot nobody knows whose it was.
        let trailer = find("trailer checksum mismatch");
        assert_eq!(
            (trailer["key"].as_str(), trailer["fate"].as_str().unwrap()),
            match is_closed {
                true => (Some(names[6].0.as_str()), "left"),
                false => (None, "free"),
            }
        );
        let stat = run(&["stat", "--json", "-c", text(&config), &names[5].0]).expect(1).json();
        assert_eq!(stat[0]["state"], "damaged");
        let removed = verify(&config, &["--remove"], 0);
        let fates: Vec<&str> =
            removed["damaged"].as_array().unwrap().iter().map(|one| one["fate"].as_str().unwrap()).collect();
        assert!(fates.iter().all(|fate| matches!(*fate, "removed" | "freed")), "{removed}");
        assert_eq!(verify(&config, &[], 0)["proven"], 6);
        let store = open(&config, b"");
        for (index, (key, length)) in names.iter().enumerate() {
            let wanted = (index != 5 && index != 6).then(|| payload(key, 1, *length));
            assert!(get(&store, key) == wanted, "{key}");
        }
        store.close().unwrap();
    }
}

/// A slot file that was cut, and a snapshot that is garbled, are said; what is left of the pool is read all the same.
#[test]
fn cut_files_and_garbled_snapshots_are_said_and_mended() {
    let scratch = Scratch::new("cut");
    let config = scratch.pool("a");
    fill(&config);
    flip(&scratch.file("a", "snapshot"), 70);
    let report = verify(&config, &[], 1);
    assert_eq!(
        (report["proven"].as_u64(), report["source"].as_str()),
        (Some(8), Some("the trailers of all slots"))
    );
    assert!(report["defects"][0].as_str().unwrap().contains("snapshot is not believed"), "{report}");
    assert_eq!(verify(&config, &["--remove"], 0)["proven"], 8);
    assert_eq!(verify(&config, &[], 0)["proven"], 8);
    let (file, _, _) = place(&config, &keys()[0].0);
    File::options().write(true).open(&file).unwrap().set_len(4096).unwrap();
    let report = verify(&config, &[], 1);
    assert_eq!(report["proven"], 7);
    assert!(report["defects"][0].as_str().unwrap().contains("has 4096 bytes instead of"), "{report}");
    fs::remove_file(&file).unwrap();
    assert!(verify(&config, &[], 1)["defects"][0].as_str().unwrap().contains("is missing"));
}

/// A manifest that is garbled is an answer, not a crash, and nothing is touched.
#[test]
fn a_garbled_manifest_is_refused() {
    let scratch = Scratch::new("manifest");
    let config = scratch.pool("a");
    fill(&config);
    flip(&scratch.file("a", "manifest"), 50);
    let other = scratch.config("b", &dynamic("sharded"));
    fill(&other);
    let before = image(&scratch.0);
    for arguments in [
        &["ls", text(&config)][..],
        &["stat", "-c", text(&config), "key"],
        &["verify", text(&config)],
        &["verify", "--remove", text(&config)],
        &["copy", text(&config), text(&other)],
        &["copy", text(&other), text(&config)],
        &["rm", "-c", text(&config), "key"],
        &["clear", "--yes", text(&config)],
    ] {
        let refused = run(arguments).expect(2).err;
        assert!(refused.contains("manifest is damaged (checksum mismatch)"), "{arguments:?}: {refused}");
    }
    assert_eq!(image(&scratch.0), before);
}

/// Files of a dynamic store: a flipped bit, a garbled trailer, a file under another's name. A pinned one stays.
#[test]
fn damaged_files_are_removed_unless_somebody_pins_them() {
    let scratch = Scratch::new("files");
    for layout in ["sharded", "lmcache"] {
        let config = scratch.config(layout, &dynamic(layout));
        fill(&config);
        let names = keys();
        let files: Vec<String> = names.iter().map(|(key, _)| place(&config, key).0).collect();
        flip(files[3].as_ref(), 100);
        flip(files[4].as_ref(), 100);
        flip(files[5].as_ref(), (names[5].1 as u64).next_multiple_of(4096) + 300);
        fs::copy(&files[0], &files[1]).unwrap();
        let store = open(&config, b"");
        assert!(store.pin(names[3].0.as_bytes()).unwrap());
        let report = verify(&config, &[], 1);
        assert_eq!(
            (report["proven"].as_u64(), report["damaged"].as_array().unwrap().len()),
            (Some(4), 4),
            "{report}"
        );
        let report = verify(&config, &["--remove"], 1);
        let pinned: Vec<&Value> =
            report["damaged"].as_array().unwrap().iter().filter(|one| one["fate"] != "removed").collect();
        assert_eq!((pinned.len(), pinned[0]["key"].as_str()), (1, Some(names[3].0.as_str())), "{report}");
        assert_eq!(pinned[0]["fate"], "pinned");
        // Pins go with whoever holds them.
        drop(store);
        assert!(Path::new(&files[3]).exists() && !Path::new(&files[5]).exists());
        verify(&config, &["--remove"], 0);
        assert_eq!(verify(&config, &[], 0)["proven"], 4);
    }
}

/// A write that was lost: the snapshot lists a record, and its slot holds another one, whole. The owner takes the listed one out of its
/// index, so that the next look finds nothing wrong.
#[test]
fn a_slot_that_holds_another_record_is_taken_out_of_the_index() {
    let scratch = Scratch::new("lost-write");
    let config = scratch.config("a", &pool(8, CHUNK_BYTES));
    fill(&config);
    let names = keys();
    let (file, _, _) = place(&config, &names[3].0);
    let before = fs::read(&file).unwrap();
    let store = open(&config, b"");
    // The only free slot is the removed key's.
    assert_eq!(store.remove(names[3].0.as_bytes()).unwrap(), nixl_store::error::Status::Ok);
    put(&store, "other", b"bytes");
    store.close().unwrap();
    fs::write(&file, before).unwrap();
    let report = verify(&config, &[], 1);
    let damage = report["damaged"][0]["damage"].as_str().unwrap();
    assert!(damage.contains("the snapshot lists another record in this slot"), "{report}");
    let report = verify(&config, &["--remove"], 0);
    assert_eq!(
        (&report["damaged"][0]["key"], &report["damaged"][0]["fate"]),
        (&"other".into(), &"removed".into())
    );
    assert_eq!(verify(&config, &[], 0)["proven"], 7);
    run(&["stat", "-c", text(&config), "other"]).expect(1);
}

/// A reader that goes away, as `head` does, does not turn damage into success.
#[test]
fn a_reader_that_goes_away_leaves_the_status() {
    let scratch = Scratch::in_memory("unread");
    let config = scratch.pool("a");
    fill(&config);
    let (file, offset, _) = place(&config, &keys()[5].0);
    flip(file.as_ref(), offset);
    for arguments in [&["verify", text(&config)][..], &["stat", "-c", text(&config), "nothing"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ended = ran(command(arguments).stdout(writer).output().unwrap());
        assert_eq!((ended.status, ended.err.as_str()), (1, ""), "{arguments:?}");
    }
}
