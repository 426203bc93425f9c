//! `ls`: the keys in a store, a line each.

use std::ops::ControlFlow;

use clap::ValueEnum;
use nixl_store::inspect::{self, Entry, EntryKind, Inspection, Survey, Unreadable};
use nixl_store::log::Logger;

use crate::args::{Config, Global};
use crate::output::{Failure, Outcome, Output, bytes, count, style};
use crate::{key, many, place, shown};

/// Entries that are looked at, and printed, at a time.
const GROUP_ENTRIES: usize = 512;

/// Arguments of `ls`.
#[derive(Debug, clap::Args)]
pub struct Ls {
    #[command(flatten)]
    config: Config,
    /// Also print where each record is and when it was written
    #[arg(short, long)]
    long: bool,
    /// Order of the keys; other than `stored` all are read before the first is printed
    #[arg(long, value_name = "ORDER", default_value = "stored")]
    sort: Sort,
    /// Turn the order around
    #[arg(short, long)]
    reverse: bool,
    /// Only keys that begin with this
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    /// Only keys of this namespace
    #[arg(long, value_name = "TEXT")]
    namespace: Option<String>,
    /// At most so many keys
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

/// Orders of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Sort {
    /// As the store tells them: a static pool those first that leave first
    Stored,
    /// By key
    Key,
    /// The smallest first
    Size,
    /// The oldest first
    Age,
}

/// Which entries are wanted.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    prefix: Option<Vec<u8>>,
    namespace: Option<Vec<u8>>,
}

impl Filter {
    /// From the arguments, where keys are as they are printed. A namespace is this worker's in the store of `config`.
    ///
    /// # Errors
    /// If they are not, or the store has no place for a namespace.
    pub fn new(
        prefix: Option<&str>,
        namespace: Option<&str>,
        config: &nixl_store::config::Config,
        global: &Global,
    ) -> Result<Filter, Failure> {
        let whole = |text| -> Result<Vec<u8>, Failure> {
            let options = place::options(global, &key::parse(text)?, Logger::silent());
            Ok(inspect::namespace(config, &options)?)
        };
        Ok(Filter {
            prefix: prefix.map(key::parse).transpose()?,
            namespace: namespace.map(whole).transpose()?,
        })
    }

    /// Whether a described entry is wanted; one without a key only if all are.
    pub fn takes(&self, entry: &Entry) -> bool {
        match entry.names() {
            Some((namespace, name)) => {
                self.prefix.as_ref().is_none_or(|prefix| name.starts_with(prefix))
                    && self.namespace.as_ref().is_none_or(|wanted| wanted == namespace)
            }
            None => self.prefix.is_none() && self.namespace.is_none(),
        }
    }
}

/// Prints the keys.
///
/// # Errors
/// If the store cannot be read.
pub fn run(wanted: &Ls, global: &Global, output: &Output) -> Result<Outcome, Failure> {
    let config = place::config(wanted.config.config.as_deref())?;
    let store = place::look(&config, global)?;
    let filter = Filter::new(wanted.prefix.as_deref(), wanted.namespace.as_deref(), &config, global)?;
    let mut list = List { wanted, output, store: &store, filter, printed: 0, bytes: 0, kept: Vec::new() };
    list.begin()?;
    let survey = list.survey()?;
    list.end(&survey)?;
    Ok(Outcome::Done)
}

struct List<'a> {
    wanted: &'a Ls,
    output: &'a Output,
    store: &'a Inspection,
    filter: Filter,
    printed: u64,
    bytes: u64,
    /// Of an order that is known at the end alone.
    kept: Vec<Entry>,
}

