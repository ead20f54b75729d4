//! Everything that is wrong is told by the path of its key and what is allowed.

use palisade::{config::Surroundings, secret::SecretLoader};

use super::{parse, with};

/// Checks what reading says.
#[track_caller]
fn check_read(toml: &str, parts: &[&str]) {
    let error = match parse(toml) {
        Ok(config) => panic!("{toml:?} was read as {config:?}"),
        Err(error) => error,
    };
    assert_eq!(error.lines().count(), 1, "{error}");
    for part in parts {
        assert!(error.contains(part), "{error:?} does not contain {part:?}");
    }
}

/// Checks what building says: every line, by its path and a part of its message.
#[track_caller]
fn check_build(toml: &str, expected: &[(&str, &str)]) {
    let config = parse(toml).unwrap();
    let secrets = SecretLoader::new()
        .without_directories()
        .with_environment(|_| None);
    let surroundings = Surroundings::new().with_secrets(secrets);
    let Err(errors) = config.assemble(&surroundings) else {
        panic!("{toml:?} was built")
    };
    let found: Vec<_> = errors.iter().collect();
    assert_eq!(found.len(), expected.len(), "{errors}");
    assert_eq!(errors.to_string().lines().count(), expected.len());
    for (found, (path, message)) in found.iter().zip(expected) {
        assert_eq!(found.path(), *path, "{errors}");
        assert!(found.message().contains(message), "{errors}");
    }
}

#[test]
fn a_source_must_be_chosen() {
    check_read("", &["client_ip"]);
    check_read("[client_ip]", &["client_ip", "source"]);
    check_read(
        "[client_ip]\nsource = \"xff\"",
        &["client_ip.source", "xff", "`x_forwarded_for`", "`peer`"],
    );
}

#[test]
fn what_is_no_quota_is_told_with_how_one_is_written() {
    check_read(
        &with("[rate_limit]\nquotas = [5]"),
        &[
            "rate_limit.quotas",
            "`5`",
            "a quota as \"50/second burst 100\"",
        ],
    );
}

#[test]
fn unknown_keys_are_told_with_those_that_are_known() {
    check_read(&with("[jial]"), &["jial", "`jail`", "`rate_limit`"]);
    check_read(
        &with("trusted_proxy = []"),
        &["client_ip", "trusted_proxy", "`trusted_proxies`"],
    );
    check_read(
        &with("[rate_limit]\nquota = []"),
        &["rate_limit", "quota", "`quotas`"],
    );
    check_read(
        &with("[[rate_limit.limits]]\nquotas = [\"1/s\"]\nburst = 3"),
        &["rate_limit.limits[0]", "burst", "`near_limit`"],
    );
    check_read(
        &with("[https.hsts]\nmax_age = \"1y\"\nsub_domains = true"),
        &["https.hsts", "sub_domains", "`subdomains`"],
    );
    check_read(
        &with("[api_keys]\nkeys = {}"),
        &["api_keys", "keys", "`secret`"],
    );
}

