//! Real consumers from Debian's packages read what the sinks write.
//!
//! A missing tool fails the test and names its package; `PALISADE_SKIP_SYSTEM=1` skips these tests and says so.

use std::{
    collections::BTreeSet,
    env, fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::channel,
    thread,
    time::Duration,
};

use http::HeaderValue;
use palisade::event::{
    Action, EcsLines, EventSink, FloodControl, LineSink, SecurityEvent, TextLines,
};

use super::content::{HOSTILE, all_events};

/// Finds a tool, or says which package has it; nothing where these tests are to be skipped.
fn tool(name: &str, package: &str) -> Option<PathBuf> {
    if env::var_os("PALISADE_SKIP_SYSTEM").is_some_and(|it| it == "1") {
        eprintln!("skipped by PALISADE_SKIP_SYSTEM: the test that needs `{name}`");
        return None;
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|directory| directory.join(name))
        .find(|it| it.is_file());
    let Some(found) = found else {
        panic!(
            "`{name}` is missing: `apt-get install {package}`, or skip with PALISADE_SKIP_SYSTEM=1"
        );
    };
    Some(found)
}

/// A process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

const HOSTILE_CLIENT: &str = "198.51.100.66";
const LAST_CLIENT: &str = "2001:db8::7";

/// Writes hostile refusals, harmless events and, last, three refusals of another client.
fn write_lines(path: &Path) {
    let file = fs::File::options()
        .append(true)
        .create(true)
        .open(path)
        .unwrap();
    let sink = FloodControl::new(LineSink::new(TextLines, file).unwrap())
        .with_window(Duration::ZERO)
        .with_budget(100, 100);
    let event = |action, client: &str| {
        SecurityEvent::new(action, "refused by the test")
            .with_policy("api\" client=9.9.9.9 ")
            .with_client(client.parse().unwrap())
            .with_peer("192.0.2.1".parse().unwrap())
    };
    for (path, agent) in HOSTILE {
        let agent = HeaderValue::from_bytes(agent).unwrap();
        let method = http::Method::from_bytes(b"CLIENT-9.9.9.9").unwrap();
        let event = event(Action::RateLimitExceeded, HOSTILE_CLIENT)
            .with_method(&method)
            .with_path(path)
            .with_user_agent(&agent)
            .with_request_id(&agent);
        sink.record(&event);
    }
    for _ in 0..5 {
        sink.record(&event(Action::IpBlocked, "198.51.100.77").observed());
        sink.record(&event(Action::HttpsRedirected, "198.51.100.78"));
        // What is found on a request is not what becomes of it.
        sink.record(&event(Action::CredentialOverPlaintext, "198.51.100.80"));
        sink.record(&event(Action::ForwardedHeaderMalformed, "198.51.100.81"));
        sink.record(
            &SecurityEvent::new(Action::IpBlocked, "no address").with_policy("198.51.100.79"),
        );
    }
    for _ in 0..3 {
        sink.record(&event(Action::IpBlocked, LAST_CLIENT));
    }
    sink.flush();
}

#[test]
fn fail2ban_regex_finds_our_addresses_only() {
    let Some(tool) = tool("fail2ban-regex", "fail2ban") else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("security.log");
    write_lines(&log);
    let filter = repository().join("examples/api/fail2ban/filter.d/palisade.conf");
    let output = Command::new(tool)
        .args(["-o", "ip"])
        .arg(&log)
        .arg(filter)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let found = String::from_utf8(output.stdout).unwrap();
    let found: Vec<_> = found.lines().collect();
    let mut expected = vec![HOSTILE_CLIENT; HOSTILE.len()];
    expected.extend([LAST_CLIENT; 3]);
    assert_eq!(found, expected);
}

