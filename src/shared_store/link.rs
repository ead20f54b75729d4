//! Connections to the store.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex as Lock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, Pipeline, ProtocolVersion,
    PushInfo, PushKind, RedisError, RedisResult, Value,
    aio::{MultiplexedConnection, SendError},
    cmd,
};
use tokio::{sync::Mutex, time::Instant};

use crate::shared_store::{
    failure::Cause,
    settings::{Settings, Topology},
    slots::Slots,
};

/// How long making a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The slots of a cluster are not read again more often than this: while a node is away, every failure asks for it.
const REOPEN: Duration = Duration::from_millis(250);

/// A node that has not answered is left alone for so long.
const LEFT_ALONE: Duration = Duration::from_millis(500);
/// Nodes that have not answered are remembered for so long.
const REMEMBERED: Duration = Duration::from_secs(60);

/// The host and port of a node.
pub(crate) type Place = (String, u16);

/// The nodes of a cluster and the sentinels that have not answered, or wrongly, so that nobody else waits for them.
#[derive(Debug, Default)]
pub(crate) struct Absent(Lock<HashMap<Place, Instant>>);

impl Absent {
    fn places(&self) -> std::sync::MutexGuard<'_, HashMap<Place, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, place: &Place) {
        let mut places = self.places();
        // Nodes that are gone for good are forgotten.
        places.retain(|_, since| since.elapsed() < REMEMBERED);
        places.insert(place.clone(), Instant::now());
    }

    fn remove(&self, place: &Place) {
        self.places().remove(place);
    }

    fn since(&self, place: &Place) -> Option<Instant> {
        self.places().get(place).copied()
    }

    /// Returns whether it is time to try a node; whoever is told so is the only one for a while.
    fn may_be_tried(&self, place: &Place) -> bool {
        match self.places().get_mut(place) {
            Some(since) if since.elapsed() < LEFT_ALONE => false,
            Some(since) => {
                *since = Instant::now();
                true
            }
            None => true,
        }
    }
}

/// What connects with the store, which all calls share.
#[derive(Clone)]
pub(crate) enum Link {
    Cluster(Arc<Cluster>),
    Single(Node),
}

/// A connection to one server.
#[derive(Clone)]
pub(crate) struct Node {
    connection: MultiplexedConnection,
    dead: Arc<AtomicBool>,
    /// Where it is, if there are others that have other keys.
    part: Option<(Arc<Absent>, Place)>,
    /// The sentinel that takes it for the master, if there is one.
    told_by: Option<(Arc<Absent>, Place)>,
}

/// Connections to the nodes of a cluster, made when they are needed.
pub(crate) struct Cluster {
    slots: Slots,
    /// How nodes are connected to, but for host and port.
    template: ConnectionInfo,
    nodes: Mutex<HashMap<Place, Node>>,
    absent: Arc<Absent>,
    stale: Arc<AtomicBool>,
    opened: Instant,
    response: Duration,
}

impl Link {
    /// Connects with the first address that answers.
    pub(crate) async fn open(
        settings: &Settings,
        response: Duration,
        absent: &Arc<Absent>,
    ) -> Result<Self, Cause> {
        let mut failure = Cause::Connection;
        let mut addresses: Vec<_> = settings.addresses.iter().collect();
        // Everybody waits: who has not answered before is asked last, and of several the one whose turn is longest ago first.
        addresses.sort_by_key(|address| absent.since(&place(address)));
        for address in addresses {
            let opened = match &settings.topology {
                Topology::Cluster => Cluster::open(address, settings, response, absent).await,
                Topology::Sentinel(_) => {
                    let node = Node::open(address, settings, response, Arc::default()).await;
                    let told_by = Some((Arc::clone(absent), place(address)));
                    node.map(|node| Self::Single(Node { told_by, ..node }))
                }
                Topology::Single => {
                    let node = Node::open(address, settings, response, Arc::default()).await;
                    node.map(Self::Single)
                }
            };
            match opened {
                Ok(link) => return Ok(link),
                Err(cause) => failure = cause,
            }
            absent.insert(&place(address));
        }
        Err(failure)
    }

    /// Returns whether another one must be made.
    pub(crate) fn is_dead(&self) -> bool {
        match self {
            Self::Cluster(cluster) => {
                cluster.stale.load(Ordering::Relaxed) && REOPEN <= cluster.opened.elapsed()
            }
            Self::Single(node) => node.dead.load(Ordering::Relaxed),
        }
    }
}

impl Node {
    async fn open(
        address: &ConnectionInfo,
        settings: &Settings,
        response: Duration,
        dead: Arc<AtomicBool>,
    ) -> Result<Self, Cause> {
        let config = {
            let dead = Arc::clone(&dead);
            config(response).set_push_sender(move |push: PushInfo| {
                // A connection that is lost while nobody asks is not found out by the next one who does.
                if push.kind == PushKind::Disconnection {
                    dead.store(true, Ordering::Relaxed);
                }
                Ok::<(), SendError>(())
            })
        };
        let address = master(address, settings, response).await?;
        let client = client(&address, settings).map_err(|error| Cause::of(&error))?;
        let connection = connect(&client, &config).await?;
        Ok(Self {
            connection,
            dead,
            part: None,
            told_by: None,
        })
    }

