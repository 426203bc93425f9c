//! The command line.

use std::path::PathBuf;

use clap::{Args, ColorChoice, Parser, Subcommand};

/// Looks into a store of nixl-store, checks it, copies it, measures it and watches it.
///
/// A store is named by the YAML file that the engine opens it with, LMCache's. Without one, $LMCACHE_CONFIG_FILE names it.
#[derive(Debug, Parser)]
#[command(
    name = "nixl-store",
    version,
    propagate_version = true,
    subcommand_required = true,
    max_term_width = 100
)]
pub struct Arguments {
    /// What every subcommand takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What every subcommand takes.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// Print one JSON document instead of text
    #[arg(long, global = true)]
    pub json: bool,
    /// When to use colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: ColorChoice,
    /// Print no progress bars and no remarks
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// The worker of a fleet whose store is meant
    #[arg(long, global = true, value_name = "N", default_value_t = 0, help_heading = "Which store")]
    pub worker_id: u32,
    /// Workers that work together
    #[arg(long, global = true, value_name = "N", default_value_t = 1, help_heading = "Which store")]
    pub world_size: u32,
    /// CUDA device of that worker, which picks one of several paths
    #[arg(long, global = true, value_name = "N", help_heading = "Which store")]
    pub cuda_device: Option<u32>,
    /// Bytes of the largest object, if the engine says them at open
    #[arg(long, global = true, value_name = "BYTES", help_heading = "Which store")]
    pub chunk_bytes: Option<u64>,
}

/// The configuration of a store.
#[derive(Clone, Debug, Args)]
pub struct Config {
    /// YAML file that the store is opened with [default: $LMCACHE_CONFIG_FILE]
    #[arg(value_name = "CONFIG")]
    pub config: Option<PathBuf>,
}

/// The configuration of a store, for subcommands whose arguments are keys.
#[derive(Clone, Debug, Args)]
pub struct ConfigOption {
    /// YAML file that the store is opened with [default: $LMCACHE_CONFIG_FILE]
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Keys of a store.
#[derive(Clone, Debug, Args)]
pub struct Keys {
    /// Where they are.
    #[command(flatten)]
    pub config: ConfigOption,
    /// The keys, as `ls` prints them
    #[arg(required = true, value_name = "KEY")]
    pub keys: Vec<String>,
    /// Namespace of the keys
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub namespace: String,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say what is in effect on this machine, why not better, and what to do
    Doctor(crate::commands::doctor::Doctor),
    /// List the keys in a store, also while an engine uses it
    Ls(crate::commands::ls::Ls),
    /// Show all about keys: size, place, and whether their bytes prove right
    Stat(Keys),
    /// Read every record and compare it with its checksums
    Verify(crate::commands::verify::Verify),
    /// Copy all that is stored into another store
    Copy(crate::commands::copy::Copy),
    /// Remove keys
    Rm(Keys),
    /// Remove all keys
    Clear(crate::commands::clear::Clear),
    /// Measure put and get by size and batch, beside bare reads and writes
    Bench(crate::commands::bench::Bench),
    /// Show what the open stores of this user do, live
    Top(crate::commands::top::Top),
    /// Print a completion script for a shell
    Completions(crate::commands::completions::Completions),
    /// Print the manual page
    Man(crate::commands::man::Man),
}
