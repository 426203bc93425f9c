//! How the SDK is set up: what is the same for all connections of a client.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::ProvideRegion;
use aws_config::profile::ProfileFileRegionProvider;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, IdentityCache, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    StalledStreamProtectionConfig,
};
use aws_smithy_async::rt::sleep::TokioSleep;

use super::endpoint::OfBucket;
use super::place::Place;
use crate::error::{Error, Result, Status};
use crate::s3::connector::Connector;
use crate::s3::connector::pace::Times;
use crate::s3::connector::tls::Tls;
use crate::s3::credentials::Identity;
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

/// The SDK over one connector.
#[derive(Clone, Debug)]
pub struct Sdk {
    /// For calls that it makes from the first attempt on.
    pub whole: aws_sdk_s3::Client,
    /// For calls whose first attempt failed, with the attempts that are left.
    pub after_first: aws_sdk_s3::Client,
}

/// What the connections of a client share.
#[derive(Debug)]
pub struct Base {
    region: String,
    identity: Identity,
    place: Option<Place>,
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
            Some(keys) => Identity::of_keys(keys),
            None => {
                let connector = Connector::new(CREDENTIAL_CONNECTIONS_MAX, Arc::clone(&tls), times);
                Identity::of_machine(runtime.handle(), connector, &region)
            }
        };
        let place = {
            // With checksums in head or trailer a request is the SDK's.
            let is_plain = !settings.send_checksums && !settings.check_checksums;
            let (settings, region) = (settings.clone(), region.clone());
            let place = runtime.block_on(async move { Place::find(&settings, &region).await });
            place.filter(|_| is_plain)
        };
        Ok(Base { region, identity, place, tls, times })
    }

    /// Where requests go that are written without the SDK, if any are.
    pub fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    /// Who we are.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The region.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Connections, and the SDK over them.
    pub fn client(&self, settings: &Settings) -> (Sdk, Connector) {
        let connector = Connector::new(settings.connections_max, Arc::clone(&self.tls), self.times);
        let retries = RetryConfig::standard().with_initial_backoff(FIRST_PAUSE).with_max_backoff(PAUSE_MAX);
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
            // They are kept in `Identity`.
            .identity_cache(IdentityCache::no_cache())
            .http_client(connector.clone())
            .endpoint_resolver(OfBucket::new(&settings.bucket))
            .sleep_impl(TokioSleep::new())
            .retry_config(retries.clone().with_max_attempts(ATTEMPTS_MAX))
            // Ours are in the connector and around the call; the SDK's protection would count bytes that it never sees.
            .timeout_config(TimeoutConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .request_checksum_calculation(sends)
            .response_checksum_validation(checks)
            .force_path_style(!settings.virtual_hosted);
        config.set_endpoint_url(settings.endpoint.clone());
        let whole = config.build();
        let after_first =
            whole.to_builder().retry_config(retries.with_max_attempts(ATTEMPTS_MAX - 1)).build();
        let [whole, after_first] = [whole, after_first].map(aws_sdk_s3::Client::from_conf);
        (Sdk { whole, after_first }, connector)
    }
}

/// The pause before a second attempt that is not the SDK's to make: a random part of [`FIRST_PAUSE`].
pub fn first_pause() -> Duration {
    let random = RandomState::new().hash_one(0u8);
    FIRST_PAUSE.mul_f64(random as f64 / u64::MAX as f64)
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
