//! A file for each subcommand.

pub mod bench;
pub mod clear;
pub mod completions;
pub mod copy;
pub mod doctor;
pub mod ls;
pub mod man;
pub mod rm;
pub mod stat;
pub mod top;
pub mod verify;

use nixl_store::log::Logger;

use crate::args::{Arguments, Command};
use crate::output::{Failure, Outcome, Output};
use crate::place;

/// Does what the command line says.
///
/// # Errors
/// What kept it from being done.
pub fn run(arguments: Arguments, output: &Output) -> Result<Outcome, Failure> {
    let global = &arguments.global;
    // A command that opens no store itself, as doctor, is held to it too.
    place::options(global, b"", Logger::silent()).check_worker()?;
    match arguments.command {
        Command::Bench(wanted) => bench::run(&wanted, global, output),
        Command::Doctor(wanted) => doctor::run(&wanted, global, output),
        Command::Top(wanted) => top::run(&wanted, global, output),
        Command::Ls(wanted) => ls::run(&wanted, global, output),
        Command::Stat(wanted) => stat::run(&wanted, global, output),
        Command::Verify(wanted) => verify::run(&wanted, global, output),
        Command::Copy(wanted) => copy::run(&wanted, global, output),
        Command::Rm(wanted) => rm::run(&wanted, global, output),
        Command::Clear(wanted) => clear::run(&wanted, global, output),
        Command::Completions(wanted) => completions::run(&wanted, output),
        Command::Man(wanted) => man::run(&wanted, output),
    }
}
