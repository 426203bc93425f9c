//! Where there is nothing to look at, or nobody may look.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::damage;
use crate::support::*;

/// An empty directory holds no pool: that is said, and none is made. A dynamic store may well be empty.
#[test]
fn an_empty_directory_stays_empty() {
    let scratch = Scratch::new("empty");
    let (pool, files) = (scratch.pool("a"), scratch.config("b", &dynamic("sharded")));
    for (config, code) in [(&pool, 2), (&files, 2)] {
        for arguments in [
            &["ls", text(config)][..],
            &["verify", text(config)],
            &["verify", "--remove", text(config)],
            &["stat", "-c", text(config), "key"],
            &["rm", "-c", text(config), "key"],
            &["clear", "--yes", text(config)],
        ] {
            let refused = run(arguments).expect(code);
            assert!(refused.err.contains("there is no"), "{arguments:?}: {}", refused.err);
        }
    }
    assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 2, "the two configurations");
    for name in ["a", "b"] {
        fs::create_dir(scratch.0.join(name)).unwrap();
    }
    run(&["ls", text(&pool)]).expect(2);
    assert_eq!(run(&["ls", "--json", text(&files)]).expect(0).json()["keys"], 0);
    run(&["verify", text(&files)]).expect(0);
    run(&["stat", "-c", text(&files), "key"]).expect(1);
    assert_eq!(image(&scratch.0).len(), 4, "the two configurations and directories");
}

/// A configuration that does not fit is said by who reads, and refused by who would change something.
#[test]
fn a_pool_of_another_shape_is_read_and_not_changed() {
    let scratch = Scratch::new("shape");
    fill(&scratch.pool("a"));
    let other = scratch.config("a", &pool(SLOTS + 1, CHUNK_BYTES));
    let before = image(&scratch.0);
    let listed = run(&["ls", text(&other)]).expect(0);
    assert!(listed.err.contains("nixl_pool_size: made with 16, asked for 17"), "{}", listed.err);
    for refused in [
        run(&["rm", "-c", text(&other), "key"]),
        run(&["clear", "--yes", text(&other)]),
        run(&["verify", "--remove", text(&other)]),
    ] {
        assert!(refused.expect(2).err.contains("made with 16, asked for 17"));
    }
    assert_eq!(image(&scratch.0), before);
}

/// Who may not read or write is told so, and what, by every subcommand; and nothing is changed.
#[test]
fn without_permission_the_path_and_the_reason_are_told() {
    // SAFETY: takes no pointers.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("skipped: only root can become somebody else");
        return;
    }
    let scratch = Scratch::in_memory("permission");
    let program = scratch.0.join("nixl-store");
    fs::copy(env!("CARGO_BIN_EXE_nixl-store"), &program).unwrap();
    for (name, extra) in [("a", pool(SLOTS, CHUNK_BYTES)), ("b", dynamic("sharded"))] {
        let config = scratch.config(name, &extra);
        fill(&config);
        for path in [&scratch.0, &config] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let before = image(&scratch.0);
        for arguments in [
            &["ls", text(&config)][..],
            &["stat", "-c", text(&config), "key"],
            &["verify", text(&config)],
            &["verify", "--remove", text(&config)],
            &["copy", text(&config), text(&config)],
            &["rm", "-c", text(&config), "key"],
            &["clear", "--yes", text(&config)],
            &["bench", "--sizes", "64K", "--bytes", "1M", text(&config)],
        ] {
            let refused = ran(nobody(&program).args(arguments).output().unwrap()).expect(2);
            let path = scratch.0.join(name);
            assert!(
                refused.err.contains(text(&path)) && refused.err.contains("ermission"),
                "{arguments:?}: {}",
                refused.err
            );
        }
        assert_eq!(image(&scratch.0), before);
    }
}

/// The command as the user nobody, who may not come to where cargo has the program: from a copy of it.
fn nobody(program: &Path) -> Command {
    let mut command = clean(Command::new(program));
    command.uid(65_534).gid(65_534).stdin(Stdio::null());
    command
}

/// The backend that leaves nothing behind says so.
#[test]
fn memory_has_nothing_to_look_at() {
    let scratch = Scratch::in_memory("memory");
    let path = scratch.pool("a");
    fs::write(&path, fs::read_to_string(&path).unwrap().replace("POSIX", "MEMORY")).unwrap();
    let refused = run(&["ls", text(Path::new(&path))]).expect(2);
    assert!(refused.err.contains("nothing on storage to look at"), "{}", refused.err);
}

