//! Connections to the store.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;

use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, Pipeline, ProtocolVersion,
    PushInfo, PushKind, RedisError, RedisResult, Value,
    aio::{MultiplexedConnection, SendError},
    cmd,
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{self, Instant},
};

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
pub(crate) struct Absent(Mutex<HashMap<Place, Instant>>);

impl Absent {
    fn places(&self) -> MutexGuard<'_, HashMap<Place, Instant>> {
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

    /// Puts who has not answered before behind the others, and of several the one whose turn is longest ago first: somebody waits.
    fn last(&self, mut addresses: Vec<ConnectionInfo>) -> Vec<ConnectionInfo> {
        addresses.sort_by_key(|address| self.since(&place(address)));
        addresses
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
    part: Option<Part>,
    /// The sentinel that takes it for the master, if there is one.
    told_by: Option<(Arc<Absent>, Place)>,
}

/// What a node has to know of its cluster.
#[derive(Clone)]
struct Part {
    place: Place,
    absent: Arc<Absent>,
    stale: Arc<AtomicBool>,
}

/// Connections to the nodes of a cluster, made when they are needed.
///
/// Nobody waits for a node that is known to be away: what connects, and what asks where the slots are, runs beside the calls.
pub(crate) struct Cluster {
    known: ArcSwap<Known>,
    seats: Mutex<HashMap<Place, Seat>>,
    settings: Arc<Settings>,
    response: Duration,
    absent: Arc<Absent>,
    stale: Arc<AtomicBool>,
    /// When it was last asked where the slots are.
    read: Mutex<Instant>,
    /// What runs beside the calls, and ends with the cluster: one task for each node at most, and one for the slots.
    tasks: Mutex<JoinSet<()>>,
}

/// What a cluster has told.
struct Known {
    slots: Slots,
    /// How nodes are connected to, but for host and port.
    template: ConnectionInfo,
}

/// What there is of the connection to a node.
enum Seat {
    Connected(Node),
    /// What will come of it.
    Connecting(watch::Receiver<Option<Result<Node, Cause>>>),
}

impl Link {
    /// Connects with the first address that answers.
    pub(crate) async fn open(
        settings: &Arc<Settings>,
        response: Duration,
        absent: &Arc<Absent>,
    ) -> Result<Self, Cause> {
        if settings.topology == Topology::Cluster {
            let cluster = Cluster::open(settings, response, absent).await?;
            return Ok(Self::Cluster(cluster));
        }
        let mut failure = Cause::Connection;
        for address in absent.last(settings.addresses.clone()) {
            match Node::open(&address, settings, response).await {
                Ok(node) if settings.topology == Topology::Single => {
                    return Ok(Self::Single(node));
                }
                Ok(node) => {
                    let told_by = Some((Arc::clone(absent), place(&address)));
                    return Ok(Self::Single(Node { told_by, ..node }));
                }
                Err(cause) => failure = cause,
            }
            absent.insert(&place(&address));
        }
        Err(failure)
    }

    /// Returns whether another one must be made.
    pub(crate) fn is_dead(&self) -> bool {
        match self {
            // It sees to its connections itself.
            Self::Cluster(_) => false,
            Self::Single(node) => node.is_dead(),
        }
    }
}

impl Node {
    async fn open(
        address: &ConnectionInfo,
        settings: &Settings,
        response: Duration,
    ) -> Result<Self, Cause> {
        let dead = Arc::new(AtomicBool::new(false));
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

    fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// Sees to it that the connection is not used again.
    fn kill(&self) {
        self.dead.store(true, Ordering::Relaxed);
    }

    /// Takes note that it takes no writes: another server may have become the master.
    pub(crate) fn is_no_master(&self) {
        match &self.part {
            Some(part) => part.stale.store(true, Ordering::Relaxed),
            None => self.kill(),
        }
        if let Some((absent, sentinel)) = &self.told_by {
            absent.insert(sentinel);
        }
    }

    /// Returns its host, if it is a node of a cluster.
    pub(crate) fn host(&self) -> &str {
        self.part.as_ref().map_or("", |part| &part.place.0)
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
                if let (Cause::Timeout, Some(part)) = (cause, &self.part) {
                    part.absent.insert(&part.place);
                }
                Err(self.cause(cause))
            }
        }
    }
}

