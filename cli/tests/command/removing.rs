//! `rm` and `clear`.

use crate::support::*;

/// Keys that are named go, and no other; one that is not stored is told.
#[test]
fn named_keys_are_removed() {
    let scratch = Scratch::new("rm");
    for (name, extra) in
        [("a", pool(SLOTS, CHUNK_BYTES)), ("b", dynamic("sharded")), ("c", dynamic("lmcache"))]
    {
        let config = scratch.config(name, &extra);
        fill(&config);
        let names = keys();
        let ran = run(&["rm", "-c", text(&config), &names[0].0, "nothing"]).expect(1);
        assert!(
            ran.out.contains(&format!("removed     {}", names[0].0))
                && ran.out.contains("not stored  nothing"),
            "{}",
            ran.out
        );
        run(&["stat", "-c", text(&config), &names[0].0]).expect(1);
        assert_eq!(run(&["verify", "--json", text(&config)]).expect(0).json()["proven"], 7);
    }
}

/// A key that cannot be removed is told with the reason, and the keys behind it are removed all the same.
#[test]
fn a_key_that_fails_keeps_no_other() {
    let scratch = Scratch::new("rm-fails");
    let config = scratch.pool("a");
    fill(&config);
    let (too_long, stored) = ("k".repeat(1025), &keys()[0].0);
    let answers = run(&["rm", "--json", "-c", text(&config), &too_long, stored]).expect(1).json();
    assert_eq!((&answers[0]["outcome"], &answers[1]["outcome"]), (&"failed".into(), &"removed".into()));
    assert!(answers[0]["why"].as_str().unwrap().contains("1025 bytes"), "{answers}");
    assert_eq!(run(&["verify", "--json", text(&config)]).expect(0).json()["proven"], 7);
}

/// Everything goes but what another process pins, which is named; without a terminal nobody is asked.
#[test]
fn clear_removes_all_that_nobody_pins() {
    let scratch = Scratch::new("clear");
    let config = scratch.config("a", &dynamic("sharded"));
    fill(&config);
    let refused = run(&["clear", text(&config)]).expect(2);
    assert!(refused.err.contains("--yes"), "{}", refused.err);
    assert_eq!(run(&["ls", "--json", text(&config)]).json()["keys"], 8);
    let store = open(&config, b"");
    let pinned = &keys()[2].0;
    assert!(store.pin(pinned.as_bytes()).unwrap());
    let cleared = run(&["clear", "--yes", "--json", text(&config)]).expect(1).json();
    assert_eq!(
        (cleared["removed"].as_u64(), cleared["left_keys"][0].as_str()),
        (Some(7), Some(pinned.as_str()))
    );
    store.close().unwrap();
    let pool = scratch.pool("b");
    fill(&pool);
    assert_eq!(run(&["clear", "--yes", "--json", text(&pool)]).expect(0).json()["removed"], 8);
    assert_eq!(run(&["ls", "--json", text(&pool)]).expect(0).json()["keys"], 0);
}

/// Names of LMCache's layout are not one to one: the file of a key is not that of another one that has the same name. A file without a
/// trailer is whoever's asks for it by name.
#[test]
fn another_keys_file_is_not_removed() {
    let scratch = Scratch::in_memory("namesakes");
    let config = scratch.config("a", &dynamic("lmcache"));
    let store = open(&config, b"");
    put(&store, "a_b", b"bytes");
    store.close().unwrap();
    run(&["stat", "-c", text(&config), "a/b"]).expect(1);
    assert!(run(&["rm", "-c", text(&config), "a/b"]).expect(1).out.contains("not stored"));
    run(&["stat", "-c", text(&config), "a_b"]).expect(0);
    run(&["rm", "-c", text(&config), "a_b"]).expect(0);
    let theirs = scratch.0.join("a").join("model_1_0_abc_half");
    std::fs::write(&theirs, vec![7; 10_000]).unwrap();
    run(&["clear", "--yes", text(&config)]).expect(0);
    assert!(theirs.exists());
    run(&["rm", "-c", text(&config), "model@1@0@abc@half"]).expect(0);
    assert!(!theirs.exists());
}
