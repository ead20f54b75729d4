//! What an action is called elsewhere: in the OWASP logging vocabulary and in the Elastic Common Schema.

use crate::event::model::Action;

/// How flood control treats an action.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Class {
    /// Never held back, but for a last resort.
    Alert,
    /// Recorded once per policy and window, whichever client met it, and as certainly as an alert.
    Condition,
    /// Recorded once per policy, client and window, and within the budget.
    Ordinary,
}

/// How metrics count a rejection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Refusal {
    Denied,
    Redirected,
    Unkeyed,
}

/// What the arguments of an OWASP name are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Arguments {
    /// The client.
    Client,
    /// The client and a word.
    ClientThen(&'static str),
    /// The client and the path.
    ClientPath,
    /// A field of the request.
    Field(&'static str),
    /// The client, a field of the request and the user agent.
    Extraneous(&'static str),
    /// This crate and the policy or thing that the event names.
    Named,
}

/// What is known of an action.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schema {
    pub(crate) owasp: Option<(&'static str, Arguments)>,
    pub(crate) kind: &'static str,
    pub(crate) categories: &'static [&'static str],
    pub(crate) types: &'static [&'static str],
    pub(crate) outcome: Option<&'static str>,
    pub(crate) class: Class,
}

impl Schema {
    const fn new(
        categories: &'static [&'static str],
        types: &'static [&'static str],
        outcome: Option<&'static str>,
    ) -> Self {
        Self {
            owasp: None,
            kind: "event",
            categories,
            types,
            outcome,
            class: Class::Ordinary,
        }
    }

    const fn class(self, class: Class) -> Self {
        Self { class, ..self }
    }

    const fn alert(self) -> Self {
        Self {
            kind: "alert",
            class: Class::Alert,
            ..self
        }
    }

    const fn owasp(self, name: &'static str, arguments: Arguments) -> Self {
        Self {
            owasp: Some((name, arguments)),
            ..self
        }
    }
}

const SUCCESS: Option<&str> = Some("success");
const FAILURE: Option<&str> = Some("failure");

/// A correct refusal is a success: outcome is seen from the one who acts. `denied` is expected for `network`, not for `web`.
const DENIED: Schema = Schema::new(&["web", "network"], &["access", "denied"], SUCCESS);
const NOTED: Schema = Schema::new(&["web", "network"], &["access", "info"], None);
const STORE: Schema = Schema::new(&["web"], &["error"], FAILURE).class(Class::Condition);
const CONFIGURED: Schema =
    Schema::new(&["configuration"], &["change"], SUCCESS).class(Class::Alert);
const JAIL_NOTE: Schema = Schema::new(&["intrusion_detection"], &["info"], None);
const CONFIGURATION_NOTE: Schema =
    Schema::new(&["configuration"], &["info"], None).class(Class::Alert);

/// Declares the table once, so that an action which lacks a row does not compile.
macro_rules! schema {
    ($($action:ident => $schema:expr,)*) => {
        /// Every action but [`Action::Custom`], alphabetically.
        pub(crate) const ACTIONS: &[Action] = &[$(Action::$action),*];

        #[derive(Clone, Copy)]
        enum Slot {
            $($action,)*
            Custom,
        }

        impl Action {
            /// Returns the action's place in a table of [`SLOTS`] places; all custom actions share one.
            pub(crate) const fn slot(self) -> usize {
                match self {
                    $(Self::$action => Slot::$action as usize,)*
                    Self::Custom(_) => Slot::Custom as usize,
                }
            }

            pub(crate) const fn schema(self) -> Schema {
                match self {
                    $(Self::$action => const { $schema },)*
                    Self::Custom(_) => DENIED,
                }
            }
        }
    };
}

