//! The client of one bucket: what all calls have in common. The calls are in the files beside this one.

mod bucket;
mod direct;
mod endpoint;
mod objects;
mod place;
mod probe;
mod sdk;
mod uploads;

use std::fmt;
use std::future::Future;
use std::time::Instant;

use super::breaker::Breaker;
use super::connector::Connector;
use super::connector::order::Order;
use super::connector::pace::Times;
use super::credentials::Identity;
use super::errors::{Answer, FailureKind};
use super::runtime::Runtime;
use super::settings::Settings;
use super::sign::Signer;
use crate::error::Result;
use crate::log::Logger;
use crate::sync::{Arc, Mutex};
use sdk::{Base, Sdk};

pub use bucket::LISTED_MAX;
pub use sdk::ATTEMPTS_MAX;
pub use uploads::UPLOADS_MAX;

pub(super) use super::errors::Context;

/// What all clients of one bucket share, whatever runtime they are on.
#[derive(Debug)]
struct Shared {
    settings: Settings,
    endpoint_shown: Arc<str>,
    base: Base,
    breaker: Breaker,
    // Last, since credentials are fetched on it.
    runtime: Runtime,
}

/// The client of one bucket. Clones are the same client.
#[derive(Clone)]
pub struct Client {
    sdk: Sdk,
    connector: Connector,
    /// For requests that are written here; of this client alone, as its lane's thread is the only one that needs it.
    signer: Arc<Mutex<Option<Signer>>>,
    shared: Arc<Shared>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("settings", &self.shared.settings).finish_non_exhaustive()
    }
}

impl Client {
    /// Starts the client's thread `nixl-s3`. Nothing goes over the network yet.
    ///
    /// # Errors
    /// No region, or a bundle of certificates that cannot be used ([`crate::error::Status::Config`]); no thread.
    pub fn open(settings: Settings, logger: &Logger) -> Result<Client> {
        Client::open_with(settings, logger, Times::default())
    }

    /// As [`Client::open`], with other bounds on time; for tests.
    pub(super) fn open_with(settings: Settings, logger: &Logger, times: Times) -> Result<Client> {
        let runtime = Runtime::start()?;
        let base = Base::new(&settings, &runtime, times)?;
        let endpoint_shown = match &settings.endpoint {
            Some(endpoint) => Arc::from(endpoint.as_str()),
            None => Arc::from(format!("AWS, region {}", base.region())),
        };
        let identity =
            if settings.keys.is_some() { "keys of the configuration" } else { "the usual AWS identity" };
        logger.info(format_args!(
            "bucket {} at {endpoint_shown}, region {}, with {identity}",
            settings.bucket,
            base.region()
        ));
        let shared =
            Arc::new(Shared { settings, endpoint_shown, base, breaker: Breaker::default(), runtime });
        Ok(Client::of(shared))
    }

    fn of(shared: Arc<Shared>) -> Client {
        let (sdk, connector) = shared.base.client(&shared.settings);
        let signer = shared.base.place().map(|place| Signer::new(&place.region, &place.service));
        Client { sdk, connector, signer: Arc::new(Mutex::new(signer)), shared }
    }

    /// The same client with connections of its own, for use on another runtime: sockets belong to the runtime that opened
    /// them. Credentials and breaker are shared.
    #[must_use]
    pub fn with_own_connections(&self) -> Client {
        Client::of(Arc::clone(&self.shared))
    }

    /// Runs `work` on `nixl-s3` and waits for it; for threads that are not part of a runtime. A panic in `work` goes on in
    /// the caller.
    pub fn block_on<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        self.shared.runtime.block_on(work)
    }

    /// The endpoint, for messages.
    pub fn endpoint_shown(&self) -> &str {
        &self.shared.endpoint_shown
    }

    /// Host and port that requests go to, and whether by TLS; `None` where that is not known before a request is made.
    pub fn origin(&self) -> Option<(&str, u16, bool)> {
        let origin = &self.shared.base.place()?.origin;
        Some((&origin.host, origin.port, origin.tls))
    }

    /// Whether there are credentials to sign with, and where they come from. Nothing is asked of the server.
    ///
    /// # Errors
    /// There are none, or they cannot be fetched.
    pub async fn identity(&self) -> Answer<&'static str> {
        let identity = self.shared.base.identity();
        let context = self.context("signing for", "");
        identity.credentials().await.map_err(|error| context.of_credentials(&error))?;
        Ok(match identity {
            Identity::Keys(_) => "keys of the configuration",
            Identity::Machine(_) => "the usual AWS identity (environment, profile, role)",
        })
    }

    fn sdk(&self) -> &aws_sdk_s3::Client {
        &self.sdk.whole
    }

    fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// The name of the bucket.
    pub fn bucket(&self) -> &str {
        &self.shared.settings.bucket
    }

    fn context(&self, operation: &'static str, name: &str) -> Context {
        Context::new(operation, name, self.bucket(), &self.shared.endpoint_shown)
    }

    /// Makes one call, all its attempts, within its time. What `work` holds of the caller's memory it lets go of before this
    /// ends: it is dropped here, and whoever gives the order ends that after it.
    async fn call<T>(
        &self,
        context: &Context,
        deadline: Option<Instant>,
        order: &Order,
        work: impl Future<Output = Answer<T>>,
    ) -> Answer<T> {
        let pass = self.shared.breaker.enter(context)?;
        let begun = Instant::now();
        let latest = begun.checked_add(self.shared.settings.call_time_max);
        let until = [deadline, latest].into_iter().flatten().min();
        let outcome = match until {
            Some(until) if until <= begun => {
                Err(context.failure(FailureKind::TimedOut, "its deadline has passed"))
            }
            // On the heap: what the SDK builds up for a call is too much for the futures around this one.
            Some(until) => match tokio::time::timeout_at(until.into(), Box::pin(work)).await {
                Ok(outcome) => outcome,
                Err(_) => {
                    let waited = begun.elapsed().as_secs_f64();
                    let trouble = order.trouble().map(|text| format!("; the attempt before: {text}"));
                    let trouble = trouble.unwrap_or_default();
                    Err(context.failure(
                        FailureKind::TimedOut,
                        format_args!("not done after {waited:.1} s{trouble}"),
                    ))
                }
            },
            None => Box::pin(work).await,
        };
        pass.end(&outcome);
        outcome
    }
}
