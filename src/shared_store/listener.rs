//! Subscriptions to what other instances publish.

use std::{sync::Arc, time::Duration};

use redis::{
    AsyncConnectionConfig, PushInfo, PushKind,
    aio::{MultiplexedConnection, SendError},
};
use tokio::{sync::Notify, time};

use crate::shared_store::{failure::Cause, link, settings::Settings};

/// A subscription on a connection of its own.
pub(crate) struct Listener {
    connection: MultiplexedConnection,
    channel: String,
    lost: Arc<Notify>,
}

impl Listener {
    pub(crate) async fn open(
        settings: &Settings,
        channel: &str,
        news: &Arc<Notify>,
    ) -> Result<Self, Cause> {
        let mut failure = Cause::Connection;
        for address in &settings.addresses {
            let lost = Arc::new(Notify::new());
            let push = {
                let (news, lost) = (Arc::clone(news), Arc::clone(&lost));
                move |push: PushInfo| {
                    match push.kind {
                        PushKind::Disconnection => lost.notify_one(),
                        PushKind::Message | PushKind::Subscribe => news.notify_one(),
                        _ => {}
                    }
                    Ok::<(), SendError>(())
                }
            };
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(ANSWER))
                .set_response_timeout(Some(ANSWER))
                .set_push_sender(push);
            let connected = async {
                // A sentinel has news of its own, and none of ours.
                let address = link::master(address, settings, ANSWER).await?;
                let subscribed = async {
                    let client = link::client(&address, settings)?;
                    let mut connection = client
                        .get_multiplexed_async_connection_with_config(&config)
                        .await?;
                    connection.subscribe(channel).await?;
                    Ok(connection)
                };
                subscribed.await.map_err(|error| Cause::of(&error))
            };
            match time::timeout(ANSWER, connected).await {
                Ok(Ok(connection)) => {
                    return Ok(Self {
                        connection,
                        channel: channel.to_owned(),
                        lost,
                    });
                }
                Ok(Err(cause)) => failure = cause,
                Err(_) => failure = Cause::Timeout,
            }
        }
        Err(failure)
    }

    /// Returns when the connection is lost, or dead without anybody having said so.
    pub(crate) async fn until_lost(mut self) {
        loop {
            tokio::select! {
                () = self.lost.notified() => return,
                () = time::sleep(CHECK) => {}
            }
            // To subscribe once more changes nothing and must be answered.
            if self.connection.subscribe(&self.channel).await.is_err() {
                return;
            }
        }
    }
}

/// An answer takes no longer than this.
const ANSWER: Duration = Duration::from_secs(1);
/// How often it is looked whether the connection is alive.
const CHECK: Duration = Duration::from_secs(5);
