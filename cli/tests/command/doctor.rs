//! `doctor`: what it finds, that it leaves everything as it is, and its exit statuses.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nixl_store::store::Direction;

use crate::run::{
    answer, command, doctor, doctor_json, doctor_without, engine_pool, finding, findings, in_namespace,
    object, open, transfer,
};
use crate::sandbox;
use crate::support::Scratch;

/// Whether this test can become another user.
fn is_root() -> bool {
    let is_root = sandbox::is_root();
    if !is_root {
        eprintln!("SKIPPED: only root can become another user");
    }
    is_root
}

/// An empty directory will do, and is empty afterwards.
#[test]
fn an_empty_directory_is_usable_and_stays_empty() {
    let scratch = Scratch::new("doctor-empty");
    let config = engine_pool(&scratch, 4);
    std::fs::create_dir(scratch.data()).unwrap();
    let before = scratch.tree();
    let (status, report) = doctor_json(&config);
    assert_eq!(status, 0, "{report:#}");
    assert_eq!(report["broken"], 0, "{report:#}");
    assert!(finding(&report, "directory").1.contains("can be written to"), "{report:#}");
    assert!(finding(&report, "pool").1.contains("is yet to be made"), "{report:#}");
    assert_eq!(finding(&report, "space").0, "ok");
    let everything = doctor(&config, &["--all"]);
    assert_eq!(everything.status, 0, "{everything:?}");
    assert_eq!(scratch.tree(), before);
}

/// A directory that is not there is one that the store makes; looking does not make it.
#[test]
fn a_missing_directory_is_told_and_not_made() {
    let scratch = Scratch::new("doctor-missing");
    let config = engine_pool(&scratch, 4);
    let (status, report) = doctor_json(&config);
    assert_eq!(status, 0, "{report:#}");
    assert!(finding(&report, "directory").1.contains("is not there yet"), "{report:#}");
    assert!(!scratch.data().exists());
}

/// What is in the way of the directory is named.
#[test]
fn a_file_in_place_of_the_directory_is_broken() {
    let scratch = Scratch::new("doctor-file");
    let config = engine_pool(&scratch, 4);
    std::fs::write(scratch.data(), b"a file").unwrap();
    let (status, report) = doctor_json(&config);
    assert_eq!(status, 1);
    assert!(finding(&report, "directory").1.contains("is no directory"), "{report:#}");
}

/// A pool in use is one that fits, with the process that has it; that process does not notice, and when it is gone, neither
/// does the pool remember.
#[test]
fn a_pool_in_use_is_named_and_not_disturbed() {
    let scratch = Scratch::new("doctor-in-use");
    let config = engine_pool(&scratch, 4);
    let store = open(&config);
    assert!(transfer(&store, Direction::Put, "key", &object(7)));
    store.flush().unwrap();
    let before = scratch.tree();
    let (status, report) = doctor_json(&config);
    assert_eq!(status, 0, "{report:#}");
    assert!(finding(&report, "pool").1.contains("fits the configuration"), "{report:#}");
    let owner = format!("by process {}", std::process::id());
    assert!(finding(&report, "pool in use").1.contains(&owner), "{report:#}");
    assert_eq!(scratch.tree(), before);
    let back = object(0);
    assert!(transfer(&store, Direction::Get, "key", &back));
    assert_eq!(back.as_slice(), object(7).as_slice());
    store.close().unwrap();
    let (_, report) = doctor_json(&config);
    assert!(finding(&report, "pool in use").1.contains("no, as far as"), "{report:#}");
}

/// A pool that was made with other parameters is refused as an open refuses it.
#[test]
fn a_pool_of_another_shape_is_broken() {
    let scratch = Scratch::new("doctor-shape");
    open(&engine_pool(&scratch, 4)).close().unwrap();
    let (status, report) = doctor_json(&engine_pool(&scratch, 5));
    assert_eq!(status, 1);
    let (state, text) = finding(&report, "pool");
    assert!(state == "broken" && text.contains("made with other parameters"), "{text}");
}

