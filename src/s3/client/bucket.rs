//! The bucket: what is listed in it.

use std::time::{Instant, SystemTime};

use aws_sdk_s3::types::EncodingType;

use super::Client;
use super::objects::{count, time, version};
use super::uploads::LISTING_BYTES_MAX;
use crate::s3::connector::order::{Attach, Order, Work};
use crate::s3::errors::Answer;
use crate::s3::types::{Listed, Listing};
use crate::sync::Arc;

/// Objects of one answer, S3's own bound.
pub const LISTED_MAX: u32 = 1000;

impl Client {
    /// At most `limit` objects, and [`LISTED_MAX`], whose names begin with `prefix`, behind `after` in the order of names.
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
        let context = self.context("LIST", prefix);
        let (order, _ending) = Order::new(Work::Collect, LISTING_BYTES_MAX);
        self.call(&context, deadline, &order, async {
            let limit = limit.clamp(1, LISTED_MAX).cast_signed();
            // Names may have what XML cannot say.
            let request = self.sdk().list_objects_v2().bucket(self.bucket()).encoding_type(EncodingType::Url);
            let request = request.prefix(prefix).max_keys(limit).set_start_after(after.map(str::to_owned));
            let answer = request.customize().interceptor(Attach(Arc::clone(&order))).send().await;
            let answer = answer.map_err(|error| context.of_sdk(&error))?;
            let encoded = answer.encoding_type() == Some(&EncodingType::Url);
            let mut objects = Vec::with_capacity(answer.contents().len());
            for object in answer.contents() {
                let Some(name) = object.key() else { continue };
                // A name that is no text is none that anybody here could ask for.
                let name = if encoded { decoded(name) } else { Some(name.to_owned()) };
                let Some(name) = name else { continue };
                objects.push(Listed {
                    name,
                    bytes: count(object.size()).unwrap_or_default(),
                    modified: time(object.last_modified()).unwrap_or(SystemTime::UNIX_EPOCH),
                    version: version(object.e_tag()),
                });
            }
            let more = answer.is_truncated() == Some(true);
            let last = objects.last().map(|object: &Listed| object.name.clone());
            // A server that says there is more and does not get on would be asked for ever.
            let next = last.filter(|last| more && after.is_none_or(|after| after < last.as_str()));
            Ok(Listing { objects, next })
        })
        .await
    }
}

/// A name as servers encode it for a URL: percent signs, and plus for space.
fn decoded(name: &str) -> Option<String> {
    let bytes = name.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = name.get(at..at + 2)?;
                at += 2;
                u8::from_str_radix(digits, 16).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::decoded;

    /// Whatever a server encodes comes back, and what is no encoding is no name.
    #[test]
    fn names_are_decoded() {
        for (encoded, name) in [
            ("a/b.c", Some("a/b.c")),
            ("a+b%2Bc%20d", Some("a b+c d")),
            ("%C3%A4", Some("ä")),
            ("", Some("")),
        ] {
            assert_eq!(decoded(encoded).as_deref(), name);
        }
        for encoded in ["%", "%4", "%zz", "%C3", "%ä1"] {
            assert_eq!(decoded(encoded), None, "{encoded}");
        }
    }
}
