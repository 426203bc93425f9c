//! The S3 client: objects of one bucket, sent from and landed in memory that is known by address.
//!
//! `aws-sdk-s3` makes requests, signs them, repeats them and reads answers; under it lies an HTTP connector of our own
//! (`connector/`), which sends bodies from the caller's slices and lands them there, summed as they come. The first attempt of
//! a GET, PUT or UploadPart goes to the connector without the SDK, which takes 0.1 ms of processor time a request. Nothing
//! here knows keys, records or stores: names of objects and bytes, no more.
//!
//! | file | owns |
//! | --- | --- |
//! | `settings.rs` | what the parameters come to: endpoint, region, keys, checksums |
//! | `client/` | the calls |
//! | `types.rs`, `payload.rs` | what calls take and answer; memory and its lease |
//! | `errors.rs`, `breaker.rs` | failures, without a secret in them; failing fast while nobody is there |
//! | `credentials.rs`, `sign.rs`, `runtime.rs` | who we are; signatures; the client's own thread |
//! | `connector/` | HTTP/1.1 |

#[forbid(unsafe_code)]
mod breaker;
#[forbid(unsafe_code)]
pub mod client;
mod connector;
#[forbid(unsafe_code)]
mod credentials;
#[forbid(unsafe_code)]
mod errors;
mod payload;
#[forbid(unsafe_code)]
mod runtime;
#[forbid(unsafe_code)]
mod settings;
#[forbid(unsafe_code)]
mod sign;
#[forbid(unsafe_code)]
mod types;

pub use client::Client;
pub use errors::{Answer, Failure, FailureKind};
pub use payload::{Landing, Lease, Payload};
pub use settings::{Settings, StaticKeys};
pub use types::{
    Condition, CreatedUpload, Get, Got, Head, Listed, ListedUpload, Listing, Part, PartTag, Small, Traits,
    UploadId, Version,
};

#[cfg(test)]
mod tests;
