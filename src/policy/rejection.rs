//! Why and how a request is refused.

use std::{mem, sync::Arc, time::Duration};

use http::{Extensions, HeaderName, HeaderValue, StatusCode};
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
pub struct Rejection(Box<Inner>);

/// In one allocation, because a rejection is large and is handed on several times before it is a response.
#[derive(Clone, Debug)]
struct Inner {
    action: Action,
    status: StatusCode,
    reason: &'static str,
    policy: Option<Arc<str>>,
    violated: SmallVec<[Arc<str>; 2]>,
    problem_type: Option<&'static str>,
    retry_after: Option<Duration>,
    recorded: bool,
    evidence: Evidence,
    fields: ResponseFields,
    notices: Vec<Notice>,
    /// What the request is to carry, should the rejection not be enforced.
    extensions: Extensions,
    /// The problem document of all this, where it has been written before.
    document: Option<Arc<str>>,
}

impl Rejection {
    /// Creates a rejection; `reason` is a phrase that the client may read.
    pub fn new(action: Action, status: StatusCode, reason: &'static str) -> Self {
        Self(Box::new(Inner {
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
            extensions: Extensions::new(),
            document: None,
        }))
    }

    /// Names the policy that refuses.
    pub fn with_policy(mut self, policy: Arc<str>) -> Self {
        self.0.policy = Some(policy);
        self
    }

    /// Names the entry of a list that refuses, for the event alone: the client never learns it.
    pub fn with_rule(mut self, rule: IpNet) -> Self {
        self.0.evidence.rule = Some(rule);
        self
    }

    /// Sets the generation of the list that refuses, for the event alone.
    pub fn with_generation(mut self, generation: u64) -> Self {
        self.0.evidence.generation = Some(generation);
        self
    }

    /// Adds the name of a violated quota, which the client may read in a problem document.
    pub fn with_violated_policy(mut self, policy: Arc<str>) -> Self {
        self.0.violated.push(policy);
        self.0.document = None;
        self
    }

    /// Sets the type of the problem document, a URI. The default is `about:blank`.
    pub fn with_problem_type(mut self, uri: &'static str) -> Self {
        self.0.problem_type = Some(uri);
        self.0.document = None;
        self
    }

    /// Sets the time after which the request may be admitted; the response says so in `Retry-After`.
    pub fn with_retry_after(mut self, delay: Duration) -> Self {
        self.0.retry_after = Some(delay);
        self
    }

    /// Adds a header field to the response.
    pub fn with_field(mut self, name: HeaderName, value: HeaderValue, mode: FieldMode) -> Self {
        self.0.fields.push(name, value, mode);
        self
    }

    /// Adds header fields to the response.
    pub fn with_fields(mut self, fields: ResponseFields) -> Self {
        self.0.fields.extend(fields);
        self
    }

    /// Raises a further event beside that of the rejection.
    pub fn with_notice(mut self, notice: Notice) -> Self {
        self.0.notices.push(notice);
        self
    }

    /// Raises no event of its own: one that says the same has just been recorded.
    pub fn unrecorded(mut self) -> Self {
        self.0.recorded = false;
        self
    }

    /// Sets the problem document that [`ProblemJson`](crate::respond::ProblemJson) would write.
    #[cfg(feature = "rate-limit")]
    pub(crate) fn with_document(mut self, document: Arc<str>) -> Self {
        self.0.document = Some(document);
        self
    }

    /// Puts a value into the extensions of the request, should the rejection not be enforced.
    #[cfg(feature = "rate-limit")]
    pub(crate) fn with_extension<T: Clone + Send + Sync + 'static>(mut self, value: T) -> Self {
        self.0.extensions.insert(value);
        self
    }

    pub(crate) fn document(&self) -> Option<&Arc<str>> {
        self.0.document.as_ref()
    }

    pub(crate) fn evidence(&self) -> Evidence {
        self.0.evidence
    }

    pub(crate) fn has_notices(&self) -> bool {
        !self.0.notices.is_empty()
    }

    /// Takes out the notices, in order.
    pub(crate) fn take_notices(&mut self) -> Vec<Notice> {
        mem::take(&mut self.0.notices)
    }

    /// Takes out the extensions.
    pub(crate) fn take_extensions(&mut self) -> Extensions {
        mem::take(&mut self.0.extensions)
    }

    /// Takes out the header fields.
    pub(crate) fn take_fields(&mut self) -> ResponseFields {
        mem::take(&mut self.0.fields)
    }

    /// Returns the notice of the rejection, should it not be enforced.
    pub(crate) fn observed(&self) -> Notice {
        let notice = Notice::new(self.0.action, self.0.reason)
            .with_evidence(self.0.evidence)
            .observed();
        match self.policy() {
            Some(policy) => notice.with_policy(Arc::clone(policy)),
            None => notice,
        }
    }

    /// Returns what happened.
    #[must_use]
    pub fn action(&self) -> Action {
        self.0.action
    }

    /// Returns the status of the response.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// Returns why, as a phrase that the client may read.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.0.reason
    }

    /// Returns the name of the policy that refuses.
    #[must_use]
    pub fn policy(&self) -> Option<&Arc<str>> {
        self.0.policy.as_ref().or(self.0.violated.first())
    }

    /// Returns the names of the violated quotas.
    #[must_use]
    pub fn violated_policies(&self) -> &[Arc<str>] {
        &self.0.violated
    }

    /// Returns the type of the problem document.
    #[must_use]
    pub fn problem_type(&self) -> Option<&'static str> {
        self.0.problem_type
    }

    /// Returns the time after which the request may be admitted.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Returns whether the rejection raises an event.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        self.0.recorded
    }
}
