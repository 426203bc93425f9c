//! One owner among all hosts, where locks of files bind one: the lock on the directory, by a stand-in for the file system's
//! attribute.

use super::*;
use crate::layout::pool::steps::under_test::{answer_attributes, fail_lock_file};
use crate::sys::host_name;

/// What the file system knows of one directory, and what it was asked.
#[derive(Default)]
struct Attribute {
    /// Which client holds the lock, on which host.
    holder: Option<(u32, String)>,
    /// How the next commands are answered.
    errors: Vec<i32>,
    commands: Vec<String>,
}

impl Attribute {
    fn set(&mut self, client: u32, host: &str, command: &str) -> io::Result<()> {
        self.commands.push(command.to_owned());
        if let Some(number) = self.errors.pop() {
            return Err(io::Error::from_raw_os_error(number));
        }
        let is_foreign = self.holder.as_ref().is_some_and(|(holder, _)| *holder != client);
        match command {
            "try_lock" | "unlock" if is_foreign => return Err(io::Error::from_raw_os_error(libc::ENOLCK)),
            "try_lock" | "preempt_lock" => self.holder = Some((client, host.to_owned())),
            "unlock" => self.holder = None,
            _ => return Err(io::Error::from_raw_os_error(libc::EINVAL)),
        }
        Ok(())
    }
}

/// A file system whose client on this host is number 1, for as long as it lives.
struct FileSystem(Arc<Mutex<Attribute>>);

