//! Processes that tests start, talk to and kill: the test binary itself, run again for one hidden test.
//!
//! Both sides speak lines through the helper's standard input and output. A line of the helper's begins with
//! [`MARK`], because the test runner prints there too. Nobody sleeps: a side that waits, waits for a line or for
//! the end of the pipe.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::watch::Watch;

/// Names the role that the hidden test plays.
const ROLE: &str = "NIXL_STORE_TEST_ROLE";
/// Begins each line that is meant for the other side.
const MARK: &str = "@ ";
/// The hidden test of each test binary.
const HIDDEN_TEST: &str = "helper_process";

/// How long a helper may live, whatever it does, on a machine that may be busy.
const LIFE_MAX: Duration = Duration::from_secs(600);

/// What a helper does.
pub type Role = (&'static str, fn(&mut Peer));

/// The body of the hidden test: plays the role that the parent asked for.
pub fn play(roles: &[Role]) {
    let Ok(name) = std::env::var(ROLE) else { return };
    // SAFETY: takes no memory. A helper must not outlive a test that failed.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let (_, play) = roles.iter().find(|(role, _)| *role == name).expect("a role of this test binary");
    play(&mut Peer { input: BufReader::new(std::io::stdin()) });
}

/// Prepares this process by what stays through an exec (a signal's mask, a signal that is ignored) and starts the same program
/// in it, so that what holds for all threads holds for the test runner's too. Returns there; before the first line is read.
pub fn start_anew(prepare: impl FnOnce()) {
    const DONE: &str = "NIXL_STORE_TEST_STARTED_ANEW";
    if std::env::var_os(DONE).is_some() {
        return;
    }
    // SAFETY: the helper has one other thread, which waits for this one.
    unsafe { std::env::set_var(DONE, "1") };
    prepare();
    let arguments: Vec<_> = std::env::args().map(|text| std::ffi::CString::new(text).unwrap()).collect();
    let mut pointers: Vec<_> = arguments.iter().map(|text| text.as_ptr()).collect();
    pointers.push(std::ptr::null());
    // SAFETY: NUL-terminated strings in an array that NULL ends.
    unsafe { libc::execv(c"/proc/self/exe".as_ptr(), pointers.as_ptr()) };
    panic!("this program cannot be started anew: {}", std::io::Error::last_os_error());
}

/// The helper's side.
pub struct Peer {
    input: BufReader<std::io::Stdin>,
}

impl Peer {
    /// The next line from the parent; `None` when it has no more.
    pub fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.input.read_line(&mut line).expect("the parent's pipe");
        (read > 0).then(|| line.trim_end().to_owned())
    }

    pub fn say(&self, line: &str) {
        say(line);
    }
}

/// Tells the parent a line, from any thread of a helper. It is in the pipe when this returns, whatever happens next.
pub fn say(line: &str) {
    let text = format!("{MARK}{line}\n");
    let mut output = std::io::stdout().lock();
    // The parent is gone: nobody is left to tell.
    let _ = output.write_all(text.as_bytes()).and_then(|()| output.flush());
}

/// A running helper; killed when dropped. One that lives too long is shown and killed, and what waits for its next line sees
/// the end of it.
pub struct Helper {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    _watch: Watch,
}

impl Helper {
    pub fn start(role: &str) -> Helper {
        Helper::start_for(role, LIFE_MAX)
    }

    /// One that may live so long.
    pub fn start_for(role: &str, life_max: Duration) -> Helper {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--ignored", "--exact", HIDDEN_TEST, "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().expect("the test binary runs again");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        let watch = Watch::over(child.id(), format!("a helper in the role {role:?}"), life_max);
        Helper { child, input, output, _watch: watch }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn tell(&mut self, line: &str) {
        let input = self.input.as_mut().expect("a helper that still listens");
        input.write_all(format!("{line}\n").as_bytes()).expect("the helper listens");
    }

    /// The next line; `None` when the helper is gone.
    pub fn line(&mut self) -> Option<String> {
        loop {
            let mut line = Vec::new();
            if self.output.read_until(b'\n', &mut line).expect("the helper's pipe") == 0 {
                return None;
            }
            let line = String::from_utf8_lossy(&line);
            // The runner does not end its own line before the test speaks.
            if let Some(at) = line.find(MARK)
                && line.ends_with('\n')
            {
                return Some(line[at + MARK.len()..].trim_end().to_owned());
            }
        }
    }

    /// Tells a line and waits for the answer.
    pub fn ask(&mut self, line: &str) -> String {
        self.tell(line);
        self.line().unwrap_or_else(|| panic!("the helper died of {line:?}"))
    }

    /// Kills it at once (SIGKILL), without waiting for its end.
    pub fn strike(&mut self) {
        self.child.kill().expect("a helper can be killed");
    }

    /// Kills it (SIGKILL) and waits for its end. Its children keep its pipes, and so does this.
    pub fn strike_and_wait(&mut self) {
        self.strike();
        self.child.wait().expect("a helper that was killed ends");
    }

    /// Kills it (SIGKILL), waits for its end, and gives what it had said and nobody had read.
    pub fn kill(mut self) -> Vec<String> {
        self.strike();
        let mut left = Vec::new();
        while let Some(line) = self.line() {
            left.push(line);
        }
        self.child.wait().expect("a helper that was killed ends");
        left
    }

    /// Closes its input and waits for its end, which must be a success.
    pub fn finish(self) {
        let (status, rest) = self.end();
        assert!(status.success(), "the helper failed: {status}\n{rest}");
    }

    /// Closes its input and waits for its end: how it ended, and what it had said and nobody had read.
    pub fn end(mut self) -> (ExitStatus, String) {
        self.input = None;
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).expect("the helper's pipe");
        (self.child.wait().expect("a helper ends"), rest)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
