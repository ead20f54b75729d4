//! What a client sees of the running example.

use std::time::Duration;

use hyper::{Response, body::Bytes};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::support::{self, Api};

fn json(response: &Response<Bytes>) -> Value {
    serde_json::from_slice(response.body()).unwrap()
}

#[tokio::test]
async fn notes_are_created_listed_read_and_deleted() {
    let api = Api::start(&[]).await;
    let created = api.post_json("/notes", r#"{"text":"hello"}"#).await;
    assert_eq!(created.status(), 201);
    assert_eq!(created.headers()["location"], "/notes/1");
    assert_eq!(json(&api.get("/notes").await)[0]["text"], "hello");
    assert_eq!(json(&api.get("/notes/1").await)["id"], 1);
    let delete = hyper::Request::delete(format!("http://{}/notes/1", api.addr));
    let deleted = api.send(delete.body(http_body_util::Full::default()).unwrap());
    assert_eq!(deleted.await.status(), 204);
    assert_eq!(api.get("/notes/1").await.status(), 404);
    assert_eq!(api.get("/nothing").await.status(), 404);
    assert_eq!(
        api.post_json("/notes", r#"{"text":""}"#).await.status(),
        422
    );
}

/// The very lines that it prints, by hand as a newcomer would, with the key that it made.
#[tokio::test]
async fn what_is_given_to_try_works() {
    let api = Api::start(&[("API__API_KEYS__REQUIRED", "true")]).await;
    let lines = api.lines_to_try().await;
    let mut said = Vec::new();
    for line in &lines {
        assert!(line.contains("authorization: Bearer "), "{line}");
        let shell = tokio::process::Command::new("bash")
            .args(["-c", line])
            .output();
        let output = timeout(support::PATIENCE, shell).await.expect("it ends");
        said.push(String::from_utf8(output.unwrap().stdout).unwrap());
    }
    let [whoami, note, flood] = said.as_slice() else {
        panic!("{lines:?}");
    };
    assert!(
        whoami.starts_with("HTTP/1.1 200") && whoami.contains("127.0.0.1"),
        "{whoami}"
    );
    assert!(
        note.starts_with("HTTP/1.1 201") && note.contains("hello"),
        "{note}"
    );
    let answers: Vec<_> = flood.split_whitespace().collect();
    assert_eq!(answers.len(), 60);
    assert!(answers.starts_with(&["200"; 30]), "{flood}");
    assert!(
        answers.iter().all(|it| ["200", "429"].contains(it)),
        "{flood}"
    );
    // A quota of 20 a second comes back while they are sent: as a rule some of the 60 are refused.
    let unknown = lines[0].split(" -H ").next().unwrap();
    let refused = tokio::process::Command::new("bash")
        .args(["-c", unknown])
        .output();
    let refused = String::from_utf8(refused.await.unwrap().stdout).unwrap();
    assert!(
        refused.starts_with("HTTP/1.1 401") || refused.starts_with("HTTP/1.1 429"),
        "{refused}"
    );
}

#[tokio::test]
async fn whoami_shows_what_was_resolved() {
    let api = Api::start(&[]).await;
    let response = api.get("/whoami").await;
    assert_eq!(response.status(), 200);
    let who = json(&response);
    assert_eq!(who["client"], "127.0.0.1");
    assert_eq!(who["peer"], "127.0.0.1");
    assert_eq!(who["scheme"], "http");
    let authority = who["authority"].as_str().unwrap();
    assert!(authority.starts_with("127.0.0.1:"), "{authority}");
}

#[tokio::test]
async fn a_client_over_its_quota_waits_and_is_let_in_again() {
    let api = Api::start(&[("API__RATE_LIMIT__QUOTAS", r#"["1/s burst 3"]"#)]).await;
    for _ in 0..3 {
        assert_eq!(api.get("/notes").await.status(), 200);
    }
    let refused = api.get("/notes").await;
    assert_eq!(refused.status(), 429);
    assert_eq!(
        refused.headers()["content-type"],
        "application/problem+json"
    );
    assert_eq!(json(&refused)["status"], 429);
    let wait: u64 = refused.headers()["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(wait, 1);
    // The probes are not counted.
    assert_eq!(api.get("/healthz").await.status(), 200);
    // The one place where real time must pass: an obedient client is let in.
    sleep(Duration::from_secs(wait)).await;
    assert_eq!(api.get("/notes").await.status(), 200);

    api.terminate().await;
    let (code, stdout, _) = api.end().await;
    assert_eq!(code, Some(0));
    let lines: Vec<Value> = stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
        .collect();
    for line in &lines {
        assert!(line["@timestamp"].is_string(), "{line}");
        assert_eq!(
            line.get("service.name").or(line.pointer("/service/name")),
            Some(&Value::from("palisade-example-api")),
            "{line}"
        );
        assert!(line["message"].is_string(), "{line}");
    }
    // What is no event of ours is in the same schema.
    assert!(
        lines
            .iter()
            .any(|line| line["log.level"] == "info" && line["ecs.version"] == "9.0.0")
    );
    let events: Vec<&Value> = lines
        .iter()
        .filter(|line| line["log"]["logger"] == "palisade::security")
        .collect();
    let [event] = &events[..] else {
        panic!("one refusal, but {events:?}");
    };
    assert_eq!(event["event"]["action"], "rate_limit_exceeded");
    assert_eq!(event["client"]["ip"], "127.0.0.1");
    assert_eq!(event["url"]["path"], "/notes");
    assert_eq!(event["http"]["response"]["status_code"], 429);
    assert_eq!(event["labels"]["enforced"], true);
}

#[tokio::test]
async fn a_request_in_flight_ends_before_the_service_does() {
    let api = Api::start(&[("API__SERVER__SHUTDOWN_GRACE", "15s")]).await;
    let slow = async {
        let response = api.get("/slow").await;
        (response.status(), response.into_body())
    };
    let stop = async {
        // The request must be in flight; the handler itself takes half a second.
        sleep(Duration::from_millis(150)).await;
        api.terminate().await;
    };
    let ((status, body), ()) = tokio::join!(slow, stop);
    assert_eq!(status, 200);
    assert_eq!(body, "done\n");
    let addr = api.addr;
    let (code, _, _) = api.end().await;
    assert_eq!(code, Some(0));
    assert!(TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn a_client_that_sends_its_head_too_slowly_is_cut_off() {
    let api = Api::start(&[("API__SERVER__HEADER_READ_TIMEOUT", "200ms")]).await;
    let mut stream = TcpStream::connect(api.addr).await.unwrap();
    stream
        .write_all(b"GET /notes HTTP/1.1\r\nHost: x\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    timeout(Duration::from_secs(10), stream.read_to_end(&mut answer))
        .await
        .expect("the connection is closed")
        .unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 408"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let api = Api::start(&[("API__SERVER__BODY_LIMIT", "1 KiB")]).await;
    let json = format!(r#"{{"text":"{}"}}"#, "x".repeat(2_000));
    assert_eq!(api.post_json("/notes", &json).await.status(), 413);
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_ended() {
    let api = Api::start(&[("API__SERVER__REQUEST_TIMEOUT", "100ms")]).await;
    assert_eq!(api.get("/slow").await.status(), 503);
}

#[tokio::test]
async fn the_service_can_be_asked_whether_it_is_well() {
    let api = Api::start(&[]).await;
    let addr = api.addr.to_string();
    let environment = [("API__SERVER__LISTEN", addr.as_str())];
    let well = support::run(&["healthcheck"], &environment).await;
    assert_eq!(well.status.code(), Some(0), "{well:?}");
    api.terminate().await;
    api.end().await;
    let gone = support::run(&["healthcheck"], &environment).await;
    assert_eq!(gone.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&gone.stderr).contains("unhealthy"));
}
