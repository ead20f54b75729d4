//! Security events: cases H to L of the suite, and real consumers.

mod content;
mod counts;
mod decisions;
mod flood;
mod json;
mod lines;
mod privacy;
mod support;
mod system;
