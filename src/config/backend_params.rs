//! `nixl_backend_params`: the names, kinds and ranges that NIXL's plugins give their parameters.
//!
//! NIXL takes a map of strings and ignores what it does not know; here values of any scalar kind are taken, checked
//! and brought to one spelling, and an unknown name is refused. Ranges are those of NIXL's sources
//! (`src/plugins/{posix,cuda_gds,gds_mt,hf3fs,obj}`, `src/utils/object`) where it has some.

use super::endpoint;
use super::names;
use super::scalar;
use super::setting::{Level, Setting, is_secret, quote, shown_name};
use super::tree::Value;
use super::{BackendKind, Environment, SecretMap};
use crate::error::Result;

/// Longest text of a parameter, in bytes; the length of the longest path.
const TEXT_BYTES_MAX: usize = 4096;
/// Longest mount point, in bytes, without the final NUL of NIXL's buffer.
const MOUNT_POINT_BYTES_MAX: usize = 255;
/// Most threads of a backend.
const THREADS_MAX: u64 = 1024;

/// What a parameter's value must be.
enum Kind {
    Flag,
    /// A number of the range. Zero, where `zero_is_default`, means the same as absent.
    Number {
        min: u64,
        max: u64,
        zero_is_default: bool,
    },
    /// A number that NIXL brings into the range without a word; here there is a word. Zero means the same as absent.
    Clamped {
        min: u64,
        max: u64,
    },
    Word(&'static [&'static str]),
    Text,
    /// Text that no message repeats.
    Credential,
    Endpoint,
    MountPoint,
}

/// A parameter: name, kind, and why it has no effect here if it has none.
struct Param {
    name: &'static str,
    kind: Kind,
    idle: Option<&'static str>,
}

const fn param(name: &'static str, kind: Kind) -> Param {
    Param { name, kind, idle: None }
}

const fn idle(name: &'static str, kind: Kind, why: &'static str) -> Param {
    Param { name, kind, idle: Some(why) }
}

const CHECKSUM_WORDS: &[&str] = &["required", "supported"];
const ACCELERATED: &str = "accelerated S3 engines are plugins of NIXL; transfers go through host memory";

static POSIX: &[Param] = &[
    param("use_uring", Kind::Flag),
    idle("use_aio", Kind::Flag, "bytes move through io_uring, or through threads where that is refused"),
    param("use_posix_aio", Kind::Flag),
    param("ios_pool_size", Kind::Clamped { min: 64, max: 65_536 }),
    param("kernel_queue_size", Kind::Clamped { min: 16, max: 1024 }),
];

static GDS: &[Param] = &[
    param("batch_pool_size", Kind::Number { min: 1, max: 1024, zero_is_default: false }),
    param("batch_limit", Kind::Number { min: 1, max: 4096, zero_is_default: false }),
    param("max_request_size", Kind::Number { min: 4096, max: u32::MAX as u64, zero_is_default: false }),
];

static GDS_MT: &[Param] =
    &[param("thread_count", Kind::Number { min: 1, max: THREADS_MAX, zero_is_default: true })];

static HF3FS: &[Param] = &[
    param("mount_point", Kind::MountPoint),
    param("mem_config", Kind::Word(&["auto", "dram", "dram_zc"])),
    param("iopool_size", Kind::Clamped { min: 1, max: 1 << 20 }),
];

static OBJ: &[Param] = &[
    param("access_key", Kind::Credential),
    param("secret_key", Kind::Credential),
    param("session_token", Kind::Credential),
    param("bucket", Kind::Text),
    param("endpoint_override", Kind::Endpoint),
    param("scheme", Kind::Word(&["http", "https"])),
    param("region", Kind::Text),
    param("use_virtual_addressing", Kind::Flag),
    param("req_checksum", Kind::Word(CHECKSUM_WORDS)),
    param("resp_checksum", Kind::Word(CHECKSUM_WORDS)),
    param("ca_bundle", Kind::Text),
    param("crtMinLimit", Kind::Number { min: 1, max: 1 << 40, zero_is_default: true }),
    param("throughput_target_gbps", Kind::Number { min: 1, max: 10_000, zero_is_default: false }),
    param("num_threads", Kind::Number { min: 1, max: THREADS_MAX, zero_is_default: false }),
    idle("accelerated", Kind::Flag, ACCELERATED),
    idle("type", Kind::Text, ACCELERATED),
];

static MEMORY: &[Param] = &[];

/// Name of the parameter with the schedule of the fault-injecting wrapper.
pub const FAULT_PARAMETER: &str = "fault";

