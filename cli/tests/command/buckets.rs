//! The same in a bucket of a real S3 server.

use std::fs;
use std::path::PathBuf;

use crate::copying::assert_holds;
use crate::s3_common::{self, Server};
use crate::support::*;

/// A configuration of a store in the tests' bucket.
fn bucket(scratch: &Scratch, name: &str, extra: &str) -> PathBuf {
    let path = scratch.config(name, extra);
    let (prefix, parameters) = s3_common::on_the_server(&scratch.0.join(name));
    let mut yaml =
        fs::read_to_string(&path).unwrap().replace("POSIX", "OBJ").replace("  use_direct_io: true\n", "");
    yaml = yaml.lines().filter(|line| !line.contains("nixl_path")).map(|line| format!("{line}\n")).collect();
    yaml.push_str(&format!("  nixl_store_prefix: {prefix}\n  nixl_backend_params:\n"));
    parameters.iter().for_each(|(name, value)| yaml.push_str(&format!("    {name}: {value}\n")));
    fs::write(&path, yaml).unwrap();
    path
}

/// From a disk into a bucket, from there into a pool in the bucket, and back to the disk: every byte is compared.
#[test]
fn a_store_goes_into_a_bucket_and_comes_back() {
    let scratch = Scratch::new("bucket");
    let from = scratch.pool("a");
    let objects = bucket(&scratch, "b", "  nixl_pool_size: 0\n");
    let objects_pool = bucket(&scratch, "c", &pool(SLOTS, CHUNK_BYTES));
    let back = scratch.pool("d");
    fill(&from);
    for (from, to) in [(&from, &objects), (&objects, &objects_pool), (&objects_pool, &back)] {
        let report = run(&["copy", "--json", text(from), text(to)]).expect(0).json();
        assert_eq!(report["copied"], 8, "{report}");
        s3_common::assert_no_secret(&report.to_string(), &"copy");
    }
    assert_holds(&back, b"", &keys());
    assert_holds(&objects, b"", &keys());
    for config in [&objects, &objects_pool] {
        let listed = run(&["ls", "--json", text(config)]).expect(0);
        s3_common::assert_no_secret(&listed.out, &"ls");
        assert_eq!(listed.json()["keys"], 8);
        let (key, length) = &keys()[4];
        let stat = run(&["stat", "--json", "-c", text(config), key]).expect(0).json();
        assert_eq!(
            (stat[0]["bytes"].as_u64(), stat[0]["state"].as_str()),
            (Some(*length as u64), Some("proven"))
        );
    }
}

/// A damaged object is named and removed; an owner of a pool there is told of.
#[test]
fn damaged_objects_are_found_and_removed() {
    let scratch = Scratch::new("objects");
    let config = bucket(&scratch, "a", "  nixl_pool_size: 0\n");
    fill(&config);
    let client = Server::of_this_process().client();
    let (key, _) = &keys()[4];
    let found = run(&["stat", "--json", "-c", text(&config), key]).expect(0).json();
    let name = found[0]["file"].as_str().unwrap();
    let mut bytes = client.get(s3_common::BUCKET, name).unwrap();
    bytes[70] ^= 1;
    client.put(s3_common::BUCKET, name, &bytes);
    let report = run(&["verify", "--json", text(&config)]).expect(1).json();
    assert_eq!((report["proven"].as_u64(), report["damaged"].as_array().unwrap().len()), (Some(7), 1));
    assert!(report["damaged"][0]["damage"].as_str().unwrap().contains("block 1 of 2"), "{report}");
    run(&["verify", "--remove", text(&config)]).expect(0);
    assert_eq!(run(&["verify", "--json", text(&config)]).expect(0).json()["proven"], 7);
    assert!(client.get(s3_common::BUCKET, name).is_none());
    let pool = bucket(&scratch, "b", &pool(SLOTS, CHUNK_BYTES));
    run(&["ls", text(&pool)]).expect(2);
    let store = open(&pool, b"");
    put(&store, "key", b"bytes");
    let listed = run(&["ls", "--json", text(&pool)]).expect(0).json();
    assert!(listed["store"]["owner"].as_str().unwrap().contains(&std::process::id().to_string()), "{listed}");
    assert_eq!(listed["keys"], 1);
    assert!(run(&["clear", "--yes", text(&pool)]).expect(2).err.contains("in use by process"));
    store.close().unwrap();
}

/// The index of a pool in a bucket is its listing, so that damaged objects are removed, not left to the next open.
#[test]
fn damaged_objects_of_a_pool_are_removed() {
    let scratch = Scratch::new("objects-pool");
    let config = bucket(&scratch, "a", &pool(SLOTS, CHUNK_BYTES));
    fill(&config);
    let client = Server::of_this_process().client();
    let object = |index: usize| {
        let found = run(&["stat", "--json", "-c", text(&config), &keys()[index].0]).expect(0).json();
        found[0]["file"].as_str().unwrap().to_owned()
    };
    let names = [1, 2, 3, 4].map(object);
    let read = |name: &str| client.get(s3_common::BUCKET, name).unwrap();
    // A trailer, a payload, and an object under another's name.
    let mut garbled = read(&names[0]);
    garbled[4096 + 300] ^= 1;
    client.put(s3_common::BUCKET, &names[0], &garbled);
    let mut flipped = read(&names[3]);
    flipped[70] ^= 1;
    client.put(s3_common::BUCKET, &names[3], &flipped);
    client.put(s3_common::BUCKET, &names[1], &read(&names[2]));
    let report = run(&["verify", "--json", text(&config)]).expect(1).json();
    assert_eq!((&report["proven"], report["damaged"].as_array().unwrap().len()), (&5.into(), 3), "{report}");
    let report = run(&["verify", "--remove", "--json", text(&config)]).expect(0).json();
    assert!(report["damaged"].as_array().unwrap().iter().all(|one| one["fate"] == "removed"), "{report}");
    for name in [&names[0], &names[1], &names[3]] {
        assert!(client.get(s3_common::BUCKET, name).is_none(), "{name}");
    }
    assert_eq!(run(&["verify", "--json", text(&config)]).expect(0).json()["proven"], 5);
}

/// The object of a key is not that of another one that has the same name in LMCache's layout.
#[test]
fn another_keys_object_is_not_removed() {
    let scratch = Scratch::new("objects-namesakes");
    let config = bucket(&scratch, "a", &dynamic("lmcache"));
    let store = open(&config, b"");
    put(&store, "a_b", b"bytes");
    store.close().unwrap();
    assert!(run(&["rm", "-c", text(&config), "a/b"]).expect(1).out.contains("not stored"));
    run(&["rm", "-c", text(&config), "a_b"]).expect(0);
    run(&["stat", "-c", text(&config), "a_b"]).expect(1);
}
