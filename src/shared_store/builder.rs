//! The builder of the store.

use std::{error::Error, fmt, num::NonZeroU32, time::Duration};

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _};
use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    event::sink::{EventSink, SharedSink},
    secret::rotating::RotatingSecret,
    shared_store::{
        breaker::Breaker,
        hash::HashKey,
        settings::{Password, Settings, Topology},
        store::RedisStore,
    },
};

/// Builds a [`RedisStore`]. Defaults are written at the setters.
#[must_use]
pub struct RedisStoreBuilder {
    addresses: Vec<String>,
    topology: Topology,
    hash_key: SecretString,
    username: Option<String>,
    password: Option<Password>,
    prefix: String,
    deadline: Duration,
    max_in_flight: usize,
    instances: u32,
    sink: Option<SharedSink>,
}

impl RedisStore {
    /// Starts from the address of the store and the secret that all instances share, under which clients are known to the store.
    ///
    /// The address is a URL, as `redis://redis:6379`, `redis://redis:6379/2` with the number of a database, `rediss://redis:6379` for TLS (feature
    /// `redis-tls`), or `unix:///run/redis.sock`. User and password do not belong in it: an address is configuration, and is shown.
    ///
    /// The secret is 16 bytes or more and random, as `openssl rand -hex 32` makes it. With another one, all clients are new.
    pub fn builder(address: impl Into<String>, hash_key: SecretString) -> RedisStoreBuilder {
        RedisStoreBuilder {
            addresses: vec![address.into()],
            topology: Topology::Single,
            hash_key,
            username: None,
            password: None,
            prefix: "palisade".into(),
            deadline: Duration::from_millis(50),
            max_in_flight: 1024,
            instances: 2,
            sink: None,
        }
    }
}

impl RedisStoreBuilder {
    /// Says that the address is a node of a cluster, as are these: any one that can be reached tells of the others, and these are asked, too, when none of
    /// those named can be reached any more.
    ///
    /// With `rediss://`, all nodes are asked through TLS, each under the name or address that the cluster tells.
    pub fn cluster<A: Into<String>>(mut self, others: impl IntoIterator<Item = A>) -> Self {
        self.addresses.extend(others.into_iter().map(Into::into));
        self.topology = Topology::Cluster;
        self
    }

    /// Says that the address is a sentinel, as are these, which know where the master of that name is.
    ///
    /// User, password and the number of a database are those of the master; sentinels are asked without. With `rediss://`, sentinels and master are
    /// asked through TLS.
    pub fn sentinel<A: Into<String>>(
        mut self,
        master: impl Into<String>,
        others: impl IntoIterator<Item = A>,
    ) -> Self {
        self.addresses.extend(others.into_iter().map(Into::into));
        self.topology = Topology::Sentinel(master.into());
        self
    }

    /// Sets the user of the store's ACL, which takes a password. The default is the store's default user.
    pub fn username(mut self, username: impl Into<String>) -> Self {
        self.username = Some(username.into());
        self
    }

    /// Sets the password. The default is none.
    pub fn password(mut self, password: SecretString) -> Self {
        self.password = Some(Password::Fixed(password));
        self
    }

    /// Sets a password that may be replaced: new connections use the one of their time.
    pub fn rotating_password(mut self, password: RotatingSecret) -> Self {
        self.password = Some(Password::Rotating(password));
        self
    }

    /// Sets what the name of every key and channel in the store begins with. The default is `palisade`.
    ///
    /// Services that share a store but no quotas must differ in it.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets how long a decision may take; what takes longer is decided as
    /// [`OnStoreFailure`](crate::shared_store::OnStoreFailure) says. The default is 50 ms.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets how many decisions may be under way at a time; the store counts as away for those beyond. The default is 1024.
    pub fn max_in_flight(mut self, max: usize) -> Self {
        self.max_in_flight = max;
        self
    }

    /// Sets how many instances there are, by which quotas are divided while the store is away. The default is 2.
    ///
    /// Too low a number lets more pass in that time, too high a number less.
    pub fn expected_instances(mut self, instances: u32) -> Self {
        self.instances = instances;
        self
    }

    /// Sets who is told that the store is away and back. The default is [`SharedSink::default`].
    pub fn sink(mut self, sink: impl EventSink) -> Self {
        self.sink = Some(SharedSink::new(sink));
        self
    }

