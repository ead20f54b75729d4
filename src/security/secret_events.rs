//! Secrets' notices as security events.

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
        sink.record(&SecurityEvent::new(action, reason).with_policy(name));
    }
}