/// One file that cannot be removed keeps none of the others, and a pool that cannot be opened for the removal hides nothing of what
/// was found.
#[test]
fn a_removal_that_fails_keeps_the_report() {
    let Some((scratch, program)) = of_nobody("not-removed") else { return };
    let files = scratch.config("a", &dynamic("sharded"));
    fill(&files);
    let names = keys();
    let damaged: Vec<String> = names[3..6].iter().map(|(key, _)| damage::place(&files, key).0).collect();
    damaged.iter().for_each(|file| damage::flip(file.as_ref(), 100));
    give_away(&scratch.0);
    let shard = Path::new(&damaged[1]).parent().unwrap();
    fs::set_permissions(shard, fs::Permissions::from_mode(0o555)).unwrap();
    let ran_once =
        ran(nobody(&program).args(["verify", "--remove", "--json", text(&files)]).output().unwrap());
    let report = ran_once.expect(1).json();
    let fates: Vec<&str> =
        report["damaged"].as_array().unwrap().iter().map(|one| one["fate"].as_str().unwrap()).collect();
    let failed = report["damaged"].as_array().unwrap().iter().find(|one| one["fate"] == "failed").unwrap();
    assert_eq!(fates.iter().filter(|fate| **fate == "removed").count(), 2, "{report}");
    assert_eq!(failed["key"], names[4].0.as_str());
    assert!(failed["why"].as_str().unwrap().contains("ermission"), "{report}");

    let pool = scratch.pool("b");
    fill(&pool);
    let (file, offset, _) = damage::place(&pool, &names[5].0);
    damage::flip(file.as_ref(), offset);
    let directory = scratch.0.join("b");
    for path in image(&directory).iter().map(|imaged| &imaged.0).chain([&directory]) {
        let mode = if path.is_dir() { 0o555 } else { 0o444 };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let refused = ran(nobody(&program).args(["verify", "--remove", "--json", text(&pool)]).output().unwrap());
    let refused = refused.expect(2);
    assert!(refused.err.contains("ermission"), "{}", refused.err);
    assert_eq!(refused.json()["damaged"][0]["fate"], "left");
}

/// A directory that cannot be listed is named by whoever would have read it, and nobody says that all is well.
#[test]
fn what_cannot_be_listed_is_not_left_out() {
    let Some((scratch, program)) = of_nobody("unlisted") else { return };
    let (config, other) =
        (scratch.config("a", &dynamic("sharded")), scratch.config("b", &dynamic("sharded")));
    fill(&config);
    let file = damage::place(&config, &keys()[4].0).0;
    give_away(&scratch.0);
    let shard = Path::new(&file).parent().unwrap();
    fs::set_permissions(shard, fs::Permissions::from_mode(0o000)).unwrap();
    let asked = |arguments: &[&str]| ran(nobody(&program).args(arguments).output().unwrap());
    let report = asked(&["verify", "-q", "--json", text(&config)]).expect(1).json();
    let unreadable = &report["unreadable"][0];
    assert!(unreadable["what"].as_str().unwrap().contains(text(shard)), "{report}");
    assert!(unreadable["why"].as_str().unwrap().contains("ermission"), "{report}");
    assert_eq!(report["proven"], 7);
    let copied = asked(&["copy", "-q", "--json", text(&config), text(&other)]).expect(1).json();
    assert_eq!((copied["copied"].as_u64(), &copied["left"][0]["why"]), (Some(7), &"unreadable".into()));
    let listed = asked(&["ls", "--json", text(&config)]).expect(0).json();
    assert_eq!((&listed["keys"], &listed["unreadable"]), (&7.into(), &1.into()), "{listed}");
    let cleared = asked(&["clear", "-q", "--yes", "--json", text(&config)]).expect(1).json();
    assert_eq!((&cleared["removed"], &cleared["unreadable"]), (&7.into(), &1.into()), "{cleared}");
    assert!(cleared["why"].as_str().unwrap().contains(text(shard)), "{cleared}");
}

/// A key that cannot be read is told as that, and the keys beside it are told all the same.
#[test]
fn a_key_that_cannot_be_read_ends_nothing() {
    let Some((scratch, program)) = of_nobody("unreadable") else { return };
    let config = scratch.config("a", &dynamic("sharded"));
    fill(&config);
    let names = keys();
    let file = damage::place(&config, &names[4].0).0;
    give_away(&scratch.0);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
    let asked = |arguments: &[&str]| ran(nobody(&program).args(arguments).output().unwrap());
    let found = asked(&["stat", "--json", "-c", text(&config), &names[4].0, &names[5].0]).expect(1).json();
    assert_eq!((&found[0]["state"], &found[1]["state"]), (&"unreadable".into(), &"proven".into()), "{found}");
    assert!(found[0]["why"].as_str().unwrap().contains("ermission"), "{found}");
    let listed = asked(&["ls", "--json", text(&config)]).expect(0).json();
    let kinds: Vec<&str> =
        listed["entries"].as_array().unwrap().iter().map(|entry| entry["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == "unreadable").count(), 1, "{listed}");
    assert_eq!(kinds.iter().filter(|kind| **kind == "record").count(), 7, "{listed}");
}

/// A worker that is none of so many is refused by every subcommand, before anything is looked at: another store would be meant.
#[test]
fn a_worker_beyond_the_world_is_refused() {
    let scratch = Scratch::in_memory("worker");
    let config = scratch.pool("a");
    fill(&config);
    let before = image(&scratch.0);
    for arguments in [
        &["clear", "--yes", text(&config)][..],
        &["ls", text(&config)],
        &["rm", "-c", text(&config), "key"],
        &["doctor", text(&config)],
        &["bench", text(&config)],
    ] {
        let refused = run(&[arguments, &["--worker-id", "1"]].concat()).expect(2);
        assert!(refused.err.contains("worker_id is 1, world_size 1"), "{arguments:?}: {}", refused.err);
    }
    assert_eq!(image(&scratch.0), before);
}

/// A place for a test of which the user nobody is to own a part, with a copy of the program for that user; `None`, loudly, where this
/// user cannot become another one.
fn of_nobody(name: &str) -> Option<(Scratch, PathBuf)> {
    // SAFETY: takes no pointers.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("skipped: only root can become somebody else");
        return None;
    }
    let scratch = Scratch::in_memory(name);
    let program = scratch.0.join("nixl-store");
    fs::copy(env!("CARGO_BIN_EXE_nixl-store"), &program).unwrap();
    fs::set_permissions(&scratch.0, fs::Permissions::from_mode(0o755)).unwrap();
    Some((scratch, program))
}

/// Makes the user nobody the owner of a directory and all below it.
fn give_away(path: &Path) {
    let paths = image(path).into_iter().map(|imaged| imaged.0);
    for path in paths.chain([path.to_owned()]) {
        std::os::unix::fs::chown(path, Some(65_534), Some(65_534)).unwrap();
    }
}
