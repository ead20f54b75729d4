//! Why the store has not answered.

use std::{error::Error, fmt};
#[cfg(feature = "redis-tls")]
use std::{io, sync::Arc};

use redis::{ErrorKind, RedisError, ServerErrorKind};

/// Why the shared store has given no answer. It shows no key, no address and no secret.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StoreFailure(pub(crate) Cause);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Cause {
    /// The circuit breaker is open.
    Away,
    /// The name or the password was refused.
    Authentication,
    /// More decisions are in flight than may be.
    Busy,
    /// Nobody vouches for the server's certificate, or not under this name, or not any more.
    Certificate,
    /// The cluster does not serve the slot.
    Cluster,
    /// No connection.
    Connection,
    /// The server is loading its data.
    Loading,
    /// The server has no memory left for writes.
    Memory,
    /// A node of the cluster takes no writes, or does not serve; others may.
    Node,
    /// A node of the cluster cannot be reached; one other at least may.
    NodeAway,
    /// The same, for what is wrong with its certificate.
    NodeCertificate,
    /// No tokio runtime is running here.
    NoRuntime,
    /// The user may not do what is needed.
    Permission,
    /// The server is a replica, or has lost what it needs to write.
    ReadOnly,
    /// The answer is none that the script gives.
    Reply,
    /// The slot is moving from one node of the cluster to another.
    Moving,
    /// No answer within the deadline.
    Timeout,
}

impl Cause {
    /// Returns whether one such failure says that the store cannot be used, whoever asks next.
    pub(crate) fn is_certain(self) -> bool {
        match self {
            Self::Authentication
            | Self::Certificate
            | Self::Cluster
            | Self::Connection
            | Self::Loading
            | Self::Memory
            | Self::ReadOnly => true,
            Self::Away
            | Self::Busy
            | Self::Moving
            | Self::Node
            | Self::NodeAway
            | Self::NodeCertificate
            | Self::NoRuntime
            // Limits need other ones than bans.
            | Self::Permission
            | Self::Reply
            | Self::Timeout => false,
        }
    }

    /// Returns whether it concerns the clients of one node of a cluster alone.
    pub(crate) fn is_of_node(self) -> bool {
        matches!(self, Self::Node | Self::NodeAway | Self::NodeCertificate)
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Away => "shared store is away",
            Self::Authentication => "shared store refuses the user or the password",
            Self::Busy => "shared store has too many decisions in flight",
            Self::Certificate => "shared store's certificate is not trusted",
            Self::Cluster => "shared store's cluster is down",
            Self::Moving => "shared store's keys are moving",
            Self::Connection => "shared store cannot be reached",
            Self::Loading => "shared store is loading its data",
            Self::Memory => "shared store has no memory left",
            Self::Node | Self::NodeAway => "a node of the shared store's cluster does not serve",
            Self::NodeCertificate => {
                "the certificate of a node of the shared store's cluster is not trusted"
            }
            Self::NoRuntime => "shared store needs a tokio runtime",
            Self::Permission => "shared store's user lacks a permission",
            Self::ReadOnly => "shared store takes no writes",
            Self::Reply => "shared store gave an unexpected answer",
            Self::Timeout => "shared store does not answer in time",
        }
    }

    /// Returns the value of the label in metrics.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Away => "away",
            Self::Authentication => "authentication",
            Self::Busy => "busy",
            Self::Certificate => "certificate",
            Self::Cluster => "cluster",
            Self::Connection => "connection",
            Self::Loading => "loading",
            Self::Memory => "memory",
            Self::Moving => "moving",
            Self::Node | Self::NodeAway => "node",
            Self::NodeCertificate => "node_certificate",
            Self::NoRuntime => "no_runtime",
            Self::Permission => "permission",
            Self::ReadOnly => "read_only",
            Self::Reply => "reply",
            Self::Timeout => "timeout",
        }
    }

    pub(crate) const ALL: [Self; 17] = [
        Self::Authentication,
        Self::Away,
        Self::Busy,
        Self::Certificate,
        Self::Cluster,
        Self::Connection,
        Self::Loading,
        Self::Memory,
        Self::Moving,
        Self::Node,
        Self::NodeAway,
        Self::NodeCertificate,
        Self::NoRuntime,
        Self::Permission,
        Self::ReadOnly,
        Self::Reply,
        Self::Timeout,
    ];

    /// Reads the code of an error that the server sent.
    pub(crate) fn of_code(code: &str, details: Option<&str>) -> Self {
        match code {
            "READONLY" | "NOREPLICAS" | "MISCONF" | "MASTERDOWN" => Self::ReadOnly,
            "OOM" => Self::Memory,
            "LOADING" | "BUSY" => Self::Loading,
            "NOPERM" => Self::Permission,
            "NOAUTH" | "WRONGPASS" => Self::Authentication,
            "CLUSTERDOWN" | "CROSSSLOT" => Self::Cluster,
            "MOVED" | "ASK" | "TRYAGAIN" => Self::Moving,
            // Redis 7.0 wraps what a command within a script fails with.
            _ => details.map_or(Self::Reply, Self::of_text),
        }
    }

    fn of_text(details: &str) -> Self {
        for code in [
            "READONLY",
            "OOM",
            "NOPERM",
            "MISCONF",
            "NOREPLICAS",
            "LOADING",
            "CLUSTERDOWN",
        ] {
            if details.contains(code) {
                return Self::of_code(code, None);
            }
        }
        if details.contains("can't run this command") || details.contains("no permissions") {
            return Self::Permission;
        }
        Self::Reply
    }

    /// Returns the cause of a failure of one node where others have other keys.
    pub(crate) fn of_part(self) -> Self {
        match self {
            Self::Cluster | Self::Loading | Self::Memory | Self::ReadOnly => Self::Node,
            Self::Connection | Self::Timeout => Self::NodeAway,
            Self::Certificate => Self::NodeCertificate,
            cause => cause,
        }
    }

    pub(crate) fn of(error: &RedisError) -> Self {
        match error.kind() {
            ErrorKind::AuthenticationFailed => return Self::Authentication,
            ErrorKind::Server(ServerErrorKind::NoPerm) => return Self::Permission,
            _ => {}
        }
        #[cfg(feature = "redis-tls")]
        if is_of_certificate(error) {
            return Self::Certificate;
        }
        if error.is_timeout() {
            return Self::Timeout;
        }
        if error.is_io_error() || error.is_connection_dropped() || error.is_unrecoverable_error() {
            return Self::Connection;
        }
        match error.code() {
            Some(code) => Self::of_code(code, error.detail()),
            None => Self::Connection,
        }
    }
}