#[test]
fn wrong_values_are_told_with_what_is_allowed() {
    check_read(
        &with("[rate_limit]\nquotas = [\"5/s\", \"fast\"]"),
        &["rate_limit.quotas[1]", "fast", "50/second burst 100"],
    );
    check_read(
        &with("[rate_limit]\nquotas = [5]"),
        &["rate_limit.quotas[0]", "quota"],
    );
    check_read(
        &with("[rate_limit]\nquotas = [{quota = \"1/s\", name = \"\"}]"),
        &["rate_limit.quotas[0]", "name", "1 to 64"],
    );
    check_read(
        &with("[ip_filter]\ndeny = [\"10.0.0.0/8\", \"010.0.0.1\"]"),
        &["ip_filter.deny", "010.0.0.1", "private", "10.0.0.0/8"],
    );
    check_read(
        &with("[ip_filter]\nreload = 5"),
        &["ip_filter.reload", "5", "15m"],
    );
    check_read(
        &with("[ip_filter]\nreload = \"5\""),
        &["ip_filter.reload", "15m"],
    );
    check_read(
        &with("max_bytes = \"8 potatoes\""),
        &["client_ip.max_bytes", "8 KiB"],
    );
    check_read(
        &with("[jail]\nstatus = 200"),
        &["jail.status", "200", "400 to 599"],
    );
    check_read(
        &with("[jail]\nenabled = \"yes\""),
        &["jail.enabled", "yes", "boolean"],
    );
    check_read(
        &with("[[jail.rules]]\naction = \"bad\""),
        &["jail.rules[0].action", "bad", "api_key_rejected"],
    );
    check_read(
        &with("[https]\nexempt_paths = [\"/a/../b\"]"),
        &["https.exempt_paths[0]", "/a/../b", "/health"],
    );
    check_read(
        &with("[https]\nmode = \"on\""),
        &["https.mode", "on", "`redirect`"],
    );
    check_read(
        &with("[https.hsts]\nmax_age = \"1day\"\npreload = true"),
        &["https.hsts", "preload"],
    );
    check_read(
        &with("[[rate_limit.limits]]\nquotas = [\"1/s\"]\nkey = \"ip\""),
        &["rate_limit.limits[0].key", "ip", "client_ip", "header:NAME"],
    );
    check_read(
        &with("header = \"not a name\""),
        &["client_ip.header", "x-real-ip"],
    );
    check_read(
        &with("[response_headers]\npreset = \"web\""),
        &["response_headers.preset", "web", "`html`"],
    );
    check_read(
        &with("[events]\nprivacy = \"none\""),
        &["events.privacy", "none", "`omitted`"],
    );
}

#[test]
fn contradictions_are_told_all_at_once() {
    check_build(
        &with("trusted_proxies = [\"10.0.0.2\"]\ntrusted_hops = 1"),
        &[("client_ip.trusted_hops", "client_ip.trusted_proxies")],
    );
    check_build(
        "[client_ip]\nsource = \"x_forwarded_for\"",
        &[("client_ip.trusted_proxies", "10.0.0.2")],
    );
    check_build(
        "[client_ip]\nsource = \"header\"\ntrusted_proxies = \"10.0.0.2\"",
        &[("client_ip.header", "cf-connecting-ip")],
    );
    check_build(
        "[client_ip]\nsource = \"x_forwarded_for\"\ntrusted_proxies = [\"any\"]",
        &[("client_ip.trusted_proxies", "every address")],
    );
    check_build(
        &with("header = \"x-real-ip\""),
        &[("client_ip.header", "source")],
    );
    check_build(
        &with("trusted_hops = 0"),
        &[("client_ip.trusted_hops", "zero")],
    );
    check_build(
        &with("[https]\nscheme = \"x_forwarded_proto\""),
        &[("https.scheme", "client_ip.trusted_proxies")],
    );
    check_build(
        &with("[https]\nmode = \"redirect\""),
        &[("https.redirect_host", "api.example.com")],
    );
    check_build(
        &with("[https]\nmode = \"redirect\"\nredirect_host = \"api.example.com:x\""),
        &[("https.redirect_host", "8443")],
    );
    for port in ["0", "+443", "65536"] {
        let host =
            format!("[https]\nmode = \"redirect\"\nredirect_host = \"api.example.com:{port}\"");
        check_build(&with(&host), &[("https.redirect_host", "8443")]);
    }
    check_build(
        &with("[https]\nmode = \"reject\"\ntemporary_redirect = true"),
        &[("https.temporary_redirect", "redirect")],
    );
    check_build(&with("[https]\nhosts = [\"*\"]"), &[("https.hosts", "*")]);
    check_build(
        &with("[https]\nmode = \"redirect\"\nredirect_to_hosts = true"),
        &[("https.redirect_to_hosts", "hosts")],
    );
    check_build(
        &with(
            "[[ip_filter.lists]]\nname = \"a\"\nkind = \"deny\"\n\
               [[ip_filter.lists]]\nname = \"b\"\nkind = \"allow\"\nentries = [\"private\"]\nunknown_clients = \"admit\"",
        ),
        &[
            ("ip_filter.lists[0].entries", "ip_filter.lists[0].file"),
            ("ip_filter.lists[1].unknown_clients", "deny"),
        ],
    );
    check_build(
        &with("[ip_filter]\ndeny_file = \"/nonexistent\""),
        &[("ip_filter.deny_file", "/nonexistent")],
    );
}

