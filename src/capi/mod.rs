//! The C API: check, convert, call, return.
//!
//! The only place that knows C. `types` and `constants` are what the header declares; the files
//! named after nouns hold the exports, in the order in which the header shows them; the rest is what
//! every export stands on:
//!
//! - `panic`: the boundary that catches panics, looks the store up and refuses a forked child;
//! - `handle`: the table of open stores, which makes stale and made-up handles harmless;
//! - `check`, `overlap`, `extensible`, `options`: arguments, wrapped before they are trusted;
//! - `text`: strings on their way out;
//! - `error`: the thread's last message; `fork`: parent or child;
//! - `exports`: what dependencies would export beside it.
//!
//! The doc comments of exports, types and constants are the text of the C header, written for its
//! reader: plain text, C names, no links. `scripts/header.sh` makes the header from them.

#![allow(
    clippy::missing_safety_doc,
    reason = "what a caller of an export owes is in the C header's text, argument by argument"
)]

mod check;
mod constants;
mod error;
#[cfg(feature = "obj")]
mod exports;
mod extensible;
mod handle;
mod options;
mod overlap;
mod panic;
mod text;
mod types;

mod store;

mod batch;
mod batch_keys;
mod ticket;

mod stream;

mod queue;

mod memory;

mod key;

mod operations;

pub use batch::*;
pub use batch_keys::*;
pub use constants::*;
pub use key::*;
pub use memory::*;
pub use operations::*;
pub use queue::*;
pub use store::*;
pub use stream::*;
pub use ticket::*;
pub use types::*;
