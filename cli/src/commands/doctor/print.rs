//! The report as text.

use std::fmt::Write;

use nixl_store::config::{Effective, SettingOrigin};

use super::Report;
use super::finding::{Finding, State, Verdict, count};
use crate::output::style;
use crate::wrap::wrap;

/// Columns of the state in front of a finding.
const STATE_COLUMNS: usize = 6;
/// Columns between two others.
const GAP: usize = 2;
/// Columns of text that are left at the least.
const TEXT_COLUMNS_MIN: usize = 20;

/// All of it, in lines of `columns`.
pub fn report(report: &Report, shows_defaults: bool, columns: usize) -> String {
    let mut text = String::new();
    let (heading, dim) = (style::HEADING, style::DIM);
    let mut put = |line: std::fmt::Arguments<'_>| {
        // Writing to a string does not fail.
        let _ = text.write_fmt(line);
    };
    put(format_args!("{heading}{}{heading:#}\n", report.config));
    for line in report.store.iter().flat_map(|store| wrap(store, columns)) {
        put(format_args!("{line}\n"));
    }
    let shown: Vec<&Effective> = report
        .settings
        .iter()
        .filter(|setting| shows_defaults || setting.origin != SettingOrigin::Default)
        .collect();
    if !shown.is_empty() {
        put(format_args!("\n{heading}Settings{heading:#}\n{}", settings(&shown, columns)));
        let hidden = report.settings.len() - shown.len();
        if hidden > 0 {
            put(format_args!("  {dim}and {hidden} by default (--all lists them){dim:#}\n"));
        }
    }
    put(format_args!("\n{heading}Findings{heading:#}\n{}", findings(&report.findings, columns)));
    put(format_args!("\n{}\n", verdict(report)));
    text
}

fn settings(shown: &[&Effective], columns: usize) -> String {
    let longest = |text: &dyn Fn(&Effective) -> usize| shown.iter().map(|one| text(one)).max().unwrap_or(0);
    let name_columns = longest(&|one| one.name.chars().count());
    let origin_columns = longest(&|one| one.origin.to_string().chars().count());
    let value_columns = columns.saturating_sub(name_columns + origin_columns + 3 * GAP).max(TEXT_COLUMNS_MIN);
    let value_columns = value_columns.min(longest(&|one| one.value.chars().count()));
    let dim = style::DIM;
    let mut text = String::new();
    for one in shown {
        let mut origin = one.origin.to_string();
        let mut name = one.name;
        for line in wrap(&one.value, value_columns) {
            let line = format!("  {name:name_columns$}  {line:value_columns$}");
            if origin.is_empty() {
                text.push_str(line.trim_end());
            } else {
                let _ = write!(text, "{line}  {dim}{origin}{dim:#}");
            }
            text.push('\n');
            (name, origin) = ("", String::new());
        }
    }
    text
}

fn findings(findings: &[Finding], columns: usize) -> String {
    let check_columns = findings.iter().map(|finding| finding.check.len()).max().unwrap_or(0);
    let indent = GAP + STATE_COLUMNS + GAP + check_columns + GAP;
    let width = columns.saturating_sub(indent).max(TEXT_COLUMNS_MIN);
    let mut text = String::new();
    for finding in findings {
        let (word, style) = match finding.state {
            State::Ok => ("ok", style::GOOD),
            State::CouldBeBetter => ("better", style::MEAGRE),
            State::Broken => ("broken", style::BAD),
        };
        let mut lines = wrap(&finding.found, width).into_iter();
        let first = lines.next().unwrap_or_default();
        let check = finding.check;
        let line = format!("  {style}{word:STATE_COLUMNS$}{style:#}  {check:check_columns$}  {first}");
        text.push_str(line.trim_end());
        text.push('\n');
        let mut put = |line: &str| {
            let _ = writeln!(text, "{:indent$}{line}", "");
        };
        lines.for_each(|line| put(&line));
        finding.why.iter().flat_map(|why| wrap(why, width)).for_each(|line| put(&line));
        for advice in &finding.advice {
            for (number, line) in wrap(advice, width.saturating_sub(2)).iter().enumerate() {
                put(&format!("{} {line}", if number == 0 { "→" } else { " " }));
            }
        }
    }
    text
}

fn verdict(report: &Report) -> String {
    let many = |number: usize, what: &str| match number {
        1 => format!("1 finding {}", what.replace("are", "is")),
        _ => format!("{number} findings {what}"),
    };
    let better = count(&report.findings, State::CouldBeBetter);
    let (style, text) = match report.verdict {
        Verdict::Usable => (style::GOOD, "usable".to_owned()),
        Verdict::CouldBeBetter => (style::MEAGRE, format!("usable, {}", many(better, "could be better"))),
        Verdict::NotUsable => {
            let broken = many(count(&report.findings, State::Broken), "are broken");
            let better =
                if better > 0 { format!(", {}", many(better, "could be better")) } else { String::new() };
            (style::BAD, format!("not usable, {broken}{better}"))
        }
    };
    format!("{style}{text}{style:#}")
}
