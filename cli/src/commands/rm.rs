//! `rm`: removes keys.

use nixl_store::error::Status;
use serde::Serialize;

use crate::args::{ConfigOption, Global};
use crate::output::{Failure, Outcome, Output, style};
use crate::{key, place};

/// Arguments of `rm`.
#[derive(Debug, clap::Args)]
pub struct Rm {
    #[command(flatten)]
    config: ConfigOption,
    /// The keys, as `ls` prints them
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<String>,
    /// Namespace of the keys
    #[arg(long, value_name = "TEXT", default_value = "")]
    namespace: String,
}

#[derive(Debug, Serialize)]
struct Answer<'a> {
    key: &'a str,
    outcome: &'static str,
}

/// Removes the keys.
///
/// # Errors
/// If the store cannot be had.
pub fn run(wanted: &Rm, global: &Global, output: &Output) -> Result<Outcome, Failure> {
    let config = place::config(wanted.config.config.as_deref())?;
    let names = wanted.keys.iter().map(|text| key::parse(text)).collect::<Result<Vec<_>, _>>()?;
    let store = place::open_existing(&config, global, &key::parse(&wanted.namespace)?)?;
    let mut answers = Vec::with_capacity(names.len());
    let mut outcome = Outcome::Done;
    for (text, name) in wanted.keys.iter().zip(&names) {
        let removed = store.remove(name)?;
        if removed != Status::Ok {
            outcome = Outcome::Bad;
        }
        let word = match removed {
            Status::Ok => "removed",
            Status::Pinned => "pinned",
            _ => "not stored",
        };
        answers.push(Answer { key: text, outcome: word });
    }
    store.close()?;
    if output.is_json() {
        output.json(&answers)?;
        return Ok(outcome);
    }
    let (good, meagre) = (style::GOOD, style::MEAGRE);
    let mut text = String::new();
    for Answer { key, outcome } in &answers {
        text.push_str(&match *outcome {
            "removed" => format!("{good}removed{good:#}     {key}\n"),
            other => format!("{meagre}{other}{meagre:#}{:1$}{key}\n", "", 12 - other.len()),
        });
    }
    output.text(text)?;
    Ok(outcome)
}