#[test]
fn contradictions_of_limits_and_bans_are_told() {
    check_build(
        &with("[rate_limit]\nquotas = [\"10/second\", \"5/hour\"]"),
        &[("rate_limit.quotas", "could never be reached")],
    );
    check_build(
        &with(
            "[[rate_limit.limits]]\nquotas = [\"10/s\"]\ncosts = [{path = \"/x\", cost = 11}]\ncost = 12",
        ),
        &[
            ("rate_limit.limits[0].cost", "capacity 10"),
            ("rate_limit.limits[0].costs[0].cost", "capacity 10"),
        ],
    );
    check_build(
        &with(
            "[[rate_limit.limits]]\nquotas = [\"10/s\"]\nretry_after = false\nretry_jitter = \"1s\"",
        ),
        &[("rate_limit.limits[0].retry_jitter", "retry_after")],
    );
    check_build(
        &with("[[rate_limit.limits]]\nquotas = [\"10/s\"]\ntiers = [{quotas = [\"1/s\"]}]"),
        &[("rate_limit.limits[0].tiers[0]", "scope")],
    );
    check_build(
        &with("[[rate_limit.limits]]\nquotas = [\"10/s\"]\nnear_limit = 101"),
        &[("rate_limit.limits[0].near_limit", "1 to 100")],
    );
    check_build(
        &with("[[rate_limit.limits]]\nquotas = [\"10/s\"]\nipv6_prefix = 24"),
        &[("rate_limit.limits[0].ipv6_prefix", "32 to 128")],
    );
    check_build(
        &with("[in_flight]\nlimit = 0"),
        &[("in_flight.limit", "at least 1")],
    );
    check_build(
        &with(
            "[jail]\nenabled = true\nban_growth = 0\ntraps = [\"common\", \"admin\"]\nrules = [{limit = 3}]",
        ),
        &[
            ("jail.ban_growth", "at least 1"),
            ("jail.rules[0]", "status or action"),
            ("jail.traps[1]", "/old-admin/"),
        ],
    );
    check_build(
        &with("[events]\ntruncate_ipv4 = 33"),
        &[
            ("events.truncate_ipv4", "truncated"),
            ("events.truncate_ipv4", "0 to 32"),
        ],
    );
    check_build(
        &with("[response_headers]\nset = {x-a = \"1\"}\nset_always = {x-a = \"2\"}"),
        &[("response_headers.set.x-a", "twice")],
    );
    check_build(
        &with("[api_keys]\nrequired = true"),
        &[("api_keys.secret", "API_KEYS")],
    );
    check_build(
        &with("[api_keys]\nrequired = false\nbearer = false"),
        &[("api_keys.header", "bearer")],
    );
}

#[test]
fn a_secret_that_stands_where_its_name_should_is_not_repeated() {
    let secret = "plsd_q3Jm-0123456789abcdefghijklmnop";
    let error = parse(&with(&format!("[api_keys]\nsecret = \"{secret}\""))).unwrap_err();
    assert!(
        error.contains("api_keys.secret") && error.contains("API_KEYS"),
        "{error}"
    );
    assert!(!error.contains(secret), "{error}");

    // It might be a secret that looks like a name.
    let config = parse(&with("[api_keys]\nsecret = \"A1B2C3D4E5F60718\"")).unwrap();
    assert!(!format!("{config:?}").contains("A1B2"));
}

