//! The example's TLS, with real clients: the mark of the connection goes all the way to the HTTPS check.

use std::{fs, net::SocketAddr, path::PathBuf};

use axum::{Router, body::Body, routing::get};
use http::{Request, Response, Version};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use palisade::{
    client_ip::{PeerAddr, SchemeSource, TlsConnection},
    https::{Hsts, Https, HttpsLayer, RedirectTarget},
};
use rustls::{
    pki_types::CertificateDer,
    version::{TLS12, TLS13},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tower::ServiceExt;

use crate::clients::{ask_1, ask_2, handshake};

#[path = "../../examples/api/tls.rs"]
#[expect(
    dead_code,
    reason = "the example looks for new certificates by itself, the tests do it by hand"
)]
mod example;

use example::Tls;

/// The certificate files of a server.
struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new() -> (Self, CertificateDer<'static>) {
        let folder = tempfile::tempdir().unwrap();
        let files = Self { folder };
        let certificate = files.renew();
        (files, certificate)
    }

    /// Writes a new certificate and its key.
    fn renew(&self) -> CertificateDer<'static> {
        let new = rcgen::generate_simple_self_signed([String::from("api.example.com")]).unwrap();
        fs::write(self.certificate(), new.cert.pem()).unwrap();
        fs::write(self.key(), new.signing_key.serialize_pem()).unwrap();
        new.cert.der().clone()
    }

    fn certificate(&self) -> PathBuf {
        self.folder.path().join("tls.crt")
    }

    fn key(&self) -> PathBuf {
        self.folder.path().join("tls.key")
    }

    fn load(&self) -> Result<Tls, example::TlsError> {
        Tls::load(self.certificate(), self.key())
    }
}

/// A server on loopback with the HTTPS check, over TLS or over plain text.
async fn serve(https: Https, tls: Option<Tls>) -> SocketAddr {
    let app = Router::new()
        .route("/", get(|| async { "hello" }))
        .layer(HttpsLayer::new(https));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, peer) = listener.accept().await.unwrap();
            let (app, tls) = (app.clone(), tls.clone());
            tokio::spawn(async move {
                match tls {
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            let mark = Some(TlsConnection::new());
                            connect(app, stream, peer, mark).await;
                        }
                    }
                    None => connect(app, stream, peer, None).await,
                }
            });
        }
    });
    address
}

async fn connect(
    app: Router,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    mark: Option<TlsConnection>,
) {
    let service = app.map_request(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(PeerAddr::from(peer));
        if let Some(mark) = mark {
            request.extensions_mut().insert(mark);
        }
        request
    });
    // An error is the client's going away.
    let _ = Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .await;
}

fn https() -> Https {
    Https::reject(SchemeSource::Listener).with_hsts(Hsts::one_year())
}

#[track_caller]
fn check_secure(response: &Response<Incoming>, version: Version) {
    assert_eq!(response.status(), 200);
    assert_eq!(response.version(), version);
    let field = &response.headers()["strict-transport-security"];
    assert_eq!(field, "max-age=31536000");
}

#[tokio::test]
async fn requests_over_tls_count_as_https() {
    let (files, certificate) = Files::new();
    let address = serve(https(), Some(files.load().unwrap())).await;
    for versions in [[&TLS12], [&TLS13]] {
        let stream = handshake(address, &certificate, b"http/1.1", &versions)
            .await
            .unwrap();
        let (_, session) = stream.get_ref();
        assert_eq!(session.alpn_protocol(), Some(b"http/1.1".as_slice()));
        check_secure(&ask_1(stream, "/").await, Version::HTTP_11);

        let stream = handshake(address, &certificate, b"h2", &versions)
            .await
            .unwrap();
        let (_, session) = stream.get_ref();
        assert_eq!(session.alpn_protocol(), Some(b"h2".as_slice()));
        let response = ask_2(stream, "https://api.example.com/").await;
        check_secure(&response, Version::HTTP_2);
        // What the client writes for the scheme plays no part.
        let stream = handshake(address, &certificate, b"h2", &versions)
            .await
            .unwrap();
        let response = ask_2(stream, "http://api.example.com/").await;
        check_secure(&response, Version::HTTP_2);
    }
}

#[tokio::test]
async fn requests_over_plain_text_do_not() {
    let address = serve(https(), None).await;
    let connect = async || TcpStream::connect(address).await.unwrap();
    for response in [
        ask_1(connect().await, "/").await,
        ask_1(connect().await, "https://api.example.com/").await, // E14
        ask_2(connect().await, "https://api.example.com/").await, // E15
    ] {
        assert_eq!(response.status(), 403);
        let headers = response.headers();
        assert!(!headers.contains_key("strict-transport-security"));
    }
}

