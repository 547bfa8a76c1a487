//! TLS to the database, with rustls and the levels of checking that `sslmode` names.
//!
//! rustls has one level, libpq's `verify-full`. [`Verifier`] builds the weaker ones from parts of rustls.

use std::{fmt::Display, path::Path, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{
        CertificateDer, PrivateKeyDer, ServerName, UnixTime,
        pem::{self, PemObject},
    },
    server::ParsedCertificate,
    version::{TLS12, TLS13},
};

use super::dsn::{DsnError, Roots, TlsOptions, Verify};

/// The rustls configuration for the connections of `options`. Reads the certificate files.
pub(super) fn client_config(options: &TlsOptions) -> Result<ClientConfig, DsnError> {
    // Named here, so that nothing depends on a crypto provider that the process may have installed.
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(Verifier::new(&options.verify, provider.signature_verification_algorithms)?);
    let versions: &[_] = if options.tls13_only { &[&TLS13] } else { &[&TLS13, &TLS12] };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        // Cannot fail: the provider has cipher suites for both versions.
        .expect("ring supports TLS 1.2 and 1.3")
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match &options.client {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates("sslcert", certificate)?;
            let private = PrivateKeyDer::from_pem_file(key).map_err(|error| match error {
                pem::Error::NoItemsFound => {
                    file_error("sslkey", key, &"it contains no unencrypted private key in PEM format")
                }
                error => file_error("sslkey", key, &error),
            })?;
            builder.with_client_auth_cert(chain, private).map_err(|error| file_error("sslkey", key, &error))?
        }
    };
    config.enable_sni = options.server_name_indication;
    if options.direct {
        // PostgreSQL refuses a direct TLS connection without ALPN.
        config.alpn_protocols = vec![b"postgresql".to_vec()];
    }
    Ok(config)
}

/// Checks the server's certificate as strictly as `sslmode` requires.
#[derive(Debug)]
struct Verifier {
    /// The trusted CAs. `None`: any certificate is accepted.
    roots: Option<Trusted>,
    check_name: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

/// The trusted certificates.
#[derive(Debug)]
struct Trusted {
    authorities: RootCertStore,
    /// The same certificates as in `sslrootcert`. In small installations a server's self-signed certificate is often
    /// its own root. OpenSSL accepts that, while rustls requires a CA that is not the server.
    pinned: Vec<CertificateDer<'static>>,
}

impl Verifier {
    fn new(verify: &Verify, algorithms: WebPkiSupportedAlgorithms) -> Result<Verifier, DsnError> {
        let (roots, check_name) = match verify {
            Verify::Nothing => (None, false),
            Verify::Chain(roots) => (Some(Trusted::load(roots)?), false),
            Verify::ChainAndName(roots) => (Some(Trusted::load(roots)?), true),
        };
        Ok(Verifier { roots, check_name, algorithms })
    }
}

impl Trusted {
    fn load(roots: &Roots) -> Result<Trusted, DsnError> {
        let mut authorities = RootCertStore::empty();
        match roots {
            Roots::System => {
                let found = rustls_native_certs::load_native_certs();
                authorities.add_parsable_certificates(found.certs);
                if authorities.is_empty() {
                    return Err(DsnError::NoSystemRoots);
                }
                Ok(Trusted { authorities, pinned: Vec::new() })
            }
            Roots::File(path) => {
                let pinned = certificates("sslrootcert", path)?;
                let (used, _) = authorities.add_parsable_certificates(pinned.iter().cloned());
                if used == 0 {
                    return Err(file_error("sslrootcert", path, &"it contains no CA certificate"));
                }
                Ok(Trusted { authorities, pinned })
            }
        }
    }

    fn check(
        &self,
        certificate: &CertificateDer<'_>,
        parsed: &ParsedCertificate<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Result<(), Error> {
        if self.pinned.contains(certificate) {
            return Ok(());
        }
        verify_server_cert_signed_by_trust_anchor(parsed, &self.authorities, intermediates, now, algorithms.all)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(trusted) = &self.roots {
            let parsed = ParsedCertificate::try_from(certificate)?;
            trusted.check(certificate, &parsed, intermediates, now, self.algorithms)?;
            if self.check_name {
                verify_server_name(&parsed, server_name)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    // The signatures are checked even if the certificate is not: channel binding requires that the server owns the
    // certificate it shows.

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// All certificates of a PEM file, at least one.
fn certificates(name: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, DsnError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    match found {
        Ok(found) if found.is_empty() => Err(file_error(name, path, &"it contains no certificate in PEM format")),
        Ok(found) => Ok(found),
        Err(error) => Err(file_error(name, path, &error)),
    }
}

fn file_error(name: &'static str, path: &Path, reason: &dyn Display) -> DsnError {
    let reason = reason.to_string();
    DsnError::File { name, path: path.display().to_string(), reason }
}
