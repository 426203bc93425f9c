//! A terminal for the command, as whoever sits at it sees it.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd};
use std::process::{Child, Stdio};

use crate::support::command;

/// Columns and lines.
const COLUMNS: u16 = 80;
const LINES: u16 = 24;

/// The side of a person; the other one is the command's.
pub struct Terminal {
    ours: File,
    theirs: Option<File>,
    /// What was written to it so far.
    pub seen: String,
}

impl Terminal {
    pub fn new() -> Terminal {
        let size = libc::winsize { ws_row: LINES, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 };
        let (mut ours, mut theirs) = (-1, -1);
        // SAFETY: the numbers and the size live during the call; no name and no modes are asked for or given.
        let opened = unsafe {
            libc::openpty(
                &raw mut ours,
                &raw mut theirs,
                std::ptr::null_mut(),
                std::ptr::null(),
                &raw const size,
            )
        };
        assert_eq!(opened, 0);
        // SAFETY: openpty returned descriptors that nobody else owns.
        let opened = [ours, theirs].map(|descriptor| unsafe { File::from_raw_fd(descriptor) });
        // The copies are not inherited: the command of another test would keep the terminal open.
        let [ours, theirs] = opened.map(|file| file.try_clone().unwrap());
        Terminal { ours, theirs: Some(theirs), seen: String::new() }
    }

    /// Starts the command at it. When that ends, there is nothing more to be seen.
    pub fn start(&mut self, arguments: &[&str]) -> Child {
        let theirs = self.theirs.take().unwrap();
        let mut command = command(arguments);
        command.env("TERM", "xterm").stdin(theirs.try_clone().unwrap());
        command.stdout(theirs).stderr(Stdio::null()).spawn().unwrap()
    }

    /// How it takes input and shows output.
    pub fn modes(&self) -> [u32; 4] {
        // SAFETY: plain old data, for which all zeros is valid.
        let mut modes: libc::termios = unsafe { std::mem::zeroed() };
        // SAFETY: the descriptor is open and the modes are writable.
        assert_eq!(unsafe { libc::tcgetattr(self.ours.as_raw_fd(), &raw mut modes) }, 0);
        [modes.c_iflag, modes.c_oflag, modes.c_cflag, modes.c_lflag]
    }

    /// Waits until `is_enough` of what was seen, or until the command has ended.
    pub fn watch(&mut self, is_enough: impl Fn(&str) -> bool) {
        let mut bytes = [0; 4096];
        while !is_enough(&self.seen) {
            match self.ours.read(&mut bytes) {
                Ok(length @ 1..) => self.seen += &String::from_utf8_lossy(&bytes[..length]),
                // The other side is closed.
                _ => return,
            }
        }
    }
}

/// What was written without blanks and without what moves and colours it: blanks are mostly skipped, and not written.
pub fn letters(seen: &str) -> String {
    let mut parts = seen.split('\u{1b}');
    let mut letters = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|letter: char| letter.is_ascii_alphabetic()).map_or(part.len(), |at| at + 1);
        letters += &part[end..];
    }
    letters.retain(|letter| !letter.is_whitespace());
    letters
}
