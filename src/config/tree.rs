//! YAML as a tree in which every value knows its line and keeps the spelling it had in the source.
//!
//! The spelling matters twice: `access_key: 0123` must stay `0123`, and LMCache reads YAML 1.1 while the parser
//! reads 1.2, so what a scalar means is decided later, by the setting that it belongs to ([`super::scalar`]).
//! The parser's own messages never leave this file as they are: they may quote the source, which holds credentials.

use std::{fmt, io};

use serde_core::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::granit_parser::ErrorKind;
use serde_yaml::{DuplicateKeyPolicy, ExternalMessageSource, NonFiniteFloatPolicy, Spanned};

use crate::sys::thread::spawn_scoped;

/// Deepest nesting of mappings and lists; LMCache's own files need three.
pub(super) const DEPTH_MAX: usize = 32;
/// Stack of the parsing thread, in bytes: four times what [`DEPTH_MAX`] levels need.
const STACK_BYTES: usize = 1 << 20;
/// Most values in a file, counting those that aliases repeat.
pub(super) const VALUES_MAX: usize = 50_000;

/// A value and the line it stands on. No `Debug`: it may be a credential.
#[derive(Clone)]
pub(super) struct Node {
    pub line: u32,
    pub value: Value,
}

/// What kind of value it is.
#[derive(Clone)]
pub(super) enum Value {
    Null,
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Map),
}

/// A value that is neither list nor mapping nor null.
#[derive(Clone)]
pub(super) struct Scalar {
    /// As in the source, without quotes and with escapes resolved.
    pub text: String,
    pub kind: ScalarKind,
}

/// What the value looks like, before anybody asks for it as something else.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ScalarKind {
    Text,
    Boolean,
    Number,
}

/// A mapping in the order of the file; the same key may occur twice.
#[derive(Clone)]
pub(super) struct Map {
    pub entries: Vec<Entry>,
}

/// A key with its value.
#[derive(Clone)]
pub(super) struct Entry {
    pub key: String,
    pub line: u32,
    pub value: Node,
}

/// Why a text is not a tree.
pub(super) struct Malformed {
    pub line: Option<u32>,
    pub reason: String,
}

/// Why there is no tree.
pub(super) enum Unread {
    /// The text is none.
    Malformed(Malformed),
    /// The system had no thread to read it on, which says nothing about the text.
    NoThread(io::Error),
}

impl Node {
    /// A text that did not come from YAML.
    pub fn text(text: String) -> Node {
        Node { line: 0, value: Value::Scalar(Scalar { text, kind: ScalarKind::Text }) }
    }
}

/// Reads one YAML document; an empty one is null.
///
/// It runs on a thread of its own: the parser takes some 6 KiB of stack for each level, and the engine may call open
/// from a thread with next to none. The thread also keeps a panic of the parser from its caller.
pub(super) fn parse(source: &str) -> Result<Node, Unread> {
    std::thread::scope(|scope| {
        let running = spawn_scoped(scope, "nixl_store_yaml", STACK_BYTES, || parse_here(source));
        let running = running.map_err(Unread::NoThread)?;
        let failed = |_| Err(Malformed { line: None, reason: String::from("the parser failed on it") });
        running.join().unwrap_or_else(failed).map_err(Unread::Malformed)
    })
}

fn parse_here(source: &str) -> Result<Node, Malformed> {
    let options = serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX,
            max_nodes: VALUES_MAX,
            max_anchors: VALUES_MAX,
            max_aliases: VALUES_MAX,
            max_recorded_anchor_events: VALUES_MAX.saturating_mul(2),
            max_merge_keys: VALUES_MAX,
        },
        alias_limits: serde_yaml::alias_limits! { max_total_replayed_events: VALUES_MAX },
        // Repeated keys reach the settings, which refuse their own and leave LMCache's alone, as PyYAML does.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        reject_unsupported_tags: true,
        // An access key like 12e99999 is no infinite number.
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        with_snippet: false,
    };
    let raw = serde_yaml::from_str_with_options::<Spanned<Raw>>(source, options)
        .map_err(|error| malformed(error.without_snippet()))?;
    build(raw, source)
}

/// What the parser hands over: shape and type, while the spelling is still only in the source.
enum Raw {
    Null,
    Boolean,
    Number,
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<Raw>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Raw, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Raw, E> {
        Ok(Raw::Boolean)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut map = Vec::new();
        while let Some(item) = items.next_entry()? {
            map.push(item);
        }
        Ok(Raw::Map(map))
    }
}

