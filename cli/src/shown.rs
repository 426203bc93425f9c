//! What is found in a store, as text and as JSON.

use std::time::{Duration, SystemTime};

use nixl_store::inspect::{Entry, EntryKind, Facts, Inspection, Ownership, Unreadable};
use nixl_store::log::Utc;
use serde::Serialize;

use crate::key;
use crate::output::{bytes, count};

/// A store in JSON.
#[derive(Debug, Serialize)]
pub struct StoreJson<'a> {
    layout: &'a str,
    backend: &'a str,
    place: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    slots: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chunk_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chunk_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    misfit: Option<&'a str>,
}

/// An entry in JSON. Keys are as they are printed, and in hexadecimal.
#[derive(Debug, Serialize)]
pub struct EntryJson {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    bytes: u64,
    kind: &'static str,
    place: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    modified: Option<String>,
}

/// A part of a store that cannot be read, in JSON.
#[derive(Debug, Serialize)]
pub struct UnreadableJson<'a> {
    what: &'a str,
    why: &'a str,
}

/// Such parts for `--json`.
pub fn unreadable_json(unreadable: &[Unreadable]) -> Vec<UnreadableJson<'_>> {
    unreadable.iter().map(|Unreadable { what, why }| UnreadableJson { what, why }).collect()
}

/// A store for `--json`.
pub fn store_json(facts: &Facts) -> StoreJson<'_> {
    StoreJson {
        layout: facts.layout,
        backend: facts.backend.name(),
        place: &facts.place,
        slots: facts.pool.map(|pool| pool.slots),
        chunk_bytes: facts.pool.map(|pool| pool.chunk_bytes),
        chunk_size: facts.pool.map(|pool| pool.chunk_size_tokens),
        owner: facts.owner.as_ref().filter(|owner| **owner != Ownership::Free).map(Ownership::to_string),
        misfit: facts.misfit.as_deref(),
    }
}

/// An entry for `--json`.
pub fn entry_json(store: &Inspection, entry: &Entry) -> EntryJson {
    let names = store.names(entry);
    EntryJson {
        key: names.map(|(_, name)| key::print(name)),
        key_hex: names.map(|(_, name)| key::hex(name)),
        namespace: names.map(|(namespace, _)| key::print(namespace)),
        bytes: entry.payload_bytes,
        kind: match entry.kind {
            EntryKind::Damaged(_) => "damaged",
            EntryKind::Unreadable(_) => "unreadable",
            EntryKind::Unverified => "unverified",
            EntryKind::Record | EntryKind::Unknown => "record",
        },
        place: entry.place.to_string(),
        generation: entry.generation,
        modified: entry.modified.map(time),
    }
}

/// A store in one line.
pub fn store(facts: &Facts) -> String {
    let mut text = match facts.pool {
        Some(pool) => {
            format!("static pool, {} slots of {}", count(pool.slots.into()), bytes(pool.chunk_bytes))
        }
        None => facts.layout.replace('/', " store, layout "),
    };
    text.push_str(&format!(", {}", facts.place));
    match &facts.owner {
        None | Some(Ownership::Free) => {}
        Some(Ownership::Held { by }) => text.push_str(&format!("; in use by {by}")),
        Some(Ownership::Unknown { last }) => {
            text.push_str(&format!("; whether it is in use cannot be told, last by {last}"))
        }
    }
    text
}

/// A namespace and a key as `ls` and `verify` print them.
pub fn entry_name(store: &Inspection, entry: &Entry) -> String {
    match store.names(entry) {
        Some((b"", name)) => key::print(name),
        Some((namespace, name)) => format!("[{}] {}", key::print(namespace), key::print(name)),
        None => format!("({})", entry.place),
    }
}

/// How long ago that was, in the largest unit: `12 s`, `3 min`, `5 h`, `2 d`.
pub fn age(then: SystemTime) -> String {
    let age = SystemTime::now().duration_since(then).unwrap_or_default();
    duration(age)
}

/// A duration in its largest unit.
pub fn duration(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ ..100 => format!("{seconds} s"),
        seconds @ ..6000 => format!("{} min", seconds / 60),
        seconds @ ..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// A moment as RFC 3339 has it, in UTC.
pub fn time(moment: SystemTime) -> String {
    Utc(moment).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_and_ages_read_well() {
        let moment = SystemTime::UNIX_EPOCH + Duration::from_secs(1_796_054_400);
        assert_eq!(time(moment), "2026-11-30T16:00:00Z");
        for (seconds, text) in [(5, "5 s"), (99, "99 s"), (100, "1 min"), (7200, "2 h"), (172_800, "2 d")] {
            assert_eq!(duration(Duration::from_secs(seconds)), text);
        }
    }
}
