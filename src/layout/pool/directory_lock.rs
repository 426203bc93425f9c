//! One owner among all hosts: a lock on the pool's directory that the file system's client holds for this host.
//!
//! `flock(2)` binds the processes of one host on some file systems. Theirs is an attribute of the directory that takes
//! commands (3FS: `hf3fs.lock`): `try_lock`, `preempt_lock`, `unlock`, and `clear`, which is for people. While one host's
//! client holds it, others get `ENOLCK` for whatever would change the directory. Which process of a host owns the pool is
//! decided by the `flock`, which is always taken first.
//!
//! The lock does not die with its owner, nor with the client. The next owner on the same host takes it over; from any other
//! host somebody has to clear it who knows that nobody writes there any more.

use std::ffi::CStr;
use std::path::Path;

use super::steps;
use crate::error::{Error, Result, Status};
use crate::log::Logger;
use crate::sys::dir::Dir;
use crate::sys::host_name;

/// Bytes of the holder that are read.
const HOLDER_BYTES_MAX: usize = 1024;
/// Letters of a host's name.
const HOST_NAME_BYTES_MAX: usize = 253;
/// Times that the lock is tried while its holders come and go.
const ATTEMPTS_MAX: u32 = 8;

/// The lock, held.
#[derive(Debug)]
pub(super) struct Held {
    name: &'static CStr,
    /// The process that took it.
    owner: u32,
    logger: Logger,
}

/// What became of taking it.
pub(super) enum Taken {
    Held(Held),
    /// The file system has no such lock.
    Impossible,
    /// The directory is not there any more.
    Gone,
}

/// Who holds it.
#[derive(Debug, PartialEq, Eq)]
enum Holder {
    Host(String),
    /// It is held, and not said by whom.
    Unknown,
    Nobody,
}

/// Takes the lock for this host. The caller holds the pool's `flock`.
///
/// # Errors
/// [`Status::Locked`] naming the host that holds it; what else the file system answers.
pub(super) fn take(directory: &Dir, name: &'static CStr, logger: &Logger) -> Result<Taken> {
    let path = directory.path().display();
    let held = || Ok(Taken::Held(Held { name, owner: std::process::id(), logger: logger.clone() }));
    let failed = |error: &std::io::Error| Error::os(format_args!("locking {path} for all hosts"), error);
    for _ in 0..ATTEMPTS_MAX {
        let Err(error) = steps::set_attribute(directory, name, b"try_lock") else { return held() };
        match error.raw_os_error() {
            Some(libc::ENOLCK) => {}
            Some(libc::ENODATA | libc::EOPNOTSUPP | libc::ENOSYS) => {
                logger.warn(format_args!(
                    "the file system of {path} cannot lock for all hosts ({error}): processes of other hosts are not kept out of \
                     this pool, and two owners would destroy what is in it. See to it that one host alone opens it"
                ));
                return Ok(Taken::Impossible);
            }
            Some(libc::ENOENT | libc::ESTALE) => return Ok(Taken::Gone),
            _ => return Err(failed(&error)),
        }
        match holder(directory, name) {
            Holder::Nobody => {}
            Holder::Host(host) if is_here(&host) => {
                match steps::set_attribute(directory, name, b"preempt_lock") {
                    Ok(()) => {
                        logger.warn(format_args!(
                            "the lock for all hosts of {path} was held by an earlier client of the file system on this host, \
                             {host}; it is taken over, as no process here has the pool"
                        ));
                        return held();
                    }
                    // Somebody else was faster.
                    Err(error) if error.raw_os_error() == Some(libc::ENOLCK) => {}
                    Err(error) => return Err(failed(&error)),
                }
            }
            _ => return Err(refusal(directory, name)),
        }
    }
    Err(refusal(directory, name))
}

/// What to say to whoever may not change the directory because of another host.
pub(super) fn refusal(directory: &Dir, name: &CStr) -> Error {
    let path = directory.path().display();
    let host = match holder(directory, name) {
        Holder::Host(host) if is_here(&host) => {
            format!("an earlier client of the file system on this host, {host}")
        }
        Holder::Host(host) => format!("host {host}"),
        Holder::Unknown | Holder::Nobody => "a host that cannot be told".to_owned(),
    };
    Error::new(
        Status::Locked,
        format!(
            "the pool in {path} is locked for all hosts by {host}; a static pool has one owner at a time. Stop the process \
             that has it there, or give this one another nixl_path or worker id. If that host is gone for good, or no process \
             there has the pool, the lock is left over: clear it with `{}`. While a process there lives, clearing it lets two \
             owners destroy the pool",
            clearing(directory.path(), name)
        ),
    )
}