/// Damage is told, and left as it is for whoever wants to look at it.
#[test]
fn a_damaged_pool_is_broken_and_left_as_it_is() {
    let scratch = Scratch::new("doctor-damaged");
    let config = engine_pool(&scratch, 4);
    open(&config).close().unwrap();
    let manifest = scratch.data().join("nixl_store_pool/manifest");
    let mut bytes = std::fs::read(&manifest).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&manifest, &bytes).unwrap();
    let before = scratch.tree();
    let (status, report) = doctor_json(&config);
    assert_eq!((status, &report["verdict"]), (1, &"not_usable".into()));
    assert!(finding(&report, "pool").1.contains("is damaged (checksum mismatch)"), "{report:#}");
    assert_eq!(scratch.tree(), before);
    // A pool that lost its manifest is no new one.
    std::fs::remove_file(&manifest).unwrap();
    let before = scratch.tree();
    assert!(finding(&doctor_json(&config).1, "pool").1.contains("has lost its manifest"));
    assert_eq!(scratch.tree(), before);
}

/// Who may not write is told, with the command that helps.
#[test]
fn no_permission_is_told_with_what_to_do() {
    let scratch = Scratch::new("doctor-permission");
    let config = engine_pool(&scratch, 4);
    open(&config).close().unwrap();
    std::fs::set_permissions(scratch.data(), std::fs::Permissions::from_mode(0o755)).unwrap();
    if !is_root() {
        return;
    }
    let Some((status, report)) = doctor_without(&config, &["ordinary-user"]) else { return };
    assert_eq!(status, 1);
    let (state, text) = finding(&report, "directory");
    assert!(state == "broken" && text.contains(&format!("chown {}", sandbox::ORDINARY_USER)), "{text}");
    let (state, text) = finding(&report, "pool");
    assert!(state == "broken" && text.contains("Permission denied"), "{text}");
}

/// A file system that is read-only is told apart from a directory of somebody else's.
#[test]
fn a_read_only_file_system_is_told() {
    let scratch = Scratch::new("doctor-read-only");
    let config = engine_pool(&scratch, 4);
    std::fs::create_dir(scratch.data()).unwrap();
    let data = scratch.data();
    let script = format!(
        "mount -t tmpfs -o ro none '{}'; '{}' doctor '{}'",
        data.display(),
        crate::run::PROGRAM,
        config.display()
    );
    let Some(told) = in_namespace(&script) else { return };
    assert_eq!(told.status, 1, "{told:?}");
    assert!(told.out.contains("read-only") && told.out.contains("remount,rw"), "{}", told.out);
}

/// A pool that does not fit is told with the size that would.
#[test]
fn too_little_room_is_told_with_what_fits() {
    let scratch = Scratch::new("doctor-room");
    let config = engine_pool(&scratch, 1_000_000_000);
    let (status, report) = doctor_json(&config);
    assert_eq!(status, 1, "{report:#}");
    let (state, text) = finding(&report, "space");
    assert!(state == "broken" && text.contains("lower nixl_pool_size from 1000000000"), "{text}");
}

/// What an unfinished creation left is removed before the pool is made, and so is room for it.
#[test]
fn what_an_unfinished_pool_takes_is_room_for_it() {
    let scratch = Scratch::new("doctor-unfinished");
    let config = engine_pool(&scratch, 64);
    std::fs::create_dir(scratch.data()).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=8m none '{data}'; mkdir '{data}/nixl_store_pool'; \
         dd if=/dev/zero of='{data}/nixl_store_pool/slots-000.bin' bs=1M count=6 2>/dev/null; '{program}' doctor '{config}'",
        data = scratch.data().display(),
        program = crate::run::PROGRAM,
        config = config.display()
    );
    let Some(told) = in_namespace(&script) else { return };
    let text = told.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.status == 0 && text.contains("is not finished"), "{}", told.out);
    assert!(text.contains("8.00 MiB free, the pool takes"), "{}", told.out);
}

/// Where space cannot be reserved, a pool that is larger than the file system opens; puts may fail later.
#[test]
fn a_pool_without_reserved_space_could_be_better() {
    let scratch = Scratch::new("doctor-sparse");
    let config = engine_pool(&scratch, 1_000_000_000);
    let Some((status, report)) = doctor_without(&config, &["no-fallocate"]) else { return };
    assert_eq!(status, 0, "{report:#}");
    let (state, text) = finding(&report, "space");
    assert!(state == "could_be_better" && text.contains("puts can meet a full disk"), "{text}");
    let lines = std::fs::read_to_string(&config).unwrap().replace("POSIX", "HF3FS");
    std::fs::write(&config, lines).unwrap();
    assert_eq!(finding(&doctor_json(&config).1, "space").0, "could_be_better");
}

