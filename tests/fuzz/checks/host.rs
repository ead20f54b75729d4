//! Hosts in any bytes: nothing panics, what is taken is canonical and reads back as itself, and no list takes what is not in it.

use http::{HeaderValue, Request, header::HOST};
use palisade::{
    host::{AllowedHosts, RequestHost},
    https::RedirectTarget,
};

pub(crate) fn check(data: &[u8]) {
    let allowed: AllowedHosts = "api.example.com, *.tenants.example.com, [2001:db8::7]:8443"
        .parse()
        .expect("patterns");
    if let Ok(host) = RequestHost::parse(data) {
        let written = host.to_string();
        let again = RequestHost::parse(written.as_bytes()).expect("its own text");
        assert_eq!(again, host);
        assert_eq!(again.to_string(), written);
        let name = host.host();
        assert!(name.bytes().all(|b| b.is_ascii_graphic()));
        assert!(!name.contains(['/', '@', '?', '#', '\\', '%', '"']));
        assert!(!name.bytes().any(|b| b.is_ascii_uppercase()));
        let inside = name == "api.example.com"
            || name.ends_with(".tenants.example.com")
            || (name == "[2001:db8::7]" && host.port() == Some(8443));
        assert_eq!(allowed.contains(&host), inside, "{name}");
    }
    // The same bytes as a request's own host, and as what is configured.
    if let Ok(value) = HeaderValue::from_bytes(data) {
        let parsed = RequestHost::parse(data);
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.headers.insert(HOST, value.clone());
        assert_eq!(RequestHost::of(&parts).ok(), parsed.ok());
        parts.headers.append(HOST, value);
        assert!(RequestHost::of(&parts).is_err());
    }
    if let Ok(text) = str::from_utf8(data) {
        let _ = text.parse::<AllowedHosts>();
        let target = text.parse::<RedirectTarget>();
        assert_eq!(target.is_ok(), RequestHost::parse(data).is_ok());
    }
}
