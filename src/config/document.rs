//! The file or text and the environment put together: which mapping a setting is looked up in, and where it came from.
//!
//! As in LMCache, a variable wins over the file, and `$LMCACHE_EXTRA_CONFIG` replaces `extra_config` as a whole; where
//! no file is named, the variables alone are the configuration. An empty variable counts as not set; other than
//! LMCache, one that cannot be read is an error and not a warning.

use std::path::PathBuf;

use super::setting::{Level, Origin, Place, Setting};
use super::tree::{Entry, Malformed, Map, Node, Unread, Value};
use super::{Environment, Source, json, source, tree};
use crate::error::{Error, Result, Status};

/// Names the file where the caller names none.
pub(super) const FILE_VARIABLE: &str = "LMCACHE_CONFIG_FILE";
const EXTRA_VARIABLE: &str = "LMCACHE_EXTRA_CONFIG";
/// What messages call a configuration that the caller gave as text.
const TEXT_NAME: &str = "config text";
/// What messages call a configuration of variables alone.
const ENVIRONMENT_NAME: &str = "environment";

/// Settings of the top level that a variable may override.
const OVERRIDES: [(&str, &str); 5] = [
    ("chunk_size", "LMCACHE_CHUNK_SIZE"),
    ("nixl_buffer_size", "LMCACHE_NIXL_BUFFER_SIZE"),
    ("nixl_buffer_device", "LMCACHE_NIXL_BUFFER_DEVICE"),
    ("cache_policy", "LMCACHE_CACHE_POLICY"),
    ("local_cpu_use_hugepages", "LMCACHE_LOCAL_CPU_USE_HUGEPAGES"),
];

/// Every variable that is read here, for the test of the documentation.
#[cfg(test)]
pub(super) fn variables() -> impl Iterator<Item = &'static str> {
    OVERRIDES.iter().map(|(_, name)| *name).chain([FILE_VARIABLE, EXTRA_VARIABLE])
}

/// What was read, before anything in it was understood.
pub(super) struct Document {
    pub path: PathBuf,
    has_file: bool,
    file: Origin,
    top: Map,
    overrides: Vec<(Origin, Map)>,
    extra: Extra,
}

/// `extra_config`, from wherever it came.
struct Extra {
    map: Map,
    origin: Origin,
    line: u32,
    has_lines: bool,
}

impl Document {
    /// Reads file or text, and variables.
    ///
    /// # Errors
    /// [`Status::Config`] if there is neither file nor text nor variables, it is not YAML, or `extra_config` is no
    /// mapping; [`Status::OutOfMemory`] if it cannot be parsed for want of a thread.
    pub fn read(source: Source<'_>, environment: Environment<'_>) -> Result<Document> {
        let (path, text) = match source {
            Source::Text(bytes) => {
                (PathBuf::from(TEXT_NAME), Some(source::check(bytes.to_owned(), TEXT_NAME)?))
            }
            Source::File(path) => (path.to_owned(), Some(source::read(path)?)),
            Source::Environment => match variable(environment, FILE_VARIABLE).map(PathBuf::from) {
                Some(path) => {
                    let text = source::read(&path)?;
                    (path, Some(text))
                }
                None => (PathBuf::from(ENVIRONMENT_NAME), None),
            },
        };
        let file = Origin::File(source::display(&path));
        let top = match &text {
            Some(text) => settings(parse(text, &file)?, &file)?,
            None if variable(environment, EXTRA_VARIABLE).is_some() => Map { entries: Vec::new() },
            None => return Err(no_configuration()),
        };
        let overrides = overrides(environment)?;
        let extra = match variable(environment, EXTRA_VARIABLE) {
            Some(text) => extra_of_variable(&text)?,
            None => extra_of_file(&top, &file)?,
        };
        Ok(Document { path, has_file: text.is_some(), file, top, overrides, extra })
    }

    /// An error in what turns NIXL storage on. Where that was looked for in variables alone, it tells the other way
    /// too: whoever meant a file finds out that none was named.
    pub fn not_enabled(&self, error: Error) -> Error {
        if self.has_file {
            return error;
        }
        let status = error.status();
        Error::new(status, format!("{error}; no file is named either: {}", no_configuration()))
    }

    /// The top level of the file, without overrides.
    pub fn top_of_file(&self) -> Level<'_> {
        Level { prefix: "", map: &self.top, place: Place { origin: &self.file, line: 1 }, has_lines: true }
    }

    /// A setting of the top level, from its variable or from the file.
    pub fn top(&self, name: &str) -> Result<Option<Setting<'_>>> {
        for (origin, map) in &self.overrides {
            let level = Level { prefix: "", map, place: Place { origin, line: 0 }, has_lines: false };
            if let Some(setting) = level.find(name)? {
                return Ok(Some(setting));
            }
        }
        self.top_of_file().find(name)
    }

    /// `extra_config`.
    pub fn extra(&self) -> Level<'_> {
        Level {
            prefix: "extra_config.",
            map: &self.extra.map,
            place: Place { origin: &self.extra.origin, line: self.extra.line },
            has_lines: self.extra.has_lines,
        }
    }
}

