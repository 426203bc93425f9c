//! What `verify` says at the end.

use nixl_store::inspect::{Inspection, Suspect, Unreadable};
use serde::Serialize;

use super::pass::Passed;
use crate::output::{Failure, Output, bytes, count, style};
use crate::shown::{self, StoreJson, UnreadableJson};

/// Records in flux, unreadable ones, and damage are each listed up to so many in text; JSON has all.
const LISTED_MAX: usize = 200;

/// What became of something damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is there as it was.
    Left,
    /// It is gone.
    Removed,
    /// Somebody pins it.
    Pinned,
    /// It is another one by now.
    Changed,
    /// It is in no index, so it is never served, and its slot is found free by the next open.
    Free,
    /// An open has found its slot free.
    Freed,
    /// It could not be removed, and why.
    Failed(String),
}

impl Fate {
    /// What JSON calls it.
    fn name(&self) -> &'static str {
        match self {
            Fate::Left => "left",
            Fate::Removed => "removed",
            Fate::Pinned => "pinned",
            Fate::Changed => "changed",
            Fate::Free => "free",
            Fate::Freed => "freed",
            Fate::Failed(_) => "failed",
        }
    }

    fn why(&self) -> Option<&str> {
        match self {
            Fate::Failed(why) => Some(why),
            _ => None,
        }
    }
}

/// All that was found, and what became of it.
pub struct Report<'a> {
    store: &'a Inspection,
    passed: Passed,
    fates: Vec<Fate>,
    /// An owner has made the pool's files whole since.
    is_mended: bool,
}

#[derive(Serialize)]
struct DamageJson<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    place: String,
    damage: &'a str,
    fate: &'static str,
    /// Why it could not be removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
}

#[derive(Serialize)]
struct ReportJson<'a> {
    store: StoreJson<'a>,
    source: &'a str,
    proven: u64,
    proven_bytes: u64,
    in_flux: u64,
    unverified: u64,
    unverified_bytes: u64,
    outdated: u64,
    damaged: Vec<DamageJson<'a>>,
    unreadable: Vec<UnreadableJson<'a>>,
    defects: &'a [String],
    seconds: f64,
}

impl<'a> Report<'a> {
    /// Of a pass.
    pub fn new(store: &'a Inspection, passed: Passed) -> Report<'a> {
        // Without a key it was found by reading trailers: no index has it, and the next put takes its slot.
        let is_pool = store.facts().pool.is_some();
        let fate = |suspect: &Suspect| match is_pool && suspect.entry.names().is_none() && suspect.is_slot() {
            true => Fate::Free,
            false => Fate::Left,
        };
        let fates = passed.damaged.iter().map(fate).collect();
        Report { store, passed, fates, is_mended: false }
    }

    /// Whether there is anything to remove, or for an owner to mend.
    pub fn has_removable(&self) -> bool {
        !self.fates.is_empty() || !self.passed.survey.defects.is_empty()
    }

    /// Whether all that is damaged are slots of files.
    pub fn has_slots_alone(&self) -> bool {
        self.passed.damaged.iter().all(Suspect::is_slot)
    }

    /// An owner had the pool, and closed it.
    pub fn mended(&mut self) {
        self.is_mended = true;
    }

    /// What is damaged, and what becomes of it.
    pub fn damaged_mut(&mut self) -> impl Iterator<Item = (&Suspect, &mut Fate)> {
        self.passed.damaged.iter().zip(&mut self.fates)
    }

    /// Whether no damage is left, and all was read.
    pub fn is_well(&self) -> bool {
        let is_gone = |fate: &Fate| matches!(fate, Fate::Removed | Fate::Changed | Fate::Freed);
        let is_whole = self.is_mended || self.passed.survey.defects.is_empty();
        is_whole && self.fates.iter().all(is_gone) && self.passed.unreadable.is_empty()
    }

    /// Prints it.
    ///
    /// # Errors
    /// If standard output is gone.
    pub fn print(&self, output: &Output) -> Result<(), Failure> {
        if output.is_json() { output.json(&self.to_json()) } else { output.text(self.to_text()) }
    }

    fn to_json(&self) -> ReportJson<'_> {
        let passed = &self.passed;
        let damaged = passed.damaged.iter().zip(&self.fates).map(|(suspect, fate)| DamageJson {
            key: self.store.names(&suspect.entry).map(|(_, name)| crate::key::print(name)),
            namespace: self.store.names(&suspect.entry).map(|(namespace, _)| crate::key::print(namespace)),
            place: suspect.entry.place.to_string(),
            damage: &suspect.damage,
            fate: fate.name(),
            why: fate.why(),
        });
        ReportJson {
            store: shown::store_json(self.store.facts()),
            source: passed.survey.source,
            proven: passed.proven,
            proven_bytes: passed.proven_bytes,
            in_flux: passed.in_flux,
            unverified: passed.unverified,
            unverified_bytes: passed.unverified_bytes,
            outdated: passed.survey.outdated,
            damaged: damaged.collect(),
            unreadable: shown::unreadable_json(&passed.unreadable),
            defects: &passed.survey.defects,
            seconds: passed.took.as_secs_f64(),
        }
    }

