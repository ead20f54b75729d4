//! Security events about requests that pass.

use std::sync::Arc;

use crate::{
    event::{fingerprint::Fingerprint, model::Action},
    policy::evidence::Evidence,
};

/// A security event about a request that is not refused by it.
#[derive(Clone, Debug)]
#[must_use]
pub struct Notice {
    action: Action,
    reason: &'static str,
    policy: Option<Arc<str>>,
    evidence: Evidence,
    enforced: bool,
}

impl Notice {
    /// Creates a notice; `reason` is one sentence.
    pub fn new(action: Action, reason: &'static str) -> Self {
        Self {
            action,
            reason,
            policy: None,
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
        self.evidence.fingerprint = Some(fingerprint);
        self
    }

    /// Sets what is known beside the request.
    pub(crate) fn with_evidence(mut self, evidence: Evidence) -> Self {
        self.evidence = evidence;
        self
    }

    /// Marks the notice as that of a refusal which is not enforced.
    pub(crate) fn observed(mut self) -> Self {
        self.enforced = false;
        self
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
        self.evidence.fingerprint
    }

    pub(crate) fn evidence(&self) -> Evidence {
        self.evidence
    }

    /// Returns `false` where a refusal was only observed.
    #[must_use]
    pub fn enforced(&self) -> bool {
        self.enforced
    }
}
