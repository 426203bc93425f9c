//! What a placement needs to know of the bucket that its store lies in.

use std::time::Duration;

use crate::s3::{Client, Traits};

/// The bucket of a store: what a placement needs to know of it.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// The client.
    pub client: Client,
    /// What all names begin with, as it is: `nixl_store_prefix`. May be empty.
    pub prefix: String,
    /// What the server honours.
    pub traits: Traits,
    /// Bytes of the smallest object that is written and read in parts.
    pub multipart_bytes_min: u64,
    /// Longest time of one call.
    pub call_time_max: Duration,
}
