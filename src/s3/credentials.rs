//! Who we are: keys of the configuration, else the usual AWS identity (environment, profile, web identity, the roles of a
//! container or a machine), fetched on the client's own thread and fetched anew before it expires.

use std::sync::Arc;

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::future::ProvideCredentials as Providing;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_s3::config::Region;
use aws_smithy_async::rt::sleep::TokioSleep;
use tokio::runtime::Handle;
use tokio::sync::OnceCell;

use super::connector::Connector;
use super::settings::StaticKeys;

/// Names the source in the SDK's own messages.
const KEYS_NAME: &str = "nixl_backend_params";

/// The keys of the configuration.
pub fn of_keys(keys: &StaticKeys) -> SharedCredentialsProvider {
    let (access_key, secret_key) = (keys.access_key.clone(), keys.secret_key.clone());
    let keys = Credentials::new(access_key, secret_key, keys.session_token.clone(), None, KEYS_NAME);
    SharedCredentialsProvider::new(keys)
}

/// The usual identity, looked for on the runtime of `handle` and over the connections of `connector`, which belong there.
pub fn of_environment(handle: &Handle, connector: Connector, region: &str) -> SharedCredentialsProvider {
    let region = Region::new(region.to_owned());
    let (handle, chain) = (handle.clone(), Arc::default());
    SharedCredentialsProvider::new(Elsewhere { handle, connector, region, chain })
}

/// The chain of sources, asked on another runtime than the one that waits.
#[derive(Debug)]
struct Elsewhere {
    handle: Handle,
    connector: Connector,
    region: Region,
    /// Made by the first who asks.
    chain: Arc<OnceCell<DefaultCredentialsChain>>,
}

impl ProvideCredentials for Elsewhere {
    fn provide_credentials<'a>(&'a self) -> Providing<'a>
    where
        Self: 'a,
    {
        let (chain, connector, region) =
            (Arc::clone(&self.chain), self.connector.clone(), self.region.clone());
        let fetched = self.handle.spawn(async move {
            let chain = chain.get_or_init(|| make(connector, region)).await;
            chain.provide_credentials().await
        });
        Providing::new(async move {
            // Waited for no longer than the caller's deadline; the fetch then goes on for whoever asks next.
            fetched.await.unwrap_or_else(|error| Err(CredentialsError::provider_error(error)))
        })
    }
}

async fn make(connector: Connector, region: Region) -> DefaultCredentialsChain {
    let config = ProviderConfig::without_region()
        .with_region(Some(region))
        .with_http_client(connector)
        .with_sleep_impl(TokioSleep::new());
    DefaultCredentialsChain::builder().configure(config).build().await
}
