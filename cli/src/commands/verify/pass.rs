//! One pass over everything: each entry is looked at once, and what does not prove right once more at the end.

use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use nixl_store::inspect::{
    Entry, EntryKind, Inspection, Look, Place, Room, SETTLE_TIME, Survey, Suspect, Unreadable, Verdict,
};

use crate::many::{self, lock};
use crate::output::{Failure, Output, count};

/// What the pass found.
#[derive(Debug, Default)]
pub struct Passed {
    /// Records that are as they were put, and their bytes.
    pub proven: u64,
    /// Bytes of their payloads.
    pub proven_bytes: u64,
    /// What is not as it was put.
    pub damaged: Vec<Suspect>,
    /// What changed while it was read.
    pub in_flux: u64,
    /// What LMCache wrote.
    pub unverified: u64,
    /// Its bytes.
    pub unverified_bytes: u64,
    /// What cannot be read.
    pub unreadable: Vec<Unreadable>,
    /// What the survey said.
    pub survey: Survey,
    /// How long the pass took.
    pub took: Duration,
}

/// Reads no faster than so many bytes a second, all threads together.
struct Pace {
    begun: Instant,
    bytes_per_second: Option<u64>,
    read: AtomicU64,
}

impl Pace {
    fn new(bytes_per_second: Option<u64>) -> Pace {
        Pace { begun: Instant::now(), bytes_per_second, read: AtomicU64::new(0) }
    }

    /// Waits until so many more bytes may be read.
    fn wait(&self, bytes: u64) {
        let before = self.read.fetch_add(bytes, Ordering::Relaxed);
        let Some(rate) = self.bytes_per_second.filter(|rate| *rate > 0) else { return };
        let due = Duration::from_secs_f64(before as f64 / rate as f64);
        thread::sleep(due.saturating_sub(self.begun.elapsed()));
    }
}

/// Looks at everything in the store.
///
/// # Errors
/// If it cannot be listed.
pub fn run(store: &Inspection, limit_rate: Option<u64>, output: &Output) -> Result<Passed, Failure> {
    let begun = Instant::now();
    let mut entries = Vec::new();
    let listing = bar(output, None);
    let survey = store.survey(&mut |entry| {
        entries.push(entry);
        listing.inc(1);
        ControlFlow::Continue(())
    })?;
    listing.finish_and_clear();
    entries.extend(survey.damaged.iter().cloned());
    // Slots in the order in which they lie in their files, so that a disk reads ahead.
    if entries.iter().all(|entry| matches!(entry.place, Place::Slot(_))) {
        entries.sort_unstable_by(|a, b| a.place.cmp(&b.place));
    }
    let mut passed =
        Passed { unreadable: survey.unreadable.clone(), survey: survey.clone(), ..Passed::default() };
    let progress = bar(output, Some(entries.iter().map(cost).sum()));
    let pace = Pace::new(limit_rate);
    let (tally, suspects) = (Mutex::new(&mut passed), Mutex::new(Vec::new()));
    many::each(many::threads(store), &entries, Room::default, |entry, room| {
        pace.wait(cost(entry));
        match store.look(entry, room) {
            Look::Suspect(suspect) => lock(&suspects).push(suspect),
            Look::Proven(record) => lock(&tally).proven(record.payload_bytes),
            // A survey that read the trailer has seen it, so somebody changed it.
            Look::Gone if matches!(entry.place, Place::Slot(_)) => lock(&tally).in_flux += 1,
            Look::Gone => {}
            Look::Unverified => lock(&tally).unverified(entry),
            Look::Unreadable(why) => lock(&tally).unreadable(store, entry, why),
        }
        progress.inc(cost(entry));
        Ok(())
    })?;
    let suspects = suspects.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !suspects.is_empty() {
        progress.set_message(format!("{} to look at again", count(suspects.len() as u64)));
        thread::sleep(SETTLE_TIME);
        many::each(many::threads(store), &suspects, Room::default, |suspect, room| {
            pace.wait(cost(&suspect.entry));
            let verdict = store.settle(suspect.clone(), room);
            let mut tally = lock(&tally);
            match verdict {
                Verdict::Proven(record) => tally.proven(record.payload_bytes),
                Verdict::Gone | Verdict::InFlux => tally.in_flux += 1,
                Verdict::Unverified => tally.unverified(&suspect.entry),
                Verdict::Damaged(suspect) => tally.damaged.push(suspect),
                Verdict::Unreadable(why) => tally.unreadable(store, &suspect.entry, why),
            }
            Ok(())
        })?;
    }
    progress.finish_and_clear();
    passed.damaged.sort_by(|a, b| a.entry.place.cmp(&b.entry.place));
    passed.took = begun.elapsed();
    Ok(passed)
}

impl Passed {
    fn proven(&mut self, bytes: u64) {
        self.proven += 1;
        self.proven_bytes += bytes;
    }

    fn unverified(&mut self, entry: &Entry) {
        self.unverified += 1;
        self.unverified_bytes += entry.payload_bytes;
    }

    fn unreadable(&mut self, store: &Inspection, entry: &Entry, why: String) {
        self.unreadable.push(Unreadable { what: crate::shown::entry_name(store, entry), why });
    }
}

/// Bytes that are read for an entry, about.
fn cost(entry: &Entry) -> u64 {
    match entry.kind {
        EntryKind::Damaged(_) => 4096,
        _ => entry.payload_bytes.saturating_add(4096),
    }
}

/// A progress bar, or none where nobody looks.
pub fn bar(output: &Output, total_bytes: Option<u64>) -> ProgressBar {
    if !output.shows_progress() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match total_bytes {
        Some(total) => (
            ProgressBar::new(total),
            "{bar:24} {percent:>3}%  {binary_bytes:>11} of {binary_total_bytes:<11} {binary_bytes_per_sec:>13}  {eta:>4} left {msg}",
        ),
        None => (ProgressBar::new_spinner(), "{spinner} {human_pos} found"),
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.with_style(style.progress_chars("━╸─"))
}
