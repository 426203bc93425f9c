//! Stores as lines of text, for a log or a pipe.

use super::view::{Holds, View};
use super::{Look, bytes_per_second, count, percent, time};
use crate::output::{bytes, style};

/// A paragraph for each store.
pub fn text(look: &Look) -> String {
    let mut text: String = look.views.iter().map(|view| paragraph(view) + "\n").collect();
    if look.silent > 0 {
        text += &format!("stores that do not answer: {}\n", look.silent);
    } else if look.views.is_empty() {
        text += "no store is open any more\n";
    }
    text
}

fn paragraph(view: &View) -> String {
    let (heading, bad) = (style::HEADING, style::BAD);
    let mut lines = vec![
        format!("{heading}{}{heading:#}", title(view)),
        format!("  {}", view.location_or_memory()),
        format!(
            "  gets {:>7}/s  {:>10}  hits {}",
            count(view.gets.per_second),
            bytes_per_second(view.gets.bytes_per_second),
            percent(view.gets.hit_ratio)
        ),
        format!(
            "  puts {:>7}/s  {:>10}  declined {}/s  evictions {}/s",
            count(view.puts.per_second),
            bytes_per_second(view.puts.bytes_per_second),
            count(view.puts.declined_per_second),
            count(view.evictions_per_second)
        ),
        format!("  holds {}; in flight {}", holds(&view.holds), count(view.items_in_flight)),
    ];
    for latency in view.latencies.iter().filter(|latency| latency.per_second > 0.0) {
        lines.push(format!(
            "  {} of {:<8} {:>7}/s  p50 <= {}, p99 <= {}",
            latency.direction,
            latency.size,
            count(latency.per_second),
            time(latency.p50_seconds),
            time(latency.p99_seconds)
        ));
    }
    let trouble = view.trouble.words();
    if !trouble.is_empty() {
        lines.push(format!("  {bad}since open: {}{bad:#}", trouble.join(", ")));
    }
    lines.join("\n") + "\n"
}

/// Which store it is, in one line.
pub fn title(view: &View) -> String {
    let View { pid, store, backend, layout, path, worker, .. } = view;
    format!("pid {pid}, store {store}, worker {worker}: {backend}, {layout}, {path}")
}

/// What a store holds: `12.0 GiB of 16.0 GiB (75.0 %), 1.2k keys, 3 pinned`.
pub fn holds(holds: &Holds) -> String {
    let mut text = bytes(holds.bytes as u64);
    if holds.capacity_bytes > 0.0 {
        text += &format!(" of {}", bytes(holds.capacity_bytes as u64));
    }
    if let Some(fullness) = holds.fullness() {
        text += &format!(" ({})", percent(Some(fullness)));
    }
    text += &format!(", {} keys", count(holds.keys));
    if holds.pinned_keys > 0.0 {
        text += &format!(", {} pinned", count(holds.pinned_keys));
    }
    text
}
