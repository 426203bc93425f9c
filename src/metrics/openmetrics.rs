//! The text form of metrics: OpenMetrics 1.0, which Prometheus and its like read.
//!
//! A family is told once, with all samples of it; its name has its unit behind. See
//! <https://prometheus.io/docs/specs/om/open_metrics_spec/>.

use std::fmt::{Display, Write};
use std::time::Duration;

use super::latency::{BOUNDS, Histogram, bound};

/// The media type of the text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the samples of a family are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// Is what it is now.
    Gauge,
    /// Items by how long they took.
    Histogram,
    /// Texts, as labels of a 1.
    Info,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::Info => "info",
        }
    }

    /// What the name of a plain sample has behind that of its family.
    fn suffix(self) -> &'static str {
        match self {
            Kind::Counter => "_total",
            Kind::Gauge | Kind::Histogram => "",
            Kind::Info => "_info",
        }
    }
}

/// A label and its value.
pub type Label<'a> = (&'a str, &'a str);

/// A text that is being written.
#[derive(Debug, Default)]
pub struct Text {
    text: String,
    name: &'static str,
    suffix: &'static str,
}

impl Text {
    /// Begins a family, to which the samples belong that follow. `unit` is "" or what its name ends with.
    pub fn family(&mut self, name: &'static str, kind: Kind, unit: &str, help: &str) {
        (self.name, self.suffix) = (name, kind.suffix());
        self.line(format_args!("# TYPE {name} {}", kind.name()));
        if !unit.is_empty() {
            self.line(format_args!("# UNIT {name} {unit}"));
        }
        self.line(format_args!("# HELP {name} {}", Escaped(help)));
    }

    /// A sample of a counter, a gauge or an info.
    pub fn sample(&mut self, labels: &[Label<'_>], value: impl Display) {
        let (name, suffix) = (self.name, self.suffix);
        self.line(format_args!("{name}{suffix}{} {value}", Labels(labels)));
    }

    /// The samples of a histogram of seconds.
    pub fn histogram(&mut self, labels: &[Label<'_>], histogram: &Histogram) {
        let name = self.name;
        let mut count = 0;
        for (bucket, items) in histogram.buckets.iter().enumerate() {
            count += items;
            let le = if bucket < BOUNDS { canonical_seconds(bound(bucket)) } else { "+Inf".to_owned() };
            let labels = [labels, &[("le", &le)]].concat();
            self.line(format_args!("{name}_bucket{} {count}", Labels(&labels)));
        }
        let time = Duration::from_nanos(histogram.nanoseconds);
        self.line(format_args!("{name}_count{} {count}", Labels(labels)));
        self.line(format_args!("{name}_sum{} {}.{:09}", Labels(labels), time.as_secs(), time.subsec_nanos()));
    }

    /// The whole text.
    pub fn finish(mut self) -> String {
        self.line(format_args!("# EOF"));
        self.text
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // A String takes whatever it is given.
        let _ = writeln!(self.text, "{line}");
    }
}

/// A bound as every exporter writes it, since `le` is compared as text: the fewest digits, and below 0.0001 with an exponent of
/// two digits. For whole microseconds.
fn canonical_seconds(bound: Duration) -> String {
    let seconds = bound.as_secs_f64();
    if bound >= Duration::from_micros(100) {
        return seconds.to_string();
    }
    let text = format!("{seconds:e}");
    match text.split_once("e-") {
        Some((digits, exponent)) => format!("{digits}e-{exponent:0>2}"),
        None => text,
    }
}

struct Labels<'a>(&'a [Label<'a>]);

impl Display for Labels<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, (name, value)) in self.0.iter().enumerate() {
            f.write_char(if index == 0 { '{' } else { ',' })?;
            write!(f, "{name}=\"{}\"", Escaped(value))?;
        }
        if self.0.is_empty() { Ok(()) } else { f.write_char('}') }
    }
}

/// A text of one line, in which a quote is no end.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.chars().try_for_each(|character| match character {
            '\\' => f.write_str("\\\\"),
            '"' => f.write_str("\\\""),
            '\n' => f.write_str("\\n"),
            other => f.write_char(other),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a path has in it must not end a label, or a line.
    #[test]
    fn labels_are_escaped() {
        let mut text = Text::default();
        text.family("a_bytes", Kind::Counter, "bytes", "Some \"bytes\".");
        text.sample(&[("path", "/a\"b\\c\nd"), ("n", "1")], 7);
        text.family("b", Kind::Gauge, "", "None.");
        text.sample(&[], 0);
        let expected = "# TYPE a_bytes counter\n# UNIT a_bytes bytes\n# HELP a_bytes Some \\\"bytes\\\".\n\
                        a_bytes_total{path=\"/a\\\"b\\\\c\\nd\",n=\"1\"} 7\n\
                        # TYPE b gauge\n# HELP b None.\nb 0\n# EOF\n";
        assert_eq!(text.finish(), expected);
    }

    /// Bounds that two exporters write differently are two series.
    #[test]
    fn bounds_are_written_as_everybody_writes_them() {
        let told: Vec<String> = (0..BOUNDS).map(|bucket| canonical_seconds(bound(bucket))).collect();
        assert_eq!(
            &told[..8],
            ["1e-06", "2e-06", "4e-06", "8e-06", "1.6e-05", "3.2e-05", "6.4e-05", "0.000128"]
        );
        assert_eq!(told[BOUNDS - 1], "67.108864");
        assert!(told.iter().all(|bound| bound.parse::<f64>().is_ok()));
    }

    /// Buckets add up, as `le` says; the last is the count, and the sum is exact.
    #[test]
    fn a_histogram_adds_up() {
        let mut histogram = Histogram::default();
        (histogram.buckets[0], histogram.buckets[3], histogram.buckets[BOUNDS]) = (2, 1, 4);
        histogram.nanoseconds = 3_000_000_001;
        let mut text = Text::default();
        text.family("l_seconds", Kind::Histogram, "seconds", "How long.");
        text.histogram(&[("size", "1MiB")], &histogram);
        let text = text.finish();
        let has = |line: &str| assert!(text.contains(line), "{line} is not in\n{text}");
        has("\nl_seconds_bucket{size=\"1MiB\",le=\"1e-06\"} 2\n");
        has("\nl_seconds_bucket{size=\"1MiB\",le=\"4e-06\"} 2\n");
        has("\nl_seconds_bucket{size=\"1MiB\",le=\"8e-06\"} 3\n");
        has("\nl_seconds_bucket{size=\"1MiB\",le=\"67.108864\"} 3\n");
        has("\nl_seconds_bucket{size=\"1MiB\",le=\"+Inf\"} 7\n");
        has("\nl_seconds_count{size=\"1MiB\"} 7\nl_seconds_sum{size=\"1MiB\"} 3.000000001\n# EOF\n");
    }
}
