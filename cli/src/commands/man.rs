//! `man`: the manual pages, as troff.

use std::path::PathBuf;

use clap::CommandFactory;

use crate::args::Arguments;
use crate::output::{Failure, Outcome, Output};

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
pub struct Man {
    /// Write a page for the command and one for each subcommand into this directory, instead of printing the first
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
}

/// Prints the page, or writes all of them.
///
/// # Errors
/// If they cannot be written.
pub fn run(wanted: &Man, output: &Output) -> Result<Outcome, Failure> {
    match &wanted.directory {
        Some(directory) => {
            clap_mangen::generate_to(Arguments::command(), directory).map_err(|error| {
                Failure::os(&format!("writing the pages to {}", directory.display()), &error)
            })?;
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Arguments::command())
                .render(&mut page)
                .map_err(|error| Failure::os("making the page", &error))?;
            output.raw(&page)?;
        }
    }
    Ok(Outcome::Done)
}
