//! Limits and bans that instances share through Redis or Valkey.
//!
//! The day a service runs twice, limits in memory double, and a client that is banned here is served there. With a [`RedisStore`], what one instance
//! counts, all count, exactly: each decision is one script that runs in the store, by the clock of the store.
//!
//! # Example
//!
//! Two instances let in three requests of a client together, and refuse the fourth.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use palisade::{
//!     SecurityLayer,
//!     client_ip::ClientIpSource,
//!     jail::Jail,
//!     rate_limit::{Quota, RateLimit},
//!     secret::SecretLoader,
//!     shared_store::{OnStoreFailure, RedisStore},
//! };
//!
//! let secrets = SecretLoader::new();
//! let store = RedisStore::builder("redis://redis:6379", secrets.secret("REDIS_HASH_KEY").text()?)
//!     .username("palisade")
//!     .password(secrets.secret("REDIS_PASSWORD").text()?)
//!     .expected_instances(2)
//!     .build()?;
//!
//! let security = SecurityLayer::builder(ClientIpSource::Peer)
//!     .rate_limit(Quota::per_hour(3))
//!     .shared_rate_limit(&store, "api", OnStoreFailure::Fallback)?
//!     .jail(Jail::builder().shared(&store))
//!     .build();
//!
//! // Whoever guesses passwords must not profit from a store that is away.
//! let logins = RateLimit::builder(Quota::per_minute(5))
//!     .shared(&store, "logins")
//!     .on_store_failure(OnStoreFailure::Deny)
//!     .count_failures_only()
//!     .build()?;
//! # Ok(()) }
//! ```
//!
//! # What is where
//!
//! A key `palisade:{hash}:limit:position` holds the time at which a quota of a client is full again, and expires at that time; where something was
//! refunded, reset or settled for less, it holds how much, too, until all that had been spent would have come back by itself. The hash is of 128 bits
//! (SipHash-2-4), keyed with the secret that all instances have: the store learns no address and no API key, and no client can choose its key. The braces keep
//! all quotas of a client on one node of a cluster. Refusals are remembered by each instance for a second at most, so that a flood that is refused
//! does not reach the store; nothing is ever admitted but by the store.
//!
//! Types that you hash yourself ([`RateLimitKey::extension`](crate::rate_limit::RateLimitKey::extension)) must hash alike on all instances: the same build of the
//! service on machines of the same byte order does.
//!
//! Bans are one list, `palisade:{bans}:…`, with the addresses of banned clients, as a file of bans has them. Each instance counts failures for
//! itself; what comes of it is shared. An instance hears of news at once, and looks every second in case it has missed some.
//!
//! # When the store is away
//!
//! Each limit says what becomes of its requests: [`OnStoreFailure`]. No request waits longer than the deadline, whatever has happened (`deadline::a_frozen_server_is_not_waited_for`
//! and its neighbors, to 10 ms, on a clock that a busy machine does not slow down). After five decisions in a row that came too late, or one error
//! that leaves no doubt, the store is not asked at all until a probe, which writes, has been answered; probes pause for longer where the store comes and goes. A node of a cluster is left alone by itself. That is one event when it goes, `limiter_store_failed`, and one
//! when it is back, `limiter_store_recovered`; the gauge `palisade_store_up` shows it meanwhile and `palisade_store_failures_total` counts the requests. What was counted in
//! the store before is still there when it is back, but for what a restart has lost.
//!
//! | what happens | what clients see | event | test (`tests/redis`) |
//! |---|---|---|---|
//! | not there when the service starts | the limit's choice, at once | `limiter_store_failed` | `http::a_service_starts_without_the_store` |
//! | killed | the limit's choice, at once | `limiter_store_failed` | `faults::a_killed_server_is_given_up_and_used_again` |
//! | frozen | the limit's choice, for five decisions after the deadline, then at once | `limiter_store_failed` | `faults::a_frozen_server_is_given_up_and_used_again` |
//! | network cut | the same | `limiter_store_failed` | `faults::a_cut_network_is_given_up_and_used_again` |
//! | a replica, or read-only | the limit's choice, at once | `limiter_store_failed` | `faults::a_replica_is_given_up_and_a_master_used` |
//! | out of memory | the limit's choice, at once; refusals are still decided | `limiter_store_failed` | `faults::a_server_without_memory_is_given_up_and_used_again` |
//! | a permission is missing | the limit's choice, at once | `limiter_store_failed` | `faults::a_user_without_permission_is_given_up_and_used_again` |
//! | one that bans need alone | nothing; bans are not shared | none while there are limits to decide | `faults::a_permission_that_only_bans_need_is_no_fault_of_limits` |
//! | another master behind the sentinels | the limit's choice, until they tell of it | `limiter_store_failed` | `cluster::the_master_that_a_sentinel_names_is_used` |
//! | a sentinel is wrong about the master | the limit's choice, until another one is asked | `limiter_store_failed` | `cluster::a_sentinel_that_is_wrong_about_the_master_is_asked_last` |
//! | a node of a cluster killed | its clients: the limit's choice, at once; the others are decided | `limiter_store_failed` | `cluster::the_other_nodes_decide_while_one_is_away` |
//! | a node of a cluster frozen | its clients: the limit's choice, after the deadline; the others too until that is noticed, then they are decided, and do not wait when it is tried again | `limiter_store_failed` | `cluster::the_other_nodes_decide_while_one_is_frozen`, `deadline::clients_of_other_nodes_do_not_wait_for_a_frozen_one` |
//! | the nodes of a cluster that were named killed | their clients: the limit's choice, at once; the others are decided by those whom the cluster has told of | `limiter_store_failed` | `cluster::a_cluster_is_known_when_those_who_were_named_are_away` |
//! | all nodes of a cluster killed | the limit's choice, at once; each node decides again when it is back | `limiter_store_failed` | `cluster::nodes_that_come_back_decide_before_all_are_there` |
//! | its certificate is not trusted | the limit's choice, at once | `limiter_store_failed` | `tls::a_certificate_that_nobody_vouches_for_is_as_no_store` |
//! | that of a sentinel, or of the master behind it, is not trusted | the limit's choice, at once | `limiter_store_failed` | `tls::a_master_that_nobody_vouches_for_is_as_no_store` |
//! | that of a node of a cluster is not trusted | its clients: the limit's choice, at once; the others are decided | `limiter_store_failed` | `tls::a_node_that_nobody_vouches_for_is_left_alone` |
//! | the password was replaced | the limit's choice, at once, until the new one is here | `limiter_store_failed` | `acl::a_password_that_was_replaced_is_used_by_the_next_connection` |
//! | restarted empty | quotas are full; bans are told again by the instances | as for killed | `bans::a_store_that_was_emptied_is_filled_again` |
//! | comes back as it was before, or a replica that has missed the last | quotas are as they were then; bans are told again by the instances | as for killed | `bans::a_store_that_has_lost_the_newest_bans_is_told_them_again` |
//! | a slot of a cluster is not served | its clients: the limit's choice, at once; the others are decided | `limiter_store_failed` | `cluster::slots_that_are_assigned_later_are_found` |
//! | connections closed while nobody asks | nothing | none | `faults::a_connection_that_was_closed_while_idle_is_no_fault` |
//! | scripts flushed | nothing | none | `cases::a_flushed_script_is_loaded_again_and_counted_once` |
//! | more decisions in flight than may be | the limit's choice, at once | none | `faults::decisions_in_flight_are_bounded` |
//! | the clock of an instance is wrong | nothing | none | `faults::the_clock_of_an_instance_does_not_matter` |
//! | frozen in the middle of decisions | at most those in flight are charged although they were denied | `limiter_store_failed` | `faults::a_fault_charges_twice_at_most_what_was_in_flight` |
//!
//! The limit's choice: `Fallback` counts in the instance by its share of the quotas, `Allow` lets pass, `Deny` answers 503 with `Retry-After: 1`
//! (`http::a_limit_decides_what_happens_without_the_store`). A reservation that is settled while the store is away stays charged as it was.
//!
//! # Running the store
//!
//! - **Version.** Redis 6.2 or later, or Valkey. The tests have passed with Redis 6.2.16 and 7.0.15 and with Valkey 8.0.1.
//! - **Memory.** A client that has spent something of a quota takes 165 bytes for each, measured with Redis 7.0, until the quota is full again: a hundred thousand clients with
//!   two quotas some 33 MB. What is full takes nothing. What was refunded, reset, or settled while others had been charged after it, takes 228 bytes.
//! - **Eviction.** `noeviction`: when memory is short, requests are decided as each limit says, and an event tells. Or `volatile-ttl`, which gives up first what is full
//!   soonest: clients get their quotas back early, and nobody is told. Bans have no expiry of their own, so that `volatile-ttl` never gives them up; `allkeys-…`
//!   policies would.
//! - **Persistence.** None is needed for limits: a store that comes back empty gives everybody a full quota once. Bans are kept by the instances, too, and are lost only where the
//!   store and all instances stop at the same time; `appendonly yes` keeps them then.
//! - **Latency.** A decision is one round trip. The deadline is what a request may lose when the store is slow: it should be a few times the round trip at a busy
//!   hour, and well below the patience of clients. Where the store forks to save, or shares its machine, 50 ms is not too much.
//! - **Cluster.** With `cluster-require-full-coverage no` a node that is away concerns its own clients alone. With `yes`, which is the default, the nodes that are left soon refuse all
//!   clients, and the whole store is away; nodes with replicas come back by themselves.
//! - **TLS** (feature `redis-tls`): `rediss://`, for one server, for a cluster and for a sentinel with its master. The certificate is verified with the roots of the platform,
//!   or those that `SSL_CERT_FILE` names, for the host of the address, and for nodes of a cluster and the master behind a sentinel for what these tell: addresses, unless
//!   told otherwise. So either certificates hold the addresses, or a cluster announces names (`cluster-announce-hostname` with `cluster-preferred-endpoint-type hostname`, from
//!   Redis 7.0) and so does a sentinel (`sentinel resolve-hostnames yes` with `sentinel announce-hostnames yes`).
//! - **One store for several services:** let them differ in the [prefix](RedisStoreBuilder::prefix), and the rules of the user with it.
//!
//! # The user
//!
//! This one may do what is needed and nothing else (`acl::the_documented_user_may_do_what_is_needed_and_no_more`). The digest is the SHA-256 of the password; with
//! another database than 0 it needs `+select` too, for a cluster `+cluster|slots +asking`.
//!
//! ```text
//! user palisade on #DIGEST resetchannels &palisade:* ~palisade:* -@all +eval +evalsha +time +get +set +del +hset +hget +hdel +hlen +hexists +hincrby +zadd +zrem +zscore +zrangebyscore +publish +subscribe
//! ```
//!
//! # What it does not do
//!
//! - It has no certificate of its own to show: a server that speaks TLS needs `tls-auth-clients no`, and the password.
//! - It does not count what passed while the store was away, nor move counts of that time to the store.
//! - It does not share [limits of requests in flight](crate::in_flight), nor failures that have not led to a ban.
//! - It counts in microseconds: a quota of more than some 100,000 per second is rounded down noticeably.

pub(crate) mod breaker;
pub(crate) mod builder;
pub(crate) mod call;
pub(crate) mod failure;
pub(crate) mod hash;
pub(crate) mod link;
#[cfg(feature = "jail")]
pub(crate) mod listener;
pub(crate) mod script;
pub(crate) mod settings;
pub(crate) mod slots;
pub(crate) mod store;
pub(crate) mod worker;

pub use self::{
    builder::{RedisStoreBuilder, RedisStoreError},
    failure::StoreFailure,
    settings::OnStoreFailure,
    store::RedisStore,
};
