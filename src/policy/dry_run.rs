//! Observing without refusing.

use crate::policy::{
    admission::Admission,
    decision::{Check, Decision},
    head::RequestHead,
    label::PolicyLabel,
    peek::Peek,
    set::PolicySet,
};

/// Makes policies observe only.
///
/// They run as ever and keep the same state; what they would refuse passes, and the event of the refusal is marked as not enforced.
#[derive(Clone, Debug)]
pub struct DryRun<P>(P);

impl<P> DryRun<P> {
    /// Wraps policies that shall observe only.
    pub fn new(policies: P) -> Self {
        Self(policies)
    }
}

impl<P: PolicySet> PolicySet for DryRun<P> {
    fn steps(&self) -> usize {
        self.0.steps()
    }

    fn check_step(&self, step: usize, request: &RequestHead<'_>) -> Check {
        let enforced = request.set_enforced(false);
        let check = self.0.check_step(step, request);
        request.set_enforced(enforced);
        check.map(observe)
    }

    fn step_label(&self, step: usize) -> PolicyLabel {
        self.0.step_label(step).observed()
    }

    fn peek_step(&self, step: usize, request: &RequestHead<'_>) -> Option<Peek> {
        // What a refusal would be is told; that it is not carried out, the label says.
        self.0.peek_step(step, request)
    }
}

fn observe(decision: Decision) -> Decision {
    match decision {
        Decision::Admit(_) => decision,
        Decision::Reject(mut rejection) => {
            let mut admission = Admission::new();
            admission.observed = true;
            admission.extend_extensions(rejection.take_extensions());
            // The order is that of a refusal which is enforced.
            for notice in rejection.take_notices() {
                admission.push_notice(notice);
            }
            if rejection.is_recorded() {
                admission.push_notice(rejection.observed());
            }
            Decision::Admit(admission)
        }
    }
}
