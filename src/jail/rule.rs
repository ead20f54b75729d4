//! What counts as a failure, and how many are too many.

use std::{fmt, sync::Arc, time::Duration};

use http::StatusCode;

use crate::{
    enforce::gate::Refusal, event::model::Action, jail::ban_time::BanTime, policy::receipt::Outcome,
};

/// What counts as a failure, and how many of them within which time are too many.
///
/// The default is that the fifth failure within ten minutes bans.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use http::StatusCode;
/// use palisade::{event::Action, jail::Rule};
///
/// // Guessing passwords: five in ten minutes.
/// let logins = Rule::status(StatusCode::UNAUTHORIZED);
/// // Looking for what is not there: thirty in a minute.
/// let scans = Rule::status(StatusCode::NOT_FOUND)
///     .with_limit(30)
///     .within(Duration::from_secs(60));
/// // Trying a key where it does not open.
/// let scopes = Rule::action(Action::ApiKeyScopeMissing);
/// // Anything else.
/// let own = Rule::when(|outcome| outcome.status().is_some_and(|it| it.is_server_error()))
///     .with_name("server-errors")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct Rule {
    name: Arc<str>,
    counts: Predicate,
    resets: Option<Predicate>,
    limit: u8,
    span: Duration,
    ban_time: Option<BanTime>,
}

#[derive(Clone)]
enum Predicate {
    Action(Action),
    Closure(Arc<dyn Fn(&Outcome<'_>) -> bool + Send + Sync>),
    Status(StatusCode),
}

impl Rule {
    /// Counts responses of that status, be they refusals of this crate or answers of the service. The name is `status-401` or the like.
    ///
    /// Refusals of this crate count with the status that was decided on, whatever a responder made of it. An answer of a gRPC service
    /// has status 200 whatever it says: use [`Rule::when`] and look at its `grpc-status`.
    pub fn status(status: StatusCode) -> Self {
        let name = format!("status-{}", status.as_str());
        Self::new(name.into(), Predicate::Status(status))
    }

    /// Counts refusals of this crate for that reason. The rule has the name of the action.
    pub fn action(action: Action) -> Self {
        let rule = Self::new("custom".into(), Predicate::Action(action));
        // The file of bans holds the name as it is, in a line. The words of an application's own actions may be anything.
        rule.clone().with_name(action.as_str()).unwrap_or(rule)
    }

    /// Counts requests that end as the closure says, which must neither block nor panic. The name is `custom`.
    ///
    /// It is asked about every outcome, [`Outcome::Dropped`] and [`Outcome::Failed`] included.
    pub fn when(counts: impl Fn(&Outcome<'_>) -> bool + Send + Sync + 'static) -> Self {
        Self::new("custom".into(), Predicate::Closure(Arc::new(counts)))
    }

    /// Sets the name that events and lists show.
    ///
    /// # Errors
    ///
    /// A name has 1 to 64 bytes and no control character.
    pub fn with_name(mut self, name: &str) -> Result<Self, RuleNameError> {
        if name.is_empty() || 64 < name.len() {
            return Err(RuleNameError(Kind::Length));
        }
        if name.chars().any(char::is_control) {
            return Err(RuleNameError(Kind::Control));
        }
        self.name = name.into();
        Ok(self)
    }

    /// Sets how many failures ban: the last of them does. The default is 5; 0 is read as 1.
    pub fn with_limit(mut self, failures: u8) -> Self {
        self.limit = failures.max(1);
        self
    }

    /// Sets the time within which the failures must happen. The default is ten minutes; less than a second is read as a second.
    ///
    /// The window slides: only failures younger than this count, and none is counted twice or by estimate.
    pub fn within(mut self, span: Duration) -> Self {
        self.span = span.max(Duration::from_secs(1));
        self
    }

    /// Forgets the client's failures when a request ends as the closure says, such as with a successful login.
    ///
    /// The default is that nothing but time forgets failures, which is safer: whoever has an account of his own could otherwise guess
    /// another's password for ever, with a login of his own in between.
    pub fn with_reset(
        mut self,
        resets: impl Fn(&Outcome<'_>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.resets = Some(Predicate::Closure(Arc::new(resets)));
        self
    }

    /// Sets how long this rule bans. The default is [the jail's](crate::jail::JailBuilder::ban_time).
    pub fn with_ban_time(mut self, ban_time: BanTime) -> Self {
        self.ban_time = Some(ban_time);
        self
    }

    /// Returns the name that events and lists show.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn new(name: Arc<str>, counts: Predicate) -> Self {
        Self {
            name,
            counts,
            resets: None,
            limit: 5,
            span: Duration::from_secs(600),
            ban_time: None,
        }
    }

    pub(crate) fn shared_name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn counts(&self, outcome: &Outcome<'_>) -> bool {
        self.counts.holds(outcome)
    }

    pub(crate) fn resets(&self, outcome: &Outcome<'_>) -> bool {
        self.resets.as_ref().is_some_and(|it| it.holds(outcome))
    }

    pub(crate) fn limit(&self) -> usize {
        usize::from(self.limit)
    }

    pub(crate) fn span(&self) -> Duration {
        self.span
    }

    pub(crate) fn ban_time(&self) -> Option<BanTime> {
        self.ban_time
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule")
            .field("name", &self.name)
            .field("limit", &self.limit)
            .field("within", &self.span)
            .field("ban_time", &self.ban_time)
            .finish_non_exhaustive()
    }
}

impl Predicate {
    fn holds(&self, outcome: &Outcome<'_>) -> bool {
        match self {
            Self::Action(action) => match outcome {
                Outcome::Refused(rejection) => rejection.action() == *action,
                _ => refusal(outcome).is_some_and(|it| it.action() == *action),
            },
            Self::Closure(closure) => closure(outcome),
            Self::Status(status) => {
                let decided = refusal(outcome).map(Refusal::status);
                decided.or_else(|| outcome.status()) == Some(*status)
            }
        }
    }
}

/// Returns the refusal by a layer of this crate further in.
fn refusal(outcome: &Outcome<'_>) -> Option<Refusal> {
    match outcome {
        Outcome::Answered(head) => head.extensions.get().copied(),
        _ => None,
    }
}

/// The name of a rule is not acceptable.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RuleNameError(Kind);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Control,
    Length,
}

impl fmt::Display for RuleNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Control => "the name of a rule has a control character",
            Kind::Length => "the name of a rule has not 1 to 64 bytes",
        })
    }
}