/// Joins shape and spelling. Recursion is bounded by [`DEPTH_MAX`].
fn build(raw: Spanned<Raw>, source: &str) -> Result<Node, Malformed> {
    // The use of an alias is the line that a person must look at, not the anchor.
    let line = u32::try_from(raw.referenced.line()).unwrap_or(u32::MAX);
    let spelled = spelling(&raw, source);
    let value = match raw.value {
        Raw::Null => Value::Null,
        Raw::Boolean => Value::Scalar(Scalar { text: spelled, kind: ScalarKind::Boolean }),
        Raw::Number => Value::Scalar(Scalar { text: spelled, kind: ScalarKind::Number }),
        Raw::Text(text) => Value::Scalar(Scalar { text, kind: ScalarKind::Text }),
        Raw::List(items) => {
            Value::List(items.into_iter().map(|item| build(item, source)).collect::<Result<_, _>>()?)
        }
        Raw::Map(pairs) => {
            let mut entries = Vec::with_capacity(pairs.len());
            for (key, value) in pairs {
                entries.push(entry(key, value, source)?);
            }
            Value::Map(Map { entries })
        }
    };
    Ok(Node { line, value })
}

fn entry(key: Spanned<Raw>, value: Spanned<Raw>, source: &str) -> Result<Entry, Malformed> {
    let key = build(key, source)?;
    let name = match key.value {
        Value::Scalar(scalar) => scalar.text,
        Value::Null => String::from("null"),
        Value::List(_) | Value::Map(_) => {
            return Err(Malformed {
                line: Some(key.line),
                reason: String::from("a list or mapping is used as a key; keys are plain words"),
            });
        }
    };
    // An older page of LMCache's documentation breaks a flow mapping with a backslash, as a shell would. YAML makes
    // the backslash part of the next key.
    let name = match name.strip_prefix('\\') {
        Some(rest) => rest.trim_start().to_owned(),
        None => name,
    };
    Ok(Entry { key: name, line: key.line, value: build(value, source)? })
}

/// The scalar as the file has it; quotes only remain around what a tag turned into a number.
fn spelling(raw: &Spanned<Raw>, source: &str) -> String {
    if !matches!(raw.value, Raw::Boolean | Raw::Number) {
        return String::new();
    }
    let span = raw.defined.span();
    let range = span.byte_offset().zip(span.byte_len()).and_then(|(offset, length)| {
        let start = usize::try_from(offset).ok()?;
        source.get(start..start.checked_add(usize::try_from(length).ok()?)?)
    });
    range.unwrap_or_default().trim_matches(['"', '\'']).to_owned()
}

/// Says what is wrong in words that hold nothing of the source.
fn malformed(error: &serde_yaml::Error) -> Malformed {
    use serde_yaml::Error;
    let line = error.location().and_then(|at| u32::try_from(at.line()).ok()).filter(|line| *line > 0);
    let reason = match error {
        Error::AliasError { error, .. } => malformed(error).reason,
        Error::ExternalMessage { source, .. } => syntax(source),
        Error::Eof { .. } => String::from("it ends too early"),
        Error::MultipleDocuments { .. } => {
            String::from("it holds a second document (after `---`); only one is read")
        }
        Error::UnknownAnchor { .. } => String::from("an alias names an anchor that is not defined above it"),
        Error::RecursiveReferencesRequireWeakTypes { .. } => String::from("an anchor contains its own alias"),
        Error::UnsupportedTag { .. } => String::from("it has a tag (`!…`); plain YAML is read, no tags"),
        Error::MergeValueNotMapOrSeqOfMaps { .. } => String::from("`<<` must merge a mapping"),
        Error::Budget { .. }
        | Error::AliasReplayCounterOverflow { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => too_large(),
        _ => String::from("it cannot be read as YAML"),
    };
    Malformed { line, reason }
}

fn syntax(source: &ExternalMessageSource) -> String {
    let ExternalMessageSource::Parser(error) = source else {
        return String::from("it cannot be read as YAML");
    };
    match error.kind() {
        ErrorKind::RecursionLimitExceeded => too_large(),
        ErrorKind::UnknownAnchor => String::from("an alias names an anchor that is not defined above it"),
        ErrorKind::UnexpectedCharacter { .. } => {
            String::from("a character that needs quotes stands where a value starts")
        }
        // These carry text of their own; all others are fixed phrases about YAML's grammar.
        ErrorKind::Custom(_) | ErrorKind::InputIo { .. } | ErrorKind::InputDecoding { .. } => {
            String::from("it cannot be read as YAML")
        }
        kind => kind.to_string(),
    }
}

fn too_large() -> String {
    format!(
        "it is nested deeper than {DEPTH_MAX} levels or has more than {VALUES_MAX} values, aliases expanded"
    )
}
