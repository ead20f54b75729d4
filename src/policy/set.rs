//! The policy and its composition.

use std::sync::Arc;

use crate::policy::{decision::Check, head::RequestHead, label::PolicyLabel, peek::Peek};

/// Decides whether a request may pass.
pub trait Policy: Send + Sync + 'static {
    /// Looks at the head of a request and decides.
    ///
    /// It must not block; an answer that takes time is [`Check::later`].
    fn check(&self, request: &RequestHead<'_>) -> Check;

    /// Returns what metrics call the policy. The default is the name of its type, in the layer `custom`.
    ///
    /// It is asked for once, when a layer is built, and must come from code or configuration alone.
    fn label(&self) -> PolicyLabel {
        PolicyLabel::of_type::<Self>()
    }

    /// Returns what [`check`](Self::check) would decide, and changes nothing: no count, no ban, no event.
    ///
    /// It is for [explaining](crate::SecurityLayer::explain) decisions, never on the path of requests. The default is nothing: the policy
    /// cannot tell.
    #[expect(unused_variables, reason = "the default looks at nothing")]
    fn peek(&self, request: &RequestHead<'_>) -> Option<Peek> {
        None
    }
}

/// One or more policies that are checked in order.
///
/// Every [`Policy`] is a set of one. Sets compose as values: `Option`, tuples, `Vec` and `Arc`. They are checked one by one and not as a
/// whole so that an answer which takes time can be waited for between two of them.
pub trait PolicySet: Send + Sync + 'static {
    /// Returns how many policies there are.
    fn steps(&self) -> usize;

    /// Checks the policy at position `step`; a position that does not exist admits.
    fn check_step(&self, step: usize, request: &RequestHead<'_>) -> Check;

    /// Returns what metrics call the policy at position `step`. The default is the name of the set's type, in the layer `custom`.
    #[expect(
        unused_variables,
        reason = "the default calls all policies of a set the same"
    )]
    fn step_label(&self, step: usize) -> PolicyLabel {
        PolicyLabel::of_type::<Self>()
    }

    /// Returns what the policy at position `step` would decide, and changes nothing. The default is nothing: it cannot tell.
    #[expect(unused_variables, reason = "the default looks at nothing")]
    fn peek_step(&self, step: usize, request: &RequestHead<'_>) -> Option<Peek> {
        None
    }
}

impl<P: Policy + ?Sized> PolicySet for P {
    fn steps(&self) -> usize {
        1
    }

    fn check_step(&self, step: usize, request: &RequestHead<'_>) -> Check {
        match step {
            0 => self.check(request),
            _ => Check::admit(),
        }
    }

    fn step_label(&self, _: usize) -> PolicyLabel {
        self.label()
    }

    fn peek_step(&self, step: usize, request: &RequestHead<'_>) -> Option<Peek> {
        match step {
            0 => self.peek(request),
            _ => None,
        }
    }
}

impl<P: PolicySet> PolicySet for Option<P> {
    fn steps(&self) -> usize {
        self.as_ref().map_or(0, P::steps)
    }

    fn check_step(&self, step: usize, request: &RequestHead<'_>) -> Check {
        match self {
            Some(policies) => policies.check_step(step, request),
            None => Check::admit(),
        }
    }

    fn step_label(&self, step: usize) -> PolicyLabel {
        match self {
            Some(policies) => policies.step_label(step),
            None => PolicyLabel::of_type::<Self>(),
        }
    }

    fn peek_step(&self, step: usize, request: &RequestHead<'_>) -> Option<Peek> {
        self.as_ref().and_then(|it| it.peek_step(step, request))
    }
}

impl<P: PolicySet + ?Sized> PolicySet for Arc<P> {
    fn steps(&self) -> usize {
        P::steps(self)
    }

    fn check_step(&self, step: usize, request: &RequestHead<'_>) -> Check {
        P::check_step(self, step, request)
    }

    fn step_label(&self, step: usize) -> PolicyLabel {
        P::step_label(self, step)
    }

    fn peek_step(&self, step: usize, request: &RequestHead<'_>) -> Option<Peek> {
        P::peek_step(self, step, request)
    }
}

impl<P: PolicySet> PolicySet for Vec<P> {
    fn steps(&self) -> usize {
        self.iter().map(P::steps).sum()
    }

    fn check_step(&self, mut step: usize, request: &RequestHead<'_>) -> Check {
        for policies in self {
            let steps = policies.steps();
            if step < steps {
                return policies.check_step(step, request);
            }
            step -= steps;
        }
        Check::admit()
    }

    fn step_label(&self, mut step: usize) -> PolicyLabel {
        for policies in self {
            let steps = policies.steps();
            if step < steps {
                return policies.step_label(step);
            }
            step -= steps;
        }
        PolicyLabel::of_type::<Self>()
    }

