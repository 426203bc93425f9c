//! Multipart uploads: begin, send parts, complete or give up, and find what others left behind.

use std::time::Instant;

use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};

use super::Client;
use super::direct::{Ask, First};
use super::objects::{SHORT_BODY_BYTES_MAX, of_order, time, version};
use crate::s3::connector::order::{Attach, Order, Work};
use crate::s3::errors::{Answer, FailureKind};
use crate::s3::payload::Payload;
use crate::s3::sign::push_encoded;
use crate::s3::types::{CreatedUpload, ListedUpload, PartTag, UploadId, Version};
use crate::sync::Arc;

/// Bytes of an answer with a listing of a thousand names of a kilobyte each, three times as long where they are encoded.
pub(super) const LISTING_BYTES_MAX: usize = 8 << 20;
/// Uploads that one call lists.
pub const UPLOADS_MAX: usize = 10_000;

impl Client {
    /// Begins a multipart upload, which has to be completed or aborted.
    ///
    /// # Errors
    /// All kinds; after any of them an upload may have been begun.
    pub async fn create_upload(&self, name: &str, deadline: Option<Instant>) -> Answer<CreatedUpload> {
        let context = self.context("CreateMultipartUpload", name);
        let (order, _ending) = Order::new(Work::Collect, SHORT_BODY_BYTES_MAX);
        self.call(&context, deadline, &order, async {
            let request = self.sdk().create_multipart_upload().bucket(self.bucket()).key(name);
            let answer = request.customize().interceptor(Attach(Arc::clone(&order))).send().await;
            let answer = answer.map_err(|error| context.of_sdk(&error))?;
            let id = answer.upload_id().filter(|id| !id.is_empty()).map(UploadId::new);
            let upload =
                id.ok_or_else(|| context.failure(FailureKind::Refused, "the server gives the upload no id"))?;
            Ok(CreatedUpload { upload, is_repeated: order.trouble().is_some() })
        })
        .await
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
        let context = self.context("UploadPart", name);
        let length = payload.length();
        let (order, _ending) = Order::new(Work::Send(payload), SHORT_BODY_BYTES_MAX);
        let part_number = i32::try_from(number)
            .map_err(|_| context.failure(FailureKind::Refused, "there is no part of that number"))?;
        self.call(&context, deadline, &order, async {
            let mut query = format!("partNumber={number}&uploadId=");
            push_encoded(&mut query, upload.as_str(), false);
            let ask = Ask { method: "PUT", query, body_bytes: Some(length), ..Ask::of(name) };
            let version = match self.first_attempt(&context, &ask, &order).await? {
                First::Answered(answer) => version(answer.head.header("etag")),
                First::Open(sdk) => {
                    let request = sdk.upload_part().bucket(self.bucket()).key(name);
                    let body = of_order(length, &order);
                    let request = request.upload_id(upload.as_str()).part_number(part_number).body(body);
                    let request = request.customize().disable_payload_signing();
                    let answer = request.interceptor(Attach(Arc::clone(&order))).send().await;
                    version(answer.map_err(|error| context.of_sdk(&error))?.e_tag())
                }
            };
            let version = version
                .ok_or_else(|| context.failure(FailureKind::Refused, "the server gives the part no ETag"))?;
            Ok(PartTag { number, version })
        })
        .await
    }

    /// Makes the parts, in this order, the object.
    ///
    /// # Errors
    /// All kinds; [`FailureKind::Missing`] also where an attempt before the last one had completed it unheard. After any
    /// of them the object may be there.
    pub async fn complete_upload(
        &self,
        name: &str,
        upload: &UploadId,
        parts: &[PartTag],
        deadline: Option<Instant>,
    ) -> Answer<Option<Version>> {
        let context = self.context("CompleteMultipartUpload", name);
        let (order, _ending) = Order::new(Work::Collect, SHORT_BODY_BYTES_MAX);
        let part = |part: &PartTag| {
            let number = i32::try_from(part.number).unwrap_or(i32::MAX);
            CompletedPart::builder().part_number(number).e_tag(part.version.as_str()).build()
        };
        let parts =
            CompletedMultipartUpload::builder().set_parts(Some(parts.iter().map(part).collect())).build();
        self.call(&context, deadline, &order, async {
            let request = self.sdk().complete_multipart_upload().bucket(self.bucket()).key(name);
            let request = request.upload_id(upload.as_str()).multipart_upload(parts);
            let answer = request.customize().interceptor(Attach(Arc::clone(&order))).send().await;
            let answer = answer.map_err(|error| context.of_sdk(&error))?;
            Ok(version(answer.e_tag()))
        })
        .await
    }

    /// Gives an upload up; one that is not there is no failure.
    ///
    /// # Errors
    /// All kinds.
    pub async fn abort_upload(&self, name: &str, upload: &UploadId, deadline: Option<Instant>) -> Answer<()> {
        let context = self.context("AbortMultipartUpload", name);
        let (order, _ending) = Order::new(Work::Collect, SHORT_BODY_BYTES_MAX);
        let outcome = self
            .call(&context, deadline, &order, async {
                let request = self.sdk().abort_multipart_upload().bucket(self.bucket()).key(name);
                let request = request.upload_id(upload.as_str()).customize();
                let answer = request.interceptor(Attach(Arc::clone(&order))).send().await;
                answer.map(|_| ()).map_err(|error| context.of_sdk(&error))
            })
            .await;
        match outcome {
            Err(failure) if failure.kind() == FailureKind::Missing => Ok(()),
            other => other,
        }
    }

    /// Uploads under way whose names begin with `prefix`, at most [`UPLOADS_MAX`].
    ///
    /// # Errors
    /// All kinds.
    pub async fn list_uploads(&self, prefix: &str, deadline: Option<Instant>) -> Answer<Vec<ListedUpload>> {
        let context = self.context("ListMultipartUploads", prefix);
        let (order, _ending) = Order::new(Work::Collect, LISTING_BYTES_MAX);
        self.call(&context, deadline, &order, async {
            let (mut listed, mut from) = (Vec::new(), (None, None));
            loop {
                let request = self.sdk().list_multipart_uploads().bucket(self.bucket()).prefix(prefix);
                let request = request.set_key_marker(from.0.take()).set_upload_id_marker(from.1.take());
                let answer = request.customize().interceptor(Attach(Arc::clone(&order))).send().await;
                let answer = answer.map_err(|error| context.of_sdk(&error))?;
                for upload in answer.uploads() {
                    if let (Some(name), Some(id)) = (upload.key(), upload.upload_id()) {
                        let initiated = time(upload.initiated());
                        listed.push(ListedUpload {
                            name: name.to_owned(),
                            upload: UploadId::new(id),
                            initiated,
                        });
                    }
                }
                let next = (answer.next_key_marker, answer.next_upload_id_marker);
                // A server that says there is more and does not get on would be asked for ever.
                let stuck = next.0.is_none() || answer.uploads.is_none_or(|uploads| uploads.is_empty());
                if answer.is_truncated != Some(true) || stuck || listed.len() >= UPLOADS_MAX {
                    listed.truncate(UPLOADS_MAX);
                    return Ok(listed);
                }
                from = next;
            }
        })
        .await
    }
}
