//! Automatic bans: whoever fails too often, or asks for what nobody asks for in good faith, is refused for a while.
//!
//! A [`Jail`] learns from how requests *end*. [Rules](Rule) say which ends are failures and how many within which time are too many;
//! [trap paths](TrapPaths) ban at the first touch. Banned clients are refused before anything else looks at the request.
//!
//! # Example
//!
//! One client is let in; another has guessed five passwords and is banned.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::{convert::Infallible, net::SocketAddr};
//! use http::{Request, Response, StatusCode};
//! use palisade::{
//!     client_ip::{ClientIpLayer, ClientIpSource, PeerAddr},
//!     jail::{Jail, JailLayer, Rule, TrapPaths},
//! };
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! let jail = Jail::builder()
//!     .rule(Rule::status(StatusCode::UNAUTHORIZED)) // the fifth within ten minutes
//!     .traps(TrapPaths::common())                   // the first touch of /.env, /wp-login.php, …
//!     .build();
//! let handle = jail.handle();
//!
//! let service = ServiceBuilder::new()
//!     .layer(ClientIpLayer::new(ClientIpSource::Peer))
//!     .layer(JailLayer::new(jail))
//!     .service(service_fn(|request: Request<()>| async move {
//!         let mut response = Response::new(String::new());
//!         if request.uri().path() == "/login" {
//!             *response.status_mut() = StatusCode::UNAUTHORIZED;
//!         }
//!         Ok::<_, Infallible>(response)
//!     }));
//! let request = |client: [u8; 4], path: &str| {
//!     Request::get(path).extension(PeerAddr::from(SocketAddr::from((client, 50_000)))).body(())
//! };
//!
//! for _ in 0..5 {
//!     let guess = request([203, 0, 113, 7], "/login")?;
//!     assert_eq!(service.clone().oneshot(guess).await?.status(), 401);
//! }
//! let banned = request([203, 0, 113, 7], "/")?;
//! assert_eq!(service.clone().oneshot(banned).await?.status(), 403);
//! let other = request([203, 0, 113, 8], "/")?;
//! assert_eq!(service.clone().oneshot(other).await?.status(), 200);
//!
//! handle.unban("203.0.113.7".parse()?);
//! let forgiven = request([203, 0, 113, 7], "/")?;
//! assert_eq!(service.oneshot(forgiven).await?.status(), 200);
//! # Ok(()) }
//! ```
//!
//! In the facade it is [`SecurityLayer::builder(…).jail(Jail::builder()…)`](crate::security::SecurityBuilder::jail), which puts it in its place and
//! gives it the facade's sink and clock.
//!
//! # How to choose rules
//!
//! Start in dry run, as `EnforceLayer::new(DryRun::new(jail))` instead of `JailLayer::new(jail)`, and read the events `client_banned` for a week. They
//! are marked as not enforced, and so is what they lead to; such bans are not saved. (See [`DryRun`](crate::policy::DryRun).)
//!
//! | rule | what it is against | beware of |
//! |---|---|---|
//! | `status(401)`, 5 in 10 minutes | guessing passwords and keys | clients that retry for ever with an expired token: choose a higher limit, or let them refresh first |
//! | `action(ApiKeyScopeMissing)`, 10 in 10 minutes | trying a stolen key everywhere | a client released before its key was widened |
//! | `status(404)`, 30 in a minute | looking for what there may be | links that are broken, and crawlers that follow them |
//! | `status(403)`, 20 in 10 minutes | trying doors | pages that ask for more than their user may see |
//! | `status(429)`, 100 in 10 minutes | hammering on a limit | clients that do not wait; a rate limit alone is mostly enough |
//! | [`TrapPaths::common`] | scanners | nothing that an API serves |
//!
//! All clients behind one address are one client: an office, a mobile carrier, a school. A limit must be higher than what *all* of them
//! fail in good faith, and a ban short; rather let it [grow](BanTime::with_growth) than begin long.
//!
//! # Who is counted
//!
//! The verified client alone, which [`client_ip`](crate::client_ip) finds, so that no header bans anybody else. An IPv4 address is one
//! client; an IPv6 client is its /64, for it has all of that; an IPv4-mapped address is the IPv4 client, and each address within the translation
//! prefix `64:ff9b::/96` is one. With [`ClientIpSource::Peer`](crate::client_ip::ClientIpSource::Peer) behind a proxy, every client is the proxy: do not
//! use a jail so.
//!
//! **Never banned** are loopback addresses, trusted proxies, [exempt](JailBuilder::exempt) addresses and clients that are unknown. The event
//! `ban_skipped` tells of the first three when they would have been. Unknown clients are not counted at all, and pass: what must not serve them has
//! an allow list, or a deny list, which refuses them by default even if it is empty. Where a proxy appends to the client's own `Forwarded`, that
//! is a must: a quote that is never closed makes the line malformed and the client unknown, and its ban without effect. For trap paths unknown
//! clients get the answer of a banned client, but no ban.
//!
//! # What is measured
//!
//! The window slides: a failure counts until it is exactly as old as the [time of the rule](Rule::within), and no estimate is made. Each rule
//! counts for itself. The request that is one too many has its answer already; the next is refused. Requests during a ban do not lengthen it.
//! Limits and bans are measured with the monotonic clock; wall-clock times are only shown and stored.
//!
//! # What it keeps
//!
//! Only failures leave a trace: any number of clients that behave need no memory at all. Both tables are bounded. A full table of
//! failures gives up the client that has been quiet the longest; a full table of bans gives up nothing and refuses new bans with the event
//! `ban_skipped`. A failure counter takes some 150 bytes and 16 for each failure, a ban some
//! 250.
//!
//! With a [file](JailBuilder::file), bans survive a restart. It is written by [`JailHandle::save`], never on the request path: call it when the service
//! stops, and from time to time, which (feature `tokio`) a `JailTask` does. With the feature `jail-admin`, `admin_router` lists, makes and
//! lifts bans as JSON.
//!
//! # More than one instance
//!
//! With `JailBuilder::shared` (feature `redis`) the bans of all instances are one list in a Redis or Valkey, which `shared_store` describes.
//!
//! * **Shared** is that a client is banned, and that a ban was lifted, whether by a rule, a trap or by hand. Failures are not: each instance counts what it
//!   sees, so that a client whose requests are spread over `n` instances has up to `n` times the limit, less `n - 1`, before the first of them bans it for
//!   all. What is banned in dry run stays where it was. Each instance keeps to its own [exempt](JailBuilder::exempt) addresses, whoever has banned them.
//! * **Delay.** News go out at once and come in at once, through a channel; every second each instance looks in case it has missed some. A new instance knows
//!   nothing until it has looked, which `JailHandle::synchronize` waits for. While the store is away, bans hold where they were made; the others
//!   are told when it is back. What is told late undoes nothing: of two bans the one that ends later holds, unless the other was made by hand, and a ban that was
//!   made after another was lifted stays. A store that has lost bans, as after a restart, is told them again; that one was lifted, it must be told by hand.
//! * **In the store** are, under the name `palisade:{bans}:entries`, address, rule, count and times of each ban until it is forgotten, and of a lifted one for an
//!   hour that it was lifted; beside it, numbers that say what is new. The addresses are not hashed, since an instance must be able to list them, so that
//!   the hash key has no part in it: instances with the same store and prefix share their bans. Times are told by the clock of the store, and the clocks of instances
//!   may differ.
//! * **Events.** The instance that bans or lifts tells of it, and no other. That a ban has expired is told by each that had it.
//!
//! # Events
//!
//! | event | when |
//! |---|---|
//! | `client_banned`, an alert | exactly once per ban, with its start and end, the rule and, for a trap, the request |
//! | `banned_client_denied` | a banned client comes again |
//! | `client_unbanned` | a ban ends: `expired`, or `lifted by hand` |
//! | `ban_skipped` | somebody should have been banned and was not |
//! | `ban_file_failed` | the file could not be read or written |
//!
//! The end of a ban is noticed when the client comes back, or when somebody lists, counts, saves or [sweeps](JailHandle::sweep).
//!
//! # In place of fail2ban?
//!
//! Fail2ban reads log lines and bans in the firewall; a jail sees the requests themselves and bans in the service.
//!
//! * There is no log to forge, no pattern to get wrong and no delay, and a proxy in front is no obstacle: a firewall would have to ban the proxy.
//! * Limits mean what they mean there (`maxretry`, `findtime`, `bantime`), but for the window, which fail2ban estimates.
//! * A refusal here still costs a connection and a parsed request. Against a flood that fills the line or the accept queue, ban in the firewall, which
//!   fail2ban can do from the events of this crate.
//!
//! # What it does not do
//!
//! * It does not tell people apart behind one address, nor recognize one person at many.
//! * It does not stop requests that are under way when a ban begins: whoever sends a thousand at once has a thousand guesses. Limit the rate
//!   too, or how many may be in flight.
//! * It does not see requests that the server refuses before this layer, or whose client has gone before the answer: for those,
//!   [`Rule::when`] can look at [`Outcome::Dropped`](crate::policy::Outcome::Dropped).
//! * It does not protect visitors from pages of others that make their browsers *fail* here, but for trap paths, where the browser says so
//!   (`Sec-Fetch-Site`).
//! * It does not slow down guessing from many addresses: limit the rate per account as well.

#[cfg(feature = "jail-admin")]
pub(crate) mod admin;
pub(crate) mod ban;
pub(crate) mod ban_time;
pub(crate) mod bans;
pub(crate) mod builder;
pub(crate) mod failures;
pub(crate) mod file;
pub(crate) mod handle;
pub(crate) mod key;
pub(crate) mod layer;
pub(crate) mod policy;
pub(crate) mod rule;
#[cfg(feature = "redis")]
pub(crate) mod shared;
pub(crate) mod state;
pub(crate) mod tallies;
#[cfg(feature = "tokio")]
pub(crate) mod task;
pub(crate) mod trap;
pub(crate) mod window;

#[cfg(feature = "jail-admin")]
pub use self::admin::admin_router;
#[cfg(feature = "tokio")]
pub use self::task::JailTask;
pub use self::{
    ban::{Ban, BanError},
    ban_time::BanTime,
    builder::JailBuilder,
    file::BanFileError,
    handle::{JailCounts, JailHandle},
    layer::JailLayer,
    policy::Jail,
    rule::{Rule, RuleNameError},
    trap::{TrapPathError, TrapPaths},
};
