//! The administrators' router.

use axum::{Router, body::Body};
use http::{Request, Response};
use http_body_util::BodyExt;
use palisade::jail::{Rule, admin_router};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::support::{CLIENT, World, addr, jail, seconds};

async fn send(router: &Router, request: Request<Body>) -> (u16, Value) {
    let response: Response<Body> = router.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.headers()["cache-control"], "no-store");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

fn get() -> Request<Body> {
    Request::get("/bans").body(Body::empty()).unwrap()
}

fn post(content_type: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post("/bans")
        .header("content-type", content_type)
        .body(body.into())
        .unwrap()
}

fn delete(client: &str) -> Request<Body> {
    let request = Request::delete(format!("/bans/{client}"));
    request.body(Body::empty()).unwrap()
}

#[tokio::test]
async fn bans_are_listed_and_lifted() {
    let world = World::new(jail());
    let router = admin_router(world.jail.clone());
    let (status, list) = send(&router, get()).await;
    assert_eq!((status, &list["bans"]), (200, &json!([])));

    world.fail(CLIENT, 5);
    world.fail("2001:db8::1", 5);
    world.check_banned(CLIENT, true);
    let (_, list) = send(&router, get()).await;
    let bans = list["bans"].as_array().unwrap();
    assert_eq!(bans.len(), 2);
    assert_eq!(bans[0]["client"], "203.0.113.7/32");
    assert_eq!(bans[0]["rule"], "status-401");
    assert_eq!(bans[0]["count"], 1);
    let time = |name: &str| bans[0][name].as_u64().unwrap();
    assert_eq!(time("end") - time("start"), 600);
    assert_eq!(bans[1]["client"], "2001:db8::/64");
    assert_eq!(
        list["counts"],
        json!({
            "active": 2, "banned": 2, "counters": 0, "denied": 1,
            "expired": 0, "given_up": 0, "lifted": 0, "skipped": 0,
        })
    );

    let (status, ban) = send(&router, delete(CLIENT)).await;
    assert_eq!((status, &ban["client"]), (200, &json!("203.0.113.7/32")));
    world.check_banned(CLIENT, false);
    assert_eq!(send(&router, delete(CLIENT)).await.0, 404);
    // As it is listed.
    assert_eq!(send(&router, delete("2001:db8::%2F64")).await.0, 200);
    world.check_banned("2001:db8::1", false);
    assert_eq!(send(&router, delete("203.0.113.0%2F24")).await.0, 400);
    assert_eq!(send(&router, delete("example.com")).await.0, 400);
}

#[tokio::test]
async fn bans_are_made() {
    let world = World::new(jail());
    let router = admin_router(world.jail.clone());
    let body = r#"{"client": "2001:db8::7", "seconds": 60}"#;
    let (status, ban) = send(&router, post("Application/JSON; charset=utf-8", body)).await;
    assert_eq!((status, &ban["client"]), (201, &json!("2001:db8::/64")));
    assert_eq!(ban["rule"], "manual");
    world.check_banned("2001:db8::8", true);
    world.clock.advance(seconds(60));
    world.check_banned("2001:db8::8", false);
}

#[tokio::test]
async fn nonsense_is_refused() {
    let world = World::new(jail());
    let router = admin_router(world.jail.clone());
    for (body, expected) in [
        ("", 400),
        ("{", 400),
        ("[]", 400),
        ("{}", 400),
        (r#"{"client": "203.0.113.7"}"#, 400),
        (r#"{"client": "203.0.113.7", "seconds": 0}"#, 400),
        (r#"{"client": "203.0.113.7", "seconds": -1}"#, 400),
        (r#"{"client": "203.0.113.7", "seconds": 1.5}"#, 400),
        (r#"{"client": "203.0.113.7", "seconds": "60"}"#, 400),
        (r#"{"client": "203.0.113.0/24", "seconds": 60}"#, 400),
        (r#"{"client": "010.0.0.1", "seconds": 60}"#, 400),
        (r#"{"client": 7, "seconds": 60}"#, 400),
        (r#"{"client": "127.0.0.1", "seconds": 60}"#, 409),
    ] {
        let (status, answer) = send(&router, post("application/json", body)).await;
        assert_eq!(status, expected, "{body}");
        assert!(answer["error"].is_string());
    }
    let large = post("application/json", "x".repeat(2000));
    let response = router.clone().oneshot(large).await.unwrap();
    assert_eq!(response.status(), 413);
    assert_eq!(world.jail.counts().active(), 0);
}

/// A page of another origin can send these without asking first.
#[tokio::test]
async fn a_foreign_page_cannot_ban() {
    let world = World::new(jail());
    let router = admin_router(world.jail.clone());
    let body = r#"{"client": "203.0.113.7", "seconds": 60}"#;
    for content_type in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=application/json",
        "text/plain; application/json",
    ] {
        assert_eq!(send(&router, post(content_type, body)).await.0, 415);
    }
    let none = Request::post("/bans").body(Body::from(body)).unwrap();
    assert_eq!(send(&router, none).await.0, 415);
    assert_eq!(world.jail.counts().active(), 0);
}

#[tokio::test]
async fn names_of_rules_are_escaped() {
    let name = "a \"quoted\" \\ <b>";
    let rule = Rule::when(|_| true).with_limit(1).with_name(name).unwrap();
    let world = World::new(palisade::jail::Jail::builder().rule(rule));
    world.send(CLIENT, "/");
    let (_, list) = send(&admin_router(world.jail.clone()), get()).await;
    assert_eq!(list["bans"][0]["rule"], name);
    assert_eq!(world.jail.unban(addr(CLIENT)).unwrap().rule(), name);
}
