//! What protects the service, made from the settings.

use palisade::{SecurityLayer, client_ip::ClientIpSource};

use crate::config::Config;

/// The layer and a line about each part of it.
#[derive(Clone, Debug)]
pub(crate) struct Protection {
    pub(crate) layer: SecurityLayer,
    pub(crate) summary: Vec<String>,
}

/// Builds the protection.
pub(crate) fn build(config: &Config) -> Protection {
    let quotas = &config.security.rate_limit;
    let mut builder = SecurityLayer::builder(ClientIpSource::Peer);
    for quota in quotas {
        builder = builder.rate_limit(quota.clone());
    }
    let layer = builder.build();

    let quotas: Vec<_> = quotas.iter().map(ToString::to_string).collect();
    let server = &config.server;
    Protection {
        layer,
        summary: vec![
            "client address: the peer of the connection; forwarding headers are ignored".into(),
            format!("rate limit per client: {}", quotas.join(" and ")),
            format!(
                "request: head within {:?}, whole within {:?}, body up to {}",
                server.header_read_timeout, server.request_timeout, server.body_limit
            ),
            format!("connections: up to {} at a time", server.max_connections),
        ],
    }
}