    /// Sees to it that the connection, and the link it belongs to, is not used again.
    fn kill(&self) {
        self.dead.store(true, Ordering::Relaxed);
    }

    /// Takes note that it takes no writes: another server may have become the master.
    pub(crate) fn is_no_master(&self) {
        self.kill();
        if let Some((absent, sentinel)) = &self.told_by {
            absent.insert(sentinel);
        }
    }

    /// Returns its host, if it is a node of a cluster.
    pub(crate) fn host(&self) -> &str {
        self.part.as_ref().map_or("", |(_, place)| &place.0)
    }

    /// Returns what a failure of this server means for the store.
    pub(crate) fn cause(&self, cause: Cause) -> Cause {
        if self.part.is_some() {
            cause.of_part()
        } else {
            cause
        }
    }

    /// Sends a pipeline. An answer that is an error stands in its place.
    pub(crate) async fn send(&self, pipeline: &Pipeline) -> Result<Vec<Value>, Cause> {
        let count = pipeline.len();
        let mut connection = self.connection.clone();
        match connection.send_packed_commands(pipeline, 0, count).await {
            Ok(answers) if answers.len() == count => Ok(answers),
            Ok(_) => {
                self.kill();
                Err(Cause::Reply)
            }
            Err(error) => {
                // Whatever comes later on this connection is an answer that nobody waits for any more.
                self.kill();
                let cause = Cause::of(&error);
                if let (Cause::Timeout, Some((absent, place))) = (cause, &self.part) {
                    absent.insert(place);
                }
                Err(self.cause(cause))
            }
        }
    }
}

impl Cluster {
    async fn open(
        address: &ConnectionInfo,
        settings: &Settings,
        response: Duration,
        absent: &Arc<Absent>,
    ) -> Result<Link, Cause> {
        let stale = Arc::new(AtomicBool::new(false));
        let node = Node::open(address, settings, response, Arc::clone(&stale)).await?;
        let mut asked = Pipeline::new();
        asked.cmd("CLUSTER").arg("SLOTS");
        let answers = node.send(&asked).await?;
        let answer = answers.first().ok_or(Cause::Reply)?;
        if let Value::ServerError(error) = answer {
            return Err(Cause::of_code(error.code(), error.details()));
        }
        let slots = Slots::read(answer, host(address)).ok_or(Cause::Cluster)?;
        Ok(Link::Cluster(Arc::new(Self {
            slots,
            template: address.clone(),
            nodes: Mutex::default(),
            absent: Arc::clone(absent),
            stale,
            opened: Instant::now(),
            response,
        })))
    }

    /// Returns the address of the node that has a slot.
    pub(crate) fn place(&self, slot: u16) -> Option<(String, u16)> {
        self.slots.node(slot).cloned()
    }

    /// Says that slots are not where they were.
    pub(crate) fn is_stale(&self) {
        self.stale.store(true, Ordering::Relaxed);
    }

    /// Returns the connection to a node, which may have to be made.
    pub(crate) async fn node(
        &self,
        place: &(String, u16),
        settings: &Settings,
    ) -> Result<Node, Cause> {
        if let Some(known) = self.nodes.lock().await.get(place) {
            return Ok(known.clone());
        }
        if !self.absent.may_be_tried(place) {
            return Err(Cause::Node);
        }
        let address = with_host(&self.template, place);
        let stale = Arc::clone(&self.stale);
        // Nobody who asks another node waits for this one.
        let opened = Node::open(&address, settings, self.response, stale).await;
        match opened {
            Ok(node) => {
                self.absent.remove(place);
                let node = Node {
                    part: Some((Arc::clone(&self.absent), place.clone())),
                    ..node
                };
                let mut nodes = self.nodes.lock().await;
                nodes.insert(place.clone(), node.clone());
                Ok(node)
            }
            Err(cause) if cause.of_part().is_of_node() => {
                self.absent.insert(place);
                self.is_stale();
                Err(cause.of_part())
            }
            Err(cause) => {
                self.is_stale();
                Err(cause)
            }
        }
    }
}

/// Returns the address of the master that a sentinel knows; without sentinels, the address.
pub(crate) async fn master(
    address: &ConnectionInfo,
    settings: &Settings,
    response: Duration,
) -> Result<ConnectionInfo, Cause> {
    let Topology::Sentinel(name) = &settings.topology else {
        return Ok(address.clone());
    };
    // The database is the master's.
    let redis = address
        .redis_settings()
        .clone()
        .set_db(0)
        .set_skip_set_lib_name();
    let client = Client::open(address.clone().set_redis_settings(redis));
    let client = client.map_err(|error| Cause::of(&error))?;
    let mut sentinel = connect(&client, &config(response)).await?;
    let mut asked = cmd("SENTINEL");
    asked.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
    let place: Option<(String, u16)> = asked
        .query_async(&mut sentinel)
        .await
        .map_err(|error| Cause::of(&error))?;
    let place = place.ok_or(Cause::Connection)?;
    Ok(with_host(address, &place))
}

