//! `copy`: all that a store holds into another one, whatever they lie on.
//!
//! | file | owns |
//! | --- | --- |
//! | `names.rs` | under which key something is in the other store |
//! | `room.rs` | whether the other store has room |
//! | `transfer.rs` | windows of proven objects, read while those before are put |
//! | `report.rs` | what became of them |

mod names;
mod report;
mod room;
mod transfer;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use nixl_store::inspect::{EntryKind, Inspection};
use nixl_store::store::Store;

use self::names::Naming;
use self::report::Report;
use super::ls::Filter;
use super::verify::bar;
use crate::args::Global;
use crate::output::{Failure, Outcome, Output, style};
use crate::place;

/// Arguments of `copy`.
#[derive(Debug, clap::Args)]
pub struct Copy {
    /// YAML file of the store that is read, which may be in use
    from: PathBuf,
    /// YAML file of the store that is put into
    to: PathBuf,
    /// Only keys that begin with this
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    /// Only keys of this namespace
    #[arg(long, value_name = "TEXT")]
    namespace: Option<String>,
    /// Leave keys as they are that the other store has already (the default)
    #[arg(long, conflicts_with = "replace")]
    keep: bool,
    /// Put keys again that the other store has already
    #[arg(long)]
    replace: bool,
    /// Go on where the other store has less room than is needed, and have it evict
    #[arg(long)]
    evict: bool,
}

/// Copies.
///
/// # Errors
/// If either store cannot be had, or the copy was interrupted.
pub fn run(wanted: &Copy, global: &Global, output: &Output) -> Result<Outcome, Failure> {
    let (from_config, to_config) = (place::config(Some(&wanted.from))?, place::config(Some(&wanted.to))?);
    let filter = Filter::new(wanted.prefix.as_deref(), wanted.namespace.as_deref(), &from_config, global)?;
    let from = place::look(&from_config, global)?;
    let to = open_target(&from, &to_config, global)?;
    let naming = Naming::new(&from_config, &to_config, global);
    let mut entries = Vec::new();
    let listing = bar(output, None);
    let survey = from.survey(&mut |entry| {
        entries.push(entry);
        listing.inc(1);
        ControlFlow::Continue(())
    })?;
    listing.finish_and_clear();
    // A static pool tells them in the order in which they leave; others say when each was written.
    entries.sort_by_key(|entry| entry.modified);
    // Where keys are known already, the rest need not be read to be left out.
    entries.retain(|entry| !entry.is_described() || entry.kind != EntryKind::Record || filter.takes(entry));
    let mut report = Report::new(&from, survey);
    let keeps = !wanted.replace;
    if !wanted.evict {
        room::check(&from, &to, &to_config, global, &mut entries, &filter, &naming)?;
    }
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // The second one ends the process as ever; what is under way then is stored whole or not at all.
        signal_hook::flag::register_conditional_default(signal, Arc::clone(&stop))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)))
            .map_err(|error| Failure::os("watching for Ctrl-C", &error))?;
    }
    let evicted_before = to.stats()?.totals.evictions;
    let copied = transfer::run(&from, &to, entries, &filter, &naming, keeps, &stop, output, &mut report);
    // A static pool counts what a put of the same key replaces among its evictions, and has told before whether there is room.
    if to_config.pool_size == 0 {
        report.evicted(to.stats()?.totals.evictions.saturating_sub(evicted_before), wanted.evict);
    }
    let flushed = to.flush();
    let closed = to.close();
    copied?;
    flushed?;
    closed?;
    let printed = report.print(output);
    if stop.load(std::sync::atomic::Ordering::Relaxed) {
        let meagre = style::MEAGRE;
        output.remark(format_args!(
            "{meagre}interrupted{meagre:#}: run it again, and it goes on where it ended"
        ));
        return Outcome::Bad.behind(printed);
    }
    let outcome = if report.is_well() { Outcome::Done } else { Outcome::Bad };
    outcome.behind(printed)
}

/// Opens the store that is put into, and makes it where there is none.
fn open_target(
    from: &Inspection,
    config: &nixl_store::config::Config,
    global: &Global,
) -> Result<Store, Failure> {
    let mut options = place::options(global, b"", place::logger(global)?);
    if let Ok(seen) = Inspection::open(config, &options) {
        if seen.facts().place == from.facts().place && seen.facts().layout == from.facts().layout {
            return Err(Failure::new("FROM and TO are the same store"));
        }
        options.chunk_bytes = options.chunk_bytes.or(seen.facts().pool.map(|pool| pool.chunk_bytes));
    } else if config.pool_size > 0 && config.store.chunk_bytes.is_none() && config.buffer_bytes.is_none() {
        // A new pool whose configuration leaves the size to the engine takes what the other one takes.
        options.chunk_bytes = options.chunk_bytes.or(from.facts().pool.map(|pool| pool.chunk_bytes));
    }
    Ok(Store::open(config, &options)?)
}
