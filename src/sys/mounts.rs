//! Which file system a path is on, as the kernel lists the mounts.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::retry_on_interrupt;

/// Type and mount point of the file system that a path is on; `None` where the path is not there or the kernel does not list it.
pub fn file_system_of(path: &Path) -> Option<(String, PathBuf)> {
    let path = retry_on_interrupt(|| fs::canonicalize(path)).ok()?;
    let list = fs::read("/proc/self/mountinfo").ok()?;
    list.split(|&byte| byte == b'\n')
        .filter_map(|line| of_line(line).filter(|(_, point)| path.starts_with(point)))
        // Of two at one place the later one covers the earlier one.
        .max_by_key(|(_, point)| point.as_os_str().len())
}

/// Type and mount point in a line of mountinfo (`proc_pid_mountinfo(5)`): the fifth word, and the first after " - ".
fn of_line(line: &[u8]) -> Option<(String, PathBuf)> {
    let mut words = line.split(|&byte| byte == b' ');
    let point = unescape(words.nth(4)?);
    words.find(|word| *word == b"-")?;
    let kind = String::from_utf8_lossy(words.next()?).into_owned();
    Some((kind, PathBuf::from(point)))
}

/// Without the octal escapes, which stand for blanks, line ends and backslashes.
fn unescape(word: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((&first, behind)) = rest.split_first() {
        let octal = (first == b'\\').then(|| behind.get(..3).and_then(of_octal)).flatten();
        bytes.push(octal.unwrap_or(first));
        rest = if octal.is_some() { behind.get(3..).unwrap_or_default() } else { behind };
    }
    OsString::from_vec(bytes)
}

fn of_octal(digits: &[u8]) -> Option<u8> {
    let text = OsStr::from_bytes(digits).to_str()?;
    u8::from_str_radix(text, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of mountinfo with optional fields, blanks in names, and types with a subtype.
    #[test]
    fn lines_of_mountinfo_are_understood() {
        let line =
            b"36 35 98:0 / /mnt/a\\040b\\134c rw,noatime shared:1 master:2 - fuse.hf3fs hf3fs rw,user_id=0";
        assert_eq!(of_line(line), Some(("fuse.hf3fs".to_owned(), PathBuf::from("/mnt/a b\\c"))));
        for line in [&b""[..], b"1 2 3", b"36 35 98:0 / /mnt rw shared:1", b"36 35 98:0 / /mnt rw -"] {
            assert_eq!(of_line(line), None);
        }
        assert_eq!(unescape(b"\\9\\04"), "\\9\\04");
    }
}