schema! {
    ApiKeyAcceptedPrevious => Schema::new(&["authentication"], &["start"], SUCCESS),
    ApiKeyRejected => Schema::new(&["authentication"], &["start"], FAILURE)
        .owasp("authn_login_fail", Arguments::Client),
    ApiKeyScopeMissing => DENIED.owasp("authz_fail", Arguments::ClientPath),
    BanFileFailed => Schema::new(&["configuration"], &["change"], FAILURE).class(Class::Alert),
    BanSkipped => JAIL_NOTE,
    BannedClientDenied => DENIED,
    ClientBanned => Schema::new(&["intrusion_detection", "network"], &["denied"], SUCCESS)
        .alert()
        .owasp("authn_login_lock", Arguments::ClientThen("maxretries")),
    ClientUnbanned => JAIL_NOTE.class(Class::Alert),
    ClientUnknown => NOTED.class(Class::Condition),
    ConfigReloadFailed => Schema::new(&["configuration"], &["change"], FAILURE).class(Class::Alert),
    ConfigReloaded => CONFIGURED,
    CredentialOverPlaintext => NOTED,
    EnforcementDisabled => CONFIGURED.owasp("sys_monitor_disabled", Arguments::Named),
    EventsSuppressed => Schema::new(&[], &["info"], None).class(Class::Alert),
    ForwardedHeaderMalformed => DENIED.owasp("input_validation_fail", Arguments::Field("x-forwarded-for")),
    ForwardedHeaderUntrusted => NOTED.owasp("malicious_extraneous", Arguments::Extraneous("x-forwarded-for")),
    HostMalformed => DENIED.owasp("input_validation_fail", Arguments::Field("host")),
    HostNotServed => DENIED,
    HttpsRedirected => Schema::new(&["web"], &["access", "info"], SUCCESS),
    HttpsRequired => DENIED,
    InFlightExceeded => DENIED.owasp("excess_rate_limit_exceeded", Arguments::Client),
    IpBlocked => DENIED.owasp("authz_fail", Arguments::ClientPath),
    IpListEntryMasked => CONFIGURATION_NOTE,
    IpListReloadFailed => Schema::new(&["configuration"], &["change"], FAILURE).class(Class::Alert),
    IpListReloaded => CONFIGURED,
    IpNotAllowed => DENIED.owasp("authz_fail", Arguments::ClientPath),
    LimiterStoreFailed => STORE,
    LimiterStoreFull => STORE,
    LimiterStoreRecovered => Schema::new(&["web"], &["info"], SUCCESS).class(Class::Alert),
    RateLimitChargedTwice => Schema::new(&["web"], &["error"], FAILURE).class(Class::Condition),
    RateLimitExceeded => DENIED.owasp("excess_rate_limit_exceeded", Arguments::Client),
    RateLimitKeyMissing => DENIED.owasp("input_validation_fail", Arguments::Field("address")),
    RateLimitWarning => Schema::new(&["web", "network"], &["info"], None),
    RedirectLoopSuspected => Schema::new(&["web"], &["error"], FAILURE).class(Class::Condition),
    SecretLoadFailed => Schema::new(&["configuration"], &["access"], FAILURE).class(Class::Alert),
    SecretLoaded => Schema::new(&["configuration"], &["access"], SUCCESS)
        .class(Class::Alert)
        .owasp("sensitive_read", Arguments::Named),
    SecretPermissionsLoose => CONFIGURATION_NOTE,
    SecretRotated => CONFIGURED.owasp("sensitive_update", Arguments::Named),
    SecretShadowed => CONFIGURATION_NOTE,
}

/// Number of places in a table by action.
pub(crate) const SLOTS: usize = ACTIONS.len() + 1;

/// Returns the word that metrics use for a place.
pub(crate) fn slot_name(slot: usize) -> &'static str {
    ACTIONS.get(slot).map_or("custom", |it| it.as_str())
}

impl Action {
    /// Returns how metrics count a rejection for that action.
    pub(crate) const fn refusal(self) -> Refusal {
        match self {
            Self::HttpsRedirected => Refusal::Redirected,
            Self::ClientUnknown | Self::RateLimitKeyMissing => Refusal::Unkeyed,
            _ => Refusal::Denied,
        }
    }

    /// Returns whether a request is refused for it, or a client banned. A redirect is no refusal, and an unknown client nobody who could be named.
    pub(crate) fn refuses(self) -> bool {
        match self {
            Self::ApiKeyRejected => true,
            // Found on a request that may be let in all the same. What becomes of it is told by another event.
            Self::ForwardedHeaderMalformed => false,
            _ => self.ecs_types().contains(&"denied"),
        }
    }

    /// Returns the action of that word; a custom one is not known.
    #[cfg(feature = "tracing-subscriber")]
    pub(crate) fn known(word: &str) -> Option<Self> {
        ACTIONS.iter().copied().find(|it| it.as_str() == word)
    }

