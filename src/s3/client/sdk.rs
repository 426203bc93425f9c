//! How the SDK is set up: what is the same for all connections of a client.

use std::sync::Arc;
use std::time::Duration;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::ProvideRegion;
use aws_config::profile::ProfileFileRegionProvider;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, IdentityCache, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    SharedIdentityCache, StalledStreamProtectionConfig,
};
use aws_smithy_async::rt::sleep::TokioSleep;

use super::endpoint::OfBucket;
use crate::error::{Error, Result, Status};
use crate::s3::connector::Connector;
use crate::s3::connector::pace::Times;
use crate::s3::connector::tls::Tls;
use crate::s3::credentials;
use crate::s3::runtime::Runtime;
use crate::s3::settings::Settings;

/// Attempts of one call, the first among them.
pub const ATTEMPTS_MAX: u32 = 3;
/// Longest pause before the second attempt; it doubles from there, and is a random part of that.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Connections for fetching credentials.
const CREDENTIAL_CONNECTIONS_MAX: usize = 2;
/// The region of an endpoint that does not care for regions.
const REGION_DEFAULT: &str = "us-east-1";

/// What the connections of a client share.
#[derive(Debug)]
pub struct Base {
    region: String,
    identity: SharedCredentialsProvider,
    identities: SharedIdentityCache,
    tls: Arc<Tls>,
    times: Times,
}

impl Base {
    /// Finds the region, the certificates if they are needed, and where credentials come from.
    ///
    /// # Errors
    /// No region or no certificates ([`Status::Config`]).
    pub fn new(settings: &Settings, runtime: &Runtime, times: Times) -> Result<Base> {
        let region = match &settings.region {
            Some(region) => region.clone(),
            None => region_of_machine(runtime)
                .or_else(|| settings.endpoint.as_ref().map(|_| REGION_DEFAULT.to_owned()))
                .ok_or_else(no_region)?,
        };
        let tls = Arc::new(Tls::new(settings.ca_bundle.clone()));
        if settings.ca_bundle.is_some() || settings.is_https() {
            tls.config()?;
        }
        let identity = match &settings.keys {
            Some(keys) => credentials::of_keys(keys),
            None => {
                let connector = Connector::new(CREDENTIAL_CONNECTIONS_MAX, Arc::clone(&tls), times);
                credentials::of_environment(runtime.handle(), connector, &region)
            }
        };
        Ok(Base { region, identity, identities: IdentityCache::lazy().build(), tls, times })
    }

    /// The region.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// A client of the SDK with connections of its own.
    pub fn client(&self, settings: &Settings) -> aws_sdk_s3::Client {
        let connector = Connector::new(settings.connections_max, Arc::clone(&self.tls), self.times);
        let retries = RetryConfig::standard()
            .with_max_attempts(ATTEMPTS_MAX)
            .with_initial_backoff(FIRST_PAUSE)
            .with_max_backoff(PAUSE_MAX);
        let sends = if settings.send_checksums {
            RequestChecksumCalculation::WhenSupported
        } else {
            RequestChecksumCalculation::WhenRequired
        };
        let checks = if settings.check_checksums {
            ResponseChecksumValidation::WhenSupported
        } else {
            ResponseChecksumValidation::WhenRequired
        };
        let mut config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(self.region.clone()))
            .credentials_provider(self.identity.clone())
            .identity_cache(self.identities.clone())
            .http_client(connector)
            .endpoint_resolver(OfBucket::new(&settings.bucket))
            .sleep_impl(TokioSleep::new())
            .retry_config(retries)
            // Ours are in the connector and around the call; the SDK's protection would count bytes that it never sees.
            .timeout_config(TimeoutConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .request_checksum_calculation(sends)
            .response_checksum_validation(checks)
            .force_path_style(!settings.virtual_hosted);
        config.set_endpoint_url(settings.endpoint.clone());
        aws_sdk_s3::Client::from_conf(config.build())
    }
}

/// `$AWS_REGION`, `$AWS_DEFAULT_REGION`, or what the profile says.
fn region_of_machine(runtime: &Runtime) -> Option<String> {
    let region = runtime.block_on(async {
        match EnvironmentVariableRegionProvider::new().region().await {
            Some(region) => Some(region),
            None => ProfileFileRegionProvider::new().region().await,
        }
    });
    region.map(|region| region.as_ref().to_owned()).filter(|region| !region.is_empty())
}

fn no_region() -> Error {
    Error::new(
        Status::Config,
        "no region for a bucket of AWS: set nixl_backend_params.region, AWS_REGION, or region in the profile",
    )
}
