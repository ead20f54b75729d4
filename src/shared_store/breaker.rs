//! The circuit breaker: whether the store is asked at all.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::{
    event::{
        model::{Action, SecurityEvent},
        sink::{EventSink as _, SharedSink},
    },
    metrics::counter::Counter,
    shared_store::failure::Cause,
};

/// So many decisions in a row without an answer open the breaker.
const PATIENCE: u32 = 5;

/// So many refusals of nodes in a row, without an answer of any, open it too.
const PATIENCE_WITH_NODES: u32 = 64;

/// Whether the store is asked at all. Open, it is not: nobody waits for a store that is known to be away, and one probe at a time finds out when
/// it is back.
pub(crate) struct Breaker {
    open: AtomicBool,
    /// Whether a node of the cluster is away: the others are asked all the same.
    part: AtomicBool,
    in_a_row: AtomicU32,
    /// The same of nodes of a cluster.
    of_nodes: AtomicU32,
    failures: Vec<(Cause, Counter)>,
    sink: SharedSink,
    name: String,
}

impl Breaker {
    pub(crate) fn new(sink: SharedSink, name: String) -> Self {
        let breaker = Self {
            open: AtomicBool::new(false),
            part: AtomicBool::new(false),
            in_a_row: AtomicU32::new(0),
            of_nodes: AtomicU32::new(0),
            failures: Cause::ALL
                .into_iter()
                .map(|cause| {
                    let labels = [(crate::metrics::names::LABEL_ERROR, cause.label())];
                    let counter =
                        Counter::new(crate::metrics::names::STORE_FAILURES_TOTAL, &labels);
                    (cause, counter)
                })
                .collect(),
            sink,
            name,
        };
        breaker.tell_gauge(true);
        breaker
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    pub(crate) fn succeed(&self) {
        for in_a_row in [&self.in_a_row, &self.of_nodes] {
            if in_a_row.load(Ordering::Relaxed) != 0 {
                in_a_row.store(0, Ordering::Relaxed);
            }
        }
    }

    /// Takes note that a decision was not made; returns whether that has opened the breaker, or was the first for want of a node, for which whoever
    /// is told must see to the probes.
    #[must_use]
    pub(crate) fn fail(&self, cause: Cause) -> bool {
        if let Some((_, counter)) = self.failures.iter().find(|(it, _)| *it == cause) {
            counter.increment();
        }
        if matches!(cause, Cause::Away | Cause::Busy | Cause::NoRuntime) {
            return false;
        }
        if cause.is_of_node() {
            let first = !self.part.swap(true, Ordering::Relaxed);
            if first && !self.is_open() {
                self.tell(Action::LimiterStoreFailed, cause.as_str());
            }
            // Those whose node is known to be away are answered at once, before anybody whom another node answers. That all are away, the link says.
            if cause == Cause::NodeAway || count(&self.of_nodes) < PATIENCE_WITH_NODES {
                return first;
            }
        } else if count(&self.in_a_row) < PATIENCE && !cause.is_certain() {
            return false;
        }
        if self.open.swap(true, Ordering::Relaxed) {
            return false;
        }
        self.tell_gauge(false);
        self.tell(Action::LimiterStoreFailed, cause.as_str());
        true
    }

    /// Takes note that a probe was answered.
    pub(crate) fn close(&self) {
        self.succeed();
        let part = self.part.swap(false, Ordering::Relaxed);
        let open = self.open.swap(false, Ordering::Relaxed);
        if open {
            self.tell_gauge(true);
        }
        if open || part {
            self.tell(Action::LimiterStoreRecovered, "shared store answers again");
        }
    }

    /// Takes note that a probe was answered by some nodes of a cluster: these are asked again.
    pub(crate) fn close_in_part(&self) {
        self.succeed();
        self.part.store(true, Ordering::Relaxed);
        if self.open.swap(false, Ordering::Relaxed) {
            self.tell_gauge(true);
            self.tell(
                Action::LimiterStoreRecovered,
                "some nodes of the shared store's cluster answer again",
            );
        }
    }

    fn tell(&self, action: Action, reason: &'static str) {
        self.sink
            .record(&SecurityEvent::new(action, reason).with_policy(&*self.name));
    }

    /// Returns how many decisions the store has not made.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.iter().map(|(_, it)| it.value()).sum()
    }

