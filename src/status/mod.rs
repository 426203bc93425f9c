//! The status socket: while a store is open, whoever runs as the same user can read from it what the store measures.
//!
//! ```text
//! directory  where sockets are, whose they have to be, and which of them nobody answers any more
//! server     one sleeping thread of a store, which answers one client at a time
//! http       the little of HTTP/1.0 that a scraper and curl speak
//! client     for a command: the sockets that are answered, and the text of one
//! ```
//!
//! What is asked of a store here is numbers; nothing that a client sends or leaves undone reaches the store, or keeps its close
//! waiting. Where no socket can be had, the store does without.

mod client;
mod directory;
mod http;
mod server;
#[cfg(test)]
mod tests;

pub use client::{Socket, list, read};
pub use server::Server;
