//! Another configuration in the place of the one in force: all of it, or nothing.

use std::{
    fs,
    sync::{Arc, Mutex},
};

use http::Request;
use palisade::{
    SecurityLayer,
    client_ip::PeerAddr,
    config::{Reloader, Surroundings},
    event::{Action, SecurityEvent},
};

use super::{parse, with};

type Events = Arc<Mutex<Vec<(Action, String)>>>;

fn start(toml: &str) -> (SecurityLayer, Reloader, Events) {
    let events = Events::default();
    let seen = Arc::clone(&events);
    let sink = move |event: &SecurityEvent<'_>| {
        let event = (event.action(), event.reason().to_owned());
        seen.lock().unwrap().push(event);
    };
    let surroundings = Surroundings::new().with_sink(sink);
    let assembled = parse(toml).unwrap().assemble(&surroundings).unwrap();
    (assembled.builder.build(), assembled.reloader, events)
}

/// Returns which gate would refuse a client, which counts nothing.
fn refused_by(layer: &SecurityLayer, client: &str) -> Option<String> {
    let peer: std::net::SocketAddr = format!("{client}:1").parse().unwrap();
    let (parts, ()) = Request::get("/")
        .extension(PeerAddr::from(peer))
        .body(())
        .unwrap()
        .into_parts();
    let explanation = layer.explain(&parts);
    explanation
        .refused_by()
        .map(|it| it.label().policy().to_owned())
}

fn capacity(layer: &SecurityLayer) -> String {
    let peer: std::net::SocketAddr = "203.0.113.7:1".parse().unwrap();
    let (parts, ()) = Request::get("/")
        .extension(PeerAddr::from(peer))
        .body(())
        .unwrap()
        .into_parts();
    let explanation = layer.explain(&parts);
    let gate = explanation
        .gates()
        .iter()
        .find(|it| it.label().layer() == "rate_limit");
    gate.unwrap().reason().to_owned()
}

#[test]
fn lists_and_quotas_are_replaced() {
    let (layer, mut reloader, events) = start(&with("[rate_limit]\nquotas = [\"10/minute\"]"));
    assert_eq!(refused_by(&layer, "203.0.113.7"), None);
    assert!(
        capacity(&layer).contains("10 of 10"),
        "{}",
        capacity(&layer)
    );

    let new =
        with("[rate_limit]\nquotas = [\"5/minute\"]\n[ip_filter]\ndeny = [\"198.51.100.0/24\"]");
    let done = reloader.reload(parse(&new).unwrap()).unwrap();
    assert_eq!(done.changed, ["ip_filter.deny", "rate_limit"]);
    assert!(done.restart.is_empty());
    assert_eq!(
        refused_by(&layer, "198.51.100.1").as_deref(),
        Some("denied")
    );
    assert_eq!(refused_by(&layer, "203.0.113.7"), None);
    assert!(capacity(&layer).contains("5 of 5"), "{}", capacity(&layer));
    let events = std::mem::take(&mut *events.lock().unwrap());
    assert_eq!(
        events,
        [(
            Action::ConfigReloaded,
            "changed: ip_filter.deny, rate_limit".to_owned()
        )]
    );

    // An allow list that was empty, and is again.
    let few = with("[rate_limit]\nquotas = [\"5/minute\"]\n[ip_filter]\nallow = [\"private\"]");
    reloader.reload(parse(&few).unwrap()).unwrap();
    assert_eq!(
        refused_by(&layer, "198.51.100.1").as_deref(),
        Some("allowed")
    );
    reloader
        .reload(parse(&with("[rate_limit]\nquotas = [\"5/minute\"]")).unwrap())
        .unwrap();
    assert_eq!(refused_by(&layer, "198.51.100.1"), None);
}

