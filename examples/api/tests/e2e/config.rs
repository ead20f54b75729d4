//! What can be asked of the configuration without starting, and how it is reloaded while running.

use std::{fs, path::Path, time::Duration};

use tokio::time::sleep;

use crate::support::{self, Api};

/// Runs a command on a file and returns exit code, standard output and standard error.
async fn run(
    toml: &str,
    args: &[&str],
    environment: &[(&str, &str)],
) -> (Option<i32>, String, String) {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), toml).unwrap();
    let path = file.path().to_str().unwrap();
    let args: Vec<_> = ["--config", path].iter().chain(args).copied().collect();
    let output = support::run(&args, environment).await;
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[tokio::test]
async fn check_says_whether_a_file_is_good() {
    let documented = Path::new(env!("CARGO_MANIFEST_DIR")).join("palisade.toml");
    let documented = fs::read_to_string(documented).unwrap();
    let (code, stdout, stderr) = run(&documented, &["check"], &[]).await;
    assert_eq!(
        (code, stdout.as_str()),
        (Some(0), "the settings are good\n"),
        "{stderr}"
    );
    assert_eq!(stderr, "");
    assert_eq!(run("", &["check"], &[]).await.0, Some(0));
}

#[tokio::test]
async fn check_has_a_line_for_each_fault() {
    let bad = "[client_ip]\nsource = \"x_forwarded_for\"\n\
               [https]\nmode = \"redirect\"\nhosts = [\"*\"]\n\
               [ip_filter]\ndeny_file = \"/nonexistent\"\n\
               [rate_limit]\nquotas = [\"10/second\", \"5/hour\"]";
    let (code, stdout, stderr) = run(bad, &["check"], &[("API__IN_FLIGHT__LIMIT", "0")]).await;
    assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
    let paths: Vec<_> = stderr
        .lines()
        .map(|it| it.split(": ").nth(1).unwrap())
        .collect();
    assert_eq!(
        paths,
        [
            "client_ip.trusted_proxies",
            "ip_filter.deny_file",
            "https.hosts",
            "https.redirect_host",
            "in_flight.limit",
            "rate_limit.quotas",
        ],
        "{stderr}"
    );
    let (code, _, stderr) = run("[jail]\nban_tim = \"1m\"", &["check"], &[]).await;
    assert_eq!(code, Some(2));
    assert!(
        stderr.contains("ban_tim") && stderr.contains("`ban_time`"),
        "{stderr}"
    );
    assert_eq!(stderr.lines().count(), 1);
}

#[tokio::test]
async fn explain_tells_what_a_request_would_meet() {
    let toml = "[client_ip]\nsource = \"x_forwarded_for\"\ntrusted_proxies = [\"10.0.0.2\"]\n\
                [ip_filter]\ndeny = [\"198.51.100.0/24\"]\n[api_keys]\nrequired = false";
    let ask = [
        "explain",
        "--from",
        "10.0.0.2",
        "--header",
        "X-Forwarded-For: 198.51.100.9",
        "GET",
        "/notes",
    ];
    let (code, stdout, stderr) = run(toml, &ask, &[]).await;
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.starts_with("client: 198.51.100.9\n"), "{stdout}");
    assert!(
        stdout.contains("ip_filter denied: refuses with 403: address is blocked"),
        "{stdout}"
    );
    assert!(
        stdout.contains("rate_limit 20-per-second: not reached"),
        "{stdout}"
    );
    assert!(
        stdout.ends_with("refused with 403 by ip_filter\n"),
        "{stdout}"
    );

    // Nobody else is believed.
    let ask = [
        "explain",
        "--from",
        "203.0.113.7:1",
        "--header",
        "X-Forwarded-For: 198.51.100.9",
        "GET",
        "/notes",
    ];
    let (_, stdout, _) = run(toml, &ask, &[]).await;
    assert!(stdout.starts_with("client: 203.0.113.7\n"), "{stdout}");
    assert!(
        stdout.contains("40 of 40 left in 20-per-second"),
        "{stdout}"
    );
    assert!(stdout.ends_with("\nadmitted\n"), "{stdout}");
}

