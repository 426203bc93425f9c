//! `bench`: put and get of this machine through the library, beside bare reads and writes on the same file system.
//!
//! It works in a place of its own, which is gone at the end; the engine's pool is not opened. For each size of objects a store is
//! opened, as full as it may be: a put displaces an object of the round before, as it does in an engine's pool.

mod bare;
mod ground;
mod interrupt;
mod library;
mod plan;
mod report;
mod svg;

use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use nixl_store::config::{BackendKind, Config as Configuration};
use nixl_store::log::Logger;
use nixl_store::store::OpenOptions;
use nixl_store::sys::mounts::file_system_of;

use self::bare::Bare;
use self::ground::Ground;
use self::interrupt::Interrupt;
use self::library::Library;
use self::plan::{Cell, Plan, ROUNDS, Wanted};
use self::report::{Figures, Report};
use crate::args::{Config, Global};
use crate::output::{Failure, Outcome, Output};
use crate::place;

/// Bytes of a slot beside the object, at most: a trailer, and what is lost to whole pages.
const SLOT_OVERHEAD_BYTES: u64 = 16 << 10;

/// Arguments of `bench`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Sizes are read in powers of 1024: 64K, 1M, 2G.")]
pub struct Bench {
    #[command(flatten)]
    config: Config,
    #[command(flatten)]
    wanted: Wanted,
    /// Draw the figures into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// Measures, and prints what was measured.
///
/// # Errors
/// What the library or the system answers; an interruption.
pub fn run(wanted: &Bench, global: &Global, output: &Output) -> Result<Outcome, Failure> {
    let mut config = place::config(wanted.config.config.as_deref())?;
    let plan = Plan::new(&wanted.wanted, config.backend == BackendKind::Obj)?;
    if plan.left_out > 0 {
        output.remark(format_args!(
            "nixl-store: {} of the measurements are left out, as one batch of them has more than --bytes",
            plan.left_out
        ));
    }
    let interrupt = Interrupt::new()?;
    let name = config.source_name();
    // What degrades the path is part of the report.
    let options = place::options(global, b"", Logger::silent());
    let path = config.path_of(options.cuda_device, options.worker_id).map(Path::to_owned);
    let ground = Ground::new(&mut config, path.as_deref(), options.worker_id, output)?;
    let bench = Measuring { config, options, plan, interrupt, ground, bar: bar(output) };
    let report = bench.all(name)?;
    bench.bar.finish_and_clear();
    // Before anything is printed: who reads it may look for what is left.
    drop(bench);
    if let Some(path) = &wanted.svg {
        std::fs::write(path, svg::draw(&report))
            .map_err(|error| Failure::os(&format!("writing {}", path.display()), &error))?;
    }
    if output.is_json() {
        output.json(&report)?;
    } else {
        output.text(report.text(output))?;
    }
    Ok(Outcome::Done)
}

fn bar(output: &Output) -> ProgressBar {
    if !output.shows_progress() {
        return ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    }
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    bar
}

/// All that a measurement needs. The ground goes last, when nothing is open in it.
struct Measuring<'a> {
    config: Configuration,
    options: OpenOptions,
    plan: Plan,
    interrupt: Interrupt,
    bar: ProgressBar,
    ground: Ground<'a>,
}

impl Measuring<'_> {
    fn all(&self, name: String) -> Result<Report, Failure> {
        self.bar.set_length((self.plan.cells.len() * (ROUNDS + 1)) as u64);
        let mut report = None;
        for size in self.plan.sizes() {
            self.size(size, &name, &mut report)?;
        }
        report.ok_or_else(|| Failure::new("nothing was measured"))
    }

    /// Measures one size of objects, in a store of its own.
    fn size(&self, size: u64, name: &str, report: &mut Option<Report>) -> Result<(), Failure> {
        let objects = self.plan.objects_of(size);
        let bytes = size * objects;
        // The store, and the bare file beside it.
        self.ground.check_room(2 * bytes + objects * SLOT_OVERHEAD_BYTES)?;
        let mut library = Library::open(&self.config, &self.options, size, objects)?;
        let capabilities = library.capabilities()?;
        let bare = self
            .ground
            .directory()
            .map(|directory| Bare::new(directory, size, bytes, capabilities.direct_io));
        let bare = bare.transpose()?;
        let report = report
            .get_or_insert_with(|| Report::new(name.to_owned(), capabilities, self.medium(), bare.is_some()));
        for cell in self.plan.of(size) {
            report.cells.push(self.cell(cell, &mut library, bare.as_ref())?);
        }
        library.close()?;
        if let Some(directory) = self.ground.directory() {
            // The next size finds the room that this one took.
            empty(directory)
                .map_err(|error| Failure::os(&format!("emptying {}", directory.display()), &error))?;
        }
        Ok(())
    }

    /// Measures in rounds, in which the two take turns at being first.
    fn cell(&self, cell: &Cell, library: &mut Library, bare: Option<&Bare>) -> Result<Figures, Failure> {
        let time_max = self.plan.phase_time_max;
        let bytes = cell.object_bytes * cell.objects;
        let mut speeds: [Vec<f64>; 4] = Default::default();
        for round in 0..=ROUNDS {
            let shown = crate::output::bytes(cell.object_bytes);
            self.bar.set_message(format!("objects of {shown}, batches of {}", cell.batch));
            library.begin_round()?;
            let mut measured = [None; 4];
            for part in 0..2 {
                if part == round % 2 {
                    measured[0] = Some(library.put(cell, time_max, &self.interrupt)?);
                    self.interrupt.check()?;
                    measured[1] = Some(library.get(cell, time_max, &self.interrupt)?);
                } else if let Some(bare) = bare {
                    let (source, target) = library.memory();
                    let written = bare.write(source, bytes, time_max)?;
                    measured[2] = Some(written);
                    measured[3] = Some(bare.read(target, written.bytes, time_max)?);
                }
                self.interrupt.check()?;
            }
            // The first one makes room on the device and finds its way.
            if round > 0 {
                for (speeds, measured) in speeds.iter_mut().zip(measured) {
                    speeds.extend(measured.map(|measured| measured.speed()));
                }
            }
            self.bar.inc(1);
        }
        Ok(Figures::of(cell, &mut speeds))
    }

    fn medium(&self) -> String {
        match (self.config.backend, self.ground.directory()) {
            (BackendKind::Memory, _) => "this process's memory".to_owned(),
            (BackendKind::Obj, _) => "a server".to_owned(),
            (_, Some(directory)) => file_system_of(directory).map_or("files".to_owned(), |(kind, _)| kind),
            (_, None) => "files".to_owned(),
        }
    }
}

/// Removes all that is in a directory.
fn empty(directory: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(entry.path())?;
        } else {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
