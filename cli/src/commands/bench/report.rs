//! What was measured, as a table and as JSON.

use comfy_table::{Cell as Column, CellAlignment};
use nixl_store::store::Capabilities;
use serde::Serialize;

use super::bare::THREADS;
use super::plan::{Cell, ROUNDS};
use crate::output::{Output, bytes, style};
use crate::wrap::wrap;

/// Bytes of a GB.
const GB: f64 = 1e9;

/// All of it. The names are those of the JSON document.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The configuration.
    pub config: String,
    /// The backend, and the path in effect.
    pub backend: String,
    /// The path in effect.
    pub io_path: String,
    /// Why not a better one; empty if there is none.
    pub reason: String,
    /// How objects lie on storage.
    pub layout: String,
    /// Whether transfers go past the page cache.
    pub direct_io: bool,
    /// The file system, or the server.
    pub medium: String,
    /// Threads of the bare reads and writes; `None`: there are none.
    pub bare_threads: Option<usize>,
    /// Rounds that each figure is the median of.
    pub rounds: usize,
    /// Whether every byte that came back was compared.
    pub is_verified: bool,
    /// The figures.
    pub cells: Vec<Figures>,
}

/// The figures of one size and batch, in bytes a second.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Bytes of an object.
    pub object_bytes: u64,
    /// Objects of a batch.
    pub batch: u64,
    /// By the library.
    pub put_bytes_per_second: f64,
    /// By the library.
    pub get_bytes_per_second: f64,
    /// Bare.
    pub bare_write_bytes_per_second: Option<f64>,
    /// Bare.
    pub bare_read_bytes_per_second: Option<f64>,
}

impl Figures {
    /// Medians of what each round had.
    pub fn of(cell: &Cell, speeds: &mut [Vec<f64>; 4]) -> Figures {
        let [put, get, write, read] = speeds.each_mut().map(|speeds| median(speeds));
        Figures {
            object_bytes: cell.object_bytes,
            batch: cell.batch,
            put_bytes_per_second: put.unwrap_or(0.0),
            get_bytes_per_second: get.unwrap_or(0.0),
            bare_write_bytes_per_second: write,
            bare_read_bytes_per_second: read,
        }
    }
}

fn median(speeds: &mut [f64]) -> Option<f64> {
    speeds.sort_by(f64::total_cmp);
    speeds.get(speeds.len() / 2).copied()
}

impl Report {
    /// Without figures yet.
    pub fn new(config: String, capabilities: Capabilities, medium: String, has_bare: bool) -> Report {
        let Capabilities { backend, io_path, reason, layout, direct_io, .. } = capabilities;
        Report {
            config,
            backend,
            io_path,
            reason,
            layout,
            direct_io,
            medium,
            bare_threads: has_bare.then_some(THREADS),
            rounds: ROUNDS,
            is_verified: true,
            cells: Vec::new(),
        }
    }

    /// What was measured, in a line.
    pub fn subject(&self) -> String {
        let cache = match (self.bare_threads.is_some(), self.direct_io) {
            (false, _) => "",
            (true, _) if self.is_in_memory() => ", in memory",
            (true, true) => ", O_DIRECT",
            (true, false) => ", page cache, warm",
        };
        format!("{} by {}, {} on {}{cache}", self.backend, self.io_path, self.layout, self.medium)
    }

    fn is_in_memory(&self) -> bool {
        matches!(&*self.medium, "tmpfs" | "ramfs")
    }

    /// The text.
    pub fn text(&self, output: &Output) -> String {
        let columns = usize::from(output.columns());
        let (heading, dim) = (style::HEADING, style::DIM);
        let mut text = format!("{heading}{}{heading:#}\n", self.config);
        let mut put = |line: &str, style: anstyle::Style| {
            for line in wrap(line, columns) {
                text.push_str(&format!("{style}{line}{style:#}\n"));
            }
        };
        put(&self.subject(), anstyle::Style::new());
        if !self.reason.is_empty() {
            put(&self.reason, style::MEAGRE);
        }
        text.push_str(&format!("\n{}\n\n", self.table(output)));
        let bare = match self.bare_threads {
            Some(threads) => {
                format!("; bare: pwrite and pread by {threads} threads, same bytes, same file system")
            }
            None => String::new(),
        };
        let foot = format!("GB/s (10^9 bytes), medians of {} rounds; every byte compared{bare}", self.rounds);
        for line in wrap(&foot, columns) {
            text.push_str(&format!("{dim}{line}{dim:#}\n"));
        }
        text
    }

    fn table(&self, output: &Output) -> String {
        let mut table = output.table();
        let bold = |text: &str| {
            let cell = Column::new(text).set_alignment(CellAlignment::Right);
            if output.has_colours() { cell.add_attribute(comfy_table::Attribute::Bold) } else { cell }
        };
        let has_bare = self.bare_threads.is_some();
        let headings: &[&str] = if has_bare {
            &["object", "batch", "put", "bare", "of bare", "get", "bare", "of bare"]
        } else {
            &["object", "batch", "put", "get"]
        };
        table.set_header(headings.iter().map(|heading| bold(heading)));
        for figures in &self.cells {
            let right = |text: String| Column::new(text).set_alignment(CellAlignment::Right);
            let speed = |speed: f64| right(format!("{:.2}", speed / GB));
            let mut row = vec![right(bytes(figures.object_bytes)), right(figures.batch.to_string())];
            for (ours, bare) in [
                (figures.put_bytes_per_second, figures.bare_write_bytes_per_second),
                (figures.get_bytes_per_second, figures.bare_read_bytes_per_second),
            ] {
                row.push(speed(ours));
                if let Some(bare) = bare {
                    let part = right(format!("{:.0} %", 100.0 * ours / bare.max(1.0)));
                    row.push(speed(bare));
                    row.push(part);
                }
            }
            table.add_row(row);
        }
        if output.has_colours() {
            table.enforce_styling();
        }
        table.to_string().lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
    }
}
