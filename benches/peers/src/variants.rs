//! The services that are compared: each answers one request per call.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    net::SocketAddr,
    num::NonZeroU32,
    pin::pin,
    task::{Context, Poll, Waker},
};

use axum::{body::Body, extract::ConnectInfo};
use http::{Request, Response};
use palisade::{
    event::NullSink,
    rate_limit::{Quota, RateLimit, RateLimitLayer, StandardFields},
};
use tower::{Layer, Service};

/// The service that everything stands around.
#[derive(Clone)]
pub struct Inner;

impl Service<Request<Body>> for Inner {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        ready(Ok(Response::new(Body::empty())))
    }
}

/// Sends one request from a client and returns the status.
pub type Call = Box<dyn FnMut(SocketAddr) -> u16>;

pub const NAMES: [&str; 6] = [
    "bare",
    "palisade",
    "palisade fields",
    "tower_governor",
    "tower_governor headers",
    "axum-governor",
];

/// Makes a service that refuses all requests of a client but its first, or none, with room for so many clients where that is fixed.
pub fn make(name: &str, refusing: bool, keys: u32) -> Call {
    match name {
        "bare" => call(Inner),
        "palisade" => call(palisade(refusing, false, keys).layer(Inner)),
        "palisade fields" => call(palisade(refusing, true, keys).layer(Inner)),
        "tower_governor" => {
            let mut builder = tower_governor::governor::GovernorConfigBuilder::default();
            if refusing {
                builder.per_second(86_400).burst_size(1);
            } else {
                builder.per_nanosecond(1).burst_size(1_000_000_000);
            }
            let config = builder.finish().expect("the quota is sound");
            call(tower_governor::GovernorLayer::new(config).layer(Inner))
        }
        "tower_governor headers" => {
            let mut builder =
                tower_governor::governor::GovernorConfigBuilder::default().use_headers();
            if refusing {
                builder.per_second(86_400).burst_size(1);
            } else {
                builder.per_nanosecond(1).burst_size(1_000_000_000);
            }
            let config = builder.finish().expect("the quota is sound");
            call(tower_governor::GovernorLayer::new(config).layer(Inner))
        }
        "axum-governor" => {
            use axum_governor::{GovernorConfigBuilder, GovernorLayer, Quota, extractor::PeerIp};
            let number = |it| NonZeroU32::new(it).expect("it is not zero");
            let quota = if refusing {
                Quota::requests_per_hour(number(1))
            } else {
                Quota::requests_per_second(number(1_000_000_000))
            };
            let config = GovernorConfigBuilder::default()
                .with_extractor(PeerIp::default())
                .expect_connect_info()
                .quota_default(quota)
                .finish()
                .expect("the quota is sound");
            call(GovernorLayer::new(config).layer(Inner))
        }
        other => panic!("there is no `{other}`"),
    }
}

fn palisade(refusing: bool, fields: bool, keys: u32) -> RateLimitLayer {
    let quota = if refusing {
        Quota::per_day(1)
    } else {
        Quota::per_second(1_000_000_000)
    };
    let mut builder = RateLimit::builder(quota).max_keys(keys.max(100_000) as usize);
    if fields {
        builder = builder.standard_fields(StandardFields::Draft11);
    }
    let limit = builder.build().expect("the settings are sound");
    RateLimitLayer::from(limit).with_sink(NullSink)
}

fn call<S>(mut service: S) -> Call
where
    S: Service<Request<Body>, Response = Response<Body>> + 'static,
{
    Box::new(move |client| {
        let mut request = Request::new(Body::empty());
        request.extensions_mut().insert(ConnectInfo(client));
        let mut context = Context::from_waker(Waker::noop());
        assert!(service.poll_ready(&mut context).is_ready());
        match pin!(service.call(request)).poll(&mut context) {
            Poll::Ready(Ok(response)) => response.status().as_u16(),
            _ => unreachable!("nothing here waits or fails"),
        }
    })
}
