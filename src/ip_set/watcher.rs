//! Looking after the files of lists from time to time.

use std::{
    fmt, io, mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use crate::ip_set::file::IpListFile;

/// Looks after the files of lists from time to time, on a thread of its own that ends when this is dropped.
///
/// A thread and not a task, because reading, parsing and freeing a large list takes milliseconds that no request should wait for.
///
/// # Example
///
/// ```no_run
/// use std::time::Duration;
/// use palisade::ip_set::{IpListFile, IpListWatcher};
///
/// let file = IpListFile::open("blocked", "blocked.txt")?;
/// let blocked = file.list();
/// let watcher = IpListWatcher::spawn([file], Duration::from_secs(5))?;
/// // On SIGHUP:
/// watcher.reload();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct IpListWatcher {
    control: Arc<Control>,
}

#[derive(Default)]
struct Control {
    order: Mutex<Order>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Order {
    #[default]
    Poll,
    Reload,
    Stop,
}

impl IpListWatcher {
    /// Starts to look after files, at once and then at each interval. Less than a second is read as a second.
    ///
    /// # Errors
    ///
    /// Fails if the operating system gives no thread.
    pub fn spawn(files: impl IntoIterator<Item = IpListFile>, every: Duration) -> io::Result<Self> {
        let mut files: Vec<_> = files.into_iter().collect();
        let every = every.max(Duration::from_secs(1));
        let control = Arc::new(Control::default());
        let watcher = Self {
            control: Arc::clone(&control),
        };
        let thread = thread::Builder::new().name("ip-lists".to_owned());
        thread.spawn(move || {
            let mut order = Order::Poll;
            while order != Order::Stop {
                for file in &mut files {
                    match order {
                        Order::Reload => file.reload(),
                        Order::Poll | Order::Stop => file.poll(),
                    };
                }
                order = control.wait(every);
            }
        })?;
        Ok(watcher)
    }

    /// Has all files read again now, whether they seem to have changed or not. Does not wait for it.
    pub fn reload(&self) {
        self.control.give(Order::Reload);
    }
}

impl Drop for IpListWatcher {
    fn drop(&mut self) {
        self.control.give(Order::Stop);
    }
}

impl fmt::Debug for IpListWatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IpListWatcher")
            .field("order", &*self.control.order())
            .finish_non_exhaustive()
    }
}

impl Control {
    fn give(&self, order: Order) {
        *self.order() = order;
        self.changed.notify_one();
    }

    /// Takes the next order, or after a while the usual one.
    fn wait(&self, every: Duration) -> Order {
        let result = self
            .changed
            .wait_timeout_while(self.order(), every, |order| *order == Order::Poll);
        let (mut order, _) = result.unwrap_or_else(PoisonError::into_inner);
        mem::take(&mut *order)
    }

    fn order(&self) -> MutexGuard<'_, Order> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
