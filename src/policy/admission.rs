//! What an admitted request carries along.

use std::sync::Arc;

use http::Extensions;

use crate::{
    event::{fingerprint::Fingerprint, model::Action},
    policy::{
        fields::{FieldMode, ResponseFields},
        receipt::{Receipt, Receipts, Until},
        rejection::{Evidence, Rejection},
    },
};

/// What an admitted request carries along. One that carries nothing costs nothing.
#[derive(Debug, Default)]
#[must_use]
pub struct Admission {
    pub(crate) fields: ResponseFields,
    pub(crate) receipts: Receipts,
    pub(crate) notices: Vec<Notice>,
    pub(crate) extensions: Extensions,
}

impl Admission {
    /// Creates an admission that carries nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a header field to the response.
    pub fn with_field(
        mut self,
        name: http::HeaderName,
        value: http::HeaderValue,
        mode: FieldMode,
    ) -> Self {
        self.fields.push(name, value, mode);
        self
    }

    /// Adds header fields to the response.
    pub fn with_fields(mut self, fields: ResponseFields) -> Self {
        self.fields.extend(fields);
        self
    }

    /// Hands out a receipt that learns how the request ends.
    pub fn with_receipt(mut self, until: Until, receipt: impl Receipt) -> Self {
        self.receipts.push(until, receipt);
        self
    }

    /// Raises an event although the request passes.
    pub fn with_notice(mut self, notice: Notice) -> Self {
        self.notices.push(notice);
        self
    }

    /// Puts a value into the extensions of the request, for the policies and handlers further in.
    pub fn with_extension<T: Clone + Send + Sync + 'static>(mut self, value: T) -> Self {
        self.extensions.insert(value);
        self
    }

    /// Takes up what a later admission of the same request carries, but for the extensions, which the request itself takes.
    pub(crate) fn merge(&mut self, mut later: Self) {
        if !later.fields.is_empty() {
            self.fields.append(&mut later.fields);
        }
        if !later.receipts.is_empty() {
            self.receipts.extend(later.receipts);
        }
        if !later.notices.is_empty() {
            self.notices.extend(later.notices);
        }
    }
}

/// A security event about a request that is not refused by it.
#[derive(Clone, Debug)]
#[must_use]
pub struct Notice {
    action: Action,
    reason: &'static str,
    policy: Option<Arc<str>>,
    fingerprint: Option<Fingerprint>,
    pub(crate) evidence: Evidence,
    enforced: bool,
}

impl Notice {
    /// Creates a notice; `reason` is one sentence.
    pub fn new(action: Action, reason: &'static str) -> Self {
        Self {
            action,
            reason,
            policy: None,
            fingerprint: None,
            evidence: Evidence::default(),
            enforced: true,
        }
    }

    /// Names the policy that raises it.
    pub fn with_policy(mut self, policy: Arc<str>) -> Self {
        self.policy = Some(policy);
        self
    }

    /// Sets the fingerprint of the credential that it is about.
    pub fn with_fingerprint(mut self, fingerprint: Fingerprint) -> Self {
        self.fingerprint = Some(fingerprint);
        self
    }

    /// Creates the notice of a rejection that is not enforced.
    pub(crate) fn observed(rejection: &Rejection) -> Self {
        Self {
            action: rejection.action(),
            reason: rejection.reason(),
            policy: rejection.policy().cloned(),
            fingerprint: None,
            evidence: rejection.evidence,
            enforced: false,
        }
    }

    /// Returns what happened.
    #[must_use]
    pub fn action(&self) -> Action {
        self.action
    }

    /// Returns why.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.reason
    }

    /// Returns the name of the policy.
    #[must_use]
    pub fn policy(&self) -> Option<&Arc<str>> {
        self.policy.as_ref()
    }

    /// Returns the fingerprint of the credential that it is about.
    #[must_use]
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.fingerprint
    }

    /// Returns `false` where a refusal was only observed.
    #[must_use]
    pub fn enforced(&self) -> bool {
        self.enforced
    }
}
