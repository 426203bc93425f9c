//! What became of the objects of a copy.

use std::time::{Duration, Instant};

use nixl_store::inspect::{Inspection, Survey, Unreadable};
use serde::Serialize;

use crate::output::{Failure, Output, bytes, count, style};

/// Objects that are named in text for each reason; JSON has all.
const NAMED_MAX: usize = 20;

/// Why an object was not copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Left {
    /// The other store had it.
    Kept,
    /// It is larger than the other store takes.
    TooLarge,
    /// It does not prove right.
    Damaged,
    /// It cannot be read.
    Unreadable,
    /// An engine changed it.
    InFlux,
    /// Nothing proves it.
    Unverified,
    /// The other store has no place for such a key.
    Refused,
    /// The other store could not take it.
    Failed,
}

#[derive(Debug, Serialize)]
struct Named {
    why: Left,
    key: String,
    message: String,
}

/// The sums of a copy.
#[derive(Debug)]
pub struct Report {
    from: String,
    copied: u64,
    copied_bytes: u64,
    kept: u64,
    left: Vec<Named>,
    /// Objects that the other store gave up for those that came.
    evicted: u64,
    /// Whether somebody said that it may.
    may_evict: bool,
    damaged_slots: u64,
    defects: Vec<String>,
    begun: Instant,
}

#[derive(Serialize)]
struct ReportJson<'a> {
    copied: u64,
    copied_bytes: u64,
    kept: u64,
    left: &'a [Named],
    evicted: u64,
    damaged_slots: u64,
    defects: &'a [String],
    seconds: f64,
}

impl Report {
    /// Of a copy that begins.
    pub fn new(from: &Inspection, survey: Survey) -> Report {
        Report {
            from: crate::shown::store(from.facts()),
            copied: 0,
            copied_bytes: 0,
            kept: 0,
            // What could not be listed is not copied either.
            left: survey
                .unreadable
                .into_iter()
                .map(|Unreadable { what, why }| Named { why: Left::Unreadable, key: what, message: why })
                .collect(),
            evicted: 0,
            may_evict: false,
            damaged_slots: survey.damaged.len() as u64,
            defects: survey.defects,
            begun: Instant::now(),
        }
    }

    /// An object is in the other store.
    pub fn copied(&mut self, bytes: u64) {
        self.copied += 1;
        self.copied_bytes += bytes;
    }

    /// An object is not, or was before.
    pub fn left(&mut self, why: Left, key: String, message: String) {
        if why == Left::Kept {
            self.kept += 1;
        } else {
            self.left.push(Named { why, key, message });
        }
    }

    /// So many objects left the other store meanwhile.
    pub fn evicted(&mut self, evicted: u64, may_evict: bool) {
        (self.evicted, self.may_evict) = (evicted, may_evict);
    }

    /// Whether all that could be proven is in the other store, and nothing left it that was not to.
    pub fn is_well(&self) -> bool {
        let has_kept_all = self.evicted == 0 || self.may_evict;
        has_kept_all && self.left.iter().all(|named| matches!(named.why, Left::Unverified | Left::InFlux))
    }

    /// Prints it.
    ///
    /// # Errors
    /// If standard output is gone.
    pub fn print(&self, output: &Output) -> Result<(), Failure> {
        let took = self.begun.elapsed();
        if output.is_json() {
            return output.json(&ReportJson {
                copied: self.copied,
                copied_bytes: self.copied_bytes,
                kept: self.kept,
                left: &self.left,
                evicted: self.evicted,
                damaged_slots: self.damaged_slots,
                defects: &self.defects,
                seconds: took.as_secs_f64(),
            });
        }
        output.text(self.to_text(took))
    }

    fn to_text(&self, took: Duration) -> String {
        let (good, meagre, bad, dim) = (style::GOOD, style::MEAGRE, style::BAD, style::DIM);
        let mut text = format!("{dim}from {}{dim:#}\n", self.from);
        let reasons = [
            (Left::TooLarge, bad, "too large"),
            (Left::Damaged, bad, "damaged"),
            (Left::Unreadable, bad, "unreadable"),
            (Left::Refused, bad, "no place"),
            (Left::Failed, bad, "failed"),
            (Left::InFlux, meagre, "in flux"),
            (Left::Unverified, meagre, "unverified"),
        ];
        for (why, style, name) in reasons {
            let mut named = self.left.iter().filter(|named| named.why == why);
            for Named { key, message, .. } in named.by_ref().take(NAMED_MAX) {
                let message = message.replace("; ", "\n    ");
                text.push_str(&format!("{style}{name}{style:#}  {key}\n    {message}\n"));
            }
            let more = named.count();
            if more > 0 {
                text.push_str(&format!("{dim}and {} more{dim:#}\n", count(more as u64)));
            }
        }
        for defect in &self.defects {
            text.push_str(&format!("{meagre}defect{meagre:#}  {defect}\n"));
        }
        let seconds = took.as_secs_f64();
        let rate = (self.copied_bytes as f64 / seconds.max(1e-9)) as u64;
        text.push_str(&format!(
            "{good}copied{good:#}     {:>12}  {} in {seconds:.1} s, {}/s\n",
            count(self.copied),
            bytes(self.copied_bytes),
            bytes(rate)
        ));
        if self.kept > 0 {
            text.push_str(&format!("kept       {:>12}  the other store had them\n", count(self.kept)));
        }
        if self.evicted > 0 {
            let style = if self.may_evict { meagre } else { bad };
            text.push_str(&format!(
                "{style}evicted{style:#}    {:>12}  the other store had no room for them\n",
                count(self.evicted)
            ));
        }
        if !self.left.is_empty() {
            text.push_str(&format!("{meagre}not copied{meagre:#} {:>12}\n", count(self.left.len() as u64)));
        }
        text
    }
}
