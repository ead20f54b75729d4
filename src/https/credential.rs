//! Credentials that came in plain text.

use http::{
    HeaderName, HeaderValue,
    header::{AUTHORIZATION, COOKIE},
};

use crate::{
    event::{fingerprint::FingerprintKey, model::Action},
    policy::{head::RequestHead, notice::Notice},
};

/// Looks for credentials in requests over plain text, which by then have leaked.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    key: FingerprintKey,
    api_keys: Vec<HeaderName>,
}

impl Credentials {
    pub(crate) fn new() -> Self {
        Self {
            key: FingerprintKey::random(),
            api_keys: vec![HeaderName::from_static("x-api-key")],
        }
    }

    pub(crate) fn set_key(&mut self, key: FingerprintKey) {
        self.key = key;
    }

    pub(crate) fn add_header(&mut self, name: HeaderName) {
        if !self.api_keys.contains(&name) {
            self.api_keys.push(name);
        }
    }

    /// Reports the first credential of every kind that the request carries.
    pub(crate) fn leaked(&self, request: &RequestHead<'_>) -> impl Iterator<Item = Notice> {
        let headers = request.headers();
        let authorization = headers
            .get(AUTHORIZATION)
            .map(|value| self.notice(token(value), "an authorization was sent in plain text"));
        let cookie = headers
            .get(COOKIE)
            .map(|value| self.notice(value.as_bytes(), "cookies were sent in plain text"));
        let api_keys = self
            .api_keys
            .iter()
            .filter_map(move |name| headers.get(name))
            .map(|value| self.notice(value.as_bytes(), "an API key was sent in plain text"));
        authorization.into_iter().chain(api_keys).chain(cookie)
    }

    fn notice(&self, credential: &[u8], reason: &'static str) -> Notice {
        Notice::new(Action::CredentialOverPlaintext, reason)
            .with_fingerprint(self.key.fingerprint(credential))
    }
}

/// Returns what follows the name of the scheme, so that an owner can look for the bare token.
fn token(value: &HeaderValue) -> &[u8] {
    let value = value.as_bytes();
    match value.iter().position(|b| *b == b' ') {
        Some(space) => value.get(space..).unwrap_or_default().trim_ascii(),
        None => value,
    }
}
