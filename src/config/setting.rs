//! One setting that was found: where it stands, how it is read, and how it is refused.
//!
//! Every refusal goes through [`Setting::refuse`], so that each names the place, the key, the value and what is
//! allowed, and none shows a credential.

use std::fmt;
use std::ops::RangeInclusive;

use super::scalar;
use super::tree::{Map, Node, Scalar, ScalarKind, Value};
use crate::error::{Error, Result, Status};

/// Longest piece of a value that a message repeats, in characters.
const SHOWN_CHARACTERS_MAX: usize = 120;

/// Where a value was written.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    /// The file, as messages name it.
    File(String),
    /// An environment variable.
    Variable(&'static str),
}

/// A place for messages: `file:line`, or a variable.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub origin: &'a Origin,
    pub line: u32,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.origin {
            Origin::File(path) => write!(f, "{path}:{}", self.line),
            Origin::Variable(name) => write!(f, "${name}"),
        }
    }
}

impl Place<'_> {
    /// A configuration error at this place.
    pub fn error(&self, message: impl fmt::Display) -> Error {
        Error::new(Status::Config, format!("{self}: {message}"))
    }
}

/// A mapping of settings and what belongs in front of their names.
pub(super) struct Level<'a> {
    /// `""`, `"extra_config."` or `"extra_config.nixl_backend_params."`.
    pub prefix: &'static str,
    pub map: &'a Map,
    /// Where the mapping itself stands.
    pub place: Place<'a>,
    /// The values stand on lines of their own; false for JSON in a string or a variable.
    pub has_lines: bool,
}

impl<'a> Level<'a> {
    /// The setting of this name; null counts as absent, as LMCache's defaults are null.
    ///
    /// # Errors
    /// The key stands there twice: PyYAML takes the last, a reader often the first.
    pub fn find(&self, name: &str) -> Result<Option<Setting<'a>>> {
        let mut found = self.map.entries.iter().filter(|entry| entry.key == name);
        let Some(first) = found.next() else { return Ok(None) };
        if let Some(second) = found.next() {
            let places = if self.has_lines {
                format!(" (lines {} and {})", first.line, second.line)
            } else {
                String::new()
            };
            let at = self.at(second.line);
            return Err(at.error(format_args!("{}{name} is given twice{places}; allowed: once", self.prefix)));
        }
        match first.value.value {
            Value::Null => Ok(None),
            _ => Ok(Some(self.setting(&first.key, first.line, &first.value))),
        }
    }

    /// The setting behind an entry of this level.
    pub fn setting(&self, key: &str, line: u32, node: &'a Node) -> Setting<'a> {
        let key = format!("{}{}", self.prefix, shown_name(key));
        Setting { key, place: self.at(line), has_lines: self.has_lines, node }
    }

    /// An error about something that is not there.
    pub fn missing(&self, name: &str, allowed: impl fmt::Display) -> Error {
        self.place.error(format_args!("{}{name} is missing; allowed: {allowed}", self.prefix))
    }

    /// The place of a line of this level.
    pub fn at(&self, line: u32) -> Place<'a> {
        if self.has_lines { Place { origin: self.place.origin, line } } else { self.place }
    }
}

/// A setting that is present.
pub(super) struct Setting<'a> {
    /// With its level: `extra_config.nixl_path`.
    pub key: String,
    pub place: Place<'a>,
    has_lines: bool,
    pub node: &'a Node,
}

impl<'a> Setting<'a> {
    /// The error for a value that cannot be.
    pub fn refuse(&self, allowed: impl fmt::Display) -> Error {
        self.refuse_value(self.node, allowed)
    }

    /// The error for one value of a list.
    pub fn refuse_value(&self, node: &Node, allowed: impl fmt::Display) -> Error {
        let shown = describe(&self.key, node);
        let inner = self.has_lines && !std::ptr::eq(node, self.node);
        let place = if inner { Place { line: node.line, ..self.place } } else { self.place };
        place.error(format_args!("{} is {shown}; allowed: {allowed}", self.key))
    }

    /// A boolean of YAML 1.1.
    pub fn boolean(&self) -> Result<bool> {
        self.scalar()
            .and_then(|scalar| scalar::boolean(&scalar.text))
            .ok_or_else(|| self.refuse(scalar::BOOLEAN_WORDS))
    }

    /// A whole number of the range; `unit` is what it counts, or empty.
    pub fn whole(&self, range: RangeInclusive<u64>, unit: &str) -> Result<u64> {
        let of = if unit.is_empty() { "" } else { " of " };
        self.scalar().and_then(scalar::whole).filter(|value| range.contains(value)).ok_or_else(|| {
            self.refuse(format_args!("a whole number{of}{unit} from {} to {}", range.start(), range.end()))
        })
    }

    /// A whole number of the range that fits 32 bits.
    pub fn whole_u32(&self, range: RangeInclusive<u32>, unit: &str) -> Result<u32> {
        let wide = self.whole(u64::from(*range.start())..=u64::from(*range.end()), unit)?;
        u32::try_from(wide).map_err(|_| self.refuse(format_args!("a whole number of {unit}")))
    }