impl Cluster {
    async fn open(
        settings: &Arc<Settings>,
        response: Duration,
        absent: &Arc<Absent>,
    ) -> Result<Arc<Self>, Cause> {
        let known = Known::read(settings.addresses.clone(), settings, response, absent).await?;
        Ok(Arc::new(Self {
            known: ArcSwap::from_pointee(known),
            seats: Mutex::default(),
            settings: Arc::clone(settings),
            response,
            absent: Arc::clone(absent),
            stale: Arc::default(),
            read: Mutex::new(Instant::now()),
            tasks: Mutex::default(),
        }))
    }

    /// Returns the address of the node that has a slot.
    pub(crate) fn place(&self, slot: u16) -> Option<Place> {
        self.known.load().slots.node(slot).cloned()
    }

    /// Says that slots are not where they were.
    pub(crate) fn is_stale(&self) {
        self.stale.store(true, Ordering::Relaxed);
    }

    /// Asks where the slots are, if somebody has said that they are not where they were. Until that is known, the old places hold.
    pub(crate) fn see_to_slots(self: &Arc<Self>) {
        if !self.stale.load(Ordering::Relaxed) {
            return;
        }
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if read.elapsed() < REOPEN {
            return;
        }
        *read = Instant::now();
        drop(read);
        // What goes stale while they are read is read again.
        self.stale.store(false, Ordering::Relaxed);
        let (settings, absent) = (Arc::clone(&self.settings), Arc::clone(&self.absent));
        let (response, cluster) = (self.response, Arc::downgrade(self));
        let addresses = self.addresses();
        self.start(async move {
            let known = Known::read(addresses, &settings, response, &absent).await;
            let Some(cluster) = cluster.upgrade() else {
                return;
            };
            match known {
                Ok(known) => {
                    let mut seats = cluster.seats();
                    seats.retain(|place, _| known.slots.places().any(|it| it == place));
                    drop(seats);
                    cluster.known.store(Arc::new(known));
                }
                Err(_) => cluster.is_stale(),
            }
        });
    }

    /// Returns who may know where the slots are: whoever has been named, and whom the cluster has told of.
    fn addresses(&self) -> Vec<ConnectionInfo> {
        let mut addresses = self.settings.addresses.clone();
        let known = self.known.load();
        for told in known.slots.places() {
            if addresses.iter().all(|address| place(address) != *told) {
                addresses.push(with_host(&known.template, told));
            }
        }
        addresses
    }

    /// Returns the connection to a node, which may have to be made.
    pub(crate) async fn node(self: &Arc<Self>, place: &Place) -> Result<Node, Cause> {
        let mut connecting = {
            let mut seats = self.seats();
            match seats.get(place) {
                Some(Seat::Connected(node)) if !node.is_dead() => return Ok(node.clone()),
                Some(Seat::Connecting(connecting)) if connecting.has_changed().is_ok() => {
                    connecting.clone()
                }
                dead => {
                    if dead.is_some() {
                        // Another one may have its slots.
                        self.is_stale();
                        seats.remove(place);
                    }
                    if !self.absent.may_be_tried(place) {
                        return Err(self.away());
                    }
                    let connecting = self.connect(place);
                    seats.insert(place.clone(), Seat::Connecting(connecting.clone()));
                    connecting
                }
            }
        };
        if self.absent.since(place).is_some() {
            return Err(self.away());
        }
        match time::timeout(self.response, connecting.wait_for(Option::is_some)).await {
            Ok(Ok(connected)) => connected.clone().unwrap_or(Err(Cause::NodeAway)),
            Ok(Err(_)) => Err(Cause::NodeAway),
            Err(_) => {
                self.absent.insert(place);
                Err(self.away())
            }
        }
    }

    /// Returns what it means that a node is away: all of them may be.
    fn away(&self) -> Cause {
        let known = self.known.load();
        let mut nodes = known.slots.places();
        if nodes.all(|place| self.absent.since(place).is_some()) {
            Cause::Connection
        } else {
            Cause::NodeAway
        }
    }

    /// Begins to connect with a node, for whoever waits and for whoever comes later.
    fn connect(self: &Arc<Self>, place: &Place) -> watch::Receiver<Option<Result<Node, Cause>>> {
        let (sender, connecting) = watch::channel(None);
        let address = with_host(&self.known.load().template, place);
        let (settings, response) = (Arc::clone(&self.settings), self.response);
        let (place, cluster) = (place.clone(), Arc::downgrade(self));
        self.start(async move {
            let opened = Node::open(&address, &settings, response).await;
            if let Some(cluster) = cluster.upgrade() {
                sender.send_replace(Some(cluster.take_seat(&place, opened)));
            }
        });
        connecting
    }

