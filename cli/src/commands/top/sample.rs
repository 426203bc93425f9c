//! What one store measured at one moment: its text of metrics, read back.

use std::collections::BTreeMap;
use std::time::Instant;

use nixl_store::status::Socket;

/// The numbers of one store, and when they were read.
#[derive(Clone, Debug)]
pub struct Sample {
    /// When the text came.
    pub at: Instant,
    /// Names and labels with their values.
    values: Vec<Value>,
}

#[derive(Clone, Debug)]
struct Value {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Sample {
    /// Asks the store behind a socket; `None` if it is not there any more, or does not answer.
    pub fn read(socket: &Socket) -> Option<Sample> {
        nixl_store::status::read(&socket.path).ok().map(|text| Sample::parse(&text))
    }

    /// Takes a text apart. Lines that are not understood, as those of a later version may be, are left out.
    pub fn parse(text: &str) -> Sample {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Sample { at: Instant::now(), values: lines.filter_map(value).collect() }
    }

    /// The value with this name and these labels beside others; 0 if there is none.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.find(name, labels).map_or(0.0, |found| found.value)
    }

    /// A label of the info metric.
    pub fn info(&self, label: &str) -> &str {
        self.find("nixl_store_info", &[]).and_then(|found| found.labels.get(label)).map_or("", String::as_str)
    }

    /// The histograms of latency: direction, size, and the counts up to each bound, in seconds.
    pub fn latencies(&self) -> Vec<(String, String, Buckets)> {
        let mut found: Vec<(String, String, Buckets)> = Vec::new();
        for value in self.values.iter().filter(|value| value.name == "nixl_store_latency_seconds_bucket") {
            let label = |name: &str| value.labels.get(name).cloned().unwrap_or_default();
            let (direction, size) = (label("direction"), label("size"));
            let Ok(bound) = label("le").replace("+Inf", "inf").parse() else { continue };
            match found.last_mut() {
                Some((last_direction, last_size, buckets))
                    if *last_direction == direction && *last_size == size =>
                {
                    buckets.0.push((bound, value.value));
                }
                _ => found.push((direction, size, Buckets(vec![(bound, value.value)]))),
            }
        }
        found
    }

    fn find(&self, name: &str, labels: &[(&str, &str)]) -> Option<&Value> {
        let has = |value: &Value| {
            labels.iter().all(|(label, wanted)| value.labels.get(*label).is_some_and(|found| found == wanted))
        };
        self.values.iter().find(|value| value.name == name && has(value))
    }
}

/// Counts up to each bound, as a histogram tells them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Buckets(Vec<(f64, f64)>);

impl Buckets {
    /// Items counted.
    pub fn count(&self) -> f64 {
        self.0.last().map_or(0.0, |(_, count)| *count)
    }

    /// What came since an earlier moment.
    pub fn since(&self, earlier: Option<&Buckets>) -> Buckets {
        let Some(earlier) = earlier else { return self.clone() };
        let counts =
            self.0.iter().zip(earlier.0.iter().map(|(_, count)| *count).chain(std::iter::repeat(0.0)));
        Buckets(counts.map(|((bound, now), then)| (*bound, (now - then).max(0.0))).collect())
    }

    /// The time that this part of the items took at most, in seconds, as the bound of their bucket tells it: twice as much as
    /// it was at worst. `None` without items, infinite if it is beyond the last bound.
    pub fn quantile(&self, part: f64) -> Option<f64> {
        let wanted = self.count() * part;
        (self.count() > 0.0)
            .then(|| self.0.iter().find(|(_, count)| *count >= wanted).map(|(bound, _)| *bound))?
    }
}

/// A line: `name{label="value",...} number`.
fn value(line: &str) -> Option<Value> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            rest = rest.trim_start_matches(',');
            if let Some(behind) = rest.strip_prefix('}') {
                rest = behind;
                break;
            }
            let (label, quoted) = rest.split_once("=\"")?;
            let (text, behind) = unquote(quoted)?;
            labels.insert(label.to_owned(), text);
            rest = behind;
        }
    }
    let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
    Some(Value { name: name.to_owned(), labels, value })
}

/// A label's value up to its closing quote, and what is behind that.
fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut text = String::new();
    let mut characters = quoted.char_indices();
    loop {
        match characters.next()? {
            (at, '"') => return Some((text, &quoted[at + 1..])),
            (_, '\\') => match characters.next()?.1 {
                'n' => text.push('\n'),
                other => text.push(other),
            },
            (_, other) => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# TYPE nixl_store info\n\
        nixl_store_info{store=\"1\",location=\"/a \\\"b\\\\c\\n,}\",pid=\"7\"} 1\n\
        nixl_store_gets_total{store=\"1\",outcome=\"hit\"} 30\n\
        nixl_store_gets_total{store=\"1\",outcome=\"miss\"} 10\n\
        nixl_store_keys 5\n\
        nixl_store_latency_seconds_bucket{direction=\"get\",size=\"1MiB\",le=\"1e-06\"} 0\n\
        nixl_store_latency_seconds_bucket{direction=\"get\",size=\"1MiB\",le=\"2e-06\"} 90\n\
        nixl_store_latency_seconds_bucket{direction=\"get\",size=\"1MiB\",le=\"+Inf\"} 100\n\
        nixl_store_latency_seconds_bucket{direction=\"put\",size=\"1MiB\",le=\"+Inf\"} 1\n\
        of a later version {\n# EOF\n";

    #[test]
    fn a_text_is_read_back() {
        let sample = Sample::parse(TEXT);
        assert_eq!(sample.info("location"), "/a \"b\\c\n,}");
        assert_eq!(sample.info("pid"), "7");
        assert_eq!(sample.value("nixl_store_gets_total", &[("outcome", "miss")]), 10.0);
        assert_eq!(sample.value("nixl_store_keys", &[]), 5.0);
        assert_eq!(sample.value("nixl_store_gets_total", &[("outcome", "none")]), 0.0);
        let latencies = sample.latencies();
        let names: Vec<_> = latencies.iter().map(|(direction, size, _)| (&**direction, &**size)).collect();
        assert_eq!(names, [("get", "1MiB"), ("put", "1MiB")]);
        assert_eq!(latencies[1].2.count(), 1.0);
    }

    #[test]
    fn quantiles_are_bounds_of_their_buckets() {
        let latencies = Sample::parse(TEXT).latencies();
        let all = &latencies[0].2;
        assert_eq!((all.quantile(0.5), all.quantile(0.9)), (Some(2e-6), Some(2e-6)));
        assert_eq!(all.quantile(0.99), Some(f64::INFINITY));
        assert_eq!(all.since(Some(all)).quantile(0.5), None);
        let earlier = Buckets(vec![(1e-6, 0.0), (2e-6, 89.0), (f64::INFINITY, 89.0)]);
        assert_eq!(all.since(Some(&earlier)), Buckets(vec![(1e-6, 0.0), (2e-6, 1.0), (f64::INFINITY, 11.0)]));
        assert_eq!(all.since(None), *all);
    }
}
