//! Whom to trust: the machine's certificates, or those of `ca_bundle` in their place.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use once_cell::sync::OnceCell;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::error::{Error, Result, Status};

/// The settings of TLS, made when first needed.
#[derive(Debug)]
pub struct Tls {
    ca_bundle: Option<PathBuf>,
    config: OnceCell<Arc<ClientConfig>>,
}

impl Tls {
    /// With the certificates of this file, else the machine's.
    pub fn new(ca_bundle: Option<PathBuf>) -> Tls {
        Tls { ca_bundle, config: OnceCell::new() }
    }

    /// The settings.
    ///
    /// # Errors
    /// No certificate could be had ([`Status::Config`]).
    pub fn config(&self) -> Result<Arc<ClientConfig>> {
        self.config.get_or_try_init(|| build(self.ca_bundle.as_deref())).cloned()
    }
}

fn build(ca_bundle: Option<&Path>) -> Result<Arc<ClientConfig>> {
    let roots = match ca_bundle {
        Some(path) => bundle(path)?,
        None => machine()?,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(Status::Internal, format!("TLS: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn bundle(path: &Path) -> Result<RootCertStore> {
    let refuse = |why: String| {
        Error::new(
            Status::Config,
            format!("ca_bundle {}: {why}; allowed: a file of certificates in PEM", path.display()),
        )
    };
    let text = std::fs::read(path).map_err(|error| refuse(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| refuse(format!("is no PEM: {error}")))?;
        roots
            .add(certificate)
            .map_err(|error| refuse(format!("has a certificate that cannot be used: {error}")))?;
    }
    if roots.is_empty() { Err(refuse("has no certificate in it".to_owned())) } else { Ok(roots) }
}

fn machine() -> Result<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if !roots.is_empty() {
        return Ok(roots);
    }
    let why = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
    Err(Error::new(
        Status::Config,
        format!(
            "this machine has no certificates to know an https endpoint by{why}; install its CA certificates, or set \
             ca_bundle or $SSL_CERT_FILE"
        ),
    ))
}
