//! The integration tests: one binary, a module per concern.

#[cfg(feature = "secrets")]
mod secret_rotation;
#[cfg(feature = "secrets")]
mod secrets;
