//! The client of one bucket.

use std::future::Future;
use std::time::Instant;

use super::{
    Answer, Condition, Failure, FailureKind, Get, Got, Head, Landing, ListedUpload, Listing, Part, PartTag,
    Payload, Settings, Small, Traits, UploadId, Version,
};
use crate::error::Result;
use crate::log::Logger;

/// The client of one bucket. Clones are the same client.
#[derive(Clone, Debug)]
pub struct Client(std::sync::Arc<Settings>);

fn unbuilt() -> Failure {
    Failure::new(FailureKind::Refused, "not built yet")
}

impl Client {
    /// Starts the client's thread `nixl-s3`. Nothing goes over the network yet.
    ///
    /// # Errors
    /// An endpoint or a bundle of certificates that cannot be used, or no thread.
    pub fn open(settings: Settings, logger: &Logger) -> Result<Client> {
        let _ = logger;
        Ok(Client(std::sync::Arc::new(settings)))
    }

    /// The same client with connections of its own, for use on another runtime: sockets belong to the runtime that opened
    /// them. Credentials and breaker are shared.
    #[must_use]
    pub fn with_own_connections(&self) -> Client {
        self.clone()
    }

    /// Runs `work` on `nixl-s3` and waits for it; for threads that are not part of a runtime. A panic in `work` goes on in
    /// the caller.
    pub fn block_on<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        drop(work);
        std::panic::resume_unwind(Box::new("not built yet"))
    }

    /// The endpoint, for messages.
    pub fn endpoint_shown(&self) -> &str {
        self.0.endpoint.as_deref().unwrap_or("AWS")
    }

    /// Length, version and age of an object.
    ///
    /// # Errors
    /// [`FailureKind::Missing`] if there is none, and all others.
    pub async fn head(&self, name: &str, deadline: Option<Instant>) -> Answer<Head> {
        let _ = (name, deadline);
        Err(unbuilt())
    }

    /// Lands bytes of an object in the caller's memory.
    ///
    /// # Errors
    /// All kinds.
    pub async fn get(&self, what: Get, landing: Landing) -> Answer<Got> {
        let _ = (what, landing);
        Err(unbuilt())
    }

    /// Reads at most `limit_bytes` of an object into memory of its own.
    ///
    /// # Errors
    /// All kinds; [`FailureKind::Refused`] if there are more bytes.
    pub async fn get_small(
        &self,
        name: &str,
        part: Part,
        limit_bytes: usize,
        deadline: Option<Instant>,
    ) -> Answer<Small> {
        let _ = (name, part, limit_bytes, deadline);
        Err(unbuilt())
    }

    /// Writes an object from the caller's memory.
    ///
    /// # Errors
    /// [`FailureKind::Changed`] if the condition did not hold, and all others.
    pub async fn put(
        &self,
        name: &str,
        payload: Payload,
        condition: Condition,
        deadline: Option<Instant>,
    ) -> Answer<Option<Version>> {
        let _ = (name, payload, condition, deadline);
        Err(unbuilt())
    }

    /// Writes an object from memory that is handed over.
    ///
    /// # Errors
    /// As [`Client::put`].
    pub async fn put_small(
        &self,
        name: &str,
        bytes: Vec<u8>,
        condition: Condition,
        deadline: Option<Instant>,
    ) -> Answer<Option<Version>> {
        let _ = (name, bytes, condition, deadline);
        Err(unbuilt())
    }

    /// Begins a multipart upload, which has to be completed or aborted.
    ///
    /// # Errors
    /// All kinds.
    pub async fn create_upload(&self, name: &str, deadline: Option<Instant>) -> Answer<UploadId> {
        let _ = (name, deadline);
        Err(unbuilt())
    }

    /// Sends part `number`, from 1.
    ///
    /// # Errors
    /// [`FailureKind::Missing`] if there is no such upload, and all others.
    pub async fn upload_part(
        &self,
        name: &str,
        upload: &UploadId,
        number: u32,
        payload: Payload,
        deadline: Option<Instant>,
    ) -> Answer<PartTag> {
        let _ = (name, upload, number, payload, deadline);
        Err(unbuilt())
    }

    /// Makes the parts, in this order, the object.
    ///
    /// # Errors
    /// All kinds.
    pub async fn complete_upload(
        &self,
        name: &str,
        upload: &UploadId,
        parts: &[PartTag],
        deadline: Option<Instant>,
    ) -> Answer<Option<Version>> {
        let _ = (name, upload, parts, deadline);
        Err(unbuilt())
    }

    /// Gives an upload up; one that is not there is no failure.
    ///
    /// # Errors
    /// All kinds.
    pub async fn abort_upload(&self, name: &str, upload: &UploadId, deadline: Option<Instant>) -> Answer<()> {
        let _ = (name, upload, deadline);
        Err(unbuilt())
    }

    /// Uploads under way whose names begin with `prefix`.
    ///
    /// # Errors
    /// All kinds.
    pub async fn list_uploads(&self, prefix: &str, deadline: Option<Instant>) -> Answer<Vec<ListedUpload>> {
        let _ = (prefix, deadline);
        Err(unbuilt())
    }

    /// Removes an object, or only this version of it; one that is not there is no failure.
    ///
    /// # Errors
    /// [`FailureKind::Changed`] if it has another version, and all others.
    pub async fn delete(&self, name: &str, only: Option<&Version>, deadline: Option<Instant>) -> Answer<()> {
        let _ = (name, only, deadline);
        Err(unbuilt())
    }

    /// At most `limit` objects whose names begin with `prefix`, behind `after` in the order of names.
    ///
    /// # Errors
    /// All kinds.
    pub async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
        deadline: Option<Instant>,
    ) -> Answer<Listing> {
        let _ = (prefix, after, limit, deadline);
        Err(unbuilt())
    }

    /// Whether the bucket is there and may be used, and what the server honours. Small objects under `prefix` are written
    /// for it, and removed.
    ///
    /// # Errors
    /// A missing bucket, another region, no access, nobody there: each with what to do.
    pub async fn probe(&self, prefix: &str, deadline: Option<Instant>) -> Result<Traits> {
        let _ = (prefix, deadline);
        Err(unbuilt().into())
    }
}
