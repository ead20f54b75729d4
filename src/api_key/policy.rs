//! Keys as policies.

use std::sync::Arc;

use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{AUTHORIZATION, WWW_AUTHENTICATE},
};

use crate::{
    api_key::{
        error::{ApiKeysError, Fault},
        identity::ApiKeyIdentity,
        keys::ApiKeys,
        record::is_visible,
        table::{Entry, Table},
    },
    event::model::Action,
    policy::{
        admission::Admission,
        decision::{Check, Decision},
        fields::FieldMode,
        head::RequestHead,
        label::PolicyLabel,
        notice::Notice,
        peek::Peek,
        rejection::Rejection,
        set::Policy,
    },
};

/// Refuses requests that present no valid API key, and leaves an [`ApiKeyIdentity`] in the extensions of the others.
///
/// A key comes in `Authorization: Bearer`, in a header field of your choice, or in either; never in the query, which ends up in logs.
/// More than one key in a request is as bad as none.
#[derive(Clone, Debug)]
pub struct ApiKeyPolicy {
    keys: ApiKeys,
    places: Places,
    scope: Option<Arc<str>>,
    realm: Arc<str>,
    name: Arc<str>,
}

#[derive(Clone, Debug)]
enum Places {
    Bearer,
    BearerAnd(HeaderName),
    Header(HeaderName),
}

impl ApiKeyPolicy {
    /// Creates a policy that takes keys from `Authorization: Bearer`.
    #[must_use]
    pub fn new(keys: ApiKeys) -> Self {
        Self {
            keys,
            places: Places::Bearer,
            scope: None,
            realm: "api".into(),
            name: "api_key".into(),
        }
    }

    /// Takes keys from this header field as well.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName) -> Self {
        self.places = Places::BearerAnd(name);
        self
    }

    /// Takes keys from this header field alone.
    #[must_use]
    pub fn with_header_only(mut self, name: HeaderName) -> Self {
        self.places = Places::Header(name);
        self
    }

    /// Demands that the key has this scope. [`RequireScope`] demands one further in, for some routes.
    ///
    /// # Errors
    ///
    /// Fails if it is not a scope: 1 to 128 visible ASCII characters without quotes.
    pub fn with_scope(mut self, scope: &str) -> Result<Self, ApiKeysError> {
        self.scope = Some(scope_of(scope)?);
        Ok(self)
    }

    /// Sets what the keys are for, as clients are told in `WWW-Authenticate`. The default is `api`.
    ///
    /// # Errors
    ///
    /// Fails if it is not made of visible ASCII characters and blanks without quotes.
    pub fn with_realm(mut self, realm: &str) -> Result<Self, ApiKeysError> {
        if realm.is_empty() || !realm.bytes().all(is_quotable) {
            return Err(ApiKeysError(Fault::Realm));
        }
        self.realm = realm.into();
        Ok(self)
    }

    /// Sets the name of the policy in events. The default is `api_key`.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = name.into();
        self
    }

    fn presented<'a>(&self, headers: &'a HeaderMap) -> Presented<'a> {
        let (bearer, header) = match &self.places {
            Places::Bearer => (bearer(headers), Presented::Nothing),
            Places::BearerAnd(name) => (bearer(headers), only(headers, name)),
            Places::Header(name) => (Presented::Nothing, only(headers, name)),
        };
        match (bearer, header) {
            (Presented::Nothing, found) | (found, Presented::Nothing) => found,
            _ => Presented::Ambiguous,
        }
    }

    fn rejection(&self, reason: &'static str, error: Option<&str>) -> Rejection {
        let rejection = Rejection::new(Action::ApiKeyRejected, StatusCode::UNAUTHORIZED, reason)
            .with_policy(Arc::clone(&self.name));
        let scheme = match self.places {
            Places::Bearer | Places::BearerAnd(_) => "Bearer",
            Places::Header(_) => "ApiKey",
        };
        challenge(rejection, scheme, &self.realm, error, None)
    }

    /// Finds whose key the request presents.
    fn find<'t>(
        &self,
        table: &'t Table,
        request: &RequestHead<'_>,
    ) -> Result<&'t Entry, Rejection> {
        let key = match self.presented(request.headers()) {
            Presented::Key(key) => key,
            // RFC 6750, section 3.1: no error code where nothing was presented.
            Presented::Nothing => return Err(self.rejection("an API key is required", None)),
            Presented::Ambiguous => {
                let reason = "exactly one API key is required";
                return Err(self.rejection(reason, Some("invalid_request")));
            }
        };
        let Some(entry) = table.find(key) else {
            return Err(self.rejection("the API key is not valid", Some("invalid_token")));
        };
        match &self.scope {
            Some(scope) if !entry.identity.has_scope(scope) => {
                Err(scope_missing(scope, &self.realm, &self.name))
            }
            _ => Ok(entry),
        }
    }
}

impl Policy for ApiKeyPolicy {
    fn label(&self) -> PolicyLabel {
        PolicyLabel::named("api_key", &self.name)
    }

    fn check(&self, request: &RequestHead<'_>) -> Check {
        let table = self.keys.table();
        let entry = match self.find(&table, request) {
            Ok(entry) => entry,
            Err(rejection) => return Check::reject(rejection),
        };
        let mut admission = Admission::new().with_extension(entry.identity.clone());
        if entry.is_previous && table.is_worth_telling(entry, request.now()) {
            let notice = Notice::new(
                Action::ApiKeyAcceptedPrevious,
                "a key that is about to be retired is still in use",
            );
            admission = admission.with_notice(notice.with_policy(Arc::clone(&self.name)));
        }
        Check::Ready(Decision::Admit(admission))
    }

