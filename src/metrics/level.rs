//! Numbers that rise and fall, which can be read back and which a recorder may follow.

use std::{
    fmt,
    sync::atomic::{AtomicUsize, Ordering},
};

/// How many there are of something. With the feature `metrics` it is a gauge of the recorder that was installed when it was made, too.
pub(crate) struct Level {
    value: AtomicUsize,
    #[cfg(feature = "metrics")]
    handle: ::metrics::Gauge,
}

impl Level {
    /// Makes a level at 0.
    #[cfg_attr(
        not(feature = "metrics"),
        expect(unused_variables, reason = "only a recorder needs a name")
    )]
    pub(crate) fn new(name: &'static str, labels: &[(&'static str, &str)]) -> Self {
        Self {
            value: AtomicUsize::new(0),
            #[cfg(feature = "metrics")]
            handle: {
                crate::metrics::counter::describe(name);
                ::metrics::gauge!(name, crate::metrics::counter::owned(labels))
            },
        }
    }

    pub(crate) fn raise(&self) {
        self.value.fetch_add(1, Ordering::Relaxed);
        #[cfg(feature = "metrics")]
        self.handle.increment(1.0);
    }

    pub(crate) fn lower(&self) {
        self.value.fetch_sub(1, Ordering::Relaxed);
        #[cfg(feature = "metrics")]
        self.handle.decrement(1.0);
    }

    #[inline]
    pub(crate) fn value(&self) -> usize {
        self.value.load(Ordering::Relaxed)
    }
}

/// Others may count under the same name.
#[cfg(feature = "metrics")]
impl Drop for Level {
    fn drop(&mut self) {
        let value = u32::try_from(self.value()).unwrap_or(u32::MAX);
        self.handle.decrement(value);
    }
}

impl fmt::Debug for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value().fmt(f)
    }
}
