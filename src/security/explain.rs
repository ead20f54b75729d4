//! What a request would meet, gate by gate.

use std::{fmt, time::Duration};

use http::{Request, StatusCode};

use crate::{
    client_ip::context::{ClientContext, ClientIp},
    clock::Clock,
    policy::{
        admission::Admission, decision::Decision, head::RequestHead, label::PolicyLabel,
        set::PolicySet,
    },
};

/// What a request would meet, gate by gate: see [`SecurityLayer::explain`](crate::SecurityLayer::explain).
///
/// [`Display`](fmt::Display) writes a line per gate. It holds no header value and no secret.
#[derive(Clone, Debug)]
#[must_use]
pub struct Explanation {
    client: Option<ClientIp>,
    gates: Vec<ExplainedGate>,
}

/// What one gate says to a request.
#[derive(Clone, Debug)]
pub struct ExplainedGate {
    label: PolicyLabel,
    verdict: GateVerdict,
    status: Option<StatusCode>,
    retry_after: Option<Duration>,
    reason: String,
}

/// What a gate does with a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum GateVerdict {
    /// It lets the request pass.
    Admits,
    /// Another gate refuses the request before.
    NotReached,
    /// It would refuse the request, but [only observes](crate::policy::DryRun).
    Observes,
    /// It refuses the request.
    Refuses,
    /// It cannot tell without changing something, as a [policy](crate::policy::Policy) without a `peek` or one whose state is elsewhere.
    Unknown,
}

impl GateVerdict {
    /// Returns the word for the verdict.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admits => "admits",
            Self::NotReached => "not reached",
            Self::Observes => "would refuse, but observes",
            Self::Refuses => "refuses",
            Self::Unknown => "unknown",
        }
    }
}

impl Explanation {
    /// Asks the policies about a request whose client has been resolved.
    pub(crate) fn of<P: PolicySet + ?Sized>(
        policies: &P,
        clock: &dyn Clock,
        mut request: Request<()>,
    ) -> Self {
        let client = ClientContext::of(request.extensions()).map(ClientContext::client);
        let now = Some(clock.now());
        let mut gates = Vec::new();
        let mut refused = false;
        for step in 0..policies.steps() {
            let label = policies.step_label(step);
            if refused {
                gates.push(ExplainedGate::new(label, GateVerdict::NotReached, ""));
                continue;
            }
            let Some(peek) = policies.peek_step(step, &RequestHead::at(&request, clock, now))
            else {
                let reason = "it cannot tell without changing something";
                gates.push(ExplainedGate::new(label, GateVerdict::Unknown, reason));
                continue;
            };
            let enforced = label.enforced();
            let mut gate = ExplainedGate::new(label, GateVerdict::Admits, peek.reason());
            match peek.into_decision() {
                Decision::Admit(mut admission) => {
                    // Gates further in may read what this one has found out.
                    let found = Admission::new().merge(&mut admission);
                    request.extensions_mut().extend(found);
                }
                Decision::Reject(rejection) => {
                    gate.status = Some(rejection.status());
                    gate.retry_after = rejection.retry_after();
                    gate.verdict = if enforced {
                        refused = true;
                        GateVerdict::Refuses
                    } else {
                        GateVerdict::Observes
                    };
                }
            }
            gates.push(gate);
        }
        Self { client, gates }
    }

    /// Returns who the client is taken for.
    #[must_use]
    pub fn client(&self) -> Option<ClientIp> {
        self.client
    }

    /// Returns the gates in the order in which they are asked.
    #[must_use]
    pub fn gates(&self) -> &[ExplainedGate] {
        &self.gates
    }

    /// Returns the gate that refuses the request, if one does.
    #[must_use]
    pub fn refused_by(&self) -> Option<&ExplainedGate> {
        self.gates
            .iter()
            .find(|it| it.verdict == GateVerdict::Refuses)
    }

    /// Returns whether every gate says that it lets the request pass, or only observes; not where one cannot tell.
    #[must_use]
    pub fn is_admitted(&self) -> bool {
        self.gates
            .iter()
            .all(|it| matches!(it.verdict, GateVerdict::Admits | GateVerdict::Observes))
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.client {
            Some(client) => write!(f, "client: {client}")?,
            None => f.write_str("client: not resolved")?,
        }
        for gate in &self.gates {
            write!(f, "\n{gate}")?;
        }
        let end = if let Some(gate) = self.refused_by() {
            let status = gate.status.map_or(0, |it| it.as_u16());
            format!("refused with {status} by {}", gate.label.layer())
        } else if self.is_admitted() {
            "admitted".to_owned()
        } else {
            "admitted, as far as can be told".to_owned()
        };
        write!(f, "\n{end}")
    }
}

impl ExplainedGate {
    fn new(label: PolicyLabel, verdict: GateVerdict, reason: &str) -> Self {
        Self {
            label,
            verdict,
            status: None,
            retry_after: None,
            reason: reason.to_owned(),
        }
    }

    /// Returns which gate it is, by the names that metrics have for it.
    #[must_use]
    pub fn label(&self) -> &PolicyLabel {
        &self.label
    }

    /// Returns what the gate does with the request.
    #[must_use]
    pub fn verdict(&self) -> GateVerdict {
        self.verdict
    }

    /// Returns the status of the refusal.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        self.status
    }

    /// Returns the time after which the request may be admitted.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Returns why, in words for operators; empty where the gate is not reached.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl fmt::Display for ExplainedGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = format!("{} {}", self.label.layer(), self.label.policy());
        write!(f, "{name}: {}", self.verdict.as_str())?;
        if let Some(status) = self.status {
            write!(f, " with {}", status.as_str())?;
        }
        if !self.reason.is_empty() {
            write!(f, ": {}", self.reason)?;
        }
        Ok(())
    }
}
