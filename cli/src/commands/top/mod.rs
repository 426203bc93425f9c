//! `top`: what the open stores of this user do, now.
//!
//! ```text
//! sample  the text of one store's metrics, read back      view    what was between two samples
//! live    the view on a terminal, as it goes on           screen  what is seen there
//! plain   the same as lines of text
//! ```

mod live;
mod plain;
mod sample;
mod screen;
mod view;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::thread::{self, sleep};
use std::time::Duration;

use nixl_store::config::Config;
use nixl_store::status::{self, Socket};
use nixl_store::sys::thread::{STACK_BYTES, spawn_scoped};

use self::sample::Sample;
use self::view::View;
use crate::args;
use crate::output::{Failure, Outcome, Output};
use crate::place;

/// Arguments of `top`.
#[derive(Debug, clap::Args)]
pub struct Top {
    /// Show only the stores that were opened with this file, or lie where it says; not $LMCACHE_CONFIG_FILE
    #[arg(value_name = "CONFIG")]
    config: Option<PathBuf>,
    /// Show only the stores of this process
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// Seconds between two looks
    #[arg(short, long, value_name = "SECONDS", default_value_t = 1.0, value_parser = interval)]
    interval: f64,
    /// Look so many times, then end [default: for ever on a terminal, else once]
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Print lines of text, also on a terminal
    #[arg(long)]
    plain: bool,
}

/// Shortest and longest time between two looks, in seconds.
const INTERVAL_SECONDS: std::ops::RangeInclusive<f64> = 0.1..=3600.0;

fn interval(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    let (least, most) = (INTERVAL_SECONDS.start(), INTERVAL_SECONDS.end());
    if INTERVAL_SECONDS.contains(&seconds) {
        Ok(seconds)
    } else {
        Err(format!("{least} to {most} are allowed"))
    }
}

/// Shows the stores.
///
/// # Errors
/// If there is none to show, or the terminal cannot be used.
pub fn run(wanted: &Top, global: &args::Global, output: &Output) -> Result<Outcome, Failure> {
    let filter = Filter::new(wanted)?;
    let mut watch = Watch { filter, last: BTreeMap::new() };
    let first = watch.look();
    if first.views.is_empty() {
        return Err(watch.filter.nothing(first.silent));
    }
    let interval = Duration::from_secs_f64(wanted.interval);
    let is_live =
        !output.is_json() && !wanted.plain && io::stdout().is_terminal() && io::stdin().is_terminal();
    if is_live && wanted.count.is_none() {
        live::show(watch, first, interval, output.has_colours())?;
        return Ok(Outcome::Done);
    }
    for _ in 0..wanted.count.unwrap_or(1) {
        sleep(interval);
        let look = watch.look();
        if global.json {
            output.json(&look.views)?;
        } else {
            output.text(plain::text(&look))?;
        }
    }
    Ok(Outcome::Done)
}

/// The stores that are shown, and what was last read of each.
struct Watch {
    filter: Filter,
    last: BTreeMap<Socket, Sample>,
}

/// What was seen.
struct Look {
    /// The stores that answered.
    views: Vec<View>,
    /// How many did not.
    silent: usize,
}

impl Watch {
    /// Reads all of them: what was since the last look. A store that was closed is not there any more, one that was opened
    /// since is new.
    fn look(&mut self) -> Look {
        let mut last = BTreeMap::new();
        let mut look = Look { views: Vec::new(), silent: 0 };
        let mut sockets = status::list();
        sockets.retain(|socket| self.filter.takes(socket));
        let samples = read_all(&sockets);
        for (socket, sample) in sockets.into_iter().zip(samples) {
            let Some(sample) = sample else {
                look.silent += 1;
                continue;
            };
            if !self.filter.takes_sample(&socket, &sample) {
                continue;
            }
            look.views.push(View::between(&socket, self.last.get(&socket), &sample));
            last.insert(socket, sample);
        }
        self.last = last;
        look
    }
}

/// Asks all of them side by side, so that one whose process is stopped is waited for but once.
fn read_all(sockets: &[Socket]) -> Vec<Option<Sample>> {
    thread::scope(|scope| {
        let asking = |socket| spawn_scoped(scope, "look", STACK_BYTES, move || Sample::read(socket));
        let asked: Vec<_> = sockets.iter().map(asking).collect();
        let answers = asked.into_iter().zip(sockets).map(|(asked, socket)| match asked {
            Ok(thread) => thread.join().unwrap_or_default(),
            // Without a thread, in its turn.
            Err(_) => Sample::read(socket),
        });
        answers.collect()
    })
}