    #[cfg_attr(
        not(feature = "metrics"),
        expect(
            unused_variables,
            clippy::unused_self,
            reason = "only a recorder is told"
        )
    )]
    fn tell_gauge(&self, up: bool) {
        #[cfg(feature = "metrics")]
        crate::metrics::counter::set_gauge(
            crate::metrics::names::STORE_UP,
            &[(crate::metrics::names::LABEL_POLICY, &self.name)],
            if up { 1.0 } else { 0.0 },
        );
    }
}

/// Counts one more, and returns how many there are.
fn count(in_a_row: &AtomicU32) -> u32 {
    in_a_row.fetch_add(1, Ordering::Relaxed).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A breaker, and what it tells.
    fn breaker() -> (Breaker, Arc<Mutex<Vec<String>>>) {
        let told = Arc::<Mutex<Vec<String>>>::default();
        let sink = {
            let told = Arc::clone(&told);
            SharedSink::new(move |event: &SecurityEvent<'_>| {
                told.lock().unwrap().push(event.reason().to_owned());
            })
        };
        (Breaker::new(sink, "store".into()), told)
    }

    #[test]
    fn five_in_a_row_without_an_answer_open_it() {
        let (breaker, told) = breaker();
        for _ in 0..3 {
            for _ in 1..PATIENCE {
                assert!(!breaker.fail(Cause::Timeout));
            }
            assert!(!breaker.is_open());
            breaker.succeed();
        }
        let opened = [(); 6].map(|()| breaker.fail(Cause::Timeout));
        assert_eq!(opened, [false, false, false, false, true, false]);
        assert!(breaker.is_open());
        assert_eq!(*told.lock().unwrap(), [Cause::Timeout.as_str()]);
        breaker.close();
        // They are counted anew.
        assert!(!breaker.fail(Cause::Timeout));
        assert!(!breaker.is_open());
        assert_eq!(told.lock().unwrap().len(), 2);
        assert_eq!(breaker.failures(), 19);
    }

    #[test]
    fn nodes_that_are_away_open_it_where_none_answers() {
        let (breaker, told) = breaker();
        let mut first = true;
        for _ in 0..3 {
            for _ in 1..PATIENCE_WITH_NODES {
                assert_eq!(breaker.fail(Cause::Node), first);
                first = false;
            }
            assert!(!breaker.is_open());
            breaker.succeed();
        }
        // Of one that is away, one is told once.
        assert_eq!(*told.lock().unwrap(), [Cause::Node.as_str()]);
        let opened = (0..PATIENCE_WITH_NODES).filter(|_| breaker.fail(Cause::Node));
        assert_eq!(opened.count(), 1);
        assert!(breaker.is_open());
        assert_eq!(*told.lock().unwrap(), [Cause::Node.as_str(); 2]);
    }

    #[test]
    fn a_node_is_no_news_where_the_store_is_away() {
        let (breaker, told) = breaker();
        assert!(breaker.fail(Cause::Connection));
        assert!(breaker.fail(Cause::Node));
        assert!(!breaker.fail(Cause::Node));
        assert_eq!(*told.lock().unwrap(), [Cause::Connection.as_str()]);
        breaker.close_in_part();
        assert!(!breaker.is_open());
        // It is known already that a node is away.
        assert!(!breaker.fail(Cause::Node));
        breaker.close();
        let again = "shared store answers again";
        assert_eq!(told.lock().unwrap().last().map(String::as_str), Some(again));
        assert_eq!(told.lock().unwrap().len(), 3);
        breaker.close();
        breaker.close_in_part();
        assert_eq!(told.lock().unwrap().len(), 3);
    }
}