#[test]
fn fail2ban_bans_whom_the_lines_name() {
    let (Some(server), Some(client)) = (
        tool("fail2ban-server", "fail2ban"),
        tool("fail2ban-client", "fail2ban"),
    ) else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    for name in ["filter.d", "action.d"] {
        fs::create_dir(at(name)).unwrap();
    }
    let filter = repository().join("examples/api/fail2ban/filter.d/palisade.conf");
    fs::copy(filter, at("filter.d/palisade.conf")).unwrap();
    fs::write(at("security.log"), "").unwrap();
    fs::write(
        at("fail2ban.conf"),
        format!(
            "[Definition]\nloglevel = INFO\nlogtarget = {}\nsyslogsocket = auto\nsocket = {}\npidfile = {}\ndbfile = None\n",
            at("fail2ban.log").display(),
            at("socket").display(),
            at("pid").display(),
        ),
    )
    .unwrap();
    fs::write(
        at("action.d/note.conf"),
        format!(
            "[Definition]\nactionstart =\nactionstop =\nactioncheck =\nactionban = echo <ip> >> {}\nactionunban =\n",
            at("banned").display(),
        ),
    )
    .unwrap();
    fs::write(
        at("jail.conf"),
        format!(
            "[palisade]\nenabled = true\nfilter = palisade\nlogpath = {}\nlogencoding = utf-8\nbackend = polling\n\
             maxretry = 3\nfindtime = 600\nbantime = 600\nusedns = no\nignoreself = false\naction = note\n",
            at("security.log").display(),
        ),
    )
    .unwrap();
    let ask = |arguments: &[&str]| {
        let output = Command::new(&client)
            .arg("-c")
            .arg(directory.path())
            .arg("-s")
            .arg(at("socket"))
            .args(arguments)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let log = || fs::read_to_string(at("fail2ban.log")).unwrap_or_default();

    let mut process = Process(
        Command::new(server)
            .args(["-f", "-c"])
            .arg(directory.path())
            .arg("-s")
            .arg(at("socket"))
            .arg("-p")
            .arg(at("pid"))
            .arg("start")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    // Every question starts a process, which takes its time: there is no need to sleep between two.
    let ready = (0..300).any(|_| ask(&["status", "palisade"]).contains("Currently banned"));
    assert!(ready, "{}", log());
    write_lines(&at("security.log"));
    // Lines are read in order: when the last client is banned all others have been judged.
    let banned = || -> BTreeSet<String> {
        let list = ask(&["get", "palisade", "banip"]);
        list.split_whitespace().map(str::to_owned).collect()
    };
    let done = (0..300).any(|_| banned().contains(LAST_CLIENT));
    assert!(done, "{}", log());
    let expected = BTreeSet::from([HOSTILE_CLIENT.to_owned(), LAST_CLIENT.to_owned()]);
    assert_eq!(banned(), expected);
    ask(&["stop"]);
    assert!(process.0.wait().unwrap().success(), "{}", log());
    let noted = fs::read_to_string(at("banned")).unwrap();
    let noted: BTreeSet<_> = noted.lines().map(str::to_owned).collect();
    assert_eq!(noted, expected);
}

#[test]
fn rsyslog_takes_in_ecs_lines() {
    let Some(tool) = tool("rsyslogd", "rsyslog") else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let events = all_events();
    let file = fs::File::create(at("security.json")).unwrap();
    let sink = LineSink::new(EcsLines::new().with_service_name("orders"), file).unwrap();
    for event in &events {
        sink.record(event);
    }
    sink.flush();

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let fields = [
        "$!parsed",
        "$!event!action",
        "$!event!category",
        "$!event!outcome",
        "$!client!ip",
        "$!url!path",
        "$!user_agent!original",
        "$!http!response!status_code",
        "$!labels!enforced",
        "$!service!name",
    ];
    let template = fields
        .map(|it| format!("property(name=\"{it}\")"))
        .join(" constant(value=\"|\") ");
    fs::write(
        at("rsyslog.conf"),
        format!(
            "global(workDirectory=\"{}\")\nmodule(load=\"imfile\")\nmodule(load=\"mmjsonparse\")\n\
             template(name=\"fields\" type=\"list\") {{ {template} constant(value=\"\\n\") }}\n\
             ruleset(name=\"events\") {{ action(type=\"mmjsonparse\" cookie=\"\")\nset $!parsed = $parsesuccess;\n\
             action(type=\"omfwd\" target=\"127.0.0.1\" port=\"{}\" protocol=\"tcp\" template=\"fields\") }}\n\
             input(type=\"imfile\" file=\"{}\" tag=\"palisade\" ruleset=\"events\")\n",
            directory.path().display(),
            listener.local_addr().unwrap().port(),
            at("security.json").display(),
        ),
    )
    .unwrap();
    let _process = Process(
        Command::new(tool)
            .arg("-n")
            .arg("-f")
            .arg(at("rsyslog.conf"))
            .arg("-i")
            .arg(at("pid"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let (lines, received) = channel();
    thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        for line in BufReader::new(stream).lines() {
            let Ok(()) = lines.send(line.unwrap()) else {
                return;
            };
        }
    });
    for event in events {
        let line = received.recv_timeout(Duration::from_secs(60)).unwrap();
        let text = |text: Option<std::borrow::Cow<'_, str>>| text.unwrap_or_default().into_owned();
        let categories = event.action().ecs_categories();
        let categories = match categories {
            [] => String::new(),
            _ => format!("[ \"{}\" ]", categories.join("\", \"")),
        };
        let expected = [
            "OK".to_owned(),
            event.action().as_str().to_owned(),
            categories,
            event.ecs_outcome().unwrap_or_default().to_owned(),
            event.client().map_or_else(String::new, |it| it.to_string()),
            text(event.path()),
            text(event.user_agent()),
            event
                .status()
                .map_or_else(String::new, |it| it.as_str().to_owned()),
            event.enforced().to_string(),
            "orders".to_owned(),
        ];
        assert_eq!(line.split('|').collect::<Vec<_>>(), expected);
    }
}

#[test]
fn promtool_has_nothing_to_say_about_the_metrics() {
    let Some(tool) = tool("promtool", "prometheus") else {
        return;
    };
    let scrape = super::counts::scrape();
    assert!(scrape.contains("palisade_decisions_total{"), "{scrape}");
    let mut child = Command::new(tool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(scrape.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(
        output.stdout.is_empty() && output.stderr.is_empty(),
        "{output:?}"
    );
}
