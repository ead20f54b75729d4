//! Connections to the store.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, Pipeline, ProtocolVersion, RedisError,
    RedisResult, Value, aio::MultiplexedConnection,
};

use crate::shared_store::{failure::Cause, settings::Settings};

/// How long making a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection that all calls share.
#[derive(Clone)]
pub(crate) struct Link {
    connection: MultiplexedConnection,
    dead: Arc<AtomicBool>,
}

impl Link {
    pub(crate) async fn open(settings: &Settings, response: Duration) -> Result<Self, Cause> {
        let mut last = Cause::Connection;
        for address in &settings.addresses {
            match connect(address, settings, response).await {
                Ok(connection) => {
                    return Ok(Self {
                        connection,
                        dead: Arc::default(),
                    });
                }
                Err(cause) => last = cause,
            }
        }
        Err(last)
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// Sees to it that the connection is not used again.
    pub(crate) fn kill(&self) {
        self.dead.store(true, Ordering::Relaxed);
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
                Err(Cause::of(&error))
            }
        }
    }
}

async fn connect(
    address: &ConnectionInfo,
    settings: &Settings,
    response: Duration,
) -> Result<MultiplexedConnection, Cause> {
    let client =
        client(address, settings, ProtocolVersion::RESP2).map_err(|error| Cause::of(&error))?;
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(response));
    let connecting = client.get_multiplexed_async_connection_with_config(&config);
    match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(connected) => connected.map_err(|error| on_connect(&error)),
        Err(_) => Err(Cause::Connection),
    }
}

/// Returns a client for an address with the user and the password of now.
pub(crate) fn client(
    address: &ConnectionInfo,
    settings: &Settings,
    protocol: ProtocolVersion,
) -> RedisResult<Client> {
    let mut redis = address
        .redis_settings()
        .clone()
        .set_protocol(protocol)
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