#[tokio::test]
async fn explain_knows_the_bans_of_the_file_and_leaves_it_alone() {
    let folder = tempfile::tempdir().unwrap();
    let bans = folder.path().join("bans");
    let settings = [
        ("API__API_KEYS__REQUIRED", "false"),
        ("API__JAIL__FILE", bans.to_str().unwrap()),
        ("API__CLIENT_IP__SOURCE", "x_forwarded_for"),
        ("API__CLIENT_IP__TRUSTED_PROXIES", "[\"127.0.0.1\"]"),
    ];
    let api = Api::start(&settings).await;
    let trapped = hyper::Request::get(format!("http://{}/.env", api.addr))
        .header("x-forwarded-for", "203.0.113.7")
        .body(http_body_util::Full::default())
        .unwrap();
    assert_eq!(api.send(trapped).await.status(), 403);
    api.terminate().await;
    assert_eq!(api.end().await.0, Some(0));

    let before = fs::read(&bans).unwrap();
    for (client, end) in [
        ("203.0.113.7", "refused with 403 by jail\n"),
        ("203.0.113.8", "\nadmitted\n"),
    ] {
        let header = format!("x-forwarded-for: {client}");
        let ask = [
            "explain",
            "--from",
            "127.0.0.1",
            "--header",
            &header,
            "GET",
            "/.envelope",
        ];
        let (code, stdout, stderr) = run("", &ask, &settings).await;
        assert_eq!(code, Some(0), "{stderr}");
        assert!(stdout.ends_with(end), "{stdout}");
    }
    assert_eq!(fs::read(&bans).unwrap(), before);
}

async fn hang_up(api: &Api) {
    let command = format!("kill -HUP {}", api.id());
    let status = tokio::process::Command::new("sh")
        .args(["-c", &command])
        .status();
    assert!(status.await.unwrap().success());
}

async fn becomes(api: &Api, path: &str, expected: u16) {
    for _ in 0..100 {
        if api.get(path).await.status() == expected {
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("{path} is never answered {expected}");
}

#[tokio::test]
async fn a_signal_reloads_the_file_and_a_bad_one_keeps_all_old_values() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let write = |toml: &str| fs::write(file.path(), toml).unwrap();
    write("[rate_limit]\nquotas = [\"1000/minute\"]");
    let api = Api::start_with(&["--config", file.path().to_str().unwrap()], &[]).await;
    assert_eq!(api.get("/notes").await.status(), 200);

    write("[rate_limit]\nquotas = [\"1000/minute\"]\n[ip_filter]\ndeny = [\"loopback\"]");
    hang_up(&api).await;
    let line = api.line_with("config_reloaded").await;
    assert_eq!(line["log"]["logger"], "palisade::security");
    assert!(line.to_string().contains("ip_filter.deny"), "{line}");
    becomes(&api, "/notes", 403).await;

    // Neither the lists nor the quotas of a file with a fault are taken.
    write("[rate_limit]\nquotas = [\"10/second\", \"5/hour\"]");
    hang_up(&api).await;
    let line = api.line_with("config_reload_failed").await;
    assert!(line.to_string().contains("rate_limit.quotas"), "{line}");
    assert_eq!(api.get("/notes").await.status(), 403);
    write("[rate_limit");
    hang_up(&api).await;
    let line = api.line_with("config_reload_failed").await;
    assert!(line.to_string().contains("unclosed"), "{line}");
    assert_eq!(api.get("/notes").await.status(), 403);

    write("[rate_limit]\nquotas = [\"1000/minute\", \"9000/hour\"]");
    hang_up(&api).await;
    let line = api.line_with("config_").await;
    assert!(line.to_string().contains("room"), "{line}");
    assert_eq!(api.get("/notes").await.status(), 403);

    // What the program itself is told takes a restart, too, and is not said to be the same.
    write(
        "[rate_limit]\nquotas = [\"1000/minute\"]\n[admin]\nallow = [\"192.0.2.1\"]\n[server]\nmax_connections = 7",
    );
    hang_up(&api).await;
    let line = api.line_with("takes a restart: ").await;
    assert!(
        line.to_string().contains("restart: admin, server"),
        "{line}"
    );

    write("[rate_limit]\nquotas = [\"2/day\"]\n[jail]\nenabled = false");
    hang_up(&api).await;
    let line = api.line_with("config_reloaded").await;
    assert!(line.to_string().contains("takes a restart: jail"), "{line}");
    becomes(&api, "/notes", 429).await;
}
