//! What is listed is what was put, in every layout, and nothing is changed by the look.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::support::*;

fn listed(config: &std::path::Path, more: &[&str]) -> Vec<String> {
    let found = run(&[&["ls", "--json", text(config)], more].concat()).expect(0).json();
    found["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["key"].as_str().unwrap().to_owned())
        .collect()
}

/// After a clean close the snapshot tells, in the order of eviction; nothing on storage is touched by `ls`, `stat` and `verify`.
#[test]
fn a_closed_pool_is_listed_in_order_and_left_alone() {
    let scratch = Scratch::new("closed");
    let config = scratch.pool("a");
    fill(&config);
    let before = image(&scratch.0);
    let names: Vec<String> = keys().into_iter().map(|(key, _)| key).collect();
    assert_eq!(listed(&config, &[]), names);
    assert_eq!(listed(&config, &["--sort", "size", "--reverse", "--limit", "1"]), names[7..]);
    assert_eq!(listed(&config, &["--prefix", "model@1@0@03"]), names[3..4]);
    assert_eq!(listed(&config, &["--namespace", "other"]), names[..0]);
    assert_eq!(listed(&config, &["--limit", "3"]), names[..3]);
    for ((key, length), name) in keys().iter().zip(&names) {
        let found = run(&["stat", "--json", "-c", text(&config), name]).expect(0).json();
        assert_eq!(found[0]["bytes"].as_u64(), Some(*length as u64), "{key}");
        assert_eq!(found[0]["state"], "proven");
        // The payload lies where it is said to lie.
        let file = fs::read(found[0]["file"].as_str().unwrap()).unwrap();
        let offset = found[0]["offset"].as_u64().unwrap() as usize;
        assert_eq!(file[offset..offset + length], payload(key, 1, *length));
    }
    let report = run(&["verify", "--json", text(&config)]).expect(0).json();
    assert_eq!((report["proven"].as_u64(), report["damaged"].as_array().unwrap().len()), (Some(8), 0));
    assert_eq!(image(&scratch.0), before);
    run(&["stat", "-c", text(&config), "nothing"]).expect(1);
}

/// The files of a dynamic store are found by their trailers, in both layouts; LMCache's own count as unverified.
#[test]
fn dynamic_stores_are_listed_by_their_trailers() {
    let scratch = Scratch::new("dynamic");
    let mut names: Vec<String> = keys().into_iter().map(|(key, _)| key).collect();
    names.sort();
    for layout in ["sharded", "lmcache"] {
        let config = scratch.config(layout, &dynamic(layout));
        fill(&config);
        let before = image(&scratch.0);
        assert_eq!(listed(&config, &["--sort", "key"]), names, "{layout}");
        let (key, length) = &keys()[4];
        let found = run(&["stat", "--json", "-c", text(&config), key]).expect(0).json();
        assert_eq!(
            (found[0]["bytes"].as_u64(), found[0]["state"].as_str()),
            (Some(*length as u64), Some("proven"))
        );
        assert_eq!(run(&["verify", "--json", text(&config)]).expect(0).json()["proven"], 8);
        assert_eq!(image(&scratch.0), before);
    }
    fs::write(scratch.0.join("lmcache").join("model_1_0_abc_half"), vec![7; 10_000]).unwrap();
    let config = scratch.0.join("lmcache.yaml");
    let report = run(&["verify", "--json", text(&config)]).expect(0).json();
    assert_eq!((report["proven"].as_u64(), report["unverified"].as_u64()), (Some(8), Some(1)));
}

/// Keys of several namespaces, and of any bytes, are told apart and come back from what is printed.
#[test]
fn keys_of_any_bytes_and_namespaces_are_printed_and_read_back() {
    let scratch = Scratch::in_memory("bytes");
    let config = scratch.config("a", &dynamic("sharded"));
    for namespace in ["", "one"] {
        let store = open(&config, namespace.as_bytes());
        put(&store, "a\\b\n\u{1}", b"bytes");
        store.close().unwrap();
    }
    let found = run(&["ls", text(&config), "--sort", "key"]).expect(0);
    let lines: Vec<&str> = found.out.lines().skip(1).map(|line| line.split_once("  ").unwrap().1).collect();
    assert!(
        lines[0].ends_with(r"  a\\b\x0a\x01") && lines[1].ends_with(r"  [one] a\\b\x0a\x01"),
        "{lines:?}"
    );
    run(&["stat", "-c", text(&config), "--namespace", "one", r"a\\b\x0a\x01"]).expect(0);
    run(&["stat", "-c", text(&config), "--namespace", "two", r"a\\b\x0a\x01"]).expect(1);
}

/// Behind `head` it ends as if it had come to its end: quietly.
#[test]
fn a_reader_that_goes_away_is_no_error() {
    let scratch = Scratch::in_memory("pipe");
    let config = scratch.config("a", &dynamic("sharded"));
    let store = open(&config, b"");
    // More than a pipe holds.
    let long = "k".repeat(1000);
    (0..200).for_each(|index| put(&store, &format!("{long}{index}"), b"x"));
    store.close().unwrap();
    let mut child =
        command(&["ls", text(&config)]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::with_capacity(16, child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("KEY"));
    let ended = ran(child.wait_with_output().unwrap());
    assert_eq!((ended.status, ended.err.as_str()), (0, ""));
}

/// In a store that ranks share, the namespace that is asked for is this rank's, and keys of its own print as they are typed.
#[test]
fn a_namespace_is_the_ranks_own() {
    let scratch = Scratch::in_memory("rank");
    let config = scratch.config("a", &dynamic("sharded"));
    for (worker_id, namespace) in [(0, ""), (0, "ns"), (1, "ns")] {
        let store = open_with(&config, |options| {
            (options.worker_id, options.world_size) = (worker_id, 2);
            options.namespace = namespace.as_bytes().to_vec();
        });
        put(&store, &format!("key of {worker_id}"), b"bytes");
        store.close().unwrap();
    }
    let rank = ["--worker-id", "0", "--world-size", "2"];
    assert_eq!(listed(&config, &[&["--namespace", "ns"][..], &rank].concat()), ["key of 0"]);
    let printed = run(&[&["ls", "--sort", "key", text(&config)][..], &rank].concat()).expect(0).out;
    let names: Vec<&str> = printed.lines().skip(1).map(|line| line.rsplit("  ").next().unwrap()).collect();
    assert_eq!(names, ["key of 0", "[ns] key of 0", r"[ns\x00w1of2] key of 1"]);
    let asked = ["stat", "-c", text(&config), "--namespace", "ns", "key of 0"];
    run(&[&asked[..], &rank].concat()).expect(0);
    let pool = scratch.pool("b");
    let copied = ["copy", "--json", "--namespace", "ns", text(&config), text(&pool)];
    assert_eq!(run(&[&copied[..], &rank].concat()).expect(0).json()["copied"], 1);
}
