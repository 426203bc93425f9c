//! Where the requests of one bucket go, worked out once: the SDK goes through all its rules for each new object.

use std::sync::OnceLock;

use aws_sdk_s3::config::endpoint::{DefaultResolver, Endpoint, EndpointFuture, Params, ResolveEndpoint};

/// How names of directory buckets end (S3 Express), whose endpoint depends on the operation.
pub const EXPRESS_SUFFIX: &str = "--x-s3";

/// The SDK's rules, asked once. Every call of a client is about its one bucket, and where that lies does not depend on the
/// object.
#[derive(Debug)]
pub struct OfBucket {
    bucket: String,
    rules: DefaultResolver,
    found: OnceLock<Endpoint>,
}

impl OfBucket {
    /// For calls about this bucket.
    pub fn new(bucket: &str) -> OfBucket {
        OfBucket { bucket: bucket.to_owned(), rules: DefaultResolver::new(), found: OnceLock::new() }
    }

    fn is_kept(&self, params: &Params) -> bool {
        params.bucket() == Some(&self.bucket) && !self.bucket.ends_with(EXPRESS_SUFFIX)
    }
}

impl ResolveEndpoint for OfBucket {
    fn resolve_endpoint<'a>(&'a self, params: &'a Params) -> EndpointFuture<'a> {
        let is_kept = self.is_kept(params);
        if let Some(found) = self.found.get().filter(|_| is_kept) {
            return EndpointFuture::ready(Ok(found.clone()));
        }
        EndpointFuture::new(async move {
            let endpoint = ResolveEndpoint::resolve_endpoint(&self.rules, params).await?;
            if is_kept {
                // Whoever was first; they are all the same.
                let _ = self.found.set(endpoint.clone());
            }
            Ok(endpoint)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn url(resolver: &OfBucket, bucket: &str, key: &str) -> String {
        let params = Params::builder()
            .bucket(bucket)
            .key(key)
            .region("eu-central-1")
            .endpoint("http://127.0.0.1:9000")
            .force_path_style(true)
            .build()
            .expect("parameters");
        let endpoint = ResolveEndpoint::resolve_endpoint(resolver, &params).await.expect("an endpoint");
        endpoint.url().to_owned()
    }

    /// What was worked out for one object holds for all of the bucket, and for no other bucket.
    #[test]
    fn the_endpoint_of_a_bucket_is_worked_out_once() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(worked_out_once());
    }

    async fn worked_out_once() {
        let resolver = OfBucket::new("chunks");
        assert_eq!(url(&resolver, "chunks", "a/b").await, "http://127.0.0.1:9000/chunks");
        assert!(resolver.found.get().is_some());
        assert_eq!(url(&resolver, "chunks", "c").await, "http://127.0.0.1:9000/chunks");
        assert_eq!(url(&resolver, "others", "c").await, "http://127.0.0.1:9000/others");
        let express = OfBucket::new("chunks--use1-az4--x-s3");
        assert!(
            !express
                .is_kept(&Params::builder().bucket("chunks--use1-az4--x-s3").build().expect("parameters"))
        );
    }
}
