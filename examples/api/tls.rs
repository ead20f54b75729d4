//! TLS that the service terminates itself, with a certificate that can be exchanged while it runs.

use std::{
    error::Error,
    fmt,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use palisade::secret::{ExposeSecret as _, SecretLoader, SecretSlice};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    version::{TLS12, TLS13},
};
use tokio::{
    net::TcpStream,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// What the secret that holds the key is called.
const KEY: &str = "TLS_KEY";

/// How long a client may take for the handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Makes TLS of TCP connections: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1.
///
/// Clones share the certificate, so that all of them see a new one.
#[derive(Clone)]
pub(crate) struct Tls {
    files: Arc<Files>,
    current: Arc<RwLock<Current>>,
}

struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

/// The certificate in use, and the text of the files it was read from.
struct Current {
    config: Arc<ServerConfig>,
    certificate: Vec<u8>,
}

impl Tls {
    /// Reads a certificate chain and its key, both PEM files.
    ///
    /// # Errors
    ///
    /// Fails if a file cannot be read, holds nothing of its kind, or if the two do not belong together.
    pub(crate) fn load(
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Result<Self, TlsError> {
        let files = Files {
            certificate: certificate.into(),
            key: key.into(),
        };
        let current = files.read()?;
        Ok(Self {
            files: Arc::new(files),
            current: Arc::new(RwLock::new(current)),
        })
    }

    /// Reads the files again where the certificate has changed, and says whether it has. Connections that are open keep the old one.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load). The old certificate then stays in use.
    pub(crate) fn reload(&self) -> Result<bool, TlsError> {
        let new = self.files.read()?;
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let changed = new.certificate != current.certificate;
        if changed {
            *current = new;
        }
        Ok(changed)
    }

    /// Looks every so often whether the certificate has changed. It never ends.
    ///
    /// Files are looked at and not watched: a volume of secrets is exchanged by a link, which watchers of files miss.
    pub(crate) async fn reload_every(self, period: Duration) {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick comes at once, when the files have just been read.
        ticks.tick().await;
        let mut failing = false;
        loop {
            ticks.tick().await;
            let tls = self.clone();
            let result = tokio::task::spawn_blocking(move || tls.reload()).await;
            match result {
                Ok(Ok(changed)) => {
                    failing = false;
                    if changed {
                        tracing::info!("the TLS certificate was exchanged");
                    }
                }
                // Once, and not at every look: half-written files and forgotten ones are a matter of time.
                Ok(Err(error)) if !failing => {
                    failing = true;
                    tracing::error!(%error, "the TLS certificate cannot be exchanged, the old one stays");
                }
                Ok(Err(_)) => {}
                Err(error) => tracing::error!(%error, "the TLS certificate was not looked at"),
            }
        }
    }

    /// Makes the handshake. It must not run where connections are accepted, or one slow client keeps all others out.
    ///
    /// # Errors
    ///
    /// Fails if the client does not speak TLS 1.2 or 1.3, goes away, or takes too long.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let config = {
            let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(&current.config)
        };
        timeout(HANDSHAKE, TlsAcceptor::from(config).accept(stream))
            .await
            .map_err(|_| io::Error::from(ErrorKind::TimedOut))?
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("certificate", &self.files.certificate)
            .field("key", &self.files.key)
            .finish_non_exhaustive()
    }
}

impl Files {
    fn read(&self) -> Result<Current, TlsError> {
        let certificate = std::fs::read(&self.certificate)
            .map_err(|error| TlsError::new(&self.certificate, "cannot be read", error))?;
        let chain = CertificateDer::pem_slice_iter(&certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| TlsError::new(&self.certificate, "is no PEM file", error))?;
        let text = self.key_text()?;
        // What the parser says about a key could quote it.
        let key = PrivateKeyDer::from_pem_slice(text.expose_secret())
            .map_err(|_| TlsError::bare(&self.key, "holds no private key"))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| TlsError::new(&self.certificate, "cannot be used", error))?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| TlsError::new(&self.certificate, "does not fit its key", error))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Current {
            config: Arc::new(config),
            certificate,
        })
    }
}

impl Files {
    /// Reads the key as a secret: a regular file that others cannot write, whose text is wiped when the key has been made of it.
    fn key_text(&self) -> Result<SecretSlice<u8>, TlsError> {
        // Secrets are at absolute paths, settings may be relative.
        let path = std::path::absolute(&self.key)
            .map_err(|error| TlsError::new(&self.key, "cannot be found", error))?;
        let name = format!("{KEY}_FILE");
        SecretLoader::new()
            .without_directories()
            .with_environment(move |asked| (asked == name).then(|| path.clone().into()))
            .secret(KEY)
            .bytes()
            .map_err(|error| TlsError::new(&self.key, "cannot be used", error))
    }
}

/// A certificate and its key cannot be used.
#[derive(Debug)]
pub(crate) struct TlsError {
    path: PathBuf,
    what: &'static str,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl TlsError {
    fn new(
        path: &Path,
        what: &'static str,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        let source = Some(source.into());
        Self {
            source,
            ..Self::bare(path, what)
        }
    }

    fn bare(path: &Path, what: &'static str) -> Self {
        Self {
            path: path.into(),
            what,
            source: None,
        }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path.display(), self.what)?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl Error for TlsError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source
            .as_deref()
            .map(|it| it as &(dyn Error + 'static))
    }
}