#[tokio::test]
async fn a_port_for_plain_text_redirects_to_the_one_for_tls() {
    let (files, certificate) = Files::new();
    let secure = serve(https(), Some(files.load().unwrap())).await;
    let target: RedirectTarget = "api.example.com".parse().unwrap();
    let target = target.with_port(secure.port());
    let plain = serve(Https::redirect_to(SchemeSource::Listener, target), None).await;

    let stream = TcpStream::connect(plain).await.unwrap();
    let response = ask_1(stream, "/?a=b").await;
    assert_eq!(response.status(), 308);
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    assert_eq!(
        location,
        format!("https://api.example.com:{}/?a=b", secure.port())
    );
    let stream = handshake(secure, &certificate, b"h2", &[&TLS13])
        .await
        .unwrap();
    check_secure(&ask_2(stream, &location).await, Version::HTTP_2);
}

#[tokio::test]
async fn a_new_certificate_needs_no_restart() {
    let (files, old) = Files::new();
    let tls = files.load().unwrap();
    let address = serve(https(), Some(tls.clone())).await;
    let open = handshake(address, &old, b"http/1.1", &[&TLS13])
        .await
        .unwrap();
    assert!(!tls.reload().unwrap());

    // Half of a renewal: the key does not fit yet, and the old certificate stays.
    let key = fs::read(files.key()).unwrap();
    let new = files.renew();
    let new_key = fs::read(files.key()).unwrap();
    fs::write(files.key(), key).unwrap();
    let error = tls.reload().unwrap_err().to_string();
    assert!(error.contains("does not fit its key"), "{error}");
    assert!(handshake(address, &old, b"h2", &[&TLS13]).await.is_ok());

    fs::write(files.key(), new_key).unwrap();
    assert!(tls.reload().unwrap());
    let stream = handshake(address, &new, b"http/1.1", &[&TLS13])
        .await
        .unwrap();
    check_secure(&ask_1(stream, "/").await, Version::HTTP_11);
    assert!(handshake(address, &old, b"h2", &[&TLS13]).await.is_err());
    // Whoever was connected stays connected.
    check_secure(&ask_1(open, "/").await, Version::HTTP_11);
}

#[tokio::test]
async fn a_client_that_says_nothing_keeps_nobody_out() {
    let (files, certificate) = Files::new();
    let address = serve(https(), Some(files.load().unwrap())).await;
    let silent = TcpStream::connect(address).await.unwrap();
    let stream = handshake(address, &certificate, b"h2", &[&TLS13])
        .await
        .unwrap();
    let response = ask_2(stream, "https://api.example.com/").await;
    check_secure(&response, Version::HTTP_2);
    drop(silent);
}

#[test]
fn errors_name_the_file_and_show_no_key() {
    let (files, _) = Files::new();
    let key = fs::read_to_string(files.key()).unwrap();
    fs::write(files.key(), key.replace("PRIVATE KEY", "PUBLIC KEY")).unwrap();
    let error = files.load().unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(shown.contains("tls.key"), "{shown}");
    for line in key.lines().filter(|line| !line.starts_with('-')) {
        assert!(!shown.contains(line), "the key is shown");
    }
    fs::remove_file(files.certificate()).unwrap();
    let error = files.load().unwrap_err().to_string();
    assert!(error.contains("tls.crt cannot be read"), "{error}");
    fs::write(files.certificate(), "").unwrap();
    assert!(files.load().is_err());
}

#[tokio::test]
async fn old_versions_are_refused() {
    // A client that offers TLS 1.1 at most, byte by byte: this library knows none so old.
    let (files, _) = Files::new();
    let address = serve(https(), Some(files.load().unwrap())).await;
    let mut hello = vec![0x03, 0x02]; // client_version: TLS 1.1
    hello.extend([7; 32]); // random
    hello.push(0); // no session
    hello.extend([0x00, 0x04, 0xc0, 0x13, 0x00, 0x2f]); // two cipher suites of that time
    hello.extend([0x01, 0x00]); // no compression
    // Extensions: ecdsa_secp256r1_sha256 to sign with, secp256r1 as the group. So the version alone is at fault.
    hello.extend([0x00, 0x10]);
    hello.extend([0x00, 0x0d, 0x00, 0x04, 0x00, 0x02, 0x04, 0x03]);
    hello.extend([0x00, 0x0a, 0x00, 0x04, 0x00, 0x02, 0x00, 0x17]);
    let mut record = vec![0x16, 0x03, 0x01];
    let length = u16::try_from(hello.len() + 4).unwrap();
    record.extend(length.to_be_bytes());
    record.extend([0x01, 0x00]); // client_hello and the first byte of its length
    record.extend((length - 4).to_be_bytes());
    record.extend(hello);
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&record).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    // RFC 5246, section 7.2: an alert record, fatal, protocol_version.
    assert_eq!(answer.first(), Some(&0x15), "{answer:02x?}");
    assert_eq!(answer.get(5..), Some([2, 70].as_slice()), "{answer:02x?}");
}