#[test]
fn a_bad_configuration_changes_nothing_and_raises_one_event() {
    let (layer, mut reloader, events) = start(&with(
        "[rate_limit]\nquotas = [\"10/minute\"]\n[ip_filter]\ndeny = [\"198.51.100.0/24\"]",
    ));
    // The list would be fine, the quotas are not.
    let bad = with(
        "[rate_limit]\nquotas = [\"10/second\", \"5/hour\"]\n[ip_filter]\ndeny = [\"203.0.113.0/24\"]\n[https]\nmode = \"redirect\"",
    );
    let errors = reloader.reload(parse(&bad).unwrap()).unwrap_err();
    let paths: Vec<_> = errors.iter().map(|it| it.path().to_owned()).collect();
    assert_eq!(paths, ["https.redirect_host", "rate_limit.quotas"]);
    assert_eq!(
        refused_by(&layer, "198.51.100.1").as_deref(),
        Some("denied")
    );
    assert_eq!(refused_by(&layer, "203.0.113.7"), None);
    assert!(capacity(&layer).contains("10 of 10"));
    let told = std::mem::take(&mut *events.lock().unwrap());
    let [(Action::ConfigReloadFailed, reason)] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert!(reason.contains("https.redirect_host") && reason.contains("rate_limit.quotas"));

    // More quotas than there is room for.
    let more = with(
        "[rate_limit]\nquotas = [\"10/minute\", \"100/hour\"]\n[ip_filter]\ndeny = [\"203.0.113.0/24\"]",
    );
    let errors = reloader.reload(parse(&more).unwrap()).unwrap_err();
    assert!(errors.to_string().contains("restart"), "{errors}");
    assert_eq!(refused_by(&layer, "203.0.113.7"), None);

    // A file that is no configuration at all.
    events.lock().unwrap().clear();
    reloader.keep("palisade.toml: unclosed table");
    assert_eq!(events.lock().unwrap().len(), 1);
}

#[test]
fn what_needs_a_restart_is_told() {
    let (_, mut reloader, _) = start(&with(""));
    let new = with("[jail]\nenabled = true\n[ip_filter]\ndeny = [\"198.51.100.0/24\"]");
    for _ in 0..2 {
        let done = reloader.reload(parse(&new).unwrap()).unwrap();
        assert_eq!(done.restart, ["jail"]);
    }
}

/// The secret is where the application's own loader finds it, and nobody else.
#[test]
fn keys_that_are_asked_for_later_take_a_restart() {
    let secrets = palisade::secret::SecretLoader::new()
        .without_directories()
        .with_environment(|name| {
            (name == "API_KEYS").then(|| r#"{"alice": "key-of-alice-hunter2"}"#.into())
        });
    let surroundings = Surroundings::new()
        .with_sink(palisade::event::NullSink)
        .with_secrets(secrets);
    let config = parse(&with("")).unwrap();
    let mut reloader = config.assemble(&surroundings).unwrap().reloader;
    let new = parse(&with("[api_keys]\nrequired = true")).unwrap();
    assert_eq!(reloader.reload(new).unwrap().restart, ["api_keys"]);
    let missing = "[api_keys]\nrequired = true\nsecret = \"OTHERS\"";
    assert!(reloader.reload(parse(&with(missing)).unwrap()).is_err());
}

#[test]
fn a_file_of_a_list_may_be_as_large_as_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deny.txt");
    let mut text = vec![b'#'; (64 << 20) + 1];
    text.extend(b"\n198.51.100.0/24\n");
    fs::write(&path, text).unwrap();
    let toml = |max_bytes: &str| {
        with(&format!(
            "[ip_filter]\nlists = [{{name = \"large\", kind = \"deny\", file = {:?}{max_bytes}}}]",
            path.to_str().unwrap()
        ))
    };
    let (layer, ..) = start(&toml(", max_bytes = \"65 MiB\""));
    assert_eq!(refused_by(&layer, "198.51.100.1").as_deref(), Some("large"));
    let surroundings = Surroundings::new().with_sink(palisade::event::NullSink);
    let errors = parse(&toml("")).unwrap().assemble(&surroundings);
    assert!(errors.unwrap_err().to_string().contains("too large"));
}

#[test]
fn files_of_lists_keep_their_last_good_value() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deny.txt");
    fs::write(&path, "198.51.100.0/24\n").unwrap();
    let toml = with(&format!(
        "[ip_filter]\ndeny_file = {:?}",
        path.to_str().unwrap()
    ));
    let (layer, mut reloader, events) = start(&toml);
    assert_eq!(
        refused_by(&layer, "198.51.100.1").as_deref(),
        Some("denied_file")
    );

    fs::write(&path, "203.0.113.0/24\n").unwrap();
    reloader.reload_files();
    assert_eq!(
        refused_by(&layer, "203.0.113.7").as_deref(),
        Some("denied_file")
    );
    fs::write(&path, "nonsense\n").unwrap();
    reloader.reload_files();
    assert_eq!(
        refused_by(&layer, "203.0.113.7").as_deref(),
        Some("denied_file")
    );
    let actions: Vec<_> = events.lock().unwrap().iter().map(|it| it.0).collect();
    assert_eq!(
        actions,
        [Action::IpListReloaded, Action::IpListReloadFailed]
    );
}
