//! A file for each subcommand.

pub mod bench;
pub mod completions;
pub mod doctor;
pub mod man;
pub mod top;

use crate::args::{Arguments, Command};
use crate::output::{Failure, Outcome, Output};

/// Does what the command line says.
///
/// # Errors
/// What kept it from being done.
pub fn run(arguments: Arguments, output: &Output) -> Result<Outcome, Failure> {
    let global = &arguments.global;
    match arguments.command {
        Command::Bench(wanted) => bench::run(&wanted, global, output),
        Command::Doctor(wanted) => doctor::run(&wanted, global, output),
        Command::Top(wanted) => top::run(&wanted, global, output),
        Command::Completions(wanted) => completions::run(&wanted, output),
        Command::Man(wanted) => man::run(&wanted, output),
    }
}
