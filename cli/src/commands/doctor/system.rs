//! The configuration as a whole, and the limits of this process, which stand for the engine's.

use std::path::Path;

use nixl_store::config::{BackendKind, Config};
use nixl_store::log::{self, LEVEL_VARIABLE, Level};
use nixl_store::store::prospect;
use nixl_store::sys::{descriptor_limit, descriptor_limit_hard};
use rustix::process::Resource;

use super::finding::Finding;
use super::situation::Situation;
use crate::output::bytes;
use crate::place;

/// Open files that a store should be able to have, beside the engine's own: each object that is read or written by a dynamic store
/// has one, each connection to a server too.
const DESCRIPTORS_MIN: u64 = 4096;

/// What there is to say about the settings themselves.
pub fn configuration(config: &Config) -> Vec<Finding> {
    let mut findings = vec![Finding::ok("configuration", "is read, and every value is allowed")];
    findings.extend(config.warning.as_ref().map(|warning| {
        Finding::better("configuration", warning.clone()).advise("Correct the name, or take it out.")
    }));
    for notice in &config.notices {
        findings.push(Finding::ok("no effect", without_path(notice, &config.source)));
    }
    findings.extend(examine_alone());
    findings
}

/// A notice names the file in front of the line; whoever reads this knows which.
fn without_path(notice: &str, source: &Path) -> String {
    let line = notice.strip_prefix(&*source.to_string_lossy()).and_then(|rest| rest.strip_prefix(':'));
    line.map_or_else(|| notice.to_owned(), |rest| format!("line {rest}"))
}

/// What can be said without a configuration.
pub fn examine_alone() -> Vec<Finding> {
    match log::level_from_environment(&place::environment, Level::Warn) {
        Err(error) => vec![
            Finding::broken("log", error.message().to_owned())
                .advise("Open refuses it: set one of these, or none."),
        ],
        Ok(_) => place::environment(LEVEL_VARIABLE)
            .map(|level| Finding::ok("log", format!("{LEVEL_VARIABLE}={level}")))
            .into_iter()
            .collect(),
    }
}

/// The limits of the process, and its memory.
pub fn examine(situation: &Situation) -> Vec<Finding> {
    let mut findings = vec![open_files()];
    if situation.config.backend == BackendKind::Memory {
        findings.extend(memory_for(situation));
    }
    findings
}

fn open_files() -> Finding {
    let (soft, hard) = (descriptor_limit(), descriptor_limit_hard());
    if soft >= DESCRIPTORS_MIN {
        return Finding::ok("open files", format!("at most {soft}"));
    }
    let finding = Finding::better("open files", format!("at most {soft}, the engine's own among them"));
    let wanted = DESCRIPTORS_MIN.min(hard);
    if hard > soft {
        finding.advise(format!("ulimit -n {wanted}, before the engine starts (at most {hard})"))
    } else {
        finding.advise(format!(
            "systemd: LimitNOFILE={DESCRIPTORS_MIN}; docker: --ulimit nofile={DESCRIPTORS_MIN}"
        ))
    }
}

/// Whether the pool fits this machine's memory.
fn memory_for(situation: &Situation) -> Option<Finding> {
    let chunk = prospect::chunk_bytes(&situation.config, &situation.options).ok()?;
    let needed = chunk.saturating_mul(u64::from(situation.config.pool_size));
    let available = meminfo("MemAvailable")?;
    let text = format!("{} available, the pool takes {}", bytes(available), bytes(needed));
    Some(if needed <= available {
        Finding::ok("memory", text)
    } else {
        Finding::broken("memory", text).advise("Lower nixl_pool_size or the bytes of a chunk.")
    })
}

/// A number of /proc/meminfo, in bytes.
fn meminfo(name: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// A line of /proc/self/status.
pub fn status_line(name: &str) -> Option<String> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

/// How many bytes this process may lock in memory; `None`: any number.
pub fn locked_memory_limit() -> Option<u64> {
    rustix::process::getrlimit(Resource::Memlock).current
}
