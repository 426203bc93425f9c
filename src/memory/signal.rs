//! Words of memory that a device reads and waits on, and that tell it how far something is.
//!
//! A word only ever rises. Whoever takes one begins above all that an earlier user's waiters could have waited for, and leaves
//! it at the highest value that its own can; so a word can be used again at once, and nobody has to know which device has
//! looked yet. The words lie in pages that are never freed, because a device may look for as long as the process lives.
//!
//! The pages are shared and not private, so that a fork leaves them where they are: of a private page the writer would get a
//! copy, while the device went on reading the old one.

use std::io;
use std::ptr::NonNull;
// The words are read by devices and the rest is no more than a bitmap, so this is no business of a model checker's.
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::sys::map;

/// Words of one table.
pub const WORDS: usize = 4096;
/// Bytes of one word.
const WORD_BYTES: usize = size_of::<AtomicU64>();
/// Words of which one number keeps the marks.
const MARKS: usize = u64::BITS as usize;

/// A table of words, and which of them are in use.
#[derive(Debug)]
pub struct Words {
    start: NonNull<AtomicU64>,
    taken: [AtomicU64; WORDS / MARKS],
    /// Where to look for a free one first.
    hint: AtomicUsize,
}

// SAFETY: the memory is never freed, and made of atomics.
unsafe impl Send for Words {}
// SAFETY: as above.
unsafe impl Sync for Words {}

impl Words {
    /// Bytes of a table.
    pub const BYTES: usize = WORDS * WORD_BYTES;

    /// A table that stays for as long as the process lives.
    ///
    /// # Errors
    /// What `mmap(2)` answers.
    pub fn new() -> io::Result<&'static Words> {
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: memory that nobody has seen, of no file.
        let start = unsafe { map::unlocked(Words::BYTES, access, flags, -1) }?.cast();
        let taken = std::array::from_fn(|_| AtomicU64::new(0));
        Ok(Box::leak(Box::new(Words { start, taken, hint: AtomicUsize::new(0) })))
    }

    /// Where the table begins; it has [`Words::BYTES`].
    pub fn address(&self) -> *mut u8 {
        self.start.as_ptr().cast()
    }

    /// Takes a word for something of so many steps. `None`: all are taken.
    pub fn take(&'static self, steps: u64) -> Option<Signal> {
        let first = self.hint.load(Ordering::Relaxed);
        for offset in 0..self.taken.len() {
            let at = (first + offset) % self.taken.len();
            let marks = &self.taken[at];
            let mut now = marks.load(Ordering::Relaxed);
            while now != u64::MAX {
                let free = now.trailing_ones();
                match marks.compare_exchange_weak(now, now | 1 << free, Ordering::Acquire, Ordering::Relaxed)
                {
                    Ok(_) => {
                        self.hint.store(at, Ordering::Relaxed);
                        let number = at * MARKS + free as usize;
                        // Its user before has left it as it is, which the mark that was seen to be gone makes visible.
                        let base = self.word(number).load(Ordering::Relaxed);
                        return Some(Signal { words: self, number, base, steps: steps.max(1) });
                    }
                    Err(other) => now = other,
                }
            }
        }
        None
    }

    fn word(&self, number: usize) -> &AtomicU64 {
        // SAFETY: numbers are below `WORDS`, and the table stays.
        unsafe { self.start.add(number).as_ref() }
    }
}

/// A word in use, by something that comes to its end in steps. Dropping it is the end, however that came: all who wait go on,
/// and the word is free.
#[derive(Debug)]
pub struct Signal {
    words: &'static Words,
    number: usize,
    base: u64,
    steps: u64,
}

impl Signal {
    /// Whether it is one of that table's.
    pub fn is_of(&self, words: &Words) -> bool {
        std::ptr::eq(self.words, words)
    }

    /// What to wait for: where the word lies in its table, in bytes, and its least value after so many steps.
    pub fn mark(&self, steps: u64) -> Mark {
        Mark { offset: self.number * WORD_BYTES, value: self.value(steps) }
    }

    /// So many steps are done; fewer than before changes nothing.
    pub fn advance(&self, steps: u64) {
        self.words.word(self.number).fetch_max(self.value(steps), Ordering::Release);
    }

    fn value(&self, steps: u64) -> u64 {
        self.base + steps.min(self.steps)
    }
}

impl Drop for Signal {
    fn drop(&mut self) {
        self.advance(self.steps);
        let (marks, bit) = (&self.words.taken[self.number / MARKS], 1 << (self.number % MARKS));
        marks.fetch_and(!bit, Ordering::Release);
    }
}

/// A word of a table and the value that it will have, or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Bytes from the start of the table.
    pub offset: usize,
    /// The least value.
    pub value: u64,
}

/// The device's side, for tests.
#[cfg(test)]
pub mod testing {
    use super::*;

    /// Whether whoever waits for this goes on.
    pub fn is_reached(words: &Words, mark: Mark) -> bool {
        words.word(mark.offset / WORD_BYTES).load(Ordering::Acquire) >= mark.value
    }
}

#[cfg(test)]
#[cfg(not(feature = "shuttle"))]
mod tests {
    use super::testing::is_reached;
    use super::*;

    /// Whoever waits is let go by as many steps as he asked for, or by the end; and a later user's steps are none of his.
    #[test]
    fn a_word_that_is_used_again_lets_all_who_waited_before_go() {
        let words = Words::new().expect("memory");
        let mut before = Vec::new();
        for round in 0..1000u64 {
            let signal = words.take(100).expect("a word");
            let marks = [signal.mark(1), signal.mark(50), signal.mark(100), signal.mark(u64::MAX)];
            assert!(before.iter().all(|mark| is_reached(words, *mark)), "round {round}");
            assert!(!marks.iter().any(|mark| is_reached(words, *mark)));
            signal.advance(50);
            signal.advance(20);
            let reached = marks.map(|mark| is_reached(words, mark));
            assert_eq!(reached, [true, true, false, false]);
            drop(signal);
            before.extend(marks);
        }
        assert!(before.iter().all(|mark| is_reached(words, *mark)));
    }

    /// The table is as large as it says: each word is given once, and comes back.
    #[test]
    fn no_word_is_given_twice() {
        let words = Words::new().expect("memory");
        for _ in 0..2 {
            let signals: Vec<Signal> = std::iter::from_fn(|| words.take(1)).collect();
            assert_eq!(signals.len(), WORDS);
            let mut offsets: Vec<usize> = signals.iter().map(|signal| signal.mark(1).offset).collect();
            offsets.sort_unstable();
            offsets.dedup();
            assert_eq!(offsets.len(), WORDS);
            assert!(offsets.iter().all(|offset| offset + WORD_BYTES <= Words::BYTES));
        }
    }
}
