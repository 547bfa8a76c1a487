//! `pgfox-server healthcheck`: for container health checks and scripts.

use std::{net::SocketAddr, path::Path, sync::Arc};

use anyhow::{Context as _, bail};
use hyper_util::rt::TokioIo;
use pgfox_server::HealthcheckArgs;
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

/// Checks the health of the server. Every answer except "serving" is an error.
pub(crate) async fn run(args: &HealthcheckArgs) -> anyhow::Result<()> {
    tokio::time::timeout(args.timeout, check(args))
        .await
        .with_context(|| format!("{} did not answer within {} ms", args.listen, args.timeout.as_millis()))?
}

async fn check(args: &HealthcheckArgs) -> anyhow::Result<()> {
    let address = reachable(&args.listen);
    let channel = connect(address.clone(), args.tls_cert.as_deref()).await?;
    let request = HealthCheckRequest { service: args.service.clone() };
    let response = HealthClient::new(channel).check(request).await;
    let status = response.map_err(|status| anyhow::anyhow!("{address}: {}", status.message()))?.into_inner().status();
    match status {
        ServingStatus::Serving => Ok(()),
        status => bail!("{address}: {}", status.as_str_name()),
    }
}

/// If a server listens on every address, ask it on this machine.
fn reachable(listen: &str) -> String {
    let port = listen.strip_prefix("0.0.0.0:").map(|port| ("127.0.0.1", port));
    match port.or_else(|| listen.strip_prefix("[::]:").map(|port| ("[::1]", port))) {
        Some((address, port)) => format!("{address}:{port}"),
        None => listen.to_owned(),
    }
}

async fn connect(address: String, certificate: Option<&Path>) -> anyhow::Result<Channel> {
    // The scheme only completes the request; TLS is added below.
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    let Some(path) = certificate.filter(|path| !path.as_os_str().is_empty()) else {
        return endpoint.connect().await.with_context(|| format!("cannot connect to {address}"));
    };
    let certificate = CertificateDer::from_pem_file(path).with_context(|| format!("cannot read {}", path.display()))?;
    let connector = connector(certificate, is_here(&address))?;
    let connect = move |_| {
        let (connector, address) = (connector.clone(), address.clone());
        async move {
            let stream = TcpStream::connect(&address).await?;
            // The whole certificate is compared, so its name does not matter.
            let name = ServerName::try_from("localhost").map_err(std::io::Error::other)?;
            std::io::Result::Ok(TokioIo::new(connector.connect(name, stream).await?))
        }
    };
    Ok(endpoint.connect_with_connector(tower::service_fn(connect)).await?)
}

/// Whether an address belongs to this machine, so that nobody else can answer at it.
fn is_here(address: &str) -> bool {
    address
        .parse::<SocketAddr>()
        .map_or_else(|_| address.starts_with("localhost:"), |address| address.ip().is_loopback())
}

fn connector(certificate: CertificateDer<'static>, any: bool) -> anyhow::Result<TlsConnector> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Pinned { certificate, any, provider: Arc::clone(&provider) };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Accepts exactly one certificate; from this machine any, because it may have been renewed since. The check uses the
/// server's local address, which its certificate does not name. The authority that issued it does not matter here.
#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
    any: bool,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.any || *end_entity == self.certificate {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::Error::General("the certificate of the server differs from --tls-cert".into()))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_answers_at_its_loopback_addresses() {
        assert!(is_here("127.0.0.1:1") && is_here("[::1]:1") && is_here("localhost:1"));
        assert!(!is_here("192.0.2.1:1") && !is_here("localhost.example.com:1"));
    }

    #[test]
    fn every_address_is_asked_on_this_machine() {
        assert_eq!(reachable("0.0.0.0:1"), "127.0.0.1:1");
        assert_eq!(reachable("[::]:1"), "[::1]:1");
        assert_eq!(reachable("192.0.2.1:1"), "192.0.2.1:1");
    }
}