/// Which stores are wanted.
struct Filter {
    pid: Option<u32>,
    /// The file, without links, and what it says.
    config: Option<(PathBuf, Config)>,
}

impl Filter {
    fn new(wanted: &Top) -> Result<Filter, Failure> {
        let config = match &wanted.config {
            Some(path) => Some((canonical(path), place::config(Some(path))?)),
            None => None,
        };
        Ok(Filter { pid: wanted.pid, config })
    }

    fn takes(&self, socket: &Socket) -> bool {
        self.pid.is_none_or(|pid| pid == socket.pid)
    }

    fn takes_sample(&self, socket: &Socket, sample: &Sample) -> bool {
        let Some((file, config)) = &self.config else { return true };
        let opened_with = Path::new(sample.info("config"));
        // The other process says it as it was told, from where it stands.
        let opened_with = match fs::read_link(format!("/proc/{}/cwd", socket.pid)) {
            Ok(directory) => directory.join(opened_with),
            Err(_) => opened_with.to_owned(),
        };
        let location = Path::new(sample.info("location"));
        canonical(&opened_with) == *file
            || config.paths.iter().any(|path| canonical(path) == canonical(location))
    }

    /// Why there is nothing to show.
    fn nothing(&self, silent: usize) -> Failure {
        if silent > 0 {
            return Failure::new(format!(
                "{silent} open stores of this user do not answer (a process is stopped, or just closing its store, or a child that \
                 it forked has outlived it), and no other is meant by the arguments"
            ));
        }
        let others = status::list().len();
        if others == 0 {
            return Failure::new(
                "no store of this user is open (one that was opened with nixl_store_status_socket: false, or by another \
                 user, or in another container, cannot be seen from here)",
            );
        }
        Failure::new(format!(
            "none of this user's {others} open stores is meant by the arguments; `nixl-store top` shows all of them"
        ))
    }
}

fn canonical(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// A rate or count in five places at most: `7`, `0.5`, `950`, `12.3k`.
fn count(number: f64) -> String {
    const UNITS: [(f64, &str); 3] = [(1e9, "G"), (1e6, "M"), (1e3, "k")];
    // Below, what is rounded has not reached the next unit.
    for (unit, name) in UNITS {
        if number >= unit * 0.9995 {
            return format!("{:.1}{name}", number / unit);
        }
    }
    if number < 9.95 && number.fract() > 0.05 { format!("{number:.1}") } else { format!("{number:.0}") }
}

/// Bytes a second: `1.2 GB/s`, by powers of ten, as devices and networks are measured.
fn bytes_per_second(number: f64) -> String {
    for (unit, name) in [(1e9, "GB/s"), (1e6, "MB/s"), (1e3, "kB/s")] {
        if number >= unit * 0.9995 {
            let value = number / unit;
            return if value < 99.5 { format!("{value:.1} {name}") } else { format!("{value:.0} {name}") };
        }
    }
    format!("{number:.0} B/s")
}

/// A time: `64 us`, `1.0 ms`, `2.1 s`; `> 67 s` for what is beyond the last bucket.
fn time(seconds: Option<f64>) -> String {
    match seconds {
        None => "> 67 s".to_owned(),
        Some(seconds) if seconds < 999.5e-6 => format!("{:.0} us", seconds * 1e6),
        Some(seconds) if seconds < 999.5e-3 => format!("{:.3} ms", seconds * 1e3),
        Some(seconds) => format!("{seconds:.1} s"),
    }
}

fn percent(part: Option<f64>) -> String {
    part.map_or_else(|| "-".to_owned(), |part| format!("{:.1} %", part * 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let counts = [
            (0.0, "0"),
            (0.5, "0.5"),
            (9.94, "9.9"),
            (9.96, "10"),
            (999.4, "999"),
            (999.6, "1.0k"),
            (12_345.0, "12.3k"),
        ];
        counts.into_iter().for_each(|(number, text)| assert_eq!(count(number), text));
        let rates = [
            (0.0, "0 B/s"),
            (999.0, "999 B/s"),
            (1e3, "1.0 kB/s"),
            (123.4e6, "123 MB/s"),
            (12.34e9, "12.3 GB/s"),
        ];
        rates.into_iter().for_each(|(number, text)| assert_eq!(bytes_per_second(number), text));
        let times = [
            (Some(6.4e-5), "64 us"),
            (Some(1.024e-3), "1.024 ms"),
            (Some(2.097_152), "2.1 s"),
            (None, "> 67 s"),
        ];
        times.into_iter().for_each(|(seconds, text)| assert_eq!(time(seconds), text));
        assert_eq!((percent(None), percent(Some(1.0))), ("-".to_owned(), "100.0 %".to_owned()));
    }
}
