//! Names of the OWASP logging vocabulary with their arguments.

use std::borrow::Cow;

use crate::event::{model::SecurityEvent, schema::Arguments};

impl SecurityEvent<'_> {
    /// Returns the name in the OWASP logging vocabulary with its arguments, where there is one.
    #[must_use]
    pub fn owasp(&self) -> Option<String> {
        name(self)
    }
}

/// Returns the name of an event with its arguments. Text that the client chose comes last: it may contain commas.
///
/// The vocabulary's limit argument of `excess_rate_limit_exceeded` is left out: an event names the policy instead, in its own field.
fn name(event: &SecurityEvent<'_>) -> Option<String> {
    let (name, arguments) = event.action().schema().owasp?;
    let client = || {
        event
            .client_address()
            .map_or_else(|| "unknown".to_owned(), ToString::to_string)
    };
    let text = |text: Option<Cow<'_, str>>| text.map_or_else(String::new, Cow::into_owned);
    let arguments = match arguments {
        Arguments::Client => client(),
        Arguments::ClientThen(word) => format!("{},{word}", client()),
        Arguments::ClientPath => format!("{},{}", client(), text(event.path())),
        Arguments::Field(field) => format!("{field},{}", client()),
        Arguments::Extraneous(field) => {
            format!("{},{field},{}", client(), text(event.user_agent()))
        }
        Arguments::Named => format!(
            "palisade,{}",
            event.policy().unwrap_or(event.action().layer())
        ),
    };
    Some(format!("{name}:{arguments}"))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::event::model::Action;

    #[track_caller]
    fn check(action: Action, expected: Option<&str>) {
        let agent = HeaderValue::from_static("curl, 8");
        let event = SecurityEvent::new(action, "")
            .with_policy("db")
            .with_client([203, 0, 113, 7].into())
            .with_path("/a,b")
            .with_user_agent(&agent);
        assert_eq!(name(&event).as_deref(), expected);
    }

    #[test]
    fn names_have_their_arguments() {
        check(
            Action::RateLimitExceeded,
            Some("excess_rate_limit_exceeded:203.0.113.7"),
        );
        check(
            Action::ClientBanned,
            Some("authn_login_lock:203.0.113.7,maxretries"),
        );
        check(Action::IpBlocked, Some("authz_fail:203.0.113.7,/a,b"));
        check(
            Action::ForwardedHeaderMalformed,
            Some("input_validation_fail:x-forwarded-for,203.0.113.7"),
        );
        check(
            Action::ForwardedHeaderUntrusted,
            Some("malicious_extraneous:203.0.113.7,x-forwarded-for,curl, 8"),
        );
        check(Action::SecretLoaded, Some("sensitive_read:palisade,db"));
        check(Action::ClientUnbanned, None);
        check(Action::Custom("x"), None);
    }

    #[test]
    fn a_missing_client_is_unknown() {
        let event = SecurityEvent::new(Action::ApiKeyRejected, "");
        assert_eq!(name(&event).as_deref(), Some("authn_login_fail:unknown"));
    }
}
