//! The way back: what a policy learns of how an admitted request ended.

use std::{fmt, mem};

use http::{StatusCode, response};

use crate::policy::rejection::Rejection;

/// Learns how an admitted request ended.
///
/// A policy hands receipts out with its [`Admission`](crate::policy::Admission). Each is settled exactly once, whatever happens: where the
/// client goes away first, it is settled with [`Outcome::Dropped`].
pub trait Receipt: Send + 'static {
    /// Takes note of the end. It is called on the request path and must neither block nor panic.
    fn settle(self: Box<Self>, outcome: Outcome<'_>);
}

impl<F> Receipt for F
where
    F: FnOnce(Outcome<'_>) + Send + 'static,
{
    fn settle(self: Box<Self>, outcome: Outcome<'_>) {
        self(outcome);
    }
}

/// Which end a receipt waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Until {
    /// The end of the response's body.
    ///
    /// It takes a [`TrackBodyLayer`](crate::enforce::TrackBodyLayer) outside, for no other layer of the crate touches bodies; without one the
    /// receipt is settled as [`Outcome::Dropped`] when the response's extensions are dropped.
    BodyEnd,
    /// The head of the response.
    Head,
}

/// How an admitted request ended.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Outcome<'a> {
    /// The inner service answered, with this head.
    Answered(&'a response::Parts),
    /// The client went away, or the response was discarded, before the end that the receipt waits for.
    Dropped,
    /// The response's body ended; its head had this status.
    Ended(StatusCode),
    /// The inner service, or the body, failed with an error of its own.
    Failed,
    /// A policy further in refused the request.
    Refused(&'a Rejection),
}

impl Outcome<'_> {
    /// Returns the status of the response, where there was one.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Answered(head) => Some(head.status),
            Self::Dropped | Self::Failed => None,
            Self::Ended(status) => Some(*status),
            Self::Refused(rejection) => Some(rejection.status()),
        }
    }
}

/// Receipts that have not been settled yet. Those that are left when the list is dropped are settled with [`Outcome::Dropped`].
#[derive(Default)]
pub struct Receipts(Vec<(Until, Box<dyn Receipt>)>);

impl Receipts {
    /// Adds a receipt.
    pub fn push(&mut self, until: Until, receipt: impl Receipt) {
        self.0.push((until, Box::new(receipt)));
    }

    /// Returns whether there is no receipt.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends all receipts of `other`.
    pub fn extend(&mut self, mut other: Self) {
        if self.0.is_empty() {
            mem::swap(&mut self.0, &mut other.0);
        } else {
            self.0.append(&mut other.0);
        }
    }

    /// Settles all receipts.
    pub fn settle(mut self, outcome: Outcome<'_>) {
        while let Some((_, receipt)) = self.next() {
            receipt.settle(outcome);
        }
    }

    /// Settles the receipts that wait for the head, and returns the others.
    #[must_use]
    pub(crate) fn settle_head(mut self, outcome: Outcome<'_>) -> Self {
        let mut rest = Self::default();
        while let Some((until, receipt)) = self.next() {
            match until {
                Until::BodyEnd => rest.0.push((until, receipt)),
                Until::Head => receipt.settle(outcome),
            }
        }
        rest
    }

    /// Takes out the first receipt. One that panics all the same must not take the others along unsettled, hence no iterator
    /// that owns them.
    fn next(&mut self) -> Option<(Until, Box<dyn Receipt>)> {
        if self.0.is_empty() {
            None
        } else {
            Some(self.0.remove(0))
        }
    }
}

impl Drop for Receipts {
    fn drop(&mut self) {
        while let Some((_, receipt)) = self.next() {
            receipt.settle(Outcome::Dropped);
        }
    }
}

impl fmt::Debug for Receipts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(until, _)| until))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        sync::mpsc::{Sender, channel},
    };

    use super::*;

    fn receipt(sender: &Sender<String>) -> impl Receipt + use<> {
        let sender = sender.clone();
        move |outcome: Outcome<'_>| {
            let _ = sender.send(format!("{outcome:?}"));
        }
    }

    #[test]
    fn a_receipt_is_settled_exactly_once() {
        let (sender, settled) = channel();
        let mut receipts = Receipts::default();
        receipts.push(Until::Head, receipt(&sender));
        receipts.push(Until::BodyEnd, receipt(&sender));

        let rest = receipts.settle_head(Outcome::Failed);
        assert_eq!(settled.try_iter().collect::<Vec<_>>(), ["Failed"]);
        rest.settle(Outcome::Ended(StatusCode::OK));
        assert_eq!(settled.try_iter().collect::<Vec<_>>(), ["Ended(200)"]);
    }

    #[test]
    fn a_receipt_that_panics_leaves_none_unsettled() {
        let (sender, settled) = channel();
        let receipts = || {
            let mut receipts = Receipts::default();
            receipts.push(Until::BodyEnd, receipt(&sender));
            receipts.push(Until::Head, |_: Outcome<'_>| panic!("a faulty receipt"));
            receipts.push(Until::Head, receipt(&sender));
            receipts
        };
        let all = receipts();
        let result = catch_unwind(AssertUnwindSafe(|| all.settle(Outcome::Failed)));
        assert!(result.is_err());
        assert_eq!(
            settled.try_iter().collect::<Vec<_>>(),
            ["Failed", "Dropped"]
        );
        let all = receipts();
        let result = catch_unwind(AssertUnwindSafe(|| all.settle_head(Outcome::Failed)));
        assert!(result.is_err());
        assert_eq!(
            settled.try_iter().collect::<Vec<_>>(),
            ["Dropped", "Dropped"]
        );
    }

    #[test]
    fn a_forgotten_receipt_is_settled_as_dropped() {
        let (sender, settled) = channel();
        let mut receipts = Receipts::default();
        receipts.push(Until::Head, receipt(&sender));
        drop(receipts);
        assert_eq!(settled.try_iter().collect::<Vec<_>>(), ["Dropped"]);
    }
}
