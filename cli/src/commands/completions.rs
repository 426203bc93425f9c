//! `completions`: a script for a shell.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Arguments;
use crate::output::{Failure, Outcome, Output};

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
pub struct Completions {
    /// The shell
    shell: Shell,
}

/// Prints the script.
///
/// # Errors
/// If it cannot be written.
pub fn run(wanted: &Completions, output: &Output) -> Result<Outcome, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(wanted.shell, &mut Arguments::command(), "nixl-store", &mut script);
    output.raw(&script)?;
    Ok(Outcome::Done)
}