/// A limit on the length of files is asked for at every open, so also of a pool that is there.
#[test]
fn a_limit_on_file_sizes_is_told_of_a_pool_that_is_there() {
    let scratch = Scratch::new("doctor-file-size");
    let config = engine_pool(&scratch, 4);
    open(&config).close().unwrap();
    let Some((status, report)) = doctor_without(&config, &["file-size=65536"]) else { return };
    assert_eq!(status, 1, "{report:#}");
    let (state, text) = finding(&report, "file size");
    assert!(state == "broken" && text.contains("RLIMIT_FSIZE"), "{text}");
    assert!(finding(&report, "pool").1.contains("fits the configuration"), "{report:#}");
}

fn give(path: &Path, user: u32) {
    std::os::unix::fs::chown(path, Some(user), Some(user)).unwrap();
}

/// What an engine that ran as somebody else made below the directory of a dynamic store is told, each by its name.
#[test]
fn what_somebody_else_made_in_a_dynamic_store_is_told() {
    let scratch = Scratch::new("doctor-left");
    let path = format!("nixl_path: {}", scratch.data().display());
    let config = scratch.engine(&["nixl_backend: POSIX", "nixl_pool_size: 0", &path]);
    open(&config).close().unwrap();
    if !is_root() {
        return;
    }
    give(&scratch.data(), sandbox::ORDINARY_USER);
    let names = ["nixl_store_objects", ".nixl_store+tmp", ".nixl_store+pins"];
    for name in names {
        names.iter().for_each(|other| give(&scratch.data().join(other), sandbox::ORDINARY_USER));
        give(&scratch.data().join(name), 0);
        let Some((status, report)) = doctor_without(&config, &["ordinary-user"]) else { return };
        assert_eq!(status, 1, "{report:#}");
        let (state, text) = finding(&report, "directory");
        assert!(state == "broken" && text.contains(name), "{text}");
        assert!(text.contains(&format!("chown -R {}", sandbox::ORDINARY_USER)), "{text}");
        give(&scratch.data().join(name), sandbox::ORDINARY_USER);
    }
    let Some((status, report)) = doctor_without(&config, &["ordinary-user"]) else { return };
    assert_eq!((status, finding(&report, "directory").0.as_str()), (0, "ok"), "{report:#}");
}

/// A pool that is there asks for nothing of the directory that it is in.
#[test]
fn a_pool_of_this_users_below_a_directory_of_others_is_usable() {
    let scratch = Scratch::new("doctor-below");
    let config = engine_pool(&scratch, 4);
    open(&config).close().unwrap();
    std::fs::set_permissions(scratch.data(), std::fs::Permissions::from_mode(0o755)).unwrap();
    if !is_root() {
        return;
    }
    scratch.tree().iter().for_each(|(path, ..)| {
        if path.starts_with(scratch.data().join("nixl_store_pool")) {
            give(path, sandbox::ORDINARY_USER);
        }
    });
    let Some((status, report)) = doctor_without(&config, &["ordinary-user"]) else { return };
    assert_eq!(status, 0, "{report:#}");
    assert!(finding(&report, "directory").1.contains("the pool is there"), "{report:#}");
}

/// An error of the configuration comes first, with its line.
#[test]
fn a_wrong_configuration_is_the_first_finding() {
    let scratch = Scratch::new("doctor-wrong");
    let config = scratch.engine(&["nixl_backend: POSIX", "nixl_pool_size: many", "nixl_path: /x"]);
    let (status, report) = doctor_json(&config);
    assert_eq!(status, 1);
    let first = report["findings"][0].to_string();
    assert!(first.contains("lmcache.yaml:4") && first.contains("many"), "{first}");
    let told = doctor(&scratch.path().join("nowhere.yaml"), &[]);
    assert!(told.status == 1 && told.out.contains("No such file"), "{told:?}");
}

/// What could be better is no failure, unless it is to be one; wrong arguments are another matter.
#[test]
fn exit_statuses_tell_usable_better_and_wrong_arguments() {
    let scratch = Scratch::new("doctor-status");
    let path = format!("nixl_path: {}", scratch.data().display());
    let config = scratch.engine(&[
        "nixl_backend: POSIX",
        "nixl_pool_size: 0",
        &path,
        "nixl_backend_params: {use_uring: false}",
    ]);
    let (status, report) = doctor_json(&config);
    assert_eq!((status, &report["verdict"]), (0, &"could_be_better".into()), "{report:#}");
    let (state, text) = finding(&report, "io_uring");
    assert!(state == "could_be_better" && text.contains("use_uring asks for it"), "{text}");
    assert_eq!(finding(&report, "O_DIRECT").0, "could_be_better");
    assert_eq!(doctor(&config, &["--strict"]).status, 1);
    assert_eq!(doctor(&config, &["--no-such-option"]).status, 2);
}