impl Held {
    /// Lets other hosts in. The caller still holds the pool's `flock`, and nothing more will be written. A forked child has
    /// nothing to let go of.
    pub(super) fn release(self, directory: &Dir) {
        let Held { name, owner, logger } = self;
        if owner != std::process::id() {
            return;
        }
        match steps::set_attribute(directory, name, b"unlock") {
            // A creation that was taken back took the directory along.
            Err(error) if !matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESTALE)) => {
                logger.warn(format_args!(
                    "the lock for all hosts of {} stays held by this host ({error}); for others, clear it with `{}`",
                    directory.path().display(),
                    clearing(directory.path(), name)
                ));
            }
            _ => {}
        }
    }
}

/// The command by which a person clears the lock.
fn clearing(path: &Path, name: &CStr) -> String {
    let quoted = path.display().to_string().replace('\'', r"'\''");
    format!("setfattr -n {} -v clear '{quoted}'", name.to_string_lossy())
}

/// Whether that is the name of this host, and of no other.
fn is_here(host: &str) -> bool {
    host == host_name() && !host.starts_with("localhost")
}

fn holder(directory: &Dir, name: &CStr) -> Holder {
    let mut bytes = [0; HOLDER_BYTES_MAX];
    match steps::attribute(directory, name, &mut bytes) {
        Ok(length) => host_in(bytes.get(..length).unwrap_or_default()).map_or(Holder::Unknown, Holder::Host),
        Err(error) if error.raw_os_error() == Some(libc::ENODATA) => Holder::Nobody,
        Err(_) => Holder::Unknown,
    }
}

/// Whether a name can be repeated in a message.
pub(super) fn is_plain(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
}

/// The name of the host in `{"client":{"uuid":"...","hostname":"..."}}`. It is anybody's text: nothing but a plain name is
/// taken from it.
fn host_in(json: &[u8]) -> Option<String> {
    let json = std::str::from_utf8(json).ok()?;
    // Inside a JSON string no quote stands without a backslash before it, so this is a string of its own.
    let mut values =
        json.split("\"hostname\"").skip(1).filter_map(|rest| rest.trim_start().strip_prefix(':'));
    let name = values.next()?.trim_start().strip_prefix('"')?.split('"').next()?;
    let is_name = (1..=HOST_NAME_BYTES_MAX).contains(&name.len()) && is_plain(name);
    // Two would be a riddle.
    (is_name && values.next().is_none()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What holds the lock is said by the file system, which passes on what a client said of itself: a host is known, and
    /// named in a message, only by a plain name.
    #[test]
    fn a_holders_host_is_taken_only_if_it_is_harmless() {
        let host = |json: &str| host_in(json.as_bytes());
        let plain = Some("node-3.example".to_owned());
        assert_eq!(host(r#"{"client":{"uuid":"a-b","hostname":"node-3.example"}}"#), plain);
        assert_eq!(host("{ \"client\" : {\n \"hostname\" : \"node-3.example\" ,\"uuid\":\"\"} }"), plain);
        assert_eq!(host(r#"{"client":{"uuid":"\"hostname\":\"x\"","hostname":"node-3.example"}}"#), plain);
        assert_eq!(host(r#"{"client":{"uuid":"hostname","hostname":"node-3.example"}}"#), plain);
        let long = "a".repeat(HOST_NAME_BYTES_MAX + 1);
        for name in ["", "a b", "\u{1b}[31m", r"a\", "caf\u{e9}", "a\n", "'; rm -rf /", &long] {
            assert_eq!(host(&format!(r#"{{"client":{{"hostname":"{name}"}}}}"#)), None, "{name}");
        }
        for json in
            ["", "{}", "hostname", "\"hostname\"", "\"hostname\":", "\"hostname\":\"", "\"hostname\":7"]
        {
            assert_eq!(host(json), None, "{json}");
        }
        assert_eq!(host(r#"{"hostname":"a","hostname":"b"}"#), None);
        assert_eq!(host_in(&[0xff; HOLDER_BYTES_MAX]), None);
    }

    /// A host that calls itself by a name which all have may be any.
    #[test]
    fn a_name_that_every_host_has_is_no_hosts() {
        let here = host_name();
        assert_eq!(is_here(&here), !here.starts_with("localhost"));
        assert!(
            !is_here("localhost")
                && !is_here("localhost.localdomain")
                && !is_here("")
                && !is_here("elsewhere")
        );
    }

    /// A path is the shell's to read: the command can be pasted as it is.
    #[test]
    fn the_command_that_clears_is_quoted() {
        let command = clearing(Path::new("/3fs/it's here"), c"hf3fs.lock");
        assert_eq!(command, r"setfattr -n hf3fs.lock -v clear '/3fs/it'\''s here'");
    }
}
