//! The jail as a layer.

use std::fmt;

use tower_layer::Layer;

use crate::{
    enforce::layer::{Enforce, EnforceLayer},
    jail::{handle::JailHandle, policy::Jail},
    respond::ProblemJson,
};

/// Refuses banned clients and bans those that misbehave.
///
/// It belongs inside a [`ClientIpLayer`](crate::client_ip::ClientIpLayer) and outside everything that it shall learn from. Its sink and clock are the
/// [jail's](crate::jail::JailBuilder).
#[derive(Clone)]
pub struct JailLayer<R = ProblemJson> {
    jail: Jail,
    enforce: EnforceLayer<Jail, R>,
}

impl JailLayer {
    /// Creates a layer that answers banned clients with problem documents.
    #[must_use]
    pub fn new(jail: Jail) -> Self {
        let enforce = EnforceLayer::new(jail.clone())
            .with_shared_sink(jail.state().sink.clone())
            .with_shared_clock(jail.state().clock.clone());
        Self { jail, enforce }
    }
}

impl<R: Clone> JailLayer<R> {
    /// Sets how refusals look. The default is [`ProblemJson`].
    #[must_use]
    pub fn with_responder<R2>(self, respond: R2) -> JailLayer<R2> {
        JailLayer {
            jail: self.jail,
            enforce: self.enforce.with_responder(respond),
        }
    }
}

impl<R> JailLayer<R> {
    /// Returns a handle to list, make and lift bans.
    #[must_use]
    pub fn handle(&self) -> JailHandle {
        self.jail.handle()
    }
}

impl<R> fmt::Debug for JailLayer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("JailLayer").field(&self.jail).finish()
    }
}

impl<S, R> Layer<S> for JailLayer<R> {
    type Service = Enforce<S, Jail, R>;

    fn layer(&self, inner: S) -> Self::Service {
        self.enforce.layer(inner)
    }
}