/// What the fault-injecting wrapper takes with any backend, in the builds that have it. Not part of a backend's table,
/// so that messages and documentation tell of the product alone.
static FAULT: &[Param] = &[
    #[cfg(feature = "fault-injection")]
    param(FAULT_PARAMETER, Kind::Text),
];

fn table(backend: BackendKind) -> &'static [Param] {
    match backend {
        BackendKind::Posix => POSIX,
        BackendKind::Gds => GDS,
        BackendKind::GdsMt => GDS_MT,
        BackendKind::Hf3fs => HF3FS,
        BackendKind::Obj => OBJ,
        BackendKind::Memory => MEMORY,
    }
}

/// The names that a backend's parameters have.
pub(super) fn names_of(backend: BackendKind) -> impl Iterator<Item = &'static str> + Clone {
    table(backend).iter().map(|param| param.name)
}

/// The parameters of `extra_config.nixl_backend_params`, checked for the backend; notices go to `notices`.
///
/// # Errors
/// A name that the backend does not have, or a value that it cannot take.
pub(super) fn read(
    extra: &Level<'_>,
    backend: BackendKind,
    environment: Environment<'_>,
    notices: &mut Vec<String>,
) -> Result<SecretMap> {
    let mut params = SecretMap::default();
    if let Some(setting) = extra.find("nixl_backend_params")? {
        let Value::Map(map) = &setting.node.value else {
            return Err(setting.refuse("a mapping of the backend's parameters (value not shown)"));
        };
        let level = Level {
            prefix: "extra_config.nixl_backend_params.",
            map,
            place: setting.place,
            has_lines: extra.has_lines,
        };
        check_names(&level, backend)?;
        for param in table(backend).iter().chain(FAULT) {
            let Some(setting) = level.find(param.name)? else { continue };
            if let Some(text) = value(&setting, param, notices)? {
                params.0.insert(param.name.to_owned(), text);
            }
            if let Some(why) = param.idle {
                notices.push(format!("{}: {} has no effect: {why}.", setting.place, setting.key));
            }
        }
        if backend == BackendKind::Obj {
            check_credentials(&level, &params)?;
        }
    }
    if backend == BackendKind::Obj {
        add_aws_variables(extra, &mut params, environment)?;
    }
    note_misplaced(extra, backend, notices);
    Ok(params)
}

/// The parameters that are in effect, for the log. What is not listed has the backend's default.
pub(super) fn shown(backend: BackendKind, params: &SecretMap) -> String {
    let known = || table(backend).iter().chain(FAULT);
    let one =
        |name: &str, value: &str| match known().find(|param| param.name == name).map(|param| &param.kind) {
            // By its kind for what is one, by its name for what may have been added and forgotten here.
            Some(Kind::Credential) | None => format!("{name}: not shown"),
            Some(_) if is_secret(name) => format!("{name}: not shown"),
            Some(Kind::Text | Kind::Endpoint | Kind::MountPoint) => format!("{name}: {}", quote(value)),
            Some(Kind::Flag | Kind::Number { .. } | Kind::Clamped { .. } | Kind::Word(_)) => {
                format!("{name}: {value}")
            }
        };
    let all: Vec<String> = params.0.iter().map(|(name, value)| one(name, value)).collect();
    format!("{{{}}}", all.join(", "))
}

/// Values of unknown names are never shown: the name may be a misspelt credential.
fn check_names(level: &Level<'_>, backend: BackendKind) -> Result<()> {
    for entry in &level.map.entries {
        let mut taken = names_of(backend).chain(FAULT.iter().map(|param| param.name));
        if taken.any(|name| name == entry.key) {
            continue;
        }
        let (place, name) = (level.at(entry.line), shown_name(&entry.key));
        let key = format!("{}{name}", level.prefix);
        if let Some(home) = names::home_place(&entry.key) {
            return Err(place.error(format_args!(
                "{key} (value not shown) is at the wrong level; allowed: {name} belongs at {home}"
            )));
        }
        let names = names_of(backend);
        let allowed = match names::nearest(&entry.key, names.clone()) {
            Some(nearest) => {
                let all = names.collect::<Vec<_>>().join(", ");
                format!("the nearest known name is {nearest}; {} has {all}", backend.name())
            }
            None => format!("{} has no parameters", backend.name()),
        };
        return Err(place.error(format_args!(
            "{key} (value not shown) is no parameter of {}; allowed: {allowed}",
            backend.name()
        )));
    }
    Ok(())
}

