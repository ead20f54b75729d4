//! The list of those who may come.

use std::{error::Error, fmt, str::FromStr};

use http::StatusCode;

use crate::{
    event::{
        model::Action,
        sink::{EventSink, SharedSink},
    },
    ip_filter::subject::{IpSubject, Judged, misconfigured},
    ip_set::{error::IpSetError, list::IpList, set::IpSet},
    policy::{
        decision::{Check, Decision},
        head::RequestHead,
        label::PolicyLabel,
        peek::Peek,
        rejection::Rejection,
        set::Policy,
    },
};

/// Refuses everybody whom a list does not cover.
///
/// It cannot be made of an empty list, which would refuse everybody and hardly be meant.
#[derive(Clone, Debug)]
pub struct IpAllowlist {
    list: IpList,
    subject: IpSubject,
    status: StatusCode,
    unix: bool,
    proxies_behind_proxies: bool,
    idle_while_empty: bool,
}

impl IpAllowlist {
    /// Creates an allow list. Parsing a text does the same for a list that never changes.
    ///
    /// # Errors
    ///
    /// Fails if the list is empty.
    ///
    /// # Example
    ///
    /// ```
    /// use palisade::{ip_filter::IpAllowlist, ip_set::{IpList, IpSet}};
    ///
    /// let office = IpAllowlist::new(IpList::new("office", IpSet::private()))?;
    /// assert!(IpAllowlist::new(IpSet::empty()).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(list: impl Into<IpList>) -> Result<Self, IpAllowlistError> {
        let list = list.into();
        if list.is_empty() {
            return Err(IpAllowlistError { list: None });
        }
        Ok(Self {
            list,
            subject: IpSubject::default(),
            status: StatusCode::FORBIDDEN,
            unix: false,
            proxies_behind_proxies: false,
            idle_while_empty: false,
        })
    }

    /// Sets whose address is judged. The default is the client's.
    #[must_use]
    pub fn with_subject(mut self, subject: IpSubject) -> Self {
        self.subject = subject;
        self
    }

    /// Sets the status of a refusal; 404 hides that there is something to be refused from. The default is 403.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// Admits peers that connect through a Unix socket. The default is to refuse them, as they have no address.
    #[must_use]
    pub fn with_unix_sockets(mut self) -> Self {
        self.unix = true;
        self
    }

    /// Judges a request that went through trusted proxies alone by the farthest one of them. The default is to refuse it.
    ///
    /// Right only if the trusted proxies cannot be reached by anyone who must not pass.
    #[must_use]
    pub fn with_proxies_behind_proxies(mut self) -> Self {
        self.proxies_behind_proxies = true;
        self
    }

    fn refuse(&self, generation: u64, reason: &'static str) -> Rejection {
        Rejection::new(Action::IpNotAllowed, self.status, reason)
            .with_policy(self.list.name().clone())
            .with_generation(generation)
    }
}

impl IpAllowlist {
    /// Creates an allow list that refuses nobody as long as it is empty: it stands for one that is not configured yet.
    #[cfg(feature = "serde")]
    pub(crate) fn idle_while_empty(list: IpList) -> Self {
        Self {
            list,
            subject: IpSubject::default(),
            status: StatusCode::FORBIDDEN,
            unix: false,
            proxies_behind_proxies: false,
            idle_while_empty: true,
        }
    }

    /// Records an event if entries were read as the network around them.
    pub(crate) fn tell_host_bits(&self, sink: &SharedSink) {
        if let Some(first) = self.list.take_host_bits() {
            sink.record(&first.event(self.list.name()));
        }
    }
}

impl Policy for IpAllowlist {
    fn label(&self) -> PolicyLabel {
        PolicyLabel::named("ip_filter", self.list.name())
    }

    fn check(&self, request: &RequestHead<'_>) -> Check {
        let list = self.list.load();
        if self.idle_while_empty && list.set.is_empty() {
            return Check::admit();
        }
        let refuse = |reason| Check::reject(self.refuse(list.generation, reason));
        match self.subject.of(request) {
            Judged::Addr {
                proxy_from_header: true,
                ..
            } if !self.proxies_behind_proxies => refuse("address is not allowed"),
            Judged::Addr { addr, .. } if list.set.contains(addr) => Check::admit(),
            Judged::Unix if self.unix => Check::admit(),
            Judged::Misconfigured => Check::reject(misconfigured()),
            Judged::Addr { .. } | Judged::Unix => refuse("address is not allowed"),
            Judged::Unknown => refuse("address is not known"),
        }
    }

    fn peek(&self, request: &RequestHead<'_>) -> Option<Peek> {
        if self.idle_while_empty && self.list.is_empty() {
            return Some(Peek::admit("the list is empty, and not in force"));
        }
        match self.check(request) {
            // It decides by the list alone.
            Check::Ready(Decision::Reject(rejection)) => Some(Peek::reject(rejection)),
            Check::Ready(Decision::Admit(_)) => Some(Peek::admit("the list covers the client")),
            Check::Later(_) => None,
        }
    }
}

impl FromStr for IpAllowlist {
    type Err = IpAllowlistError;

    fn from_str(list: &str) -> Result<Self, Self::Err> {
        match list.parse::<IpSet>() {
            Ok(set) => Self::new(IpList::new("allow", set)),
            Err(error) => Err(IpAllowlistError { list: Some(error) }),
        }
    }
}

/// Why there is no such allow list: it is empty, or its text is malformed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IpAllowlistError {
    list: Option<IpSetError>,
}

impl fmt::Display for IpAllowlistError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.list {
            Some(_) => "allow list is malformed",
            None => "allow list is empty",
        })
    }
}

impl Error for IpAllowlistError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.list.as_ref().map(|error| error as &dyn Error)
    }
}
