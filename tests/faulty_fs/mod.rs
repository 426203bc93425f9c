//! A file system of the tests' own that hangs, refuses and lies on command: a FUSE server in a process of its own.
//!
//! It is the test binary, run again (see [`serve_if_asked`]), because a server inside the process that uses it can wait for
//! itself, at its end above all. It holds everything in memory, what is durable apart from what is not.
//!
//! **Nothing is left behind,** however the test ends. The file system is mounted nowhere: the test holds it by a descriptor
//! (`fsmount(2)`) and reaches it through `/proc/<pid>/fd`. The server dies with the thread that started it, which does
//! nothing else and therefore ends at once when the process is killed; with the server go all requests that hang, which
//! would keep the process from its end otherwise.
//!
//! **It has two personalities.** By itself it is like a local file system ([`image`]). As a **stand-in for 3FS** ([`hf3fs`]) it is
//! what a client of 3FS sees of its FUSE daemon: `fallocate`, `O_TMPFILE`, user attributes and renames with flags are refused;
//! buffered writes are kept behind and come late; holes read short; a length is known after an fsync or a close; locks bind one
//! host, `hf3fs.lock` binds all; `3fs-virt/iovs` is there, and so is a second host with a mount of its own. What a test asks of
//! it besides is in [`standin`].
//!
//! A stand-in may be attached to a directory, because clients of 3FS look for one in `/proc/self/mountinfo`. A process that is
//! killed would leave that mount, so this is for processes with mounts of their own ([`private_mounts`]): the kernel takes them
//! away with the process, whatever it died of. Nothing else would do: a thread or a child that was to clean up can be killed too.
//! Its semaphores in `/dev/shm` are removed by the server, and by the thread that started it if the server was killed.
//!
//! FUSE takes root and `/dev/fuse`. Where they are not to be had, tests fail, unless [`WITHOUT_FUSE`] is set: a part of the
//! suite that silently does not run is a part that nobody misses.

#![allow(dead_code, reason = "each test binary uses a part of it")]

mod file;
mod file_system;
mod hf3fs;
mod image;
mod mount;
mod nodes;
mod operations;
mod options;
mod rule;
mod serve;
mod standin;
mod wire;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

#[allow(unused_imports, reason = "each test binary uses a part of it")]
pub use hf3fs::{RING_THREAD, Traffic};
#[allow(unused_imports, reason = "each test binary uses a part of it")]
pub use mount::private_mounts;
#[allow(unused_imports, reason = "each test binary uses a part of it")]
pub use options::{Hf3fs, Options, Personality};
#[allow(unused_imports, reason = "each test binary uses a part of it")]
pub use rule::{Fault, Op, Rule};
#[allow(unused_imports, reason = "each test binary uses a part of it")]
pub use standin::{OTHER_HOST, Seen, THIS_HOST};

use hf3fs::semaphores;
use options::{Host, Startup};

/// Set by who knows that this machine has no FUSE: what needs it is then skipped.
pub const WITHOUT_FUSE: &str = "NIXL_STORE_TEST_WITHOUT_FUSE";

/// Tells the server its descriptors and options.
const SERVER: &str = "NIXL_STORE_TEST_FAULTY_FS";
/// The hidden test of each test binary that calls [`serve_if_asked`].
const HIDDEN_TEST: &str = "helper_process";
/// Longest command or answer.
const COMMAND_BYTES_MAX: usize = 4096;
/// How long the server may take for a command, and for a request to come that is waited for.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(20);

/// The first line of the hidden test: where this process was started to be a server, serves, and says so at the end.
pub fn serve_if_asked() -> bool {
    let Ok(words) = std::env::var(SERVER) else { return false };
    serve::serve(Startup::of_words(&words));
    true
}

/// A mounted file system, gone when dropped.
pub struct FaultyFs {
    control: File,
    server: u32,
    // Its end ends the server.
    keeper: Option<JoinHandle<()>>,
    end: Option<mpsc::Sender<()>>,
    attached: Mutex<Vec<PathBuf>>,
    // Last: nothing hangs any more when they are closed.
    roots: Vec<OwnedFd>,
}

