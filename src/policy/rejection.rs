//! Why and how a request is refused.

use std::{sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, StatusCode};
use ipnet::IpNet;
use smallvec::SmallVec;

use crate::{
    event::model::Action,
    policy::{
        evidence::Evidence,
        fields::{FieldMode, ResponseFields},
        notice::Notice,
    },
};

/// Why and how a request is refused. A [responder](crate::respond::Respond) makes the response of it.
#[derive(Clone, Debug)]
#[must_use]
pub struct Rejection {
    action: Action,
    status: StatusCode,
    reason: &'static str,
    policy: Option<Arc<str>>,
    violated: SmallVec<[Arc<str>; 2]>,
    problem_type: Option<&'static str>,
    retry_after: Option<Duration>,
    recorded: bool,
    pub(crate) evidence: Evidence,
    pub(crate) fields: ResponseFields,
    pub(crate) notices: Vec<Notice>,
}

impl Rejection {
    /// Creates a rejection; `reason` is a phrase that the client may read.
    pub fn new(action: Action, status: StatusCode, reason: &'static str) -> Self {
        Self {
            action,
            status,
            reason,
            policy: None,
            violated: SmallVec::new(),
            problem_type: None,
            retry_after: None,
            recorded: true,
            evidence: Evidence::default(),
            fields: ResponseFields::new(),
            notices: Vec::new(),
        }
    }

    /// Names the policy that refuses.
    pub fn with_policy(mut self, policy: Arc<str>) -> Self {
        self.policy = Some(policy);
        self
    }

    /// Names the entry of a list that refuses, for the event alone: the client never learns it.
    pub fn with_rule(mut self, rule: IpNet) -> Self {
        self.evidence.rule = Some(rule);
        self
    }

    /// Sets the generation of the list that refuses, for the event alone.
    pub fn with_generation(mut self, generation: u64) -> Self {
        self.evidence.generation = Some(generation);
        self
    }

    /// Adds the name of a violated quota, which the client may read in a problem document.
    pub fn with_violated_policy(mut self, policy: Arc<str>) -> Self {
        self.violated.push(policy);
        self
    }

    /// Sets the type of the problem document, a URI. The default is `about:blank`.
    pub fn with_problem_type(mut self, uri: &'static str) -> Self {
        self.problem_type = Some(uri);
        self
    }

    /// Sets the time after which the request may be admitted; the response says so in `Retry-After`.
    pub fn with_retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// Adds a header field to the response.
    pub fn with_field(mut self, name: HeaderName, value: HeaderValue, mode: FieldMode) -> Self {
        self.fields.push(name, value, mode);
        self
    }

    /// Adds header fields to the response.
    pub fn with_fields(mut self, fields: ResponseFields) -> Self {
        self.fields.extend(fields);
        self
    }

    /// Raises a further event beside that of the rejection.
    pub fn with_notice(mut self, notice: Notice) -> Self {
        self.notices.push(notice);
        self
    }

    /// Raises no event of its own: one that says the same has just been recorded.
    pub fn unrecorded(mut self) -> Self {
        self.recorded = false;
        self
    }

    /// Returns the notice of the rejection, should it not be enforced.
    pub(crate) fn observed(&self) -> Notice {
        let notice = Notice::new(self.action, self.reason)
            .with_evidence(self.evidence)
            .observed();
        match self.policy() {
            Some(policy) => notice.with_policy(Arc::clone(policy)),
            None => notice,
        }
    }

    /// Returns what happened.
    #[must_use]
    pub fn action(&self) -> Action {
        self.action
    }

    /// Returns the status of the response.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns why, as a phrase that the client may read.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.reason
    }

    /// Returns the name of the policy that refuses.
    #[must_use]
    pub fn policy(&self) -> Option<&Arc<str>> {
        self.policy.as_ref().or(self.violated.first())
    }

    /// Returns the names of the violated quotas.
    #[must_use]
    pub fn violated_policies(&self) -> &[Arc<str>] {
        &self.violated
    }

    /// Returns the type of the problem document.
    #[must_use]
    pub fn problem_type(&self) -> Option<&'static str> {
        self.problem_type
    }

    /// Returns the time after which the request may be admitted.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Returns whether the rejection raises an event.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        self.recorded
    }
}
