//! Reloading from time to time.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use tokio::{
    runtime::Handle,
    task::{self, AbortHandle},
    time::{self, MissedTickBehavior},
};

use crate::secret::{content::SecretContent, rotating::RotatingSecret};

/// The shortest time between two reloads.
const MIN_PERIOD: Duration = Duration::from_millis(100);

/// Calls something from time to time, on tokio, until it is dropped.
///
/// # Example
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use palisade::secret::{ReloadTask, SecretLoader};
///
/// let loader = SecretLoader::new().with_environment(|name| (name == "TOKEN").then(|| "value".into()));
/// let token = loader.secret("TOKEN").rotating(Duration::from_secs(3600))?;
/// let reloading = token.reload_every(Duration::from_secs(30))?;
/// // … serve …
/// drop(reloading);
/// # Ok(()) }
/// ```
#[must_use = "the task stops when it is dropped"]
pub struct ReloadTask(AbortHandle);

impl ReloadTask {
    /// Calls `reload` every `period`, at least 100 ms, on a thread that may block. The first call is one period from now.
    ///
    /// # Errors
    ///
    /// Fails outside of a tokio runtime.
    pub fn spawn(
        period: Duration,
        reload: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, NoRuntimeError> {
        let runtime = Handle::try_current().map_err(|_| NoRuntimeError(()))?;
        let period = period.max(MIN_PERIOD);
        let reload = Arc::new(reload);
        let reloading = runtime.spawn(async move {
            let mut ticks = time::interval(period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            // The first tick is immediate.
            ticks.tick().await;
            loop {
                ticks.tick().await;
                let reload = Arc::clone(&reload);
                // One that panics is tried again; it is the closure of the user that did.
                let _ = task::spawn_blocking(move || reload()).await;
            }
        });
        Ok(Self(reloading.abort_handle()))
    }
}

impl Drop for ReloadTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl fmt::Debug for ReloadTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReloadTask")
            .field("is_finished", &self.0.is_finished())
            .finish()
    }
}

impl<S: SecretContent + ?Sized> RotatingSecret<S> {
    /// Reloads the secret every `period`, at least 100 ms, until the task is dropped. Who should know of failures is the observer of the loader.
    ///
    /// # Errors
    ///
    /// Fails outside of a tokio runtime.
    pub fn reload_every(&self, period: Duration) -> Result<ReloadTask, NoRuntimeError> {
        let secret = self.clone();
        ReloadTask::spawn(period, move || {
            // The observer has been told, and the old value stays.
            let _ = secret.reload();
        })
    }
}

/// A task was to be started outside of a tokio runtime.
#[derive(Clone, Debug)]
pub struct NoRuntimeError(());

impl fmt::Display for NoRuntimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no tokio runtime is running here")
    }
}

impl Error for NoRuntimeError {}