    /// Makes the store. Nothing is connected yet: that happens with the first decision, and a store that is away then is no error.
    ///
    /// # Errors
    ///
    /// Refuses an address that does not parse or holds a user or password, addresses of which some ask for TLS or for another database and some do
    /// not, a user without a password, a hash key shorter than 16 bytes, a prefix that is not 1 to 32 letters, digits, `-`, `_`, `.` and `:`, a
    /// deadline outside of 1 ms to 10 s, a maximum or a number of instances of zero.
    pub fn build(self) -> Result<RedisStore, RedisStoreError> {
        if self.hash_key.expose_secret().len() < MIN_HASH_KEY {
            return Err(RedisStoreError(Kind::HashKey));
        }
        let is_letter = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
        if !(1..=32).contains(&self.prefix.len()) || !self.prefix.chars().all(is_letter) {
            return Err(RedisStoreError(Kind::Prefix));
        }
        if !(MIN_DEADLINE..=MAX_DEADLINE).contains(&self.deadline) {
            return Err(RedisStoreError(Kind::Deadline));
        }
        if !(1..=MAX_IN_FLIGHT).contains(&self.max_in_flight) {
            return Err(RedisStoreError(Kind::InFlight));
        }
        let instances = NonZeroU32::new(self.instances).ok_or(RedisStoreError(Kind::Instances))?;
        let addresses: Vec<_> = self
            .addresses
            .iter()
            .map(|address| parse(address))
            .collect::<Result<_, _>>()?;
        if addresses
            .iter()
            .any(|it| !addresses.iter().all(|other| are_alike(it, other)))
        {
            return Err(RedisStoreError(Kind::Unlike));
        }
        if self.username.is_some() && self.password.is_none() {
            return Err(RedisStoreError(Kind::Username));
        }
        #[cfg(feature = "redis-tls")]
        choose_cryptography();
        let name = self.prefix.clone();
        let settings = Settings {
            addresses,
            topology: self.topology,
            username: self.username,
            password: self.password,
            hash_key: HashKey::new(&self.hash_key),
            prefix: self.prefix,
            deadline: self.deadline,
            max_in_flight: self.max_in_flight,
            instances,
        };
        Ok(RedisStore::new(
            settings,
            Breaker::new(self.sink.unwrap_or_default(), name),
        ))
    }
}

impl fmt::Debug for RedisStoreBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStoreBuilder")
            .field("prefix", &self.prefix)
            .field("deadline", &self.deadline)
            .field("max_in_flight", &self.max_in_flight)
            .field("instances", &self.instances)
            .finish_non_exhaustive()
    }
}

/// Chooses ring for TLS, unless the application has chosen: rustls panics on the first connection where nobody has.
#[cfg(feature = "redis-tls")]
fn choose_cryptography() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Whoever is quicker has chosen, too.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

fn parse(address: &str) -> Result<ConnectionInfo, RedisStoreError> {
    // The error of the crate may show what it has read.
    let info = address
        .into_connection_info()
        .map_err(|_| RedisStoreError(Kind::Address))?;
    let redis = info.redis_settings();
    if redis.password().is_some() || redis.username().is_some() {
        return Err(RedisStoreError(Kind::Credentials));
    }
    if !info.addr().is_supported() {
        return Err(RedisStoreError(Kind::Unsupported));
    }
    if matches!(info.addr(), ConnectionAddr::TcpTls { insecure: true, .. }) {
        return Err(RedisStoreError(Kind::Insecure));
    }
    Ok(info)
}

/// Returns whether what is found at one address may stand in for what is found at another: where one is away, nobody is to speak in plain text.
fn are_alike(one: &ConnectionInfo, other: &ConnectionInfo) -> bool {
    let [one, other] = [one, other].map(|it| {
        let has_tls = matches!(it.addr(), ConnectionAddr::TcpTls { .. });
        (has_tls, it.redis_settings().db())
    });
    one == other
}

/// Why a [`RedisStore`] cannot be made of its settings.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RedisStoreError(Kind);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Address,
    Credentials,
    Deadline,
    HashKey,
    InFlight,
    Insecure,
    Instances,
    Prefix,
    Unlike,
    Unsupported,
    Username,
}

