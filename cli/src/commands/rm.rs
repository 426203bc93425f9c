//! `rm`: removes keys.

use nixl_store::error::Status;
use serde::Serialize;

use crate::args::{Global, Keys};
use crate::output::{Failure, Outcome, Output, style};
use crate::{key, place};

#[derive(Debug, Serialize)]
struct Answer<'a> {
    key: &'a str,
    /// `removed`, `pinned`, `not stored`, `failed`.
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// Removes the keys. One that cannot be removed keeps none of the others.
///
/// # Errors
/// If the store cannot be had.
pub fn run(wanted: &Keys, global: &Global, output: &Output) -> Result<Outcome, Failure> {
    let config = place::config(wanted.config.config.as_deref())?;
    let names = wanted.keys.iter().map(|text| key::parse(text)).collect::<Result<Vec<_>, _>>()?;
    let store = place::open_existing(&config, global, &key::parse(&wanted.namespace)?)?;
    let mut answers = Vec::with_capacity(names.len());
    for (key, name) in wanted.keys.iter().zip(&names) {
        let (outcome, why) = match store.remove(name) {
            Ok(Status::Ok) => ("removed", None),
            Ok(Status::Pinned) => ("pinned", None),
            Ok(_) => ("not stored", None),
            Err(error) => ("failed", Some(error.message().to_owned())),
        };
        answers.push(Answer { key, outcome, why });
    }
    store.close()?;
    let is_done = answers.iter().all(|answer| answer.outcome == "removed");
    let outcome = if is_done { Outcome::Done } else { Outcome::Bad };
    outcome.behind(if output.is_json() {
        output.json(&answers)
    } else {
        output.text(answers.iter().map(line).collect::<String>())
    })
}

fn line(answer: &Answer<'_>) -> String {
    let Answer { key, outcome, why } = answer;
    let style = match *outcome {
        "removed" => style::GOOD,
        "failed" => style::BAD,
        _ => style::MEAGRE,
    };
    let why = why.as_ref().map_or(String::new(), |why| format!("\n    {why}"));
    format!("{style}{outcome}{style:#}{:1$}{key}{why}\n", "", 12 - outcome.len())
}
