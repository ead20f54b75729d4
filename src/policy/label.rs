//! What metrics call a policy.

use std::{any::type_name, error::Error, fmt, sync::Arc};

use crate::event::sanitize::{is_harmful, sanitize};

/// Longest name of a policy, in bytes.
const MAX_NAME: usize = 128;

/// What metrics call a policy: the layer it belongs to and its name.
///
/// Both come from code or configuration, never from a request.
///
/// # Example
///
/// ```
/// use palisade::policy::PolicyLabel;
///
/// let label = PolicyLabel::new("rate_limit", "api")?;
/// assert_eq!((label.layer(), label.policy()), ("rate_limit", "api"));
/// assert!(PolicyLabel::new("rate_limit", "api\nforged").is_err());
/// # Ok::<(), palisade::policy::PolicyLabelError>(())
/// ```
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct PolicyLabel {
    layer: &'static str,
    policy: Arc<str>,
    enforced: bool,
}

impl PolicyLabel {
    /// Creates the label of a policy.
    ///
    /// # Errors
    ///
    /// Returns an error where the name is empty, longer than 128 bytes, or has a character in it that has no place in one line of a log.
    pub fn new(layer: &'static str, policy: impl Into<Arc<str>>) -> Result<Self, PolicyLabelError> {
        let policy = policy.into();
        if policy.is_empty() || MAX_NAME < policy.len() || policy.contains(is_harmful) {
            return Err(PolicyLabelError(()));
        }
        Ok(Self {
            layer,
            policy,
            enforced: true,
        })
    }

    /// Returns the label of a policy that has none of its own: the name of its type, in the layer `custom`.
    #[must_use]
    pub fn of_type<P: ?Sized>() -> Self {
        let name = type_name::<P>();
        let name = name.split('<').next().unwrap_or(name);
        let name = name.rsplit("::").next().unwrap_or(name);
        Self {
            layer: "custom",
            policy: name.into(),
            enforced: true,
        }
    }

    /// Creates the label of a policy whose name was checked elsewhere; what has no place in a log is escaped all the same.
    pub(crate) fn named(layer: &'static str, policy: &str) -> Self {
        Self {
            layer,
            policy: sanitize(policy).into(),
            enforced: true,
        }
    }

    /// Marks the policy as one that only observes.
    #[must_use]
    pub fn observed(mut self) -> Self {
        self.enforced = false;
        self
    }

    /// Returns the layer the policy belongs to.
    #[must_use]
    pub fn layer(&self) -> &'static str {
        self.layer
    }

    /// Returns the name of the policy.
    #[must_use]
    pub fn policy(&self) -> &str {
        &self.policy
    }

    /// Returns `false` where the policy only observes.
    #[must_use]
    pub fn enforced(&self) -> bool {
        self.enforced
    }
}

/// The name of a policy is unfit for metrics and logs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PolicyLabelError(());

impl fmt::Display for PolicyLabelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("policy name is empty, too long, or not printable")
    }
}

impl Error for PolicyLabelError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, valid: bool) {
        assert_eq!(PolicyLabel::new("custom", name).is_ok(), valid);
    }

    // I08
    #[test]
    fn names_that_could_forge_a_line_are_refused() {
        check("api", true);
        check("Überlauf 7", true);
        check(&"x".repeat(128), true);
        check(&"x".repeat(129), false);
        check("", false);
        check("api\nforged", false);
        check("api\u{202e}", false);
        check("\u{1b}[2J", false);
    }

    #[test]
    fn the_error_says_what_a_name_must_be() {
        let error = PolicyLabel::new("custom", "").unwrap_err().to_string();
        assert!(
            error.contains("empty, too long, or not printable"),
            "{error}"
        );
    }

    #[test]
    fn a_type_gives_its_name() {
        assert_eq!(
            PolicyLabel::of_type::<PolicyLabel>().policy(),
            "PolicyLabel"
        );
        assert_eq!(
            PolicyLabel::of_type::<Vec<std::io::Error>>().policy(),
            "Vec"
        );
        assert_eq!(PolicyLabel::of_type::<str>().layer(), "custom");
    }
}