impl std::error::Error for RuleNameError {}

#[cfg(test)]
mod tests {
    use http::Response;

    use super::*;
    use crate::policy::rejection::Rejection;

    #[track_caller]
    fn check(rule: &Rule, outcome: Outcome<'_>, expected: bool) {
        assert_eq!(rule.counts(&outcome), expected, "{rule:?} {outcome:?}");
    }

    fn answer(status: StatusCode) -> http::response::Parts {
        let mut response = Response::new(());
        *response.status_mut() = status;
        response.into_parts().0
    }

    #[test]
    fn statuses_count_wherever_they_come_from() {
        let rule = Rule::status(StatusCode::UNAUTHORIZED);
        let rejection = Rejection::new(Action::ApiKeyRejected, StatusCode::UNAUTHORIZED, "");
        check(
            &rule,
            Outcome::Answered(&answer(StatusCode::UNAUTHORIZED)),
            true,
        );
        check(&rule, Outcome::Answered(&answer(StatusCode::OK)), false);
        check(&rule, Outcome::Ended(StatusCode::UNAUTHORIZED), true);
        check(&rule, Outcome::Refused(&rejection), true);
        check(&rule, Outcome::Dropped, false);
        check(&rule, Outcome::Failed, false);
        assert_eq!(rule.name(), "status-401");
    }

    #[test]
    fn k25_a_rate_limit_counts_where_it_is_asked_for() {
        let rejection =
            Rejection::new(Action::RateLimitExceeded, StatusCode::TOO_MANY_REQUESTS, "");
        let refused = Outcome::Refused(&rejection);
        check(&Rule::status(StatusCode::UNAUTHORIZED), refused, false);
        check(&Rule::status(StatusCode::TOO_MANY_REQUESTS), refused, true);
        check(&Rule::action(Action::RateLimitExceeded), refused, true);
        check(&Rule::action(Action::ApiKeyScopeMissing), refused, false);
    }

    #[test]
    fn names_are_fit_for_a_line() {
        let named = |name: &str| {
            Rule::when(|_| true)
                .with_name(name)
                .map_err(|it| it.to_string())
        };
        assert_eq!(named("Anmeldung 1").unwrap().name(), "Anmeldung 1");
        assert!(named("a\nb").is_err());
        assert!(named("").is_err());
        assert!(named(&"x".repeat(65)).is_err());
        assert_eq!(
            named("\u{9b}").unwrap_err(),
            "the name of a rule has a control character"
        );
    }
}
