//! The listeners: axum's own `serve` has no timeout for request heads and no limit of connections.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use axum::{Router, body::Body, http::Request};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto::Builder,
        graceful::{GracefulShutdown, Watcher},
    },
    service::TowerToHyperService,
};
use metrics_exporter_prometheus::PrometheusHandle;
use palisade::{
    SecurityLayer,
    api_key::ApiKeyPolicy,
    client_ip::{ClientIpSource, PeerAddr, TlsConnection},
    ip_filter::IpAllowlist,
    ip_set::IpList,
    jail::JailTask,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    signal::unix::{Signal, SignalKind, signal},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{sleep, timeout},
};
use tower::ServiceExt as _;

use crate::{
    Failure,
    admin::{self, EventFeed},
    clients::{Clients, Place},
    config::{Config, Server},
    idle::Idle,
    protection::{self, Protection},
    routes::{self, Ready},
    tls::Tls,
};

/// How many connections the listener for administration takes, whatever the others have.
const ADMIN_CONNECTIONS: usize = 32;

/// How long nothing may go over a connection, in times of what a request may take.
const IDLE_REQUESTS: u32 = 3;

/// The stream of events of the listener for administration says something every 15 seconds.
const ADMIN_IDLE: Duration = Duration::from_secs(60);

/// How long the service waits for the bans of the other instances before it listens.
const FIRST_BANS: Duration = Duration::from_secs(1);

/// How often bans are written to their file, and old ones forgotten.
const JAIL_PAUSE: Duration = Duration::from_secs(10);

/// Serves until SIGTERM or Ctrl-C, then lets requests in flight end.
///
/// On SIGHUP the settings are read again from `file`.
pub(crate) async fn serve(
    file: Option<PathBuf>,
    config: Config,
    protection: Protection,
    feed: EventFeed,
    metrics: PrometheusHandle,
) -> Result<(), Failure> {
    let main = bind("server.listen", "API__SERVER__LISTEN", config.server.listen).await?;
    let plain = match config.tls.plain_listen {
        Some(addr) => Some(bind("tls.plain_listen", "API__TLS__PLAIN_LISTEN", addr).await?),
        None => None,
    };
    let admin = match config.admin.listen {
        Some(addr) => Some(bind("admin.listen", "API__ADMIN__LISTEN", addr).await?),
        None => None,
    };
    let mut signals = Signals::new()?;
    introduce(&main, plain.as_ref(), admin.as_ref(), &protection)?;

    let protection = Arc::new(protection);
    let _tasks = Tasks::start(&config, &protection)?;
    if let Some(jail) = protection.layer.jail()
        && !jail.synchronize(FIRST_BANS).await
    {
        tracing::warn!("the bans of the other instances are not known yet: the store is away");
    }
    let ready = Ready::new();
    let app = routes::router(&config, protection.layer.clone(), ready.clone());
    let builder = Arc::new(builder(&config.server));
    let graceful = Arc::new(GracefulShutdown::new());
    let (stop, stopped) = watch::channel(false);
    let room = Arc::new(Semaphore::new(config.server.max_connections));
    let proxies = &config.security.client_ip;
    let clients = Clients::new(config.server.max_connections_per_client, proxies);
    let idle = config.server.request_timeout.saturating_mul(IDLE_REQUESTS);
    let listen = |socket, tls, app, room, clients, idle| {
        let listener = Listener {
            socket,
            tls,
            app,
            room,
            clients,
            builder: Arc::clone(&builder),
            first: config.server.header_read_timeout,
            idle,
        };
        tokio::spawn(listener.run(stopped.clone(), Arc::clone(&graceful)));
    };
    if let Some(admin) = admin {
        let app = admin_app(&config, &protection, feed.clone(), metrics)
            .map_err(Failure::Configuration)?;
        listen(
            admin,
            None,
            app,
            Arc::new(Semaphore::new(ADMIN_CONNECTIONS)),
            Clients::new(ADMIN_CONNECTIONS, proxies),
            idle.max(ADMIN_IDLE),
        );
    }
    if let Some(plain) = plain {
        let (app, room, clients) = (app.clone(), Arc::clone(&room), Arc::clone(&clients));
        listen(plain, None, app, room, clients, idle);
    }
    listen(main, protection.tls.clone(), app, room, clients, idle);
    drop(stopped);

    while signals.next().await == Order::Reload {
        let (protection, file) = (Arc::clone(&protection), file.clone());
        // It reads files, which no request shall wait for.
        let reload = move || protection::reload(&protection, file.as_deref());
        let _ = tokio::task::spawn_blocking(reload).await;
    }

    ready.stop();
    feed.end();
    let _ = stop.send(true);
    // Until every listener is closed: whoever comes now is to be told at once.
    stop.closed().await;
    tracing::info!("stopping: requests in flight may end");
    let grace = config.server.shutdown_grace;
    // Nobody else holds it any more: the listeners are gone.
    if let Some(graceful) = Arc::into_inner(graceful)
        && timeout(grace, graceful.shutdown()).await.is_err()
    {
        tracing::warn!(?grace, "requests in flight were cut off");
    }
    if let Some(jail) = protection.layer.jail()
        && let Err(error) = jail.save()
    {
        tracing::error!(%error, "the bans cannot be saved");
    }
    Ok(())
}