    fn to_text(&self) -> String {
        let passed = &self.passed;
        let (good, meagre, bad, dim) = (style::GOOD, style::MEAGRE, style::BAD, style::DIM);
        let mut text = format!("{dim}{}{dim:#}\n", shown::store(self.store.facts()));
        for (suspect, fate) in passed.damaged.iter().zip(&self.fates).take(LISTED_MAX) {
            let what = match fate {
                Fate::Left => "damaged",
                Fate::Removed => "damaged, removed",
                Fate::Pinned => "damaged, pinned and left",
                Fate::Changed => "damaged, and replaced meanwhile",
                Fate::Free => "damaged, in no index",
                Fate::Freed => "damaged, freed",
                Fate::Failed(_) => "damaged, not removed",
            };
            let name = shown::entry_name(self.store, &suspect.entry);
            let damage = suspect.damage.replace("; ", "\n    ");
            text.push_str(&format!("{bad}{what}{bad:#}  {name}\n    {damage}\n"));
            if let Some(why) = fate.why() {
                text.push_str(&format!("    {why}\n"));
            }
        }
        for Unreadable { what, why } in passed.unreadable.iter().take(LISTED_MAX) {
            text.push_str(&format!("{bad}unreadable{bad:#}  {what}\n    {why}\n"));
        }
        for defect in &passed.survey.defects {
            let mended = if self.is_mended { ", mended" } else { "" };
            text.push_str(&format!("{bad}defect{mended}{bad:#}  {defect}\n"));
        }
        let unlisted = passed.damaged.len().max(passed.unreadable.len()).saturating_sub(LISTED_MAX);
        if unlisted > 0 {
            text.push_str(&format!("{dim}and {} more: --json lists all{dim:#}\n", count(unlisted as u64)));
        }
        let seconds = passed.took.as_secs_f64();
        let rate = (passed.proven_bytes as f64 / seconds.max(1e-9)) as u64;
        let mut line = |style: anstyle::Style, name: &str, number: u64, note: &str| {
            let style = if number > 0 { style } else { dim };
            let line = format!("{style}{name:<11}{style:#}{:>12}  {note}", count(number));
            text.push_str(line.trim_end());
            text.push('\n');
        };
        let note = format!("{} in {seconds:.1} s, {}/s", bytes(passed.proven_bytes), bytes(rate));
        line(good, "proven", passed.proven, &note);
        let removed = self.fates.iter().filter(|fate| **fate == Fate::Removed).count();
        let note =
            if removed > 0 { format!("{} of them removed", count(removed as u64)) } else { String::new() };
        line(bad, "damaged", passed.damaged.len() as u64, &note);
        line(bad, "unreadable", passed.unreadable.len() as u64, "");
        if passed.in_flux > 0 {
            line(meagre, "in flux", passed.in_flux, "changed by an engine while they were read");
        }
        if passed.unverified > 0 {
            let note = format!("{}, written by LMCache, without checksums", bytes(passed.unverified_bytes));
            line(meagre, "unverified", passed.unverified, &note);
        }
        if passed.survey.outdated > 0 {
            line(dim, "outdated", passed.survey.outdated, "of keys that have a newer record");
        }
        if self.fates.contains(&Fate::Left) {
            text.push_str("Gets of damaged keys are misses. verify --remove takes them out.\n");
        }
        text
    }
}
