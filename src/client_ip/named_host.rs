//! The places in which a request names its host, kept for as long as its context.

use std::fmt;

use http::{HeaderMap, HeaderValue, Uri, Version, header::HOST, uri::Authority};

use crate::client_ip::authority::{HostError, HostField, RequestHost};

/// Where a request names its host. The texts are shared with the request and parsed when they are asked for, which few requests come to.
#[derive(Clone)]
pub(crate) struct NamedHost {
    target: Option<Authority>,
    field: HostField<HeaderValue>,
    version: Version,
}

impl NamedHost {
    pub(crate) fn of(uri: &Uri, headers: &HeaderMap, version: Version) -> Self {
        let mut lines = headers.get_all(HOST).iter();
        Self {
            target: uri.authority().cloned(),
            field: match (lines.next(), lines.next()) {
                (None, _) => HostField::Missing,
                (Some(line), None) => HostField::One(line.clone()),
                (Some(_), Some(_)) => HostField::Several,
            },
            version,
        }
    }

    pub(crate) fn parse(&self) -> Result<RequestHost<'_>, HostError> {
        let field = match &self.field {
            HostField::Missing => HostField::Missing,
            HostField::One(line) => HostField::One(line),
            HostField::Several => HostField::Several,
        };
        RequestHost::agreed(self.target.as_ref(), field, self.version)
    }
}

/// No place at all.
impl Default for NamedHost {
    fn default() -> Self {
        Self {
            target: None,
            field: HostField::Missing,
            version: Version::default(),
        }
    }
}

impl fmt::Debug for NamedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What does not parse may hold a password in front of the host.
        match self.parse() {
            Ok(host) => host.fmt(f),
            Err(error) => f.write_str(error.as_str()),
        }
    }
}