/// Binds an address.
async fn bind(setting: &str, variable: &str, addr: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(addr).await.map_err(|error| {
        Failure::Configuration(format!(
            "{setting}: cannot listen on {addr}: {error}; choose a free address, as {variable}=127.0.0.1:8081"
        ))
    })
}

/// The router of the listener for administration: few may come, and where there are keys, none
/// without one that is good for it.
fn admin_app(
    config: &Config,
    protection: &Protection,
    feed: EventFeed,
    metrics: PrometheusHandle,
) -> Result<Router, String> {
    let allow = IpList::new("administration", config.admin.allow.clone());
    let allow = IpAllowlist::new(allow).map_err(|error| format!("admin.allow: {error}"))?;
    let mut security = SecurityLayer::builder(ClientIpSource::Peer)
        .allow(allow)
        .sink(protection.sink.clone());
    if let Some(keys) = &protection.keys {
        let keys = ApiKeyPolicy::new(keys.clone())
            .with_name("administration")
            .with_scope(admin::SCOPE)
            .map_err(|error| format!("api_keys: {error}"))?;
        security = security.policy(admin::unless_open(keys));
    }
    Ok(admin::router(&protection.layer, feed, metrics).layer(security.build()))
}

/// What runs beside the requests, and ends when this is dropped.
struct Tasks {
    _jail: Option<JailTask>,
    _keys: Option<palisade::secret::ReloadTask>,
    tls: Option<tokio::task::AbortHandle>,
}

impl Tasks {
    fn start(config: &Config, protection: &Protection) -> Result<Self, Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure::Runtime(format!("no task: {error}"));
        let jail = protection
            .layer
            .jail()
            .map(|jail| JailTask::spawn(jail, JAIL_PAUSE))
            .transpose()
            .map_err(|error| failed(&error))?;
        let keys = protection
            .keys
            .as_ref()
            .map(|keys| keys.reload_every(config.security.api_keys.reload.0))
            .transpose()
            .map_err(|error| failed(&error))?;
        let tls = protection.tls.clone().map(|tls| {
            let every = config.tls.reload;
            tokio::spawn(tls.reload_every(every)).abort_handle()
        });
        Ok(Self {
            _jail: jail,
            _keys: keys,
            tls,
        })
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        if let Some(tls) = &self.tls {
            tls.abort();
        }
    }
}

fn builder(server: &Server) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(server.header_read_timeout);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .max_concurrent_streams(100)
        .max_header_list_size(16 * 1024);
    builder
}

/// One address that is listened on.
struct Listener {
    socket: TcpListener,
    tls: Option<Tls>,
    app: Router,
    /// A permit for each connection that may be open.
    room: Arc<Semaphore>,
    /// Who has them.
    clients: Arc<Clients>,
    builder: Arc<Builder<TokioExecutor>>,
    /// How long a client may take until it is known which HTTP it speaks. To hyper's timeouts a connection is nothing before that.
    first: Duration,
    /// How long nothing may go over a connection.
    idle: Duration,
}