/// A seccomp profile that refuses io_uring is found out, as a container's does.
#[test]
fn refused_io_uring_is_explained() {
    let scratch = Scratch::new("doctor-uring");
    let Some((status, report)) = doctor_without(&engine_pool(&scratch, 4), &["no-io_uring"]) else { return };
    assert_eq!(status, 0);
    let (state, text) = finding(&report, "io_uring");
    assert!(state == "could_be_better" && text.contains("threads do reads and writes"), "{text}");
    assert!(text.contains("Operation not permitted") && text.contains("seccomp"), "{text}");
}

/// A limit on locked memory is told with the limit, and the number that would do.
#[test]
fn a_limit_on_locked_memory_is_told() {
    let scratch = Scratch::new("doctor-memlock");
    if !is_root() {
        return;
    }
    let Some((_, report)) = doctor_without(&engine_pool(&scratch, 4), &["memlock=65536", "ordinary-user"])
    else {
        return;
    };
    let (state, text) = finding(&report, "locked memory");
    assert!(state == "could_be_better" && text.contains("the limit is 64.0 KiB"), "{text}");
    assert!(text.contains("ulimit -l unlimited, or at least 262144 (2 threads)"), "{text}");
}

/// Few open files are told with the number to set.
#[test]
fn few_open_files_are_told() {
    let scratch = Scratch::new("doctor-descriptors");
    let Some((_, report)) = doctor_without(&engine_pool(&scratch, 4), &["descriptors=300"]) else { return };
    let (state, text) = finding(&report, "open files");
    assert!(state == "could_be_better" && text.contains("at most 300"), "{text}");
}

/// Settings that were given are listed with their line; the others only if they are asked for, with what the store chose.
#[test]
fn settings_come_with_where_they_came_from() {
    let scratch = Scratch::new("doctor-settings");
    let config = engine_pool(&scratch, 4);
    let told = doctor(&config, &[]).out;
    assert!(told.contains("nixl_pool_size") && told.contains("line 5"), "{told}");
    assert!(
        !told.contains("nixl_store_timeout_ms") && told.contains("by default (--all lists them)"),
        "{told}"
    );
    let all = doctor(&config, &["--all"]).out;
    let threads = all.lines().find(|line| line.contains("nixl_store_io_threads")).unwrap();
    assert!(threads.contains('2') && threads.ends_with("default"), "{threads}");
    assert!(all.contains("not used by this store") && all.contains("CUDA"), "{all}");
    let report = doctor_json(&config).1;
    let setting =
        report["settings"].as_array().unwrap().iter().find(|one| one["name"] == "use_direct_io").unwrap();
    assert_eq!((&setting["value"], &setting["origin"]), (&"true".into(), &"line 7".into()));
}

/// No line is wider than the terminal, and where nobody sees colours there are none.
#[test]
fn text_keeps_to_80_columns_without_colours() {
    let scratch = Scratch::new("doctor-columns");
    let config = engine_pool(&scratch, 4);
    let told = answer(command().arg("doctor").arg(&config).arg("--all").env("NIXL_STORE_LOG", "loud"));
    // The path of the configuration is not broken, and as long as the checkout's.
    let lines = told.out.lines().filter(|line| *line != config.to_str().unwrap());
    let widest = lines.map(|line| line.chars().count()).max().unwrap();
    assert!(widest <= 80 && !told.out.contains('\u{1b}'), "{widest}: {}", told.out);
    assert!(
        told.out.contains("$NIXL_STORE_LOG is \"loud\"; allowed: off, error") && told.status == 1,
        "{}",
        told.out
    );
    assert!(told.out.lines().all(|line| line == line.trim_end()), "{}", told.out);
    let coloured = doctor(&config, &["--color", "always"]).out;
    assert!(coloured.contains("\u{1b}[32mok"), "{coloured}");
}

/// A backend that cannot be had is told once, by what it lacks.
#[test]
fn a_backend_that_cannot_be_had_is_told_once() {
    let scratch = Scratch::new("doctor-hf3fs");
    let path = format!("nixl_path: {}", scratch.data().display());
    let config = scratch.engine(&["nixl_backend: HF3FS", "nixl_pool_size: 0", &path]);
    let (status, report) = doctor_json(&config);
    assert_eq!((status, &report["broken"]), (1, &1.into()), "{report:#}");
    assert!(finding(&report, "3FS").1.contains("is not on a mount of 3FS"), "{report:#}");
    assert!(findings(&report, "backend").is_empty(), "{report:#}");
}