    fn peek(&self, request: &RequestHead<'_>) -> Option<Peek> {
        let table = self.keys.table();
        Some(match self.find(&table, request) {
            Ok(entry) => {
                let admission = Admission::new().with_extension(entry.identity.clone());
                Peek::admit_with(admission, format!("the key of {}", entry.identity.id()))
            }
            Err(rejection) => Peek::reject(rejection),
        })
    }
}

/// Refuses requests whose API key lacks a scope. An [`ApiKeyLayer`](crate::api_key::ApiKeyLayer) must stand further out; a request that did not pass it is refused.
#[derive(Clone, Debug)]
pub struct RequireScope {
    scope: Arc<str>,
    name: Arc<str>,
}

impl RequireScope {
    /// Creates a policy that demands this scope.
    ///
    /// # Errors
    ///
    /// Fails if it is not a scope: 1 to 128 visible ASCII characters without quotes.
    pub fn new(scope: &str) -> Result<Self, ApiKeysError> {
        Ok(Self {
            scope: scope_of(scope)?,
            name: "api_key".into(),
        })
    }

    /// Sets the name of the policy in events. The default is `api_key`.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = name.into();
        self
    }
}

impl Policy for RequireScope {
    fn label(&self) -> PolicyLabel {
        PolicyLabel::named("api_key", &self.name)
    }

    fn check(&self, request: &RequestHead<'_>) -> Check {
        match request.extensions().get::<ApiKeyIdentity>() {
            Some(identity) if identity.has_scope(&self.scope) => Check::admit(),
            _ => Check::reject(scope_missing(&self.scope, "api", &self.name)),
        }
    }

    fn peek(&self, request: &RequestHead<'_>) -> Option<Peek> {
        Some(match request.extensions().get::<ApiKeyIdentity>() {
            Some(identity) if identity.has_scope(&self.scope) => {
                Peek::admit(format!("the key has the scope {}", self.scope))
            }
            _ => Peek::reject(scope_missing(&self.scope, "api", &self.name)),
        })
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Presented<'a> {
    Ambiguous,
    Key(&'a [u8]),
    Nothing,
}

/// Returns the value of a field that may be there once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Presented<'a> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Presented::Nothing,
        (Some(value), None) => Presented::Key(value.as_bytes()),
        (Some(_), Some(_)) => Presented::Ambiguous,
    }
}

/// Returns the key of `Authorization: Bearer`. Credentials of another scheme are for somebody else.
fn bearer(headers: &HeaderMap) -> Presented<'_> {
    let credentials = match only(headers, &AUTHORIZATION) {
        Presented::Key(credentials) => credentials,
        other => return other,
    };
    // RFC 9110, section 11.4: the scheme is case-insensitive, and followed by one or more blanks.
    let (scheme, key) = match credentials.iter().position(|&c| c == b' ') {
        Some(blank) => credentials.split_at(blank),
        None => (credentials, &[][..]),
    };
    if scheme.eq_ignore_ascii_case(b"bearer") {
        Presented::Key(key.trim_ascii())
    } else {
        Presented::Nothing
    }
}

fn scope_of(scope: &str) -> Result<Arc<str>, ApiKeysError> {
    if is_visible(scope) && scope.bytes().all(is_quotable) {
        Ok(scope.into())
    } else {
        Err(ApiKeysError(Fault::Scope))
    }
}

/// RFC 9110, section 5.6.4: what needs no escape in a quoted string.
fn is_quotable(c: u8) -> bool {
    matches!(c, b' '..=b'~') && !matches!(c, b'"' | b'\\')
}

fn scope_missing(scope: &str, realm: &str, name: &Arc<str>) -> Rejection {
    let rejection = Rejection::new(
        Action::ApiKeyScopeMissing,
        StatusCode::FORBIDDEN,
        "the API key may not be used for this",
    )
    .with_policy(Arc::clone(name));
    challenge(
        rejection,
        "Bearer",
        realm,
        Some("insufficient_scope"),
        Some(scope),
    )
}

/// Says how to do better. RFC 6750, section 3, for the parameters; RFC 9110, section 11.6.1, demands the field on every 401.
fn challenge(
    rejection: Rejection,
    scheme: &str,
    realm: &str,
    error: Option<&str>,
    scope: Option<&str>,
) -> Rejection {
    let mut value = format!("{scheme} realm=\"{realm}\"");
    for (name, parameter) in [("error", error), ("scope", scope)] {
        if let Some(parameter) = parameter {
            for part in [", ", name, "=\"", parameter, "\""] {
                value.push_str(part);
            }
        }
    }
    match HeaderValue::try_from(value) {
        Ok(value) => rejection.with_field(WWW_AUTHENTICATE, value, FieldMode::Append),
        // All parts were checked when the policy was made.
        Err(_) => rejection,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(values: &[&'static [u8]], expected: Presented<'_>) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        assert_eq!(bearer(&headers), expected);
    }

    #[test]
    fn bearer_credentials() {
        check(&[], Presented::Nothing);
        check(&[b"Bearer key"], Presented::Key(b"key"));
        check(&[b"bEARER   key "], Presented::Key(b"key"));
        check(&[b"Bearer a b"], Presented::Key(b"a b"));
        check(&[b"Bearer \xff"], Presented::Key(b"\xff"));
        check(&[b"Bearer"], Presented::Key(b""));
        check(&[b"Bearer "], Presented::Key(b""));
        check(&[b"Bearerkey"], Presented::Nothing);
        check(&[b"Basic key"], Presented::Nothing);
        check(&[b""], Presented::Nothing);
        check(&[b"Bearer key", b"Bearer key"], Presented::Ambiguous);
        check(&[b"Basic key", b"Bearer key"], Presented::Ambiguous);
    }
}