fn config(response: Duration) -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(response))
}

async fn connect(
    client: &Client,
    config: &AsyncConnectionConfig,
) -> Result<MultiplexedConnection, Cause> {
    let connecting = client.get_multiplexed_async_connection_with_config(config);
    match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(connected) => connected.map_err(|error| on_connect(&error)),
        Err(_) => Err(Cause::Connection),
    }
}

fn place(address: &ConnectionInfo) -> Place {
    match address.addr() {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
            (host.clone(), *port)
        }
        _ => Place::default(),
    }
}

fn host(address: &ConnectionInfo) -> &str {
    match address.addr() {
        ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => host,
        _ => "",
    }
}

/// Returns the same address with another host and port.
fn with_host(address: &ConnectionInfo, (host, port): &(String, u16)) -> ConnectionInfo {
    let (host, port) = (host.clone(), *port);
    let addr = match address.addr() {
        ConnectionAddr::TcpTls {
            insecure,
            tls_params,
            ..
        } => ConnectionAddr::TcpTls {
            host,
            port,
            insecure: *insecure,
            tls_params: tls_params.clone(),
        },
        _ => ConnectionAddr::Tcp(host, port),
    };
    address.clone().set_addr(addr)
}

/// Returns a client for an address with the user and the password of now.
pub(crate) fn client(address: &ConnectionInfo, settings: &Settings) -> RedisResult<Client> {
    let mut redis = address
        .redis_settings()
        .clone()
        // With it, one is told of what is published, and that a connection is lost.
        .set_protocol(ProtocolVersion::RESP3)
        // One command less that the user must be allowed.
        .set_skip_set_lib_name();
    if let Some(username) = &settings.username {
        redis = redis.set_username(username);
    }
    if let Some(password) = &settings.password {
        redis = password.with(|password| redis.set_password(password));
    }
    Client::open(address.clone().set_redis_settings(redis))
}

fn on_connect(error: &RedisError) -> Cause {
    match Cause::of(error) {
        // There is no connection, for whatever reason.
        Cause::Timeout | Cause::Reply => Cause::Connection,
        cause => cause,
    }
}

#[cfg(test)]
mod tests {
    use redis::IntoConnectionInfo as _;
    use tokio::time::advance;

    use super::*;

    const MOMENT: Duration = Duration::from_millis(1);

    fn place(host: &str) -> Place {
        (host.to_owned(), 6379)
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_not_answered_is_tried_by_one_at_a_time() {
        let (absent, node) = (Absent::default(), place("node"));
        assert!(absent.may_be_tried(&node));
        assert!(absent.may_be_tried(&node));
        absent.insert(&node);
        assert!(!absent.may_be_tried(&node));
        assert!(absent.may_be_tried(&place("other")));
        for _ in 0..2 {
            advance(LEFT_ALONE.saturating_sub(MOMENT)).await;
            assert!(!absent.may_be_tried(&node));
            advance(MOMENT).await;
            assert!(absent.may_be_tried(&node));
            assert!(!absent.may_be_tried(&node));
        }
        absent.remove(&node);
        assert!(absent.may_be_tried(&node));
    }

    #[tokio::test(start_paused = true)]
    async fn nodes_that_are_gone_for_good_are_forgotten() {
        let absent = Absent::default();
        let [early, late, last] = ["early", "late", "last"].map(place);
        absent.insert(&early);
        advance(REMEMBERED.saturating_sub(MOMENT)).await;
        absent.insert(&late);
        assert!(absent.since(&early) < absent.since(&late));
        assert!(absent.since(&early).is_some());
        advance(MOMENT).await;
        absent.insert(&last);
        assert_eq!(absent.since(&early), None);
        assert!(absent.since(&late).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn slots_are_read_again_where_they_have_moved_and_not_too_often() {
        let node = Value::Array(vec![Value::BulkString(b"node".into()), Value::Int(6379)]);
        let range = Value::Array(vec![Value::Int(0), Value::Int(99), node]);
        let cluster = Arc::new(Cluster {
            slots: Slots::read(&Value::Array(vec![range]), "").unwrap(),
            template: "redis://node".into_connection_info().unwrap(),
            nodes: Mutex::default(),
            absent: Arc::default(),
            stale: Arc::default(),
            opened: Instant::now(),
            response: Duration::from_secs(1),
        });
        assert_eq!(cluster.place(99), Some(place("node")));
        assert_eq!(cluster.place(100), None);
        let link = Link::Cluster(Arc::clone(&cluster));
        advance(REOPEN.saturating_sub(MOMENT)).await;
        assert!(!link.is_dead());
        cluster.is_stale();
        assert!(!link.is_dead());
        advance(MOMENT).await;
        assert!(link.is_dead());
        cluster.stale.store(false, Ordering::Relaxed);
        assert!(!link.is_dead());
    }
}
