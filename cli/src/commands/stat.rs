//! `stat`: all about keys.

use nixl_store::inspect::{self, Entry, EntryKind, Inspection, Room, Verdict};
use nixl_store::layout::record::EffectiveKey;
use serde::Serialize;

use crate::args::{Global, Keys};
use crate::output::{Failure, Outcome, Output, bytes, count, style};
use crate::{key, place, shown};

/// What there is to say of one key.
#[derive(Debug, Serialize)]
struct Answer {
    key: String,
    stored: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blocks: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    modified: Option<String>,
    /// `proven`, `unverified`, `in flux`, `damaged`, `unreadable`.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// Prints what is known of the keys.
///
/// # Errors
/// If the store cannot be read.
pub fn run(wanted: &Keys, global: &Global, output: &Output) -> Result<Outcome, Failure> {
    let config = place::config(wanted.config.config.as_deref())?;
    let options = place::options(global, &key::parse(&wanted.namespace)?, place::logger(global)?);
    let store = Inspection::open(&config, &options)?;
    let namespace = inspect::namespace(&config, &options)?;
    let names = wanted.keys.iter().map(|text| key::parse(text)).collect::<Result<Vec<_>, _>>()?;
    let keys = names.iter().map(|name| EffectiveKey::new(&namespace, name)).collect::<Result<Vec<_>, _>>()?;
    let mut room = Room::default();
    let found = store.find(&keys, &mut room)?;
    let answers: Vec<Answer> = names
        .iter()
        .zip(found)
        .map(|(name, entry)| answer(&store, name, &namespace, entry, &mut room))
        .collect();
    let is_well =
        |answer: &Answer| answer.stored && matches!(answer.state, Some("proven" | "unverified" | "in flux"));
    let outcome = if answers.iter().all(is_well) { Outcome::Done } else { Outcome::Bad };
    outcome.behind(if output.is_json() {
        output.json(&answers)
    } else {
        let text: Vec<String> = answers.iter().map(text).collect();
        output.text(text.join("\n"))
    })
}

fn answer(
    store: &Inspection,
    name: &[u8],
    namespace: &[u8],
    entry: Option<Entry>,
    room: &mut Room,
) -> Answer {
    let mut answer = Answer {
        key: key::print(name),
        stored: false,
        namespace: (!namespace.is_empty()).then(|| key::print(namespace)),
        bytes: None,
        file: None,
        offset: None,
        place: None,
        blocks: None,
        generation: None,
        modified: None,
        state: None,
        why: None,
    };
    let Some(entry) = entry else { return answer };
    answer.stored = true;
    if let EntryKind::Unreadable(why) = entry.kind {
        (answer.place, answer.state, answer.why) =
            (Some(entry.place.to_string()), Some("unreadable"), Some(why));
        return answer;
    }
    answer.bytes = Some(entry.payload_bytes);
    answer.place = Some(entry.place.to_string());
    answer.modified = entry.modified.map(shown::time);
    answer.generation = entry.generation;
    let (state, why) = match store.prove(&entry, room) {
        Verdict::Proven(record) => {
            answer.bytes = Some(record.payload_bytes);
            answer.blocks = Some(record.blocks);
            answer.file = Some(record.file);
            answer.offset = Some(record.offset);
            answer.generation = answer.generation.is_some().then_some(record.generation);
            // The slot may hold another key by now.
            let is_same = entry.key.as_deref().is_none_or(|key| *key == *record.key);
            (if is_same { "proven" } else { "in flux" }, None)
        }
        Verdict::Gone => {
            answer.stored = false;
            return answer;
        }
        Verdict::InFlux => ("in flux", None),
        Verdict::Unverified => ("unverified", None),
        Verdict::Damaged(suspect) => ("damaged", Some(suspect.damage)),
        Verdict::Unreadable(why) => ("unreadable", Some(why)),
    };
    if entry.kind == EntryKind::Unverified {
        answer.generation = None;
    }
    (answer.state, answer.why) = (Some(state), why);
    answer
}

fn text(answer: &Answer) -> String {
    let heading = style::HEADING;
    let mut text = format!("{heading}{}{heading:#}\n", answer.key);
    let mut line = |name: &str, value: String| text.push_str(&format!("  {name:<11} {value}\n"));
    if let Some(namespace) = &answer.namespace {
        line("namespace", namespace.clone());
    }
    let (good, meagre, bad) = (style::GOOD, style::MEAGRE, style::BAD);
    if !answer.stored {
        line("state", format!("{meagre}not stored{meagre:#}"));
        return text;
    }
    if let Some(size) = answer.bytes {
        line("size", format!("{} ({} bytes)", bytes(size), count(size)));
    }
    match (&answer.file, answer.offset) {
        (Some(file), Some(0)) => line("file", file.clone()),
        (Some(file), Some(offset)) => {
            line("file", file.clone());
            line("offset", count(offset));
        }
        _ => line("place", answer.place.clone().unwrap_or_default()),
    }
    if let Some(slot) = answer.place.as_ref().and_then(|place| place.strip_prefix("slot ")) {
        line("slot", slot.to_owned());
    }
    if let Some(generation) = answer.generation {
        line("generation", format!("{} (each put of the pool has the next)", count(generation)));
    }
    if let Some(modified) = &answer.modified {
        line("written", modified.clone());
    }
    let state = match answer.state.unwrap_or_default() {
        "proven" => {
            let blocks = answer.blocks.unwrap_or_default();
            format!("{good}proves right{good:#}, {blocks} of {blocks} blocks of 64 KiB")
        }
        "in flux" => format!("{meagre}in flux{meagre:#}: an engine changed it while it was read"),
        "unverified" => format!("{meagre}unverified{meagre:#}: LMCache wrote it, without checksums"),
        state => format!("{bad}{state}{bad:#}: {}", answer.why.as_deref().unwrap_or_default()),
    };
    line("state", state);
    text
}