/// The value in the one spelling that backends read; `None` where it means the same as absent.
fn value(setting: &Setting<'_>, param: &Param, notices: &mut Vec<String>) -> Result<Option<String>> {
    match &param.kind {
        Kind::Flag => {
            let flag = setting.scalar().and_then(|scalar| scalar::nixl_boolean(&scalar.text));
            let allowed = format_args!("{}, y, n, enable, disable", scalar::BOOLEAN_WORDS);
            flag.map(|flag| Some(flag.to_string())).ok_or_else(|| setting.refuse(allowed))
        }
        Kind::Number { min, max, zero_is_default } => {
            let least = if *zero_is_default { 0 } else { *min };
            let number = setting.whole(least..=*max, "")?;
            Ok((number >= *min).then(|| number.to_string()))
        }
        Kind::Clamped { min, max } => {
            let number = setting.whole(0..=u64::from(u32::MAX), "")?;
            if number == 0 {
                return Ok(None);
            }
            let used = number.clamp(*min, *max);
            if used != number {
                notices.push(format!(
                    "{}: {} is {number}; {used} is used, as NIXL keeps it within {min} to {max}.",
                    setting.place, setting.key
                ));
            }
            Ok(Some(used.to_string()))
        }
        Kind::Word(words) => {
            let pairs: Vec<(&str, &str)> = words.iter().map(|word| (*word, *word)).collect();
            setting.choice(&pairs, false).map(|word| Some(word.to_owned()))
        }
        Kind::Text | Kind::Credential => text(setting),
        Kind::Endpoint => {
            let Some(text) = text(setting)? else { return Ok(None) };
            endpoint::check_override(&text).map(|()| Some(text)).map_err(|allowed| setting.refuse(allowed))
        }
        Kind::MountPoint => {
            let Some(text) = text(setting)? else { return Ok(None) };
            if text.starts_with('/') && text.len() <= MOUNT_POINT_BYTES_MAX {
                return Ok(Some(text));
            }
            Err(setting.refuse(format_args!("an absolute path of at most {MOUNT_POINT_BYTES_MAX} bytes")))
        }
    }
}

/// Any scalar as it was spelt; NIXL takes an empty string for an absent one.
fn text(setting: &Setting<'_>) -> Result<Option<String>> {
    let refuse = || setting.refuse(format_args!("one line of text, at most {TEXT_BYTES_MAX} bytes"));
    let text = setting.scalar().ok_or_else(refuse)?.text.trim();
    if text.len() > TEXT_BYTES_MAX || text.contains(char::is_control) {
        return Err(refuse());
    }
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

/// NIXL drops half a pair of keys and uses whatever identity the machine has; that may be somebody else's.
fn check_credentials(level: &Level<'_>, params: &SecretMap) -> Result<()> {
    let has = |name: &str| params.get(name).is_some();
    let missing = match (has("access_key"), has("secret_key"), has("session_token")) {
        (true, false, _) => "secret_key",
        (false, true, _) | (false, false, true) => "access_key",
        _ => return Ok(()),
    };
    Err(level.missing(
        missing,
        "access_key and secret_key together, session_token only with both, or none of them for the usual AWS identity",
    ))
}

/// As NIXL: what the file leaves out comes from `$AWS_DEFAULT_BUCKET` and `$AWS_ENDPOINT_OVERRIDE`.
fn add_aws_variables(extra: &Level<'_>, params: &mut SecretMap, environment: Environment<'_>) -> Result<()> {
    let variable =
        |name: &str| environment(name).map(|text| text.trim().to_owned()).filter(|t| !t.is_empty());
    if params.get("bucket").is_none() {
        let Some(bucket) = variable("AWS_DEFAULT_BUCKET") else {
            return Err(extra.missing(
                "nixl_backend_params.bucket",
                "the name of a bucket, or AWS_DEFAULT_BUCKET set to it",
            ));
        };
        params.0.insert(String::from("bucket"), bucket);
    }
    if params.get("endpoint_override").is_none()
        && let Some(endpoint) = variable("AWS_ENDPOINT_OVERRIDE")
    {
        endpoint::check_override(&endpoint).map_err(|allowed| {
            let shown = quote(&endpoint);
            crate::error::Error::new(
                crate::error::Status::Config,
                format!("$AWS_ENDPOINT_OVERRIDE: endpoint_override is {shown}; allowed: {allowed}"),
            )
        })?;
        params.0.insert(String::from("endpoint_override"), endpoint);
    }
    Ok(())
}

/// A parameter one level too high is LMCache's to ignore, but a user who wrote it there should hear of it.
fn note_misplaced(extra: &Level<'_>, backend: BackendKind, notices: &mut Vec<String>) {
    for entry in &extra.map.entries {
        if names_of(backend).any(|name| name == entry.key) {
            notices.push(format!(
                "{}: {}{} has no effect: parameters of {} belong in nixl_backend_params.",
                extra.at(entry.line),
                extra.prefix,
                entry.key,
                backend.name()
            ));
        }
    }
}
