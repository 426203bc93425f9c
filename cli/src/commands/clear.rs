//! `clear`: removes all keys.

use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;

use nixl_store::inspect::{EntryKind, Unreadable};
use serde::Serialize;

use crate::args::{Config, Global};
use crate::output::{Failure, Outcome, Output, count, style};
use crate::{many, place, shown};

/// Keys that are named of those that stay.
const NAMED_MAX: usize = 20;

/// Arguments of `clear`.
#[derive(Debug, clap::Args)]
pub struct Clear {
    #[command(flatten)]
    config: Config,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

#[derive(Debug, Serialize)]
struct Answer {
    removed: u64,
    left: u64,
    left_keys: Vec<String>,
    /// Places that could not be listed: what is in them stays.
    unreadable: usize,
    /// What kept the store from removing all that it was to.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// Removes everything.
///
/// # Errors
/// If the store cannot be had, or nobody says yes.
pub fn run(wanted: &Clear, global: &Global, output: &Output) -> Result<Outcome, Failure> {
    let config = place::config(wanted.config.config.as_deref())?;
    let seen = place::look(&config, global)?;
    if !wanted.yes {
        confirm(&shown::store(seen.facts()))?;
    }
    let store = place::open_existing(&config, global, b"")?;
    let before = store.stats()?.keys;
    // One part that cannot be removed keeps none of the others, so there is something to tell in any case.
    let (removed, why) = match store.clear() {
        Ok(removed) => (removed, None),
        Err(error) => (
            before.saturating_sub(store.stats().map_or(0, |stats| stats.keys)),
            Some(error.message().to_owned()),
        ),
    };
    store.close()?;
    // What is pinned, here or by another process, and what somebody put since.
    let mut left = Vec::new();
    let survey = seen.survey(&mut |entry| {
        left.push(entry);
        ControlFlow::Continue(())
    })?;
    let mut left = many::described(&seen, left)?;
    let others = left.iter().filter(|entry| entry.kind == EntryKind::Unverified).count();
    left.retain(|entry| entry.kind != EntryKind::Unverified);
    let answer = Answer {
        removed,
        left: left.len() as u64,
        left_keys: left.iter().take(NAMED_MAX).map(|entry| shown::entry_name(&seen, entry)).collect(),
        unreadable: survey.unreadable.len(),
        why,
    };
    let is_done = answer.left == 0 && answer.unreadable == 0 && answer.why.is_none();
    let outcome = if is_done { Outcome::Done } else { Outcome::Bad };
    outcome.behind(if output.is_json() {
        output.json(&answer)
    } else {
        let (good, meagre, bad) = (style::GOOD, style::MEAGRE, style::BAD);
        let mut text = format!("{good}removed{good:#} {} keys\n", count(removed));
        if answer.left > 0 {
            text.push_str(&format!(
                "{meagre}left{meagre:#} {} keys that are pinned, or were put meanwhile:\n",
                count(answer.left)
            ));
            answer.left_keys.iter().for_each(|key| text.push_str(&format!("  {key}\n")));
        }
        if others > 0 {
            text.push_str(&format!("left {others} files that LMCache wrote\n"));
        }
        for Unreadable { what, why } in survey.unreadable.iter().take(NAMED_MAX) {
            text.push_str(&format!("{bad}unreadable{bad:#} {what}\n    {why}\n"));
        }
        if let Some(why) = &answer.why {
            text.push_str(&format!("{bad}not all{bad:#} {why}\n"));
        }
        output.text(text)
    })
}

fn confirm(store: &str) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::new(
            "clear removes every key, of all namespaces, and there is no terminal to ask: say --yes",
        ));
    }
    anstream::eprint!("Remove every key, of all namespaces, from the {store}? [y/N] ");
    let mut answer = String::new();
    io::stderr()
        .flush()
        .and_then(|()| io::stdin().read_line(&mut answer))
        .map_err(|error| Failure::os("asking", &error))?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::new("nothing was removed")),
    }
}
