//! One server of those that `run.py` compares: `palisade-bench-end-to-end NAME PORT`.
//!
//! All of them run on one thread and answer `GET /` with the same five bytes. What is named `refusing` admits one request a day.

use std::{env, fmt::Write as _, io, net::SocketAddr, num::NonZeroU32};

use axum::{Router, routing::get};
use palisade::{
    SecurityLayer,
    client_ip::{ClientIpSource, SchemeSource, TrustedProxies},
    https::Https,
    ip_filter::{IpAllowlist, IpDenylist},
    rate_limit::{Quota, RateLimit, RateLimitLayer, StandardFields},
};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut arguments = env::args().skip(1);
    let name = arguments.next().ok_or("which server?")?;
    let port: u16 = arguments.next().ok_or("which port?")?.parse()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(serve(&name, port))?)
}

async fn serve(name: &str, port: u16) -> io::Result<()> {
    let router = protect(name, Router::new().route("/", get(|| async { "hello" })))
        .map_err(|error| io::Error::other(error.to_string()))?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!("{}", listener.local_addr()?);
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).await
}

fn protect(name: &str, router: Router) -> Result<Router, Failure> {
    let (name, refusing) = match name.strip_suffix(" refusing") {
        Some(name) => (name, true),
        None => (name, false),
    };
    Ok(match name {
        "bare" => router,
        "palisade" => router.layer(RateLimitLayer::from(limit(refusing)?)),
        "palisade stack" => router.layer(stack(refusing)?),
        "tower_governor" => {
            use tower_governor::{GovernorLayer, governor::GovernorConfigBuilder};
            let mut builder = GovernorConfigBuilder::default().use_headers();
            if refusing {
                builder.per_second(86_400).burst_size(1);
            } else {
                builder.per_nanosecond(1).burst_size(1_000_000_000);
            }
            router.layer(GovernorLayer::new(builder.finish().ok_or("no such quota")?))
        }
        "tower_governor smart" => {
            use tower_governor::{
                GovernorLayer, governor::GovernorConfigBuilder, key_extractor::SmartIpKeyExtractor,
            };
            let mut builder = GovernorConfigBuilder::default()
                .key_extractor(SmartIpKeyExtractor)
                .use_headers();
            if refusing {
                builder.per_second(86_400).burst_size(1);
            } else {
                builder.per_nanosecond(1).burst_size(1_000_000_000);
            }
            router.layer(GovernorLayer::new(builder.finish().ok_or("no such quota")?))
        }
        "axum-governor" => {
            use axum_governor::{GovernorConfigBuilder, GovernorLayer, Quota, extractor::PeerIp};
            let number = |it| NonZeroU32::new(it).ok_or("zero");
            let quota = if refusing {
                Quota::requests_per_hour(number(1)?)
            } else {
                Quota::requests_per_second(number(1_000_000_000)?)
            };
            let config = GovernorConfigBuilder::default()
                .with_extractor(PeerIp::default())
                .expect_connect_info()
                .quota_default(quota)
                .finish()?;
            router.layer(GovernorLayer::new(config))
        }
        other => return Err(format!("there is no server `{other}`").into()),
    })
}

fn limit(refusing: bool) -> Result<RateLimit, Failure> {
    let quota = if refusing {
        Quota::per_day(1)
    } else {
        Quota::per_second(1_000_000_000)
    };
    let builder = RateLimit::builder(quota).standard_fields(StandardFields::Draft11);
    Ok(builder.build()?)
}

/// Client address through one trusted proxy, deny list, allow list of a thousand entries, HTTPS check, one quota with IETF fields.
fn stack(refusing: bool) -> Result<SecurityLayer, Failure> {
    let proxies: TrustedProxies = "127.0.0.1".parse()?;
    let mut allowed = String::from("203.0.113.0/24");
    for number in 0..999 {
        write!(allowed, ", 10.{}.{}.0/25", number / 250, number % 250)?;
    }
    let denied: IpDenylist = "198.51.100.0/24".parse()?;
    let allowed: IpAllowlist = allowed.parse()?;
    Ok(
        SecurityLayer::builder(ClientIpSource::XForwardedFor(proxies.clone()))
            .deny(denied)
            .allow(allowed)
            .https(Https::reject(SchemeSource::XForwardedProto(proxies)))
            .policy(limit(refusing)?)
            .build(),
    )
}
