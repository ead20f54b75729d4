//! The probe that a container without a shell runs: the binary asks the running service.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::http::{Request, StatusCode, header::HOST};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    version::{TLS12, TLS13},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::config::Config;

const PATIENCE: Duration = Duration::from_secs(3);

/// Asks the service that runs with these settings whether it is well.
///
/// # Errors
///
/// Where it cannot be reached within three seconds or does not answer 200.
pub(crate) async fn probe(config: &Config) -> Result<(), String> {
    let addr = reachable(config.server.listen);
    let has_tls = config.tls.certificate.is_some();
    timeout(PATIENCE, ask(addr, has_tls))
        .await
        .map_err(|_| format!("{addr} does not answer within {PATIENCE:?}"))?
}

async fn ask(addr: SocketAddr, has_tls: bool) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("{addr}: {error}");
    let stream = TcpStream::connect(addr).await.map_err(|e| failed(&e))?;
    let status = if has_tls {
        let name = ServerName::from(addr.ip());
        let connector = TlsConnector::from(own_service().map_err(|e| failed(&e))?);
        let stream = connector.connect(name, stream).await;
        status_of(stream.map_err(|e| failed(&e))?, addr).await?
    } else {
        status_of(stream, addr).await?
    };
    match status {
        StatusCode::OK => Ok(()),
        status => Err(format!("{addr} answers {status}")),
    }
}

async fn status_of<S>(stream: S, addr: SocketAddr) -> Result<StatusCode, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let failed = |error: &dyn std::fmt::Display| format!("{addr}: {error}");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| failed(&e))?;
    let connection = tokio::spawn(connection);
    let request = Request::get("/healthz")
        .header(HOST, addr.to_string())
        .body(Empty::<Bytes>::new())
        .map_err(|e| failed(&e))?;
    let response = sender.send_request(request).await.map_err(|e| failed(&e))?;
    connection.abort();
    Ok(response.status())
}

/// TLS to the service of this machine, whatever its certificate: it is made out for the service's name, and not for this address, and a newer one
/// may be in the files already. Nothing is sent that were worth hiding, and nothing learned but that somebody answers.
fn own_service() -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(ring::default_provider());
    let anybody = Arc::new(Anybody(provider.signature_verification_algorithms));
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .dangerous()
        .with_custom_certificate_verifier(anybody)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Takes any certificate whose key is at the other end.
#[derive(Debug)]
struct Anybody(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// Turns "every address" into the loopback address of the same family.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}
