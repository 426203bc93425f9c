//! What does not end, is shown and killed: a process that waits for ever must fail its test, and say where it waits.

use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Lines of a thread's stack in the kernel that are shown.
const STACK_LINES_MAX: usize = 8;

/// A process, whatever becomes of its number.
struct Process {
    id: i32,
    descriptor: OwnedFd,
}

impl Process {
    /// A process that nobody has waited for yet.
    fn of(id: i32) -> Process {
        // SAFETY: takes no memory.
        let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, id, 0) };
        assert!(descriptor >= 0, "process {id}: {}", std::io::Error::last_os_error());
        // SAFETY: a new descriptor, which is nobody else's.
        Process { id, descriptor: unsafe { OwnedFd::from_raw_fd(descriptor as i32) } }
    }

    /// Whether it ends within the time.
    fn ends_within(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        loop {
            let left = until.saturating_duration_since(Instant::now()).as_millis() as i32;
            let mut poll = libc::pollfd { fd: self.descriptor.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: one valid pollfd.
            match unsafe { libc::poll(&raw mut poll, 1, left) } {
                1 => return true,
                0 => return false,
                // A signal's handler ran.
                _ => {}
            }
        }
    }

    /// Shows where it is and kills it, with all that it started: they may hold its pipes.
    fn put_down(&self, what: &str) {
        let family = family(self.id);
        let shown: Vec<String> = family.iter().map(|&id| threads_of(id)).collect();
        // Past the test runner's capture, and whole even if the test ends otherwise.
        let text = format!("{what} does not end; where it is:\n{}\n", shown.join("\n"));
        let _ = std::io::stderr().write_all(text.as_bytes());
        for &id in &family[1..] {
            // SAFETY: takes no memory. They are children of a process that has not ended.
            unsafe { libc::kill(id, libc::SIGKILL) };
        }
        let (descriptor, no_details) = (self.descriptor.as_raw_fd(), std::ptr::null::<libc::siginfo_t>());
        // SAFETY: no details are handed over.
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, descriptor, libc::SIGKILL, no_details, 0) };
    }
}

/// Watches over a process until dropped: one that does not end within its time is shown and killed.
pub struct Watch {
    end: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Over a child of this process that nobody has waited for yet.
    pub fn over(id: u32, what: String, limit: Duration) -> Watch {
        let process = Process::of(id as i32);
        let (end, ended) = mpsc::channel::<()>();
        let watch = move || {
            if ended.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout)
                && !process.ends_within(Duration::ZERO)
            {
                process.put_down(&format!("{what}, after {} s,", limit.as_secs()));
            }
        };
        Watch { end: Some(end), thread: Some(std::thread::spawn(watch)) }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end = None;
        // It does nothing that can panic.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Waits for a forked child: what it answered, or the signal that ended it. One that does not end is shown and killed.
pub fn how_ended(child: i32, limit: Duration) -> Result<i32, i32> {
    let process = Process::of(child);
    if !process.ends_within(limit) {
        process.put_down(&format!("a forked child, after {} s,", limit.as_secs()));
    }
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    if libc::WIFEXITED(status) { Ok(libc::WEXITSTATUS(status)) } else { Err(libc::WTERMSIG(status)) }
}

fn tasks(process: i32) -> Vec<PathBuf> {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    tasks.map(|task| task.path()).collect()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// A process and all that it started, itself first.
fn family(process: i32) -> Vec<i32> {
    let mut family = vec![process];
    let mut at = 0;
    while at < family.len() {
        for task in tasks(family[at]) {
            family.extend(
                read(&task.join("children")).split_whitespace().filter_map(|id| id.parse::<i32>().ok()),
            );
        }
        at += 1;
    }
    family
}

/// Where the threads of a process are, for whoever has to find out why it does not end. Their stacks in the kernel are shown
/// to root only.
pub fn threads_of(process: i32) -> String {
    let mut shown = format!("process {process}, {}", read(Path::new(&format!("/proc/{process}/cmdline"))));
    shown = shown.replace('\0', " ");
    for task in tasks(process) {
        let of = |name: &str| read(&task.join(name));
        let (name, place, call) = (of("comm"), of("wchan"), of("syscall"));
        let stack: Vec<String> = of("stack").lines().take(STACK_LINES_MAX).map(str::to_owned).collect();
        shown += &format!("\n  {name}: {place}, system call {call}\n    {}", stack.join(" "));
    }
    shown
}