#[test]
fn keys_that_cannot_be_read_do_not_show_in_errors() {
    let toml = with("[api_keys]\nrequired = true");
    let secrets = SecretLoader::new()
        .without_directories()
        .with_environment(|name| {
            (name == "API_KEYS").then(|| "{\"alice\": hunter2-hunter2".into())
        });
    let surroundings = Surroundings::new().with_secrets(secrets);
    let errors = parse(&toml).unwrap().assemble(&surroundings).unwrap_err();
    assert!(
        errors.to_string().starts_with("api_keys.secret: "),
        "{errors}"
    );
    assert!(!format!("{errors} {errors:?}").contains("hunter2"));
}

#[test]
fn what_reads_like_protection_and_is_none_is_refused() {
    for key in [
        "hsts = {max_age = \"365d\"}",
        "exempt_paths = [\"/healthz\"]",
        "credential_headers = [\"x-token\"]",
        "redirect_host = \"api.example.com\"",
        "redirect_browsers_only = true",
    ] {
        let name = key.split(' ').next().unwrap();
        check_build(&with(&format!("[https]\n{key}")), &[("https.mode", name)]);
        let off = parse(&with(&format!("[https]\nmode = \"off\"\n{key}"))).unwrap();
        assert!(off.assemble(&Surroundings::new()).is_ok(), "{key}");
    }
    let limit = |more: &str| {
        with(&format!(
            "[rate_limit]\nlimits = [{{quotas = [\"1/s\"], {more}}}]"
        ))
    };
    for key in ["fields_on_redirects", "exposed_fields", "partition_key"] {
        let path = format!("rate_limit.limits[0].{key}");
        check_build(&limit(&format!("{key} = true")), &[(&path, "draft11")]);
    }
    check_build(
        &limit("legacy_fields = \"delta\", partition_key = true"),
        &[("rate_limit.limits[0].partition_key", "draft11")],
    );
    check_build(
        &limit("key = \"method\", ipv6_prefix = 64"),
        &[("rate_limit.limits[0].ipv6_prefix", "client_ip")],
    );
    for key in [
        "trusted_proxies = [\"10.0.0.2\"]",
        "trusted_hops = 1",
        "trust_unix_sockets = true",
        "dangerous_trust_everyone = true",
    ] {
        let name = key.split(' ').next().unwrap();
        let path = format!("client_ip.{name}");
        check_build(&with(key), &[(&path, "x_forwarded_for")]);
        let scheme = with(&format!("{key}\n[https]\nscheme = \"x_forwarded_proto\""));
        assert!(
            parse(&scheme)
                .unwrap()
                .assemble(&Surroundings::new())
                .is_ok(),
            "{key}"
        );
    }
    // One fault does not hide another.
    check_build(
        "[client_ip]\nsource = \"x_forwarded_for\"\n[events]\nburst = 0\n[https]\nscheme = \"x_forwarded_proto\"\nmode = \"reject\"",
        &[
            ("events.burst", "at least 1"),
            ("client_ip.trusted_proxies", "10.0.0.2"),
        ],
    );
    for jail in ["traps = [\"common\"]", "rules = [{status = 401}]"] {
        check_build(
            &with(&format!("[jail]\n{jail}")),
            &[("jail.enabled", "true")],
        );
        let off = parse(&with(&format!("[jail]\nenabled = false\n{jail}"))).unwrap();
        assert!(off.assemble(&Surroundings::new()).is_ok(), "{jail}");
    }
    for keys in [
        "scope = \"notes\"",
        "secret = \"KEYS\"",
        "header = \"x-api-key\"",
        "format = \"toml\"",
        "reload = \"1m\"",
    ] {
        let toml = format!("[api_keys]\n{keys}");
        check_build(&with(&toml), &[("api_keys.required", "true")]);
    }
    check_build(
        &with("[api_keys]\nrequired = false\nscope = \"notes\""),
        &[("api_keys.scope", "required")],
    );
    let off = with("[api_keys]\nrequired = false\nheader = \"x-api-key\"");
    assert!(parse(&off).unwrap().assemble(&Surroundings::new()).is_ok());
}
