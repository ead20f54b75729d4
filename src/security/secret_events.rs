//! Secrets' notices as security events.

#[cfg(feature = "metrics")]
use std::time::UNIX_EPOCH;

#[cfg(feature = "metrics")]
use crate::{
    clock::{Clock as _, MonotonicClock},
    metrics::{
        counter,
        names::{
            LABEL_OUTCOME, LABEL_SECRET, SECRET_LAST_CHANGE_TIMESTAMP_SECONDS, SECRET_LOADS_TOTAL,
        },
    },
};
use crate::{
    event::{
        model::{Action, SecurityEvent},
        sink::EventSink,
    },
    secret::notice::SecretNotice,
};

/// Turns what a [`SecretLoader`](crate::secret::SecretLoader) has to tell into security events: an observer for
/// [`with_observer`](crate::secret::SecretLoader::with_observer).
///
/// The event names the secret as its policy, and the places that were looked at as its reason; never a byte of the value.
///
/// # Example
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use palisade::{event::{Action, SecurityEvent}, secret::SecretLoader, security::secret_events};
///
/// let actions = Arc::new(Mutex::new(Vec::new()));
/// let sink = {
///     let actions = Arc::clone(&actions);
///     move |event: &SecurityEvent<'_>| actions.lock().unwrap().push(event.action())
/// };
/// let loader = SecretLoader::new()
///     .with_environment(|name| (name == "DB_PASSWORD").then(|| "long enough".into()))
///     .with_observer(secret_events(sink));
///
/// assert!(loader.secret("DB_PASSWORD").text().is_ok());
/// assert!(loader.secret("MAIL_PASSWORD").text().is_err());
/// assert_eq!(*actions.lock().unwrap(), [Action::SecretLoaded, Action::SecretLoadFailed]);
/// ```
pub fn secret_events(sink: impl EventSink) -> impl Fn(&SecretNotice<'_>) + Send + Sync + 'static {
    move |notice| {
        let (action, name, reason) = match notice {
            SecretNotice::LoadFailed { error } => {
                (Action::SecretLoadFailed, error.name(), error.to_string())
            }
            SecretNotice::Loaded { name, place } => {
                (Action::SecretLoaded, *name, format!("loaded from {place}"))
            }
            SecretNotice::LoosePermissions { name, place, mode } => (
                Action::SecretPermissionsLoose,
                *name,
                format!("{place} can be used by others: its mode is {mode:o}"),
            ),
            SecretNotice::Rotated { name, place } => (
                Action::SecretRotated,
                *name,
                format!("replaced from {place}"),
            ),
            SecretNotice::Shadowed {
                name,
                used,
                ignored,
            } => (
                Action::SecretShadowed,
                *name,
                format!("{used} is used and {ignored} is not"),
            ),
        };
        #[cfg(feature = "metrics")]
        count(action, name);
        sink.record(&SecurityEvent::new(action, reason).with_policy(name));
    }
}

#[cfg(feature = "metrics")]
fn count(action: Action, name: &str) {
    let outcome = match action {
        Action::SecretLoaded | Action::SecretRotated => "success",
        Action::SecretLoadFailed => "failure",
        _ => return,
    };
    let labels = [(LABEL_SECRET, name), (LABEL_OUTCOME, outcome)];
    counter::count(SECRET_LOADS_TOTAL, &labels);
    let now = MonotonicClock.system_now().duration_since(UNIX_EPOCH);
    if let (Ok(now), "success") = (now, outcome) {
        let labels = [(LABEL_SECRET, name)];
        counter::set_gauge(
            SECRET_LAST_CHANGE_TIMESTAMP_SECONDS,
            &labels,
            now.as_secs_f64(),
        );
    }
}
