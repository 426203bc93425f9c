//! Reading the file: from a path that anyone may have mistyped, or from bytes, to text that is safe to parse.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::error::{Error, Result, Status};
use crate::sys::retry_on_interrupt;

/// Largest configuration that is read, in bytes. LMCache's own are below 4 KiB.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// The text of the file.
///
/// # Errors
/// [`Status::Config`] if there is no such file, it is no regular file, too large, or holds what is not text.
pub(super) fn read(path: &Path) -> Result<String> {
    let name = display(path);
    let os = |operation: &str, source: &std::io::Error| {
        Error::os(format_args!("{operation} configuration file {name}"), source).with_status(Status::Config)
    };
    // Without O_NONBLOCK, opening a FIFO would wait for a writer for ever.
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(|source| os("opening", &source))?;
    let kind = retry_on_interrupt(|| file.metadata()).map_err(|source| os("examining", &source))?.file_type();
    if !kind.is_file() {
        let what = if kind.is_dir() { "a directory" } else { "not a regular file" };
        return Err(refusal(&name, format_args!("it is {what}; allowed: a YAML file")));
    }
    let mut bytes = Vec::new();
    file.by_ref()
        .take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| os("reading", &source))?;
    check(bytes, &name)
}

/// The text in bytes that messages call `name`.
///
/// # Errors
/// [`Status::Config`] if it is too large, or holds what is not text.
pub(super) fn check(bytes: Vec<u8>, name: &str) -> Result<String> {
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > FILE_BYTES_MAX {
        return Err(refusal(
            name,
            format_args!("it is larger than {FILE_BYTES_MAX} bytes, the most allowed"),
        ));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
        refusal(&format!("{name}:{line}"), "a byte here is not UTF-8; allowed: UTF-8 text")
    })?;
    check_characters(&text).map_err(|(line, what)| {
        refusal(&format!("{name}:{line}"), format_args!("{what}; allowed: plain text"))
    })?;
    Ok(text)
}

/// PyYAML takes no control characters either; a NUL would end a C string early somewhere below.
pub(super) fn check_characters(text: &str) -> std::result::Result<(), (usize, String)> {
    for (index, line) in text.split('\n').enumerate() {
        if let Some(c) = line.chars().find(|c| c.is_control() && !matches!(c, '\t' | '\r' | '\u{85}')) {
            return Err((index + 1, format!("a control character, U+{:04X}", u32::from(c))));
        }
    }
    Ok(())
}

/// A path for messages: one line, whatever bytes it has.
pub(super) fn display(path: &Path) -> String {
    path.to_string_lossy()
        .chars()
        .flat_map(|c| if c.is_control() { c.escape_debug().collect() } else { vec![c] })
        .collect()
}

fn refusal(place: &str, message: impl std::fmt::Display) -> Error {
    Error::new(Status::Config, format!("{place}: {message}"))
}
