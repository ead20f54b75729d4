//! The sink that layers have until they are told otherwise.

#[cfg(not(feature = "tracing"))]
use crate::event::sink::NullSink;
use crate::event::sink::SharedSink;
#[cfg(feature = "tracing")]
use crate::event::{flood::FloodControl, tracing::TracingSink};

impl Default for SharedSink {
    fn default() -> Self {
        #[cfg(feature = "tracing")]
        let sink = FloodControl::new(TracingSink);
        #[cfg(not(feature = "tracing"))]
        let sink = NullSink;
        Self::new(sink)
    }
}
