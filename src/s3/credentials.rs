//! Who we are: keys of the configuration, else the usual AWS identity (environment, profile, web identity, the roles of a
//! container or a machine), fetched on the client's own thread, kept, and fetched anew before it expires.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::future::ProvideCredentials as Providing;
use aws_sdk_s3::config::Region;
use aws_smithy_async::rt::sleep::TokioSleep;
use tokio::runtime::Handle;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::connector::Connector;
use super::settings::StaticKeys;
use crate::sync::{Mutex, lock};

/// Names the source in the SDK's own messages.
const KEYS_NAME: &str = "nixl_backend_params";
/// How long before they expire credentials are fetched anew.
const EXPIRY_MARGIN: Duration = Duration::from_secs(10);
/// How long credentials are kept that do not say when they expire: a profile's file may be written anew.
const KEPT_TIME_MAX: Duration = Duration::from_secs(15 * 60);
/// How long a fetch may take.
const FETCH_TIME_MAX: Duration = Duration::from_secs(5);

/// Who we are. Clones are the same.
#[derive(Clone, Debug)]
pub enum Identity {
    /// The keys of the configuration.
    Keys(Credentials),
    /// What the machine says.
    Machine(Arc<Machine>),
}

impl Identity {
    /// The keys of the configuration.
    pub fn of_keys(keys: &StaticKeys) -> Identity {
        let (access_key, secret_key) = (keys.access_key.clone(), keys.secret_key.clone());
        let token = keys.session_token.clone();
        Identity::Keys(Credentials::new(access_key, secret_key, token, None, KEYS_NAME))
    }

    /// The usual identity, looked for on the runtime of `handle` and over the connections of `connector`, which belong there.
    pub fn of_machine(handle: &Handle, connector: Connector, region: &str) -> Identity {
        let region = Region::new(region.to_owned());
        let (chain, kept, fetching) = (OnceCell::new(), Mutex::default(), tokio::sync::Mutex::default());
        Identity::Machine(Arc::new(Machine {
            handle: handle.clone(),
            connector,
            region,
            chain,
            kept,
            fetching,
        }))
    }

    /// The credentials to sign with now. A fetch goes on for whoever asks next if this one is dropped.
    ///
    /// # Errors
    /// There are none, or they could not be fetched.
    pub async fn credentials(&self) -> Result<Credentials, CredentialsError> {
        let machine = match self {
            Identity::Keys(credentials) => return Ok(credentials.clone()),
            Identity::Machine(machine) => machine,
        };
        if let Some(credentials) = machine.fresh() {
            return Ok(credentials);
        }
        let fetching = Arc::clone(machine);
        let fetched = machine.handle.spawn(async move { fetching.fetch().await });
        fetched.await.unwrap_or_else(|error| Err(CredentialsError::provider_error(error)))
    }
}

impl ProvideCredentials for Identity {
    fn provide_credentials<'a>(&'a self) -> Providing<'a>
    where
        Self: 'a,
    {
        Providing::new(self.credentials())
    }
}

/// Credentials and when they were fetched.
#[derive(Clone, Debug)]
struct Kept {
    credentials: Credentials,
    fetched: Instant,
}

impl Kept {
    /// Whether they will do for `margin` from now on.
    fn lasts(&self, margin: Duration) -> bool {
        match self.credentials.expiry() {
            Some(expiry) => SystemTime::now() + margin < expiry,
            None => self.fetched.elapsed() < KEPT_TIME_MAX,
        }
    }
}

/// The identity of this machine or process.
#[derive(Debug)]
pub struct Machine {
    handle: Handle,
    connector: Connector,
    region: Region,
    /// The sources, made by the first who asks.
    chain: OnceCell<DefaultCredentialsChain>,
    kept: Mutex<Option<Kept>>,
    /// Held while credentials are fetched, by one at a time. How the last fetch failed, and when.
    fetching: tokio::sync::Mutex<Option<(Instant, Failed)>>,
}

/// How a fetch failed, for those who waited for it too.
#[derive(Clone, Debug)]
enum Failed {
    NotThere,
    TimedOut,
    Otherwise(String),
}

impl Failed {
    fn of(error: &CredentialsError) -> Failed {
        match error {
            CredentialsError::CredentialsNotLoaded(_) => Failed::NotThere,
            CredentialsError::ProviderTimedOut(_) => Failed::TimedOut,
            other => Failed::Otherwise(other.to_string()),
        }
    }

    fn error(&self) -> CredentialsError {
        match self {
            Failed::NotThere => CredentialsError::not_loaded("no source has any"),
            Failed::TimedOut => CredentialsError::provider_timed_out(FETCH_TIME_MAX),
            Failed::Otherwise(text) => CredentialsError::provider_error(text.clone()),
        }
    }
}

impl Machine {
    fn fresh(&self) -> Option<Credentials> {
        let kept = lock(&self.kept);
        kept.as_ref().filter(|kept| kept.lasts(EXPIRY_MARGIN)).map(|kept| kept.credentials.clone())
    }

    async fn fetch(&self) -> Result<Credentials, CredentialsError> {
        let asked = Instant::now();
        let mut failed = self.fetching.lock().await;
        if let Some(credentials) = self.fresh() {
            return Ok(credentials);
        }
        // However many wait, a source that hangs takes the time of one fetch.
        if let Some((_, failed)) = failed.as_ref().filter(|(when, _)| *when > asked) {
            return Err(failed.error());
        }
        let provided =
            async { self.chain.get_or_init(|| self.make_chain()).await.provide_credentials().await };
        let provided = match timeout(FETCH_TIME_MAX, provided).await {
            Ok(provided) => provided,
            Err(_) => Err(CredentialsError::provider_timed_out(FETCH_TIME_MAX)),
        };
        match provided {
            Ok(credentials) => {
                let kept = Kept { credentials: credentials.clone(), fetched: Instant::now() };
                *lock(&self.kept) = Some(kept);
                Ok(credentials)
            }
            // Those at hand are good for some seconds yet.
            Err(error) => {
                *failed = Some((Instant::now(), Failed::of(&error)));
                let kept = lock(&self.kept);
                let kept = kept.as_ref().filter(|kept| kept.lasts(Duration::ZERO));
                kept.map(|kept| kept.credentials.clone()).ok_or(error)
            }
        }
    }

    async fn make_chain(&self) -> DefaultCredentialsChain {
        let config = ProviderConfig::without_region()
            .with_region(Some(self.region.clone()))
            .with_http_client(self.connector.clone())
            .with_sleep_impl(TokioSleep::new());
        DefaultCredentialsChain::builder().configure(config).build().await
    }
}