    /// Returns the name in the OWASP logging vocabulary, without arguments, where there is one.
    #[must_use]
    pub fn owasp_name(self) -> Option<&'static str> {
        self.schema().owasp.map(|(name, _)| name)
    }

    /// Returns the ECS `event.kind`.
    #[must_use]
    pub fn ecs_kind(self) -> &'static str {
        self.schema().kind
    }

    /// Returns the ECS `event.category` values.
    #[must_use]
    pub fn ecs_categories(self) -> &'static [&'static str] {
        self.schema().categories
    }

    /// Returns the ECS `event.type` values of the action where it is enforced.
    #[must_use]
    pub fn ecs_types(self) -> &'static [&'static str] {
        self.schema().types
    }

    pub(crate) fn types_where(self, enforced: bool) -> &'static [&'static str] {
        match self.ecs_types() {
            ["access", "denied"] if !enforced => &["access", "info"],
            ["denied"] if !enforced => &["info"],
            types => types,
        }
    }

    /// Returns the ECS `event.outcome` of the action where it is enforced; a correct refusal is a `success`.
    #[must_use]
    pub fn ecs_outcome(self) -> Option<&'static str> {
        self.schema().outcome
    }

    /// Returns whether flood control lets every occurrence through.
    #[must_use]
    pub fn is_alert(self) -> bool {
        self.schema().class == Class::Alert
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    /// ECS 9, the values of `event.category` with the values of `event.type` that are expected with each.
    const EXPECTED: &[(&str, &[&str])] = &[
        (
            "api",
            &[
                "access", "admin", "allowed", "change", "creation", "deletion", "denied", "end",
                "info", "start", "user",
            ],
        ),
        ("authentication", &["start", "end", "info"]),
        (
            "configuration",
            &["access", "change", "creation", "deletion", "info"],
        ),
        ("intrusion_detection", &["allowed", "denied", "info"]),
        (
            "network",
            &[
                "access",
                "allowed",
                "connection",
                "denied",
                "end",
                "info",
                "protocol",
                "start",
            ],
        ),
        ("web", &["access", "error", "info"]),
    ];

    // I09: the lists are closed, and every type is expected for one of the categories.
    #[test]
    fn categories_and_types_go_together() {
        for action in ACTIONS {
            let schema = action.schema();
            let expected: Vec<&str> = schema
                .categories
                .iter()
                .flat_map(|category| {
                    let row = EXPECTED.iter().find(|(it, _)| it == category);
                    row.unwrap_or_else(|| panic!("{category} is no category"))
                        .1
                        .iter()
                        .copied()
                })
                .collect();
            assert!(!schema.types.is_empty(), "{action:?}");
            for it in schema.types {
                assert!(
                    expected.contains(it) || schema.categories.is_empty() && *it == "info",
                    "{action:?}: {it}"
                );
            }
            assert!(["event", "alert"].contains(&schema.kind), "{action:?}");
            assert!(
                [None, SUCCESS, FAILURE].contains(&schema.outcome),
                "{action:?}"
            );
        }
    }

    // The table in the documentation is this one.
    #[test]
    fn the_documented_table_is_true() {
        let mut table = String::from(
            "| `event.action` | level | OWASP name | `event.category` | `event.type` | `event.outcome` | recorded | `decision` |\n\
             |---|---|---|---|---|---|---|---|\n",
        );
        for action in ACTIONS {
            let schema = action.schema();
            let or_dash = |text: String| {
                if text.is_empty() {
                    "–".to_owned()
                } else {
                    text
                }
            };
            let code = |words: &[&str]| {
                let words: Vec<_> = words.iter().map(|it| format!("`{it}`")).collect();
                or_dash(words.join(", "))
            };
            let owasp = schema.owasp.map(|(name, arguments)| {
                let arguments = match arguments {
                    Arguments::Client => "client".to_owned(),
                    Arguments::ClientThen(word) => format!("client,{word}"),
                    Arguments::ClientPath => "client,path".to_owned(),
                    Arguments::Field(field) => format!("{field},client"),
                    Arguments::Extraneous(field) => format!("client,{field},agent"),
                    Arguments::Named => "palisade,name".to_owned(),
                };
                format!("`{name}:{arguments}`")
            });
            let recorded = match schema.class {
                Class::Alert => "always",
                Class::Condition => "once per policy",
                Class::Ordinary => "once per client",
            };
            let refuses = schema.kind == "event" && action.refuses()
                || matches!(action, Action::ClientUnknown | Action::HttpsRedirected);
            let decision = match action.refusal() {
                Refusal::Denied if refuses => "denied",
                Refusal::Redirected if refuses => "redirected",
                Refusal::Unkeyed if refuses => "unkeyed",
                _ => "–",
            };
            let _ = writeln!(
                table,
                "| `{}` | {} | {} | {} | {} | {} | {recorded} | {decision} |",
                action.as_str(),
                action.severity().as_str(),
                or_dash(owasp.unwrap_or_default()),
                code(schema.categories),
                code(schema.types),
                schema.outcome.unwrap_or("–"),
            );
        }
        assert_eq!(
            include_str!("schema.md"),
            table,
            "what the table should be:\n{table}"
        );
    }

    #[test]
    fn slots_are_the_places_in_the_list() {
        for (place, action) in ACTIONS.iter().enumerate() {
            assert_eq!(action.slot(), place);
            assert_eq!(slot_name(place), action.as_str());
        }
        assert_eq!(Action::Custom("x").slot(), SLOTS - 1);
        assert_eq!(slot_name(SLOTS - 1), "custom");
    }

    #[test]
    fn words_are_unique() {
        let mut words: Vec<_> = ACTIONS.iter().map(|it| it.as_str()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), ACTIONS.len());
    }

    #[test]
    fn owasp_names_are_of_the_vocabulary() {
        const VOCABULARY: &[&str] = &[
            "authn_login_fail",
            "authn_login_lock",
            "authz_fail",
            "excess_rate_limit_exceeded",
            "input_validation_fail",
            "malicious_extraneous",
            "sensitive_read",
            "sensitive_update",
            "sys_monitor_disabled",
        ];
        for name in ACTIONS.iter().filter_map(|it| it.owasp_name()) {
            assert!(VOCABULARY.contains(&name), "{name}");
        }
    }
}