impl FaultyFs {
    /// One that does everything right for now. `None`: the machine is known to have no FUSE.
    pub fn start(name: &str, options: Options) -> Option<FaultyFs> {
        let hosts = options.hosts();
        let mounted: Result<Vec<_>, _> = hosts.iter().map(|_| mount::mount(options.personality)).collect();
        let (devices, roots): (Vec<OwnedFd>, Vec<OwnedFd>) = match mounted {
            Ok(mounted) => mounted.into_iter().unzip(),
            Err(why) if std::env::var_os(WITHOUT_FUSE).is_some() => {
                // Past the test runner's capture: a test that did not run must be seen not to have run.
                let line = format!("SKIPPED {name}: no FUSE: {why}\n");
                let _ = std::io::stderr().write_all(line.as_bytes());
                return None;
            }
            Err(why) => panic!(
                "{name} needs FUSE, and it cannot be mounted: {why}. Where a machine has none, set {WITHOUT_FUSE}=1"
            ),
        };
        let (control, far_end) = socket_pair();
        let host = |(name, device): (String, &OwnedFd)| Host {
            device: device.as_raw_fd(),
            name,
            semaphores: std::array::from_fn(|_| hf3fs::random_uuid()),
        };
        let hosts = hosts.into_iter().zip(&devices).map(host).collect();
        let startup = Startup { control: far_end.as_raw_fd(), options, hosts };
        let (end, ended) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        let keeper = std::thread::spawn(move || {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command
                .args(["--ignored", "--exact", HIDDEN_TEST, "--nocapture", "--test-threads=1"])
                .env(SERVER, startup.to_words())
                .stdin(Stdio::null())
                .stdout(Stdio::null());
            let inherited: Vec<i32> = devices.iter().chain([&far_end]).map(AsRawFd::as_raw_fd).collect();
            // A stand-in for 3FS has files to remove.
            let is_plain = matches!(options.personality, Personality::Plain);
            let signal = if is_plain { libc::SIGKILL } else { libc::SIGTERM };
            // SAFETY: between fork and exec, only system calls that take no memory.
            unsafe {
                command.pre_exec(move || {
                    libc::prctl(libc::PR_SET_PDEATHSIG, signal);
                    for descriptor in &inherited {
                        libc::fcntl(*descriptor, libc::F_SETFD, 0);
                    }
                    Ok(())
                });
            }
            let mut child = command.spawn().expect("the test binary runs again");
            // While this process has a device open, the death of the server ends nothing.
            drop((devices, far_end));
            tell.send(child.id()).expect("the test waits");
            // Ends by an error, when the sender is dropped.
            let _ = ended.recv();
            let _ = child.kill();
            let _ = child.wait();
            for end in startup.hosts.iter().flat_map(|host| &host.semaphores) {
                // Only a stand-in has any, and mostly they are gone.
                let _ = std::fs::remove_file(semaphores::path(end));
            }
        });
        let server = told.recv().expect("the server was started");
        let attached = Mutex::default();
        let control = File::from(control);
        Some(FaultyFs { control, server, keeper: Some(keeper), end: Some(end), attached, roots })
    }

    /// Its root, for every process of this user.
    pub fn path(&self) -> PathBuf {
        self.path_of(0)
    }

    fn path_of(&self, mount: usize) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.roots[mount].as_raw_fd()))
    }

    /// Lets a rule strike from now on.
    pub fn arm(&self, rule: &Rule) {
        self.ask(&format!("rule {}", rule.to_line()));
    }

    /// No rule strikes any more. What hangs goes on hanging.
    pub fn disarm(&self) {
        self.ask("clear");
    }

    /// How often the rules in force have struck.
    pub fn struck(&self) -> u64 {
        self.ask("struck").parse().unwrap()
    }

    /// Requests of this kind so far.
    pub fn count(&self, op: Op) -> u64 {
        self.ask(&format!("count {}", op as u32)).parse().unwrap()
    }

    /// Waits until so many requests hang.
    pub fn wait_for_hanging(&self, count: usize) {
        self.ask(&format!("hanging {count}"));
    }

    /// Requests that hang.
    pub fn hanging(&self) -> usize {
        self.ask("hanging-now").parse().unwrap()
    }

    /// Answers what hangs, in the order of its coming, as it should be; tells how many there were.
    pub fn release(&self) -> usize {
        self.ask("release").parse().unwrap()
    }

    /// The same, the last first.
    pub fn release_reversed(&self) -> usize {
        self.ask("release reversed").parse().unwrap()
    }

    /// Everything fails from now on, and what was not synced is gone; with a seed, each page and name of it by chance.
    pub fn power_off(&self, seed: Option<u64>) {
        self.ask(&format!("power-off {}", seed.map_or(String::new(), |seed| seed.to_string())));
    }

    /// It works again, with what the loss of power left. Files that were open before stay broken.
    pub fn power_on(&self) {
        self.ask("power-on");
    }

    /// Lets the kernel forget what it has cached of the files' bytes.
    pub fn drop_caches(&self) {
        self.ask("drop-caches");
    }

    /// Kills the server: everything under way and to come ends with an error.
    pub fn kill(&mut self) {
        self.end = None;
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
    }

    /// The process id of the server, to kill it from elsewhere.
    pub fn server(&self) -> u32 {
        self.server
    }

    fn ask(&self, command: &str) -> String {
        (&self.control).write_all(command.as_bytes()).expect("the server listens");
        let mut poll = libc::pollfd { fd: self.control.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one pollfd.
        let ready = unsafe { libc::poll(&raw mut poll, 1, ANSWER_TIME_MAX.as_millis() as i32) };
        assert_eq!(ready, 1, "the server does not answer {command:?}");
        let mut buffer = vec![0; COMMAND_BYTES_MAX];
        let length = (&self.control).read(&mut buffer).expect("the server answers");
        assert_ne!(length, 0, "the server died of {command:?}");
        let answer = String::from_utf8_lossy(&buffer[..length]);
        answer.strip_prefix("ok ").unwrap_or(&answer).to_owned()
    }
}

impl Drop for FaultyFs {
    fn drop(&mut self) {
        self.kill();
        for path in self.attached.lock().unwrap().iter() {
            mount::detach(path);
        }
    }
}

/// Two ends that keep messages apart and tell when the other is gone.
fn socket_pair() -> (OwnedFd, OwnedFd) {
    let mut ends = [-1; 2];
    // SAFETY: room for two descriptors.
    let made = unsafe {
        libc::socketpair(libc::AF_UNIX, libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC, 0, ends.as_mut_ptr())
    };
    assert_eq!(made, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: both are new and nobody else's.
    unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) }
}
