//! `verify`: every record against its checksums.
//!
//! | file | owns |
//! | --- | --- |
//! | `pass.rs` | reading all there is, on several threads, no faster than wanted |
//! | `remove.rs` | what is damaged, taken out |
//! | `report.rs` | what is said at the end |

mod pass;
mod remove;
mod report;

use nixl_store::inspect::Ownership;

pub use self::pass::bar;
use self::report::Report;
use crate::args::{Config, Global};
use crate::output::{Failure, Outcome, Output};
use crate::{place, size};

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
pub struct Verify {
    #[command(flatten)]
    config: Config,
    /// Remove what is damaged; a static pool must not be in use
    #[arg(long)]
    remove: bool,
    /// Read at most so many bytes a second, as an engine wants to read too: 200M, 1.5G
    #[arg(long, value_name = "BYTES", value_parser = size::parse)]
    limit_rate: Option<u64>,
}

/// Reads and judges everything.
///
/// # Errors
/// If the store cannot be read.
pub fn run(wanted: &Verify, global: &Global, output: &Output) -> Result<Outcome, Failure> {
    let config = place::config(wanted.config.config.as_deref())?;
    let store = place::look(&config, global)?;
    let facts = store.facts();
    if wanted.remove
        && let Some(Ownership::Held { by }) = &facts.owner
    {
        return Err(Failure::new(format!(
            "--remove: the pool at {} is in use by {by}, and only the owner of a static pool can remove from it: stop that process \
             first. Without --remove it can be verified now",
            facts.place
        )));
    }
    if let Some(misfit) = facts.misfit.as_ref().filter(|_| wanted.remove) {
        return Err(Failure::new(format!("--remove: {misfit}")));
    }
    let passed = pass::run(&store, wanted.limit_rate, output)?;
    let mut report = Report::new(&store, passed);
    let mut removed = Ok(());
    if wanted.remove && report.has_removable() {
        removed = remove::run(&store, &config, global, &mut report);
    }
    // Hours of reading may stand behind it, so it is printed whatever became of the removal.
    let outcome = if report.is_well() { Outcome::Done } else { Outcome::Bad };
    let printed = outcome.behind(report.print(output));
    removed.and(printed)
}