impl List<'_> {
    fn survey(&mut self) -> Result<Survey, Failure> {
        let (mut group, mut failure) = (Vec::with_capacity(GROUP_ENTRIES), None);
        let store = self.store;
        let survey = store.survey(&mut |entry| {
            group.push(entry);
            if group.len() < GROUP_ENTRIES {
                return ControlFlow::Continue(());
            }
            match self.take(std::mem::take(&mut group)) {
                Ok(flow) => flow,
                Err(error) => {
                    failure = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        if let Some(failure) = failure {
            return Err(failure);
        }
        if !self.is_full() {
            // Whether there is more to come is of no matter at the end.
            let _ = self.take(group)?;
        }
        let mut kept = std::mem::take(&mut self.kept);
        match self.wanted.sort {
            Sort::Key => kept.sort_by(|a, b| (a.names(), &a.place).cmp(&(b.names(), &b.place))),
            Sort::Size => kept.sort_by_key(|entry| entry.payload_bytes),
            Sort::Age => kept.sort_by_key(|entry| (entry.modified, entry.generation)),
            Sort::Stored => {}
        }
        if self.wanted.reverse {
            kept.reverse();
        }
        kept.truncate(self.wanted.limit.unwrap_or(usize::MAX));
        self.print(&kept)?;
        Ok(survey)
    }

    fn is_streaming(&self) -> bool {
        self.wanted.sort == Sort::Stored && !self.wanted.reverse
    }

    fn is_full(&self) -> bool {
        self.is_streaming() && self.wanted.limit.is_some_and(|limit| self.printed >= limit as u64)
    }

    fn take(&mut self, group: Vec<Entry>) -> Result<ControlFlow<()>, Failure> {
        let mut entries = many::described(self.store, group)?;
        entries.retain(|entry| self.filter.takes(entry));
        if self.is_streaming() {
            let left =
                self.wanted.limit.map_or(usize::MAX, |limit| limit.saturating_sub(self.printed as usize));
            entries.truncate(left);
            self.print(&entries)?;
        } else {
            self.kept.append(&mut entries);
        }
        Ok(if self.is_full() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    fn begin(&self) -> Result<(), Failure> {
        if self.output.is_json() {
            let store = serde_json::to_string(&shown::store_json(self.store.facts())).unwrap_or_default();
            return self.output.raw(format!("{{\"store\": {store},\n \"entries\": [").as_bytes());
        }
        let heading = style::HEADING;
        self.output.text(match self.wanted.long {
            true => format!("{heading}{:>14}  {:<20}  {:<32}  KEY{heading:#}\n", "BYTES", "WRITTEN", "PLACE"),
            false => format!("{heading}{:>10}  {:>9}  KEY{heading:#}\n", "SIZE", "WRITTEN"),
        })
    }

    fn print(&mut self, entries: &[Entry]) -> Result<(), Failure> {
        let mut text = String::new();
        for entry in entries {
            self.bytes = self.bytes.saturating_add(entry.payload_bytes);
            if self.output.is_json() {
                let document =
                    serde_json::to_string(&shown::entry_json(self.store, entry)).unwrap_or_default();
                text.push_str(if self.printed == 0 { "\n  " } else { ",\n  " });
                text.push_str(&document);
            } else {
                self.line(entry, &mut text);
            }
            self.printed += 1;
        }
        if self.output.is_json() { self.output.raw(text.as_bytes()) } else { self.output.text(text) }
    }

    fn line(&self, entry: &Entry, text: &mut String) {
        let (dim, bad, meagre) = (style::DIM, style::BAD, style::MEAGRE);
        let name = shown::entry_name(self.store, entry);
        let note = match &entry.kind {
            EntryKind::Damaged(why) | EntryKind::Unreadable(why) => format!("  {bad}{why}{bad:#}"),
            EntryKind::Unverified => format!("  {meagre}LMCache's, without checksums{meagre:#}"),
            _ => String::new(),
        };
        let generation = entry.generation.map(|generation| format!("put {generation}"));
        let line = if self.wanted.long {
            let written = entry.modified.map(shown::time).or(generation).unwrap_or_default();
            // A name in the layout lmcache is the key once more.
            let place = match entry.place.to_string() {
                place if place.len() > 32 => "-".to_owned(),
                place => place,
            };
            format!(
                "{:>14}  {dim}{written:<20}  {place:<32}{dim:#}  {name}{note}\n",
                count(entry.payload_bytes)
            )
        } else {
            let written = entry.modified.map(shown::age).or(generation).unwrap_or_default();
            format!("{:>10}  {dim}{written:>9}{dim:#}  {name}{note}\n", bytes(entry.payload_bytes))
        };
        text.push_str(&line);
    }

    fn end(&self, survey: &Survey) -> Result<(), Failure> {
        if self.output.is_json() {
            let defects = serde_json::to_string(&survey.defects).unwrap_or_default();
            return self.output.raw(
                format!(
                    "\n ],\n \"keys\": {}, \"bytes\": {}, \"source\": \"{}\",\n \"damaged_slots\": {}, \"unreadable\": {}, \"defects\": {defects}}}\n",
                    self.printed,
                    self.bytes,
                    survey.source,
                    survey.damaged.len(),
                    survey.unreadable.len()
                )
                .as_bytes(),
            );
        }
        let (dim, meagre) = (style::DIM, style::MEAGRE);
        let keys = if self.printed == 1 { "key" } else { "keys" };
        self.output.remark(format_args!(
            "{dim}{} {keys}, {}, from {}{dim:#}",
            count(self.printed),
            bytes(self.bytes),
            survey.source
        ));
        self.output.remark(format_args!("{dim}{}{dim:#}", shown::store(self.store.facts())));
        for defect in &survey.defects {
            self.output.remark(format_args!("{meagre}{defect}{meagre:#}"));
        }
        if !survey.damaged.is_empty() {
            self.output.remark(format_args!(
                "{meagre}{} slots hold no record of theirs: see nixl-store verify{meagre:#}",
                survey.damaged.len()
            ));
        }
        if let Some(Unreadable { what, why }) = survey.unreadable.first() {
            let more = match survey.unreadable.len() - 1 {
                0 => String::new(),
                more => format!(" (and {more} more places)"),
            };
            self.output.remark(format_args!("{meagre}could not be read: {what}: {why}{more}{meagre:#}"));
        }
        if let Some(misfit) = &self.store.facts().misfit {
            self.output.remark(format_args!("{meagre}{misfit}{meagre:#}"));
        }
        Ok(())
    }
}