impl Listener {
    // Arguments are dropped from the last to the first: whoever waits for the last `stopped` finds no `graceful` left.
    async fn run(self, mut stopped: watch::Receiver<bool>, graceful: Arc<GracefulShutdown>) {
        let listener = Arc::new(self);
        loop {
            // The permit first: where there is none left, the next connection waits in the listener's queue.
            let accepted = async {
                let permit = Arc::clone(&listener.room).acquire_owned().await;
                (permit, listener.socket.accept().await)
            };
            tokio::select! {
                (permit, accepted) = accepted => match (permit, accepted) {
                    (Ok(permit), Ok((stream, peer))) => {
                        let Some(place) = listener.clients.admit(peer.ip()) else {
                            tracing::debug!(%peer, "too many connections of one client");
                            continue;
                        };
                        let listener = Arc::clone(&listener);
                        let held = (permit, place);
                        tokio::spawn(listener.connect(stream, peer, held, graceful.watcher()));
                    }
                    (_, Err(error)) => {
                        // As when there are no file descriptors left: it passes, and must not spin.
                        tracing::warn!(%error, "cannot accept a connection");
                        sleep(Duration::from_millis(100)).await;
                    }
                    (Err(_), Ok(_)) => {}
                },
                // It changes once, from "no" to "yes"; an error means that the service is gone altogether.
                _ = stopped.changed() => return,
            }
        }
    }

    async fn connect(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        held: (OwnedSemaphorePermit, Place),
        watcher: Watcher,
    ) {
        // Small answers shall not wait for more to say; where it fails the connection is about to end anyway.
        let _ = stream.set_nodelay(true);
        match &self.tls {
            None => self.speak(stream, peer, None, watcher).await,
            Some(tls) => match tls.accept(stream).await {
                Ok(stream) => {
                    let marker = Some(TlsConnection::new());
                    self.speak(stream, peer, marker, watcher).await;
                }
                Err(error) => tracing::debug!(%error, "no TLS handshake"),
            },
        }
        drop(held);
    }

    async fn speak<I>(&self, io: I, peer: SocketAddr, tls: Option<TlsConnection>, watcher: Watcher)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let app = self.app.clone();
        let service = app.map_request(move |request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(PeerAddr::from(peer));
            if let Some(tls) = tls {
                request.extensions_mut().insert(tls);
            }
            request
        });
        let io = Idle::new(io, self.first, self.idle);
        let connection = self
            .builder
            .serve_connection(TokioIo::new(io), TowerToHyperService::new(service))
            .into_owned();
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!(error, "connection ended early");
        }
    }
}

/// Says on standard error what protects the service and what to try; standard output is for the log.
fn introduce(
    main: &TcpListener,
    plain: Option<&TcpListener>,
    admin: Option<&TcpListener>,
    protection: &Protection,
) -> Result<(), Failure> {
    let address = |listener: &TcpListener| {
        listener
            .local_addr()
            .map_err(|error| Failure::Runtime(format!("cannot tell the address: {error}")))
    };
    let scheme = if protection.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let url = format!("{scheme}://{}", address(main)?);
    eprintln!("Listening on {url}. What is protecting it:");
    for line in &protection.summary {
        eprintln!("  - {line}");
    }
    if let Some(plain) = plain {
        eprintln!("Plain text on http://{}.", address(plain)?);
    }
    if let Some(admin) = admin {
        eprintln!("Administration on http://{}.", address(admin)?);
    }
    let key = match &protection.made_key {
        Some(key) => {
            let key = protection::show(key);
            eprintln!(
                "There is no secret API_KEYS, so this key was made for as long as the service runs: {key}"
            );
            format!(" -H 'authorization: Bearer {key}'")
        }
        None if protection.keys.is_some() => " -H 'authorization: Bearer YOUR-KEY'".into(),
        None => String::new(),
    };
    eprintln!("Try:");
    eprintln!("  curl -i {url}/whoami{key}");
    eprintln!(
        "  curl -i {url}/notes{key} -H 'content-type: application/json' -d '{{\"text\":\"hello\"}}'"
    );
    eprintln!(
        "  for i in $(seq 60); do curl -s -o /dev/null -w '%{{http_code}} ' {url}/notes{key}; done; echo"
    );
    Ok(())
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Order {
    Reload,
    Stop,
}

/// The signals that the service listens to.
struct Signals {
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let on = |kind| {
            signal(kind)
                .map_err(|error| Failure::Runtime(format!("cannot wait for signals: {error}")))
        };
        Ok(Self {
            hangup: on(SignalKind::hangup())?,
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) -> Order {
        tokio::select! {
            _ = self.hangup.recv() => Order::Reload,
            _ = self.interrupt.recv() => Order::Stop,
            _ = self.terminate.recv() => Order::Stop,
        }
    }
}