impl FileSystem {
    fn new() -> FileSystem {
        let shared = Arc::new(Mutex::new(Attribute::default()));
        let attribute = Arc::clone(&shared);
        answer_attributes(Some(Box::new(move |command| {
            let mut attribute = attribute.lock().unwrap();
            match command {
                Some(command) => {
                    let command = std::str::from_utf8(command).unwrap();
                    attribute.set(1, &host_name(), command).map(|()| Vec::new())
                }
                None => match &attribute.holder {
                    None => Err(io::Error::from_raw_os_error(libc::ENODATA)),
                    Some((client, host)) => {
                        Ok(format!(r#"{{"client":{{"uuid":"{client}","hostname":"{host}"}}}}"#).into_bytes())
                    }
                },
            }
        })));
        FileSystem(shared)
    }

    fn held_by(&self, client: u32, host: &str) {
        self.0.lock().unwrap().holder = Some((client, host.to_owned()));
    }

    fn holder(&self) -> Option<u32> {
        self.0.lock().unwrap().holder.as_ref().map(|(client, _)| *client)
    }

    fn answer(&self, errors: &[i32]) {
        self.0.lock().unwrap().errors = errors.to_vec();
    }

    fn commands(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().commands)
    }
}

impl Drop for FileSystem {
    fn drop(&mut self) {
        answer_attributes(None);
    }
}

fn locking() -> PoolParameters {
    let habits = Habits { directory_lock: Some(c"hf3fs.lock"), ..Habits::default() };
    PoolParameters { habits, ..parameters() }
}

/// An owner keeps other hosts out until it has let go of the pool. One that dies leaves the lock, and the next on this host has
/// it; a forked child takes it from nobody.
#[test]
fn the_directory_is_locked_for_all_hosts_until_the_pool_is_released() {
    let (scratch, system) = (Scratch::new(), FileSystem::new());
    for _ in 0..2 {
        let (pool, _) = open_as(&scratch, &locking());
        assert_eq!((system.holder(), system.commands()), (Some(1), vec!["try_lock".to_owned()]));
        // Another process of this host is kept out by the lock that dies with its owner, and does not touch this one.
        assert_eq!(refusal(&scratch, &locking()).status(), Status::Locked);
        assert_eq!((system.holder(), system.commands()), (Some(1), Vec::new()));
        pool.release();
        assert_eq!((system.holder(), system.commands()), (None, vec!["unlock".to_owned()]));
    }
    drop(open_as(&scratch, &locking()));
    assert_eq!(system.holder(), Some(1), "a process that dies tells nobody");
    let (pool, _) = open_as(&scratch, &locking());
    pool.abandon_after_fork();
    drop(pool);
    assert_eq!(system.holder(), Some(1));
    assert!(!system.commands().contains(&"unlock".to_owned()));
    // Who asks for no such lock does not take it.
    drop(open(&scratch));
    assert_eq!(system.commands(), Vec::<String>::new());
}

/// A pool that another host has is refused with that host's name and the very command that clears a lock which was left over,
/// also where not even the lock file can be made; and this process holds nothing afterwards.
#[test]
fn another_host_is_named_with_the_command_that_clears_its_lock() {
    let (scratch, system) = (Scratch::new(), FileSystem::new());
    let clear = format!("`setfattr -n hf3fs.lock -v clear '{}'`", scratch.pool().display());
    for (holder, named) in [("node-7", "host node-7"), ("\u{1b}[31m", "a host that cannot be told")] {
        for cannot_make in [false, true] {
            system.held_by(2, holder);
            if cannot_make {
                fail_lock_file(libc::ENOLCK);
            }
            let error = refusal(&scratch, &locking());
            assert_eq!(error.status(), Status::Locked);
            for word in [named, &clear, "left over"] {
                assert!(error.message().contains(word), "{word} is missing: {error}");
            }
            assert!(!error.message().contains('\u{1b}'));
            assert_eq!(system.holder(), Some(2));
            assert!(!system.commands().contains(&"preempt_lock".to_owned()));
            // As by that command.
            system.0.lock().unwrap().holder = None;
            open_as(&scratch, &locking()).0.release();
        }
    }
}

/// The file system's client was restarted: its lock is still that of this host, whose processes the other lock keeps apart.
#[test]
fn a_lock_of_an_earlier_client_of_this_host_is_taken_over() {
    let (scratch, system) = (Scratch::new(), FileSystem::new());
    system.held_by(2, &host_name());
    let log = Log::default();
    let (pool, _) = Pool::open(&scratch.0, NAME, &locking(), &log.logger()).unwrap();
    assert_eq!(
        (system.holder(), system.commands()),
        (Some(1), vec!["try_lock".into(), "preempt_lock".into()])
    );
    let warnings = log.warnings();
    assert!(warnings.iter().any(|line| line.contains(&host_name())), "{warnings:?}");
    // Not while a process here has the pool.
    system.held_by(2, &host_name());
    assert!(refusal(&scratch, &locking()).message().contains("in use by process"));
    assert_eq!((system.holder(), system.commands()), (Some(2), Vec::new()));
    drop(pool);
    // A lock that goes while it is looked at is tried again; one that comes and goes for ever is not.
    system.0.lock().unwrap().holder = None;
    system.answer(&[libc::ENOLCK]);
    drop(open_as(&scratch, &locking()));
    assert_eq!(system.holder(), Some(1));
    system.0.lock().unwrap().holder = None;
    system.answer(&[libc::ENOLCK; 100]);
    assert_eq!(refusal(&scratch, &locking()).status(), Status::Locked);
    // It may be somebody else's again before it is preempted.
    system.held_by(2, &host_name());
    system.answer(&[libc::ENOLCK; 100]);
    assert_eq!(refusal(&scratch, &locking()).status(), Status::Locked);
}

/// A file system without such a lock: a pool is to be had, and one loud word says what nobody sees to. This one is real.
#[test]
fn a_file_system_that_cannot_lock_for_all_hosts_is_warned_of_once() {
    let scratch = Scratch::new();
    let log = Log::default();
    let (pool, _) = Pool::open(&scratch.0, NAME, &locking(), &log.logger()).unwrap();
    pool.release();
    let warnings: Vec<_> =
        log.warnings().into_iter().filter(|line| line.contains("lock for all hosts")).collect();
    assert!(warnings.len() == 1 && warnings[0].contains("not kept out"), "{warnings:?}");
    let system = FileSystem::new();
    for number in [libc::ENODATA, libc::ENOTSUP, libc::EOPNOTSUPP, libc::ENOSYS] {
        system.answer(&[number]);
        open_as(&scratch, &locking()).0.release();
        assert_eq!(system.commands(), ["try_lock"]);
    }
}

/// An open that fails for another reason lets other hosts in again, whatever it failed at, and leaves no directory that it made.
#[test]
fn an_open_that_fails_holds_no_directory_lock() {
    let (scratch, system) = (Scratch::new(), FileSystem::new());
    let logger = Log::default().logger();
    for at in 0.. {
        let open = || Pool::open(&scratch.0, NAME, &locking(), &logger);
        match with(at, Event::Error(libc::ENOSPC), open).unwrap() {
            Ok((pool, _)) => {
                pool.release();
                break;
            }
            Err(_) => assert_eq!(system.holder(), None, "step {at}"),
        }
        let _ = fs::remove_dir_all(scratch.pool());
    }
    let other = PoolParameters { slot_count: 21, ..locking() };
    assert_eq!(refusal(&scratch, &other).status(), Status::Format);
    assert_eq!(system.holder(), None);
    fs::remove_dir_all(scratch.pool()).unwrap();
    for (number, status) in [(libc::EIO, Status::Io), (libc::EACCES, Status::Permission)] {
        system.answer(&[number]);
        assert_eq!(refusal(&scratch, &locking()).status(), status);
        assert!(!fs::exists(scratch.pool()).unwrap());
    }
    // The directory was taken back by an owner elsewhere.
    system.answer(&[libc::ENOENT]);
    drop(open_as(&scratch, &locking()));
}

/// A lock that cannot be given back is told of, with what others can do.
#[test]
fn a_lock_that_stays_is_told_of() {
    let (scratch, system) = (Scratch::new(), FileSystem::new());
    let log = Log::default();
    let (pool, _) = Pool::open(&scratch.0, NAME, &locking(), &log.logger()).unwrap();
    system.answer(&[libc::EIO]);
    pool.release();
    assert!(log.warnings().iter().any(|line| line.contains("setfattr -n hf3fs.lock -v clear")));
    // Nobody on this host is kept out by it.
    open_as(&scratch, &locking()).0.release();
    assert_eq!(system.holder(), None);
}