fn no_configuration() -> Error {
    Error::new(
        Status::Config,
        format!(
            "no configuration: pass a path or a text to open, or set {FILE_VARIABLE} to the path of the YAML file that \
             LMCache reads, or {EXTRA_VARIABLE} to a JSON object with enable_nixl_storage, nixl_backend and so on"
        ),
    )
}

fn settings(node: Node, file: &Origin) -> Result<Map> {
    match node.value {
        Value::Map(map) => Ok(map),
        Value::Null => Ok(Map { entries: Vec::new() }),
        Value::List(_) | Value::Scalar(_) => Err(Place { origin: file, line: 1 }
            .error("it holds a single value or a list; allowed: settings, one `key: value` per line")),
    }
}

fn variable(environment: Environment<'_>, name: &str) -> Option<String> {
    environment(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn overrides(environment: Environment<'_>) -> Result<Vec<(Origin, Map)>> {
    let mut overrides = Vec::new();
    for (key, name) in OVERRIDES {
        let Some(text) = variable(environment, name) else { continue };
        let entry = Entry { key: key.to_owned(), line: 0, value: Node::text(unquoted(&text)?) };
        overrides.push((Origin::Variable(name), Map { entries: vec![entry] }));
    }
    Ok(overrides)
}

/// LMCache takes quotes off that a shell or a compose file left around a value.
fn unquoted(text: &str) -> Result<String> {
    let inner = ['"', '\''].iter().find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote));
    let Some(inner) = inner else { return Ok(text.to_owned()) };
    match tree::parse(text).map(|node| node.value) {
        Ok(Value::Scalar(scalar)) => Ok(scalar.text),
        Err(Unread::NoThread(error)) => Err(no_thread(&error)),
        _ => Ok(inner.to_owned()),
    }
}

fn extra_of_variable(text: &str) -> Result<Extra> {
    let origin = Origin::Variable(EXTRA_VARIABLE);
    let map = json_mapping(&unquoted(text)?, Place { origin: &origin, line: 0 })?;
    Ok(Extra { map, origin, line: 0, has_lines: false })
}

/// Takes `extra_config` out of the file: a mapping, or JSON in a string as LMCache allows.
fn extra_of_file(top: &Map, file: &Origin) -> Result<Extra> {
    let level = Level { prefix: "", map: top, place: Place { origin: file, line: 1 }, has_lines: true };
    let Some(setting) = level.find("extra_config")? else {
        return Err(
            level.missing("extra_config", "a mapping with enable_nixl_storage: true and nixl_backend")
        );
    };
    let (origin, line) = (file.clone(), setting.place.line);
    match &setting.node.value {
        Value::Map(map) => Ok(Extra { map: map.clone(), origin, line, has_lines: true }),
        Value::Scalar(scalar) => {
            let map = json_mapping(&scalar.text, setting.place)?;
            Ok(Extra { map, origin, line, has_lines: false })
        }
        Value::List(_) | Value::Null => Err(setting.refuse("a mapping")),
    }
}

fn json_mapping(text: &str, place: Place<'_>) -> Result<Map> {
    let too_large = u64::try_from(text.len()).unwrap_or(u64::MAX) > source::FILE_BYTES_MAX;
    if too_large {
        return Err(place.error(format_args!(
            "extra_config is larger than {} bytes, the most allowed",
            source::FILE_BYTES_MAX
        )));
    }
    let refuse = |what: &str| {
        place.error(format_args!("extra_config {what}; allowed: a JSON object (value not shown)"))
    };
    if let Err(offset) = json::check(text) {
        return Err(refuse(&format!("is not JSON at byte {offset}")));
    }
    match tree::parse(text).map(|node| node.value) {
        Ok(Value::Map(map)) => Ok(map),
        Ok(_) => Err(refuse("is JSON, but no object")),
        Err(Unread::Malformed(malformed)) => Err(refuse(&format!("cannot be read: {}", malformed.reason))),
        Err(Unread::NoThread(error)) => Err(no_thread(&error)),
    }
}

fn parse(text: &str, file: &Origin) -> Result<Node> {
    tree::parse(text).map_err(|unread| match unread {
        Unread::Malformed(Malformed { line, reason }) => {
            let place = Place { origin: file, line: line.unwrap_or(1) };
            place.error(format_args!("not valid YAML: {reason}; allowed: LMCache's YAML settings"))
        }
        Unread::NoThread(error) => no_thread(&error),
    })
}

/// No configuration error: the file may be right, and whoever went looking for a mistake in it would look in vain.
fn no_thread(error: &std::io::Error) -> Error {
    Error::no_thread("starting the thread that reads the configuration", error)
}