    /// Takes note of what has come of connecting with a node.
    fn take_seat(&self, place: &Place, opened: Result<Node, Cause>) -> Result<Node, Cause> {
        let mut seats = self.seats();
        match opened {
            Ok(node) => {
                self.absent.remove(place);
                let part = Part {
                    place: place.clone(),
                    absent: Arc::clone(&self.absent),
                    stale: Arc::clone(&self.stale),
                };
                let node = Node {
                    part: Some(part),
                    ..node
                };
                seats.insert(place.clone(), Seat::Connected(node.clone()));
                Ok(node)
            }
            Err(cause) => {
                seats.remove(place);
                self.is_stale();
                let cause = cause.of_part();
                if cause.is_of_node() {
                    self.absent.insert(place);
                }
                Err(if cause == Cause::NodeAway {
                    self.away()
                } else {
                    cause
                })
            }
        }
    }

    fn seats(&self) -> MutexGuard<'_, HashMap<Place, Seat>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }
}

impl Known {
    /// Asks where the slots are.
    async fn read(
        addresses: Vec<ConnectionInfo>,
        settings: &Settings,
        response: Duration,
        absent: &Absent,
    ) -> Result<Self, Cause> {
        let mut failure = Cause::Connection;
        for address in absent.last(addresses) {
            match Self::read_from(&address, settings, response).await {
                Ok(known) => {
                    absent.remove(&place(&address));
                    return Ok(known);
                }
                Err(cause) => failure = cause,
            }
            absent.insert(&place(&address));
        }
        Err(failure)
    }

    async fn read_from(
        address: &ConnectionInfo,
        settings: &Settings,
        response: Duration,
    ) -> Result<Self, Cause> {
        let node = Node::open(address, settings, response).await?;
        let mut asked = Pipeline::new();
        asked.cmd("CLUSTER").arg("SLOTS");
        let answers = node.send(&asked).await?;
        let answer = answers.first().ok_or(Cause::Reply)?;
        if let Value::ServerError(error) = answer {
            return Err(Cause::of_code(error.code(), error.details()));
        }
        let slots = Slots::read(answer, host(address)).ok_or(Cause::Cluster)?;
        Ok(Self {
            slots,
            template: address.clone(),
        })
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
    match time::timeout(CONNECT_TIMEOUT, connecting).await {
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
    use std::num::NonZeroU32;

    use redis::IntoConnectionInfo as _;
    use tokio::time::advance;

    use super::*;
    use crate::{secret::SecretString, shared_store::hash::HashKey};

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
        let node = Value::Array(vec![Value::BulkString(b"127.0.0.1".into()), Value::Int(1)]);
        let range = Value::Array(vec![Value::Int(0), Value::Int(99), node]);
        let known = Known {
            slots: Slots::read(&Value::Array(vec![range]), "").unwrap(),
            template: "redis://127.0.0.1:1".into_connection_info().unwrap(),
        };
        let cluster = Arc::new(Cluster {
            known: ArcSwap::from_pointee(known),
            seats: Mutex::default(),
            settings: Arc::new(Settings {
                addresses: Vec::new(),
                topology: Topology::Cluster,
                username: None,
                password: None,
                hash_key: HashKey::new(&SecretString::from("0123456789abcdef")),
                prefix: String::new(),
                deadline: Duration::from_millis(50),
                max_in_flight: 1,
                instances: NonZeroU32::MIN,
            }),
            response: Duration::from_secs(1),
            absent: Arc::default(),
            stale: Arc::default(),
            read: Mutex::new(Instant::now()),
            tasks: Mutex::default(),
        });
        assert_eq!(cluster.place(99), Some(("127.0.0.1".to_owned(), 1)));
        assert_eq!(cluster.place(100), None);
        // Asks where the slots are, if it is time; returns whether it did.
        let reads = || {
            cluster.see_to_slots();
            !cluster.tasks.lock().unwrap().is_empty()
        };
        advance(REOPEN.saturating_sub(MOMENT)).await;
        assert!(!reads());
        cluster.is_stale();
        assert!(!reads());
        advance(MOMENT).await;
        assert!(reads());
        assert!(!cluster.stale.load(Ordering::Relaxed));
    }
}
