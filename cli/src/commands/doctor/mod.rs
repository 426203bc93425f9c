//! `doctor`: what is in effect for a store on this machine, why not better, and what to do about it.
//!
//! Each section looks at one part of the machine, on a thread of its own and with a limit on its time, all at once. None of
//! them opens the store: what is on storage is looked at and left as it is, and a pool that is in use stays undisturbed.

mod bucket;
mod files;
mod finding;
mod gpu;
mod limit;
mod pool;
mod print;
mod queue;
mod situation;
mod system;

use std::sync::Arc;
use std::time::Duration;

use nixl_store::config::{Config as Configuration, Effective};
use serde::Serialize;

use self::finding::{Finding, State, Verdict};
use self::limit::Look;
use self::situation::Situation;
use crate::args::{Config, Global};
use crate::output::{Failure, Outcome, Output};
use crate::place;

/// Longest time of a section that looks at this machine.
const LOOK_TIME_MAX: Duration = Duration::from_secs(10);
/// Longest time of a section that opens a driver or asks a server: each of its own calls has a shorter one.
const FAR_LOOK_TIME_MAX: Duration = Duration::from_secs(75);

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Run it as the user and in the container that the engine runs in: limits and rights are theirs.\n\n\
    Exit status: 0 usable, also if something could be better; 1 not usable; 2 bad arguments."
)]
pub struct Doctor {
    #[command(flatten)]
    config: Config,
    /// List every setting, and look at what this store does not use
    #[arg(long)]
    all: bool,
    /// Exit with 1 also if something could be better
    #[arg(long)]
    strict: bool,
}

/// All that was found. The names are those of the JSON document.
#[derive(Debug)]
struct Report {
    config: String,
    store: Option<String>,
    settings: Vec<Effective>,
    findings: Vec<Finding>,
    verdict: Verdict,
}

/// Looks, and prints what was found.
///
/// # Errors
/// If it cannot be printed.
pub fn run(wanted: &Doctor, global: &Global, output: &Output) -> Result<Outcome, Failure> {
    let path = wanted.config.config.as_deref();
    let report = match place::config(path) {
        Ok(config) => examine(config, global, wanted.all),
        Err(failure) => refused(path, &failure),
    };
    let printed = if output.is_json() {
        output.json(&document(&report))
    } else {
        output.text(print::report(&report, wanted.all, usize::from(output.columns())))
    };
    let is_bad = match report.verdict {
        Verdict::Usable => false,
        Verdict::CouldBeBetter => wanted.strict,
        Verdict::NotUsable => true,
    };
    let outcome = if is_bad { Outcome::Bad } else { Outcome::Done };
    outcome.behind(printed)
}

/// The report on a configuration that the engine cannot read either.
fn refused(path: Option<&std::path::Path>, failure: &Failure) -> Report {
    let config = path.map_or("the environment".to_owned(), |path| path.display().to_string());
    let mut findings = vec![Finding::broken("configuration", failure.to_string())];
    findings.extend(system::examine_alone());
    let verdict = finding::verdict(&findings);
    Report { config, store: None, settings: Vec::new(), findings, verdict }
}

type Section = fn(&Situation) -> Vec<Finding>;

fn examine(config: Configuration, global: &Global, all: bool) -> Report {
    let situation = Arc::new(Situation::new(config, global));
    let config = &situation.config;
    let prospect = {
        let is_far = situation.needs_cufile() || situation.needs_hf3fs();
        let situation = Arc::clone(&situation);
        let limit = if is_far { FAR_LOOK_TIME_MAX } else { LOOK_TIME_MAX };
        Look::begin(limit, move || queue::examine(&situation))
    };
    let mut sections: Vec<(&'static str, Duration, bool, Section)> = Vec::new();
    let mut section = |name, limit, is_needed, section: Section| {
        if is_needed || all {
            sections.push((name, limit, is_needed, section));
        }
    };
    section("directory", LOOK_TIME_MAX, config.backend.uses_paths(), files::examine);
    section("pool", LOOK_TIME_MAX, config.backend.uses_paths() && config.pool_size > 0, pool::examine);
    section("memory", LOOK_TIME_MAX, true, system::examine);
    section("cuda", FAR_LOOK_TIME_MAX, situation.needs_cuda(), gpu::cuda);
    section("cufile", FAR_LOOK_TIME_MAX, situation.needs_cufile(), gpu::cufile);
    section("3fs", LOOK_TIME_MAX, situation.needs_hf3fs(), gpu::hf3fs);
    section("bucket", FAR_LOOK_TIME_MAX, situation.needs_bucket(), bucket::examine);
    let looks: Vec<_> = sections
        .into_iter()
        .map(|(name, limit, is_needed, section)| {
            let situation = Arc::clone(&situation);
            (name, is_needed, Look::begin(limit, move || section(&situation)))
        })
        .collect();

    let mut findings = system::configuration(config);
    let (queue, settings) = prospect.end().unwrap_or_else(|why| (vec![hung("backend", &why)], None));
    let mut rest = Vec::new();
    for (name, is_needed, look) in looks {
        let found = look.end().unwrap_or_else(|why| vec![hung(name, &why)]);
        rest.extend(found.into_iter().map(|finding| if is_needed { finding } else { finding.not_needed() }));
    }
    // What a backend is refused for is told by the section that looks at that.
    let is_told = rest.iter().any(|one| one.state == State::Broken && gpu::CHECKS.contains(&one.check));
    findings.extend(queue.into_iter().filter(|one| !(is_told && one.state == State::Broken)));
    findings.extend(rest);
    let verdict = finding::verdict(&findings);
    let settings = settings.unwrap_or_else(|| config.effective.clone());
    Report { config: config.source_name(), store: Some(situation.describe()), settings, findings, verdict }
}

fn hung(check: &'static str, why: &str) -> Finding {
    Finding::broken(check, why)
        .advise("An engine would hang here too: see to that file system, driver or server.")
}

/// The JSON document.
#[derive(Serialize)]
struct Document<'a> {
    config: &'a str,
    store: Option<&'a str>,
    verdict: Verdict,
    ok: usize,
    could_be_better: usize,
    broken: usize,
    settings: Vec<Shown<'a>>,
    findings: &'a [Finding],
}

/// A setting.
#[derive(Serialize)]
struct Shown<'a> {
    name: &'a str,
    value: &'a str,
    origin: String,
}

fn document(report: &Report) -> Document<'_> {
    let shown = |setting: &'_ Effective| setting.origin.to_string();
    let settings = report.settings.iter();
    Document {
        config: &report.config,
        store: report.store.as_deref(),
        verdict: report.verdict,
        ok: finding::count(&report.findings, State::Ok),
        could_be_better: finding::count(&report.findings, State::CouldBeBetter),
        broken: finding::count(&report.findings, State::Broken),
        settings: settings
            .map(|setting| Shown { name: setting.name, value: &setting.value, origin: shown(setting) })
            .collect(),
        findings: &report.findings,
    }
}
