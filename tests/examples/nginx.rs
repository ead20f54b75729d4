//! The README's lines for nginx, in a real nginx before the example that stands behind a proxy.

use std::{env, fs, net::SocketAddr, path::Path, process::Stdio};

use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::TcpListener,
    process::{Child, Command},
};

use crate::support::{Example, run};

const HOST: &str = "api.example.com";

/// The block of configuration in a text.
fn block(text: &str) -> String {
    let lines = text
        .lines()
        .map(|line| line.strip_prefix("//! ").unwrap_or(line));
    let lines = lines.skip_while(|line| *line != "```nginx").skip(1);
    let lines: Vec<&str> = lines.take_while(|line| *line != "```").collect();
    lines.join("\n")
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Starts nginx with a location, or returns nothing where an address was taken meanwhile.
async fn start(
    folder: &Path,
    location: &str,
    plain: SocketAddr,
    secure: SocketAddr,
) -> Option<Child> {
    let at = folder.display();
    let configuration = format!(
        "daemon off; master_process off; pid {at}/pid; error_log stderr notice; events {{}}
http {{
    access_log off;
    client_body_temp_path {at}/body; proxy_temp_path {at}/proxy; fastcgi_temp_path {at}/fastcgi;
    uwsgi_temp_path {at}/uwsgi; scgi_temp_path {at}/scgi;
    server {{
        listen {plain}; listen {secure} ssl;
        ssl_certificate {at}/tls.crt; ssl_certificate_key {at}/tls.key;
        {location}
    }}
}}"
    );
    fs::write(folder.join("nginx.conf"), configuration).unwrap();
    let mut process = Command::new("nginx")
        // Debian puts it where only the administrator's path looks.
        .env("PATH", env::var("PATH").unwrap_or_default() + ":/usr/sbin")
        .args(["-e", "stderr", "-p"])
        .arg(folder)
        .arg("-c")
        .arg(folder.join("nginx.conf"))
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("nginx is missing: install nginx-light, or set PALISADE_TESTS_WITHOUT_NGINX=1");
    let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
    let mut said = String::new();
    while let Ok(Some(line)) = lines.next_line().await {
        // It tells its limits once it listens.
        if line.contains("RLIMIT_NOFILE") {
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return Some(process);
        }
        said.push_str(&line);
    }
    assert!(said.contains("bind()"), "nginx ended: {said}");
    None
}

#[tokio::test]
async fn the_readme_works_behind_nginx() {
    let location = block(&read("README.md"));
    assert_eq!(location, block(&read("examples/behind_a_proxy.rs")));
    if env::var_os("PALISADE_TESTS_WITHOUT_NGINX").is_some() {
        eprintln!("NOT TESTED behind nginx: PALISADE_TESTS_WITHOUT_NGINX is set");
        return;
    }

    let example = Example::start("behind_a_proxy", 4).await;
    let command = &example.lines[3].command;
    let upstream = command.split("http://").nth(1).unwrap();
    let location = location.replace("127.0.0.1:3000", upstream);

    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let new = rcgen::generate_simple_self_signed([String::from(HOST)]).unwrap();
    fs::write(folder.join("tls.crt"), new.cert.pem()).unwrap();
    fs::write(folder.join("tls.key"), new.signing_key.serialize_pem()).unwrap();

    // Somebody else may take a port before nginx does.
    let mut found = None;
    while found.is_none() {
        let free = [listen().await, listen().await];
        let [plain, secure] = free.each_ref().map(|it| it.local_addr().unwrap());
        drop(free);
        let process = start(folder, &location, plain, secure).await;
        found = process.map(|process| (process, plain.port(), secure.port()));
    }
    let (_process, plain, secure) = found.unwrap();

    // From 127.0.0.1, where nginx is, a client would be a trusted proxy.
    let curl = format!(
        "curl -si --interface 127.0.0.2 --cacert {}/tls.crt --resolve {HOST}:{plain}:127.0.0.1 --resolve {HOST}:{secure}:127.0.0.1",
        folder.display()
    );
    let ask = async |rest: String| run(&format!("{curl} {rest}")).await;
    let status = |answer: &str| answer.split(' ').nth(1).map(str::to_owned);

    let answer = ask(format!("https://{HOST}:{secure}/")).await;
    assert_eq!(status(&answer).as_deref(), Some("200"), "{answer}");
    assert!(answer.contains("hello 127.0.0.2"));
    assert!(
        answer
            .to_lowercase()
            .contains("strict-transport-security: max-age=31536000")
    );

    // The client claims an address that is on the deny list, and is still itself.
    let answer = ask(format!(
        "https://{HOST}:{secure}/ -H 'X-Forwarded-For: 198.51.100.9'"
    ))
    .await;
    assert_eq!(status(&answer).as_deref(), Some("200"), "{answer}");

    // Plain text is refused, whatever the client claims.
    for claim in ["", "-H 'X-Forwarded-Proto: https'"] {
        let answer = ask(format!("http://{HOST}:{plain}/ {claim}")).await;
        assert_eq!(status(&answer).as_deref(), Some("403"), "{answer}");
    }
}

async fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}
