//! What is printed: text for people, JSON for programs.

use std::fmt::{self, Display};
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use clap::ColorChoice;
use comfy_table::{ContentArrangement, Table};
use nixl_store::error::Error;
use serde::Serialize;

use crate::args::Global;

/// Exit status if what was asked could not be done.
pub const EXIT_NOT_DONE: u8 = 2;
/// Exit status if it was done, and the answer is a bad one.
const EXIT_BAD: u8 = 1;
/// Columns where nobody can tell how many there are.
const COLUMNS_DEFAULT: u16 = 80;

/// What came of a subcommand that could do its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done, and all is well.
    Done,
    /// Done, and something is not as it should be, or is not there.
    Bad,
}

impl Outcome {
    /// This outcome, behind the last that is printed. A reader that has gone away by then, as behind `| head`, does not change what
    /// was found.
    ///
    /// # Errors
    /// If it could not be printed for another reason.
    pub fn behind(self, printed: Result<(), Failure>) -> Result<Outcome, Failure> {
        match printed {
            Err(failure) if !failure.is_quiet() => Err(failure),
            _ => Ok(self),
        }
    }

    /// The process's exit status.
    pub fn exit_code(self) -> ExitCode {
        match self {
            Outcome::Done => ExitCode::SUCCESS,
            Outcome::Bad => ExitCode::from(EXIT_BAD),
        }
    }
}

/// Why a subcommand could not do its work, and what to do about it.
#[derive(Debug)]
pub struct Failure {
    message: String,
    is_quiet: bool,
}

impl Failure {
    /// A failure in words.
    pub fn new(message: impl Into<String>) -> Failure {
        Failure { message: message.into(), is_quiet: false }
    }

    /// Nobody reads what is printed any more, as behind `| head`: there is nothing left to do, and nothing to say.
    fn unread() -> Failure {
        Failure { message: "standard output is closed".to_owned(), is_quiet: true }
    }

    /// Whether it is none that anybody wants to hear of.
    pub fn is_quiet(&self) -> bool {
        self.is_quiet
    }

    /// What the system answered to something.
    pub fn os(what: &str, error: &io::Error) -> Failure {
        Failure::new(format!("{what}: {error}"))
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::new(error.message().to_owned())
    }
}

/// Colours by what they mean.
pub mod style {
    use super::{AnsiColor, Style};

    /// As it should be.
    pub const GOOD: Style = AnsiColor::Green.on_default();
    /// Works, but not as well as it could.
    pub const MEAGRE: Style = AnsiColor::Yellow.on_default();
    /// Does not work.
    pub const BAD: Style = AnsiColor::Red.on_default().bold();
    /// A heading.
    pub const HEADING: Style = Style::new().bold();
    /// What is less important.
    pub const DIM: Style = Style::new().dimmed();
}

/// Where a subcommand prints.
#[derive(Debug)]
pub struct Output {
    json: bool,
    quiet: bool,
    colours: ColorChoice,
}

impl Output {
    /// As the command line wants it.
    pub fn new(global: &Global) -> Output {
        let choice = match global.color {
            ColorChoice::Auto => anstream::ColorChoice::Auto,
            ColorChoice::Always => anstream::ColorChoice::Always,
            ColorChoice::Never => anstream::ColorChoice::Never,
        };
        choice.write_global();
        Output { json: global.json, quiet: global.quiet, colours: global.color }
    }

    /// Whether JSON is wanted instead of text.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Whether progress bars and remarks are wanted: not in scripts.
    pub fn shows_progress(&self) -> bool {
        !self.quiet && !self.json && io::stderr().is_terminal()
    }

    /// Whether colours reach standard output.
    pub fn has_colours(&self) -> bool {
        match self.colours {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never,
        }
    }

    /// Prints text with colours in it, which are left out where nobody sees them.
    ///
    /// # Errors
    /// If standard output is gone.
    pub fn text(&self, text: impl Display) -> Result<(), Failure> {
        let mut out = anstream::stdout().lock();
        write!(out, "{text}").and_then(|()| out.flush()).map_err(|error| unprinted(&error))
    }

    /// Prints bytes as they are.
    ///
    /// # Errors
    /// If standard output is gone.
    pub fn raw(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| unprinted(&error))
    }

    /// Prints a document of JSON.
    ///
    /// # Errors
    /// If standard output is gone.
    pub fn json(&self, document: &impl Serialize) -> Result<(), Failure> {
        let mut text = serde_json::to_string_pretty(document)
            .map_err(|error| Failure::new(format!("printing JSON: {error}")))?;
        text.push('\n');
        self.raw(text.as_bytes())
    }

    /// Says something beside the result, to standard error.
    pub fn remark(&self, text: impl Display) {
        if !self.quiet {
            anstream::eprintln!("{text}");
        }
    }

    /// Says why nothing was done.
    pub fn fail(&self, failure: &Failure) {
        let bad = style::BAD;
        anstream::eprintln!("{bad}nixl-store:{bad:#} {failure}");
    }

    /// A table without frames that keeps to the terminal's width, or to 80 columns where there is no terminal.
    pub fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(self.columns());
        table
    }

    /// Columns of the terminal.
    pub fn columns(&self) -> u16 {
        ratatui::crossterm::terminal::size()
            .ok()
            .filter(|_| io::stdout().is_terminal())
            .map_or(COLUMNS_DEFAULT, |(columns, _)| columns.max(40))
    }
}

fn unprinted(error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe { Failure::unread() } else { Failure::os("printing", error) }
}

/// A number with commas between its thousands.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes as people read them: `1.5 MiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let (mut value, mut unit) = (count as f64 / 1024.0, 0);
    // What would be printed as 1024 is one of the next unit.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1024.0, unit + 1);
    }
    if value < 10.0 { format!("{value:.2} {}", UNITS[unit]) } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_read_well() {
        for (count, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (1536, "1.50 KiB"),
            (1024 * 1024 - 1, "1.00 MiB"),
            (300 << 20, "300.0 MiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }
}