impl fmt::Display for RedisStoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Address => {
                "address of the shared store does not parse: write `redis://host:6379` or `unix:///path`"
            }
            Kind::Credentials => {
                "address of the shared store holds a user or a password: set them by themselves"
            }
            Kind::Deadline => "deadline of the shared store must be from 1 ms to 10 s",
            Kind::HashKey => {
                "hash key of the shared store is shorter than 16 bytes: make one with `openssl rand -hex 32`"
            }
            Kind::InFlight => {
                "maximum of decisions in flight must be from 1 to 1048576"
            }
            Kind::Insecure => {
                "address of the shared store asks for TLS that verifies nothing: leave `#insecure` out"
            }
            Kind::Instances => "expected instances are zero: there is at least this one",
            Kind::Prefix => {
                "prefix in the shared store must be 1 to 32 letters, digits, `-`, `_`, `.` and `:`"
            }
            Kind::Unlike => {
                "addresses of the shared store differ in more than host and port: write `rediss://`, and the number of a database, in all of them or in none"
            }
            Kind::Unsupported => {
                "address of the shared store is of a kind that is not compiled in: TLS takes the feature `redis-tls`"
            }
            Kind::Username => "user of the shared store has no password: set one, too",
        })
    }
}

impl Error for RedisStoreError {}

const MIN_HASH_KEY: usize = 16;
const MIN_DEADLINE: Duration = Duration::from_millis(1);
const MAX_DEADLINE: Duration = Duration::from_secs(10);
const MAX_IN_FLIGHT: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn builder(address: &str) -> RedisStoreBuilder {
        RedisStore::builder(address, SecretString::from("0123456789abcdef"))
    }

    #[track_caller]
    fn check(builder: RedisStoreBuilder, expected: Option<Kind>) {
        assert_eq!(builder.build().err().map(|it| it.0), expected);
    }

    #[test]
    fn settings_that_cannot_be_meant_are_refused() {
        let password = || SecretString::from("secret");
        let plain = || builder("redis://one");
        check(plain(), None);
        check(builder("redis://one/2"), None);
        check(builder("unix:///run/redis.sock"), None);
        check(builder("one:6379"), Some(Kind::Address));
        check(builder("http://one"), Some(Kind::Address));
        check(builder("redis://:secret@one"), Some(Kind::Credentials));
        check(builder("redis://user@one"), Some(Kind::Credentials));
        check(
            builder("unix:///run/redis.sock?pass=secret"),
            Some(Kind::Credentials),
        );
        check(
            RedisStore::builder("redis://one", SecretString::from("0123456789abcde")),
            Some(Kind::HashKey),
        );
        check(plain().prefix(""), Some(Kind::Prefix));
        check(plain().prefix("a{b"), Some(Kind::Prefix));
        check(plain().prefix("a".repeat(33)), Some(Kind::Prefix));
        check(plain().prefix("a".repeat(32)), None);
        check(plain().deadline(Duration::ZERO), Some(Kind::Deadline));
        check(
            plain().deadline(Duration::from_millis(10_001)),
            Some(Kind::Deadline),
        );
        check(plain().max_in_flight(0), Some(Kind::InFlight));
        check(plain().max_in_flight(usize::MAX), Some(Kind::InFlight));
        check(plain().expected_instances(0), Some(Kind::Instances));
        check(plain().username("user"), Some(Kind::Username));
        check(plain().username("user").password(password()), None);
    }

    /// Where the first of them is away, the second is asked in its place.
    #[test]
    fn addresses_that_cannot_stand_in_for_each_other_are_refused() {
        check(builder("redis://one").cluster(["redis://two:7000"]), None);
        check(
            builder("redis://one/1").sentinel("main", ["redis://two/1"]),
            None,
        );
        check(
            builder("redis://one").sentinel("main", ["redis://two", "redis://three/1"]),
            Some(Kind::Unlike),
        );
    }

    #[cfg(feature = "redis-tls")]
    #[test]
    fn addresses_with_and_without_tls_are_refused() {
        check(builder("rediss://one").cluster(["rediss://two"]), None);
        check(
            builder("rediss://one").cluster(["redis://two"]),
            Some(Kind::Unlike),
        );
        check(
            builder("redis://one").sentinel("main", ["rediss://two"]),
            Some(Kind::Unlike),
        );
        check(builder("rediss://one/#insecure"), Some(Kind::Insecure));
    }

    #[cfg(not(feature = "redis-tls"))]
    #[test]
    fn tls_is_refused_where_it_is_not_compiled_in() {
        check(builder("rediss://one"), Some(Kind::Unsupported));
    }

    #[test]
    fn errors_and_debug_show_no_secret() {
        let error = builder("redis://:hunter2@one").build().unwrap_err();
        let expected =
            "address of the shared store holds a user or a password: set them by themselves";
        assert_eq!(error.to_string(), expected);
        let shown = format!("{error} {error:?} {:?}", builder("redis://:hunter2@one"));
        assert!(!shown.contains("hunter2") && !shown.contains("0123456789abcdef"));
    }
}
