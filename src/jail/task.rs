//! The task that keeps a jail's file and events up to date.

use std::{fmt, io, time::Duration};

use tokio::{runtime::Handle, task::JoinHandle, time};

use crate::jail::handle::JailHandle;

/// Saves the bans and tells of those that have ended, from time to time. It stops when dropped.
///
/// A failed save is told with the event `ban_file_failed`, and tried again the next time.
///
/// Nothing is saved on the way out: call [`JailHandle::save`] after the server has stopped.
///
/// # Example
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use palisade::jail::{Jail, JailTask};
///
/// let jail = Jail::builder().build();
/// let task = JailTask::spawn(jail.handle(), Duration::from_secs(10))?;
/// // … serve …
/// drop(task);
/// jail.handle().save()?;
/// # Ok(()) }
/// ```
#[must_use = "the task stops when this is dropped"]
pub struct JailTask {
    task: JoinHandle<()>,
}

impl JailTask {
    /// Starts the task on the current tokio runtime, whose timer must be enabled. A pause shorter than a second is read as a second.
    ///
    /// # Errors
    ///
    /// There is no runtime.
    pub fn spawn(handle: JailHandle, pause: Duration) -> io::Result<Self> {
        let runtime = Handle::try_current().map_err(io::Error::other)?;
        let pause = pause.max(Duration::from_secs(1));
        let task = runtime.spawn(async move {
            loop {
                time::sleep(pause).await;
                let handle = handle.clone();
                // The disk must not hold up the runtime. Failures are told as events.
                let save = tokio::task::spawn_blocking(move || {
                    handle.sweep();
                    handle.save()
                });
                let _ = save.await;
            }
        });
        Ok(Self { task })
    }
}

impl Drop for JailTask {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for JailTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JailTask")
            .field("is_finished", &self.task.is_finished())
            .finish()
    }
}
