//! A reader of OpenMetrics 1.0 that lets nothing pass: each line has its place, each number its form.

use std::collections::{BTreeMap, BTreeSet};

pub type Labels = BTreeMap<String, String>;

/// A text that was read.
#[derive(Debug)]
pub struct Text {
    samples: BTreeMap<(String, Labels), f64>,
    /// Types of the families.
    pub families: BTreeMap<String, String>,
}

/// What may stand behind a family's name.
fn suffixes(kind: &str) -> &'static [&'static str] {
    match kind {
        "counter" => &["_total"],
        "gauge" => &[""],
        "info" => &["_info"],
        "histogram" => &["_bucket", "_count", "_sum"],
        other => panic!("type {other}"),
    }
}

impl Text {
    #[track_caller]
    pub fn read(text: &str) -> Text {
        let body = text.strip_suffix("# EOF\n").expect("ends with # EOF");
        let mut read = Text { samples: BTreeMap::new(), families: BTreeMap::new() };
        let (mut family, mut told) = (String::new(), BTreeSet::new());
        let mut order: Vec<(String, Labels, f64)> = Vec::new();
        for line in body.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                let (word, rest) = comment.split_once(' ').expect("a word");
                let (name, what) = rest.split_once(' ').expect("a name");
                assert!(
                    name.starts_with("nixl_store")
                        && name.bytes().all(|byte| b"_".contains(&byte) || byte.is_ascii_lowercase()),
                    "{line}"
                );
                match word {
                    "TYPE" => {
                        suffixes(what);
                        assert!(
                            read.families.insert(name.to_owned(), what.to_owned()).is_none(),
                            "{line}: twice"
                        );
                        family = name.to_owned();
                        told.clear();
                    }
                    "UNIT" => assert!(
                        ["seconds", "bytes"].contains(&what) && name.ends_with(&format!("_{what}")),
                        "{line}"
                    ),
                    "HELP" => assert!(what.ends_with('.'), "{line}"),
                    other => panic!("{other}: {line}"),
                }
                assert_eq!(name, family, "{line}");
                assert!(told.insert(word.to_owned()), "{line}: twice");
                assert!(
                    order.iter().all(|(name, ..)| !read.belongs(name, &family)),
                    "{line}: behind its samples"
                );
                continue;
            }
            assert!(told.contains("HELP"), "{line}: no HELP before it");
            let has_unit = ["_seconds", "_bytes"].iter().any(|unit| family.ends_with(unit));
            assert_eq!(has_unit, told.contains("UNIT"), "{family}: its unit");
            let (name, labels, value) = sample(line);
            assert!(read.belongs(&name, &family), "{line} is no sample of {family}");
            order.push((name, labels, value));
        }
        for (name, labels, value) in &order {
            let is_new = read.samples.insert((name.clone(), labels.clone()), *value).is_none();
            assert!(is_new, "{name} {labels:?}: twice");
            assert!(labels.contains_key("store"), "{name} {labels:?}: whose?");
        }
        read.check_histograms(&order);
        read
    }

    fn belongs(&self, sample: &str, family: &str) -> bool {
        let suffix = sample.strip_prefix(family);
        suffix.is_some_and(|suffix| suffixes(&self.families[family]).contains(&suffix))
    }

    /// Buckets come in the order of their bounds, add up, and end with all.
    fn check_histograms(&self, order: &[(String, Labels, f64)]) {
        let mut last: Option<(Labels, f64, f64)> = None;
        for (name, labels, value) in order.iter().filter(|(name, ..)| name.ends_with("_seconds_bucket")) {
            let mut series = labels.clone();
            let le: f64 = series.remove("le").expect("a bound").parse().expect("a number");
            if let Some((before, bound, count)) = last.take() {
                assert!(before != series || bound < le && count <= *value, "{name} {labels:?}");
                assert!(before == series || bound == f64::INFINITY, "{name} {before:?} has no last bucket");
            }
            if le == f64::INFINITY {
                let family = name.strip_suffix("_bucket").unwrap();
                assert_eq!(self.samples[&(format!("{family}_count"), series.clone())], *value);
                let sum = self.samples[&(format!("{family}_sum"), series.clone())];
                assert_eq!(sum > 0.0, *value > 0.0, "{series:?}");
            }
            last = Some((series, le, *value));
        }
        assert!(last.is_none_or(|(_, bound, _)| bound == f64::INFINITY));
    }

    /// The sum of all samples of that name that have these labels.
    pub fn sum(&self, name: &str, wanted: &[(&str, &str)]) -> f64 {
        let has = |labels: &Labels| {
            wanted.iter().all(|(label, value)| labels.get(*label).is_some_and(|has| has == value))
        };
        let found: Vec<f64> = self
            .samples
            .iter()
            .filter(|((found, labels), _)| found == name && has(labels))
            .map(|(_, value)| *value)
            .collect();
        found.iter().sum()
    }

    /// The one sample of that name with these labels.
    #[track_caller]
    pub fn one(&self, name: &str, wanted: &[(&str, &str)]) -> u64 {
        let count = self.samples.keys().filter(|(found, labels)| {
            found == name
                && wanted.iter().all(|(label, value)| labels.get(*label).is_some_and(|has| has == value))
        });
        assert_eq!(count.count(), 1, "{name} {wanted:?} in {:#?}", self.samples.keys());
        self.sum(name, wanted) as u64
    }

    /// The labels of the samples of that name.
    pub fn labels(&self, name: &str) -> Vec<&Labels> {
        self.samples.keys().filter(|(found, _)| found == name).map(|(_, labels)| labels).collect()
    }
}

fn sample(line: &str) -> (String, Labels, f64) {
    let (name, rest) = line.split_once('{').expect("labels");
    let mut labels = Labels::new();
    let mut rest = rest;
    loop {
        let (label, behind) = rest.split_once("=\"").expect("a label");
        let (mut value, mut escaped, mut end) = (String::new(), false, None);
        for (at, character) in behind.char_indices() {
            match (escaped, character) {
                (false, '"') => {
                    end = Some(at);
                    break;
                }
                (false, '\\') => escaped = true,
                (false, other) => value.push(other),
                (true, 'n') => (escaped, _) = (false, value.push('\n')),
                (true, other) => {
                    assert!(['\\', '"'].contains(&other), "{line}");
                    (escaped, _) = (false, value.push(other));
                }
            }
        }
        assert!(labels.insert(label.to_owned(), value).is_none(), "{line}: a label twice");
        rest = &behind[end.expect("a quote") + 1..];
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => break,
        }
    }
    let value = rest.strip_prefix("} ").expect("a value");
    assert!(value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'), "{line}");
    (name.to_owned(), labels, value.parse().expect("a number"))
}
