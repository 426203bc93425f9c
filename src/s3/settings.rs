//! What the parameters of OBJ come to: endpoint, region, keys, checksums, bounds.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::SecretMap;
use crate::error::{Error, Result, Status};

/// Connections that one client may have open at a time.
pub const CONNECTIONS_MAX_DEFAULT: usize = 64;

/// A pair of keys given by the configuration.
#[derive(Clone)]
pub struct StaticKeys {
    /// The key's id.
    pub access_key: String,
    /// The key.
    pub secret_key: String,
    /// The token that goes with temporary keys.
    pub session_token: Option<String>,
}

impl fmt::Debug for StaticKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StaticKeys(not shown)")
    }
}

/// How to reach one bucket.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The bucket.
    pub bucket: String,
    /// URL of the endpoint; `None` is AWS.
    pub endpoint: Option<String>,
    /// Region; `None`: what the environment or the profile says.
    pub region: Option<String>,
    /// Whether the bucket's name is part of the host's.
    pub virtual_hosted: bool,
    /// Keys of the configuration; `None`: the usual AWS identity.
    pub keys: Option<StaticKeys>,
    /// Certificates (PEM) to trust in place of the system's.
    pub ca_bundle: Option<PathBuf>,
    /// Send a checksum with each body.
    pub send_checksums: bool,
    /// Ask for checksums of bodies and check them.
    pub check_checksums: bool,
    /// Longest time of a whole call, retries included.
    pub call_time_max: Duration,
    /// Connections open at a time, for each of [`super::Client::with_own_connections`].
    pub connections_max: usize,
}

impl Settings {
    /// From the parameters of OBJ; `endpoint` is this worker's of `nixl_endpoint_list`, which goes before
    /// `endpoint_override`.
    ///
    /// # Errors
    /// No bucket ([`Status::Config`]).
    pub fn new(params: &SecretMap, endpoint: Option<&str>, call_time_max: Duration) -> Result<Settings> {
        let bucket = params.get("bucket").ok_or_else(|| {
            Error::new(Status::Config, "nixl_backend_params.bucket is missing; allowed: the name of a bucket")
        })?;
        let scheme = params.get("scheme").unwrap_or("https");
        let endpoint = endpoint
            .or_else(|| params.get("endpoint_override"))
            .map(|text| if text.contains("://") { text.to_owned() } else { format!("{scheme}://{text}") })
            .map(with_whole_path);
        let keys = match (params.get("access_key"), params.get("secret_key")) {
            (Some(access_key), Some(secret_key)) => Some(StaticKeys {
                access_key: access_key.to_owned(),
                secret_key: secret_key.to_owned(),
                session_token: params.get("session_token").map(str::to_owned),
            }),
            _ => None,
        };
        let virtual_hosted = params.flag("use_virtual_addressing").unwrap_or(endpoint.is_none());
        Ok(Settings {
            bucket: bucket.to_owned(),
            endpoint,
            region: params.get("region").map(str::to_owned),
            virtual_hosted,
            keys,
            ca_bundle: params.get("ca_bundle").map(PathBuf::from),
            send_checksums: params.get("req_checksum") == Some("supported"),
            check_checksums: params.get("resp_checksum") == Some("supported"),
            call_time_max,
            connections_max: CONNECTIONS_MAX_DEFAULT,
        })
    }

    /// Whether the endpoint is reached over TLS.
    pub fn is_https(&self) -> bool {
        self.endpoint.as_ref().is_none_or(|endpoint| !endpoint.starts_with("http://"))
    }
}

/// A URL whose path, if it has one, ends with a slash: the SDK's rules put the bucket's name right behind it.
fn with_whole_path(mut url: String) -> String {
    let after_scheme = url.find("://").map_or(0, |at| at + "://".len());
    if url[after_scheme..].contains('/') && !url.ends_with('/') {
        url.push('/');
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(params: &[(&str, &str)], endpoint: Option<&str>) -> Settings {
        let params = params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Settings::new(&SecretMap(params), endpoint, Duration::from_secs(1)).expect("settings")
    }

    /// A worker's endpoint goes before the override, a bare host gets the scheme, AWS is where none is named; and how the
    /// bucket is addressed follows from that.
    #[test]
    fn endpoints_and_addressing_follow_the_parameters() {
        let bucket = ("bucket", "b");
        let aws = settings(&[bucket], None);
        assert_eq!((aws.endpoint.as_deref(), aws.virtual_hosted, aws.is_https()), (None, true, true));
        let bare = settings(&[bucket, ("endpoint_override", "h:9000")], None);
        assert_eq!((bare.endpoint.as_deref(), bare.virtual_hosted), (Some("https://h:9000"), false));
        let bare =
            [bucket, ("endpoint_override", "h:9000"), ("scheme", "http"), ("use_virtual_addressing", "true")];
        let bare = settings(&bare, None);
        assert_eq!((bare.endpoint.as_deref(), bare.virtual_hosted), (Some("http://h:9000"), true));
        assert!(!bare.is_https());
        let listed = settings(&[bucket, ("endpoint_override", "h:9000")], Some("http://w1:1"));
        assert_eq!(listed.endpoint.as_deref(), Some("http://w1:1"));
        let path_style = settings(&[bucket, ("use_virtual_addressing", "false")], None);
        assert!(!path_style.virtual_hosted);
    }

    /// Keys are never shown.
    #[test]
    fn settings_do_not_show_their_keys() {
        let keys =
            [("bucket", "b"), ("access_key", "AKID1"), ("secret_key", "s3cret"), ("session_token", "t0ken")];
        let shown = format!("{:?}", settings(&keys, None));
        assert!(!shown.contains("AKID1") && !shown.contains("s3cret") && !shown.contains("t0ken"), "{shown}");
    }
}