    /// Bytes of the range, perhaps with a unit.
    pub fn size(&self, range: RangeInclusive<u64>) -> Result<u64> {
        self.scalar().and_then(scalar::size).filter(|value| range.contains(value)).ok_or_else(|| {
            self.refuse(format_args!(
                "bytes from {} to {}, as a whole number or with KiB, MiB, GiB or TiB",
                range.start(),
                range.end()
            ))
        })
    }

    /// A string. What PyYAML reads as a number or boolean is none: LMCache would not take it either.
    pub fn text(&self, what: &str) -> Result<&'a str> {
        self.text_of(self.node, what)
    }

    /// The string in one value of a list.
    pub fn text_of(&self, node: &'a Node, what: &str) -> Result<&'a str> {
        match &node.value {
            Value::Scalar(Scalar { text, kind: ScalarKind::Text }) if !text.trim().is_empty() => {
                Ok(text.trim())
            }
            Value::Scalar(Scalar { kind: ScalarKind::Boolean | ScalarKind::Number, .. }) => {
                Err(self.refuse_value(node, format_args!("{what}; put quotes around it")))
            }
            _ => Err(self.refuse_value(node, what)),
        }
    }

    /// The value that goes with the word.
    pub fn choice<T: Copy>(&self, words: &[(&str, T)], ignore_case: bool) -> Result<T> {
        let same = |word: &str, text: &str| {
            if ignore_case { word.eq_ignore_ascii_case(text) } else { word == text }
        };
        self.scalar()
            .and_then(|scalar| words.iter().find(|(word, _)| same(word, scalar.text.trim())))
            .map(|(_, value)| *value)
            .ok_or_else(|| self.refuse(words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ")))
    }

    /// The value if it is neither list nor mapping.
    pub fn scalar(&self) -> Option<&'a Scalar> {
        match &self.node.value {
            Value::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }
}

/// A value for a message: cut, escaped, and hidden where the key may name a credential.
pub(super) fn describe(key: &str, node: &Node) -> String {
    match &node.value {
        Value::Null => String::from("null"),
        Value::List(items) if items.is_empty() => String::from("an empty list"),
        Value::List(_) => String::from("a list"),
        Value::Map(_) => String::from("a mapping"),
        Value::Scalar(_) if is_secret(key) => String::from("a value that is not shown"),
        Value::Scalar(scalar) => quote(&scalar.text),
    }
}

/// Text for a message.
pub(super) fn quote(text: &str) -> String {
    let text = without_userinfo(text);
    let shown: String = text.chars().take(SHOWN_CHARACTERS_MAX).flat_map(char::escape_debug).collect();
    let cut = if text.chars().nth(SHOWN_CHARACTERS_MAX).is_some() { "…" } else { "" };
    format!("\"{shown}{cut}\"")
}

/// A key for a message: LMCache's and ours are plain words, a hostile file's need not be.
pub(super) fn shown_name(name: &str) -> String {
    name.chars().take(SHOWN_CHARACTERS_MAX).flat_map(char::escape_debug).collect()
}

/// A URL may hold a password between `://` and `@`.
fn without_userinfo(text: &str) -> String {
    match text.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?.1))) {
        Some((scheme, host)) => format!("{scheme}://…@{host}"),
        None => text.to_owned(),
    }
}

/// Whether values under this key are hidden. Wide on purpose: a misspelt `acess_key` is still a credential, and the
/// mappings that hold credentials may have been written as one string.
pub(super) fn is_secret(key: &str) -> bool {
    let last = key.rsplit('.').next().unwrap_or(key).to_ascii_lowercase();
    const SIGNS: [&str; 7] = ["key", "secret", "token", "passw", "credential", "access", "auth"];
    const HOLDERS: [&str; 2] = ["extra_config", "nixl_backend_params"];
    SIGNS.iter().any(|sign| last.contains(sign)) || HOLDERS.contains(&last.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages end in logs; nothing that looks like a credential may be in them, whatever the key is called.
    #[test]
    fn credentials_are_hidden_by_the_look_of_their_key() {
        for key in [
            "access_key",
            "secret_key",
            "session_token",
            "acess_key",
            "AWS_SECRET",
            "x.password",
            "credentials",
            "extra_config.nixl_backend_params",
            "extra_config",
        ] {
            assert!(is_secret(key), "{key}");
            assert_eq!(describe(key, &Node::text(String::from("hunter2"))), "a value that is not shown");
        }
        for key in ["nixl_path", "bucket", "kernel_queue_size", "extra_config.nixl_backend", "region"] {
            assert!(!is_secret(key), "{key}");
        }
    }

    /// A message repeats what was written, but never breaks the log's line, grows without bound or shows a password.
    #[test]
    fn values_in_messages_are_escaped_cut_and_without_userinfo() {
        assert_eq!(quote("a\nb\u{1b}"), "\"a\\nb\\u{1b}\"");
        assert!(quote(&"x".repeat(5000)).chars().count() < 130);
        assert_eq!(quote("http://me:pass@w@host:9000/x"), "\"http://…@host:9000/x\"");
    }
}