    fn peek_step(&self, mut step: usize, request: &RequestHead<'_>) -> Option<Peek> {
        for policies in self {
            let steps = policies.steps();
            if step < steps {
                return policies.peek_step(step, request);
            }
            step -= steps;
        }
        None
    }
}

macro_rules! impl_for_tuple {
    ($($name:ident $index:tt),*) => {
        impl<$($name: PolicySet),*> PolicySet for ($($name,)*) {
            fn steps(&self) -> usize {
                0 $(+ self.$index.steps())*
            }

            #[allow(unused_mut, unused_variables, unused_assignments, clippy::allow_attributes, reason = "the empty tuple checks nothing")]
            fn check_step(&self, mut step: usize, request: &RequestHead<'_>) -> Check {
                $(
                    let steps = self.$index.steps();
                    if step < steps {
                        return self.$index.check_step(step, request);
                    }
                    step -= steps;
                )*
                Check::admit()
            }

            #[allow(unused_mut, unused_variables, unused_assignments, clippy::allow_attributes, reason = "the empty tuple has no labels")]
            fn step_label(&self, mut step: usize) -> PolicyLabel {
                $(
                    let steps = self.$index.steps();
                    if step < steps {
                        return self.$index.step_label(step);
                    }
                    step -= steps;
                )*
                PolicyLabel::of_type::<Self>()
            }

            #[allow(unused_mut, unused_variables, unused_assignments, clippy::allow_attributes, reason = "the empty tuple asks nobody")]
            fn peek_step(&self, mut step: usize, request: &RequestHead<'_>) -> Option<Peek> {
                $(
                    let steps = self.$index.steps();
                    if step < steps {
                        return self.$index.peek_step(step, request);
                    }
                    step -= steps;
                )*
                None
            }
        }
    };
}

impl_for_tuple!();
impl_for_tuple!(A 0);
impl_for_tuple!(A 0, B 1);
impl_for_tuple!(A 0, B 1, C 2);
impl_for_tuple!(A 0, B 1, C 2, D 3);
impl_for_tuple!(A 0, B 1, C 2, D 3, E 4);
impl_for_tuple!(A 0, B 1, C 2, D 3, E 4, F 5);
impl_for_tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
impl_for_tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);

#[cfg(test)]
mod tests {
    use http::{Request, StatusCode};

    use super::*;
    use crate::{
        event::model::Action,
        policy::{decision::Decision, rejection::Rejection},
    };

    struct Refuse(&'static str);

    impl Policy for Refuse {
        fn label(&self) -> PolicyLabel {
            PolicyLabel::new("test", self.0).unwrap()
        }

        fn check(&self, _: &RequestHead<'_>) -> Check {
            Check::reject(Rejection::new(
                Action::Custom("refused"),
                StatusCode::FORBIDDEN,
                self.0,
            ))
        }

        fn peek(&self, _: &RequestHead<'_>) -> Option<Peek> {
            Some(Peek::admit(self.0))
        }
    }

    #[track_caller]
    fn check(policies: &impl PolicySet, expected: &[&str]) {
        let (parts, ()) = Request::new(()).into_parts();
        let head = RequestHead::new(&parts);
        let reasons: Vec<_> = (0..policies.steps())
            .map(|step| match policies.check_step(step, &head) {
                Check::Ready(Decision::Reject(rejection)) => rejection.reason(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(reasons, expected);
        let labels: Vec<_> = (0..policies.steps())
            .map(|step| policies.step_label(step).policy().to_owned())
            .collect();
        assert_eq!(labels, expected);
        let peeks: Vec<_> = (0..policies.steps())
            .map(|step| policies.peek_step(step, &head).unwrap())
            .collect();
        assert!(peeks.iter().map(Peek::reason).eq(expected.iter().copied()));
        assert!(policies.peek_step(policies.steps(), &head).is_none());
        let beyond = policies.check_step(policies.steps(), &head);
        assert!(matches!(beyond, Check::Ready(Decision::Admit(_))));
    }

    #[test]
    fn sets_are_flat_and_in_order() {
        check(&(), &[]);
        check(&Refuse("a"), &["a"]);
        check(&None::<Refuse>, &[]);
        check(
            &(Refuse("a"), None::<Refuse>, Some(Refuse("b"))),
            &["a", "b"],
        );
        check(
            &(
                vec![Some(Refuse("a")), None, Some(Refuse("b"))],
                (Refuse("c"), Arc::new((Refuse("d"), Refuse("e")))),
                Refuse("f"),
            ),
            &["a", "b", "c", "d", "e", "f"],
        );
        let shared: Arc<dyn PolicySet> = Arc::new((Refuse("a"), Refuse("b")));
        check(&shared, &["a", "b"]);
        let shared: Arc<dyn Policy> = Arc::new(Refuse("a"));
        check(&(Arc::clone(&shared), shared), &["a", "a"]);
    }
}
