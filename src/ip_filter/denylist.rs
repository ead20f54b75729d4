//! The list of those who may not come.

use std::str::FromStr;

use http::StatusCode;

use crate::{
    event::{
        model::Action,
        sink::{EventSink, SharedSink},
    },
    ip_filter::subject::{IpSubject, Judged, UnknownClients, misconfigured},
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

/// Refuses everybody whom a list covers.
#[derive(Clone, Debug)]
pub struct IpDenylist {
    list: IpList,
    subject: IpSubject,
    status: StatusCode,
    unix: bool,
    unknown: UnknownClients,
    idle_while_empty: bool,
}

impl IpDenylist {
    /// Creates a deny list. Parsing a text does the same for a list that never changes.
    #[must_use]
    pub fn new(list: impl Into<IpList>) -> Self {
        Self {
            list: list.into(),
            subject: IpSubject::default(),
            status: StatusCode::FORBIDDEN,
            unix: false,
            unknown: UnknownClients::default(),
            idle_while_empty: false,
        }
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

    /// Refuses peers that connect through a Unix socket, which have no address that the list could cover. The default is to admit them.
    #[must_use]
    pub fn with_unix_sockets(mut self) -> Self {
        self.unix = true;
        self
    }

    /// Sets what happens to clients that cannot be known. The default is to refuse them.
    #[must_use]
    pub fn with_unknown_clients(mut self, unknown: UnknownClients) -> Self {
        self.unknown = unknown;
        self
    }
}

impl IpDenylist {
    /// Refuses nobody, unknown clients included, as long as the list is empty: it stands for one that is not configured yet.
    #[cfg(feature = "serde")]
    pub(crate) fn idle_while_empty(mut self) -> Self {
        self.idle_while_empty = true;
        self
    }

    /// Records an event if entries were read as the network around them.
    pub(crate) fn tell_host_bits(&self, sink: &SharedSink) {
        if let Some(first) = self.list.take_host_bits() {
            sink.record(&first.event(self.list.name()));
        }
    }
}

impl Policy for IpDenylist {
    fn label(&self) -> PolicyLabel {
        PolicyLabel::named("ip_filter", self.list.name())
    }

    fn check(&self, request: &RequestHead<'_>) -> Check {
        let list = self.list.load();
        if self.idle_while_empty && list.set.is_empty() {
            return Check::admit();
        }
        let refuse = |reason| {
            Rejection::new(Action::IpBlocked, self.status, reason)
                .with_policy(self.list.name().clone())
                .with_generation(list.generation)
        };
        match self.subject.of(request) {
            Judged::Addr { addr, .. } => match list.set.find(addr) {
                Some(rule) => Check::reject(refuse("address is blocked").with_rule(rule)),
                None => Check::admit(),
            },
            Judged::Misconfigured => Check::reject(misconfigured()),
            Judged::Unix if self.unix => Check::reject(refuse("address is blocked")),
            Judged::Unix => Check::admit(),
            Judged::Unknown => match self.unknown {
                UnknownClients::Admit => Check::admit(),
                UnknownClients::Refuse => Check::reject(refuse("address is not known")),
            },
        }
    }

    fn peek(&self, request: &RequestHead<'_>) -> Option<Peek> {
        match self.check(request) {
            // It decides by the list alone.
            Check::Ready(Decision::Reject(rejection)) => Some(Peek::reject(rejection)),
            Check::Ready(Decision::Admit(_)) => {
                Some(Peek::admit("the list does not cover the client"))
            }
            Check::Later(_) => None,
        }
    }
}

impl FromStr for IpDenylist {
    type Err = IpSetError;

    fn from_str(list: &str) -> Result<Self, Self::Err> {
        list.parse::<IpSet>()
            .map(|set| Self::new(IpList::new("deny", set)))
    }
}
