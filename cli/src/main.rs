//! `nixl-store`: what an operator asks a store from a terminal or a script.
//!
//! ```text
//! args      the command line, from which help, completions and the man page are made
//! commands  a file for each subcommand
//! many      entries of a store on several threads
//! place     which store is meant: configuration, worker, namespace
//! output    text, tables, colours, JSON
//! shown     what is found in a store, as text and JSON
//! size      sizes as people type them
//! key       keys as text and back
//! wrap      text in lines
//! ```
//!
//! Exit statuses: 0 done; 1 done, and what was asked for is not so (a key is not stored, bytes are damaged); 2 not done.

mod args;
mod commands;
mod key;
mod many;
mod output;
mod place;
mod shown;
mod size;
mod wrap;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Arguments;
use crate::output::Output;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let output = Output::new(&arguments.global);
    match commands::run(arguments, &output) {
        Ok(outcome) => outcome.exit_code(),
        Err(failure) if failure.is_quiet() => ExitCode::SUCCESS,
        Err(failure) => {
            output.fail(&failure);
            ExitCode::from(output::EXIT_NOT_DONE)
        }
    }
}
