//! Exact counts of what policies decided.

use std::{
    fmt,
    sync::atomic::{AtomicBool, Ordering},
};

use crate::{
    event::{
        model::{Action, SecurityEvent},
        schema::Refusal,
        sink::{EventSink, SharedSink},
    },
    metrics::{
        counter::Counter,
        names::{DECISIONS_TOTAL, LABEL_DECISION, LABEL_LAYER, LABEL_POLICY},
    },
    policy::{admission::Admission, label::PolicyLabel, rejection::Rejection, set::PolicySet},
};

/// The counters of all policies of a layer, by position.
pub(crate) struct Counters {
    policies: Box<[PolicyCounters]>,
    /// Whether it has been told which of them observe only.
    told: AtomicBool,
}

struct PolicyCounters {
    label: PolicyLabel,
    allowed: Counter,
    denied: Counter,
    redirected: Counter,
    unkeyed: Counter,
    would_deny: Counter,
}

impl Counters {
    /// Makes the counters of the policies, all at 0.
    pub(crate) fn new<P: PolicySet + ?Sized>(policies: &P) -> Self {
        let steps = 0..policies.steps();
        let counters = steps.map(|step| PolicyCounters::new(policies.step_label(step)));
        Self {
            policies: counters.collect(),
            told: AtomicBool::new(false),
        }
    }

    /// Tells which policies observe only, once: a dry run that somebody forgot looks like protection.
    pub(crate) fn tell_unenforced(&self, sink: &SharedSink) {
        if self.told.swap(true, Ordering::Relaxed) {
            return;
        }
        for policy in &self.policies {
            if !policy.label.enforced() {
                let reason = "the policy observes only: what it would refuse passes";
                let event = SecurityEvent::new(Action::EnforcementDisabled, reason);
                sink.record(&event.with_policy(policy.label.policy()));
            }
        }
    }

    /// Counts an admission of the policy at `step`.
    #[inline]
    pub(crate) fn admitted(&self, step: usize, admission: &Admission) {
        if let Some(policy) = self.policies.get(step) {
            if admission.observed {
                policy.would_deny.increment();
            } else {
                policy.allowed.increment();
            }
        }
    }

    /// Counts a rejection by the policy at `step`.
    pub(crate) fn refused(&self, step: usize, rejection: &Rejection) {
        if let Some(policy) = self.policies.get(step) {
            match rejection.action().refusal() {
                Refusal::Denied => policy.denied.increment(),
                Refusal::Redirected => policy.redirected.increment(),
                Refusal::Unkeyed => policy.unkeyed.increment(),
            }
        }
    }

    pub(crate) fn counts(&self) -> Vec<PolicyCounts> {
        self.policies.iter().map(PolicyCounters::counts).collect()
    }
}

impl PolicyCounters {
    fn new(label: PolicyLabel) -> Self {
        let counter = |decision| {
            let labels = [
                (LABEL_LAYER, label.layer()),
                (LABEL_POLICY, label.policy()),
                (LABEL_DECISION, decision),
            ];
            Counter::new(DECISIONS_TOTAL, &labels)
        };
        #[cfg(feature = "metrics")]
        crate::metrics::counter::set_gauge(
            crate::metrics::names::ENFORCED,
            &[(LABEL_LAYER, label.layer()), (LABEL_POLICY, label.policy())],
            if label.enforced() { 1.0 } else { 0.0 },
        );
        Self {
            allowed: counter("allowed"),
            denied: counter("denied"),
            redirected: counter("redirected"),
            unkeyed: counter("unkeyed"),
            would_deny: counter("would_deny"),
            label,
        }
    }

    fn counts(&self) -> PolicyCounts {
        PolicyCounts {
            label: self.label.clone(),
            allowed: self.allowed.value(),
            denied: self.denied.value(),
            redirected: self.redirected.value(),
            unkeyed: self.unkeyed.value(),
            would_deny: self.would_deny.value(),
        }
    }
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.counts().fmt(f)
    }
}

/// How often a policy has decided what. Every decision is counted once.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PolicyCounts {
    label: PolicyLabel,
    allowed: u64,
    denied: u64,
    redirected: u64,
    unkeyed: u64,
    would_deny: u64,
}

impl PolicyCounts {
    /// Returns which policy it is.
    #[must_use]
    pub fn label(&self) -> &PolicyLabel {
        &self.label
    }

    /// Returns how many requests passed this policy.
    #[must_use]
    pub fn allowed(&self) -> u64 {
        self.allowed
    }

    /// Returns how many requests were refused, but for those below.
    #[must_use]
    pub fn denied(&self) -> u64 {
        self.denied
    }

    /// Returns how many requests were redirected to HTTPS.
    #[must_use]
    pub fn redirected(&self) -> u64 {
        self.redirected
    }

    /// Returns how many requests were refused because there was nothing to count them under.
    #[must_use]
    pub fn unkeyed(&self) -> u64 {
        self.unkeyed
    }

    /// Returns how many requests passed because the policy is in dry run.
    #[must_use]
    pub fn would_deny(&self) -> u64 {
        self.would_deny
    }
}
