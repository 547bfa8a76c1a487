//! The certificate that the server shows. It can be replaced while the server runs.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio_rustls::TlsAcceptor;

/// A certificate chain and its private key. Clones share them, so replacing them replaces them for the server too.
#[derive(Clone)]
pub struct Certificate(Arc<RwLock<Arc<CertifiedKey>>>);

impl fmt::Debug for Certificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a certificate")
    }
}

impl Certificate {
    /// Reads a chain and a key in PEM.
    ///
    /// # Errors
    /// If one of them cannot be read, or if they do not belong together. The error is a text for people.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, String> {
        Ok(Self(Arc::new(RwLock::new(Arc::new(read(chain, key)?)))))
    }

    /// New connections use `other` from now on.
    pub fn replace(&self, other: &Self) {
        let other = other.current();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = other;
    }

    fn current(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes a TLS acceptor for gRPC, and for web pages without HTTP/2.
    pub(super) fn acceptor(&self) -> Result<TlsAcceptor, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(self.clone()));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

fn read(chain: &[u8], key: &[u8]) -> Result<CertifiedKey, String> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
    let certificates = certificates.map_err(|error| format!("the certificate is not PEM: {error}"))?;
    if certificates.is_empty() {
        return Err("the certificate file contains no certificate in PEM".into());
    }
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|error| format!("the key file contains no private key in PEM: {error}"))?;
    CertifiedKey::from_der(certificates, key, &ring::default_provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => "the private key does not belong to the certificate".into(),
        error => format!("the certificate and its key cannot be used: {error}"),
    })
}
