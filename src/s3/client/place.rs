//! Where the bucket is, as the head of a request says it: found by the SDK's rules when a client is opened.

use std::sync::Arc;

use aws_sdk_s3::config::endpoint::{DefaultResolver, Endpoint, Params, ResolveEndpoint};
use aws_smithy_types::Document;

use super::endpoint::EXPRESS_SUFFIX;
use crate::s3::connector::head::Origin;
use crate::s3::settings::Settings;

/// The one way to sign that is done here.
const SIGNATURE: &str = "sigv4";

/// Where the objects of a bucket are.
#[derive(Debug)]
pub struct Place {
    /// Where connections go.
    pub origin: Arc<Origin>,
    /// The header `host`.
    pub host: String,
    /// What goes before an object's name in the path; ends with `/`.
    pub path: String,
    /// The region that a signature names.
    pub region: String,
    /// The service that a signature names.
    pub service: String,
}

impl Place {
    /// The place of a bucket in `region`; `None` where a request needs more than a plain signature.
    pub async fn find(settings: &Settings, region: &str) -> Option<Place> {
        let mut params = Params::builder()
            .bucket(&settings.bucket)
            .region(region)
            .force_path_style(!settings.virtual_hosted);
        if let Some(endpoint) = &settings.endpoint {
            params = params.endpoint(endpoint);
        }
        let endpoint =
            ResolveEndpoint::resolve_endpoint(&DefaultResolver::new(), &params.build().ok()?).await.ok()?;
        if settings.bucket.ends_with(EXPRESS_SUFFIX) || endpoint.headers().next().is_some() {
            return None;
        }
        Place::of(&endpoint)
    }

    fn of(endpoint: &Endpoint) -> Option<Place> {
        let scheme = endpoint.auth_schemes().first().filter(|scheme| scheme.name() == SIGNATURE)?;
        let text = |name| scheme.get(name).and_then(Document::as_string).map(str::to_owned);
        let uri: http::Uri = endpoint.url().parse().ok()?;
        let (origin, host) = Origin::of(&uri).ok()?;
        Some(Place {
            origin: Arc::new(origin),
            host,
            path: format!("{}/", uri.path().trim_end_matches('/')),
            region: text("signingRegion")?,
            service: text("signingName")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::SecretMap;

    fn place(bucket: &str, more: &[(&str, &str)]) -> Option<Place> {
        let params = [&[("bucket", bucket)], more].concat();
        let params = params.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let settings = Settings::new(&SecretMap(params), None, Duration::from_secs(1)).expect("settings");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(Place::find(&settings, "eu-central-1"))
    }

    /// The bucket is part of the host or of the path, as the settings say; at AWS it is the host's, unless it has a dot, which
    /// no certificate there covers.
    #[test]
    fn a_bucket_is_where_the_sdk_says() {
        let local = ("endpoint_override", "http://127.0.0.1:9000/base");
        let hosted = ("use_virtual_addressing", "true");
        let named = ("endpoint_override", "https://s3.example.com");
        for (bucket, more, tls, host, path) in [
            ("chunks", &[][..], true, "chunks.s3.eu-central-1.amazonaws.com", "/"),
            ("chunks.of", &[], true, "s3.eu-central-1.amazonaws.com", "/chunks.of/"),
            ("chunks", &[local], false, "127.0.0.1:9000", "/base/chunks/"),
            ("chunks", &[named], true, "s3.example.com", "/chunks/"),
            ("chunks", &[named, hosted], true, "chunks.s3.example.com", "/"),
        ] {
            let place = place(bucket, more).expect(host);
            let found = (place.origin.tls, place.host.as_str(), place.path.as_str());
            assert_eq!(found, (tls, host, path));
            assert_eq!((place.region.as_str(), place.service.as_str()), ("eu-central-1", "s3"));
        }
    }

    /// What has to be signed in another way is left to the SDK.
    #[test]
    fn other_signatures_are_the_sdks() {
        assert!(place("chunks--euc1-az4--x-s3", &[]).is_none());
        assert!(place("arn:aws:s3::123456789012:accesspoint:mfzwi23gnjvgw.mrap", &[]).is_none());
    }
}