/// Returns whether TLS has failed for the certificate of the server.
#[cfg(feature = "redis-tls")]
fn is_of_certificate(error: &RedisError) -> bool {
    let failed = || {
        let source = error.source()?;
        // The client keeps the error of the connection in this form.
        let kept = source.downcast_ref::<Arc<dyn Error + Send + Sync>>()?;
        kept.downcast_ref::<io::Error>()?
            .get_ref()?
            .downcast_ref::<rustls::Error>()
    };
    matches!(failed(), Some(rustls::Error::InvalidCertificate(_)))
}

impl fmt::Display for StoreFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl Error for StoreFailure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(code: &str, details: Option<&str>, expected: Cause) {
        assert_eq!(Cause::of_code(code, details), expected);
    }

    #[test]
    fn what_the_server_says_is_understood() {
        check(
            "READONLY",
            Some("You can't write against a read only replica."),
            Cause::ReadOnly,
        );
        check("OOM", None, Cause::Memory);
        check("LOADING", None, Cause::Loading);
        check("NOPERM", None, Cause::Permission);
        check("WRONGPASS", None, Cause::Authentication);
        check("CLUSTERDOWN", None, Cause::Cluster);
        for code in ["MOVED", "ASK", "TRYAGAIN"] {
            check(code, Some("3999 127.0.0.1:6381"), Cause::Moving);
        }
        check("WRONGTYPE", Some("Operation against a key"), Cause::Reply);
        check("ERR", None, Cause::Reply);
        check(
            "ERR",
            Some(
                "The user executing the script can't run this command or subcommand script: f, on @user_script:1.",
            ),
            Cause::Permission,
        );
        check(
            "ERR",
            Some("OOM command not allowed when used memory"),
            Cause::Memory,
        );
    }

    #[test]
    fn what_the_client_says_is_understood() {
        for (kind, expected) in [
            (ErrorKind::AuthenticationFailed, Cause::Authentication),
            (ErrorKind::Client, Cause::Connection),
            (ErrorKind::Io, Cause::Connection),
            (ErrorKind::Server(ServerErrorKind::Moved), Cause::Moving),
            (
                ErrorKind::Server(ServerErrorKind::NoPerm),
                Cause::Permission,
            ),
            (
                ErrorKind::Server(ServerErrorKind::ReadOnly),
                Cause::ReadOnly,
            ),
        ] {
            let error = RedisError::from((kind, "a failure"));
            assert_eq!(Cause::of(&error), expected, "{kind:?}");
        }
    }
}
